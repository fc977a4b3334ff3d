"""A model file beside the checkpoint it should come from."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from portrait_sdk.errors import ConversionError
from portrait_sdk.model.session import read_spec
from portrait_sdk.ops import preprocess
from portrait_sdk.spec import OutputSpec, input_from_json

from . import architectures, checkpoints, embed, export, portraits, storage, verify

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy as np
    from torch import nn

    from portrait_sdk.spec import ModelSpec


def verify_file(
    model: Path,
    against: Path,
    *,
    part: str | None = None,
    people: Path | None = None,
    progress: Callable[[str], None] = lambda _: None,
) -> dict[str, Any]:
    """Compare a model file with the checkpoint it should come from.

    Args:
        model: An .onnx file that describes itself; converted or adopted.
        against: The checkpoint.
        part: Which state dict; None: the one named in the file, else as ``convert`` chooses.
        people: Folder of photos; None: the bundled portrait.
        progress: Told each step.

    Returns:
        The comparison; ``problems`` is empty where all is well.

    Raises:
        ModelError: Either file is damaged, or the architecture is not known here.
    """
    spec = read_spec(model)
    told = spec.provenance
    if spec.architecture not in architectures.every():
        raise ConversionError(
            f"{model}: of the architecture {spec.architecture!r}, which has no converter here "
            f"({', '.join(architectures.every())}): there is nothing to compare it with"
        )
    architecture = architectures.find(spec.architecture)
    photos = portraits.load(people)
    progress("reading the checkpoint")
    source = checkpoints.read(against, part=part or told.get("source_part") or None)
    network = architecture.build().eval()
    checkpoints.fit(network, source, architecture)
    session = verify.open_session(model)
    result: dict[str, Any] = {
        "model": model.name,
        "checkpoint": against.name,
        "architecture": architecture.name,
        "precision": spec.precision,
        "same_source": told.get("source_sha256") == source.sha256,
    }
    run = _runner(export.finished(network, architecture, ()))
    limit = _narrow_limit(spec, model)
    if "embedded_input" in told:
        inner = replace(
            spec,
            input=input_from_json(told["embedded_input"], str(model)),
            outputs=(OutputSpec(name="alpha", meaning="alpha"),),
        )
        rows = embed.compare(session, run, inner, photos)
        result |= _means(rows, max(limit, embed.tolerance(inner.input.size.filter)))
    elif limit:
        rows = []
        for name, photo in photos:
            feed = preprocess.prepare([photo] * _batch(session), spec.input)[0]
            got = session.run([spec.alpha.name], {spec.input.name: feed})[0]
            rows.append({"input": name, **verify.difference(got, run(feed))})
        result |= _means(rows, limit)
    else:
        own = {o.name for o in architecture.raw}
        outputs = {"alpha": spec.alpha.name} | {
            o.name: o.name for o in spec.outputs if o.name in own
        }
        report = verify.compare(
            session,
            network,
            architecture,
            list(verify.inputs(architecture, spec.input, _axes(session, spec), photos)),
            input_name=spec.input.name,
            outputs=outputs,
            exact=False,
            progress=progress,
        )
        result |= report.as_json()
    return result


def _runner(whole: nn.Module) -> Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]]:
    import torch

    def run(feed: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        with torch.inference_mode():
            values: np.ndarray[Any, Any] = whole(torch.from_numpy(feed))[0].numpy()
        return values

    return run


def _narrow_limit(spec: ModelSpec, model: Path) -> float:
    """Mean difference that a narrower precision may cause; 0 for float32 throughout."""
    if spec.precision != "fp32":
        return spec.tolerance
    return storage.HALF_TOLERANCE if storage.is_half(model) else 0.0


def _means(rows: list[dict[str, Any]], tolerance: float) -> dict[str, Any]:
    worst = max(rows, key=lambda row: row["mean_difference"])
    problems = []
    if not worst["mean_difference"] <= tolerance:
        problems.append(
            f"alpha of {worst['input']} differs from the checkpoint by "
            f"{worst['mean_difference']:.1e} on average, {tolerance:.0e} is tolerated"
        )
    return {"tolerance": tolerance, "problems": problems, "rows": rows}


def _batch(session: Any) -> int:  # noqa: ANN401 - no stubs
    batch = session.get_inputs()[0].shape[0]
    return batch if isinstance(batch, int) else 1


def _axes(session: Any, spec: ModelSpec) -> export.Axes:  # noqa: ANN401 - no stubs
    batch, _, height, width = session.get_inputs()[0].shape
    policy = spec.input.size
    size = (height, width) if isinstance(height, int) and isinstance(width, int) else None
    if size is None and policy.rule == "fixed" and policy.height and policy.width:
        size = (policy.height, policy.width)  # a foreign graph may take no other
    return export.Axes(size=size, batch=batch if isinstance(batch, int) else None)
