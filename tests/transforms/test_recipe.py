"""The transforms of the recipes, read from JSON as a configuration reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from monai.data import MetaTensor

NORMALISATION = json.loads("""[
  {"_target_": "ScaleIntensityRanged", "keys": "image", "a_min": 0, "a_max": 255, "b_min": 0, "b_max": 1},
  {"_target_": "NormalizeIntensityd", "keys": "image", "subtrahend": [0.485, 0.456, 0.406],
   "divisor": [0.229, 0.224, 0.225], "channel_wise": true}
]""")

GEOMETRY = json.loads("""[
  {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 0},
  {"_target_": "RandFlipd", "keys": ["image", "label"], "prob": 0.5, "spatial_axis": 1},
  {"_target_": "RandRotate90d", "keys": ["image", "label"], "prob": 0.5, "max_k": 3},
  {"_target_": "RandAffined", "keys": ["image", "label"], "prob": 0.7, "rotate_range": 0.5236,
   "shear_range": [0.1, 0.1], "translate_range": [35, 35], "scale_range": [[-0.25, 0.25], [-0.25, 0.25]],
   "mode": "bilinear", "padding_mode": "zeros"}
]""")

APPEARANCE = json.loads("""[
  {"_target_": "RandAdjustContrastd", "keys": "image", "prob": 0.3, "gamma": [0.7, 1.5]},
  {"_target_": "RandScaleIntensityd", "keys": "image", "prob": 0.3, "factors": 0.2},
  {"_target_": "RandScaleIntensityd", "keys": "image", "prob": 0.3, "factors": 0.1, "channel_wise": true},
  {"_target_": "RandShiftIntensityd", "keys": "image", "prob": 0.3, "offsets": 0.1, "channel_wise": true},
  {"_target_": "RandGaussianNoised", "keys": "image", "prob": 0.2, "mean": 0.0, "std": 0.05},
  {"_target_": "RandGaussianSmoothd", "keys": "image", "prob": 0.2, "sigma_x": [0.5, 1.5],
   "sigma_y": [0.5, 1.5]},
  {"_target_": "RandCoarseDropoutd", "keys": "image", "prob": 0.2, "holes": 1, "max_holes": 6,
   "spatial_size": 16, "max_spatial_size": 48, "fill_value": 0.0},
  {"_target_": "ScaleIntensityRanged", "keys": ["image", "label"], "a_min": 0, "a_max": 1, "b_min": 0,
   "b_max": 1, "clip": true}
]""")


def compose(steps, prob=None):
    """Build a Compose from JSON; ``prob`` replaces every probability."""
    steps = [{**s, "prob": prob} if prob is not None and "prob" in s else s for s in steps]
    parser = ConfigParser({"t": {"_target_": "Compose", "transforms": steps}})
    return parser.get_parsed_content("t")


def test_our_names_are_found_in_a_config():
    parser = ConfigParser(
        {
            "imports": ["$import monai_sam2unet.transforms"],
            "load": {"_target_": "LoadPictured", "keys": "image", "mask_keys": "label"},
            "resize": {
                "_target_": "ResizeLikePillowd",
                "keys": ["image", "label"],
                "spatial_size": [352, 352],
                "mode": ["bilinear", "bicubic"],
            },
            "loader": {"_target_": "MultiScaleLoader", "loader": [], "scales": [1.0, 1.25]},
        }
    )
    parser.get_parsed_content("imports")
    names = [type(parser.get_parsed_content(key)).__module__ for key in ("load", "resize", "loader")]
    assert all(name.startswith("monai_sam2unet.transforms") for name in names)


def test_normalisation_is_imagenets():
    image = np.random.default_rng(0).integers(0, 256, (3, 20, 30), dtype=np.uint8)
    image[:, 0, 0], image[:, 0, 1] = 0, 255
    out = compose(NORMALISATION)({"image": MetaTensor(torch.from_numpy(image))})["image"]
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    expected = (image / 255 - mean[:, None, None]) / std[:, None, None]
    assert out.dtype == torch.float32
    assert np.abs(out.numpy() - expected).max() < 1e-6


@pytest.mark.parametrize("constant", [0, 255])
def test_normalisation_of_a_constant_picture(constant):
    out = compose(NORMALISATION)({"image": MetaTensor(torch.full((3, 4, 4), constant, dtype=torch.uint8))})
    assert out["image"][0].unique().item() == pytest.approx((constant / 255 - 0.485) / 0.229, abs=1e-6)


def blob(height=96, width=96):
    """A picture whose bright blob is off centre and longer than wide, and its mask."""
    mask = torch.zeros(1, height, width)
    mask[:, 20:50, 55:70] = 1
    return {"image": MetaTensor(mask.expand(3, -1, -1) * 0.8 + 0.1), "label": MetaTensor(mask)}


def test_blob_moves_with_its_mask():
    transform = compose(GEOMETRY, prob=1.0)
    transform.set_random_state(0)
    start = blob()["label"].as_tensor()
    moved = 0
    for _ in range(20):
        out = transform(blob())
        image, label = out["image"].as_tensor(), out["label"].as_tensor()
        # The picture is 0.8 * mask + 0.1 inside the frame, and 0 where the frame has moved away.
        assert torch.allclose(image[:, label[0] > 0.99], torch.tensor(0.9), atol=0.02)
        assert bool((image[:, label[0] == 0] <= 0.101).all())
        moved += bool((label - start).abs().sum() > 50)
    assert moved == 20


def test_strong_recipe_stays_in_range():
    transform = compose(GEOMETRY + APPEARANCE)
    transform.set_random_state(1)
    changed = 0
    for _ in range(30):
        out = transform(blob())
        for key, channels in (("image", 3), ("label", 1)):
            assert out[key].shape == (channels, 96, 96) and out[key].dtype == torch.float32
            assert out[key].min() >= 0 and out[key].max() <= 1 and bool(torch.isfinite(out[key]).all())
        changed += not torch.equal(out["image"].as_tensor(), blob()["image"].as_tensor())
    assert changed >= 25


def test_appearance_leaves_labels_alone():
    transform = compose(APPEARANCE, prob=1.0)
    out = transform(blob())
    assert torch.equal(out["label"].as_tensor(), blob()["label"].as_tensor())
    assert not torch.allclose(out["image"].as_tensor(), blob()["image"].as_tensor(), atol=0.01)
