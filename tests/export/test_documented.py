"""What docs/export.md says of pre- and post-processing, done with NumPy alone, gives `predict`'s mask."""

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet import predict
from monai_sam2unet.data import draw_case
from monai_sam2unet.export import PackedNetwork, export, runner


def resized_axis(values, size):
    """Antialiased bilinear resize of the first axis, uint8, as the document says."""
    length = values.shape[0]
    ratio = length / size
    reach = max(ratio, 1.0)
    out = np.empty((size, *values.shape[1:]), np.uint8)
    for i in range(size):
        centre = (i + 0.5) * ratio
        first, end = max(int(centre - reach + 0.5), 0), min(int(centre + reach + 0.5), length)
        weights = np.maximum(0, 1 - np.abs((np.arange(first, end) + 0.5 - centre) / reach))
        fixed = np.floor(weights / weights.sum() * 2**22 + 0.5).astype(np.int64)
        total = np.tensordot(fixed, values[first:end].astype(np.int64), axes=1) + 2**21
        out[i] = np.clip(total >> 22, 0, 255)
    return out


def resized(picture, height, width):
    """Columns first, then rows, with 8 bit in between."""
    if picture.shape[1] != width:
        picture = resized_axis(picture.swapaxes(0, 1), width).swapaxes(0, 1)
    return resized_axis(picture, height) if picture.shape[0] != height else picture


def enlarged_axis(values, size):
    """Bilinear resize of the first axis without antialiasing, pixel centres aligned at halves."""
    length = values.shape[0]
    place = np.maximum((np.arange(size) + 0.5) * length / size - 0.5, 0)
    low = np.minimum(place.astype(int), length - 1)
    high = np.minimum(low + 1, length - 1)
    share = (place - low).reshape(-1, *[1] * (values.ndim - 1))
    return values[low] * (1 - share) + values[high] * share


def restored(logits, height, width):
    return enlarged_axis(enlarged_axis(logits, height).T, width).T


@pytest.mark.parametrize("shape", [(150, 190), (40, 300), (64, 64), (31, 33), (64, 500), (300, 96)])
def test_resize_is_pillows(shape):
    picture = np.random.default_rng(0).integers(0, 256, (*shape, 3), dtype=np.uint8)
    expected = np.asarray(Image.fromarray(picture).resize((96, 64), Image.Resampling.BILINEAR))
    assert np.array_equal(resized(picture, 64, 96), expected)


@pytest.mark.parametrize("index", [0, 4, 5])
def test_same_mask_as_predict(bundle_root, network, model_file, tmp_path, index):
    picture, _ = draw_case(index, size=[(192, 160), (150, 190), (64, 50)][index % 3])
    expected = predict(picture, model=model_file, bundle_root=bundle_root, device="cpu")
    run = runner(export(network, tmp_path / "model.ts", "torchscript"), "torchscript")
    x = resized(picture, 64, 64) / 255.0
    x = (x - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    logits = run(np.ascontiguousarray(x.transpose(2, 0, 1)[None], np.float32))[0, 0]
    probability = 1 / (1 + np.exp(-restored(logits.astype(float), *picture.shape[:2])))
    assert np.abs(probability - expected).max() < 1e-5  # as the document states
    sure = np.abs(expected - 0.5) > 1e-5
    assert np.array_equal((probability >= 0.5)[sure], (expected >= 0.5)[sure])
    assert 0 < (expected >= 0.5).mean() < 1 and sure.mean() > 0.999


def test_probabilities_resized_instead_of_logits_differ_little(bundle_root, network, model_file, tmp_path):
    """What the document says of the packed form: masks differ at edges, nowhere else."""
    picture, _ = draw_case(0)
    expected = predict(picture, model=model_file, bundle_root=bundle_root, device="cpu")
    run = runner(export(PackedNetwork(network), tmp_path / "model.ts", "torchscript"), "torchscript")
    probability = restored(run(resized(picture, 64, 64)[None])[0, 0].astype(float), *picture.shape[:2])
    differ = (probability >= 0.5) != (expected >= 0.5)
    assert differ.mean() < 0.02
