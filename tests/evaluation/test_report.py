"""Reports: tables that say what was found, and a page that works by itself."""

from __future__ import annotations

import csv
import html.parser
import io
import json
import re
import time
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from evaluation import chromium, trees

from portrait_sdk.evaluation import gallery, page, plots, report
from portrait_sdk.evaluation.result import Evaluation, Failure, Photo, Problems

if TYPE_CHECKING:
    from pathlib import Path

METRICS = ("mad", "iou", "sad", "gradient")
HOSTILE = "<img src=x onerror=alert(1)>\"&'{{ 7 * 7 }}"


def found(
    photos: int = 12, models: int = 3, *, scenes: bool = True, pictures: int = 2, seed: int = 1
) -> Evaluation:
    """A run's result of drawn people, with names that try to break out."""
    rng = np.random.default_rng(seed)
    labels = (*(f"model-{i}" for i in range(models - 1)), "last <b>")
    mad = rng.uniform(0.01, 0.05, (photos, models)) * np.arange(1, models + 1)
    values = np.stack([mad, 1 - mad, 3072 * mad, 9000 * mad], axis=2)
    values[0, :, 3] = np.nan
    names = [HOSTILE if i == 3 else f"set/photo {i:03d}" for i in range(photos)]
    chosen = gallery.Collector(gallery.choose(mad, pictures))
    for number in {choice.photo for choice in chosen.choices}:
        image, level = trees.portrait(number)
        truth = level.astype(np.float32) / 255
        alphas = [np.clip(truth * (1 - 0.2 * m), 0, 1).astype(np.float32) for m in range(models)]
        chosen.add(number, image, truth, alphas)
    facts = {
        "portrait_sdk": "0",
        "dataset": {"kind": "pairs", "root": "/data/<set>", "options": {}, "split": "test",
                    "scene": None, "ids": None},
        "limit": None,
        "refine": "auto",
        "convention": None,
        "models": {
            label: {"name": label, "file": f"{label}.onnx", "sha256": "0" * 64, "bytes": 1,
                    "license": "MIT", "precision": "fp32", "provider": "cpu", "threads": 2}
            for label in labels
        },
        "machine": {"system": "Linux", "processor": "one", "versions": {"numpy": "2"}},
    }  # fmt: skip
    return Evaluation(
        facts=facts,
        models=labels,
        metrics=METRICS,
        photos=tuple(
            Photo(
                name=name,
                scenes=(("city", "night & <ski>")[i % 2],) if scenes else (),
                group=None,
                height=64,
                width=48,
                resized=False,
            )
            for i, name in enumerate(names)
        ),
        values=values,
        seconds=rng.uniform(0.01, 0.02, (photos, models)) * 3.0 ** np.arange(models),
        failures=(Failure(name="broken", error=f"{HOSTILE}: cannot be read"),),
        problems=(Problems(kind="orphan-image", count=2, first="/data/a.jpg: no truth"),),
        gallery=chosen.gallery(names, labels, mad),
    )


def render(evaluation: Evaluation) -> str:
    return page.render(evaluation, report.summary(evaluation))


class Reader(html.parser.HTMLParser):
    """Tags, their attributes, and what is never closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "link", "img", "input", "br", "path", "circle", "rect", "polyline"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_summary_is_json_with_every_table() -> None:
    evaluation = found()
    table = json.loads(json.dumps(report.summary(evaluation), allow_nan=False))
    assert table["ranking"] == list(evaluation.models)
    cell = table["total"]["model-0"]["mad"]
    assert cell["low"] < cell["mean"] < cell["high"]
    assert cell["mean"] == pytest.approx(evaluation.column("mad")[:, 0].mean())
    assert table["total"]["model-0"]["gradient"]["count"] == 11  # one photo has none
    assert set(table["scenes"]) == {"city", "night & <ski>"}
    city = evaluation.column("mad")[::2, 0].mean()
    assert table["scenes"]["city"]["models"]["model-0"]["mad"]["mean"] == pytest.approx(city)
    assert [(d["model"], d["other"]) for d in table["differences"]["mad"]] == [
        ("model-0", "model-1"), ("model-0", "last <b>"), ("model-1", "last <b>")
    ]  # fmt: skip
    assert table["seconds"]["model-0"]["median"] == np.median(evaluation.seconds[:, 0])
    assert table == json.loads(json.dumps(report.summary(evaluation)))
    assert table["total"] != report.summary(evaluation, seed=2)["total"]


def test_the_terminals_table_ranks_and_states_scalings() -> None:
    text = report.as_text(report.summary(found()))
    lines = text.splitlines()
    rows = [line.split() for line in lines[2:6]]
    assert rows[0][-1] == "ms"
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]
    assert rows[1][1] == "model-0"
    assert "SAD: sum of absolute differences, whole picture, / 1000" in lines
    assert any(line.startswith("night & <ski>") for line in lines)
    assert any("better on" in line for line in lines)


def test_csv_has_a_line_for_each_photo_and_model() -> None:
    evaluation = found()
    rows = list(csv.DictReader(io.StringIO(report.as_csv(evaluation))))
    assert len(rows) == 12 * 3 + 1
    assert rows[10]["photo"] == HOSTILE
    assert float(rows[10]["mad"]) == pytest.approx(evaluation.values[3, 1, 0], rel=1e-5)
    assert rows[0]["gradient"] == ""
    assert rows[-1]["photo"] == "broken"
    assert rows[-1]["error"].endswith("cannot be read")


def test_files_are_written_whatever_bytes_a_name_holds(tmp_path: Path) -> None:
    evaluation = found(photos=4)
    odd = Photo(name="\udcff", scenes=(), group=None, height=1, width=1, resized=False)
    object.__setattr__(evaluation, "photos", (odd, *evaluation.photos[1:]))
    written = report.write(evaluation, tmp_path / "a/b")
    assert [path.name for path in written] == ["report.json", "images.csv", "report.html"]
    table = json.loads(written[0].read_text())
    assert table["images"][0]["photo"] == "\udcff"
    assert "\\udcff" in written[2].read_text("utf-8")


def test_names_do_not_break_out_of_the_page() -> None:
    text = render(found())
    reader = Reader(text)
    assert reader.open == []
    assert HOSTILE in reader.text
    assert all("onerror" not in attrs for _, attrs in reader.tags)
    assert 'alert(1)>"' not in text
    assert "49" not in re.findall(r"onerror=[^<]*", reader.text)[0]


def test_the_page_asks_for_nothing() -> None:
    reader = Reader(render(found()))
    for tag, attrs in reader.tags:
        assert "src" not in attrs, tag
        assert (attrs.get("href") or "#").startswith(("#", "data:"))
    policy = next(a for t, a in reader.tags if t == "meta" and "http-equiv" in a)
    assert str(policy["content"]).startswith("default-src 'none'")


def test_pictures_lie_in_the_page_once() -> None:
    evaluation = found(photos=3, models=3)
    text = render(evaluation)
    kept = json.loads(re.findall(r'id="pictures">(.*?)</script>', text)[0])
    used = re.findall(r'data-picture="([^"]+)"', text)
    assert set(used) == set(kept) == set(evaluation.gallery.pictures)
    assert len(kept) == 3 * 2 + 3 * 3 * 2  # photo and truth of each; alpha and error of each model


def test_pictures_stop_where_the_room_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found()
    monkeypatch.setattr(gallery, "MOST_BYTES", sum(map(len, whole.gallery.pictures.values())) // 2)
    less = found()
    assert 0 < len(less.gallery.figures) < len(whole.gallery.figures)
    assert less.gallery.left_out == len(whole.gallery.figures) - len(less.gallery.figures)
    assert sum(map(len, less.gallery.pictures.values())) <= gallery.MOST_BYTES
    assert f"{less.gallery.left_out} more had no room" in render(less)


def test_a_long_dataset_makes_no_long_page() -> None:
    evaluation = found(photos=3000, models=6, pictures=1)
    text = render(evaluation)
    assert "2000 more are in images.csv" in text
    assert len(text) < 3e6  # 1000 rows of six cells are 1 MB


def test_one_model_without_scenes_or_pictures_still_makes_a_page() -> None:
    text = render(found(photos=1, models=1, scenes=False, pictures=0))
    assert "nothing to compare" in text
    assert '<h2 id="scenes">' not in text
    assert Reader(text).open == []


@pytest.mark.parametrize("logarithmic", [False, True])
@pytest.mark.parametrize(("low", "high"), [(0.01, 0.02), (0.0, 1.0), (0.5, 0.5), (1e-5, 3e3)])
def test_ticks_lie_on_their_axis(low: float, high: float, logarithmic: bool) -> None:  # noqa: FBT001
    axis = plots.Axis.over([low, high], 50, 250, logarithmic=logarithmic)
    ticks = axis.ticks()
    assert len(ticks) >= 2
    assert all(50 <= place <= 250 for place, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)
    assert axis.at(low) <= axis.at(high)


# In a browser


@pytest.fixture
def opened(tmp_path: Path) -> Any:
    if chromium.FOUND is None:
        pytest.skip("no chromium: install it to test the page in a browser")
    report.write(found(), tmp_path)
    with chromium.Page(tmp_path / "report.html", tmp_path / "profile") as here:
        yield here
        assert here.logged == []
        asked = [address for address in here.requested if not address.startswith("data:")]
        assert asked == [(tmp_path / "report.html").as_uri()]


def shown(opened: chromium.Page, table: int, column: int) -> list[str]:
    """A table's column as it stands, first lines alone."""
    found: list[str] = opened.js(
        f"[...document.querySelectorAll('table')[{table}].tBodies[0].rows]"
        f".map(row => row.cells[{column}].innerText.split('\\n')[0])"
    )
    return found


def test_tables_sort_by_click_and_by_key(opened: chromium.Page) -> None:
    heading = "document.querySelectorAll('table')[0].tHead.rows[0].cells[1].firstChild"
    before = [float(text) for text in shown(opened, 0, 1)]
    opened.click(heading)
    assert [float(text) for text in shown(opened, 0, 1)] == sorted(before)
    assert opened.js(f"({heading}).parentElement.ariaSort") == "ascending"
    opened.js(f"({heading}).focus()")
    opened.key("Enter")
    assert [float(text) for text in shown(opened, 0, 1)] == sorted(before, reverse=True)
    photos = "document.querySelectorAll('table')[3].tHead.rows[0].cells[0].firstChild"
    opened.click(photos)
    assert shown(opened, 3, 0) == sorted(shown(opened, 3, 0))


def test_a_slider_wipes_by_key_and_layers_change(opened: chromium.Page) -> None:
    slider = "document.querySelector('.gallery input')"
    opened.js(f"{slider}.focus()")
    opened.key("ArrowRight", times=10)
    assert opened.js(f"{slider}.value") == "60"
    cut = "getComputedStyle(document.querySelector('.wipe img.left')).clipPath"
    assert opened.js(cut) == "inset(0px 40% 0px 0px)"
    layers = (
        "[...document.querySelector('.wipe').querySelectorAll('.left, .right')].map(i => i.alt)"
    )
    first = opened.js(layers)
    assert [text.split()[0] for text in first] == ["photo", "alpha"]
    opened.js("s = document.querySelector('[data-side=right]'); s.value = 'error';"
              "s.dispatchEvent(new Event('change'))")  # fmt: skip
    assert [text.split()[0] for text in opened.js(layers)] == ["photo", "error"]


def test_pictures_load_when_they_are_looked_at(opened: chromium.Page) -> None:
    loaded = "[...document.querySelectorAll('.wipe img')].filter(i => i.naturalWidth == 48).length"
    first = opened.js(loaded)
    assert first == 4 * 6  # four layers of the open model's worst, median and best two
    opened.click("document.querySelectorAll('details.pictures summary')[1]")
    deadline = time.monotonic() + 30
    while opened.js(loaded) != 2 * first:
        assert time.monotonic() < deadline


@pytest.mark.parametrize("width", [360, 1400])
def test_the_page_fits_its_window(opened: chromium.Page, width: int) -> None:
    opened.call(
        "Emulation.setDeviceMetricsOverride", width=width, height=800, deviceScaleFactor=1,
        mobile=False,
    )  # fmt: skip
    assert opened.js("document.documentElement.scrollWidth") <= width
    picture = cv2.imdecode(np.frombuffer(opened.screenshot(), np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape[1] == width
    assert picture.std() > 10  # something is drawn
