"""The training pictures: which files, which are held out, and all of them in memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from portrait_sdk.evaluation.datasets.augment import continued

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from training.recipe import DataRecipe

    U8 = np.ndarray[Any, np.dtype[np.uint8]]


TOUCHES = 0.02
"""Of an edge's pixels, if they are the person's: the photo cuts them off there."""
_AROUND_PX = 16  # transparent pixels around a drawing: more than shrinking it blurs


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One photo on disk and its truths."""

    name: str
    image: Path
    alpha: Path
    mask: Path | None
    """Binary mask made by people, where there is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One photo in memory."""

    name: str
    image: U8
    """(H, W, 3) RGB."""
    alpha: U8
    """(H, W), 255 = foreground."""
    weight: float
    """How far the alpha is to be trusted, 0 to 1."""

    @property
    def cut_off_below(self) -> bool:
        """The photo's lower edge cuts the person off: a close-up, or no feet."""
        return bool((self.alpha[-1] > 127).mean() > TOUCHES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Who is trained on, who is held out for selection, who is only ever reported."""

    street_train: tuple[Source, ...]
    street_select: tuple[Source, ...]
    street_validation: tuple[Source, ...]
    officials_train: tuple[Source, ...]
    officials_select: tuple[Source, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What is trained on, in memory."""

    street: list[Picture]
    officials: list[Picture]
    objects: list[U8]
    """(H, W, 4) RGBA, straight alpha."""
    photographs: list[Picture]
    """Without people: alpha 0."""


def split(root: Path, recipe: DataRecipe) -> Split:
    """List the pictures under ``root`` and part them as the recipe says.

    Raises:
        FileNotFoundError: ``root`` does not hold the two sets.
    """
    for needed in ("ccp/train.txt", "ccp/validation.txt", "us_officials/image"):
        if not (root / needed).exists():
            raise FileNotFoundError(f"training pictures: {root / needed} is missing")

    def street(identity: str) -> Source:
        mask = root / "ccp/mask" / f"{identity}.png"
        return Source(
            name=f"ccp/{identity}",
            image=root / "ccp/image" / f"{identity}.jpg",
            alpha=root / "ccp/alpha" / f"{identity}.png",
            mask=mask if mask.exists() else None,
        )

    def official(path: Path) -> Source:
        alpha = root / "us_officials/alpha" / f"{path.stem}.png"
        return Source(name=f"us_officials/{path.stem}", image=path, alpha=alpha, mask=None)

    train = (root / "ccp/train.txt").read_text("ascii").split()
    held = [i for i in train if i.endswith(recipe.hold_out_id_ending)]
    officials = [official(p) for p in sorted((root / "us_officials/image").iterdir())]
    unknown = sorted(set(recipe.wrong_alphas) - {o.image.stem for o in officials})
    if unknown:
        raise ValueError(
            f"data: wrong_alphas names {', '.join(unknown)}, not in {root / 'us_officials/image'}"
        )
    return Split(
        street_train=tuple(street(i) for i in train if i not in held),
        street_select=tuple(street(i) for i in held),
        street_validation=tuple(
            street(i) for i in (root / "ccp/validation.txt").read_text("ascii").split()
        ),
        officials_train=tuple(
            o
            for n, o in enumerate(officials)
            if n % recipe.hold_out_every != 0 and o.image.stem not in recipe.wrong_alphas
        ),
        officials_select=tuple(
            o for n, o in enumerate(officials) if n % recipe.hold_out_every == 0
        ),
    )


def read_rgb(path: Path) -> U8:
    """Decode a colour picture, (H, W, 3) RGB uint8."""
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise ValueError(f"{path}: not a readable picture")
    return np.ascontiguousarray(bgr[..., ::-1])


def read_grey(path: Path) -> U8:
    """Decode a one-channel picture, (H, W) uint8."""
    grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if grey is None:
        raise ValueError(f"{path}: not a readable picture")
    return np.asarray(grey, np.uint8)


def _within(image: U8, side: int) -> tuple[int, int]:
    """Width and height of ``image`` with neither above ``side``."""
    height, width = image.shape[:2]
    shrink = min(1.0, side / max(height, width))
    return round(width * shrink), round(height * shrink)


def _contrasted(alpha: U8, factor: float) -> U8:
    """``alpha`` with ``factor`` times its contrast about a half."""
    levels = np.rint(np.clip((np.arange(256) - 127.5) * factor + 127.5, 0, 255)).astype(np.uint8)
    return levels[alpha]


def load(
    sources: Sequence[Source],
    recipe: DataRecipe,
    *,
    side: int | None = None,
    contrast: float = 1.0,
) -> list[Picture]:
    """Decode ``sources`` into memory.

    Args:
        sources: Which photos.
        recipe: How large, and how far alphas are to be trusted.
        side: None is larger than so many pixels; the recipe's ``long_side`` if not given.
        contrast: Of the alphas, about 0.5.
    """

    def one(source: Source) -> Picture:
        image, alpha = read_rgb(source.image), read_grey(source.alpha)
        size = _within(image, side or recipe.long_side)
        alpha = _contrasted(alpha, contrast)
        trusted = source.mask is not None or source.name.startswith("us_officials/")
        return Picture(
            name=source.name,
            image=np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8),
            alpha=np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), np.uint8),
            weight=1.0 if trusted else recipe.teacher_only_weight,
        )

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(one, sources))


def load_objects(folder: Path, recipe: DataRecipe) -> list[U8]:
    """Decode the drawings of things under ``folder``, (H, W, 4) RGBA, cropped to what they show.

    Args:
        folder: ``png/`` of Debian's ``openclipart-png`` (public domain).
        recipe: Which of its folders to take, what of them not, and how large they are kept.

    Raises:
        FileNotFoundError: A folder is missing, or none holds a drawing with an outline.
    """
    missing = [name for name in recipe.object_folders if not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(f"objects: {folder} has no folder {', '.join(missing)}")
    objects = []
    for path in sorted(p for name in recipe.object_folders for p in (folder / name).rglob("*.png")):
        name = path.relative_to(folder).as_posix()
        if not any(fnmatch(name, exception) for exception in recipe.object_exceptions):
            thing = _outlined(cv2.imread(str(path), cv2.IMREAD_UNCHANGED), recipe.object_side)
            if thing is not None:
                objects.append(thing)
    if not objects:
        folders = ", ".join(recipe.object_folders)
        raise FileNotFoundError(f"objects: no PNG with an outline in {folders} under {folder}")
    return objects


def _outlined(bgra: Any, side: int) -> U8 | None:  # noqa: ANN401 - OpenCV's
    """A drawing cut to what it shows, (H, W, 4) RGBA; None for one without transparency.

    Transparent pixels hold black: colours are averaged by alpha, then continued outwards, or every
    thing laid into a picture would have a dark rim to be known by.
    """
    if bgra is None or bgra.ndim != 3 or bgra.shape[2] != 4 or bgra.dtype != np.uint8:
        return None
    rows, columns = (np.flatnonzero((bgra[..., 3] > 127).any(axis=a)) for a in (1, 0))
    if not rows.size or (bgra[..., 3] > 127).mean() > 0.95:  # nothing, or no outline
        return None
    cut = bgra[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].astype(np.float32)
    cut[..., :3] *= cut[..., 3:] / 255
    shrink = min(1.0, side / max(cut.shape[:2]))
    size = (max(1, round(cut.shape[1] * shrink)), max(1, round(cut.shape[0] * shrink)))
    small = cv2.resize(cut, size, interpolation=cv2.INTER_AREA)
    small = cv2.copyMakeBorder(small, *4 * [_AROUND_PX], cv2.BORDER_CONSTANT)
    alpha = small[..., 3] / 255
    colours = small[..., 2::-1] / np.maximum(alpha, 1e-3)[..., None]
    seen = continued(np.rint(np.clip(colours, 0, 255)).astype(np.uint8), alpha)
    return np.dstack([seen, np.rint(small[..., 3]).astype(np.uint8)])


def load_photographs(folder: Path, recipe: DataRecipe) -> list[Picture]:
    """Decode the photographs without people that the recipe names.

    Args:
        folder: Where they lie, in any format OpenCV reads.
        recipe: Which, and how large they are kept.

    Raises:
        FileNotFoundError: One is missing.
    """
    files = {path.stem: path for path in sorted(folder.iterdir()) if cv2.haveImageReader(str(path))}
    missing = [name for name in recipe.photographs if name not in files]
    if missing:
        raise FileNotFoundError(f"photographs: {folder} has no picture {', '.join(missing)}")
    found = []
    for name in recipe.photographs:
        image = read_rgb(files[name])
        size = _within(image, recipe.photograph_side)
        small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        alpha = np.zeros(small.shape[:2], np.uint8)
        found.append(Picture(name=name, image=small, alpha=alpha, weight=1.0))
    return found


def load_all(
    parts: Split, recipe: DataRecipe, objects: Path | None, photographs: Path | None
) -> Loaded:
    """Decode everything that is trained on.

    Args:
        parts: Which photos.
        recipe: How.
        objects: ``png/`` of openclipart-png.
        photographs: The folder with the recipe's photographs without people.

    Raises:
        ValueError: The recipe asks for objects or photographs and no folder of them is given.
    """
    if recipe.object_folders and objects is None:
        raise ValueError(
            "the recipe lays objects into its pictures: give their folder with --objects, "
            "/usr/share/openclipart/png of Debian's openclipart-png"
        )
    if recipe.photographs and photographs is None:
        raise ValueError(
            "the recipe shows photographs without people: give their folder with --photographs; "
            "CONTRIBUTING.md says where they come from"
        )
    return Loaded(
        street=load(
            parts.street_train,
            recipe,
            side=recipe.street_long_side,
            contrast=recipe.street_contrast,
        ),
        officials=load(parts.officials_train, recipe),
        objects=load_objects(objects, recipe) if objects and recipe.object_folders else [],
        photographs=load_photographs(photographs, recipe)
        if photographs and recipe.photographs
        else [],
    )
