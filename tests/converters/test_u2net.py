"""U²-Net: published names, and the small one's trained weights through our graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'convert' is not installed")

from portrait_sdk.converters import architectures, verify  # noqa: E402
from portrait_sdk.media import load_image  # noqa: E402
from portrait_sdk.ops import preprocess  # noqa: E402

from .golden_fill import key_list  # noqa: E402
from .graphs import SHARED, Run, graph, needs_shared, torch_run, worst  # noqa: E402
from .read_back import read_back  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

U2NET, U2NETP = architectures.find("u2net"), architectures.find("u2netp")
PUBLISHED = SHARED / "models/u2netp.onnx"


@pytest.fixture(scope="module")
def network() -> Any:
    """With the published weights where they are at hand, else with random ones."""
    torch.manual_seed(11)
    net = U2NETP.build().eval()
    if PUBLISHED.is_file():
        assert read_back(PUBLISHED, net) == {"named": 14, "folded": 112, "products": 0}
    return net


@pytest.fixture(scope="module")
def run(network: Any) -> Run:
    return Run(graph(U2NETP, network))


def shapes(net: Any) -> dict[str, tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in net.state_dict().items()}


def test_the_large_one_differs_from_isnet_by_its_ends() -> None:
    """IS-Net's published key list is U²-Net's, but for the first convolutions and the fusion."""
    net = U2NET.build()
    expected = {key: tuple(entry["shape"]) for key, entry in key_list("isnet").items()}
    del expected["conv_in.weight"], expected["conv_in.bias"]
    expected["stage1.rebnconvin.conv_s1.weight"] = (64, 3, 3, 3)
    expected |= {"outconv.weight": (1, 6, 1, 1), "outconv.bias": (1,)}
    assert shapes(net) == expected
    assert sum(p.numel() for p in net.parameters()) == 44_009_869


def test_the_small_one_has_the_same_names(network: Any) -> None:
    assert shapes(network).keys() == shapes(U2NET.build()).keys()
    assert sum(p.numel() for p in network.parameters()) == 1_131_181
    middle = {s[0] for k, s in shapes(network).items() if k.endswith("rebnconv2.conv_s1.weight")}
    assert middle == {16}


def test_batch_norms_have_the_published_eps(network: Any) -> None:
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    assert len(norms) == 112
    assert {m.eps for m in norms} == {1e-5}


@pytest.mark.parametrize("shape", [(1, 3, 97, 131), (2, 3, 320, 64), (2, 3, 33, 160)])
def test_any_size_and_batch_in_one_graph(
    network: Any, run: Run, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    x = rng.uniform(-2, 2, shape).astype(np.float32)
    assert worst(run(x), torch_run(U2NETP, network, x)) <= U2NETP.tolerance


def test_alpha_is_fused_from_the_six_maps(network: Any, run: Run) -> None:
    x = np.random.default_rng(4).uniform(-2, 2, (1, 3, 64, 96)).astype(np.float32)
    values = {name: torch.from_numpy(value) for name, value in run(x).items()}
    logits = torch.cat([torch.logit(values[f"d{i}"].double()) for i in range(1, 7)], dim=1)
    weight, bias = network.outconv.weight.double(), network.outconv.bias.double()
    fused = torch.sigmoid(torch.nn.functional.conv2d(logits, weight, bias))
    assert torch.equal(values["alpha"], values["d0"])
    # A logit taken back from a float32 near 1 is off by up to about 1e-3.
    assert (fused - values["d0"]).abs().max() < 1e-3


def test_the_profile_is_the_published_programs() -> None:
    for architecture in (U2NET, U2NETP):
        profile = architecture.profile(None)
        assert profile.license == "Apache-2.0"
        assert (profile.input.size.height, profile.input.size.width) == (320, 320)
        assert profile.input.mean == (0.485, 0.456, 0.406)
        assert profile.input.std == (0.229, 0.224, 0.225)


@needs_shared
def test_trained_weights_give_the_published_maps(run: Run, astronaut: Path) -> None:
    published = verify.open_session(PUBLISHED)
    name = published.get_inputs()[0].name
    people = [astronaut, *sorted((SHARED / "data/us_officials/image").iterdir())[:3]]
    for path in people:
        x, _ = preprocess.prepare([load_image(path).image], U2NETP.profile(None).input)
        got = run(x)
        for level, want in enumerate(published.run(None, {name: x})):
            # Equal to the bit when added; kernels may come to sum in another order.
            assert np.abs(got[f"d{level}"] - want).max() <= 1e-5, (path.name, level)
        assert 0.01 < got["alpha"].mean() < 0.99, path.name
