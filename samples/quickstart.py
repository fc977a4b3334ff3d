"""Cut the person out of a photo: ``python samples/quickstart.py [PHOTO [CUTOUT]]``."""

import sys
from pathlib import Path

import portrait_sdk

HERE = Path(__file__).parent
photo = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "portraits/astronaut.jpg"
out = Path(sys.argv[2]) if len(sys.argv) > 2 else Path("cutout.png")

matte = portrait_sdk.matte(photo)
if not matte.has_subject:
    sys.exit(f"{photo}: nobody found")
portrait_sdk.save_image(matte.cutout(), out)
print(f"{out}: {matte.coverage:.0%} of the photo is foreground")
