"""Makes the pictures of README and docs from the sample photo and the embedded model."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import portrait_sdk

ROOT = Path(__file__).resolve().parents[1]
GREEN = (60, 170, 90)


def main() -> None:
    """Photo, alpha, cutout on green; side by side."""
    matte = portrait_sdk.load(provider="cpu").matte(ROOT / "samples/portraits/astronaut.jpg")
    alpha = np.rint(255 * matte.alpha).astype(np.uint8)
    strip = np.hstack([matte.image, np.dstack([alpha] * 3), matte.composite(GREEN)])
    portrait_sdk.save_image(strip, ROOT / "docs/images/astronaut.jpg", quality=88)


if __name__ == "__main__":
    main()
