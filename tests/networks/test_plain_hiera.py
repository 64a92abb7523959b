"""The encoder gives what its plain form gives, in values and gradients, whatever the windows cut off."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from monai_sam2unet.networks import VARIANTS, Hiera, SAM2UNet, hiera, windows
from monai_sam2unet.networks.hiera import Attention, HieraVariant
from monai_sam2unet.networks.tuning import apply_tuning
from tests.plain.hiera import PlainHiera
from tests.plain.network import PlainSAM2UNet

# windows, heads and kinds of blocks as in SAM 2's variants, few channels
NARROW = {
    "narrow tiny": HieraVariant(8, 1, (1, 2, 4, 2), (5,), (8, 4, 14, 7)),
    "narrow base_plus": HieraVariant(8, 2, (2, 3, 4, 3), (7,), (8, 4, 14, 7), (14, 14)),
    "narrow large": HieraVariant(8, 2, (2, 2, 4, 2), (6,), (8, 4, 16, 8)),
    "entering": HieraVariant(8, 1, (1, 1, 1, 2), (3,), (8, 4, 14, 7)),  # a global block that pools
}
# pixels: one window cut off at both sides, at one, at none; several, cut off right, below, at both, at none
SIZES = [
    (1, 64, 96),
    (1, 224, 160),
    (1, 224, 224),
    (2, 256, 224),
    (1, 224, 288),
    (2, 352, 320),
    (1, 256, 512),
]


@pytest.fixture(autouse=True)
def narrow(monkeypatch):
    for name, variant in NARROW.items():
        monkeypatch.setitem(VARIANTS, name, variant)


def filled(network, seed=0):
    """Biases as large as weights, for padded keys and values are biases; more would saturate some GELU."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    return network


def pair(variant, **arguments):
    """Both forms of an encoder, in float64, from the same tensors."""
    ours = filled(Hiera(variant, adapter_dim=4, **arguments).double())
    plain = PlainHiera(VARIANTS[variant], adapter_dim=4, **arguments).double()
    plain.load_state_dict(ours.state_dict())
    return ours, plain


def picture(*shape, dtype=torch.float64):
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=dtype)


def apart(a, b):
    """Largest difference, relative to the largest value."""
    return ((a - b).abs().max() / b.abs().max()).item()


def learn(encoder, x):
    """Stages, and the gradients of the input and of all parameters from a sum with fixed weights."""
    x = x.clone().requires_grad_()
    stages = encoder(x)
    sum((stage * picture(*stage.shape)).sum() for stage in stages).backward()
    return stages, {"x": x.grad, **{name: p.grad for name, p in encoder.named_parameters()}}


@pytest.mark.parametrize("shape", SIZES)
@pytest.mark.parametrize("variant", ["nano", *NARROW])
def test_values_and_gradients(variant, shape):
    (batch, height, width), (ours, plain) = shape, pair(variant)
    x = picture(batch, 3, height, width)
    (stages, gradients), (expected, plain_gradients) = learn(ours, x), learn(plain, x)
    assert max(apart(a, b) for a, b in zip(stages, expected, strict=True)) < 1e-12
    assert gradients.keys() == plain_gradients.keys()
    assert max(apart(gradients[name], plain_gradients[name]) for name in gradients) < 1e-12


@pytest.mark.parametrize("shape", SIZES)
def test_windows_padded_for_sizes_that_are_symbols(monkeypatch, shape):
    for place in (hiera, windows):
        monkeypatch.setattr(place, "is_symbol", lambda size: True)
    ours, plain = pair("narrow tiny")
    x = picture(shape[0], 3, *shape[1:])
    with torch.no_grad():
        assert max(apart(a, b) for a, b in zip(ours(x), plain(x), strict=True)) < 1e-12


def test_one_script_for_all_sizes():
    ours, plain = pair("narrow large")
    script = torch.jit.script(ours.eval())
    with torch.no_grad():
        for batch, height, width in SIZES:
            x = picture(batch, 3, height, width)
            assert max(apart(a, b) for a, b in zip(script(x), plain(x), strict=True)) < 1e-12


@pytest.mark.parametrize("variant", ["nano", "tiny"])
def test_logits_in_single_precision(variant):
    torch.manual_seed(0)
    network = SAM2UNet(variant, decoder_channels=8).eval()
    x = picture(1, 3, 352, 320, dtype=torch.float32)
    with torch.no_grad():
        assert apart(network(x), PlainSAM2UNet(network, variant).eval()(x)[0]) < 2e-5


@pytest.mark.parametrize("checkpointing", [False, True])
def test_low_rank_updates(checkpointing):
    """Padded tokens are zero, so that a LoRA of ``qkv`` gives them nothing."""
    network = SAM2UNet("nano", decoder_channels=8, adapter_dim=4)
    apply_tuning(network, "lora", lora_rank=2)
    network, plain = filled(network.double()), PlainHiera(VARIANTS["nano"], adapter_dim=4).double()
    network.encoder.set_checkpointing(checkpointing)
    tensors = network.encoder.state_dict()
    for name in [name for name in tensors if name.endswith("lora_up")]:
        layer = name.removesuffix("lora_up")
        up, down, scale = (tensors.pop(layer + part) for part in ("lora_up", "lora_down", "lora_scale"))
        tensors[layer + "weight"] = tensors[layer + "weight"] + scale * up @ down
    plain.load_state_dict(tensors)
    x = picture(2, 3, 352, 320)
    assert max(apart(a, b) for a, b in zip(network.encoder.train()(x), plain(x), strict=True)) < 1e-12


@pytest.mark.parametrize("padded", [0, 1, 160])
@pytest.mark.parametrize("pool", [False, True])
def test_padded_keys_are_the_bias(padded, pool):
    """One key with log(n) is n keys of zero tokens; to drop them, or to count them once, would be wrong."""
    attention = filled(Attention(8, 8, heads=2, pool=pool).double())
    x = picture(3, 36, 8)
    with torch.no_grad():
        result = attention(x, [(1, 36, padded)])
        q, k, v = attention.qkv(F.pad(x, (0, 0, 0, padded))).chunk(3, dim=-1)
        q = q[:, :36].unflatten(1, (9, 4)).amax(2) if pool else q[:, :36]
        expected = attention.proj(explicit(q, k, v))
        dropped = attention.proj(explicit(q, k[:, :36], v[:, :36]))
        once = attention.proj(explicit(q, k[:, : 36 + min(padded, 1)], v[:, : 36 + min(padded, 1)]))
    assert apart(result, expected) < 1e-12
    assert padded == 0 or apart(dropped, expected) > 1e-3
    assert padded < 2 or apart(once, expected) > 1e-3


def explicit(q, k, v):
    """Attention with two heads of four channels, by its definition."""
    q, k, v = (t.unflatten(-1, (2, 4)).transpose(1, 2) for t in (q, k, v))
    weights = (q @ k.transpose(-1, -2) / math.sqrt(4)).softmax(-1)
    return (weights @ v).transpose(1, 2).flatten(2)


def test_dropping_padded_keys_would_change_the_stages_that_are_padded(monkeypatch):
    ours, plain = pair("narrow large")
    x = picture(1, 3, 352, 352)
    attend = Attention.attend
    monkeypatch.setattr(
        Attention, "attend", lambda self, q, kv, group, kept: attend(self, q, kv, (*group[:2], 0), kept)
    )
    with torch.no_grad():
        changes = [apart(a, b) for a, b in zip(ours(x), plain(x), strict=True)]
    assert max(changes[:2]) < 1e-12  # 11x11 cells: stages 1 and 2 are never padded, 3 and 4 are
    assert min(changes[2:]) > 1e-2
