"""From any layout to one of three: pictures with alphas, with masks, or MMSegmentation's."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from portrait_sdk.errors import ImageError, OptionError, OutputError
from portrait_sdk.evaluation.datasets._files import Problem, is_litter
from portrait_sdk.evaluation.datasets._parallel import in_order
from portrait_sdk.media import encode_image, write_atomic
from portrait_sdk.ops import kernels

if TYPE_CHECKING:
    from collections.abc import Iterator

    from portrait_sdk.evaluation.datasets._base import Dataset, Sample
    from portrait_sdk.types import AlphaF32

Layout: TypeAlias = Literal["alpha", "mask", "mmseg"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)

_FULL_16 = 65535
_SPLIT = "train"  # of mmseg, for samples that have none


@dataclass(frozen=True, slots=True, kw_only=True)
class Converted:
    """One sample written, or why not."""

    sample: Sample
    problem: Problem | None


def alpha_png(alpha: AlphaF32, bits: int = 8) -> bytes:
    """Alpha as a grey PNG of 8 or 16 bits, rounded to nearest.

    Raises:
        OptionError: Another number of bits.
    """
    if bits == 8:  # noqa: PLR2004 - bits
        return encode_image(kernels.quantize(alpha), "png")
    if bits == 16:  # noqa: PLR2004 - bits
        levels = np.rint(np.clip(alpha, 0, 1) * np.float64(_FULL_16)).astype(np.uint16)
        return encode_image(levels, "png")
    raise OptionError(f"alpha: expected 8 or 16 bits, got {bits}")


def new_folder(path: Path) -> None:
    """Make a folder to write a dataset to.

    Raises:
        OutputError: It is a file, has something in it already, or cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        taken = any(not is_litter(p.name) for p in path.iterdir())
    except OSError as error:
        reason = "it is a file" if path.is_file() else f"cannot be made: {error.strerror}"
        raise OutputError(f"{str(path)!r}: expected a new or empty folder; {reason}") from error
    if taken:
        raise OutputError(f"{str(path)!r}: expected a new or empty folder; it has files in it")


def convert(
    dataset: Dataset,
    out: str | os.PathLike[str],
    layout: Layout,
    *,
    bits: int = 8,
    threshold: float = 0.5,
    workers: int | None = None,
) -> Iterator[Converted]:
    """Write the chosen samples in another layout; pictures are copied byte for byte.

    ``alpha``: ``image/NAME.*`` and ``alpha/NAME.png``, grey. ``mask``: ``image/NAME.*`` and
    ``mask/NAME.png`` of 0 and 255. Both with a list ``SPLIT.txt`` for each split: a ``pairs``
    dataset. ``mmseg``: ``img_dir/SPLIT/NAME.*``, ``ann_dir/SPLIT/NAME.png`` of 0 and 1, and
    ``split_dir/SCENE.txt``.

    Args:
        dataset: What to convert.
        out: A new or empty folder.
        layout: One of ``LAYOUTS``.
        bits: Of ``alpha``: 8 or 16.
        threshold: Alpha from which on a pixel is the person, for masks.
        workers: None: the thread budget.

    Yields:
        Each sample as it is done; one that cannot be read, or whose sizes differ, with its problem.

    Raises:
        OptionError: A layout, number of bits or threshold that is not possible.
        OutputError: Something cannot be written.
    """
    if layout not in LAYOUTS:
        raise OptionError(f"layout: expected one of {', '.join(LAYOUTS)}; got {layout!r}")
    if bits not in (8, 16) or (bits == 16 and layout != "alpha"):  # noqa: PLR2004 - bits
        raise OptionError(f"bits: expected 8, or 16 for alpha; got {bits} for {layout}")
    if not 0 < threshold <= 1:
        raise OptionError(f"threshold: expected a number above 0, up to 1; got {threshold}")
    folder = Path(out)
    new_folder(folder)
    lists: dict[str, list[str]] = {}

    def one(sample: Sample) -> Converted:
        return _convert(sample, folder, layout, bits, threshold)

    for done in in_order(one, dataset, workers):
        if done.problem is None:
            sample = done.sample
            if layout == "mmseg":
                names, entry = sample.scenes, f"{sample.split or _SPLIT}/{sample.name}"
            else:
                names, entry = tuple(filter(None, [sample.split])), sample.name
            for name in names:
                lists.setdefault(name.replace("/", "-"), []).append(entry)
        yield done
    where = folder / "split_dir" if layout == "mmseg" else folder
    for name, entries in lists.items():
        where.mkdir(exist_ok=True)
        write_atomic(where / f"{name}.txt", os.fsencode("".join(f"{entry}\n" for entry in entries)))


def _convert(
    sample: Sample, folder: Path, layout: Layout, bits: int, threshold: float
) -> Converted:
    try:
        alpha, size = sample.load_alpha(), sample.load_image().shape[:2]
    except ImageError as error:
        problem = Problem(kind="unreadable", path=sample.image, text=str(error))
        return Converted(sample=sample, problem=problem)
    if alpha.shape != size:
        text = (
            f"sizes differ: image {size[1]} x {size[0]}, truth {alpha.shape[1]} x {alpha.shape[0]}"
        )
        return Converted(
            sample=sample, problem=Problem(kind="size", path=sample.image, text=text)
        )  # fmt: skip
    if layout == "alpha":
        truth = alpha_png(alpha, bits)
    else:
        person = (alpha >= threshold).astype(np.uint8)
        truth = encode_image(person * (255 if layout == "mask" else 1), "png")
    images, truths = {
        "alpha": ("image", "alpha"),
        "mask": ("image", "mask"),
        "mmseg": (f"img_dir/{sample.split or _SPLIT}", f"ann_dir/{sample.split or _SPLIT}"),
    }[layout]
    suffix = sample.image.suffix.lower()
    for path, data in (
        (folder / images / f"{sample.name}{suffix}", sample.image.read_bytes()),
        (folder / truths / f"{sample.name}.png", truth),
    ):
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, data)
    return Converted(sample=sample, problem=None)
