"""IS-Net: the published keys, the golden vectors through torch and ONNX Runtime, the pipelines."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'convert' is not installed")

import onnx  # noqa: E402
from torch.nn import functional  # noqa: E402

from portrait_sdk.converters import architectures, simplify  # noqa: E402
from portrait_sdk.errors import OptionError  # noqa: E402
from portrait_sdk.ops import preprocess  # noqa: E402

from .golden_fill import fill, golden, golden_input, key_list  # noqa: E402
from .graphs import Run, graph, torch_run, worst  # noqa: E402

if TYPE_CHECKING:
    from portrait_sdk.types import AlphaF32, Image

ISNET = architectures.find("isnet")
MAPS = [f"d{i}" for i in range(1, 7)]
TOLERANCE = 2e-5  # the vectors' own: float32 beside float64 differs by 7e-7
VARIANTS = {"isnet": "dis", "rmbg14_card": "rmbg-1.4", "ormbg": "ormbg"}


@pytest.fixture(scope="module")
def network() -> Any:
    net = ISNET.build().eval()
    net.load_state_dict(fill("isnet"))
    return net


@pytest.fixture(scope="module")
def model(network: Any) -> onnx.ModelProto:
    return graph(ISNET, network)


@pytest.fixture(scope="module")
def run(model: onnx.ModelProto) -> Run:
    return Run(model)


def test_keys_and_shapes_are_the_published_ones(network: Any) -> None:
    published = {key: tuple(entry["shape"]) for key, entry in key_list("isnet").items()}
    own = {key: tuple(value.shape) for key, value in network.state_dict().items()}
    assert own == published
    assert len(own) == 798
    assert sum(p.numel() for p in network.parameters()) == 44_046_790


def test_batch_norms_have_the_published_eps(network: Any) -> None:
    """1e-3 instead would move maps by 2.4e-3: enough for the vectors, too little to see."""
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 112
    assert {m.eps for m in norms} == {1e-5}


@pytest.mark.parametrize("case", ["isnet_a", "isnet_b"])
def test_torch_matches_the_vectors(network: Any, case: str) -> None:
    vectors = golden(case)
    _assert_maps(torch_run(ISNET, network, golden_input(vectors)), vectors)


@pytest.mark.parametrize("case", ["isnet_a", "isnet_b"])
def test_the_graph_matches_the_vectors(run: Run, case: str) -> None:
    """Case b is 200 x 264: pools that meet odd sizes, resizes that aim at them."""
    vectors = golden(case)
    _assert_maps(run(golden_input(vectors)), vectors)


def _assert_maps(got: dict[str, np.ndarray], vectors: dict[str, np.ndarray]) -> None:
    for name in MAPS:
        kept = got[name] if name == "d1" else got[name][:, :, ::4, ::4]
        np.testing.assert_allclose(kept, vectors[name], rtol=0, atol=TOLERANCE, err_msg=name)
    np.testing.assert_array_equal(got["alpha"], np.clip(got["d1"], 0, 1))


@pytest.mark.parametrize("shape", [(1, 3, 97, 131), (2, 3, 65, 96), (2, 3, 64, 33)])
def test_any_size_and_batch_in_one_graph(
    network: Any, run: Run, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    x = rng.uniform(-0.5, 0.5, shape).astype(np.float32)
    assert worst(run(x), torch_run(ISNET, network, x)) <= ISNET.tolerance


def test_alpha_alone_needs_no_coarser_maps(model: onnx.ModelProto) -> None:
    alone = onnx.ModelProto()
    alone.CopyFrom(model)
    simplify.drop_outputs(alone, MAPS)
    sides = {t.name.split(".")[-2] for t in alone.graph.initializer if ".side" in t.name}
    assert sides == {"side1"}
    onnx.checker.check_model(alone, full_check=True)


def test_the_graphs_axes_are_free(model: onnx.ModelProto) -> None:
    for value, channels in ((model.graph.input[0], 3), (model.graph.output[0], 1)):
        shape = value.type.tensor_type.shape.dim
        axes = [dim.dim_param or dim.dim_value for dim in shape]
        assert axes == ["batch", channels, "height", "width"]


def test_a_profile_has_to_be_named() -> None:
    with pytest.raises(OptionError, match=r"--profile: dis, rmbg-1\.4, ormbg"):
        ISNET.profile(None)
    with pytest.raises(OptionError, match=r"expected one of dis, .* got 'isnet'"):
        ISNET.profile("isnet")


def test_profiles_say_what_may_be_done_with_the_weights() -> None:
    assert "non-commercial" in ISNET.profile("rmbg-1.4").license
    assert ISNET.profile("dis").license == ISNET.profile("ormbg").license == "Apache-2.0"


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_published_pipeline_is_reproduced(run: Run, variant: str) -> None:
    vectors = golden("isnet_pipeline")
    image = vectors["image_rgb"]
    x = _published_input(image, int(vectors["size"]), variant)
    np.testing.assert_allclose(
        x[..., :32, :32], vectors[f"{variant}_net_input_crop"], rtol=0, atol=1e-6
    )
    d1 = run(x)["d1"]
    # Vectors are of float64; where pixels are cut to whole levels the input is the same to 1e-7.
    np.testing.assert_allclose(d1, vectors[f"{variant}_d1"], rtol=0, atol=1e-4)
    alpha = _published_alpha(d1, image.shape[:2])
    off = np.abs(alpha.astype(int) - vectors[f"{variant}_alpha"])
    assert off.max() <= 1  # truncation turns the last float digit into a level


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_runtime_feeds_what_was_published(variant: str) -> None:
    vectors = golden("isnet_pipeline")
    spec = ISNET.profile(VARIANTS[variant]).input
    assert (spec.size.height, spec.size.width) == (1024, 1024)
    size = int(vectors["size"])
    small = replace(spec, size=replace(spec.size, height=size, width=size))
    ours, _ = preprocess.prepare([vectors["image_rgb"]], small)
    difference = ours[..., :32, :32] - vectors[f"{variant}_net_input_crop"]
    # Float32 taps; the other two programs cut pixels to whole levels after the resize.
    low, high = (-1e-5, 1e-5) if variant == "rmbg14_card" else (-1e-5, 1 / 255)
    assert difference.min() >= low
    assert difference.max() <= high


def _published_input(image: Image, size: int, variant: str) -> np.ndarray:
    """The three programs' network input: (1, 3, size, size)."""
    pixels = torch.from_numpy(image.astype(np.float32)).permute(2, 0, 1)[None]
    pixels = functional.interpolate(pixels, (size, size), mode="bilinear", align_corners=False)
    if variant != "rmbg14_card":  # the model card's snippet alone keeps fractions
        pixels = pixels.to(torch.uint8)
    mean = 0.0 if variant == "ormbg" else 0.5
    return (pixels / 255.0 - mean).numpy().astype(np.float32)


def _published_alpha(d1: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What they make of the finest map; the runtime does not stretch, rounds, and says so."""
    whole = functional.interpolate(
        torch.from_numpy(d1), size, mode="bilinear", align_corners=False
    )[0, 0]
    return (_stretched(whole.numpy()) * 255).astype(np.uint8)


def _stretched(alpha: AlphaF32) -> AlphaF32:
    low, high = alpha.min(), alpha.max()
    return (alpha - low) / (high - low)
