"""SHM and its fast branch: keys, golden vectors through torch and ONNX Runtime, the pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
pytest.importorskip("onnxscript", reason="the extra 'convert' is not installed")

from portrait_sdk.converters import architectures, checkpoints, export  # noqa: E402
from portrait_sdk.converters.architectures import shm  # noqa: E402
from portrait_sdk.model import runtime  # noqa: E402
from portrait_sdk.ops import preprocess  # noqa: E402

from .golden_fill import fill, golden, golden_input, key_list  # noqa: E402
from .mindspore_writer import tensor, with_crc  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from portrait_sdk.converters.architectures._base import Architecture

# The vectors were computed in float64; float32 differs by up to 7e-6 (alpha) and 3e-5 (logits)
# here, a BN epsilon of 1e-3 by 9e-3.
ALPHA, LOGITS = 5e-5, 3e-4
VECTORS = [("shm", "shm_a"), ("shm", "shm_b"), ("shm-fast", "shm_fast_a")]


def filled(name: str) -> dict[str, Any]:
    """The published keys of a network with values by the fill rule.

    The layer that is declared and never run has no part in the rule; NaN would show if it had one
    in the network.
    """
    keys = key_list(name.replace("-", "_"))
    used = {key: entry for key, entry in keys.items() if "en_conv_bn_relu_5" not in key}
    state = fill(used)
    return {
        key: state[key] if key in used else torch.full(entry["shape"], torch.nan)
        for key, entry in keys.items()
    }


def published(path: Path, name: str) -> Path:
    """A checkpoint as it is published: wrapped with its epoch; the fast branch's in old format."""
    saved = {"epoch": 800, "state_dict": filled(name)}
    torch.save(saved, path, _use_new_zipfile_serialization=name == "shm")
    return path


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Both networks, loaded from published-looking files."""
    torch.set_num_threads(2)
    loaded = {}
    for one in shm.ARCHITECTURES:
        path = published(tmp_path_factory.mktemp("shm") / "ckpt_lastest.pth", one.name)
        network = one.build().eval()
        checkpoints.fit(network, checkpoints.read(path), one)
        loaded[one.name] = network
    return loaded


@pytest.fixture(scope="module")
def sessions(networks: dict[str, Any]) -> dict[str, Any]:
    """Both as ONNX graphs with free batch, height and width, in ONNX Runtime."""
    onnxruntime = runtime.onnxruntime()
    made = {}
    for one in shm.ARCHITECTURES:
        model = export.to_onnx(
            networks[one.name],
            one,
            input_name="image",
            axes=export.Axes(),
            raw=("alpha_raw", "trimap_logits"),
        )
        made[one.name] = onnxruntime.InferenceSession(
            model.SerializeToString(), providers=["CPUExecutionProvider"]
        )
    return made


def assert_golden(vector: str, run: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]) -> None:
    want = golden(vector)
    alpha, logits = run(golden_input(want))
    step, tri_step = int(want.get("alpha_stride", 1)), int(want.get("trimap_stride", 1))
    np.testing.assert_allclose(alpha[:, :, ::step, ::step], want["alpha"], rtol=0, atol=ALPHA)
    np.testing.assert_allclose(
        logits[:, :, ::tri_step, ::tri_step], want["trimap_logits"], rtol=0, atol=LOGITS
    )


def through_torch(network: Any) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            alpha, logits = network(torch.from_numpy(x))
        return alpha.numpy(), logits.numpy()

    return run


@pytest.mark.parametrize(("name", "keys"), [("shm", 429), ("shm-fast", 308)])
def test_published_keys_load_without_one_left(name: str, keys: int, tmp_path: Path) -> None:
    one = architectures.find(name)
    got = checkpoints.read(published(tmp_path / "ckpt_lastest.pth", name))
    assert len(got.tensors) == keys
    assert got.part == "state_dict"
    assert got.format == ("torch-zip" if name == "shm" else "torch-legacy")
    assert checkpoints.recognise(got) is one
    network = one.build()
    checkpoints.fit(network, got, one)
    for key, value in network.state_dict().items():
        if not key.endswith("num_batches_tracked"):
            assert torch.equal(value, got.tensors[key]), key


def test_parameters_are_the_published_number() -> None:
    count = {
        n: sum(p.numel() for p in architectures.find(n).build().parameters()) for n, _ in VECTORS
    }
    assert count == {"shm": 3_115_603, "shm-fast": 859_611 - (24 * 24 * 9 + 2 * 24)}  # never run


@pytest.mark.parametrize(("name", "vector"), VECTORS)
def test_golden_vectors_through_torch(name: str, vector: str, networks: Any) -> None:
    assert_golden(vector, through_torch(networks[name]))


@pytest.mark.parametrize(("name", "vector"), VECTORS)
def test_golden_vectors_through_onnx_runtime(name: str, vector: str, sessions: Any) -> None:
    def run(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        alpha, raw, logits = sessions[name].run(None, {"image": x})
        np.testing.assert_array_equal(alpha, raw.clip(0, 1))
        return raw, logits

    assert_golden(vector, run)


@pytest.mark.parametrize("one", shm.ARCHITECTURES, ids=lambda one: one.name)
def test_any_batch_and_multiple_of_the_stride_runs(
    one: Architecture, networks: Any, sessions: Any
) -> None:
    rng = np.random.default_rng(9)
    for batch, (height, width) in ((2, one.verify_sizes[1]), (1, (3 * one.stride, 7 * one.stride))):
        x = rng.uniform(-0.5, 0.5, (batch, 3, height, width)).astype(np.float32)
        raw, logits = sessions[one.name].run(["alpha_raw", "trimap_logits"], {"image": x})
        want_raw, want_logits = through_torch(networks[one.name])(x)
        assert raw.shape == (batch, 1, height, width)
        np.testing.assert_allclose(raw, want_raw, rtol=0, atol=ALPHA)
        np.testing.assert_allclose(logits, want_logits, rtol=0, atol=LOGITS)


# MindSpore's own file


def mindspore_file(path: Path, *, prefix: str = "", slice_bytes: int | None = None) -> Path:
    """The golden values under MindSpore's tags, in the order its saver writes them."""
    state = fill({k: v for k, v in key_list("shm").items() if "en_conv_bn_relu_5" not in k})
    data = b"".join(
        tensor(prefix + tag, state[entry["torch_key"]].numpy(), slice_bytes=slice_bytes)
        for tag, entry in key_list("shm_mindspore").items()
    )
    path.write_bytes(data)
    return path


def test_a_mindspore_checkpoint_gives_the_same_vectors(tmp_path: Path) -> None:
    path = mindspore_file(tmp_path / "shm.ckpt")
    assert path.stat().st_size == 12_616_772  # the published file's size
    got = checkpoints.read(path)
    assert (got.format, len(got.tensors)) == ("mindspore", 355)
    assert checkpoints.recognise(got) is shm.SHM
    network = shm.SHM.build().eval()
    checkpoints.fit(network, got, shm.SHM)
    assert_golden("shm_b", through_torch(network))


def test_prefixes_optimiser_slices_and_checksum_make_no_difference(tmp_path: Path) -> None:
    path = mindspore_file(tmp_path / "shm.ckpt", prefix="network.", slice_bytes=1 << 16)
    extra = tensor("moment1.network.m_net.conv.weight", np.ones((1, 16, 5, 5), np.float32))
    extra += tensor("global_step", np.array([7], np.int32))
    path.write_bytes(with_crc(path.read_bytes() + extra))
    got = checkpoints.read(path)
    assert set(got.left_out) == {"moment1.network.m_net.conv.weight", "global_step"}
    checkpoints.fit(shm.SHM.build(), got, shm.SHM)
    want = filled("shm")
    for key, value in got.tensors.items():
        assert torch.equal(value, want[key]), key


# The published pipeline, in the words of its own steps


def reference_input(image_bgr: np.ndarray, side: int) -> np.ndarray:
    """OpenCV's cubic resize to a square in uint8; (x - mean) / 255 per channel, still BGR."""
    small = cv2.resize(image_bgr, (side, side), interpolation=cv2.INTER_CUBIC)
    x = (small.astype(np.float32) - np.float32([104, 112, 121])) / np.float32(255)
    return np.ascontiguousarray(x.transpose(2, 0, 1)[None])


def reference_alpha(alpha: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Back to the photo's size by OpenCV's cubic on float32, not clamped."""
    return cv2.resize(alpha[0, 0], size[::-1], interpolation=cv2.INTER_CUBIC)


def reference_foreground(alpha: np.ndarray, image_bgr: np.ndarray) -> np.ndarray:
    """The photo on black: alpha times the photo's own colours."""
    return alpha[..., None] * image_bgr


def reference_sad(alpha: np.ndarray, truth: np.ndarray) -> float:
    """Sum of absolute differences at the photo's size, in thousands."""
    return float(np.abs(alpha.astype(np.float64) - truth / 255).sum() / 1000)


def test_the_published_pipeline_is_reproduced(networks: Any) -> None:
    want = golden("shm_pipeline")
    photo = want["p1_image_bgr"]
    x = reference_input(photo, int(want["size"]))
    np.testing.assert_allclose(x, want["p1_net_input"], rtol=0, atol=1e-6)  # float32 rounding
    raw, _ = through_torch(networks["shm"])(x)
    np.testing.assert_allclose(raw, want["p1_alpha_net"], rtol=0, atol=ALPHA)
    alpha = reference_alpha(raw, photo.shape[:2])
    np.testing.assert_allclose(alpha, want["p1_alpha"], rtol=0, atol=1e-4)
    foreground = reference_foreground(alpha, photo)
    np.testing.assert_allclose(foreground, want["p1_fg"], rtol=0, atol=255 * 1e-4)
    # 90 x 67 pixels, each at most 1e-4 off.
    assert reference_sad(alpha, want["p1_gt_u8"]) == pytest.approx(want["p1_sad"], abs=6e-4)


def test_the_profile_feeds_photos_as_the_published_pipeline_does() -> None:
    from dataclasses import replace

    want = golden("shm_pipeline")
    side = int(want["size"])
    profile = shm.SHM.profile().input
    assert (profile.size.height, profile.size.width) == (320, 320)
    small = replace(profile, size=replace(profile.size, height=side, width=side))
    photo = np.ascontiguousarray(want["p1_image_bgr"][..., ::-1])
    x, _ = preprocess.prepare([photo], small)
    # Upstream the resized photo is uint8: rounded, and where the cubic overshoots cut to 0..255.
    darkest = -np.array(small.mean, np.float32).reshape(3, 1, 1)
    x = x.clip(darkest, darkest + 1)
    np.testing.assert_allclose(x, want["p1_net_input"], rtol=0, atol=0.51 / 255)


def test_the_profiles_say_what_limits_the_weights() -> None:
    assert "research and education" in shm.SHM.profile().license
    assert "all rights reserved" in shm.SHM_FAST.profile().license
