"""Lay a person over other backgrounds: ``python samples/new_background.py [PHOTO [FOLDER]]``."""

import sys
from pathlib import Path

import portrait_sdk

HERE = Path(__file__).parent
photo = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "portraits/astronaut.jpg"
folder = Path(sys.argv[2]) if len(sys.argv) > 2 else Path()

# One open model for many photos; "auto" takes CUDA where it works and the CPU elsewhere.
with portrait_sdk.load(provider="auto") as matting:
    matte = matting.matte(photo)
    for name, background in {"blue": "#1e90ff", "blurred": "blur"}.items():
        portrait_sdk.save_image(matte.composite(background), folder / f"{name}.jpg")
    print(f"{folder / 'blue.jpg'} and {folder / 'blurred.jpg'}, made on {matting.provider}")
