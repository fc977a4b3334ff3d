"""MindSpore's format, read without MindSpore: files it wrote, and files gone wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")

from portrait_sdk.converters import _mindspore  # noqa: E402
from portrait_sdk.errors import CheckpointError  # noqa: E402

from .mindspore_writer import piece, tensor, value, varint, with_crc  # noqa: E402

GOLDEN = Path(__file__).resolve().parents[1] / "data/golden"
PLAIN = ("mindspore_small", "mindspore_small_crc", "mindspore_sliced", "mindspore_bf16")


def read(data: bytes) -> _mindspore.Contents:
    return _mindspore.read(memoryview(data), "file.ckpt")


@pytest.fixture(scope="module")
def small() -> bytes:
    return (GOLDEN / "mindspore_small.ckpt").read_bytes()


@pytest.mark.parametrize("name", ["mindspore_small", "mindspore_small_crc"])
def test_every_number_type_is_read_exactly(name: str) -> None:
    got = read((GOLDEN / f"{name}.ckpt").read_bytes()).tensors
    with np.load(GOLDEN / "mindspore_small_expected.npz") as want:
        assert set(got) == set(want) - {"big.weight"}  # of the sliced file
        for tag, tensor in got.items():
            assert tensor.numpy().dtype == want[tag].dtype, tag
            assert tensor.shape == want[tag].shape, tag
            np.testing.assert_array_equal(tensor.numpy(), want[tag], err_msg=tag)


def test_slices_are_joined() -> None:
    got = read((GOLDEN / "mindspore_sliced.ckpt").read_bytes()).tensors
    assert list(got) == ["a.before", "big.weight", "z.after"]
    with np.load(GOLDEN / "mindspore_small_expected.npz") as want:
        np.testing.assert_array_equal(got["big.weight"].numpy(), want["big.weight"])


def test_bfloat16_is_read() -> None:
    got = read((GOLDEN / "mindspore_bf16.ckpt").read_bytes()).tensors["bf"]
    assert got.dtype == torch.bfloat16
    assert got.tolist() == [1.5, -2.25, 3.0]


def test_texts_and_scalars_beside_the_weights_are_read() -> None:
    got = read((GOLDEN / "mindspore_small_append.ckpt").read_bytes())
    assert got.texts == {"note": "héllo"}
    assert got.tensors["epoch_num"].item() == 3
    assert got.tensors["lr"].item() == pytest.approx(0.01)  # stored as float32
    assert got.tensors["ok"].item() is True
    assert got.tensors["ok"].shape == ()


def test_old_writers_scalar_of_shape_0_is_a_scalar() -> None:
    got = read(value("step", [0], "Int32", b"\x07\0\0\0")).tensors["step"]
    assert (got.shape, got.item()) == ((), 7)


def test_packed_dims_are_read() -> None:
    got = read(value("w", [2, 3], "Float32", bytes(24), packed=True)).tensors["w"]
    assert got.shape == (2, 3)


def test_the_last_of_two_separate_values_wins() -> None:
    data = (
        tensor("w", np.float32([1])) + tensor("v", np.float32([2])) + tensor("w", np.float32([3]))
    )
    assert {tag: t.tolist() for tag, t in read(data).tensors.items()} == {"w": [3], "v": [2]}


def test_kinds_that_are_no_numbers_are_left_out_by_name() -> None:
    table = piece(1, piece(1, b"hash") + piece(3, b""))
    got = read(value("rng", [3], "random_op", b"abc") + table + tensor("w", np.float32([1])))
    assert list(got.tensors) == ["w"]
    assert got.skipped == {
        "rng": "a value of type random_op",
        "hash": "no plain tensor (a hash table)",
    }


@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    kind=st.sampled_from(["float16", "float32", "float64", "int32", "int64"]),
    slice_bytes=st.integers(8, 64),
)
def test_what_is_written_is_read(shape: list[int], kind: str, slice_bytes: int) -> None:
    array = np.arange(np.prod(shape, dtype=int)).reshape(shape).astype(kind)
    data = with_crc(tensor("a.b", array, slice_bytes=slice_bytes) + tensor("c", array))
    got = read(data).tensors
    for tag in ("a.b", "c"):
        np.testing.assert_array_equal(got[tag].numpy(), array)


@pytest.mark.parametrize(
    ("tag", "name"),
    [
        ("net.bn1.gamma", "net.bn1.weight"),
        ("net.bn1.beta", "net.bn1.bias"),
        ("net.bn1.moving_mean", "net.bn1.running_mean"),
        ("net.bn1.moving_variance", "net.bn1.running_var"),
        ("net.gamma.weight", "net.gamma.weight"),
        ("gamma", "gamma"),
    ],
)
def test_last_components_are_translated(tag: str, name: str) -> None:
    assert _mindspore.torch_name(tag) == name


@pytest.mark.parametrize("name", PLAIN)
def test_plain_files_are_told_by_content(name: str) -> None:
    data = (GOLDEN / f"{name}.ckpt").read_bytes()
    assert _mindspore.checkpoint(data)
    assert _mindspore.checkpoint(data[:20])  # truncated, but still of this format
    assert not _mindspore.encrypted(data)
    assert not _mindspore.graph(data)


@pytest.mark.parametrize(
    "head", [b"", b"\n", b"\n\n", b"<html>", b"PK\x03\x04", b"\n\x1a\n\xff\xff\xff", b"\x80\x02}q"]
)
def test_other_files_are_not_taken_for_it(head: bytes) -> None:
    assert not _mindspore.checkpoint(head)


def test_encrypted_files_are_told() -> None:
    assert _mindspore.encrypted((GOLDEN / "mindspore_encrypted.ckpt").read_bytes())


def test_graphs_are_told() -> None:
    head = piece(1, b"0.1.0") + piece(2, b"MindSpore") + piece(3, b"2.2.0") + piece(6, bytes(999))
    assert _mindspore.graph(head[:64])
    assert not _mindspore.checkpoint(head)


def test_a_wrong_checksum_is_refused() -> None:
    data = bytearray((GOLDEN / "mindspore_small_crc.ckpt").read_bytes())
    data[200] ^= 1
    with pytest.raises(
        CheckpointError, match="damaged: its checksum is 443869584, its content has"
    ):
        read(bytes(data))


def test_every_truncation_is_refused_or_ends_between_values(small: bytes) -> None:
    whole = read(small).tensors
    for end in range(1, len(small)):
        try:
            got = read(small[:end]).tensors
        except CheckpointError:
            continue
        else:
            assert len(got) < len(whole)
            assert all(torch.equal(got[tag], whole[tag]) for tag in got)


@given(at=st.integers(0, 1088), bit=st.integers(0, 7))
def test_any_flipped_bit_is_read_or_refused_and_nothing_else(at: int, bit: int) -> None:
    data = bytearray((GOLDEN / "mindspore_small.ckpt").read_bytes())
    data[at] ^= 1 << bit
    try:
        tensors = read(bytes(data)).tensors
    except CheckpointError:
        return
    assert sum(t.numel() * t.itemsize for t in tensors.values()) <= len(data)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (value("w", [1 << 40, 1 << 10], "Float32", b"1234"), "expected 4503599627370496 bytes"),
        (value("w", [(1 << 64) - 1], "Float32", b"1234"), "its shape .* is none"),
        (value("w", [0, 1 << 62], "Float32", b""), "its shape .* is none"),
        (value("w", [2], "Float32", b"1234"), r"w: expected 8 bytes \(Float32 of shape \(2,\)\)"),
        (value("w", [1] * 33, "Float32", b"1234"), r"its shape \[1, 1, 1, 1\]… is none"),
        (
            piece(1, piece(1, b"w") + piece(2, b"")) + b"\x0a\xff\xff\xff\x7f",
            "truncated or damaged",
        ),
        (b"\x0a" + b"\xff" * 12, "a number that does not end"),
        (piece(1, piece(2, b"")), "a value without a name"),
        (piece(1, piece(1, b"\xff")), "a name that is no text"),
        (piece(2, b"x"), "damaged, or no MindSpore checkpoint"),
        (value("s", [0], "str", b"\0\0\0\xff"), "s: damaged: not a text"),
        (b"\x0b" + varint(1), "a field of unknown kind 3"),
        (
            value("w", [2], "Float32", b"1234") + value("w", [2], "Int32", b"1234"),
            "its slices disagree",
        ),
    ],
)
def test_damage_is_said_in_one_line(data: bytes, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as error:
        read(data)
    assert "\n" not in str(error.value)
