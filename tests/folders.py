"""Folders of small photos, and what is in them."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

import portrait_sdk
from portrait_sdk.pipeline.outputs import parse

if TYPE_CHECKING:
    from pathlib import Path


def photo(seed: int = 0, side: int = 24, form: str = "PNG") -> bytes:
    """A small picture of bright and dark fields; ``brightness`` finds a subject in it."""
    fields = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), np.uint8)
    picture = Image.fromarray(fields).resize((side, side), Image.Resampling.NEAREST)
    data = io.BytesIO()
    picture.save(data, form)
    return data.getvalue()


def fill(folder: Path, *names: str) -> Path:
    """Write a photo under each name; all differ. The extension says the format."""
    forms = {".jpg": "JPEG", ".webp": "WEBP", ".tif": "TIFF", ".bmp": "BMP"}
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photo(seed, form=forms.get(path.suffix.lower(), "PNG")))
    return folder


def results(folder: Path) -> dict[str, bytes]:
    """Every file in a target but reports and record, by relative name."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".portrait" not in path.parts and path.stem != "report"
    }


def job(source: Path, target: Path, *outputs: str, **options: Any) -> portrait_sdk.FolderJob:
    """A folder job; ``outputs`` as for ``--output``, alpha if there are none."""
    shared = {k: options.pop(k) for k in ("background", "foreground", "quality") if k in options}
    pictures = parse(outputs or ("alpha",), "png")
    return portrait_sdk.FolderJob(
        source=str(source),
        target=str(target),
        outputs=portrait_sdk.Outputs(pictures=pictures, **shared),
        **options,
    )


def statuses(report: portrait_sdk.FolderReport) -> dict[str, str]:
    """Each photo's status, in the report's order."""
    return {entry.name: entry.status for entry in report.entries()}
