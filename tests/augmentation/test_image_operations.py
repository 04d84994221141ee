# SPDX-License-Identifier: BSD-3-Clause
"""Operations on images: geometry, colors, noise, and what all of them promise."""

import math
import pickle

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from sklearn.base import clone
from sklearn.utils import check_random_state

from skastro import GalaxyClassifier, SpectrumClassifier
from skastro.augmentation import (
    AUGMENTATIONS,
    IMAGE_AUGMENTATIONS,
    ColorJitter,
    Compose,
    PixelNoise,
    RandomAffine,
    RandomDihedral,
    RandomFlip,
    RandomRotation,
    RandomTranslateScale,
    image_symmetries,
)
from skastro.augmentation._images import transform_images

pytestmark = pytest.mark.once

OPERATIONS = [
    RandomFlip(),
    RandomDihedral(),
    RandomDihedral(flips=False),
    RandomAffine(),
    RandomAffine(30, translate=0.2, scale=(1, 2), padding_mode="zeros"),
    RandomRotation(45, padding_mode="border"),
    RandomTranslateScale(),
    ColorJitter(hue=0.1),
    PixelNoise(),
    IMAGE_AUGMENTATIONS["resclass"],
    IMAGE_AUGMENTATIONS["rotations-and-colors"],
]
every = pytest.mark.parametrize("operation", OPERATIONS, ids=repr)
PADDINGS = ["reflection", "border", "zeros"]


def blob(height, width, x=0.0, y=0.0, sigma=2.0):
    """Draw a round Gaussian, x to the right of the center and y below."""
    rows = torch.arange(height) - (height - 1) / 2 - y
    columns = torch.arange(width) - (width - 1) / 2 - x
    squares = rows[:, None] ** 2 + columns**2
    return (-squares / (2 * sigma**2)).exp()[None, None]


def centroid(images):
    """Measure where the light is, right of the center and below it."""
    height, width = images.shape[-2:]
    weight = images.sum(dim=(2, 3))
    x = (images.sum(dim=2) * (torch.arange(width) - (width - 1) / 2)).sum(dim=2)
    y = (images.sum(dim=3) * (torch.arange(height) - (height - 1) / 2)).sum(dim=2)
    return x / weight, y / weight


def transformed(
    images, angle=0.0, scale=1.0, shift=(0.0, 0.0), sign=(1, 1), padding="zeros"
):
    n = len(images)
    return transform_images(
        images,
        torch.full((n,), math.radians(angle)),
        torch.full((n,), scale),
        torch.tensor([shift] * n),
        torch.tensor([sign] * n, dtype=torch.float32),
        padding,
    )


# What all of them promise -----------------------------------------------------------


@every
@pytest.mark.parametrize("shape", [(7, 3, 12, 12), (1, 1, 9, 14), (5, 3, 1, 20)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
def test_shape_and_dtype_stay_and_the_input_too(make_images, operation, shape, dtype):
    images = make_images(*shape).to(dtype)
    before = images.clone()
    varied = operation(images, generator=1)
    assert varied.shape == images.shape
    assert varied.dtype == dtype
    assert varied.isfinite().all()
    assert torch.equal(images, before)
    assert varied.data_ptr() != images.data_ptr()


@every
def test_draws_follow_the_generator(make_images, operation):
    images = make_images(9)
    first = operation(images, generator=5)
    again = operation(images, generator=torch.Generator().manual_seed(5))
    assert torch.equal(again, first)
    assert not torch.equal(operation(images, generator=6), first)
    before = torch.get_rng_state()
    operation(images, generator=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(3)
    first = operation(images)
    torch.manual_seed(3)
    assert torch.equal(operation(images), first)


@every
def test_each_image_is_varied_by_itself_and_its_channels_together(
    make_images, operation
):
    image = make_images(1)
    varied = operation(image.expand(60, -1, -1, -1), generator=0)
    kinds = {RandomFlip: 4, RandomDihedral: 8 if vars(operation).get("flips") else 4}
    assert len(varied.unique(dim=0)) == kinds.get(type(operation), 60)
    if isinstance(operation, RandomFlip | RandomDihedral | RandomAffine):
        gray = operation(image[:, :1].expand(60, 3, -1, -1), generator=0)
        assert torch.equal(gray[:, 0], gray[:, 2])


@every
def test_numpy_arrays_give_what_tensors_give(make_images, operation):
    images = make_images(6)
    varied = operation(images.numpy(), generator=4)
    assert isinstance(varied, np.ndarray)
    assert_allclose(varied, operation(images, generator=4), atol=1e-6)
    state = check_random_state(4)
    assert operation(images.numpy(), generator=state).shape == (6, 3, 12, 12)
    assert operation(np.zeros((0, 3, 8, 8), dtype=np.float32)).shape == (0, 3, 8, 8)


@every
def test_no_images_one_image_and_channels_last_memory(make_images, operation):
    assert operation(torch.zeros(0, 3, 8, 8)).shape == (0, 3, 8, 8)
    images = make_images(6)
    other = images.contiguous(memory_format=torch.channels_last)
    assert_allclose(
        operation(other, generator=1), operation(images, generator=1), atol=1e-6
    )


@every
def test_refuses_what_is_no_batch_of_images(operation):
    for shape in [(12, 12), (3, 12, 12), (2, 3, 0, 5), (2, 0, 5, 5)]:
        with pytest.raises(ValueError, match=r"\(n_samples, n_channels, height, width"):
            operation(torch.zeros(shape))
    with pytest.raises(TypeError, match="divide bytes by 255"):
        operation(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))
    with pytest.raises(TypeError, match="list"):
        operation([[1.0]])


@every
def test_pickles_clones_and_shows_itself(make_images, operation):
    images = make_images(4)
    expected = operation(images, generator=0)
    again = pickle.loads(pickle.dumps(operation))
    assert torch.equal(again(images, generator=0), expected)
    clf = clone(GalaxyClassifier(augment=operation))
    assert torch.equal(clf.augment(images, generator=0), expected)
    names = Compose, RandomFlip, ColorJitter, PixelNoise, RandomDihedral, RandomAffine
    scope = {
        name.__name__: name for name in (*names, RandomRotation, RandomTranslateScale)
    }
    rebuilt = eval(repr(operation), scope)
    assert torch.equal(rebuilt(images, generator=0), expected)


# Whole pixels -----------------------------------------------------------------------


def all_turns(image, flips=True):
    image = image.numpy()
    sides = [image, image[..., ::-1]] if flips else [image]
    return [np.rot90(side, k, (-2, -1)).copy() for side in sides for k in range(4)]


@pytest.mark.parametrize("flips", [True, False])
def test_symmetries_of_the_square(make_images, flips):
    image = make_images(1, 2, 5, 5)
    expected = all_turns(image, flips)
    for turned, wanted in zip(
        image_symmetries(image, flips=flips), expected, strict=True
    ):
        assert_allclose(turned, wanted)
    varied = RandomDihedral(flips=flips)(image.expand(400, -1, -1, -1), generator=0)
    counts = [
        int((varied == torch.tensor(wanted)).all(dim=(1, 2, 3)).sum())
        for wanted in expected
    ]
    # Each equally often: within five standard deviations of a binomial count.
    part = 1 / len(expected)
    assert sum(counts) == 400
    assert max(abs(np.array(counts) / 400 - part)) < 5 * (part / 400) ** 0.5


@pytest.mark.parametrize("flips", [True, False])
def test_symmetries_of_a_rectangle(make_images, flips):
    image = make_images(1, 1, 4, 7)
    views = list(image_symmetries(image, flips=flips))
    expected = [image, image.flip(2, 3)]
    if flips:
        expected += [image.flip(3), image.flip(2)]
    assert len(views) == len(expected)
    assert all(map(torch.equal, views, expected))
    varied = RandomDihedral(flips=flips)(image.expand(50, -1, -1, -1), generator=0)
    assert len(varied.unique(dim=0)) == len(expected)
    assert all((varied == view).all(dim=(1, 2, 3)).any() for view in expected)


@pytest.mark.parametrize(
    ("options", "dims"),
    [
        ({}, [(), (2,), (3,), (2, 3)]),
        ({"vertical": False}, [(), (3,)]),
        ({"horizontal": False}, [(), (2,)]),
        ({"horizontal": False, "vertical": False}, [()]),
    ],
)
def test_flips(make_images, options, dims):
    image = make_images(1, 3, 5, 8)
    varied = RandomFlip(**options)(image.expand(60, -1, -1, -1), generator=0)
    found = [(varied == image.flip(some)).all(dim=(1, 2, 3)).sum() for some in dims]
    assert sum(found) == 60
    assert min(found) >= 5


# Affine maps ------------------------------------------------------------------------


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [(12, 12), (9, 14), (1, 6)])
def test_nothing_drawn_changes_nothing(make_images, padding, size):
    images = make_images(3, 2, *size)
    assert_allclose(transformed(images, padding=padding), images, atol=1e-5)
    still = RandomAffine(
        0, translate=0, scale=(1, 1), flips=False, padding_mode=padding
    )
    assert_allclose(still(images, generator=0), images, atol=1e-5)


@pytest.mark.parametrize("padding", PADDINGS)
@pytest.mark.parametrize("size", [8, 9])
@pytest.mark.parametrize("turns", [1, 2, 3, -1])
def test_quarter_turns_are_exact(make_images, padding, size, turns):
    images = make_images(2, 3, size, size)
    turned = transformed(images, 90.0 * turns, padding=padding)
    assert_allclose(turned, images.rot90(turns, (-2, -1)), atol=1e-5)


def test_signs_mirror(make_images):
    images = make_images(2, 3, 6, 9)
    assert_allclose(transformed(images, sign=(-1, 1)), images.flip(3), atol=1e-5)
    assert_allclose(transformed(images, sign=(1, -1)), images.flip(2), atol=1e-5)


@pytest.mark.parametrize("size", [(33, 33), (28, 41)])
def test_a_round_object_looks_alike_from_all_sides(size):
    image = blob(*size, sigma=3.0).expand(20, -1, -1, -1)
    # Of an oblong image, reflections show the object a second time.
    turned = RandomRotation(padding_mode="border")(image, generator=0)
    # Along each axis, linear interpolation is off by up to an eighth of the second
    # derivative, 1 / sigma^2.
    assert (turned - image).abs().max() < 2 / 8 / 3**2
    assert_allclose(turned.sum(dim=(1, 2, 3)), image.sum(dim=(1, 2, 3)), rtol=1e-3)


@pytest.mark.parametrize("size", [(41, 41), (40, 61)])
@pytest.mark.parametrize("angle", [20.0, -110.0])
def test_objects_turn_about_the_center(size, angle):
    # Counterclockwise, as seen with row 0 on top: y points down.
    turned = transformed(blob(*size, x=8.0), angle)
    x, y = centroid(turned)
    radians = math.radians(angle)
    assert x.item() == pytest.approx(8 * math.cos(radians), abs=0.02)
    assert y.item() == pytest.approx(-8 * math.sin(radians), abs=0.02)


def test_shifts_are_parts_of_width_and_height(make_images):
    x, y = centroid(transformed(blob(40, 60), shift=(0.1, -0.05)))
    assert (x.item(), y.item()) == pytest.approx((6, -2), abs=0.01)
    # By whole pixels nothing is blurred.
    images = make_images(2, 1, 10, 20)
    moved = transformed(images, shift=(0.25, 0.1))
    assert_allclose(moved[..., 1:, 5:], images[..., :-1, :-5], atol=1e-5)
    assert_allclose(moved[..., :5], 0, atol=1e-4)
    drawn = RandomTranslateScale(0.1, scale=(1, 1))(blob(60, 60).expand(500, 1, 60, 60))
    for place in centroid(drawn):
        assert place.abs().max() < 6.01
        assert place.std() == pytest.approx(6 / 3**0.5, rel=0.1)


def test_scale_magnifies():
    magnified = transformed(blob(61, 61, x=5, y=2, sigma=3), scale=2.0)
    assert_allclose(centroid(magnified), [[[10.0]], [[4.0]]], atol=0.05)
    assert magnified.sum() == pytest.approx(4 * 2 * math.pi * 9, rel=0.01)
    shrunk = transformed(blob(61, 61, sigma=4), scale=0.5)
    assert_allclose(shrunk, blob(61, 61, sigma=2), atol=0.02)
    images = blob(61, 61, sigma=4).expand(500, 1, 61, 61)
    drawn = RandomTranslateScale(0, scale=(0.5, 1.25), padding_mode="zeros")(images)
    area = drawn.sum(dim=(1, 2, 3)) / images[0].sum()
    logarithm = area.log() / 2
    assert logarithm.min() > math.log(0.49)
    assert logarithm.max() < math.log(1.26)
    assert logarithm.mean() == pytest.approx(math.log(0.5 * 1.25) / 2, abs=0.03)


def test_flips_leave_rotations_and_their_parity():
    # Of a corner, a flip changes the sense in which the two arms follow each other.
    image = blob(41, 41, x=10) + 2 * blob(41, 41, y=10)
    images = image.expand(80, -1, -1, -1)

    def senses(operation):
        varied = operation(images)
        weak = torch.stack(centroid((varied * (varied < 1)).relu()))
        strong = torch.stack(centroid((varied > 1).float()))
        return (weak[0] * strong[1] - weak[1] * strong[0]).sign().unique().numel()

    assert senses(RandomAffine(flips=False)) == 1
    assert senses(RandomAffine()) == 2


def test_angles_are_even_up_to_the_largest():
    images = blob(41, 41, x=8).expand(500, -1, -1, -1)
    x, y = centroid(RandomRotation(60)(images))
    angle = torch.atan2(-y, x) * 180 / math.pi
    assert 57 < angle.abs().max() < 60.1
    assert angle.std() == pytest.approx(60 / 3**0.5, rel=0.1)
    x, y = centroid(RandomRotation()(images))
    assert torch.histc(torch.atan2(y, x), 4).min() > 80


def test_paddings():
    images = torch.zeros(1, 1, 5, 5)
    images[..., :, 0], images[..., :, 1] = 3, 2
    right = {
        p: transformed(images, shift=(0.4, 0.0), padding=p)[0, 0, 2] for p in PADDINGS
    }
    assert_allclose(right["zeros"], [0, 0, 3, 2, 0], atol=1e-5)
    assert_allclose(right["border"], [3, 3, 3, 2, 0], atol=1e-5)
    assert_allclose(right["reflection"], [2, 3, 3, 2, 0], atol=1e-5)
    flat = torch.full((20, 3, 16, 16), 0.7)
    for padding in ("border", "reflection"):
        varied = RandomAffine(padding_mode=padding)(flat, generator=0)
        assert_allclose(varied, flat, rtol=1e-5)
    assert RandomAffine(padding_mode="zeros")(flat, generator=0).min() == 0


# Parameters and names ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        (RandomAffine, {"degrees": 181}, "degrees must be from 0 to 180"),
        (RandomRotation, {"degrees": -1}, "degrees must be from 0 to 180"),
        (
            RandomRotation,
            {"padding_mode": "wrap"},
            "padding_mode .* got 'wrap'",
        ),
        (RandomTranslateScale, {"translate": 2}, "translate must be from 0 to 1"),
        (
            RandomAffine,
            {"scale": 1.1},
            "scale must be the lowest and .* got 1.1",
        ),
        (RandomAffine, {"scale": (0, 1)}, "scale must be"),
        (RandomAffine, {"scale": (1.1, 0.9)}, "scale must be"),
        (RandomAffine, {"scale": (1, float("nan"))}, "scale must be"),
        (ColorJitter, {"brightness": -0.1}, "brightness must be at least 0"),
        (ColorJitter, {"hue": 0.6}, r"hue must be from 0 to 0\.5"),
        (PixelNoise, {"max_scale": float("inf")}, "max_scale"),
    ],
)
def test_bad_parameters(kind, options, message):
    with pytest.raises(ValueError, match=message):
        kind(**options)
    with pytest.raises(TypeError, match="must be a number"):
        ColorJitter(contrast="much")


@pytest.mark.parametrize("augment", sorted(IMAGE_AUGMENTATIONS))
@pytest.mark.parametrize("shape", [(10, 8, 3), (8, 8)])
def test_names_on_an_estimator(augment, shape):
    rng = np.random.default_rng(0)
    X = rng.integers(0, 255, size=(24, *shape), dtype=np.uint8)
    y = np.arange(24) % 2

    def fit(augment):
        clf = GalaxyClassifier(
            "mlp", augment=augment, max_epochs=2, verbose=0, random_state=0
        )
        return clf.fit(X, y).predict_proba(X)

    named = fit(augment)
    np.testing.assert_array_equal(named, fit(IMAGE_AUGMENTATIONS[augment]))
    assert not np.array_equal(named, fit(None))


def test_names_belong_to_spectra_or_images():
    X, y = np.zeros((20, 8, 8)), np.arange(20) % 2
    with pytest.raises(ValueError, match="'augment' parameter of GalaxyClassifier"):
        GalaxyClassifier(augment="noise").fit(X, y)
    with pytest.raises(ValueError, match="'augment' parameter of SpectrumClassifier"):
        SpectrumClassifier(augment="rotations").fit(X, y)
    assert "noise" in AUGMENTATIONS
    assert "rotations" not in AUGMENTATIONS
