"""MODNet: published names, and its trained weights through our graph."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")
pytest.importorskip("onnxsim", reason="the extra 'convert' is not installed")

from portrait_sdk.converters import architectures, verify  # noqa: E402
from portrait_sdk.media import load_image  # noqa: E402
from portrait_sdk.ops import preprocess  # noqa: E402
from portrait_sdk.ops.geometry import place  # noqa: E402

from .graphs import SHARED, Run, graph, needs_shared, torch_run, worst  # noqa: E402
from .read_back import read_back  # noqa: E402

if TYPE_CHECKING:
    from pathlib import Path

MODNET = architectures.find("modnet")
PUBLISHED = SHARED / "models/modnet_photographic.onnx"
TRAINING_ALONE = ("lr_branch.conv_lr.", "hr_branch.conv_hr.")
"""Layers of the sub-objectives, which a published graph has no use for."""


@pytest.fixture(scope="module")
def network() -> Any:
    """With the published weights where they are at hand, else with random ones."""
    torch.manual_seed(11)
    net = MODNET.build().eval()
    if PUBLISHED.is_file():
        found = read_back(PUBLISHED, net, absent=TRAINING_ALONE)
        assert found == {"named": 98, "folded": 52, "products": 2}
    return net


@pytest.fixture(scope="module")
def run(network: Any) -> Run:
    return Run(graph(MODNET, network))


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        ("backbone.model.features.0.0.weight", (32, 3, 3, 3)),
        ("backbone.model.features.1.conv.0.weight", (32, 1, 3, 3)),
        ("backbone.model.features.1.conv.4.running_var", (16,)),
        ("backbone.model.features.3.conv.6.weight", (24, 144, 1, 1)),
        ("backbone.model.features.17.conv.7.weight", (320,)),
        ("backbone.model.features.18.0.weight", (1280, 320, 1, 1)),
        ("lr_branch.se_block.fc.0.weight", (320, 1280)),
        ("lr_branch.se_block.fc.2.weight", (1280, 320)),
        ("lr_branch.conv_lr16x.layers.0.weight", (96, 1280, 5, 5)),
        ("lr_branch.conv_lr16x.layers.1.bnorm.weight", (48,)),
        ("lr_branch.conv_lr.layers.0.weight", (1, 32, 3, 3)),
        ("hr_branch.conv_hr4x.0.layers.0.weight", (64, 99, 3, 3)),
        ("hr_branch.conv_hr.0.layers.0.weight", (32, 35, 3, 3)),
        ("hr_branch.conv_hr.1.layers.0.bias", (1,)),
        ("f_branch.conv_f2x.layers.0.weight", (32, 64, 3, 3)),
        ("f_branch.conv_f.1.layers.0.weight", (1, 16, 1, 1)),
    ],
)
def test_keys_are_the_published_ones(network: Any, key: str, shape: tuple[int, ...]) -> None:
    assert tuple(network.state_dict()[key].shape) == shape


def test_instance_norms_have_no_keys(network: Any) -> None:
    assert not [key for key in network.state_dict() if "inorm" in key]


def test_the_second_copy_of_the_backbone_is_left_out(network: Any) -> None:
    """Published files hold it under the branch as well; one without the first is read too."""
    state = network.state_dict()
    copies = {f"lr_branch.{k}": v for k, v in state.items() if k.startswith("backbone.")}
    both = MODNET.translate({**state, **copies})
    rest = {k: v for k, v in state.items() if not k.startswith("backbone.")}
    moved = MODNET.translate({**rest, **copies})
    for translated in (both, moved):
        assert translated.keys() == state.keys()
        assert all(torch.equal(translated[key], value) for key, value in state.items())


@pytest.mark.parametrize("shape", [(1, 3, 96, 224), (2, 3, 160, 32), (2, 3, 64, 64)])
def test_any_multiple_of_32_and_any_batch_in_one_graph(
    network: Any, run: Run, shape: tuple[int, ...], rng: np.random.Generator
) -> None:
    x = rng.uniform(-1, 1, shape).astype(np.float32)
    got = run(x)
    assert worst(got, torch_run(MODNET, network, x)) <= MODNET.tolerance
    assert got["semantic"].shape == (shape[0], 1, shape[2] // 16, shape[3] // 16)
    np.testing.assert_array_equal(got["alpha"], got["alpha_raw"])


@pytest.mark.parametrize(
    ("photo", "fed"),
    [
        ((1024, 2048), (512, 1024)),  # larger: the shorter side becomes 512
        ((300, 400), (512, 672)),  # smaller: too, and 682 is rounded down
        ((500, 700), (480, 672)),  # on both sides of 512: left alone, but for the multiple
    ],
)
def test_the_size_rule_is_the_published_one(photo: tuple[int, int], fed: tuple[int, int]) -> None:
    profile = MODNET.profile(None)
    assert place(photo, profile.input.size).input == fed
    assert profile.license == "Apache-2.0"


@needs_shared
def test_trained_weights_give_the_published_alpha(run: Run, astronaut: Path) -> None:
    published = verify.open_session(PUBLISHED)
    people = [astronaut, *sorted((SHARED / "data/us_officials/image").iterdir())[:3]]
    for path in people:
        x, _ = preprocess.prepare([load_image(path).image], MODNET.profile(None).input)
        want = published.run(None, {"input": x})[0]
        got = run(x)["alpha"]
        # 3.5e-6 when added; instance norms amplify what rounds differently.
        assert np.abs(got - want).max() <= 1e-4, path.name
        assert 0.01 < got.mean() < 0.99, path.name
