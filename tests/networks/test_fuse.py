"""The form for inference: the same function as the network that was trained."""

import copy

import pytest
import torch
from torch import nn

from monai_sam2unet.networks import SAM2UNet, positions
from monai_sam2unet.networks.positions import position_embedding
from monai_sam2unet.networks.weights import load_model
from tests.weight_files import network


def trained(**changes):
    """A network whose normalisations do something, in evaluation mode."""
    torch.manual_seed(0)
    made = network(**{"tuning": "full", **changes}).eval()
    for norm in (m for m in made.modules() if isinstance(m, nn.BatchNorm2d)):
        nn.init.normal_(norm.running_mean)
        nn.init.uniform_(norm.running_var, 0.2, 3)
        nn.init.normal_(norm.weight)
        nn.init.normal_(norm.bias)
    return made


def picture(*shape, dtype=torch.float32):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)


# rounding: float64 has 1e-16, float32 6e-8, over some tens of layers
@pytest.mark.parametrize(("dtype", "allowed"), [(torch.float64, 1e-12), (torch.float32, 2e-5)])
@pytest.mark.parametrize("changes", [{}, {"in_channels": 1, "out_channels": 3, "tuning": "lora"}])
@pytest.mark.parametrize("shape", [(1, 64, 96), (3, 96, 32)])
def test_fused_is_the_same_function(dtype, allowed, changes, shape):
    plain = trained(**changes).to(dtype)
    x = picture(shape[0], plain.in_channels, *shape[1:], dtype=dtype)
    with torch.no_grad():
        expected, sides = plain(x), plain.outputs(x)
        fused = copy.deepcopy(plain).fuse()
        result = fused(x)
        assert (result - expected).abs().max() <= allowed * expected.abs().max()
        assert result.std() > 0.01  # not the biases alone
        for one, other in zip(fused.outputs(x), sides, strict=True):
            assert (one - other).abs().max() <= allowed * other.abs().max()


def test_fused_has_no_normalisation_and_one_convolution_at_the_entry():
    fused = trained().fuse()
    assert not any(isinstance(m, nn.BatchNorm2d) for m in fused.modules())
    # by hand: five 1x1 convolutions to 8 channels each
    assert [tuple(b.entry.weight.shape) for b in (fused.rfb1, fused.rfb4)] == [
        (40, 24, 1, 1),
        (40, 192, 1, 1),
    ]
    blocks, steps = 4 * (1 + 3 * 3 + 1), 3 * 2  # entry, three branches of three, joining; decoder
    decoder = [m for n, m in fused.named_modules() if isinstance(m, nn.Conv2d) and "encoder" not in n]
    assert len(decoder) == blocks + steps + 3  # three heads
    assert all(m.bias is not None for m in decoder)


def test_fusing_twice_changes_nothing():
    fused = trained().train().fuse()
    assert fused.fused and not fused.training
    before = copy.deepcopy(fused.state_dict())
    assert fused.fuse() is fused
    assert fused.state_dict().keys() == before.keys()
    assert all(torch.equal(t, before[n]) for n, t in fused.state_dict().items())


def test_positions_are_kept_for_the_size_at_hand(monkeypatch):
    computed = []
    plain = trained()
    fused = copy.deepcopy(plain).fuse()

    def counted(background, window, height, width):
        computed.append((height, width, background.dtype))
        return position_embedding(background, window, height, width)

    monkeypatch.setattr(positions, "position_embedding", counted)
    with torch.inference_mode():
        sizes = [(64, 96), (64, 96), (96, 64), (64, 96)]
        for number, size in enumerate(sizes):
            x = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(number))
            expected = plain(x)
            assert (fused(x) - expected).abs().max() <= 2e-5 * expected.abs().max()
    with torch.inference_mode():
        fused.double()(picture(1, 3, 64, 96, dtype=torch.float64))
    double = (16, 24, torch.float64)
    float32 = torch.float32
    assert computed == [(16, 24, float32), (24, 16, float32), (16, 24, float32), double]


def test_kept_positions_serve_gradients_after_inference():
    fused, x = trained().fuse(), picture(1, 3, 64, 64)
    with torch.inference_mode():
        fused(x)
    x.requires_grad_()  # as saliency maps ask for
    fused(x).sum().backward()
    assert x.grad.abs().max() > 0


def test_fused_does_not_learn():
    assert not trained().fuse().trainable_names()


def test_fused_is_scripted_and_traced(tmp_path):
    fused, x = trained().fuse(), picture(2, 3, 64, 96)
    expected = fused(x)
    for made in (torch.jit.script(fused), torch.jit.trace(fused, x)):
        made.save(tmp_path / "network.ts")
        torch.testing.assert_close(torch.jit.load(tmp_path / "network.ts")(x), expected, rtol=1e-4, atol=1e-4)


def test_bfloat16_stays_near_float32():
    fused, x = trained().fuse(), picture(1, 3, 64, 96)
    exact = fused(x)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        rough = fused(x)
    # bfloat16 rounds by up to 2^-9; some tens of layers add up to a few per cent
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_loading_fuses_when_asked(tmp_path):
    plain = trained()
    torch.save(plain.state_dict(), tmp_path / "model.pt")
    target, x = network(), picture(1, 3, 64, 64)
    load_model(target, tmp_path / "model.pt", fuse=True)
    assert target.fused and isinstance(target, SAM2UNet)
    expected = plain(x)
    assert (target(x) - expected).abs().max() <= 2e-5 * expected.abs().max()
    with pytest.raises(ValueError, match=r"the network is fused: .* build another SAM2UNet"):
        load_model(target, tmp_path / "model.pt")
