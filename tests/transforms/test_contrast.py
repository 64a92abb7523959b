"""Contrast of whole pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from skimage.exposure import equalize_adapthist

from monai_sam2unet import InputError
from monai_sam2unet.transforms import ImproveContrast, ImproveContrastd


def picture(channels=3, low=60, high=90):
    return torch.from_numpy(np.random.RandomState(0).randint(low, high, (channels, 40, 50)).astype(np.uint8))


def test_percentiles_are_those_of_numpy_over_all_channels():
    x = picture()
    x[:, 0, 0] = torch.tensor([255, 0, 255])  # less than half a percent: burnt-in letters
    low, high = np.percentile(x.numpy(), (0.5, 99.5))
    expected = np.clip((x.numpy().astype(float) - low) / (high - low), 0, 1) * 255
    out = ImproveContrast("percentiles")(x)
    assert out.dtype == torch.uint8
    assert np.abs(out.numpy() - expected).max() <= 0.5 + 1e-3  # rounded to whole levels
    assert (out == 0).any() and (out == 255).any()


def test_a_small_bright_spot_on_black_stays_visible():
    """Both percentiles are 0 there: least and greatest value count."""
    x = torch.zeros(1, 60, 60, dtype=torch.uint8)
    x[0, 3, 4] = 50
    out = ImproveContrast("percentiles")(x)
    assert out[0, 3, 4] == 255 and out.sum() == 255


@pytest.mark.parametrize("channels", [1, 3])
def test_clahe_is_scikit_images_and_local(channels):
    x = picture(channels)
    x[:, :, 25:] += 100  # two halves of different brightness, equally faint structure
    plain = x.numpy()[0] if channels == 1 else x.numpy().transpose(1, 2, 0)
    expected = np.rint(equalize_adapthist(plain, clip_limit=0.02) * 255)
    out = ImproveContrast("clahe")(x)
    assert out.shape == x.shape and out.dtype == torch.uint8
    assert np.array_equal(out.numpy()[0] if channels == 1 else out.numpy().transpose(1, 2, 0), expected)
    assert out[0, :, :20].float().std() > 1.5 * x[0, :, :20].float().std()


@pytest.mark.parametrize("mode", ["none", "percentiles", "clahe"])
def test_one_shade_stays_and_so_does_the_metadata(mode):
    flat = torch.full((3, 40, 40), 77, dtype=torch.uint8)
    assert torch.equal(ImproveContrast(mode)(flat), flat)
    x = MetaTensor(picture(), meta={"filename_or_obj": "a.png"})
    out = ImproveContrastd("image", mode)({"image": x, "label": 3})
    assert out["label"] == 3 and out["image"].meta["filename_or_obj"] == "a.png"
    assert torch.equal(out["image"], x) is (mode == "none")


def test_wrong_arguments_are_named():
    with pytest.raises(InputError, match="one of none, percentiles, clahe, got 'gamma'"):
        ImproveContrast("gamma")
    with pytest.raises(InputError, match=r"uint8, got torch.float32"):
        ImproveContrast("clahe")(torch.rand(3, 8, 8))
