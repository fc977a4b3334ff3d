"""``portrait dataset``: check, stats, sample, convert, calibrate, compose."""

from __future__ import annotations

import functools
import json
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import click

from portrait_sdk.cli.options import json_option
from portrait_sdk.errors import DatasetError, OptionError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from portrait_sdk.evaluation.datasets import Dataset, Problem
    from portrait_sdk.evaluation.datasets.examine import Stats

    Item = TypeVar("Item")

_LAYOUTS = ("alpha", "mask", "mmseg")
_METHODS = ("multilevel-fast", "multilevel", "blur-fusion", "none")
_STEPS = ("geometry", "colour", "shadow", "blur", "noise")
_SHOWN = 20  # problems of one kind, unless --all


@click.group()
def dataset() -> None:
    """Look into datasets, convert them, compose new ones.

    DATASET is KIND:PATH: aisegment, mmseg, pairs, cutouts or video, and a folder. Options follow
    a question mark: 'pairs:set?image=photos&truth=alpha', 'mmseg:set?class=1'. In all kinds,
    '?group=^[^_]+' finds in a sample's name what it shares with those that belong to it.
    """


def dataset_options(command: Callable[..., None]) -> Callable[..., None]:
    """``DATASET``, ``--split``, ``--scene``, ``--ids``, ``--workers``; passes on ``opened``."""

    @functools.wraps(command)
    def run(
        *, text: str, split: str | None, scene: str | None, ids_file: str | None, **rest: Any  # noqa: ANN401
    ) -> None:  # fmt: skip
        from portrait_sdk.evaluation.datasets import open_dataset

        command(opened=open_dataset(text, split=split, scene=scene, ids_file=ids_file), **rest)

    decorated: Callable[..., None] = run
    for option in (
        click.option(
            "--workers",
            type=click.IntRange(min=1),
            help="Pictures at once.  [default: the thread budget]",
        ),
        click.option(
            "--ids",
            "ids_file",
            metavar="FILE",
            help="Only the samples this list names, one a line.",
        ),
        click.option("--scene", metavar="NAME", help="Only samples of this scene."),
        click.option(
            "--split", metavar="NAME", help="Only samples of this split, such as validation."
        ),
        click.argument("text", metavar="DATASET"),
    ):
        decorated = option(decorated)
    return decorated


def _with_progress(items: Iterable[Item], total: int | None, what: str) -> Iterator[Item]:
    """Pass items on, counting them on a terminal's standard error."""
    if not sys.stderr.isatty():
        yield from items
        return
    with click.progressbar(items, length=total, label=what, file=sys.stderr) as bar:
        yield from bar


@dataset.command()
@dataset_options
@click.option("--all", "show_all", is_flag=True, help=f"Not only {_SHOWN} problems of a kind.")
@json_option
def check(
    *,
    opened: Dataset,
    workers: int | None,
    show_all: bool,
    as_json: bool,
) -> None:
    """Decode everything; report orphans, damaged files, sizes that differ.

    Exit status 1 where a sample cannot be used (image, truth, trimap, size); what is only left out
    (orphans, system files) is reported and no failure.
    """
    from portrait_sdk.evaluation.datasets import examine
    from portrait_sdk.evaluation.datasets.cutouts import Cutouts

    problems = list(opened.problems())
    try:
        samples = sum(1 for _ in opened)
    except DatasetError as error:  # told after what explains it
        samples, failure = 0, str(error)
    else:
        counted = _with_progress(opened, samples, "checking")
        problems += examine.check(counted, workers=workers)
        if isinstance(opened, Cutouts):
            problems += examine.check(opened.background_samples(), workers=workers)
    counts = Counter(problem.kind for problem in problems)
    broken = sum(counts[kind] for kind in examine.BROKEN)
    if as_json:
        listed = [{"kind": p.kind, "path": str(p.path), "text": p.text} for p in problems]
        click.echo(json.dumps({"samples": samples, "counts": counts, "problems": listed}))
    else:
        _print_problems(problems, opened.root, show_all=show_all)
        click.echo(f"{samples} samples; " + (_counted(counts) or "nothing is wrong"))
    if not samples:
        raise click.ClickException(failure)
    if broken:
        raise click.ClickException(f"samples that cannot be used: {broken}")


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{kind}: {number}" for kind, number in sorted(counts.items()))


def _print_problems(problems: list[Problem], root: Path, *, show_all: bool) -> None:
    met: Counter[str] = Counter()
    for problem in problems:
        met[problem.kind] += 1
        if show_all or met[problem.kind] <= _SHOWN:
            path = problem.path
            inside = path.relative_to(root) if path.is_relative_to(root) else path
            click.echo(printable(f"{problem.kind:14} {inside}: {problem.text}"))
        elif met[problem.kind] == _SHOWN + 1:
            click.echo(f"{problem.kind:14} …")


@dataset.command()
@dataset_options
@json_option
def stats(
    *,
    opened: Dataset,
    workers: int | None,
    as_json: bool,
) -> None:
    """Count samples per split and scene; colour mean and deviation, sizes, alpha."""
    from portrait_sdk.evaluation.datasets import examine

    samples = sum(1 for _ in opened) if sys.stderr.isatty() else None
    found = examine.stats(_with_progress(opened, samples, "measuring"), workers=workers)
    if as_json:
        click.echo(json.dumps(_stats_row(found)))
        return
    _print_stats(found)


def _stats_row(found: Stats) -> dict[str, Any]:
    return {
        "samples": found.samples,
        "unreadable": found.unreadable,
        "groups": found.groups,
        "sequences": found.sequences,
        "mean": found.mean,
        "std": found.std,
        "coverage": found.coverage,
        "soft": found.soft,
        "binary": found.binary,
        "sizes": {f"{w}x{h}": n for (h, w), n in found.sizes.most_common()},
        "splits": found.splits,
        "scenes": {
            name: {"samples": n, "splits": found.by_scene[name]}
            for name, n in sorted(found.scenes.items())
        },
    }


def _print_stats(found: Stats) -> None:
    click.echo(f"samples   {found.samples} in {found.groups} groups")
    if found.unreadable:
        click.echo(f"          {found.unreadable} more cannot be read")
    if found.sequences:
        click.echo(f"clips     {found.sequences}")
    click.echo("R/G/B     mean {:.3f}/{:.3f}/{:.3f}".format(*found.mean), nl=False)
    click.echo("  std {:.3f}/{:.3f}/{:.3f}".format(*found.std))
    click.echo(f"person    {found.coverage:.1%} of the pixels, {found.soft:.1%} soft", nl=False)
    click.echo(f"; {found.binary} binary truths")
    sizes = [f"{w} x {h} ({n})" for (h, w), n in found.sizes.most_common(5)]
    more = f" and {len(found.sizes) - len(sizes)} more" if len(found.sizes) > len(sizes) else ""
    click.echo(f"sizes     {', '.join(sizes)}{more}")
    splits = sorted(found.splits)
    if splits != ["-"]:
        click.echo("splits    " + ", ".join(f"{name}: {found.splits[name]}" for name in splits))
    if not found.scenes:
        return
    width = max(map(len, [*found.scenes, "scene"]))
    click.echo()
    click.echo("  ".join([f"{'scene':{width}}", "samples", *(f"{name:>7}" for name in splits)]))
    for name, count in sorted(found.scenes.items()):
        row = [f"{found.by_scene[name][split]:>7}" for split in splits]
        click.echo("  ".join([f"{printable(name):{width}}", f"{count:>7}", *row]))


@dataset.command()
@dataset_options
@click.option(
    "-o", "--out", required=True, metavar="FILE", help="Picture to write: .png, .jpg, .webp."
)
@click.option(
    "--count", default=12, show_default=True, type=click.IntRange(1, 1000), help="Samples shown."
)
@click.option("--columns", default=3, show_default=True, type=click.IntRange(1, 50))
@click.option(
    "--height",
    "height_px",
    default=180,
    show_default=True,
    type=click.IntRange(16, 4096),
    help="Of each picture, in pixels.",
)
@click.option(
    "--seed",
    default=0,
    show_default=True,
    type=click.IntRange(min=0),
    help="Another one draws others.",
)
@json_option
def sample(
    *,
    opened: Dataset,
    workers: int | None,
    out: str,
    count: int,
    columns: int,
    height_px: int,
    seed: int,
    as_json: bool,
) -> None:  # fmt: skip
    """A contact sheet: pictures, alphas, and people over green."""
    from portrait_sdk.evaluation.datasets.sheet import contact_sheet
    from portrait_sdk.media import output_format, save_image

    output_format(out)
    sheet, shown = contact_sheet(
        opened,
        count,
        columns=columns,
        height_px=height_px,
        seed=seed,
        workers=workers,
    )
    save_image(sheet, out)
    if as_json:
        names = [one.name for one in shown]
        row = {"output": out, "width": sheet.shape[1], "height": sheet.shape[0], "samples": names}
        click.echo(json.dumps(row))


@dataset.command()
@dataset_options
@click.option("-o", "--out", required=True, metavar="FOLDER", help="New or empty.")
@click.option(
    "--to",
    "layout",
    required=True,
    type=click.Choice(_LAYOUTS),
    help="alpha: image/ and alpha/ (grey PNG). mask: image/ and mask/ (0 and 255). mmseg: "
    "img_dir/, ann_dir/ (0 and 1) and split_dir/.",
)
@click.option(
    "--bits", type=click.Choice(["8", "16"]), default="8", show_default=True, help="Of alpha."
)
@click.option(
    "--threshold",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True),
    help="Alpha from which on a mask is person.",
)
@json_option
def convert(
    *,
    opened: Dataset,
    workers: int | None,
    out: str,
    layout: Literal["alpha", "mask", "mmseg"],
    bits: str,
    threshold: float,
    as_json: bool,
) -> None:  # fmt: skip
    """Write the samples in another layout; pictures are copied byte for byte.

    A sample that cannot be read is reported and left out, and the exit status is 1.
    """
    from portrait_sdk.evaluation.datasets.convert import convert as run

    written, problems = 0, []
    done = run(opened, out, layout, bits=int(bits), threshold=threshold, workers=workers)
    for one in _with_progress(done, None, "converting"):
        if one.problem is None:
            written += 1
        else:
            problems.append(one)
            click.echo(printable(f"{one.sample.name}: {one.problem.text}"), err=True)
    if as_json:
        names = [one.sample.name for one in problems]
        click.echo(
            json.dumps({"output": out, "layout": layout, "written": written, "left_out": names})
        )
    else:
        click.echo(f"{written} samples in {out}")
    if problems:
        raise click.ClickException(f"samples left out: {len(problems)}")


@dataset.command()
@dataset_options
@click.option("-o", "--out", required=True, metavar="FOLDER", help="New or empty.")
@click.option(
    "--count",
    default=32,
    show_default=True,
    type=click.IntRange(min=1),
    help="Pictures; 32 are as many as `portrait convert` takes.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@json_option
def calibrate(
    *, opened: Dataset, workers: int | None, out: str, count: int, seed: int, as_json: bool
) -> None:
    """Copy some pictures that differ as the set does, for int8's ranges.

    `portrait convert --precision int8 --calibration FOLDER` takes the folder. Pictures are drawn
    one by one, each with a chance that grows with its distance, in colours and in how much of it is
    person, from those drawn before (the k-means++ rule).
    """
    from portrait_sdk.evaluation.datasets import calibration

    chosen = calibration.representative(opened, count, seed=seed, workers=workers)
    written = calibration.export(chosen, out)
    if len(chosen) < count:
        click.echo(f"{len(chosen)} of {count} asked for: there are no more", err=True)
    names = [one.name for one in chosen]
    if as_json:
        click.echo(
            json.dumps({"output": out, "samples": names, "files": [p.name for p in written]})
        )
    else:
        click.echo(f"{len(chosen)} pictures in {out}")


class _Size(click.ParamType):  # type: ignore[type-arg]  # generic for type checkers alone
    """``512x640``: width and height, or one number for a square; gives (height, width)."""

    name = "WxH"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None  # noqa: ANN401
    ) -> tuple[int, int]:  # fmt: skip
        """Read it."""
        if isinstance(value, tuple):
            return value
        width, cross, height = str(value).lower().partition("x")
        numbers = [width, height if cross else width]
        if not all(n.isascii() and n.isdecimal() for n in numbers):
            self.fail(f"{value!r} is not WIDTHxHEIGHT, such as 512x640", param, ctx)
        return int(numbers[1]), int(numbers[0])


def _steps(ctx: click.Context, param: click.Parameter, value: str) -> tuple[str, ...]:
    if value in ("all", "none"):
        return _STEPS if value == "all" else ()
    chosen = [part.strip() for part in value.split(",")]
    for part in chosen:
        if part not in _STEPS:
            raise click.BadParameter(
                f"{part!r}: expected all, none, or some of {', '.join(_STEPS)}", ctx, param
            )
    return tuple(step for step in _STEPS if step in chosen)


@dataset.command()
@dataset_options
@click.option(
    "-o", "--out", required=True, metavar="FOLDER", help="New, or that of a run broken off."
)
@click.option(
    "--backgrounds",
    metavar="FOLDER",
    help="Pictures without people.  [default: those of a cutouts set]",
)
@click.option(
    "--train", default=1000, show_default=True, type=click.IntRange(min=0), help="Training samples."
)
@click.option(
    "--validation",
    default=100,
    show_default=True,
    type=click.IntRange(min=0),
    help="Validation samples.",
)
@click.option(
    "--validation-share",
    default=0.1,
    show_default=True,
    type=click.FloatRange(0, 1, min_open=True, max_open=True),
    help="Of people and of backgrounds that only validation shows.",
)
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0))
@click.option(
    "--size", default="512x512", show_default=True, type=_Size(), help="Width and height."
)
@click.option(
    "--bits",
    type=click.Choice(["8", "16"]),
    default="8",
    show_default=True,
    help="Of the true alpha.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["jpeg", "png"]),
    default="jpeg",
    show_default=True,
    help="Of pictures.",
)
@click.option(
    "--foreground",
    type=click.Choice(_METHODS),
    default="multilevel-fast",
    show_default=True,
    help="How people are cleaned of their old background.",
)
@click.option(
    "--augment",
    "steps",
    default="all",
    show_default=True,
    callback=_steps,
    help=f"all, none, or some of {','.join(_STEPS)}.",
)
@json_option
def compose(  # noqa: PLR0913 - one parameter an option
    *,
    opened: Dataset,
    workers: int | None,
    out: str,
    backgrounds: str | None,
    train: int,
    validation: int,
    validation_share: float,
    seed: int,
    size: tuple[int, int],
    bits: str,
    file_format: Literal["jpeg", "png"],
    foreground: str,
    steps: tuple[Any, ...],
    as_json: bool,
) -> None:  # fmt: skip
    """Lay people over other backgrounds: a training and a validation set with exact alpha.

    People come from any DATASET with mattes. Training and validation share neither a person (a
    group, where the dataset or ?group= has some) nor a background. The same command gives the same
    bytes, whatever the number of workers, and goes on where it was broken off.
    """
    from portrait_sdk.evaluation.datasets import compose as composing
    from portrait_sdk.evaluation.datasets._files import named
    from portrait_sdk.evaluation.datasets.cutouts import Cutouts

    recipe = composing.Recipe(
        seed=seed,
        train=train,
        validation=validation,
        size=size,
        validation_share=validation_share,
        bits=int(bits),
        format=file_format,
        foreground=foreground,
        steps=steps,
    )
    if backgrounds is not None:
        if not Path(backgrounds).is_dir():
            raise OptionError(f"--backgrounds {backgrounds!r}: expected a folder of pictures")
        behind = named(Path(backgrounds))
    elif isinstance(opened, Cutouts):
        behind = opened.backgrounds()
    else:
        raise click.UsageError(f"a {opened.kind} dataset has no backgrounds: add --backgrounds")
    parted = composing.plan(opened, behind, recipe, workers=workers)
    new = 0
    problems: dict[Path, Problem] = {}
    done = composing.compose(parted, recipe, out, workers=workers)
    for one in _with_progress(done, train + validation, "composing"):
        new += one.new
        problems |= {problem.path: problem for problem in one.problems}
    for problem in problems.values():
        click.echo(printable(f"left out: {problem.text}"), err=True)
    row = {
        "output": out,
        "train": train,
        "validation": validation,
        "new": new,
        "people": {name: len(sources) for name, sources in parted.people.items()},
        "backgrounds": {name: len(sources) for name, sources in parted.backgrounds.items()},
        "left_out": sorted(map(str, problems)),
    }
    if as_json:
        click.echo(json.dumps(row))
        return
    shown = "; ".join(
        f"{name} of {len(parted.people[name])} people, {len(parted.backgrounds[name])} backgrounds"
        for name in parted.people
    )
    click.echo(f"{train + validation} samples in {out} ({new} new): {shown}")
