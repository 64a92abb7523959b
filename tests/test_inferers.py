"""Inference of pictures of any size."""

import warnings

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from monai.data import MetaTensor
from torch import nn

from monai_sam2unet.inferers import PaddedInferer
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
