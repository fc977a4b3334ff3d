"""What one list of photos does not show: edges, scenes without people, groups, poor pictures.

``python benchmarks/bench_quality.py DATA MODEL.onnx [MODEL.onnx …] --share /usr/share`` with
self-describing files, the reference first; DATA holds ``ccp/`` and ``us_officials/``, and
``--share`` the wallpapers that ``held_out.toml`` lists. Nothing of it is trained on; every draw is
from the seed there:

- *edges*: close-ups over photographs without people; SAD, gradient error in the unknown band.
- *empty*: scenes without people; mean alpha.
- *mixed*: one to five people, near and far, over photographs without people; MAD and IoU. Composed
  by what composes training's pictures, which favours a model trained on them.
- *poor*: photos of ccp's list, grey, dark, blurred, as JPEG of quality 30, turned as EXIF says.
- *moved*: by how much that list's masks lie right of and below alpha, median, and MAD and IoU of
  alpha moved by it: what the masks' own place costs every model.
- *on the photo*: by how much alpha's edges lie right of and below the photo's own, and the masks'
  likewise: which of the two lie aside.
- *people*: the close-ups as they are, by how much fine hair they show (thirds, by the share of soft
  alpha around the head), and all of them with whatever has the colour of skin made darker; MAD. Too
  few of them have dark skin for a figure of its own, so the same pictures are compared.
- *elsewhere*, with ``--elsewhere``: photos of people from other sources than training's; MAD, IoU,
  and of how many the IoU is below .8. The reference is what MODNet or u2netp, both among the models
  given, makes of them, where it is right by eye: their own figures there are flattered.

The close-ups' truth, in *edges* and *people*, is MODNet's own alpha, which flatters its figures.
"""

from __future__ import annotations

import argparse
import dataclasses
import io
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import harness
import numpy as np
from PIL import Image as Pillow

import portrait_sdk
from portrait_sdk.evaluation import metrics
from portrait_sdk.evaluation.regions import region
from portrait_sdk.media import load_image
from portrait_sdk.ops.compositing import composite, cover
from portrait_sdk.ops.foreground import estimate_foreground

# training is not installed: it lies in the checkout.
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from training import augment, pictures
from training import recipe as recipes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from portrait_sdk.api import Matting
    from portrait_sdk.types import AlphaF32, Image

HELD_OUT = Path(__file__).with_name("held_out.toml")
_EMPTY_SIDE, _ELSEWHERE_SIDE = 1600, 1024
_CLOSEUPS = 0.3  # of the mixed composites begin with a close-up
_ORIENTATION, _TURNED_LEFT = 0x0112, 6
_CLEAR, _SOLID = 12, 243  # of 8-bit alpha: below and above, not soft
_NEAR = 0.25  # alphas that differ by more do not by where an edge lies
_SHIFTS, _BLUR = range(-4, 5), 1.5  # pixels
_LOST = 0.8  # an IoU below it: part of somebody is missing, or more than people found
_DARKER = (0.30, 0.24, 0.20)  # of the light, as dark skin reflects beside light skin


def _u8(image: augment.F32) -> Image:
    return np.ascontiguousarray(np.rint(image * 255), dtype=np.uint8)


def edges(
    closeups: Sequence[pictures.Picture],
    behind: Sequence[pictures.Picture],
    augmentation: recipes.AugmentRecipe,
    side: int,
    seed: int,
) -> Iterator[tuple[Image, AlphaF32]]:
    """Every close-up over one of ``behind``, and its alpha."""
    scenery = augment.Scenery(photos=closeups, behind=behind)
    for number, picture in enumerate(closeups):
        rng = np.random.default_rng([seed, 0, number])
        other = _u8(augment.background(scenery, (side, side), augmentation, rng))
        photo = cover(picture.image, (side, side))
        alpha = cover(np.dstack([picture.alpha] * 3), (side, side))[..., 0]
        truth = alpha.astype(np.float32) / np.float32(255)
        yield composite(estimate_foreground(photo, truth), truth, other), truth


def mixed(
    closeups: Sequence[pictures.Picture],
    street: Sequence[pictures.Picture],
    behind: Sequence[pictures.Picture],
    held: Mapping[str, Any],
) -> Iterator[tuple[Image, AlphaF32]]:
    """People composed over ``behind``, and their alpha."""
    augmentation = recipes.AugmentRecipe(**held["augment"])
    sizes = [tuple(size) for size in held["mixed_sizes"]]
    scenery = augment.Scenery(photos=[*street, *closeups], behind=behind)
    for number in range(held["mixed"]):
        rng = np.random.default_rng([held["seed"], 1, number])
        people = closeups if rng.random() < _CLOSEUPS else street
        first = int(rng.integers(len(people)))
        size = sizes[number % len(sizes)]
        sample = augment.make(people, scenery, first, size, augmentation, rng)
        yield _u8(sample.image), sample.alpha


def _grey(image: Image) -> Image:
    return cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)  # type: ignore[return-value]


def _dark(image: Image) -> Image:
    return _u8(image.astype(np.float32) / 255 * 0.35)


def _blurred(image: Image) -> Image:
    return cv2.GaussianBlur(image, (0, 0), 2.0)  # type: ignore[return-value]


def _jpeg_30(image: Image) -> Image:
    return _u8(augment.jpeg(image.astype(np.float32) / 255, 30))


def _exif_turned(image: Image) -> Image:
    """Turned a quarter, with the EXIF tag that says so, read back as a file is."""
    buffer = io.BytesIO()
    exif = Pillow.Exif()
    exif[_ORIENTATION] = _TURNED_LEFT
    turned = Pillow.fromarray(np.ascontiguousarray(np.rot90(image)))
    turned.save(buffer, "jpeg", quality=95, exif=exif)
    return load_image(buffer.getvalue()).over_white()


POOR: Mapping[str, Callable[[Image], Image]] = {
    "grey": _grey,
    "dark": _dark,
    "blurred": _blurred,
    "JPEG, quality 30": _jpeg_30,
    "turned, by EXIF": _exif_turned,
}


def fine_hair(alpha: Image) -> float:
    """Soft pixels per solid one in the upper half of a person."""
    rows = np.flatnonzero((alpha > _SOLID).any(axis=1))
    upper = alpha[rows[0] : (rows[0] + rows[-1] + 1) // 2]
    return float(((upper > _CLEAR) & (upper < _SOLID)).sum() / (upper >= _SOLID).sum())


def darker_skin(image: Image, alpha: Image) -> Image:
    """The photo, its person's skin reflecting a quarter of the light it did.

    Skin is found by its chroma (the YCrCb box of Chai & Ngan, 1999, a little wider), which finds
    hair and cloth of that colour, too.
    """
    _, cr, cb = cv2.split(cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb))
    skin = (alpha >= _SOLID) & (cr >= 133) & (cr <= 180) & (cb >= 77) & (cb <= 130)  # noqa: PLR2004
    around = np.ones((9, 9), np.uint8)
    closed = cv2.morphologyEx(skin.astype(np.uint8), cv2.MORPH_CLOSE, around, iterations=2)
    opened = cv2.morphologyEx(closed, cv2.MORPH_OPEN, around).astype(np.float32)
    weight = cv2.GaussianBlur(opened, (0, 0), 3.0)[..., None]
    light = (image.astype(np.float32) / 255) ** 2.2
    return _u8((light * (1 - weight + weight * np.array(_DARKER, np.float32))) ** (1 / 2.2))


def _alpha(matting: Matting, image: Image) -> AlphaF32:
    return matting.matte(image, refine="none").alpha


def _score_edges(matting: Matting, pairs: Sequence[tuple[Image, AlphaF32]]) -> dict[str, float]:
    sads, gradients = [], []
    for image, truth in pairs:
        alpha, unknown = _alpha(matting, image), region("unknown", truth)
        sads.append(metrics.sad(alpha, truth, region=unknown) / 1000)
        gradients.append(metrics.gradient(alpha, truth, region=unknown) / 1000)
    return {"sad": float(np.mean(sads)), "gradient": float(np.mean(gradients))}


def _errors(
    alphas: Iterable[AlphaF32], truths: Iterable[AlphaF32]
) -> tuple[list[float], list[float]]:
    """MAD and IoU of each picture."""
    mads, ious = [], []
    for alpha, truth in zip(alphas, truths, strict=True):
        mads.append(metrics.mad(alpha, truth))
        ious.append(metrics.iou(alpha, truth))
    return mads, ious


def _means(mads: Sequence[float], ious: Sequence[float]) -> dict[str, float]:
    return {"mad": float(np.mean(mads)), "iou": float(np.mean(ious))}


def _pair_errors(
    matting: Matting, pairs: Sequence[tuple[Image, AlphaF32]]
) -> tuple[list[float], list[float]]:
    return _errors((_alpha(matting, image) for image, _ in pairs), (truth for _, truth in pairs))


def _score_whole(matting: Matting, pairs: Sequence[tuple[Image, AlphaF32]]) -> dict[str, float]:
    return _means(*_pair_errors(matting, pairs))


def _score_elsewhere(matting: Matting, pairs: Sequence[tuple[Image, AlphaF32]]) -> dict[str, float]:
    mads, ious = _pair_errors(matting, pairs)
    return {**_means(mads, ious), "lost": sum(iou < _LOST for iou in ious)}


def displacement(alpha: AlphaF32, truth: AlphaF32) -> tuple[float, float]:
    """How far right of and below ``alpha`` ``truth`` lies, in pixels.

    Source:
        Lucas & Kanade, "An Iterative Image Registration Technique", IJCAI 1981: least squares over
        gradients, where the two differ little.
    """
    own, wanted = (cv2.GaussianBlur(a, (0, 0), 2.0).astype(np.float64) for a in (alpha, truth))
    near = np.abs(wanted - own) < _NEAR
    down, right = (g[near] for g in np.gradient(own))
    slopes = np.stack([right, down], axis=1)
    (x, y), *_ = np.linalg.lstsq(slopes, -(wanted - own)[near], rcond=None)
    return float(x), float(y)


def moved(alphas: Sequence[AlphaF32], truths: Sequence[AlphaF32]) -> dict[str, float]:
    """How far right of and below ``alphas`` ``truths`` lie; MAD and IoU of alpha moved there."""
    found = [displacement(*pair) for pair in zip(alphas, truths, strict=True)]
    x, y = (float(np.median(each)) for each in zip(*found, strict=True))
    return {"right": x, "below": y, **_means(*_errors((_shifted(a, x, y) for a in alphas), truths))}


def _shifted(plane: AlphaF32, x: float, y: float) -> AlphaF32:
    """``plane`` moved right and down by fractions of a pixel."""
    matrix = np.array([[1, 0, x], [0, 1, y]], np.float64)
    size = (plane.shape[1], plane.shape[0])
    return np.asarray(
        cv2.warpAffine(plane, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.float32
    )


def off_the_photo(alphas: Sequence[AlphaF32], photos: Sequence[Image]) -> dict[str, float]:
    """How far right of and below the photos' own edges those of ``alphas`` lie, in pixels.

    Alpha's slopes along an axis are moved along it; where they coincide best with the photo's, on
    the mean over all photos, is where alpha should lie.
    """
    axes = {"right": (1, 0), "below": (0, 1)}
    curves = {name: np.zeros(len(_SHIFTS)) for name in axes}
    for alpha, photo in zip(alphas, photos, strict=True):
        grey = cv2.cvtColor(photo, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        # Both blurred alike: a mask's stairs have slopes of one pixel, alpha's are wide.
        smooth = [cv2.GaussianBlur(plane, (0, 0), _BLUR) for plane in (alpha, grey)]
        for name, (x, y) in axes.items():
            own, seen = (np.abs(cv2.Sobel(plane, cv2.CV_32F, x, y)) for plane in smooth)
            agrees = [float((np.roll(own, by, axis=1 if x else 0) * seen).sum()) for by in _SHIFTS]
            curves[name] += np.divide(agrees, max(*agrees, 1e-9))
    return {name: -_peak(curve) for name, curve in curves.items()}


def _peak(curve: np.ndarray[Any, Any]) -> float:
    """By which of ``_SHIFTS``, or between which, a bell through the highest three is highest."""
    best = int(np.clip(curve.argmax(), 1, len(curve) - 2))
    before, at, after = np.log(np.maximum(curve[best - 1 : best + 2], 1e-9))
    return float(_SHIFTS[best] + (before - after) / (2 * (before - 2 * at + after)))


def _score_street(
    matting: Matting, photos: Sequence[tuple[Image, AlphaF32]]
) -> dict[str, dict[str, Any]]:
    """The list's photos as they are and poor, and by how much their masks lie aside."""
    alphas, truths = [_alpha(matting, image) for image, _ in photos], [t for _, t in photos]
    poor = {"as it is": _means(*_errors(alphas, truths))}
    for kind, change in POOR.items():
        poor[kind] = _score_whole(matting, [(change(image), truth) for image, truth in photos])
    own = off_the_photo(alphas, [image for image, _ in photos])
    return {"poor": poor, "moved": moved(alphas, truths), "on the photo": own}


def _score_empty(matting: Matting, scenes: Mapping[str, Sequence[Image]]) -> dict[str, float]:
    found: dict[str, float] = {}
    every: list[float] = []
    for kind, images in scenes.items():
        means = [float(_alpha(matting, image).mean()) for image in images]
        found[kind], every = float(np.mean(means)), every + means
    return {**found, "mean": float(np.mean(every)), "worst": float(np.max(every))}


def _score_people(
    matting: Matting, people: Sequence[pictures.Picture], darker: Sequence[Image]
) -> dict[str, float]:
    """``people`` in the order of their fine hair, and the same ones as ``darker`` shows them."""

    def errors(images: Sequence[Image]) -> list[float]:
        truths = (picture.alpha.astype(np.float32) / np.float32(255) for picture in people)
        pairs = zip(images, truths, strict=True)
        return [metrics.mad(_alpha(matting, image), truth) for image, truth in pairs]

    found, dark = errors([picture.image for picture in people]), errors(darker)
    thirds = zip(("little", "some", "much"), np.array_split(found, 3), strict=True)
    return {
        "as they are": float(np.mean(found)),
        **{f"{much} fine hair": float(part.mean()) for much, part in thirds},
        "what has the colour of skin made darker": float(np.mean(dark)),
    }


def _elsewhere(
    folder: Path, held: Mapping[str, Any], models: Sequence[Path]
) -> list[tuple[Image, AlphaF32]]:
    """Photos from other sources, each with the alpha that is right by eye."""
    pairs = []
    missing = set(held["elsewhere"])
    for path in models:
        with portrait_sdk.load(path, provider="cpu") as matting:
            if matting.spec.name in missing:
                missing.remove(matting.spec.name)
                for name in held["elsewhere"][matting.spec.name]:
                    image = _at_most(load_image(folder / name).over_white(), _ELSEWHERE_SIDE)
                    pairs.append((image, _alpha(matting, image)))
    if missing:
        raise SystemExit(f"--elsewhere: its references need {' and '.join(sorted(missing))}, too")
    return pairs


def _at_most(image: Image, side: int) -> Image:
    shrink = min(1.0, side / max(image.shape[:2]))
    size = (round(image.shape[1] * shrink), round(image.shape[0] * shrink))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)  # type: ignore[return-value]


def _scenes(share: Path, held: Mapping[str, Any]) -> dict[str, list[Image]]:
    scenes: dict[str, list[Image]] = {}
    for kind in ("photographs", "drawings"):
        scenes[kind] = []
        for name in held[kind]:
            scenes[kind].append(_at_most(load_image(share / name).over_white(), _EMPTY_SIDE))
    return scenes


def main() -> None:
    """Run every model on everything, one kind of picture after the other."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("models", type=Path, nargs="+")
    parser.add_argument(
        "--share", type=Path, required=True, help="/usr/share, with the wallpapers' packages."
    )
    parser.add_argument("--elsewhere", type=Path, help="Folder of the unpacked npm packages.")
    parser.add_argument("--list", default="validation", help="Of ccp, for the poor pictures.")
    parser.add_argument("--sheet", type=Path, help="Write the composites here, to look at.")
    parser.add_argument("--name", default="quality")
    arguments = parser.parse_args()
    held = tomllib.loads(HELD_OUT.read_text("utf-8"))
    recipe = recipes.load()
    data = dataclasses.replace(recipe.data, long_side=1024)
    parts = pictures.split(arguments.data, data)
    right = [s for s in parts.officials_select if Path(s.name).name not in held["wrong_alphas"]]
    closeups, street = pictures.load(right, data), pictures.load(parts.street_select, data)
    scenes = _scenes(arguments.share, held)
    behind = [
        pictures.Picture(name=name, image=image, alpha=np.zeros_like(image[..., 0]), weight=1.0)
        for name, image in zip(held["photographs"], scenes["photographs"], strict=True)
    ]
    augmentation = recipes.AugmentRecipe(**held["augment"])
    composed = list(edges(closeups, behind, augmentation, held["edge_size"], held["seed"]))
    groups = list(mixed(closeups, street, behind, held))
    people = sorted(closeups, key=lambda picture: fine_hair(picture.alpha))
    darker = [darker_skin(picture.image, picture.alpha) for picture in people]
    if arguments.sheet:
        arguments.sheet.mkdir(parents=True, exist_ok=True)
        for kind, pairs in (("edges", composed), ("mixed", groups)):
            for number, (image, _) in enumerate(pairs):
                cv2.imwrite(str(arguments.sheet / f"{kind}-{number:03d}.png"), image[..., ::-1])
    listed = {"validation": parts.street_validation, "selection": parts.street_select}
    photos = [
        (pictures.read_rgb(s.image), pictures.read_grey(s.mask or s.alpha).astype(np.float32) / 255)
        for s in listed[arguments.list]
    ]

    others: list[tuple[Image, AlphaF32]] = []
    if arguments.elsewhere:
        others = _elsewhere(arguments.elsewhere, held, arguments.models)

    rows: dict[str, dict[str, Any]] = {}
    for path in arguments.models:
        with portrait_sdk.load(path, provider="cpu") as matting:
            if matting.spec.name in rows:
                raise SystemExit(f"{path}: a second model named {matting.spec.name}; name it anew")
            row: dict[str, Any] = {"edges": _score_edges(matting, composed)}
            row["mixed"] = _score_whole(matting, groups)
            row["people"] = _score_people(matting, people, darker)
            row["empty"] = _score_empty(matting, scenes)
            row |= _score_street(matting, photos)
            if others:
                row["elsewhere"] = _score_elsewhere(matting, others)
            rows[matting.spec.name] = row
        print(path.stem, row)
    counts = {
        "edges": len(composed),
        "mixed": len(groups),
        "people": len(closeups),
        "empty": {kind: len(images) for kind, images in scenes.items()},
        "poor": len(photos),
        "elsewhere": len(others),
    }
    masks = off_the_photo([truth for _, truth in photos], [image for image, _ in photos])
    found = {"list": arguments.list, "counts": counts, "masks": masks, "models": rows}
    print(harness.save(arguments.name, _rounded(found)))


def _rounded(value: Any) -> Any:  # noqa: ANN401 - JSON
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    return round(value, 5) if isinstance(value, float) else value


if __name__ == "__main__":
    main()
