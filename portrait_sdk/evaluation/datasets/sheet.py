"""A contact sheet: some samples of a dataset in one picture."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from portrait_sdk.errors import ImageError, OptionError
from portrait_sdk.evaluation.datasets._parallel import in_order
from portrait_sdk.ops import compositing, kernels
from portrait_sdk.ops.foreground import estimate_foreground

if TYPE_CHECKING:
    from portrait_sdk.evaluation.datasets._base import Dataset, Sample
    from portrait_sdk.types import Image

_GAP, _LABEL = 8, 18  # px
_PAPER, _INK = 255, (60, 60, 60)
_GREEN = (0, 177, 64)  # compositing's "chroma"


def contact_sheet(
    dataset: Dataset,
    count: int = 12,
    *,
    columns: int = 3,
    height_px: int = 180,
    seed: int = 0,
    workers: int | None = None,
) -> tuple[Image, list[Sample]]:
    """Samples drawn without replacement: each its picture, its alpha, the person over green.

    What cannot be read is a grey field that says so.

    Args:
        dataset: Where from.
        count: Samples shown at most.
        columns: Samples side by side.
        height_px: Of each picture.
        seed: Another one draws others.
        workers: None: the thread budget.

    Returns:
        uint8 (H, W, 3) RGB, and the samples in the order shown.

    Raises:
        OptionError: A number is below 1.
        DatasetError: The dataset has no sample.
    """
    for name, value in (("count", count), ("columns", columns), ("height_px", height_px)):
        if value < 1:
            raise OptionError(f"contact sheet: {name}: expected at least 1, got {value}")
    chosen = _drawn(dataset, count, seed)
    cells = list(in_order(lambda sample: _cell(sample, height_px), chosen, workers))
    width = max(cell.shape[1] for cell in cells)
    rows = []
    for first in range(0, len(cells), columns):
        row = np.full((cells[0].shape[0], columns * (width + _GAP), 3), _PAPER, np.uint8)
        for number, cell in enumerate(islice(cells, first, first + columns)):
            left = number * (width + _GAP)
            row[:, left : left + cell.shape[1]] = cell
        rows.append(row)
    sheet = np.pad(np.concatenate(rows), ((_GAP, 0), (_GAP, 0), (0, 0)), constant_values=_PAPER)
    return sheet[:, : (width + _GAP) * min(columns, len(cells)) + _GAP], chosen


def _drawn(dataset: Dataset, count: int, seed: int) -> list[Sample]:
    """``count`` of the samples, in their order, each equally likely; one pass holds no more.

    Source:
        Vitter, "Random sampling with a reservoir", ACM TOMS 1985: algorithm R.
    """
    rng = np.random.default_rng(seed)
    kept: list[tuple[int, Sample]] = []
    for number, sample in enumerate(dataset):
        if len(kept) < count:
            kept.append((number, sample))
        elif (place := int(rng.integers(number + 1))) < count:
            kept[place] = (number, sample)
    return [sample for _, sample in sorted(kept, key=lambda pair: pair[0])]


def _cell(sample: Sample, height: int) -> Image:
    import cv2

    def small(array: Any, width: int) -> Any:  # noqa: ANN401 - the array's own type
        return cv2.resize(array, (width, height), interpolation=cv2.INTER_AREA)

    try:
        image = sample.load_image()
        width = max(1, round(height * image.shape[1] / image.shape[0]))
        image = small(image, width)
        parts = [image]
        if sample.truth is not None:
            alpha = small(sample.load_alpha(), width)
            green = np.array(_GREEN, np.uint8).reshape(1, 1, 3)
            parts.append(np.repeat(kernels.quantize(alpha)[..., None], 3, axis=2))
            # Clean colours, so that a halo is the alpha's own.
            colours = estimate_foreground(image, alpha)
            parts.append(compositing.composite(colours, alpha, green))
        strip = np.concatenate(parts, axis=1)
    except ImageError:
        strip = np.full((height, height, 3), 200, np.uint8)
        _write(strip, "cannot be read", height // 2)
    label = np.full((_LABEL, strip.shape[1], 3), _PAPER, np.uint8)
    _write(label, sample.name, 13)
    return np.concatenate([strip, label])


def _write(image: Image, text: str, baseline: int) -> None:
    """Text into an image, its end where there is not room for all; OpenCV knows ASCII only."""
    import cv2

    text = text.encode("ascii", "replace").decode()
    room = image.shape[1] // 7  # about 7 px a letter at this size
    text = text if len(text) <= room else f"..{text[-(room - 2) :]}"
    cv2.putText(
        image, text, (2, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.4, _INK, 1, cv2.LINE_AA
    )  # fmt: skip
