"""``portrait inspect``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from portrait_sdk.cli.options import json_option


@click.command()
@click.argument("model", metavar="MODEL.onnx")
@json_option
def inspect(*, model: str, as_json: bool) -> None:
    """Show what is in MODEL.onnx: its description, inputs, outputs, operators, weights, precision.

    Nothing is run.
    """
    from portrait_sdk.converters import inspect_model

    found = inspect_model.inspect(Path(model))
    click.echo(json.dumps(found, indent=2) if as_json else _as_text(found))


def _as_text(found: dict[str, Any]) -> str:
    from portrait_sdk.converters.onnx_model import shape_text

    lines = [f"{found['file']}: {_bytes(found['size_bytes'])}"]
    for name, size in found["external_data"].items():
        lines.append(f"  weights in {name}: {_bytes(size)}")
    spec = found["spec"]
    if spec is None:
        lines.append(f"description: none; {found['note'].removeprefix(found['file'] + ': ')}")
    else:
        lines += _spec_lines(spec)
    opsets = ", ".join(f"{domain} {version}" for domain, version in found["opsets"].items())
    made_by = f", by {found['producer']}" if found["producer"] else ""
    lines.append(f"opset: {opsets}; IR {found['ir_version']}{made_by}")
    for kind in ("inputs", "outputs"):
        for value in found[kind]:
            axes = shape_text(None if value["shape"] is None else tuple(value["shape"]))
            lines.append(f"{kind[:-1]}: {value['name']}, {value['type']}, {axes}")
    parts = ", ".join(
        f"{name} {entry['count']:,} ({_bytes(entry['bytes'])})"
        for name, entry in found["weights"].items()
    )
    lines.append(f"weights: {parts or 'none'}")
    ops = sorted(found["ops"].items(), key=lambda item: (-item[1], item[0]))
    lines.append(f"nodes: {found['nodes']}; " + ", ".join(f"{op} {n}" for op, n in ops))
    macs = f", {found['macs'] / 1e9:.3g} G multiply-adds" if found["macs"] else ""
    lines.append(f"computes in: {found['precision']}{macs}")
    for kind, title in (("float16_nodes", "float16"), ("quantized_nodes", "quantized")):
        counts = ", ".join(f"{op} {len(names)}" for op, names in found[kind].items())
        if counts:
            lines.append(f"{title} nodes: {counts}; --json names them")
    # Names in a file are whatever somebody wrote there, control characters included.
    return "\n".join(
        "".join(c if c.isprintable() else repr(c)[1:-1] for c in line) for line in lines
    )


def _spec_lines(spec: dict[str, Any]) -> list[str]:
    image = spec["input"]
    size = dict(image["size"])
    size_filter = size.pop("filter")
    rule = size.pop("rule")
    rest = ", ".join(f"{key} {value}" for key, value in sorted(size.items()) if value)
    scale = f"range {image['range']:g}, mean {image['mean']}, std {image['std']}"
    return [
        f"description: {spec['name']} ({spec['architecture']}), {spec['license']}",
        f"  photo: {image['name']}, {image['color']}, {image['layout']}, {scale}",
        f"  size: {rule}, {rest}; {size_filter['kernel']} filter",
        *(
            f"  {o['meaning']}: {o['name']}, channel {o['channel']}, activation {o['activation']}"
            for o in spec["outputs"]
        ),
        *(f"  state: {state['input']}, from {state['output']}" for state in spec["states"]),
        *(f"  constant: {name} = {values}" for name, values in spec["constants"].items()),
        *(f"  {key}: {value}" for key, value in sorted(spec["provenance"].items())),
    ]


def _bytes(size: int) -> str:
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size >= scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size} bytes"
