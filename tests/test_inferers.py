"""Inference of pictures of any size."""

import warnings

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import nn

from monai_sam2unet.inferers import PaddedInferer, TiledInferer
from monai_sam2unet.networks import SAM2UNet


class Recorder(nn.Module):
    """A 1x1 convolution (of ones) that keeps what it was given and what it made of it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 1)
        nn.init.ones_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)

    def forward(self, x, *args, **kwargs):
        self.given, self.args, self.kwargs = x, args, kwargs
        self.made = self.conv(x)
        return self.made


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return SAM2UNet("nano", decoder_channels=8, adapter_dim=4)


@settings(max_examples=60)
@given(height=st.integers(1, 100), width=st.integers(1, 100), divisor=st.sampled_from([1, 8, 32]))
def test_every_size_comes_back(height, width, divisor):
    recorder, x = Recorder(), torch.rand(2, 3, height, width) + 1
    with torch.no_grad():
        result = PaddedInferer(divisor=divisor)(x, recorder)
    assert result.shape == (2, 1, height, width)
    torch.testing.assert_close(result, x.sum(1, keepdim=True))  # every pixel is in its place
    given_height, given_width = recorder.given.shape[-2:]
    assert given_height % divisor == given_width % divisor == 0
    assert 0 <= given_height - height < divisor and 0 <= given_width - width < divisor
    assert not recorder.given[..., height:, :].any() and not recorder.given[..., width:].any()


def test_equals_the_network_on_the_padded_picture(network):
    x = torch.randn(2, 3, 50, 70)
    with torch.no_grad():
        expected = network.eval()(F.pad(x, (0, 26, 0, 14)))[..., :50, :70]  # to 64 x 96
        assert torch.equal(PaddedInferer()(x, network), expected)


def test_fitting_sizes_are_left_alone(network):
    x = torch.randn(1, 3, 64, 32)
    with torch.no_grad():
        assert torch.equal(PaddedInferer()(x, network.eval()), network(x))


def test_all_outputs_of_training_are_cropped(network):
    x = torch.randn(2, 3, 50, 70)
    outputs = PaddedInferer()(x, network.train())
    assert isinstance(outputs, list)
    assert [tuple(o.shape) for o in outputs] == [(2, 1, 50, 70)] * 3
    expected = network(F.pad(x, (0, 26, 0, 14)))
    for output, whole in zip(outputs, expected, strict=True):
        torch.testing.assert_close(output, whole[..., :50, :70])
    sum(o.sum() for o in outputs).backward()  # a trainer can learn from it
    assert network.head.weight.grad.any()


def test_bfloat16_computes_rough_and_gives_float32(network):
    recorder, x = Recorder(), torch.randn(1, 3, 40, 40)
    assert PaddedInferer("bf16")(x, recorder).dtype == torch.float32
    assert recorder.made.dtype == torch.bfloat16
    with torch.no_grad():
        exact = PaddedInferer("none")(x, network.eval())
        rough = PaddedInferer("bf16")(x, network)
    assert rough.dtype == exact.dtype == torch.float32
    assert not torch.equal(rough, exact)
    # bfloat16 rounds by up to 2^-9; some tens of layers add up to a few per cent.
    assert (rough - exact).abs().max() < 0.1 * exact.abs().max()


def test_bfloat16_of_all_outputs(network):
    outputs = PaddedInferer("bf16")(torch.randn(2, 3, 64, 64), network.train())
    assert [o.dtype for o in outputs] == [torch.float32] * 3


def test_full_precision_is_not_changed_by_an_outer_choice():
    recorder = Recorder()
    with warnings.catch_warnings(), torch.autocast("cpu", torch.bfloat16):
        warnings.simplefilter("error")  # autocast warns of float32
        PaddedInferer("none")(torch.randn(1, 3, 32, 32), recorder)
    assert recorder.made.dtype == torch.float32


def test_further_arguments_reach_the_network():
    recorder = Recorder()
    PaddedInferer()(torch.zeros(1, 3, 32, 32), recorder, 1, flag=2)
    assert recorder.args == (1,) and recorder.kwargs == {"flag": 2}


@pytest.mark.parametrize("training", [False, True])
def test_metadata_survives(network, training):
    """MONAI's engines give tensors that know their file; writers and `Invertd` need it afterwards."""
    x = MetaTensor(torch.randn(2, 3, 40, 40), meta={"filename_or_obj": ["a.png", "b.png"]})
    x.is_batch = True
    network.train(training)
    with torch.no_grad():
        result, expected = PaddedInferer()(x, network), PaddedInferer()(x.as_tensor(), network)
    if not training:
        result, expected = [result], [expected]
    for ours, plain in zip(result, expected, strict=True):
        assert isinstance(ours, MetaTensor) and not isinstance(plain, MetaTensor)
        assert ours.is_batch and ours.meta["filename_or_obj"] == ["a.png", "b.png"]
        torch.testing.assert_close(ours.as_tensor(), plain)


def test_the_network_computes_without_metadata():
    recorder = Recorder()
    PaddedInferer()(MetaTensor(torch.zeros(1, 3, 40, 40)), recorder)
    assert not isinstance(recorder.given, MetaTensor)


def test_unknown_precision_is_named():
    with pytest.raises(ValueError, match="amp must be one of none, bf16, fp16, got 'half'"):
        PaddedInferer("half")


# --- windows


class Means(nn.Module):
    """Every pixel of a window gets the window's mean, so that it shows which windows it was joined from."""

    def __init__(self):
        super().__init__()
        self.given = []

    def forward(self, x):
        self.given.append(tuple(x.shape))
        return x.mean((1, 2, 3), keepdim=True).repeat(1, 1, *x.shape[-2:])


@settings(max_examples=60, deadline=None)
@given(
    height=st.integers(1, 100),
    width=st.integers(1, 100),
    tile=st.sampled_from([32, 64]),
    overlap=st.sampled_from([0, 0.25, 0.5, 0.7]),
    windows=st.integers(1, 5),
)
def test_tiles_of_every_size_come_back(height, width, tile, overlap, windows):
    recorder, x = Recorder(), torch.rand(2, 3, height, width) + 1
    with torch.no_grad():
        result = TiledInferer(tile, overlap, windows)(x, recorder)
    assert result.shape == (2, 1, height, width)
    torch.testing.assert_close(result, x.sum(1, keepdim=True))  # every pixel is in its place
    count, _, *size = recorder.given.shape
    assert all(side <= tile and side % 32 == 0 for side in size)
    assert count <= max(windows, 2)  # pictures that fit are one window each, all at once


@pytest.mark.parametrize("size", [(50, 70), (64, 96), (1, 96), (96, 3), (1, 1)])
def test_a_picture_that_fits_is_computed_as_a_whole(network, size):
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = PaddedInferer()(x, network.eval())
        assert torch.equal(TiledInferer(96)(x, network), expected)
        assert torch.equal(TiledInferer(0)(x, network), expected)


def test_windows_are_weighted_by_a_gaussian():
    """By hand: windows of 32 at columns 0 and 16; sigma is an eighth of the side, as MONAI documents it.

    MONAI raises weights below a thousandth to that, lest corners be divided by nearly nothing.
    """
    x = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    gaussian = np.exp(-((np.arange(32) - 15.5) ** 2) / (2 * (32 / 8) ** 2))
    weight = np.maximum(np.outer(gaussian, gaussian), 1e-3)
    sums, weights = np.zeros((32, 48)), np.zeros((32, 48))
    for start in (0, 16):
        sums[:, start : start + 32] += weight * float(x[..., start : start + 32].mean())
        weights[:, start : start + 32] += weight
    network = Means()
    result = TiledInferer(32, overlap=0.5, window_batch=2)(x, network)
    assert network.given == [(2, 3, 32, 32)]
    np.testing.assert_allclose(result[0, 0], sums / weights, rtol=1e-5)


def test_pictures_of_a_batch_do_not_mix():
    x = torch.stack([torch.full((3, 40, 90), float(value)) for value in (1, 2, 3)])
    network = Means()
    result = TiledInferer(64, window_batch=4)(x, network)
    # 90 columns take windows at 0 and 26; 40 rows are padded to 64 by zeros, which the mean contains
    assert [shape[0] for shape in network.given] == [4, 2]
    torch.testing.assert_close(result, x[:, :1] * 40 / 64)


def test_windows_are_normalised_one_by_one(network):
    """uint8 pictures give what normalised ones give: zeros are padded after, not before normalising."""
    picture = torch.randint(0, 256, (2, 3, 70, 130), dtype=torch.uint8)
    sizes = []

    def normalise(window):
        sizes.append(tuple(window.shape))
        return window.float() / 255 - 0.5

    with torch.no_grad():
        result = TiledInferer(64, normalise=normalise)(picture, network.eval())
        expected = TiledInferer(64)(picture.float() / 255 - 0.5, network)
        narrow = TiledInferer(96, normalise=normalise)(picture[..., :50, :50], network)
    assert torch.equal(result, expected) and result.dtype == torch.float32
    assert torch.equal(narrow, PaddedInferer()(picture[..., :50, :50].float() / 255 - 0.5, network))
    assert set(sizes) == {(3, 64, 64), (3, 50, 50)}  # never the whole picture


def test_tiles_of_several_outputs(network):
    two = SAM2UNet("nano", out_channels=2, decoder_channels=8, adapter_dim=4)
    x = torch.randn(1, 3, 40, 70)
    with torch.no_grad():
        assert TiledInferer(32)(x, two.eval()).shape == (1, 2, 40, 70)
    outputs = TiledInferer(32)(x, network.train())
    assert isinstance(outputs, list) and [tuple(o.shape) for o in outputs] == [(1, 1, 40, 70)] * 3


def test_tiles_in_bfloat16():
    recorder = Recorder()
    result = TiledInferer(32, amp="bf16")(torch.randn(1, 3, 40, 70), recorder, 1, flag=2)
    assert recorder.made.dtype == torch.bfloat16 and result.dtype == torch.float32
    assert recorder.args == (1,) and recorder.kwargs == {"flag": 2}


@pytest.mark.parametrize("size", [(40, 40), (64, 64)], ids=["tiled", "whole"])
def test_metadata_survives_tiles(size):
    x = MetaTensor(torch.rand(2, 3, *size), meta={"filename_or_obj": ["a.png", "b.png"]})
    x.is_batch = True
    recorder = Recorder()
    result = TiledInferer(32 if size == (40, 40) else 64)(x, recorder)
    assert not isinstance(recorder.given, MetaTensor)
    assert isinstance(result, MetaTensor)
    assert result.is_batch and result.meta["filename_or_obj"] == ["a.png", "b.png"]
    torch.testing.assert_close(result.as_tensor(), x.as_tensor().sum(1, keepdim=True))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"tile": 100}, "tile must be 0 or a multiple of 32, got 100"),
        ({"tile": -32}, "tile must be 0 or a multiple of 32, got -32"),
        ({"tile": 32, "overlap": 1}, "overlap must be from 0 to below 1, got 1"),
        ({"tile": 32, "amp": "half"}, "amp must be one of"),
    ],
)
def test_wrong_tiles_are_named(given, words):
    with pytest.raises(ValueError, match=words):
        TiledInferer(**given)
