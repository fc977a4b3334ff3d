"""Checkpoints read without running anything in them, and fitted to a network key by key."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import torch

from portrait_sdk.errors import CheckpointError

from . import _keys, _mindspore, _parts, _torchfile, architectures

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor, nn

    from .architectures._base import Architecture

Format: TypeAlias = Literal["torch-zip", "torch-legacy", "safetensors", "mindspore"]

_HEAD = 8192  # bytes that tell a format
_LONGEST_HEADER = 100_000_000  # bytes of a safetensors header; its own library's limit
_OTHERS = {
    (0, b"version https://git-lfs"): "a Git LFS pointer, not the file: `git lfs pull` fetches it",
    (0, b"\x1f\x8b"): "packed with gzip; unpack it first",
    (0, b"BZh"): "packed with bzip2; unpack it first",
    (0, b"\xfd7zXZ"): "packed with xz; unpack it first",
    (0, b"\x28\xb5\x2f\xfd"): "packed with zstd; unpack it first",
    (257, b"ustar"): "a tar archive; unpack it first",
    (0, b"\x89HDF\r\n"): "an HDF5 file (Keras, TensorFlow); expected torch, safetensors, MindSpore",
}
"""By the bytes at a position."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The tensors of one file."""

    path: Path
    format: Format
    """By content, never by extension."""
    sha256: str
    """Of the file."""
    tensors: dict[str, Tensor]
    """Named as torch would name them: wrappers opened, common prefixes gone, MindSpore's last
    components translated. Floating point ones are float32."""
    part: str = ""
    """Which wrapper entry they came from (``state_dict``, ``params_ema``, …); empty: none."""
    parts: tuple[str, ...] = ()
    """All entries that hold a state dict."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Entries that are no weights (optimiser state, counters), with the reason."""
    notes: tuple[str, ...] = ()
    """What was changed or chosen on the way, in words for a report."""


def read(path: Path, *, part: str | None = None) -> Checkpoint:
    """The weights in a file of torch, safetensors or MindSpore; nothing in it is run.

    Where there are several state dicts, averaged ones (EMA) are taken: they are the weights meant
    for inference.

    Args:
        path: The file; its extension does not matter.
        part: Which of its state dicts to take.

    Raises:
        CheckpointError: Missing, damaged, of another format, or it wants more than tensors.
        OptionError: It has no such part.
    """
    path = Path(path)
    where = str(path)
    kind, sha256 = _identify(path, where)
    notes: list[str] = []
    if kind == "mindspore":
        tensors, left_out = _read_mindspore(path, where)
        parts, chosen = {"": tensors}, _parts.choose({"": tensors}, part, where)
    else:
        saved = _read_saved(path, kind, where)
        parts, left_out = _parts.state_dicts(saved)
        chosen = _parts.choose(parts, part, where)
        tensors, rest = _parts.weights(parts[chosen])
        left_out |= rest
    if not tensors:
        raise CheckpointError(f"{where}: holds no weights; left out: {', '.join(left_out) or '-'}")
    if len(parts) > 1:
        others = ", ".join(name for name in parts if name != chosen)
        notes.append(
            f"took the state dict {chosen or 'of the file itself'}; there are also: {others}"
        )
    return Checkpoint(
        path=path,
        format=kind,
        sha256=sha256,
        tensors=_plain_floats(tensors, where, notes),
        part=chosen,
        parts=tuple(name for name in parts if name),
        left_out=left_out,
        notes=tuple(notes),
    )


def fit(module: nn.Module, checkpoint: Checkpoint, architecture: Architecture) -> None:
    """Load a checkpoint's tensors into a network, strictly.

    Args:
        module: Built by ``architecture``; changed in place, and only if everything fits.
        checkpoint: Whose tensors.
        architecture: Translates keys and says which may lack or be of no use.

    Raises:
        CheckpointError: A key is missing, unexpected or of another shape (all of them in the
            error's ``table``), or a weight is not finite.
    """
    state = _keys.translated(checkpoint.tensors, architecture)
    own = module.state_dict()
    found = _keys.compare(_shapes(state), _shapes(own), architecture)
    if found.faults:
        raise _misfit(checkpoint, architecture, found)
    for key, value in state.items():
        if own[key].is_floating_point() and not value.is_floating_point():
            raise CheckpointError(
                f"{checkpoint.path}: {key}: expected floating point numbers, got {value.dtype}"
            )
        if value.is_floating_point() and not torch.isfinite(value).all():
            bad = int((~torch.isfinite(value)).sum())
            raise CheckpointError(
                f"{checkpoint.path}: {key}: {bad} of {value.numel()} values are NaN or infinite; "
                "the training diverged or the file is damaged: take an earlier checkpoint"
            )
    state = {key: value.reshape(own[key].shape) for key, value in state.items()}
    module.load_state_dict(state, strict=False)  # lacks at most what may lack, as compared above


def recognise(checkpoint: Checkpoint) -> Architecture:
    """The architecture that a checkpoint's keys and shapes fit best, none missing.

    Raises:
        CheckpointError: None, or several alike; the message lists candidates.
    """
    every = architectures.every()
    fits = [_keys.against(checkpoint.tensors, one) for one in every.values()]
    whole = sorted((one for one in fits if one.covers), key=lambda one: len(one.unexpected))
    best = [one for one in whole if len(one.unexpected) == len(whole[0].unexpected)]
    if len(best) == 1:
        return every[best[0].architecture]
    if best:
        names = ", ".join(one.architecture for one in best)
        raise CheckpointError(
            f"{checkpoint.path}: its keys fit {names} alike; name one: "
            f"--arch {best[0].architecture}"
        )
    nearest = max(fits, key=lambda one: (one.matched, -one.faults))
    words = f"nearest is {nearest.architecture}: {nearest.line()}"
    if not nearest.matched:
        words = f"its first key is {next(iter(checkpoint.tensors))!r}"
    error = CheckpointError(
        f"{checkpoint.path}: fits no known architecture ({', '.join(every)}); {words}"
    )
    error.table = nearest.table() if nearest.matched else ""
    raise error


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in tensors.items()}


def _misfit(
    checkpoint: Checkpoint, architecture: Architecture, found: _keys.Fit
) -> CheckpointError:
    hint = ""
    others = [
        _keys.against(checkpoint.tensors, one)
        for one in architectures.every().values()
        if one.name != architecture.name
    ]
    better = [one for one in others if one.covers and one.faults < found.faults]
    if better:
        name = min(better, key=lambda one: one.faults).architecture
        hint = f"; looks like {name}: --arch {name}"
    elif len(checkpoint.parts) > 1:
        hint = f"; it has other parts: --part {_other(checkpoint)}"
    error = CheckpointError(
        f"{checkpoint.path}: does not fit {architecture.name}: {found.line()}{hint}"
    )
    error.table = found.table()
    return error


def _other(checkpoint: Checkpoint) -> str:
    return next(name for name in checkpoint.parts if name != checkpoint.part)


def _identify(path: Path, where: str) -> tuple[Format, str]:
    """The format by the file's first bytes, and the hash of all of them."""
    if path.is_dir():
        raise CheckpointError(f"{where}: a folder; expected the checkpoint file itself")
    try:
        if path.exists() and not path.is_file():
            raise CheckpointError(f"{where}: expected a plain file")
        with path.open("rb") as file:
            head = file.read(_HEAD)
            file.seek(0)
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        size = path.stat().st_size
        if not head:
            raise CheckpointError(f"{where}: empty; fetch it again")
        return _format(path, head, size, where), sha256
    except FileNotFoundError:
        raise CheckpointError(f"{where}: no such file") from None
    except OSError as error:
        raise CheckpointError(f"{where}: cannot be read: {error.strerror or error}") from error


def _format(path: Path, head: bytes, size: int, where: str) -> Format:
    if head.startswith(b"PK\x03\x04"):
        return "torch-zip"
    if _torchfile.is_legacy(head):
        return "torch-legacy"
    length = int.from_bytes(head[:8], "little")
    if head[8:9] == b"{" and length <= _LONGEST_HEADER:
        return "safetensors"
    if _mindspore.checkpoint(head):
        return "mindspore"
    foreign = _foreign(head)
    if foreign:
        raise CheckpointError(f"{where}: {foreign}")
    _torchfile.refuse_pickle(_mapped(path), where)
    raise CheckpointError(
        f"{where}: no checkpoint: expected a file of torch.save, safetensors or MindSpore; "
        f"its {size} bytes start {head[:8].hex(' ')}"
    )


def _mapped(path: Path) -> memoryview:
    """The file's bytes, paged in as they are looked at."""
    return np.memmap(path, np.uint8, "r").data


def _foreign(head: bytes) -> str | None:
    """What else people hand over, in words."""
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")[:512].lower()
    if text.startswith(b"<"):
        kind = "a web page" if b"<html" in text or b"<!doctype html" in text else "markup"
        return f"{kind}, not a checkpoint: the download gave a page; fetch the file itself"
    if _mindspore.encrypted(head):
        return "an encrypted MindSpore file; decrypt it with its key where it was made"
    if _mindspore.graph(head):
        return "a MindSpore graph (.mindir), which is no checkpoint; expected its .ckpt"
    if head[:1] == b"\x08" and head[1:2] < b"\x20" and head[2:3] in b"\x12\x1a\x22\x2a\x32\x3a\x42":
        return "an ONNX graph, converted already; `portrait adopt` describes it"
    found = (words for (at, magic), words in _OTHERS.items() if head[at:].startswith(magic))
    return next(found, None)


def _read_mindspore(path: Path, where: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    contents = _mindspore.read(_mapped(path), where)
    kept, left_out = _parts.mindspore_weights(contents.tensors)
    left_out |= contents.skipped
    left_out |= dict.fromkeys(contents.texts, "a text")
    tensors: dict[str, Tensor] = {}
    for tag, value in kept.items():
        key = _mindspore.torch_name(tag)
        if key in tensors:
            raise CheckpointError(f"{where}: {tag}: another value is called {key} already")
        tensors[key] = value
    return tensors, left_out


def _read_saved(path: Path, kind: Format, where: str) -> object:
    if kind == "torch-zip":
        return _torchfile.read_zip(path, where)
    if kind == "safetensors":
        return _read_safetensors(path, where)
    return _torchfile.read_legacy(path, _mapped(path), where)


def _read_safetensors(path: Path, where: str) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError:
        raise CheckpointError(
            f"{where}: safetensors is not installed; `pip install safetensors` brings it"
        ) from None
    try:
        return load_file(path)
    except (SafetensorError, ValueError, KeyError) as error:
        raise CheckpointError(
            f"{where}: truncated or damaged safetensors file ({error}); fetch it again"
        ) from error


def _plain_floats(tensors: Mapping[str, Tensor], where: str, notes: list[str]) -> dict[str, Tensor]:
    """Dense tensors on the CPU, floating point ones as float32."""
    cast: Counter[str] = Counter()
    plain: dict[str, Tensor] = {}
    for key, value in tensors.items():
        if value.layout is not torch.strided or value.is_quantized or value.device.type != "cpu":
            raise CheckpointError(
                f"{where}: {key}: expected a dense tensor, got {value.layout} on {value.device}"
            )
        if value.is_complex():
            raise CheckpointError(f"{where}: {key}: expected real numbers, got {value.dtype}")
        if value.is_floating_point() and value.dtype != torch.float32:
            cast[str(value.dtype).removeprefix("torch.")] += 1
        data = value.detach()
        plain[key] = data.to(torch.float32) if data.is_floating_point() else data
    notes += [f"{count} tensors cast from {name} to float32" for name, count in cast.items()]
    return plain
