"""Several models on one dataset: every picture is decoded once, and every model sees the same."""

from __future__ import annotations

import hashlib
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from portrait_sdk import __version__
from portrait_sdk.api import Matting, load
from portrait_sdk.bench import machine
from portrait_sdk.errors import ImageError, ModelError, OptionError
from portrait_sdk.evaluation import conventions, gallery, scores
from portrait_sdk.evaluation.datasets import Dataset, open_dataset
from portrait_sdk.evaluation.record import Record
from portrait_sdk.evaluation.result import Evaluation, Failure, Photo, Problems
from portrait_sdk.ops import postprocess
from portrait_sdk.ops import refine as refining

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from portrait_sdk.api import Matte, MattingSequence
    from portrait_sdk.evaluation.datasets import Sample
    from portrait_sdk.evaluation.gallery import Gallery
    from portrait_sdk.ops.refine import Refine
    from portrait_sdk.types import AlphaF32, Image

Model: TypeAlias = "str | os.PathLike[str] | Matting"
Row: TypeAlias = "dict[str, Any]"

_ASPECT = 0.02  # picture and truth may differ by this share in their sides' ratio: rounding


def evaluate(  # noqa: PLR0913 - keyword-only, each with a default
    models: Sequence[Model],
    dataset: str | Dataset,
    *,
    split: str | None = None,
    scene: str | None = None,
    limit: int | None = None,
    convention: str | None = None,
    refine: Refine = "auto",
    provider: str = "auto",
    threads: int | None = None,
    record: str | os.PathLike[str] | None = None,
    resume: bool = False,
    pictures: int = 0,
    progress: Callable[[int, int, str], None] | None = None,
) -> Evaluation:
    """Score models side by side.

    Every picture is decoded once, at its own size, and every model mattes it in turn. Alpha is
    scored at the truth's size; where that is not the picture's, it is resized as `matte` does. A
    picture that cannot be read, whose truth cannot, or that a model fails on counts for no model
    and is among ``failures``. Frames of a clip go through recurrent models in order, states between
    them, and get temporal metrics.

    Args:
        models: Registered names, files that describe themselves, or open models.
        dataset: ``KIND:PATH`` as ``datasets.open_dataset`` takes it, or an open dataset.
        split: Only this split, of a dataset given as text.
        scene: Only this scene, likewise.
        limit: At most so many pictures, evenly spread over the dataset's order.
        convention: A paper's figures beside ours: a name in ``conventions``.
        refine: As for :meth:`Matting.matte`. Published figures are those of ``none``.
        provider: As for :func:`portrait_sdk.load`.
        threads: Of ONNX Runtime within one run; None: the process's budget.
        record: Append a line for each picture to this file as soon as it is done.
        resume: Go on with that file: what it holds is not done again; failures, and pictures whose
            files have changed, are.
        pictures: So many of the worst, the median and the best of each model become pictures.
        progress: Called with pictures done, pictures in all, and the name of the one at hand.

    Raises:
        OptionError: No model, a number below its least, an unknown convention, or the record of
            another run.
        DatasetError: The folder is not laid out as its kind is, or has no such sample.
        ModelError: A model cannot be opened.
        ImageError: Every picture failed; the message has the first reason.
        OutputError: The record cannot be written.
    """
    _check(models, limit, pictures, convention)
    if resume and record is None:
        raise OptionError("resume: expected a record to go on with")
    if isinstance(dataset, str):
        dataset = open_dataset(dataset, split=split, scene=scene)
    elif split is not None or scene is not None:
        raise OptionError("split, scene: give them to open_dataset, or the dataset as KIND:PATH")
    with ExitStack() as stack:
        mattings = _opened(models, provider, threads, stack)
        for matting in mattings.values():
            refining.choose(refine, matting.spec)
        samples = _spread(list(dataset), limit)
        facts = _facts(dataset, mattings, refine, convention, limit)
        kept = None
        if record is not None:
            kept = stack.enter_context(Record(Path(record), facts, resume=resume))
        run = _Run(mattings, refine, convention)
        rows = _rows(run, samples, kept, progress)
        found = _gathered(facts, tuple(mattings), samples, rows, dataset)
        return replace(found, gallery=run.gallery(samples, found, pictures)) if pictures else found


def _check(
    models: Sequence[Model], limit: int | None, pictures: int, convention: str | None
) -> None:
    if not models:
        raise OptionError("evaluate: expected at least one model")
    for name, value, least in (("limit", limit, 1), ("pictures", pictures, 0)):
        if value is not None and value < least:
            raise OptionError(f"{name}: expected at least {least}, got {value}")
    if convention is not None:
        conventions.convention(convention)


def _rows(
    run: _Run,
    samples: Sequence[Sample],
    kept: Record | None,
    progress: Callable[[int, int, str], None] | None,
) -> dict[str, Row]:
    """A row for every sample, by name: the record's, and what it does not have yet."""
    rows = {} if kept is None else dict(kept.rows)
    todo = _todo(samples, rows)
    for done, sample in enumerate(todo, start=len(samples) - len(todo)):
        if progress is not None:
            progress(done, len(samples), sample.name)
        rows[sample.name] = run.row(sample)
        if kept is not None:
            kept.add(rows[sample.name])
    if progress is not None:
        progress(len(samples), len(samples), "")
    return rows


class _Run:
    """Open models, and what they keep from frame to frame of a clip."""

    def __init__(
        self, mattings: Mapping[str, Matting], refine: Refine, convention: str | None
    ) -> None:
        self._mattings, self._refine, self._convention = mattings, refine, convention
        self._warm = False
        self._turn = 0
        self._clip: tuple[str, int] | None = None
        self._sequences: dict[str, MattingSequence] = {}
        self._before: dict[str, tuple[AlphaF32, AlphaF32]] = {}

    def row(self, sample: Sample) -> Row:
        """Score one picture; a failure is a row with ``error``."""
        row: Row = {"name": sample.name, "files": _stamp(sample)}
        try:
            return {**row, **self._scored(sample)}
        except (ImageError, ModelError) as error:
            self._before = {}
            return {**row, "error": str(error)}

    def _scored(self, sample: Sample) -> Row:
        image, truth = _pair(sample)
        against = scores.Truth(truth, sample.load_trimap(), self._convention)
        self._follow(sample)
        before, self._before = self._before, {}
        found: dict[str, scores.Scores] = {}
        seconds = {}
        for label, matte in self._mattes(sample, image):
            alpha = _at(matte.alpha, truth)
            found[label] = against.scores(alpha)
            seconds[label] = round(matte.seconds["inference"], 6)
            if sample.sequence is not None:
                frame = alpha, truth
                found[label] |= scores.temporal(before.get(label), frame, self._convention)
                self._before[label] = frame
        return {
            "size": truth.shape,
            "resized": image.shape[:2] != truth.shape,
            "scores": found,
            "seconds": seconds,
        }

    def _follow(self, sample: Sample) -> None:
        """Begin sequences anew where a frame does not follow the last one."""
        clip = None if sample.sequence is None else (sample.sequence, sample.frame)
        if clip is not None and self._clip != (clip[0], clip[1] - 1):
            self._before = {}
            self._sequences = {name: m.sequence() for name, m in self._mattings.items()}
        self._clip = clip

    def _mattes(self, sample: Sample, image: Image) -> Iterator[tuple[str, Matte]]:
        """Each model's matte, another model first each time."""
        labels = list(self._mattings)
        if not self._warm:  # first runs take memory: their times say nothing
            for matting in self._mattings.values():
                matting.matte(image, refine="none")
            self._warm = True
        first = self._turn % len(labels)
        self._turn += 1
        for label in labels[first:] + labels[:first]:
            model = self._mattings[label] if sample.sequence is None else self._sequences[label]
            yield label, model.matte(image, refine=self._refine)

    def gallery(self, samples: Sequence[Sample], found: Evaluation, count: int) -> Gallery:
        """Matte the chosen photos again, and make pictures of them."""
        errors = found.column("mad")
        collected = gallery.Collector(gallery.choose(errors, count))
        by_name = {photo.name: number for number, photo in enumerate(found.photos)}
        wanted = {found.photos[choice.photo].name for choice in collected.choices}
        clips = {s.sequence for s in samples if s.name in wanted and s.sequence is not None}
        self._clip = None
        for sample in samples:
            if sample.name not in wanted and sample.sequence not in clips:
                continue
            self._follow(sample)
            try:
                image, truth = _pair(sample)
                alphas = {name: _at(m.alpha, truth) for name, m in self._mattes(sample, image)}
            except (ImageError, ModelError):
                continue  # it has become unreadable since it was scored
            if sample.name in wanted:
                collected.add(by_name[sample.name], image, truth, [alphas[m] for m in found.models])
        return collected.gallery([p.name for p in found.photos], found.models, errors)


def _opened(
    models: Sequence[Model], provider: str, threads: int | None, stack: ExitStack
) -> dict[str, Matting]:
    """Open models by name: the spec's, with the file's or a number where two have the same."""
    opened = []
    for model in models:
        if isinstance(model, Matting):
            opened.append(model)
        else:
            opened.append(stack.enter_context(load(model, provider=provider, threads=threads)))
    named: dict[str, Matting] = {}
    for matting in opened:
        name = matting.spec.name
        if [m.spec.name for m in opened].count(name) > 1:
            name = f"{name} ({_path(matting).stem})"
        number, label = 1, name
        while label in named:
            number += 1
            label = f"{name} {number}"
        named[label] = matting
    return named


def _path(matting: Matting) -> Path:
    return matting._session.path  # noqa: SLF001 - a file's own name is nobody's but the report's


def _facts(
    dataset: Dataset,
    mattings: Mapping[str, Matting],
    refine: Refine,
    convention: str | None,
    limit: int | None,
) -> Row:
    """What a record must agree in for a run to go on with it."""
    ids = None if dataset.ids is None else "\n".join(sorted(dataset.ids))
    return {
        "portrait_sdk": __version__,
        "dataset": {
            "kind": dataset.kind,
            "root": str(dataset.root.resolve()),
            "options": dataset.settings,
            "split": dataset.split,
            "scene": dataset.scene,
            "ids": ids and hashlib.sha256(ids.encode()).hexdigest(),
        },
        "limit": limit,
        "refine": refine,
        "convention": convention,
        "models": {label: _model(matting) for label, matting in mattings.items()},
    }


def _model(matting: Matting) -> Row:
    spec, path = matting.spec, _path(matting)
    return {
        "name": spec.name,
        "file": path.name,
        "sha256": matting.sha256(),
        "bytes": path.stat().st_size,
        "license": spec.license,
        "precision": spec.precision,
        "provider": matting.provider,
        "threads": matting.threads,
    }


def _spread(samples: list[Sample], limit: int | None) -> list[Sample]:
    """``limit`` samples, evenly over all of them."""
    if limit is None or limit >= len(samples):
        return samples
    return [samples[i * len(samples) // limit] for i in range(limit)]


def _todo(samples: Sequence[Sample], rows: Mapping[str, Row]) -> list[Sample]:
    """What is not done, or has changed; of a clip all frames, as its models remember."""

    def done(sample: Sample) -> bool:
        row = rows.get(sample.name, {"error": ""})
        return "error" not in row and row["files"] == _stamp(sample)

    waiting = {sample.name for sample in samples if not done(sample)}
    clips = {s.sequence for s in samples if s.name in waiting and s.sequence is not None}
    return [s for s in samples if s.name in waiting or s.sequence in clips]


def _stamp(sample: Sample) -> list[list[int] | None]:
    """Size and time of a sample's files: whether they are those that were scored."""
    stamps: list[list[int] | None] = []
    for path in (sample.image, sample.truth, sample.trimap):
        try:
            state = None if path is None else path.stat()
        except OSError:  # reading it says so
            state = None
        stamps.append(None if state is None else [state.st_size, state.st_mtime_ns])
    return stamps


def _pair(sample: Sample) -> tuple[Image, AlphaF32]:
    """A sample's picture and truth, decoded.

    Raises:
        ImageError: One cannot be read, or they cannot be of one another.
    """
    image, truth = sample.load_image(), sample.load_alpha()
    height, width = image.shape[:2]
    if abs(height * truth.shape[1] / (width * truth.shape[0]) - 1) > _ASPECT:
        raise ImageError(
            f"{sample.name}: picture of {width} x {height} pixels, truth of {truth.shape[1]} x "
            f"{truth.shape[0]}: expected the same proportions"
        )
    return image, truth


def _at(alpha: AlphaF32, truth: AlphaF32) -> AlphaF32:
    """Alpha at the truth's size."""
    size = (truth.shape[0], truth.shape[1])
    return alpha if alpha.shape == size else postprocess.resized(alpha, size)


def _gathered(
    facts: Row,
    models: tuple[str, ...],
    samples: Sequence[Sample],
    rows: Mapping[str, Row],
    dataset: Dataset,
) -> Evaluation:
    """Rows as arrays, in the dataset's order.

    Raises:
        ImageError: Every picture failed.
    """
    failures = tuple(
        Failure(name=s.name, error=rows[s.name]["error"])
        for s in samples
        if "error" in rows[s.name]
    )
    scored = [s for s in samples if "error" not in rows[s.name]]
    if not scored:
        raise ImageError(
            f"none of {len(samples)} pictures could be evaluated; the first: {failures[0].error}"
        )
    found = [rows[s.name] for s in scored]
    present = {m for row in found for values in row["scores"].values() for m in values}
    metrics = tuple(m for m in scores.described(facts["convention"]) if m in present)
    values = [
        [[_number(row["scores"][model].get(m)) for m in metrics] for model in models]
        for row in found
    ]
    return Evaluation(
        facts={**facts, "machine": machine()},
        models=models,
        metrics=metrics,
        photos=tuple(
            Photo(
                name=sample.name,
                scenes=sample.scenes,
                group=sample.sequence or sample.group,
                height=row["size"][0],
                width=row["size"][1],
                resized=row["resized"],
            )
            for sample, row in zip(scored, found, strict=True)
        ),
        values=np.array(values, np.float64),
        seconds=np.array([[row["seconds"][m] for m in models] for row in found], np.float64),
        failures=failures,
        problems=_problems(dataset),
    )


def _problems(dataset: Dataset) -> tuple[Problems, ...]:
    found: dict[str, Problems] = {}
    for problem in dataset.problems():
        known = found.get(problem.kind)
        first = f"{problem.path}: {problem.text}" if known is None else known.first
        count = 1 if known is None else known.count + 1
        found[problem.kind] = Problems(kind=problem.kind, count=count, first=first)
    return tuple(found.values())


def _number(value: float | None) -> float:
    return np.nan if value is None else value
