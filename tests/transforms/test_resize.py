"""Resizing equals Pillow's, and predictions come back to the size of their picture."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import DataLoader, Dataset, MetaTensor, decollate_batch, set_track_meta
from monai.transforms import Compose, Invertd, NormalizeIntensityd, Resize, ScaleIntensityRanged
from PIL import Image
from torch.nn.functional import interpolate

from monai_sam2unet.errors import InputError
from monai_sam2unet.transforms import LoadPictured, ResizeLikePillow, ResizeLikePillowd

RESAMPLING = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
}
SIDES = st.integers(1, 90)


def picture(height, width, channels=3, seed=0, binary=False):
    """Random uint8 array (H, W, C)."""
    array = np.random.default_rng(seed).integers(0, 256, (height, width, channels), dtype=np.uint8)
    return (array > 127).astype(np.uint8) * 255 if binary else array


def by_pillow(array, size, mode):
    """Pillow's resize of (H, W, C), as (C, H, W)."""
    height, width, channels = array.shape
    image = Image.fromarray(array if channels == 3 else array[..., 0])
    resized = np.asarray(image.resize((size[1], size[0]), RESAMPLING[mode]))
    return resized.reshape(*size, channels).transpose(2, 0, 1)


def chw(array):
    return torch.from_numpy(np.ascontiguousarray(array.transpose(2, 0, 1)))


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES, st.sampled_from([1, 3]), st.sampled_from(list(RESAMPLING)), st.booleans())
def test_uint8_equals_pillow(h, w, out_h, out_w, channels, mode, binary):
    array = picture(h, w, channels, seed=h * 100 + w, binary=binary)
    out = ResizeLikePillow([out_h, out_w], mode)(chw(array))
    assert out.dtype == torch.uint8
    assert np.array_equal(out.numpy(), by_pillow(array, (out_h, out_w), mode))


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, SIDES, SIDES)
def test_float_follows_pillow(h, w, out_h, out_w):
    array = picture(h, w)
    out = ResizeLikePillow([out_h, out_w])(chw(array).float())
    assert out.dtype == torch.float32
    # Pillow rounds twice, once per direction: half a grey level each, and the weights to 22 bits.
    assert np.abs(out.numpy() - by_pillow(array, (out_h, out_w), "bilinear").astype(float)).max() <= 1.01


def test_monai_resize_is_not_pillow():
    """The reason for this class: were MONAI's own as good, it should be used."""
    array = picture(200, 300)
    theirs = Resize((50, 75), mode="bilinear")(chw(array)).numpy()
    assert np.abs(theirs - by_pillow(array, (50, 75), "bilinear").astype(float)).max() > 50


def test_sizes_none_square_and_pair():
    tensor = chw(picture(10, 20))
    assert ResizeLikePillow(None)(tensor).shape == (3, 10, 20)
    assert torch.equal(ResizeLikePillow(None)(tensor).as_tensor(), tensor)
    assert ResizeLikePillow(7)(tensor).shape == (3, 7, 7)
    assert ResizeLikePillow([7, 9])(tensor).shape == (3, 7, 9)


def test_input_is_not_changed():
    tensor = chw(picture(6, 6))
    ResizeLikePillow(None)(tensor).zero_()
    assert tensor.sum() > 0


def test_bicubic_mask_has_soft_edges_within_range():
    mask = np.zeros((60, 80, 1), np.uint8)
    mask[20:40, 30:70] = 255
    out = ResizeLikePillow(37, "bicubic")(chw(mask))
    assert len(out.unique()) > 2 and out.min() == 0 and out.max() == 255


@pytest.mark.parametrize("size", [0, -1, [3], [3, 4, 5], [3, 0], 2.5, [2.5, 3]])
def test_bad_sizes(size):
    with pytest.raises((InputError, TypeError)):
        ResizeLikePillow(size)


def test_bad_mode_and_tensors():
    with pytest.raises(InputError, match="lanczos"):
        ResizeLikePillow(3, "lanczos")
    with pytest.raises(InputError, match="lanczos"):
        ResizeLikePillowd(["a", "b"], 3, ["nearest", "lanczos"])
    for bad in (torch.zeros(2, 1, 4, 4), torch.zeros(4, 4), torch.zeros(1, 4, 4, dtype=torch.int16)):
        with pytest.raises(InputError, match=r"\(C, H, W\)"):
            ResizeLikePillow(3)(bad)


def test_affine_is_scaled_and_restored():
    resize, monais = ResizeLikePillow([5, 10]), Resize((5, 10), mode="bilinear")
    tensor = MetaTensor(torch.rand(1, 20, 30))
    out = resize(tensor)
    assert torch.allclose(out.affine, monais(tensor).affine)
    assert not torch.allclose(out.affine, tensor.affine)
    back = resize.inverse(out)
    assert back.shape == tensor.shape
    assert torch.allclose(back.affine, tensor.affine)
    assert not back.applied_operations


def test_dictionary_keeps_modes_apart():
    array, mask = picture(31, 47), picture(31, 47, 1, binary=True)
    resize = ResizeLikePillowd(["image", "label"], 16, ["bilinear", "nearest"])
    out = resize({"image": chw(array), "label": chw(mask)})
    assert np.array_equal(out["image"].numpy(), by_pillow(array, (16, 16), "bilinear"))
    assert np.array_equal(out["label"].numpy(), by_pillow(mask, (16, 16), "nearest"))
    back = resize.inverse(out)
    assert back["image"].shape == (3, 31, 47) and back["image"].dtype == torch.uint8
    assert set(back["label"].unique().tolist()) <= {0, 255}
    with pytest.raises(KeyError, match="label"):
        resize({"image": chw(array)})


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back_as_float(dtype):
    resize = ResizeLikePillow(8)
    out = resize(torch.zeros(1, 12, 13))
    prediction = MetaTensor(torch.ones(2, 8, 8, dtype=dtype)).copy_meta_from(out)
    back = resize.inverse(prediction)
    assert back.dtype == torch.float32
    assert torch.allclose(back.as_tensor(), torch.ones(2, 12, 13), atol=1e-6)


def test_without_metadata():
    set_track_meta(False)
    try:
        out = ResizeLikePillow(4)(torch.zeros(1, 8, 9))
        assert type(out) is torch.Tensor and out.shape == (1, 4, 4)
    finally:
        set_track_meta(True)


@pytest.mark.parametrize(("track", "kind"), [(None, MetaTensor), (True, MetaTensor), (False, torch.Tensor)])
@pytest.mark.parametrize("given", [torch.Tensor, MetaTensor])
def test_metadata_as_it_is_asked_for(track, kind, given):
    picture = torch.arange(72, dtype=torch.uint8).reshape(1, 8, 9)
    resize = ResizeLikePillowd("image", 4, track_meta=track)
    out = resize({"image": picture if given is torch.Tensor else MetaTensor(picture)})["image"]
    assert type(out) is kind and torch.equal(torch.as_tensor(out), ResizeLikePillow(4)(picture).as_tensor())


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("nearest", [False, True])
def test_predictions_come_back_through_invertd(tmp_path, workers, nearest):
    sizes = [(30, 50), (64, 41), (32, 32)]
    for i, size in enumerate(sizes):
        Image.fromarray(picture(*size, seed=i)).save(tmp_path / f"{i}.png")
    pre = Compose(
        [
            LoadPictured("image", ()),
            ResizeLikePillowd("image", 32),
            ScaleIntensityRanged("image", 0, 255, 0, 1),
            NormalizeIntensityd("image", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225], channel_wise=True),
        ]
    )
    post = Invertd(keys="pred", orig_keys="image", transform=pre, nearest_interp=nearest)
    dataset = Dataset([{"image": str(tmp_path / f"{i}.png")} for i in range(3)], pre)
    batch = next(iter(DataLoader(dataset, batch_size=3, num_workers=workers)))
    assert batch["image"].shape == (3, 3, 32, 32)
    # Two channels of what a network might give: one that tells rows from columns, one of noise.
    logits = torch.stack([torch.arange(1024.0).reshape(32, 32), torch.randn(32, 32)]).expand(3, 2, 32, 32)
    batch["pred"] = batch["image"][:, :2] * 0 + logits  # metadata passes through as through a network
    for item, size in zip(decollate_batch(batch), sizes, strict=True):
        out = post(item)["pred"]
        args = {"mode": "nearest-exact"} if nearest else {"mode": "bilinear", "align_corners": False}
        expected = interpolate(logits[:1], size=size, **args)[0]
        assert out.shape == (2, *size)
        assert torch.allclose(out.as_tensor(), expected)
        assert torch.allclose(out.affine, torch.eye(4, dtype=torch.float64))
