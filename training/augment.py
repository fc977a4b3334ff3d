"""Seeded augmentation: crops, people over other backgrounds, empty scenes, cameras good and bad.

Every function takes the generator it draws from, so that a sample is a function of
(seed, step, slot) alone and a resumed run sees what an unbroken one would have.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from portrait_sdk.evaluation.datasets.augment import jpeg, turn_about, warp
from portrait_sdk.ops.compositing import composite
from portrait_sdk.ops.foreground import estimate_foreground
from training import clothes, headwear
from training.pictures import TOUCHES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from training.pictures import Picture
    from training.recipe import AugmentRecipe, PlainRecipe

    U8 = np.ndarray[Any, np.dtype[np.uint8]]
    F32 = np.ndarray[Any, np.dtype[np.float32]]
    Rng = np.random.Generator

_SMALLEST, _LARGEST = 0.12, 0.9  # things relative to the frame, beside people
_FILLS_FRAME = 1.6  # the largest without people
_MOST = 0.6  # of a photograph's fitting frame, at least
_BEYOND = (-0.5, 0.6)  # how far the frame's side is left of a passer-by's middle, in half widths


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What the network is shown once."""

    image: F32
    """(H, W, 3) RGB in [0, 1]."""
    alpha: F32
    """(H, W) in [0, 1]."""
    weight: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenery:
    """Whatever a composite is made of."""

    photos: Sequence[Picture]
    """Photos of people: others to stand beside the first, and surroundings as backgrounds."""
    objects: Sequence[U8] = ()
    """Things that are not people, (H, W, 4) RGBA with straight alpha."""
    photographs: Sequence[Picture] = ()
    """Scenes without people: some of the backgrounds."""
    behind: Sequence[Picture] = ()
    """Backgrounds, where they are not to come from ``photos``."""

    @property
    def backgrounds(self) -> Sequence[Picture]:
        """What a scene is made of."""
        return self.behind or self.photos


def make(
    people: Sequence[Picture],
    scenery: Scenery,
    first: int,
    size: tuple[int, int],
    recipe: AugmentRecipe,
    rng: Rng,
) -> Sample:
    """One sample of ``size`` (height, width) around ``people[first]``.

    Args:
        people: Whom to take the first person from.
        scenery: All people, backgrounds and objects.
        first: Index of the person.
        size: Height and width wanted.
        recipe: Chances and ranges.
        rng: The only source of chance.
    """
    picture = people[first]
    if rng.random() < recipe.empty:
        sample = _empty(scenery, picture, size, recipe, rng)
    elif rng.random() < recipe.composite:
        sample = _composed(scenery, picture, size, recipe, rng)
    else:
        sample = _cropped(scenery, picture, size, recipe, rng)
    image, alpha = sample.image, sample.alpha
    if _happens(recipe.dappled, rng):
        image = _dappled(image, rng)
    if _happens(recipe.bent, rng):
        image, alpha = _bent(image, alpha, rng)
    if _happens(recipe.strange_light, rng):
        image = _strange_light(image, rng)
    return _either_way_round(camera(image, recipe, rng), alpha, sample.weight, rng)


def _empty(
    scenery: Scenery, picture: Picture, size: tuple[int, int], recipe: AugmentRecipe, rng: Rng
) -> Sample:
    whole = scenery.photographs and _happens(recipe.empty_photograph, rng)
    if whole:
        image = _nearly_whole(scenery.photographs, size, recipe, rng)
    else:
        image = background(scenery, size, recipe, rng)
    if not whole and rng.random() < recipe.empty_objects:
        if rng.random() < recipe.close_up:  # the thing is in focus, what lies behind is not
            image = _out_of_focus(image, rng)
        image = with_objects(image, scenery, recipe, rng, largest=_FILLS_FRAME)
    if _happens(recipe.shadow_alone, rng):
        _, outside = crop(picture, size, recipe, rng)
        image = image * (1 - _shadow(outside, rng))
    return Sample(image=image, alpha=np.zeros(size, np.float32), weight=1.0)


def _cropped(
    scenery: Scenery, picture: Picture, size: tuple[int, int], recipe: AugmentRecipe, rng: Rng
) -> Sample:
    picture, headless = _dressed(picture, recipe, rng)
    image, alpha = crop(picture, size, recipe, rng, headless=headless)
    if _happens(recipe.patched, rng):
        image = _patched(image, alpha, scenery, recipe, rng)
    if _happens(recipe.shadow_added, rng):
        image = image * (1 - _shadow(alpha, rng) * (1 - alpha)[..., None])
    return Sample(image=image, alpha=alpha, weight=picture.weight)


def _happens(chance: float, rng: Rng) -> bool:
    """Nothing is drawn where it never does: held-out composites, made without, stay as they are."""
    return bool(chance and rng.random() < chance)


def _either_way_round(image: F32, alpha: F32, weight: float, rng: Rng) -> Sample:
    if rng.random() < 0.5:
        image, alpha = image[:, ::-1], alpha[:, ::-1]
    return Sample(
        image=np.ascontiguousarray(image), alpha=np.ascontiguousarray(alpha), weight=weight
    )


def plain(
    people: Sequence[Picture],
    scenery: Scenery,
    first: int,
    size: tuple[int, int],
    recipes: tuple[AugmentRecipe, PlainRecipe],
    zoom: float,
    rng: Rng,
) -> Sample:
    """A photo as sharp as it is, upright, in its own or another background.

    What :func:`make` turns, stretches and degrades hardly shows the hairs that its alpha holds:
    trained on that alone, a network learns to draw none, and blurs every edge.

    Args:
        people: Whom to take the photo from.
        scenery: Backgrounds.
        first: Index of the photo.
        size: Height and width wanted; the photo covers them.
        recipes: Of the backgrounds, and of what is special here.
        zoom: At most so much larger than covers ``size``.
        rng: The only source of chance.
    """
    augmentation, recipe = recipes
    picture = people[first]
    photo, have = picture.image, picture.alpha.shape
    alpha = picture.alpha.astype(np.float32) / np.float32(255)
    if rng.random() < recipe.composite:
        behind = background(scenery, (have[0], have[1]), augmentation, rng)
        if _happens(augmentation.shadow_added, rng):
            behind = behind * (1 - _shadow(alpha, rng))
        front = estimate_foreground(photo, alpha)
        photo = composite(front, alpha, np.rint(behind * 255).astype(np.uint8))
    scale = max(size[0] / have[0], size[1] / have[1]) * rng.uniform(1.0, zoom)
    whole = (max(size[1], round(have[1] * scale)), max(size[0], round(have[0] * scale)))
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC  # as in use
    top = int(min(rng.integers(0, whole[1] - size[0] + 1, 2)))  # of two: hair is above
    left = int(rng.integers(0, whole[0] - size[1] + 1))
    window = (slice(top, top + size[0]), slice(left, left + size[1]))
    image = cv2.resize(photo, whole, interpolation=how)[window].astype(np.float32)
    alpha = np.clip(cv2.resize(alpha, whole, interpolation=how)[window], 0, 1)
    lit = np.clip(_light(image / np.float32(255), rng), 0, 1).astype(np.float32)
    return _either_way_round(lit, alpha, picture.weight, rng)


def _warp(array: Any, matrix: F32, size: tuple[int, int], border: int) -> F32:  # noqa: ANN401
    return np.asarray(warp(array, matrix, size, border), np.float32) / np.float32(255)


def crop(
    picture: Picture,
    size: tuple[int, int],
    recipe: AugmentRecipe,
    rng: Rng,
    *,
    headless: bool = False,
) -> tuple[F32, F32]:
    """A crop of the photo as it is, with at least a part of the person in most draws.

    Args:
        picture: The photo.
        size: Height and width wanted.
        recipe: Chances and ranges.
        rng: The only source of chance.
        headless: Of what the person's head is not in, where there is enough of them below it.
    """
    height, width = size
    have_h, have_w = picture.alpha.shape
    stretch = float(np.exp(rng.uniform(-recipe.stretch, recipe.stretch)))
    aspect = width / height * stretch
    frame_h = min(have_h, have_w / aspect)
    part = 1.0 if rng.random() < recipe.whole_frame else rng.uniform(recipe.min_crop, 1.0)
    window_h, window_w = frame_h * part, frame_h * part * aspect

    columns = np.flatnonzero(picture.alpha.max(axis=0) > 127)
    rows = np.flatnonzero(picture.alpha.max(axis=1) > 127)
    if columns.size and rows.size and rng.random() < 0.9:
        x = rng.uniform(columns[0], columns[-1] + 1)
        y = rng.uniform(rows[0], rows[-1] + 1)
    else:
        x, y = rng.uniform(0, have_w), rng.uniform(0, have_h)
    if headless and rows.size:
        below = rows[0] + (rows[-1] - rows[0]) * _head(picture)
        fits = min(1.0, (have_h - below) / window_h)
        window_h, window_w = window_h * fits, window_w * fits
        y = max(y, below + window_h / 2)
    x = float(np.clip(x, window_w / 2, have_w - window_w / 2))
    y = float(np.clip(y, window_h / 2, have_h - window_h / 2))
    turn = rng.uniform(-recipe.rotation_deg, recipe.rotation_deg) if rng.random() < 0.4 else 0.0
    matrix = turn_about(
        (x, y), (width / 2, height / 2), (width / window_w, height / window_h), turn
    )
    border = cv2.BORDER_REFLECT_101
    return _warp(picture.image, matrix, size, border), _warp(picture.alpha, matrix, size, border)


def _dressed(
    picture: Picture, recipe: AugmentRecipe, rng: Rng, *, alone: bool = True
) -> tuple[Picture, bool]:
    """The person, at times in other clothes, and whether the frame is to cut off their head."""
    headless = alone and _happens(recipe.headless, rng)
    if not headless and _happens(recipe.headwear, rng):
        picture = headwear.wearing(picture, rng)
    if _happens(recipe.clothes, rng):
        picture = clothes.changed(picture, _head(picture), rng)
    return picture, headless


def _head(picture: Picture) -> float:
    """About how much of the person's height in the photo is their head and neck."""
    return 0.62 if picture.cut_off_below else 0.18


def fill(image: F32, known: F32) -> F32:
    """Fill where ``known`` is 0 from around it, by pulling up an image pyramid and pushing down.

    Source:
        Gortler et al., "The Lumigraph", SIGGRAPH 1996: pull-push.
    """
    height, width = known.shape
    if min(height, width) <= 2:
        total = max(float(known.sum()), 1e-6)
        mean = (image * known[..., None]).sum(axis=(0, 1)) / total
        return np.broadcast_to(mean, image.shape).astype(np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    weight = cv2.resize(known, half, interpolation=cv2.INTER_AREA)
    colour = cv2.resize(image * known[..., None], half, interpolation=cv2.INTER_AREA)
    colour = colour / np.maximum(weight, 1e-6)[..., None]
    coarse = fill(np.asarray(colour, np.float32), np.minimum(weight * 4, 1).astype(np.float32))
    smooth = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(known[..., None] * image + (1 - known[..., None]) * smooth, np.float32)


def decontaminate(image: F32, alpha: F32) -> F32:
    """Foreground colours by one pass of blur fusion (Forte 2021), enough for training pictures."""
    radius = max(image.shape[0] // 24, 3)
    kernel = (2 * radius + 1, 2 * radius + 1)
    soft = cv2.blur(alpha, kernel)[..., None]
    front = cv2.blur(image * alpha[..., None], kernel) / (soft + 1e-5)
    back = cv2.blur(image * (1 - alpha[..., None]), kernel) / (1 - soft + 1e-5)
    a = alpha[..., None]
    return np.clip(front + a * (image - a * front - (1 - a) * back), 0, 1).astype(np.float32)


def background(scenery: Scenery, size: tuple[int, int], recipe: AugmentRecipe, rng: Rng) -> F32:
    """People-free surroundings: a photo with its person filled in or with none, or a made one."""
    kind = rng.random()
    if kind < recipe.procedural_background:
        return _made_background(size, rng)
    empty = scenery.photographs and kind < recipe.procedural_background + recipe.photographs
    choice = scenery.photographs if empty else scenery.backgrounds
    picture = choice[int(rng.integers(len(choice)))]
    image, alpha = crop(picture, size, recipe, rng)
    # Try for a crop beside the person: less to fill, and real texture.
    for _ in range(3):
        if alpha.mean() < 0.15:
            break
        image, alpha = crop(picture, size, recipe, rng)
    clean = image
    if alpha.any():
        grown = cv2.dilate(alpha, np.ones((9, 9), np.uint8))
        clean = fill(image, (grown < 0.02).astype(np.float32))
    if rng.random() < 0.15:
        clean = np.ascontiguousarray(clean[::-1])
    if rng.random() < 0.35:
        clean = np.asarray(cv2.GaussianBlur(clean, (0, 0), rng.uniform(0.5, 6)), np.float32)
    return clean


def _nearly_whole(
    photographs: Sequence[Picture], size: tuple[int, int], recipe: AugmentRecipe, rng: Rng
) -> F32:
    """One of the photographs, most of it: an animal there is seen as it would be in a photo."""
    picture = photographs[int(rng.integers(len(photographs)))]
    return crop(picture, size, replace(recipe, min_crop=_MOST), rng)[0]


def _out_of_focus(image: F32, rng: Rng) -> F32:
    sigma = rng.uniform(0.005, 0.03) * min(image.shape[:2])
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.float32)


def _made_background(size: tuple[int, int], rng: Rng) -> F32:
    height, width = size
    low, high = rng.random(3), rng.random(3)
    kind = rng.integers(4)
    if kind == 0:
        ramp = np.zeros(size)
    elif kind == 1:
        y, x = np.mgrid[0:height, 0:width]
        angle = rng.uniform(0, 2 * np.pi)
        ramp = np.cos(angle) * x / width + np.sin(angle) * y / height
        ramp = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)
    elif kind == 2:
        y, x = np.mgrid[0:height, 0:width]
        ramp = np.hypot(x / width - rng.random(), y / height - rng.random())
    else:
        ramp = np.zeros(size)
        for cells in (2, 4, 8, 16, 32, 64):
            noise = rng.random((cells, cells)).astype(np.float32)
            ramp += cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC) / cells**0.7
        ramp = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)
    image = low + ramp[..., None] * (high - low)
    return np.clip(image, 0, 1).astype(np.float32)


def _texture(scenery: Scenery, size: tuple[int, int], recipe: AugmentRecipe, rng: Rng) -> F32:
    """A surface for a made object: somewhere else's surroundings, or a drawn one."""
    if rng.random() < 0.6:
        return background(scenery, size, recipe, rng)
    return _made_background(size, rng)


def _outline(size: tuple[int, int], rng: Rng, largest: float) -> F32:
    """A closed shape somewhere in the frame, smooth or with corners; alpha.

    It is at most about as wide as ``largest`` times the frame.
    """
    height, width = size
    corners = int(rng.integers(3, 12))
    angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
    radii = rng.uniform(0.4, 1.0, corners) * min(size) * rng.uniform(0.06, largest / 2)
    squash = np.exp(rng.uniform(-0.9, 0.9))
    x = rng.uniform(0, width) + radii * np.cos(angles) * squash
    y = rng.uniform(0, height) + radii * np.sin(angles) / squash
    canvas = np.zeros(size, np.uint8)
    points = np.stack([x, y], axis=1)
    cv2.fillPoly(canvas, [np.round(points * 16).astype(np.int32)], 255, cv2.LINE_AA, 4)
    if rng.random() < 0.6:  # rounded: blurred and cut again
        sigma = rng.uniform(0.01, 0.05) * min(size)
        soft = cv2.GaussianBlur(canvas, (0, 0), sigma).astype(np.float32) / 255
        return np.clip((soft - 0.5) * sigma * 2 + 0.5, 0, 1).astype(np.float32)
    return canvas.astype(np.float32) / np.float32(255)


def _object(
    scenery: Scenery,
    size: tuple[int, int],
    recipe: AugmentRecipe,
    rng: Rng,
    largest: float = _LARGEST,
) -> F32:
    """Something that is not a person, somewhere in the frame; (H, W, 4), colours straight."""
    height, width = size
    if _happens(recipe.posts, rng):
        return _post(scenery, size, recipe, rng)
    if not scenery.objects or rng.random() < recipe.made_objects:
        alpha = _outline(size, rng, largest)
        return np.dstack([_texture(scenery, size, recipe, rng), alpha]).astype(np.float32)
    thing = scenery.objects[int(rng.integers(len(scenery.objects)))]
    have_h, have_w = thing.shape[:2]
    scale = rng.uniform(_SMALLEST, largest) * min(height / have_h, width / have_w)
    mirror = 1 if rng.random() < 0.5 else -1
    matrix = turn_about(
        (have_w / 2, have_h / 2),
        (rng.uniform(0, width), rng.uniform(0, height)),
        (scale * mirror, scale),
        rng.uniform(-30, 30),
    )
    laid = _warp(thing, matrix, size, cv2.BORDER_CONSTANT)
    if rng.random() < 0.4:  # drawings are flat: give some the surface of something real
        weight = rng.uniform(0.3, 0.9)
        laid[..., :3] += weight * (_texture(scenery, size, recipe, rng) - laid[..., :3])
    return laid


def _post(scenery: Scenery, size: tuple[int, int], recipe: AugmentRecipe, rng: Rng) -> F32:
    """A trunk, a column, a curtain, a plank: a band that comes in at one of the frame's sides.

    (H, W, 4), colours straight. Most stand; they are as wide as people and wider.
    """
    lying = rng.random() < 0.25
    height, width = size[::-1] if lying else size
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None] / np.float32(width)
    knots = rng.normal(0, rng.uniform(0.0, 0.03), (2, 5)).astype(np.float32)
    left, right = cv2.resize(knots, (height, 2), interpolation=cv2.INTER_CUBIC)[:, :, None]
    middle = rng.uniform(-0.1, 1.1) + rng.normal(0, 0.15) * (y - 0.5)
    half = np.exp(rng.uniform(np.log(0.03), np.log(0.35))) * (1 + rng.normal(0, 0.3) * (y - 0.5))
    sharp = width / rng.uniform(1.0, 4.0)
    inside = np.minimum(x - (middle - half + left), (middle + half + right) - x) * sharp + 0.5
    alpha = np.clip(inside, 0, 1)
    if rng.random() < 0.35:  # it ends in the frame
        end = rng.uniform(0.1, 0.9)
        alpha = alpha * np.clip((y - end) * height / rng.uniform(1.0, 4.0) + 0.5, 0, 1)
    if rng.random() < 0.6:
        surface = _grain((height, width), rng)
    else:
        surface = _texture(scenery, (height, width), recipe, rng)
    shade = (
        1 - rng.uniform(0, 0.6) * np.abs((x - middle) / half).clip(0, 1) ** 2
    )  # round, if at all
    thing = np.dstack([surface * shade[..., None], alpha]).astype(np.float32)
    if rng.random() < 0.5:
        thing = thing[::-1]
    return np.ascontiguousarray(thing.transpose(1, 0, 2) if lying else thing)


def _grain(size: tuple[int, int], rng: Rng) -> F32:
    """A surface with a grain from top to bottom, as of bark, wood, bristles, cloth or straw."""
    height, width = size
    ramp = np.zeros(size, np.float32)
    along = rng.uniform(1, 12)
    for cells in (4, 12, 36, 90):
        shape = (max(2, round(cells * height / width / along)), cells)
        noise = rng.random(shape, dtype=np.float32) - np.float32(0.5)
        drawn = cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
        ramp += drawn * np.float32(rng.uniform(0, 1))
    ramp = (ramp - ramp.min()) / max(float(np.ptp(ramp)), 1e-6)
    if rng.random() < 0.5:  # as cracks are
        ramp = ramp ** rng.uniform(0.3, 2.5)
    low = rng.random(3) * rng.uniform(0.1, 0.8)
    high = np.clip(low + rng.uniform(0.1, 0.6) + rng.normal(0, 0.08, 3), 0, 1)
    return np.clip(low + ramp[..., None] * (high - low), 0, 1).astype(np.float32)


def with_objects(
    image: F32, scenery: Scenery, recipe: AugmentRecipe, rng: Rng, largest: float = _LARGEST
) -> F32:
    """One to four things laid over a scene, each at most ``largest`` times as large as it."""
    for _ in range(int(rng.integers(1, 5))):
        thing = _object(scenery, (image.shape[0], image.shape[1]), recipe, rng, largest)
        image = image + thing[..., 3:] * (thing[..., :3] - image)
    return image


@dataclass(frozen=True, slots=True, kw_only=True)
class _Spot:
    """Where in the frame one of several people stands."""

    left: float
    width: float
    """Pixels of the frame that are theirs, though they may reach beyond."""
    scale: tuple[float, float]
    """Range of their size relative to what fits there."""
    passing: bool = False
    """The frame's nearer side cuts them off: part of them, often without the head, is seen."""


def _is_cut_off(picture: Picture) -> bool:
    """Whether the photo cuts the person off at its left or right edge."""
    solid = picture.alpha > 127
    return bool(solid[:, 0].mean() > TOUCHES or solid[:, -1].mean() > TOUCHES)


def _extent(solid: Any) -> tuple[Any, Any]:  # noqa: ANN401
    """Rows and columns of which some is ``solid``, (H, W) bool; the outermost ones if none is."""
    rows, columns = np.flatnonzero(solid.any(axis=1)), np.flatnonzero(solid.any(axis=0))
    if not rows.size:
        rows, columns = (np.array([0, many - 1]) for many in solid.shape)
    return rows, columns


def _placed(
    picture: Picture,
    size: tuple[int, int],
    recipe: AugmentRecipe,
    rng: Rng,
    spot: _Spot | None = None,
) -> tuple[F32, F32]:
    """The person somewhere in an otherwise empty frame; image and alpha.

    Where the photo cuts the person off, its edge stays outside the frame, so that nobody floats.
    """
    picture, headless = _dressed(picture, recipe, rng, alone=spot is None)
    height, width = size[0], size[1] if spot is None else spot.width
    have_h, have_w = picture.alpha.shape
    solid = picture.alpha > 127
    sideways = spot is None and _is_cut_off(picture)
    bottom = picture.cut_off_below
    fit = min(height / have_h, width / have_w)
    if spot is not None:
        scale = fit * rng.uniform(*spot.scale)
    elif sideways:
        scale = max(width / have_w, height / have_h * 0.6) * rng.uniform(1.0, 1.6)
    elif rng.random() < recipe.small_person:
        scale = fit * rng.uniform(0.15, 0.8)
    else:
        scale = fit * rng.uniform(0.8, 2.2)
    stretch = float(np.exp(rng.uniform(-recipe.stretch, recipe.stretch) / 2))
    scales = (scale * stretch, scale / stretch)
    rows, columns = _extent(solid)
    if headless:  # what is below the head fills the frame, or more than that
        seen = (rows[-1] - rows[0] + 1) * (1 - _head(picture))
        scales = (height / seen * rng.uniform(1.0, 1.5),) * 2
    centre_x, half_w = (columns[0] + columns[-1]) / 2, (columns[-1] - columns[0]) / 2
    if sideways:
        margin = max(0.0, (have_w * scales[0] - width) / 2)
        to_x = width / 2 + rng.uniform(-margin, margin) + (centre_x - have_w / 2) * scales[0]
    elif spot is not None and spot.passing:
        beyond = half_w * scales[0] * rng.uniform(*_BEYOND)
        to_x = -beyond if rng.random() < 0.5 else width + beyond
    else:
        room = max(width / 2 - half_w * scales[0], 0) + half_w * scales[0] * 0.6
        to_x = width / 2 + rng.uniform(-room, room)
    if bottom:
        from_y, to_y = float(have_h), height + rng.uniform(0, 0.25) * have_h * scales[1]
        to_y = max(min(to_y, height + (rows[-1] - rows[0]) * scales[1] * 0.5), float(height))
        turn = 0.0
    else:
        from_y = (rows[0] + rows[-1]) / 2
        reach = (rows[-1] - rows[0]) / 2 * scales[1]
        room = max(height / 2 - reach, 0) + reach * 0.5
        to_y = height / 2 + rng.uniform(-room, room)
        far = 100.0 if rng.random() < recipe.tumble else recipe.rotation_deg
        turn = 0.0 if sideways else rng.uniform(-far, far)
        if headless:
            turn, over = 0.0, _head(picture) * 2 * reach
            to_y = min(reach - over, height - reach + over)
    to_x += 0.0 if spot is None else spot.left
    matrix = turn_about((float(centre_x), from_y), (to_x, to_y), scales, turn)
    image = _warp(picture.image, matrix, size, cv2.BORDER_REPLICATE)
    alpha = _warp(picture.alpha, matrix, size, cv2.BORDER_CONSTANT)
    return image, alpha


def _crowd(
    scenery: Scenery, picture: Picture, size: tuple[int, int], recipe: AugmentRecipe, rng: Rng
) -> list[tuple[Picture, _Spot | None]]:
    """Who is in the picture, those in front first: one person, or several side by side.

    Somebody who is passing may come before or behind them.
    """
    who = _side_by_side(scenery, picture, size, recipe, rng)
    # Nothing is drawn where nobody passes: held-out composites stay as they are.
    if recipe.passer_by and rng.random() < recipe.passer_by:
        other = scenery.photos[int(rng.integers(len(scenery.photos)))]
        if not _is_cut_off(other):
            low = float(np.exp(rng.uniform(np.log(0.4), np.log(1.6))))
            spot = _Spot(left=0.0, width=size[1], scale=(low, low * 1.35), passing=True)
            who.insert(int(rng.integers(len(who) + 1)), (other, spot))
    return who


def _side_by_side(
    scenery: Scenery, picture: Picture, size: tuple[int, int], recipe: AugmentRecipe, rng: Rng
) -> list[tuple[Picture, _Spot | None]]:
    if rng.random() >= recipe.group or _is_cut_off(picture):
        return [(picture, None)]
    members = [picture]
    for _ in range(int(rng.integers(1, 5))):
        other = scenery.photos[int(rng.integers(len(scenery.photos)))]
        if not _is_cut_off(other):
            members.append(other)
    each = size[1] / len(members)
    small = rng.random() < recipe.small_person
    low = rng.uniform(0.35, 0.8) if small else rng.uniform(0.9, 1.6)
    order = rng.permutation(len(members))
    return [
        (
            member,
            _Spot(
                left=each * place - each * 0.2,
                width=each * 1.4,
                scale=(low, low * 1.35),
            ),
        )
        for member, place in zip(members, order, strict=True)
    ]


def _composed(
    scenery: Scenery, picture: Picture, size: tuple[int, int], recipe: AugmentRecipe, rng: Rng
) -> Sample:
    image = background(scenery, size, recipe, rng)
    if rng.random() < recipe.objects:
        image = with_objects(image, scenery, recipe, rng)
    alpha = np.zeros(size, np.float32)
    weight = picture.weight
    layers: list[tuple[F32, F32]] = []
    for person, spot in reversed(_crowd(scenery, picture, size, recipe, rng)):
        weight = min(weight, person.weight)
        photo, own = _placed(person, size, recipe, rng, spot)
        colours = decontaminate(photo, own)
        if _happens(recipe.recoloured, rng):
            colours = _recoloured(colours, rng)
        if _happens(recipe.patched, rng):
            colours = _patched(colours, own, scenery, recipe, rng)
        if rng.random() < 0.5:
            colours = np.clip(colours * rng.uniform(0.7, 1.2) + rng.uniform(-0.08, 0.08), 0, 1)
        layers.append((colours, own))
    kind = rng.random()
    if kind < recipe.held:
        layers[-1] = _with_held(*layers[-1], scenery, recipe, rng)
    for colours, own in layers:
        if kind > 1 - recipe.shadow:
            image = image * (1 - _shadow(own, rng))
        image = own[..., None] * colours + (1 - own[..., None]) * image
        alpha = own + (1 - own) * alpha
    return Sample(image=image.astype(np.float32), alpha=alpha, weight=weight)


def _with_held(
    colours: F32, alpha: F32, scenery: Scenery, recipe: AugmentRecipe, rng: Rng
) -> tuple[F32, F32]:
    """The person with a thing before them, theirs as carried things are in the masks.

    Its middle lies on the person, and it is no wider or higher than three quarters of them.
    """
    height, width = alpha.shape
    rows, columns = np.nonzero(alpha > 0.5)
    if not rows.size:
        return colours, alpha
    largest = 0.75 * min(float(np.ptp(rows)) / height, float(np.ptp(columns)) / width)
    if largest < _SMALLEST:
        return colours, alpha
    at = int(rng.integers(rows.size))
    thing = _object(scenery, (height, width), recipe, rng, min(largest, _LARGEST))
    held = thing[..., 3]
    found_rows, found_columns = np.nonzero(held > 0.5)
    if not found_rows.size:
        return colours, alpha
    middle = (
        float(found_columns.min() + found_columns.max()) / 2,
        float(found_rows.min() + found_rows.max()) / 2,
    )
    matrix = turn_about(middle, (float(columns[at]), float(rows[at])), (1.0, 1.0), 0.0)
    thing = np.asarray(warp(thing, matrix, alpha.shape, cv2.BORDER_CONSTANT), np.float32)
    held = thing[..., 3]
    return colours + held[..., None] * (thing[..., :3] - colours), held + (1 - held) * alpha


def _recoloured(image: F32, rng: Rng) -> F32:
    """Other clothes, hair and skin: channels mixed anew, some of them turned to their negative."""
    mix = rng.dirichlet((0.5, 0.5, 0.5), 3) if rng.random() < 0.5 else np.eye(3)[rng.permutation(3)]
    mixed = image @ mix.T.astype(np.float32)
    negative = rng.random(3) < 0.2
    mixed = np.where(negative, 1 - mixed, mixed)
    gain = np.exp(rng.uniform(-0.5, 0.3))
    return np.clip(mixed * gain, 0, 1).astype(np.float32)


def _patched(image: F32, alpha: F32, scenery: Scenery, recipe: AugmentRecipe, rng: Rng) -> F32:
    """The person with parts that look like something else: no face, another's clothes, a print.

    Where there is a face to be seen, a network comes to take what has none for nobody.
    """
    rows, columns = np.nonzero(alpha > 0.5)
    if not rows.size:
        return image
    height, width = alpha.shape
    tall = float(np.ptp(rows)) + 1
    for _ in range(int(rng.integers(1, 4))):
        # As often as not on the upper third, where a face is.
        upper = rows <= rows[0] + tall / 3
        among = np.flatnonzero(upper) if rng.random() < 0.5 else np.arange(rows.size)
        at = among[int(rng.integers(among.size))]
        blot = _outline((height, width), rng, float(np.clip(tall / height * 0.7, 0.15, 0.9)))
        found = np.nonzero(blot > 0.5)
        if not found[0].size:
            continue
        middle = (float(found[1].mean()), float(found[0].mean()))
        to = (float(columns[at]), float(rows[at]))
        matrix = turn_about(middle, to, (1.0, 1.0), 0.0)
        blot = np.asarray(warp(blot, matrix, (height, width), cv2.BORDER_CONSTANT), np.float32)
        if rng.random() < 0.6:  # hair, skin or clothes
            other = scenery.photos[int(rng.integers(len(scenery.photos)))]
            tone = _inside(other, (height, width), rng)
        else:
            tone = _texture(scenery, (height, width), recipe, rng)
        image = image + (blot * alpha)[..., None] * (tone - image)
    return np.asarray(image, np.float32)


def _inside(picture: Picture, size: tuple[int, int], rng: Rng) -> F32:
    """A frame full of somebody's clothes, hair or skin."""
    rows, columns = np.nonzero(picture.alpha > 250)
    if not rows.size:
        return _made_background(size, rng)
    at = int(rng.integers(rows.size))
    scale = float(rng.uniform(0.8, 3.0)) * size[0] / picture.alpha.shape[0]
    to = (size[1] / 2, size[0] / 2)
    matrix = turn_about(
        (float(columns[at]), float(rows[at])), to, (scale, scale), rng.uniform(-180, 180)
    )
    laid = _warp(picture.image, matrix, size, cv2.BORDER_REFLECT_101)
    known = _warp(picture.alpha, matrix, size, cv2.BORDER_REFLECT_101)
    return fill(laid, (known > 0.9).astype(np.float32))


def _bent(image: F32, alpha: F32, rng: Rng) -> tuple[F32, F32]:
    """The picture drawn on rubber: other builds, postures and heads' outlines."""
    height, width = alpha.shape
    cells = int(rng.integers(3, 7))
    reach = rng.uniform(0.1, 0.3) * min(height, width) / cells * 2
    shift = rng.uniform(-reach, reach, (cells, cells, 2)).astype(np.float32)
    shift = cv2.resize(shift, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    maps = (x + shift[..., 0], y + shift[..., 1])
    border = cv2.BORDER_REFLECT_101
    bent = cv2.remap(image, *maps, cv2.INTER_LINEAR, borderMode=border)
    moved = cv2.remap(alpha, *maps, cv2.INTER_LINEAR, borderMode=border)
    return np.asarray(bent, np.float32), np.asarray(moved, np.float32)


def _strange_light(image: F32, rng: Rng) -> F32:
    """Light of one or two strong colours, in haze, or hardly any."""
    height, width = image.shape[:2]
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j].astype(np.float32)
    angle = rng.uniform(0, 2 * np.pi)
    ramp = 1 / (
        1 + np.exp(-rng.uniform(0, 8) * (np.cos(angle) * (x - 0.5) + np.sin(angle) * (y - 0.5)))
    )
    one, two = (rng.uniform(0.15, 1.0, 3).astype(np.float32) for _ in range(2))
    one, two = (colour * max(1.0, 0.45 / float(colour.mean())) for colour in (one, two))
    light = one + ramp[..., None].astype(np.float32) * (two - one)
    luma = _luma(image)
    image = luma + rng.uniform(0.2, 1.0) * (image - luma)
    image = np.clip(image * light, 0, 1)
    if rng.random() < 0.35:
        haze = rng.uniform(0.3, 0.9, 3) if rng.random() < 0.5 else np.full(3, rng.uniform(0.5, 1))
        image = image + rng.uniform(0.2, 0.6) * (haze - image)
    elif rng.random() < 0.4:
        image = image ** rng.uniform(1.0, 1.6) * rng.uniform(0.4, 0.9)
    return np.asarray(image, np.float32)


def _shadow(alpha: F32, rng: Rng) -> F32:
    """How much of the light the person takes from what lies behind, (H, W, 3) RGB in [0, 1).

    On the ground it starts where they stand and is laid over, short or long; on a wall it is their
    outline, moved; or it begins on the ground and is bent up a wall. In full sun it is as sharp as
    they are and nearly black. What light is left is rather the sky's, bluish.
    """
    height, width = alpha.shape
    rows = np.flatnonzero((alpha > 0.5).any(axis=1))
    if not rows.size:
        return np.zeros((height, width, 3), np.float32)
    foot, tall = float(rows[-1]), float(np.ptp(rows)) + 1
    middle = float(np.flatnonzero((alpha > 0.5).any(axis=0)).mean())
    kind = rng.random()
    on_wall, bent = kind > 0.4, kind > 0.8
    lean, flat = rng.uniform(-1.5, 1.5), rng.uniform(0.15 if bent else -0.5, 0.6)
    ground = np.array([[1, -lean, lean * foot], [0, flat, foot * (1 - flat)]], np.float32)
    larger, slant = rng.uniform(0.9, 1.25), rng.uniform(-0.2, 0.2)
    aside, down = rng.uniform(-0.15, 0.15) * tall, rng.uniform(-0.06, 0.1) * tall
    rise = min(rng.uniform(0.02, 0.2), 0.9 * flat) * tall  # of the wall's foot over theirs
    if bent:  # what stands higher than this falls on the wall
        height_there = rise / flat
        larger, aside, down = 1.0, (lean - slant) * height_there, height_there - rise
    wall = np.array(
        [
            [larger, -slant, middle * (1 - larger) + slant * foot + aside],
            [0, larger, foot * (1 - larger) + down],
        ],
        np.float32,
    )
    laid = cv2.warpAffine(alpha, wall if on_wall else ground, (width, height))
    if bent:
        bend = max(0, round(foot - rise))
        laid[bend:] = cv2.warpAffine(alpha, ground, (width, height))[bend:]
    blur = float(np.exp(rng.uniform(np.log(0.001), np.log(0.02))))
    soft = cv2.GaussianBlur(laid, (0, 0), blur * min(height, width))
    sky = 1 - rng.uniform(0, 0.15) * np.array([0.0, 0.4, 1.0])
    return np.asarray(soft[..., None] * (sky * rng.uniform(0.2, 0.93)), np.float32)


def _dappled(image: F32, rng: Rng) -> F32:
    """Shadows of what is outside the frame over everything in it, people too."""
    size = (image.shape[0], image.shape[1])
    covered = np.zeros(size, np.float32)
    for _ in range(int(rng.integers(1, 6))):
        blur = rng.uniform(0.001, 0.03) * min(size)
        soft = cv2.GaussianBlur(_outline(size, rng, 1.6), (0, 0), blur)
        covered = np.maximum(covered, soft)
    return np.asarray(image * (1 - rng.uniform(0.2, 0.7) * covered)[..., None], np.float32)


def _luma(image: F32) -> F32:
    """(H, W, 3) RGB → (H, W, 1), by the weights of ITU-R BT.601."""
    return (image @ np.array([0.299, 0.587, 0.114], image.dtype))[..., None]


def _light(image: F32, rng: Rng) -> F32:
    """Other exposure, contrast, saturation and white balance; may leave [0, 1]."""
    if rng.random() < 0.8:
        gain, gamma = rng.uniform(0.75, 1.3), np.exp(rng.uniform(-0.35, 0.35))
        image = np.clip(image, 0, 1) ** gamma * gain + rng.uniform(-0.08, 0.08)
    if rng.random() < 0.5:
        luma = _luma(image)
        image = luma + (image - luma) * rng.uniform(0.4, 1.6)
    if rng.random() < 0.4:
        image = image * rng.uniform(0.82, 1.18, 3)
    return image


def camera(image: F32, recipe: AugmentRecipe, rng: Rng) -> F32:
    """Light, colour, focus, noise and compression of other cameras."""
    height, width = image.shape[:2]
    image = _light(image, rng)
    if rng.random() < recipe.grey:
        image = np.repeat(_luma(image), 3, axis=2)
    if rng.random() < recipe.dark:
        image = image * rng.uniform(0.2, 0.6)
    image = np.clip(image, 0, 1).astype(np.float32)
    if rng.random() < recipe.low_resolution:
        shrink = rng.uniform(0.3, 0.8)
        small = (max(1, round(width * shrink)), max(1, round(height * shrink)))
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < recipe.blur:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 2.0))
    if rng.random() < recipe.noise:
        noise = rng.standard_normal(image.shape, dtype=np.float32)
        image = image + noise * np.float32(rng.uniform(0.005, 0.05))
    image = np.clip(image, 0, 1)
    if rng.random() < recipe.jpeg:
        image = jpeg(image, int(rng.integers(25, 95)))
    return np.asarray(image, np.float32)
