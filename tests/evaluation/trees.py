"""Small datasets of every layout with the defects that real copies have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import cv2
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

FORK = b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X        "


def portrait(seed: int, size: tuple[int, int] = (64, 48)) -> tuple[np.ndarray, np.ndarray]:
    """A drawn person: uint8 (H, W, 3) RGB and uint8 (H, W) alpha with a soft edge."""
    rng = np.random.default_rng(seed)
    height, width = size
    image = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
    alpha = np.zeros(size, np.uint8)
    centre = (width // 2 + int(rng.integers(-4, 5)), int(height * 0.7))
    cv2.ellipse(alpha, centre, (width // 4, height // 2), 0, 0, 360, 255, -1)
    alpha = cv2.GaussianBlur(alpha, (0, 0), 1.5)
    colour = rng.integers(60, 200, 3)
    solid = alpha[..., None] / 255
    return np.rint(solid * colour + (1 - solid) * image).astype(np.uint8), alpha


def write(path: Path, array: np.ndarray) -> Path:
    """RGB, RGBA or grey to a file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    swap = {3: cv2.COLOR_RGB2BGR, 4: cv2.COLOR_RGBA2BGRA}
    if array.ndim == 3:
        array = cv2.cvtColor(array, swap[array.shape[2]])
    assert cv2.imwrite(str(path), array)
    return path


def put(path: Path, data: bytes | str) -> Path:
    """Bytes or text to a file, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    return path


def aisegment(root: Path, groups: int = 5, each: int = 4) -> Path:
    """AISegment's tree below a folder whose own name has "matting" in it, defects included."""
    root = root / "matting_human_half"
    for g in range(groups):
        group = f"18031{g:05d}"
        for i in range(each):
            image, alpha = portrait(10 * g + i)
            sub = f"{i // 3:08d}"
            stem = f"{group}-{i:08d}"
            write(root / f"clip_img/{group}/clip_{sub}/{stem}.jpg", image)
            write(root / f"matting/{group}/matting_{sub}/{stem}.png", np.dstack([image, alpha]))
    # The known defects: a fork beside a picture, one as a folder, a matte without a picture.
    put(root / "clip_img/1803100001/clip_00000000/._1803100001-00000001.jpg", FORK)
    put(root / "matting/1803100002/._matting_00000000", FORK)
    put(root / "matting/.DS_Store", b"\0")
    (root / "clip_img/1803100003/clip_00000000/1803100003-00000001.jpg").unlink()
    return root


def mmseg(root: Path) -> Path:
    """Two sets under one root, scene lists of every spelling, masks binary, indexed, with forks."""
    from PIL import Image

    for s, name in enumerate(("CustomSeg_Person_20220101_city", "CustomSeg_Person_20220202_ski")):
        for i in range(4):
            split = "train" if i < 3 else "val"
            image, alpha = portrait(100 * s + i)
            stem = f"IMG.{s}_{i:03d}"  # a dot in the stem is no extension
            write(root / f"{name}/img_dir/{split}/{stem}.jpg", image)
            numbers = (alpha > 127).astype(np.uint8)
            path = root / f"{name}/ann_dir/{split}/{stem}.png"
            if s == 0:
                write(path, numbers * 255)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                mask = Image.fromarray(numbers)
                mask.putpalette([0, 0, 0, 200, 30, 30])  # makes it one of mode P
                mask.save(path)
    first, second = sorted(p for p in root.iterdir())
    put(first / "split_dir/city_single.txt", "IMG.0_000.jpg\r\nIMG.0_001.jpg\r\n")
    put(first / "split_dir/night.txt", "\ufeffIMG.0_001\r\n\r\ntrain/IMG.0_002\r\nIMG.0_404\r\n")
    put(second / "split_dir/ski.txt", "IMG.1_000\nIMG.1_001\nIMG.1_002\nval/IMG.1_003.jpg")
    put(first / "img_dir/train/.DS_Store", b"\0")
    write(second / "img_dir/train/nobody.jpg", portrait(7)[0])
    return root


def pairs(root: Path, count: int = 6, image: str = "im", truth: str = "gt") -> Path:
    """Two folders of equal stems, one picture alone, one matte alone, one matte of another size."""
    for i in range(count):
        picture, alpha = portrait(i)
        write(root / image / f"p{i}.jpg", picture)
        write(root / truth / f"p{i}.png", alpha)
    write(root / image / "alone.jpg", portrait(50)[0])
    write(root / truth / "lonely.png", portrait(51)[1])
    write(root / truth / "p1.png", portrait(1, (32, 24))[1])
    put(root / image / "notes.txt", "hello")
    return root


def cutouts(root: Path, people: int = 6, backgrounds: int = 6) -> Path:
    """RGBA people, black where transparent, and backgrounds."""
    for i in range(people):
        image, alpha = portrait(i, (90, 70))
        image[alpha == 0] = 0
        write(root / f"humans/h{i}.png", np.dstack([image, alpha]))
    for i in range(backgrounds):
        rng = np.random.default_rng(1000 + i)
        noise = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        write(root / f"backgrounds/b{i}.jpg", cv2.resize(noise, (160, 120)))
    return root


def video(root: Path) -> Path:
    """Two clips of one scene, one of them with a frame missing; names sort wrongly as text."""
    for clip, numbers in (("0000", range(8, 12)), ("0001", (1, 2, 4))):
        for n in numbers:
            image, alpha = portrait(n)
            write(root / f"motion/{clip}/com/f{n}.jpg", image)
            write(root / f"motion/{clip}/pha/f{n}.png", alpha)
    return root
