"""What a pickle would do, told without doing it.

Torch's own ``weights_only`` reader runs nothing foreign, but it believes the sizes a file declares.
This scan comes first: it walks the same instructions over inert values, names every global the
pickle would look up, and adds up the storages and tensors it declares, so that a few bytes can
neither run a program nor ask for terabytes.
"""

from __future__ import annotations

import io
import math
import pickletools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

from portrait_sdk.errors import CheckpointError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LARGEST = 1 << 26
"""Bytes of a pickle; a state dict takes some 200 per tensor."""

_MOST_INSTRUCTIONS = 2_000_000  # some 40 per tensor
_MOST_DIMS, _LONGEST_DIM = 64, 1 << 48
_STORAGES = {
    "torch.FloatStorage": 4,
    "torch.DoubleStorage": 8,
    "torch.HalfStorage": 2,
    "torch.BFloat16Storage": 2,
    "torch.LongStorage": 8,
    "torch.IntStorage": 4,
    "torch.ShortStorage": 2,
    "torch.CharStorage": 1,
    "torch.ByteStorage": 1,
    "torch.BoolStorage": 1,
    "torch.ComplexFloatStorage": 8,
    "torch.ComplexDoubleStorage": 16,
    "torch.storage.UntypedStorage": 1,
}
_DTYPES = {
    str(value): value.itemsize for value in vars(torch).values() if isinstance(value, torch.dtype)
}
_REBUILD = "torch._utils._rebuild_"
_TENSORS = {f"{_REBUILD}tensor", f"{_REBUILD}tensor_v2", f"{_REBUILD}tensor_v3"}
_PARAMETERS = {f"{_REBUILD}parameter", f"{_REBUILD}parameter_with_state"}
_DICTS = {"collections.OrderedDict", "collections.Counter"}
_CALLS = {
    *_TENSORS,
    *_PARAMETERS,
    *_DICTS,
    "torch.Size",
    "torch.device",
    "builtins.set",
    "_codecs.encode",
}
_KNOWN = {*_CALLS, *_STORAGES, *_DTYPES}
_STRANGE_TENSORS = {
    f"{_REBUILD}sparse_tensor": "sparse",
    f"{_REBUILD}sparse_csr_tensor": "sparse",
    f"{_REBUILD}qtensor": "quantized",
    f"{_REBUILD}nested_tensor": "nested",
    f"{_REBUILD}meta_tensor_no_storage": "meta (empty)",
}
_PUSHES = {"NONE": None, "NEWFALSE": False, "NEWTRUE": True, "EMPTY_TUPLE": ()}
_CONSTANTS = {"BININT", "BININT1", "BININT2", "BINFLOAT", "BINUNICODE", "SHORT_BINSTRING", "LONG1"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE", "UNICODE", "BINUNICODE8"}


class UnreadableError(CheckpointError):
    """No pickle, or one that ends early."""


@dataclass(frozen=True, slots=True)
class _Global:
    name: str


@dataclass(frozen=True, slots=True)
class _Storage:
    key: str
    bytes: int
    itemsize: int


class _Table:
    """A dict of any kind; what is in it does not matter here."""


class _Opaque:
    """Anything else."""


@dataclass(slots=True)
class Scan:
    """What one pickle holds."""

    where: str
    result: Any = None
    """Constants, lists and tuples as they are; the rest inert."""
    length: int = 0
    """Bytes up to its end; others may follow in the same file."""
    storages: dict[str, int] = field(default_factory=dict)
    """Bytes of each storage, by key."""
    tensor_bytes: int = 0
    """Of all tensors together, those that share a storage counted each."""

    def wrong(self, what: str) -> CheckpointError:
        """The error for a pickle that is not what torch would have written."""
        return CheckpointError(f"{self.where}: truncated, damaged or made to harm: {what}")


def scan(data: bytes, where: str) -> Scan:
    """Walk the pickle at the start of ``data``.

    Args:
        data: At most ``LARGEST`` bytes of it are looked at.
        where: The file, for messages.

    Raises:
        CheckpointError: Truncated, or it wants more than tensors and plain containers.
    """
    data = data[:LARGEST]
    found = Scan(where=where)
    refuse_foreign(data, where)
    _Walk(found).run(data)
    return found


def refuse_foreign(data: bytes, where: str) -> None:
    """Refuse a pickle that looks up anything but tensors and plain containers; the error names it.

    Raises:
        CheckpointError: It does; or it is truncated, or written in another protocol than 2 or 3.
    """
    names, protocol, foreign = [], 0, False
    pushed = _Pushed()
    for instruction, argument, _ in _instructions(data, where):
        pushed.see(instruction, argument)
        if instruction == "PROTO":
            protocol = int(argument)
        elif instruction in ("GLOBAL", "INST"):
            names.append(_name(argument))
        elif instruction == "STACK_GLOBAL":
            names.append(".".join(pushed.texts))
        foreign = foreign or instruction not in _INSTRUCTIONS
    wanted = list(dict.fromkeys(name for name in names if name not in _KNOWN))
    if wanted:
        raise _refused(wanted, where)
    if foreign:
        raise CheckpointError(
            f"{where}: written in pickle protocol {protocol or '0 or 1'}, which torch's safe "
            "reader does not know: load it where it was made and save it again with torch.save's "
            "own protocol"
        )


class _Pushed:
    """The last two texts pushed: what protocol 4 and later look up."""

    def __init__(self) -> None:
        self.texts = ["", ""]
        self.memo: list[str] = []

    def see(self, instruction: str, argument: Any) -> None:  # noqa: ANN401 - any instruction's
        if instruction in _TEXTS:
            self.texts = [self.texts[1], str(argument)]
        elif instruction == "MEMOIZE":
            self.memo.append(self.texts[1])
        elif instruction in ("BINGET", "LONG_BINGET"):
            known = self.memo[argument] if argument < len(self.memo) else ""
            self.texts = [self.texts[1], known]


def _refused(wanted: list[str], where: str) -> CheckpointError:
    strange = [_STRANGE_TENSORS[name] for name in wanted if name in _STRANGE_TENSORS]
    if strange:
        return CheckpointError(
            f"{where}: holds a {strange[0]} tensor, expected plain ones: save it again with "
            "dense float weights"
        )
    modules = [name for name in wanted if name.startswith("torch.nn.modules.")]
    if modules:
        kind = next((name for name in wanted if not name.startswith("torch.")), modules[0])
        what = f"a whole pickled network ({kind}), which runs its code to load"
    else:
        more = f" and {len(wanted) - 3} more" if len(wanted) > 3 else ""  # noqa: PLR2004
        what = f"a pickle that wants to run {', '.join(wanted[:3])}{more}"
    return CheckpointError(
        f"{where}: refused, nothing was run: {what}; if you trust it, load it where it was made "
        "and save the weights alone: torch.save(model.state_dict(), PATH)"
    )


def _instructions(data: bytes, where: str) -> Iterator[tuple[str, Any, int]]:
    """Name, argument and end position of each."""
    stream = io.BytesIO(data)
    try:
        for count, (code, argument, _) in enumerate(pickletools.genops(stream)):
            if count == _MOST_INSTRUCTIONS:
                raise CheckpointError(
                    f"{where}: its pickle has more than {_MOST_INSTRUCTIONS} instructions; "
                    "a state dict needs some 40 per tensor"
                )
            yield code.name, argument, stream.tell()
    except (ValueError, IndexError) as error:  # pickletools' errors; texts that are no UTF-8
        raise UnreadableError(f"{where}: truncated or damaged: its pickle: {error}") from error


def _name(argument: str) -> str:
    """``module name`` → ``module.name``, Python 2's spelling of built-ins translated."""
    module, _, name = argument.partition(" ")
    return f"{'builtins' if module == '__builtin__' else module}.{name}"


class _Walk:
    """A pickle machine whose calls make nothing."""

    def __init__(self, found: Scan) -> None:
        self.found = found
        self.stack: list[Any] = []
        self.marks: list[list[Any]] = []
        self.memo: dict[int, Any] = {}

    def run(self, data: bytes) -> None:
        for name, argument, end in _instructions(data, self.found.where):
            try:
                if name == "STOP":
                    self.found.result, self.found.length = self.stack.pop(), end
                elif name in _CONSTANTS:
                    self.stack.append(argument)
                elif name in _PUSHES:
                    self.stack.append(_PUSHES[name])
                else:
                    _STEPS[name](self, argument)
            except (IndexError, KeyError) as error:  # the stack, marks or memo are empty there
                raise self.found.wrong(f"{name} at byte {end} finds nothing") from error

    def replace(self, count: int, value: tuple[Any, ...]) -> None:
        if count > len(self.stack):
            raise IndexError
        if count:
            del self.stack[-count:]
        self.stack.append(value)

    def mark(self, _: object) -> None:
        self.marks.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        items, self.stack = self.stack, self.marks.pop()
        return items

    def put(self, argument: Any) -> None:  # noqa: ANN401 - the memo's number
        self.memo[argument] = self.stack[-1]

    def extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise self.found.wrong("items for what is no list")
        self.stack[-1].extend(items)

    def set_items(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], _Table) or not all(map(_plain, items[::2])):
            raise self.found.wrong("entries with keys that are no texts or numbers")

    def build(self, _: object) -> None:
        """Attributes of a dict (a state dict's ``_metadata``); tensors have none to set here."""
        state = self.stack.pop()
        if not isinstance(self.stack[-1], _Table) or not isinstance(state, _Table):
            raise self.found.wrong("attributes for what takes none")

    def persistent(self, _: object) -> None:
        match self.stack.pop():
            case ("storage", _Global(kind), key, str(), int(count), *rest) if kind in _STORAGES:
                view = rest[0] if rest else None
            case _:
                raise self.found.wrong("a reference that is no storage")
        itemsize = _STORAGES[kind]
        size = count * itemsize
        if count < 0 or self.found.storages.setdefault(str(key), size) != size:
            raise self.found.wrong(f"storage {key} of {count} values")
        if view is not None:  # (key, first value, values), torch before 0.4
            match view:
                case (_, int(first), int(count)) if min(first, count) >= 0:
                    if (first + count) * itemsize > size:
                        raise self.found.wrong(f"a view beyond storage {key}")
                case _:
                    raise self.found.wrong(f"a view of storage {key}")
        self.stack.append(_Storage(str(key), count * itemsize, itemsize))

    def call(self, _: object) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if not isinstance(function, _Global) or not isinstance(arguments, tuple):
            raise self.found.wrong("a call of what is no function")
        name = function.name
        if name in _TENSORS:
            self.tensor(name, arguments)
            self.stack.append(_Opaque())
        elif name == "torch.Size" and len(arguments) == 1 and _sizes(arguments[0]):
            self.stack.append(tuple(arguments[0]))
        elif name in _DICTS and _entries(arguments):
            self.stack.append(_Table())
        elif name in _PARAMETERS or _harmless(name, arguments):
            self.stack.append(_Opaque())
        else:
            raise self.found.wrong(f"a call of {name} with strange arguments")

    def tensor(self, name: str, arguments: tuple[Any, ...]) -> None:
        match arguments:
            case (_Storage() as storage, int(offset), size, stride, *rest):
                pass
            case _:
                raise self.found.wrong("a tensor without a storage")
        itemsize = storage.itemsize
        if name.endswith("_v3"):
            kind = rest[2] if len(rest) > 2 else None  # noqa: PLR2004 - requires_grad, hooks, dtype
            if not isinstance(kind, _Global) or kind.name not in _DTYPES:
                raise self.found.wrong("a tensor without a number type")
            itemsize = _DTYPES[kind.name]
        if not _sizes(size) or not _sizes(stride) or len(size) != len(stride) or offset < 0:
            raise self.found.wrong("a tensor of impossible shape")
        values = math.prod(size)
        last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
        if values and (last + 1) * itemsize > storage.bytes:
            raise self.found.wrong(
                f"a tensor of shape {tuple(size)} in a storage of {storage.bytes} bytes"
            )
        self.found.tensor_bytes += values * itemsize


_STEPS: dict[str, Callable[[_Walk, Any], None]] = {
    "GLOBAL": lambda walk, argument: walk.stack.append(_Global(_name(argument))),
    "PROTO": lambda _walk, _: None,
    "MARK": _Walk.mark,
    "TUPLE": lambda walk, _: walk.replace(0, tuple(walk.marked())),
    "TUPLE1": lambda walk, _: walk.replace(1, tuple(walk.stack[-1:])),
    "TUPLE2": lambda walk, _: walk.replace(2, tuple(walk.stack[-2:])),
    "TUPLE3": lambda walk, _: walk.replace(3, tuple(walk.stack[-3:])),
    "EMPTY_LIST": lambda walk, _: walk.stack.append([]),
    "EMPTY_DICT": lambda walk, _: walk.stack.append(_Table()),
    "EMPTY_SET": lambda walk, _: walk.stack.append(_Opaque()),
    "APPEND": lambda walk, _: walk.extend([walk.stack.pop()]),
    "APPENDS": lambda walk, _: walk.extend(walk.marked()),
    "SETITEM": lambda walk, _: walk.set_items([walk.stack.pop(-2), walk.stack.pop()]),
    "SETITEMS": lambda walk, _: walk.set_items(walk.marked()),
    "BINGET": lambda walk, argument: walk.stack.append(walk.memo[argument]),
    "LONG_BINGET": lambda walk, argument: walk.stack.append(walk.memo[argument]),
    "BINPUT": _Walk.put,
    "LONG_BINPUT": _Walk.put,
    "BINPERSID": _Walk.persistent,
    "REDUCE": _Walk.call,
    "NEWOBJ": _Walk.call,
    "BUILD": _Walk.build,
}
_INSTRUCTIONS = {*_STEPS, *_CONSTANTS, *_PUSHES, "STOP"}
"""Those torch's own safe reader knows: protocols 2 and 3."""


def _plain(key: object) -> bool:
    """What may be a key: hashing a tuple of tuples can take for ever."""
    return key is None or isinstance(key, str | int | float)


def _sizes(value: object) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) <= _MOST_DIMS
        and all(isinstance(n, int) and 0 <= n < _LONGEST_DIM for n in value)
    )


def _entries(arguments: tuple[Any, ...]) -> bool:
    """Of ``OrderedDict()`` or Python 2's ``OrderedDict([[key, value], ...])``."""
    if not arguments:
        return True
    pairs = arguments[0]
    if isinstance(pairs, _Table):
        return len(arguments) == 1
    return (
        len(arguments) == 1
        and isinstance(pairs, list)
        and all(isinstance(p, list | tuple) and len(p) == 2 and _plain(p[0]) for p in pairs)  # noqa: PLR2004
    )


def _harmless(name: str, arguments: tuple[Any, ...]) -> bool:
    match name, arguments:
        case ("torch.device", (str(), *rest)):
            return all(isinstance(n, int) for n in rest)
        case ("builtins.set", (list(items),)):
            return all(map(_plain, items))
        case ("_codecs.encode", (str(), "latin1" | "latin-1")):
            return True
    return False
