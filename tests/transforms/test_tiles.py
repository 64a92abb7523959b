"""Random tiles for training."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from monai_sam2unet import InputError
from monai_sam2unet.transforms import RandTilesd


def item(h=100, w=120, classes=1):
    """A picture whose pixels say where they are, with masks above 0 in one 5x5 spot for each class."""
    rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
    label = torch.zeros(classes, h, w, dtype=torch.uint8)
    for k in range(classes):
        label[k, 60 : 65, 20 + 60 * k : 25 + 60 * k] = 255  # fmt: skip
    return {
        "image": torch.stack([rows, columns, rows + columns]).to(torch.uint8),
        "label": label,
        "case": "a",
    }


def cut(data, tile=32, count=400, seed=0):
    return RandTilesd(["image", "label"], "label", tile, count).set_random_state(seed)(data)


def test_tiles_of_picture_and_mask_are_of_the_same_place():
    data = item()
    for made in cut(data, count=50):
        assert made["case"] == "a"
        top, left = int(made["image"][0, 0, 0]), int(made["image"][1, 0, 0])
        assert torch.equal(made["image"], data["image"][:, top : top + 32, left : left + 32])
        assert torch.equal(made["label"], data["label"][:, top : top + 32, left : left + 32])


@pytest.mark.parametrize("classes", [1, 2])
def test_half_of_the_tiles_have_a_structure_in_the_middle_whatever_its_class(classes):
    """The spots are 0.2 % of the pixels; uniform tiles would have one in the middle as seldom."""
    made = cut(item(classes=classes))
    middle = torch.stack([tile["label"][:, 16, 16] > 0 for tile in made])
    share = middle.any(1).float().mean()
    assert 0.4 < share < 0.6  # binomial, n = 400: four standard deviations
    assert (middle.float().mean(0) > 0.4 / classes / 2).all()


def test_a_channel_of_ignored_pixels_draws_no_tiles():
    """The second spot is not of a class here: what has it in the middle came there by chance."""
    transform = RandTilesd(["image", "label"], "label", 32, 400, classes=1).set_random_state(0)
    middle = (
        torch.stack([tile["label"][:, 16, 16] > 0 for tile in transform(item(classes=2))]).float().mean(0)
    )
    assert 0.4 < middle[0] < 0.6 and middle[1] < 0.05


@pytest.mark.parametrize("value", [0, 255])
def test_masks_that_are_all_background_or_all_structure(value):
    data = item()
    data["label"][:] = value
    made = cut(data, count=3)
    assert len(made) == 3 and all((tile["label"] == value).all() for tile in made)


def test_a_small_picture_is_padded_at_the_bottom_and_right():
    data = item(h=20, w=50)
    data["label"][:] = 255
    (made,) = cut(data, count=1)
    assert made["image"].shape == (3, 32, 32)
    left = int(made["image"][1, 0, 0])
    assert torch.equal(made["image"][:, :20], data["image"][:, :, left : left + 32])
    assert not made["image"][:, 20:].any() and not made["label"][:, 20:].any()


def test_a_seed_gives_the_same_tiles_again():
    first, again, other = (np.stack([t["image"] for t in cut(item(), seed=s, count=5)]) for s in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)


@pytest.mark.parametrize(("tile", "count"), [(0, 1), (32, 0)])
def test_wrong_arguments_are_named(tile, count):
    with pytest.raises(InputError, match=f"at least 1, got {tile} and {count}"):
        RandTilesd("image", "image", tile, count)
