"""Reads ``recipe.toml``: every number of a training run, checked when it is read."""

from __future__ import annotations

import dataclasses
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from portrait_sdk.spec import SizeRule

DEFAULT = Path(__file__).with_name("recipe.toml")


@dataclass(frozen=True, slots=True, kw_only=True)
class DataRecipe:
    """Which pictures are trained on, and how large they are kept."""

    hold_out_id_ending: str
    hold_out_every: int
    wrong_alphas: tuple[str, ...]
    """Close-ups not to train on, names without endings."""
    long_side: int
    street_long_side: int
    teacher_only_weight: float
    street_contrast: float
    """About 0.5, of street photos' alphas: the teacher's edges are wider than the photos'."""
    officials_share: float
    object_folders: tuple[str, ...]
    object_exceptions: tuple[str, ...]
    """Paths, with ``*``, of drawings not to take."""
    object_side: int
    photographs: tuple[str, ...]
    """Names without endings."""
    photograph_side: int


@dataclass(frozen=True, slots=True, kw_only=True)
class StartRecipe:
    """Where the weights come from, and what of them stays."""

    weights: str
    """``imagenet``, or a .safetensors file in ``training``."""
    sha256: str
    """Of that file, else empty."""
    frozen_norms: bool
    """Batch norms keep their statistics."""
    frozen_blocks: int
    """The stem and so many blocks of the encoder are not trained; 0 trains all."""
    trained: tuple[str, ...]
    """The network's parts that are trained, the others stay; none named, all are."""
    share: float
    """Of the file's weights in the final ones, 0 to 1: both are averaged."""
    imagenet_share: float = 0.0
    """Of ImageNet's weights in the encoder's blocks after the frozen ones, 0 to 1; not in what
    ``share`` is of."""

    def __post_init__(self) -> None:
        """Beyond 0 to 1 it would be no average.

        Raises:
            ValueError: One of the shares is.
        """
        for name in ("share", "imagenet_share"):
            share = getattr(self, name)
            if not 0 <= share <= 1:
                raise ValueError(f"start: {name} = {share} must lie in 0 to 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class AugmentRecipe:
    """Chances and ranges of the augmentation; see the comments in ``recipe.toml``."""

    composite: float
    group: float
    passer_by: float
    objects: float
    made_objects: float
    posts: float
    held: float
    shadow: float
    empty: float
    empty_objects: float
    empty_photograph: float
    close_up: float
    procedural_background: float
    photographs: float
    small_person: float
    whole_frame: float
    min_crop: float
    rotation_deg: float
    tumble: float
    stretch: float
    headless: float
    recoloured: float
    patched: float
    bent: float
    strange_light: float
    grey: float
    dark: float
    blur: float
    noise: float
    jpeg: float
    low_resolution: float

    # 0 in recipes older than they are, which do not name them.
    shadow_added: float = 0.0
    shadow_alone: float = 0.0
    dappled: float = 0.0
    headwear: float = 0.0
    clothes: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class PlainRecipe:
    """Chances and ranges of what is shown as sharp as it is; see ``recipe.toml``."""

    street: float
    composite: float
    zoom: float
    street_zoom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchSize:
    """One shape of batch, and its chance while the rate is constant and while it decays."""

    size: tuple[int, int]
    batch: int
    chance: tuple[float, float]
    plain: bool
    """Photos as sharp as they are, instead of what ``augment`` makes of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRecipe:
    """Steps, learning rates and batch shapes."""

    steps: int
    warmup_steps: int
    decay_steps: int
    encoder_rate: float
    decoder_rate: float
    fine_rate: float
    weight_decay: float
    clip_norm: float
    ema: float
    checkpoint_every: int
    validate_every: int
    sizes: tuple[BatchSize, ...]

    def __post_init__(self) -> None:
        """Scores are taken where a checkpoint is; elsewhere they would never be, without a word.

        Raises:
            ValueError: ``validate_every`` is no multiple of ``checkpoint_every``.
        """
        if self.validate_every % self.checkpoint_every:
            raise ValueError(
                f"schedule: validate_every = {self.validate_every} must be a multiple of "
                f"checkpoint_every = {self.checkpoint_every}"
            )

    def rate(self, step: int) -> float:
        """The factor on the learning rates at ``step``: linear up, constant, linear down to 0."""
        warm = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return min(warm, max(0.0, (self.steps - step) / max(1, self.decay_steps)), 1.0)

    def decaying(self, step: int) -> bool:
        """Whether ``step`` lies in the last ``decay_steps``, where photos are drawn larger."""
        return step >= self.steps - self.decay_steps


@dataclass(frozen=True, slots=True, kw_only=True)
class LossRecipe:
    """Weights of the terms of the loss."""

    l1: float
    bce: float
    street_bce: float
    street_sure_bce: float
    laplacian: float
    gradient: float
    slope: float
    street_slope: float
    edge: float
    semantic: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRecipe:
    """What the exported file says about its input."""

    rule: SizeRule
    """What of the input ``side`` is: its longer side, or the root of its area."""
    side: int
    """In pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """A whole training run."""

    name: str
    architecture: str
    seed: int
    start: StartRecipe
    data: DataRecipe
    augment: AugmentRecipe
    plain: PlainRecipe
    schedule: ScheduleRecipe
    loss: LossRecipe
    model: ModelRecipe


_TYPES: dict[str, Any] = {"float": int | float, "int": int, "bool": bool, "str": str}
"""Of plain fields, by their annotations."""


def _fill(kind: type[Any], table: dict[str, Any], where: str) -> Any:  # noqa: ANN401
    fields = dataclasses.fields(kind)
    names = {field.name for field in fields}
    needed = {field.name for field in fields if field.default is dataclasses.MISSING}
    if not needed <= set(table) <= names:
        missing, unknown = sorted(needed - set(table)), sorted(set(table) - names)
        raise ValueError(f"{where}: missing {missing}, unknown {unknown}")
    for field in fields:
        value, type_ = table.get(field.name), _TYPES.get(str(field.type), object)
        if field.name in table and not isinstance(value, type_):
            raise ValueError(f"{where}: {field.name} = {value!r} must be of type {field.type}")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in table.items()}
    return kind(**values)


_SECTIONS: dict[str, type] = {
    "data": DataRecipe,
    "start": StartRecipe,
    "augment": AugmentRecipe,
    "plain": PlainRecipe,
    "loss": LossRecipe,
    "model": ModelRecipe,
}
"""Those beside ``schedule``, which holds sizes of its own."""


def _table(path: Path, before: tuple[Path, ...] = ()) -> dict[str, Any]:
    if path in before:
        raise ValueError(f"{path}: is based on itself")
    try:
        table = tomllib.loads(path.read_text("utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path}: {error}") from error
    base = table.pop("based_on", None)
    if base is None:
        return table
    if not isinstance(base, str) or not (path.parent / base).is_file():
        raise ValueError(f"{path}: based_on = {base!r}: there is no such file, seen from there")
    whole = _table((path.parent / base).resolve(), (*before, path))
    for name, value in table.items():
        if isinstance(value, dict) and isinstance(whole.get(name), dict):
            whole[name].update(value)
        else:
            whole[name] = value
    return whole


def load(path: Path = DEFAULT) -> Recipe:
    """Read a recipe.

    One that names another, by the path to it from there, as ``based_on`` says only what it does
    otherwise.

    Raises:
        ValueError: It is no TOML, names a file that is not there, or a section or field is missing
            that older recipes name, too, or unknown, or of another type; the message names it.
        OSError: The file cannot be read.
    """
    table = _table(path.resolve())
    missing = [n for n in ("schedule", *_SECTIONS) if not isinstance(table.get(n), dict)]
    if missing:
        raise ValueError(f"{path}: no section [{missing[0]}]")
    schedule = dict(table["schedule"])
    sizes = schedule.get("sizes")
    if not (isinstance(sizes, list) and sizes and all(isinstance(one, dict) for one in sizes)):
        raise ValueError(f"{path}: no [[schedule.sizes]]")
    schedule["sizes"] = [_fill(BatchSize, one, "schedule.sizes") for one in sizes]
    table["schedule"] = _fill(ScheduleRecipe, schedule, "schedule")
    for name, kind in _SECTIONS.items():
        table[name] = _fill(kind, table[name], name)
    recipe: Recipe = _fill(Recipe, table, str(path))
    return recipe
