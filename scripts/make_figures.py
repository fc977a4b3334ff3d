"""Makes the pictures of README and docs from the sample photos and the embedded models."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click
import numpy as np

import portrait_sdk
from portrait_sdk.evaluation.datasets import Sample, open_dataset
from portrait_sdk.evaluation.datasets.compose import Recipe, compose, plan
from portrait_sdk.evaluation.datasets.sheet import contact_sheet

ROOT = Path(__file__).resolve().parents[1]
IMAGES = ROOT / "docs/images"
GREEN = (60, 170, 90)
OTHERS = ("camera", "chelsea", "coffee", "rocket")
_THUMB_HEIGHT = 240


def strip(matting: portrait_sdk.Matting, photo: Path) -> np.ndarray:
    """Photo, alpha, cutout on green; side by side."""
    matte = matting.matte(photo)
    alpha = np.rint(255 * matte.alpha).astype(np.uint8)
    return np.hstack([matte.image, np.dstack([alpha] * 3), matte.composite(GREEN)])


def shrink(image: np.ndarray, height: int) -> np.ndarray:
    """To a height, keeping the aspect."""
    import cv2

    width = round(image.shape[1] * height / image.shape[0])
    return np.asarray(cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA))


def sheet(matting: portrait_sdk.Matting, photos: list[Path]) -> np.ndarray:
    """A strip of each photo, small, one below the other."""
    rows = [shrink(strip(matting, photo), _THUMB_HEIGHT) for photo in photos]
    width = max(row.shape[1] for row in rows)
    return np.vstack([np.pad(r, ((0, 4), (0, width - r.shape[1]), (0, 0))) for r in rows])


def composites(matting: portrait_sdk.Matting) -> np.ndarray:
    """A contact sheet of the sample portrait over other pictures, as `compose` makes it."""
    nobody = ("chelsea", "coffee", "rocket")
    behind = [(name, ROOT / f"tests/data/pictures/{name}.jpg") for name in nobody]
    with tempfile.TemporaryDirectory() as folder:
        cutout = Path(folder) / "astronaut.png"
        portrait_sdk.save_image(
            matting.matte(ROOT / "samples/portraits/astronaut.jpg").cutout(), cutout
        )
        person = Sample(name="astronaut", image=cutout, truth=cutout)
        recipe = Recipe(seed=7, train=8, validation=0, size=(400, 320))
        out = Path(folder) / "set"
        list(compose(plan([person], behind, recipe), recipe, out))
        return contact_sheet(open_dataset(f"pairs:{out}"), 8, columns=2, height_px=200)[0]


@click.command()
def main() -> None:
    """Write every figure of README and docs, into docs/images."""
    matting = portrait_sdk.load(provider="cpu")
    astronaut = ROOT / "samples/portraits/astronaut.jpg"
    others = [ROOT / f"tests/data/pictures/{name}.jpg" for name in OTHERS]
    portrait_sdk.save_image(strip(matting, astronaut), IMAGES / "astronaut.jpg", quality=88)
    portrait_sdk.save_image(sheet(matting, others), IMAGES / "others.jpg", quality=85)
    portrait_sdk.save_image(composites(matting), IMAGES / "composites.jpg", quality=85)
    with portrait_sdk.load("portrait-m", provider="cpu") as larger:
        found = sheet(larger, [astronaut, *others])
    portrait_sdk.save_image(found, IMAGES / "portrait-m.jpg", quality=85)


if __name__ == "__main__":
    main()
