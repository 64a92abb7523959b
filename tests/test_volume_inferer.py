"""Slices of a volume go through the network with their neighbours, and come back where they were."""

from __future__ import annotations

import pytest
import torch
from monai.inferers import SliceInferer
from torch import nn

from monai_sam2unet.inferers import VolumeInferer


class Look(nn.Module):
    """Gives the mean of its channels, the first and the last as logits, and notes what it was given."""

    def __init__(self):
        super().__init__()
        self.shapes = []

    def forward(self, x):
        self.shapes.append(tuple(x.shape))
        return torch.stack([x.mean(1), x[:, 0], x[:, -1]], dim=1)


def volumes():
    """(2, 1, 32, 64, 5), random."""
    return torch.rand(2, 1, 32, 64, 5, generator=torch.Generator().manual_seed(0))


def test_one_slice_is_what_monais_slice_inferer_does():
    ours = VolumeInferer(1, (32, 64), batch_size=3)(volumes(), Look())
    theirs = SliceInferer(spatial_dim=2, roi_size=(32, 64), sw_batch_size=3)(volumes(), Look())
    assert torch.allclose(ours, theirs, atol=1e-6) and ours.shape == (2, 3, 32, 64, 5)


@pytest.mark.parametrize("count", [3, 5, 7])
def test_neighbours_are_channels_and_ends_are_repeated(count):
    x, reach = volumes(), count // 2
    out = VolumeInferer(count, (32, 64), batch_size=4)(x, Look())
    padded = torch.cat([x[..., :1]] * reach + [x] + [x[..., -1:]] * reach, dim=-1)
    windows = padded.unfold(-1, count, 1)[:, 0]  # B H W D count
    assert torch.allclose(out[:, 0], windows.mean(-1), atol=1e-6)
    assert torch.equal(out[:, 1], windows[..., 0]) and torch.equal(out[:, 2], windows[..., -1])


def test_slices_are_resized_and_logits_brought_back():
    network = Look()
    x = torch.linspace(0, 1, 40)[None, None, None, :, None].expand(1, 1, 20, 40, 3)
    out = VolumeInferer(3, 64, batch_size=2)(x, network)
    assert network.shapes == [(2, 3, 64, 64), (1, 3, 64, 64)] and out.shape == (1, 3, 20, 40, 3)
    # bilinear there and back keeps a ramp but for its ends
    assert torch.allclose(out[..., 2:-2, :], x.expand(-1, 3, -1, -1, -1)[..., 2:-2, :], atol=1e-3)


def test_half_precision_gives_float32():
    x = volumes()
    out = VolumeInferer(1, (32, 64), amp="bf16")(x, nn.Conv2d(1, 2, 1))
    assert out.dtype == torch.float32


@pytest.mark.parametrize("count", [0, 2, -1])
def test_slices_must_be_odd(count):
    with pytest.raises(ValueError, match="slices must be an odd number above 0"):
        VolumeInferer(count, 64)
