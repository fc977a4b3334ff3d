"""People over other backgrounds: a training and a validation set with exact alpha.

Sample ``i`` of a split is a function of the recipe, the sources and (seed, split, i) alone: any
number of workers, any interruption and any order give the same bytes (with the same versions of
this package, OpenCV, NumPy and Pillow on processors of the same instruction set).
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from portrait_sdk.errors import DatasetError, ImageError, OptionError, OutputError
from portrait_sdk.evaluation.datasets import augment
from portrait_sdk.evaluation.datasets._base import split_groups
from portrait_sdk.evaluation.datasets._files import Problem
from portrait_sdk.evaluation.datasets._parallel import in_order
from portrait_sdk.evaluation.datasets.convert import alpha_png, new_folder
from portrait_sdk.media import encode_image, load_image, write_atomic
from portrait_sdk.ops import kernels
from portrait_sdk.ops.foreground import METHODS, estimate_foreground
from portrait_sdk.types import require

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Iterator, Mapping

    from portrait_sdk.evaluation.datasets._base import Sample
    from portrait_sdk.types import AlphaF32, ImageF32

    Rng = np.random.Generator

Step: TypeAlias = Literal["geometry", "colour", "shadow", "blur", "noise"]
STEPS: tuple[Step, ...] = get_args(Step)
SPLITS = ("train", "validation")

_CROWD = 0.15  # chance of one more person, up to three
_MOST = 3
_CHANCES = {"colour": 0.5, "shadow": 0.3, "blur": 0.15, "noise": 0.5}
_WHOLE = 0.3  # how strongly the whole picture's colours change, beside a person's own
_TRIES = 16  # draws of other sources where a drawn one cannot be read
_RESERVE = 2.0  # a source is shrunk to this many times the frame before anything else
_DATASET = "dataset.json"
_PACKAGES = ("portrait-sdk", "numpy", "opencv-python-headless", "pillow")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Everything that decides what is composed, beside the sources."""

    seed: int = 0
    train: int = 1000
    """Samples for training."""
    validation: int = 100
    """Samples for validation, of people and backgrounds that training never shows."""
    size: tuple[int, int] = (512, 512)
    """Height and width."""
    validation_share: float = 0.1
    """Of the people, and of the backgrounds, that only validation shows."""
    bits: int = 8
    """Of the truth: 8 or 16."""
    format: Literal["jpeg", "png"] = "jpeg"
    """Of the pictures; a JPEG's quality is drawn, 70 to 95."""
    foreground: str = "multilevel-fast"
    """How people's colours are cleaned of their old background, or ``none``."""
    steps: tuple[Step, ...] = STEPS
    """Augmentations."""

    def __post_init__(self) -> None:
        """Refuse what cannot be composed."""
        problems = {
            "seed: expected 0 or more": self.seed >= 0,
            "train, validation: expected 0 or more, one of them above 0": (
                min(self.train, self.validation) >= 0 and self.train + self.validation > 0
            ),
            "size: expected 16 to 8192 pixels a side": all(16 <= n <= 8192 for n in self.size),  # noqa: PLR2004
            "validation share: expected a number above 0, below 1": 0 < self.validation_share < 1,
            "bits: expected 8 or 16": self.bits in (8, 16),
            "format: expected jpeg or png": self.format in ("jpeg", "png"),
            f"foreground: expected one of {', '.join(METHODS)}, none": (
                self.foreground in (*METHODS, "none")
            ),
            f"augment: expected some of {', '.join(STEPS)}": set(self.steps) <= set(STEPS),
        }
        for text, holds in problems.items():
            if not holds:
                raise OptionError(f"compose: {text}")

    def count(self, split: str) -> int:
        """How many samples a split has."""
        return self.train if split == "train" else self.validation


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One person or one background."""

    name: str
    sample: Sample | None
    """A person's picture and alpha; None for a background."""
    path: Path
    sha256: str
    """Of the picture."""
    group: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Who and what each split may show."""

    people: Mapping[str, tuple[Source, ...]]
    backgrounds: Mapping[str, tuple[Source, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Composed:
    """One sample, written now or found whole from an earlier run."""

    name: str
    """``train/000000``."""
    new: bool
    problems: tuple[Problem, ...]
    """Sources that were drawn for it and cannot be read; others took their place."""


def plan(
    people: Iterable[Sample],
    backgrounds: Iterable[tuple[str, Path]],
    recipe: Recipe,
    *,
    workers: int | None = None,
) -> Plan:
    """Part people and backgrounds between training and validation, before anything is composed.

    A person's group (all pictures of one person, one shooting) stays on one side, and so do files
    that are the same byte for byte under several names.

    Args:
        people: With truths; ``group`` says who belongs together.
        backgrounds: Names and files.
        recipe: Seed and share.
        workers: None: the thread budget.

    Raises:
        DatasetError: Too few people or backgrounds for two sides.
        ImageError: A file cannot be read.
    """
    kinds = {
        "people": _sources(((s.name, s.group, s.image, s) for s in people), workers),
        "backgrounds": _sources(((name, None, path, None) for name, path in backgrounds), workers),
    }
    parted = {}
    for kind, sources in kinds.items():
        sizes: dict[str, int] = {}
        for source in sources:
            sizes[source.group] = sizes.get(source.group, 0) + 1
        wanted = [split for split in SPLITS if recipe.count(split)]
        if len(sizes) < len(wanted):
            raise DatasetError(
                f"compose: expected at least {len(wanted)} groups of {kind}, so that training and "
                f"validation share none; found {len(sizes)}"
                + ("" if len(wanted) == 1 else "; `--validation 0` makes no validation set")
            )
        shares = {"train": 1 - recipe.validation_share, "validation": recipe.validation_share}
        if len(wanted) == 1:
            shares = {wanted[0]: 1.0}
        parts = split_groups(sizes, shares, salt=f"{recipe.seed} {kind}")
        parted[kind] = {
            split: tuple(s for s in sources if parts[s.group] == split) for split in wanted
        }
    return Plan(**parted)


def _sources(
    found: Iterable[tuple[str, str | None, Path, Sample | None]], workers: int | None
) -> list[Source]:
    def one(item: tuple[str, str | None, Path, Sample | None]) -> Source:
        name, group, path, sample = item
        try:
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError as error:
            raise ImageError(f"{str(path)!r}: cannot be read: {error.strerror}") from error
        return Source(
            name=name, sample=sample, path=path, sha256=digest, group=group or f"\0{name}"
        )  # fmt: skip

    sources = list(in_order(one, found, workers))
    # Groups that share a file are one group, called by the first name among them.
    leader: dict[str, str] = {}

    def lead(group: str) -> str:
        while leader.setdefault(group, group) != group:
            group = leader[group]
        return group

    first: dict[str, str] = {}
    for source in sources:
        one_side, other = lead(source.group), lead(first.setdefault(source.sha256, source.group))
        leader[max(one_side, other)] = min(one_side, other)
    return [replace(source, group=lead(source.group)) for source in sources]


def compose(
    plan: Plan, recipe: Recipe, out: str | os.PathLike[str], *, workers: int | None = None
) -> Iterator[Composed]:
    """Write ``SPLIT/{image,alpha,manifest}/NUMBER`` for every sample: a ``pairs`` dataset.

    The manifest is written last and holds the hashes of picture and alpha: a run that was broken
    off goes on where it was, and a sample that is not whole is made again.

    Args:
        plan: Of :func:`plan`.
        recipe: The one the plan was made with.
        out: A new or empty folder, or that of an earlier run of the same recipe and sources.
        workers: None: the thread budget.

    Yields:
        Each sample, in order.

    Raises:
        DatasetError: Of the drawn sources none can be read.
        OutputError: The folder holds something else, or cannot be written to.
    """
    folder = Path(out)
    _begin(folder, _description(plan, recipe))
    jobs = [(split, i) for split in SPLITS for i in range(recipe.count(split))]

    def one(job: tuple[str, int]) -> Composed:
        return _sample(plan, recipe, folder, *job)

    yield from in_order(one, jobs, workers)


def _description(plan: Plan, recipe: Recipe) -> dict[str, Any]:
    return {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "versions": {
            **{name: _version(name) for name in _PACKAGES},
            # Every instruction set gives the same bytes; NumPy's PNGs are other bytes.
            "kernels": "numpy" if kernels.ISA == "numpy" else "compiled",
        },
        "sources": {
            kind: {
                split: [{"name": s.name, "sha256": s.sha256} for s in sources]
                for split, sources in parted.items()
            }
            for kind, parted in (("people", plan.people), ("backgrounds", plan.backgrounds))
        },
    }


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:  # OpenCV comes under several names
        return "unknown"


def _begin(folder: Path, description: dict[str, Any]) -> None:
    """Make the folder, or make sure that it is this recipe's."""
    path = folder / _DATASET
    if not path.exists():
        new_folder(folder)
        write_atomic(path, _json(description))
        return
    try:
        earlier = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise OutputError(f"{str(path)!r} is damaged; choose a new folder") from error
    if earlier != description:
        raise OutputError(
            f"{str(folder)!r} was made otherwise ({_difference(earlier, description)}); "
            "choose a new folder"
        )


def _difference(earlier: Any, now: dict[str, Any]) -> str:  # noqa: ANN401 - JSON
    for part in ("recipe", "versions"):
        before = earlier.get(part, {}) if isinstance(earlier, dict) else {}
        for name, value in now[part].items():
            if before.get(name) != value:
                return f"{name} was {before.get(name)}, is {value}"
    return "from other people or backgrounds"


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()


def _sample(plan: Plan, recipe: Recipe, folder: Path, split: str, number: int) -> Composed:
    name = f"{number:06d}"
    suffix = "jpg" if recipe.format == "jpeg" else "png"
    paths = {
        "image": folder / split / "image" / f"{name}.{suffix}",
        "alpha": folder / split / "alpha" / f"{name}.png",
    }
    manifest = folder / split / "manifest" / f"{name}.json"
    if _is_whole(manifest, paths):
        return Composed(name=f"{split}/{name}", new=False, problems=())
    problems: list[Problem] = []
    for attempt in range(_TRIES):
        key = (SPLITS.index(split), number, attempt)
        rng = np.random.default_rng(np.random.SeedSequence(recipe.seed, spawn_key=key))
        try:
            files, facts = _drawn(plan.people[split], plan.backgrounds[split], recipe, rng)
        except _UnreadableError as error:
            problems.append(error.problem)
            continue
        for kind, path in paths.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomic(path, files[kind])
            facts[kind] = {
                "file": f"{kind}/{path.name}",
                "sha256": hashlib.sha256(files[kind]).hexdigest(),
            }
        facts |= {"seed": recipe.seed, "spawn_key": key, "split": split}
        manifest.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(manifest, _json(facts))
        return Composed(name=f"{split}/{name}", new=True, problems=tuple(problems))
    raise DatasetError(
        f"compose: {split}/{name}: {_TRIES} draws of people and backgrounds, and one file of each "
        f"cannot be read, such as {problems[-1].text}"
    )


def _is_whole(manifest: Path, paths: Mapping[str, Path]) -> bool:
    try:
        facts = json.loads(manifest.read_bytes())
        return all(
            hashlib.sha256(path.read_bytes()).hexdigest() == facts[kind]["sha256"]
            for kind, path in paths.items()
        )
    except (OSError, ValueError, KeyError, TypeError):  # missing, cut short or somebody else's
        return False


class _UnreadableError(Exception):
    """A drawn source cannot be read; another draw takes its place."""

    def __init__(self, source: Source, error: ImageError) -> None:
        super().__init__(str(error))
        self.problem = Problem(kind="unreadable", path=source.path, text=str(error))


def _drawn(
    people: tuple[Source, ...], backgrounds: tuple[Source, ...], recipe: Recipe, rng: Rng
) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Draw, compose and encode one sample; its files, and what was drawn."""

    def happens(step: Step) -> bool:
        return step in recipe.steps and bool(rng.random() < _CHANCES[step])

    geometry = "geometry" in recipe.steps
    chosen = backgrounds[int(rng.integers(len(backgrounds)))]
    image, drawn = _background(chosen, recipe, rng)
    facts: dict[str, Any] = {"background": {"name": chosen.name, **drawn}, "people": []}
    alpha = np.zeros(recipe.size, np.float32)
    count = 1
    while geometry and count < min(_MOST, len(people)) and rng.random() < _CROWD:
        count += 1
    for index in rng.choice(len(people), count, replace=False):
        source = people[int(index)]
        person, drawn = augment.place(
            _person(source, recipe), recipe.size, rng, geometry=geometry
        )  # fmt: skip
        facts["people"].append({"name": source.name, **drawn})
        colours = person.colours
        if happens("colour"):
            colours, facts["people"][-1]["colour"] = augment.colour(colours, rng)
        if happens("shadow"):
            image, facts["people"][-1]["shadow"] = augment.cast_shadow(image, person.alpha, rng)
        weight = person.alpha[..., None]
        image = weight * colours + (1 - weight) * image
        alpha = person.alpha + (1 - person.alpha) * alpha
    if happens("colour"):
        image, facts["colour"] = augment.colour(image, rng, _WHOLE)
    if happens("blur"):
        image, alpha, facts["blur"] = augment.soften(image, alpha, rng)
    if happens("noise"):
        image, facts["noise"] = augment.grain(image, rng)
    return _encoded(image, alpha, recipe, rng, facts), facts


def _encoded(
    image: ImageF32, alpha: AlphaF32, recipe: Recipe, rng: Rng, facts: dict[str, Any]
) -> dict[str, bytes]:
    levels = np.rint(np.clip(image, 0, 1) * np.float32(255)).astype(np.uint8)
    quality = None
    if recipe.format == "jpeg":
        quality = facts["quality"] = int(rng.integers(70, 96))
    facts["coverage"] = round(float(alpha.mean(dtype=np.float64)), 6)
    return {
        "image": encode_image(levels, recipe.format, quality=quality),
        "alpha": alpha_png(alpha, recipe.bits),
    }


def _background(source: Source, recipe: Recipe, rng: Rng) -> tuple[ImageF32, dict[str, Any]]:
    try:
        image = load_image(source.path).over_white()
    except ImageError as error:
        raise _UnreadableError(source, error) from error
    return augment.crop_background(image, recipe.size, rng, geometry="geometry" in recipe.steps)


def _person(source: Source, recipe: Recipe) -> augment.Person:
    """A person's clean colours and alpha, at no more than is needed of their size."""
    import cv2

    assert source.sample is not None
    try:
        alpha = source.sample.load_alpha()
        image = load_image(source.path).image
        require(image, "image of the same size as its truth", (*alpha.shape, 3), np.uint8)
    except ImageError as error:
        raise _UnreadableError(source, error) from error
    if source.sample.truth == source.path:
        image = augment.continued(image, alpha)
    shrink = _RESERVE * max(recipe.size) / max(alpha.shape)
    if shrink < 1:
        size = (max(1, round(alpha.shape[1] * shrink)), max(1, round(alpha.shape[0] * shrink)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        # Area means of 1 may round to a little more.
        alpha = np.minimum(cv2.resize(alpha, size, interpolation=cv2.INTER_AREA), 1)
    if recipe.foreground != "none":
        image = estimate_foreground(image, alpha, recipe.foreground)  # type: ignore[arg-type]
    return augment.Person(colours=image.astype(np.float32) / np.float32(255), alpha=alpha)
