"""Checkpoints: formats told by content, wrappers opened, keys reported, harm refused unread."""

from __future__ import annotations

import io
import json
import pickle
import resource
import struct
import zipfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
safetensors_torch = pytest.importorskip(
    "safetensors.torch", reason="the extra 'convert' is not installed"
)

from torch import nn  # noqa: E402

from portrait_sdk.converters import architectures, checkpoints  # noqa: E402
from portrait_sdk.converters.architectures._base import Architecture  # noqa: E402
from portrait_sdk.errors import CheckpointError, OptionError  # noqa: E402
from portrait_sdk.spec import OutputSpec  # noqa: E402

from .mindspore_writer import tensor, with_crc  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable

GOLDEN = Path(__file__).resolve().parents[1] / "data/golden"


def build() -> nn.Module:
    """Two convolutions and a norm: twelve keys' worth of everything a report names."""
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1))


TINY = Architecture(
    name="tiny",
    title="for these tests",
    build=build,
    raw=(OutputSpec(name="alpha_raw", meaning="alpha_raw"),),
    finish=lambda raw: raw[0],
    profiles=(),
    signature=frozenset({"2.weight"}),
    stride=1,
    verify_sizes=((8, 8),),
    tolerance=0.0,
    unused=(r"spare\..*",),
)


@pytest.fixture(scope="module")
def state() -> dict[str, Any]:
    torch.manual_seed(3)
    return dict(build().state_dict())


def save(path: Path, saved: object, **options: Any) -> Path:
    torch.save(saved, path, **options)
    return path


def legacy(path: Path, saved: object, **options: Any) -> Path:
    return save(path, saved, _use_new_zipfile_serialization=False, **options)


def same(got: dict[str, Any], want: dict[str, Any]) -> bool:
    return list(got) == list(want) and all(torch.equal(got[key], want[key]) for key in want)


# Formats


@pytest.mark.parametrize("protocol", [2, 3])
@pytest.mark.parametrize("write", [save, legacy])
def test_torch_files_are_read_by_content(
    write: Callable[..., Path], protocol: int, state: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "weights.onnx", state, pickle_protocol=protocol)
    got = checkpoints.read(path)
    assert got.format == ("torch-zip" if write is save else "torch-legacy")
    assert same(got.tensors, state)
    assert (got.part, got.parts, got.notes) == ("", (), ())
    assert len(got.sha256) == 64


@pytest.mark.parametrize("protocol", [0, 1, 4, 5])
@pytest.mark.parametrize("write", [save, legacy])
def test_protocols_torch_cannot_read_safely_are_named(
    write: Callable[..., Path], protocol: int, state: Any, tmp_path: Path
) -> None:
    path = write(tmp_path / "w.pth", state, pickle_protocol=protocol)
    number = protocol or "0 or 1"
    with pytest.raises(CheckpointError, match=f"pickle protocol .*{number if protocol > 1 else 0}"):
        checkpoints.read(path)


def test_safetensors_are_read_by_content(state: Any, tmp_path: Path) -> None:
    safetensors_torch.save_file(state, tmp_path / "w.ckpt")
    got = checkpoints.read(tmp_path / "w.ckpt")
    assert got.format == "safetensors"
    assert same(dict(sorted(got.tensors.items())), dict(sorted(state.items())))


def test_mindspore_files_are_read_by_content_and_named_as_torch_would(tmp_path: Path) -> None:
    gamma = np.arange(4, dtype=np.float32)
    path = tmp_path / "w.pth"
    path.write_bytes(
        with_crc(
            tensor("network.bn.gamma", gamma)
            + tensor("network.bn.moving_mean", gamma + 1)
            + tensor("network.conv.weight", gamma.reshape(1, 1, 2, 2))
            + tensor("moment1.network.bn.gamma", gamma)
            + tensor("global_step", np.int32([7]))
            + tensor("loss", np.array(0.5, np.float32))
        )
    )
    got = checkpoints.read(path)
    assert got.format == "mindspore"
    assert list(got.tensors) == ["bn.weight", "bn.running_mean", "conv.weight"]
    assert got.tensors["bn.weight"].tolist() == [0, 1, 2, 3]
    assert set(got.left_out) == {"moment1.network.bn.gamma", "global_step", "loss"}
    assert got.left_out["moment1.network.bn.gamma"] == "optimiser state"


def test_python_2s_ordered_dicts_and_texts_are_read(tmp_path: Path) -> None:
    """Old files hold ``OrderedDict([[key, value], ...])`` and byte strings for keys."""
    path = save(tmp_path / "w.pth", [["weight", torch.ones(2)]])

    def change(data: bytes) -> bytes:
        data = data.replace(b"X\x06\0\0\0weight", b"U\x06weight")
        return b"\x80\x02ccollections\nOrderedDict\n" + data[2:-1] + b"\x85R."

    rewrite(path, change)
    assert same(checkpoints.read(path).tensors, {"weight": torch.ones(2)})


# Wrappers and prefixes


@pytest.mark.parametrize(
    ("wrap", "part"),
    [
        (lambda s: {"epoch": 3, "state_dict": s}, "state_dict"),
        (lambda s: {"model": {"state_dict": s}, "lr": 0.1}, "model.state_dict"),
        (lambda s: {"params": s, "params_ema": s}, "params_ema"),
        (lambda s: {"state_dict": s, "state_dict_ema": s}, "state_dict_ema"),
        (lambda s: {"model": s, "ema": {"module": s}}, "ema.module"),
        (lambda s: {"generator": s, "discriminator": s}, "generator"),
        (lambda s: {"generator": s, "discriminator_ema": s}, "generator"),
        (lambda s: {"model": s, "steps": torch.tensor(3)}, "model"),
        (lambda s: {"net": s, "average": s, "optimiser": {"a": torch.ones(2)}}, "average"),
        (lambda s: {"anything": s}, "anything"),
    ],
)
def test_wrappers_are_opened(wrap: Any, part: str, state: Any, tmp_path: Path) -> None:
    got = checkpoints.read(save(tmp_path / "w.pth", wrap(state)))
    assert got.part == part
    assert part in got.parts
    assert same(got.tensors, state)


def test_several_parts_are_reported_and_another_may_be_named(state: Any, tmp_path: Path) -> None:
    other = {key: value + 1 for key, value in state.items()}
    path = save(tmp_path / "w.pth", {"params": state, "params_ema": other})
    got = checkpoints.read(path)
    assert same(got.tensors, other)
    assert got.parts == ("params", "params_ema")
    assert got.notes == ("took the state dict params_ema; there are also: params",)
    assert same(checkpoints.read(path, part="params").tensors, state)
    with pytest.raises(OptionError, match=r"part: expected one of params, params_ema .* got 'ema'"):
        checkpoints.read(path, part="ema")


def test_parts_nobody_can_rank_are_asked_for(state: Any, tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {"left": state, "right": state})
    with pytest.raises(CheckpointError, match=r"several state dicts \(left, right\).*--part left"):
        checkpoints.read(path)


def test_what_is_no_weight_is_left_out_and_listed(state: Any, tmp_path: Path) -> None:
    net = build()
    adam = torch.optim.Adam(net.parameters())
    net(torch.rand(2, 3, 8, 8)).sum().backward()
    adam.step()
    saved = {"state_dict": state, "optimizer": adam.state_dict(), "epoch": 3}
    got = checkpoints.read(save(tmp_path / "w.pth", saved))
    assert set(got.left_out) == {"optimizer", "epoch"}
    inside = {**state, "0.total_ops": torch.zeros(1), "n_averaged": torch.tensor(4), "note": "x"}
    got = checkpoints.read(save(tmp_path / "v.pth", inside))
    assert set(got.left_out) == {"0.total_ops", "n_averaged", "note"}
    assert same(got.tensors, state)


@pytest.mark.parametrize("prefix", ["module.", "model.", "_orig_mod.module.", "net.net."])
def test_prefixes_that_all_keys_share_are_taken_off(
    prefix: str, state: Any, tmp_path: Path
) -> None:
    saved = {prefix + key: value for key, value in state.items()}
    assert same(checkpoints.read(save(tmp_path / "w.pth", saved)).tensors, state)


def test_a_prefix_that_one_key_lacks_stays(state: Any, tmp_path: Path) -> None:
    saved = {"model." + key: value for key, value in state.items()} | {"head.bias": torch.ones(1)}
    got = checkpoints.read(save(tmp_path / "w.pth", saved))
    assert list(got.tensors) == list(saved)


def test_other_float_types_become_float32_and_are_noted(tmp_path: Path) -> None:
    saved = {
        "a": torch.tensor([1.5]).half(),
        "b": torch.tensor([2.5]).bfloat16(),
        "c": torch.tensor([3.5]).double(),
        "d": torch.tensor([1.0]),
        "e": torch.tensor([3]),
    }
    got = checkpoints.read(save(tmp_path / "w.pth", saved))
    assert [t.dtype for t in got.tensors.values()] == [torch.float32] * 4 + [torch.int64]
    assert [t.item() for t in got.tensors.values()] == [1.5, 2.5, 3.5, 1.0, 3]
    assert sorted(got.notes) == [
        f"1 tensors cast from {name} to float32" for name in ("bfloat16", "float16", "float64")
    ]


def test_parameters_views_and_counters_are_plain_tensors(tmp_path: Path) -> None:
    whole = torch.arange(12.0)
    saved = {
        "a": nn.Parameter(torch.ones(2, 2)),
        "b": whole[:6].view(2, 3).t(),
        "c": whole[6:],
        "d": torch.ones(1).expand(40),
        "milestones": Counter({3: 1}),
    }
    for write in (save, legacy):
        got = checkpoints.read(write(tmp_path / "w.pth", saved))
        assert list(got.tensors) == ["a", "b", "c", "d"]
        assert torch.equal(got.tensors["b"], saved["b"])
        assert torch.equal(got.tensors["c"], whole[6:])
        assert not got.tensors["a"].requires_grad


# Fitting


def checkpoint(tmp_path: Path, tensors: dict[str, Any]) -> checkpoints.Checkpoint:
    return checkpoints.read(save(tmp_path / "w.pth", tensors))


def test_what_fits_is_loaded(state: Any, tmp_path: Path) -> None:
    net = build()
    spare = {"spare.weight": torch.full((2,), torch.nan)}  # of no use, so its values do not matter
    checkpoints.fit(net, checkpoint(tmp_path, {**state, **spare}), TINY)
    assert same(dict(net.state_dict()), state)


def test_counters_may_be_absent(state: Any, tmp_path: Path) -> None:
    saved = {key: value for key, value in state.items() if "num_batches" not in key}
    net = build()
    checkpoints.fit(net, checkpoint(tmp_path, saved), TINY)
    assert torch.equal(net.state_dict()["1.running_var"], state["1.running_var"])


def test_misfits_are_counted_in_a_line_and_listed_in_a_table(state: Any, tmp_path: Path) -> None:
    saved = dict(state)
    del saved["0.bias"], saved["1.weight"]
    saved["3.bias"] = torch.ones(5)
    saved["2.weight"] = torch.ones(1, 8, 1, 1)
    net = build()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        checkpoints.fit(net, checkpoint(tmp_path, saved), TINY)
    assert str(caught.value) == (
        f"{tmp_path / 'w.pth'}: does not fit tiny: 2 missing (first 0.bias), 1 unexpected "
        "(first 3.bias), 1 of another shape (first 2.weight: expected [1, 4, 1, 1], "
        "got [1, 8, 1, 1])"
    )
    assert caught.value.table.splitlines() == [
        "missing (2)",
        "  0.bias    expected [4]",
        "  1.weight  expected [4]",
        "unexpected (1)",
        "  3.bias    got [5]",
        "another shape (1)",
        "  2.weight  expected [1, 4, 1, 1], got [1, 8, 1, 1]",
    ]
    assert same(dict(net.state_dict()), before)


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_no_numbers_are_refused_by_key(
    bad: float, state: Any, tmp_path: Path
) -> None:
    saved = {**state, "2.weight": state["2.weight"].clone()}
    saved["2.weight"][0, 1] = bad
    with pytest.raises(CheckpointError, match=r"2\.weight: 1 of 4 values are NaN or infinite"):
        checkpoints.fit(build(), checkpoint(tmp_path, saved), TINY)


def test_integers_for_weights_are_refused(state: Any, tmp_path: Path) -> None:
    saved = {**state, "2.weight": torch.ones(1, 4, 1, 1, dtype=torch.int8)}
    with pytest.raises(CheckpointError, match=r"2\.weight: expected floating point .*int8"):
        checkpoints.fit(build(), checkpoint(tmp_path, saved), TINY)


@pytest.mark.parametrize("name", sorted(architectures.every()))
def test_every_architecture_recognises_its_own_keys(name: str, tmp_path: Path) -> None:
    with torch.device("meta"):
        shapes = {k: v.shape for k, v in architectures.find(name).build().state_dict().items()}
    # Keys and shapes alone decide, so the values may all be one.
    tensors = {key: torch.zeros(()).expand(shape) for key, shape in shapes.items()}
    fresh = checkpoints.Checkpoint(path=tmp_path, format="torch-zip", sha256="", tensors=tensors)
    assert checkpoints.recognise(fresh).name == name


def test_keys_of_no_architecture_list_the_candidates(state: Any, tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"fits no known architecture \(.*shm, shm-fast.*\); "
    ):
        checkpoints.recognise(checkpoint(tmp_path, state))


def test_the_right_architecture_of_another_width_is_named_with_its_shapes(tmp_path: Path) -> None:
    own = architectures.find("shm-fast").build().state_dict()
    wide = {key: torch.zeros(0) if "classifier" in key else value for key, value in own.items()}
    with pytest.raises(CheckpointError, match=r"nearest is shm-fast: 2 of another shape") as caught:
        checkpoints.recognise(checkpoint(tmp_path, wide))
    assert "t_net.classifier.bias" in caught.value.table


# Harm and damage


def refused(path: Path, message: str) -> None:
    """One clear line, and no large memory on the way."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(CheckpointError, match=message) as caught:
        checkpoints.read(path)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(str(path))
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert after - before < 300_000  # KiB; the bombs below ask for a gigabyte and more


class Bomb:
    """Unpickled by Python's own pickle, it would make a file."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> Any:
        import os

        return os.system, (f"touch '{self.made}'",)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("write", ["zip", "legacy", "bare"])
def test_pickles_that_run_something_are_refused_by_name(
    write: str, protocol: int, tmp_path: Path
) -> None:
    made, path = tmp_path / "made", tmp_path / "w.pth"
    saved = {"state_dict": {"a": torch.ones(2), "b": Bomb(made)}}
    if write == "bare":
        path.write_bytes(pickle.dumps({"b": Bomb(made)}, protocol))
    else:
        torch.save(
            saved,
            path,
            pickle_protocol=protocol,
            _use_new_zipfile_serialization=write == "zip",
        )
    if write == "legacy" and protocol in (0, 1, 4, 5):
        refused(path, "pickle protocol|wants to run (posix|nt).system")
    else:
        refused(path, r"nothing was run: a pickle that wants to run (posix|nt).system;.*state_dict")
    assert not made.exists()


def test_whole_pickled_networks_are_refused_with_the_way_on(tmp_path: Path) -> None:
    refused(
        save(tmp_path / "model_obj.pth", build()),
        r"a whole pickled network \(torch.nn.modules.*torch.save\(model.state_dict\(\), PATH\)",
    )


def test_settings_that_need_their_code_are_refused_by_name(state: Any, tmp_path: Path) -> None:
    import argparse

    saved = {"state_dict": state, "args": argparse.Namespace(lr=0.1)}
    refused(save(tmp_path / "w.pth", saved), "wants to run argparse.Namespace")


def test_torchscript_is_named(tmp_path: Path) -> None:
    path = tmp_path / "w.pt"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("w/data.pkl", "w/code/__torch__.py", "w/constants.pkl"):
            archive.writestr(name, b"x")
    refused(path, "a TorchScript archive")


@pytest.mark.parametrize("kind", ["sparse", "quantized"])
def test_strange_tensors_are_refused(kind: str, tmp_path: Path) -> None:
    if kind == "sparse":
        value = torch.eye(3).to_sparse()
        path = save(tmp_path / "w.pth", {"a": value})
        refused(path, "holds a sparse tensor")
        return
    # Built by hand: the function that makes one is on its way out of torch.
    path = save(tmp_path / "w.pth", {"a": torch.ones(2)})
    rewrite(path, lambda data: data.replace(b"_rebuild_tensor_v2", b"_rebuild_qtensor"))
    refused(path, "holds a quantized tensor")


def rewrite(path: Path, change: Callable[[bytes], bytes], **options: Any) -> None:
    """Write a torch archive anew with another pickle."""
    with zipfile.ZipFile(path) as archive:
        records = {info.filename: archive.read(info) for info in archive.infolist()}
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, data in records.items():
            archive.writestr(name, change(data) if name.endswith("data.pkl") else data)


def int4(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


@pytest.mark.parametrize("write", [save, legacy])
def test_tensors_larger_than_their_storage_are_refused(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    """Torch would grow the storage to fit: a few bytes that ask for gigabytes."""
    path = write(tmp_path / "w.pth", {"a": torch.ones(77)})

    def change(data: bytes) -> bytes:
        assert data.count(b"KM\x85") == 1  # the shape, (77,)
        return data.replace(b"KM\x85", int4(2**31 - 1) + b"\x85")

    if write is save:
        rewrite(path, change)
    else:
        path.write_bytes(change(path.read_bytes()))
    refused(path, r"a tensor of shape \(2147483647,\) in a storage of 308 bytes")


@pytest.mark.parametrize("write", [save, legacy])
def test_storages_larger_than_the_file_are_refused(
    write: Callable[..., Path], tmp_path: Path
) -> None:
    path = write(tmp_path / "w.pth", {"a": torch.ones(77)})

    def change(data: bytes) -> bytes:
        assert data.count(b"cpuq") == 1
        at = data.index(b"KM", data.index(b"cpuq"))  # the storage's values, after its device
        return data[:at] + int4(2**31 - 1) + data[at + 2 :]

    if write is save:
        rewrite(path, change)
    else:
        path.write_bytes(change(path.read_bytes()))
    refused(path, "storage 0 should have 8589934588 bytes, has 308|truncated: its tensors end at")


def test_many_tensors_over_one_storage_are_refused(tmp_path: Path) -> None:
    one = torch.zeros(1)
    path = save(tmp_path / "w.pth", {"a": one.expand(1 << 28)})
    refused(path, "tensors of 1073741824 bytes in a file of")


def test_keys_that_take_for_ever_to_hash_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {"a": torch.ones(1)})
    nest = b")" + b"".join(b"q%ch%c\x86" % (n, n) for n in range(60))  # ((((), ()), ...), ...)
    rewrite(path, lambda _: b"\x80\x02}" + nest + b"K\x01s.")
    refused(path, "entries with keys that are no texts or numbers")


def test_zip_bombs_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {"a": torch.zeros(1 << 20)})
    rewrite(path, lambda data: data, compression=zipfile.ZIP_DEFLATED)
    assert path.stat().st_size < 10_000
    refused(path, "refused: declares 4194.* bytes in a file of")


@pytest.mark.parametrize("declared", [1 << 30, (1 << 31) - 1])
@pytest.mark.parametrize("code", [b"B", b"X", b"T", b"\x8b", b"\x8e", b"\x96"])
def test_pickles_that_declare_long_texts_are_refused(
    code: bytes, declared: int, tmp_path: Path
) -> None:
    path = save(tmp_path / "w.pth", {"a": torch.ones(1)})
    wide = code in (b"\x8e", b"\x96")
    rewrite(path, lambda _: b"\x80\x02" + code + struct.pack("<Q" if wide else "<I", declared))
    refused(path, "truncated or damaged: its pickle")


@pytest.mark.parametrize(
    "program",
    [
        b"\x80\x02ctorch\nFloatStorage\n)R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n)R.",
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n(K\x01K\x00K\x01\x85K\x01\x85tR.",
        b"\x80\x02ctorch\nSize\n](J\xff\xff\xff\x7fJ\xff\xff\xff\xffe\x85R.",
        b"\x80\x02c_codecs\nencode\nX\x01\0\0\0aX\x03\0\0\0bz2\x86R.",
        b"\x80\x02)}b.",
        b"\x80\x02t.",
        b"\x80\x02.",
        b"\x80\x02h\x07.",
        b"\x80\x02K\x01K\x01a.",
        b"\x80\x02K\x01Q.",
        b"\x80\x02(X\x07\0\0\0storagectorch\nByteStorage\nK\x00X\x01\0\0\0cJ\xff\xff\xff\xfftQ.",
    ],
)
def test_pickles_torch_never_writes_are_refused(program: bytes, tmp_path: Path) -> None:
    path = save(tmp_path / "w.pth", {"a": torch.ones(1)})
    rewrite(path, lambda _: program)
    refused(path, "truncated, damaged or made to harm")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html><head><title>Sign in", "a web page, not a checkpoint"),
        (b'<?xml version="1.0"?><Error>', "markup, not a checkpoint"),
        (
            b"version https://git-lfs.github.com/spec/v1\noid",
            "a Git LFS pointer, not the file: `git lfs pull`",
        ),
        (b"\x1f\x8b\x08\0" + bytes(20), "packed with gzip"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file"),
        (b"\x08\x08\x12\x07pytorch" + bytes(20), "an ONNX graph, converted already"),
        (b"\n\x050.1.0\x12\tMindSpore\x1a\x052.2.0", "a MindSpore graph"),
        (
            b"{'weights': 1}" * 9,
            "no checkpoint: expected a file of torch.save, safetensors or Mind",
        ),
        (b"PK\x03\x04" + bytes(40), "truncated or damaged torch archive"),
        (b"\x80\x02}q\x00.", "a pickle that torch.save did not write"),
        (b"\x80\x02}q\x00X\x40\0\0\0abc", "truncated or damaged: its pickle"),
        (struct.pack("<Q", 500) + b'{"a":', "truncated or damaged safetensors"),
    ],
)
def test_other_files_are_named(head: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(head)
    refused(path, message)


def test_encrypted_mindspore_is_named() -> None:
    refused(GOLDEN / "mindspore_encrypted.ckpt", "an encrypted MindSpore file")


def test_archives_of_something_else_are_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "w.npz", a=np.ones(2))
    refused(
        tmp_path / "w.npz", r"a zip archive, but none of torch.save \(its first record: 'a.npy'"
    )


def test_folders_and_missing_files_are_named(tmp_path: Path) -> None:
    refused(tmp_path, "a folder; expected the checkpoint file itself")
    refused(tmp_path / "no.pth", "no such file")


def test_files_that_may_not_be_read_are_named(tmp_path: Path) -> None:
    import os

    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    path = tmp_path / "w.pth"
    path.write_bytes(b"x")
    path.chmod(0)
    refused(path, "cannot be read: Permission denied")


def test_files_without_tensors_are_named(tmp_path: Path) -> None:
    refused(save(tmp_path / "w.pth", {"epoch": 3}), "holds no state dict")
    refused(save(tmp_path / "v.pth", [1, 2]), "holds no state dict")


@pytest.mark.parametrize("kind", ["zip", "legacy", "safetensors", "mindspore"])
def test_truncated_files_are_refused_wherever_they_end(
    kind: str, state: Any, tmp_path: Path
) -> None:
    path = tmp_path / "w.pth"
    if kind == "safetensors":
        safetensors_torch.save_file(state, path)
    elif kind == "mindspore":
        path.write_bytes(with_crc(tensor("a.weight", np.ones((40, 40), np.float32))))
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == "zip")
    data = path.read_bytes()
    for end in sorted({*np.linspace(1, len(data) - 1, 25).astype(int).tolist(), len(data) - 1}):
        path.write_bytes(data[:end])
        with pytest.raises(CheckpointError, match=r"w\.pth: ") as caught:
            checkpoints.read(path)
        assert "\n" not in str(caught.value), end


def test_flipped_bytes_of_a_legacy_file_are_read_or_refused(state: Any, tmp_path: Path) -> None:
    data = legacy(tmp_path / "w.pth", state).read_bytes()
    rng = np.random.default_rng(5)
    path = tmp_path / "flipped.pth"
    read = 0
    for at in rng.integers(0, len(data) - 300, 60):
        flipped = bytearray(data)
        flipped[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(flipped)
        try:
            tensors = checkpoints.read(path).tensors
        except CheckpointError:
            continue
        else:
            read += 1
            assert sum(t.numel() * t.itemsize for t in tensors.values()) < 8 * len(data)
    assert 0 < read < 60  # some bytes are weights, some are structure


def test_a_safetensors_header_that_lies_is_refused(tmp_path: Path) -> None:
    header = json.dumps(
        {"a": {"dtype": "F32", "shape": [1 << 30], "data_offsets": [0, 1 << 32]}}
    ).encode()
    path = tmp_path / "w.safetensors"
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))
    refused(path, "truncated or damaged safetensors")


def test_the_scan_adds_up_what_a_pickle_declares(state: Any) -> None:
    stream = io.BytesIO()
    torch.save(state, stream)
    with zipfile.ZipFile(stream) as archive:
        from portrait_sdk.converters import _pickles

        name = next(n for n in archive.namelist() if n.endswith("data.pkl"))
        found = _pickles.scan(archive.read(name), "w.pth")
    assert sum(found.storages.values()) == sum(t.numel() * t.itemsize for t in state.values())
    assert found.tensor_bytes == sum(found.storages.values())
