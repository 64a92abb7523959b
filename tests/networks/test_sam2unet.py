"""The network: shapes, modes, freezing, gradients, TorchScript, precision, sizes."""

import functools
import json
import math

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from monai_sam2unet.networks import SIZE_DIVISOR, VARIANTS, SAM2UNet


def nano(**arguments):
    torch.manual_seed(0)
    return SAM2UNet("nano", **{"decoder_channels": 8, "adapter_dim": 4, **arguments})


@functools.cache
def meta(variant, **arguments):
    """Shapes without values; one network for all tests that only look at those."""
    with torch.device("meta"):
        return SAM2UNet(variant, **arguments)


def picture(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


# --- shapes and modes


@pytest.mark.parametrize(("height", "width"), [(352, 352), (160, 32)])
@pytest.mark.parametrize("variant", VARIANTS)
def test_outputs_have_the_inputs_size(variant, height, width):
    network, x = meta(variant), torch.empty(2, 3, height, width, device="meta")
    outputs = network.train()(x)
    assert isinstance(outputs, list)
    assert [tuple(o.shape) for o in outputs] == [(2, 1, height, width)] * 3
    assert network.eval()(x).shape == (2, 1, height, width)


@pytest.mark.parametrize("variant", VARIANTS)
def test_finite_in_both_modes(variant):
    torch.manual_seed(0)
    network = SAM2UNet(variant)
    with torch.no_grad():
        assert all(o.isfinite().all() for o in network.train()(picture(2, 3, 64, 32)))
        result = network.eval()(picture(1, 3, 32, 64))
    assert result.isfinite().all()
    assert result.std() > 0


def test_evaluation_gives_the_first_of_the_outputs_alone():
    network, x = nano().eval(), picture(2, 3, 64, 96)
    with torch.no_grad():
        result, outputs = network(x), network.outputs(x)
    assert torch.equal(result, outputs[0])
    assert not torch.allclose(outputs[0], outputs[1])
    assert not torch.allclose(outputs[1], outputs[2])


def test_decoder_maps_have_strides_16_8_and_4():
    maps = nano().eval().decode(picture(1, 3, 64, 96))
    assert [tuple(m.shape) for m in maps] == [(1, 8, 4, 6), (1, 8, 8, 12), (1, 8, 16, 24)]


def test_outputs_come_from_their_own_heads():
    """Main from stride 4, first side from stride 16, second from stride 8, in this order."""
    network = nano().eval()
    for head, value in ((network.head, 1.0), (network.side1, 2.0), (network.side2, 3.0)):
        torch.nn.init.zeros_(head.weight)
        torch.nn.init.constant_(head.bias, value)
    assert [o.unique().item() for o in network.outputs(picture(1, 3, 32, 32))] == [1, 2, 3]


@pytest.mark.parametrize("in_channels", [1, 4])
def test_other_channels(in_channels):
    network, x = nano(in_channels=in_channels, out_channels=3), picture(2, in_channels, 64, 32)
    assert [tuple(o.shape) for o in network(x)] == [(2, 3, 64, 32)] * 3
    assert network.eval()(x).shape == (2, 3, 64, 32)


def test_pictures_of_a_batch_do_not_mix():
    network, x = nano().eval(), picture(3, 3, 64, 32)
    with torch.no_grad():
        alone = torch.cat([network(one[None]) for one in x])
        torch.testing.assert_close(network(x), alone, rtol=1e-4, atol=1e-5)


def test_nothing_is_random_in_a_forward_pass():
    network, x = nano(), picture(2, 3, 32, 64)
    assert all(map(torch.equal, network(x), network(x)))


# --- freezing and gradients


def is_learned(name):
    return not name.startswith("encoder.") or ".adapter." in name


def test_frozen_but_for_adapters_and_decoder():
    """The paper's tuning is the default; the others are tested in test_tuning.py."""
    network = nano()
    names = [n for n, _ in network.named_parameters()]
    assert network.trainable_names() == [n for n in names if is_learned(n)]
    assert sum(".adapter." in n for n in network.trainable_names()) == 6 * 4  # blocks of nano, tensors each
    assert nano(tuning="full").trainable_names() == names


@pytest.mark.parametrize("tuning", ["adapters", "full"])
def test_gradients_reach_what_learns_and_nothing_else(tuning):
    network = nano(tuning=tuning)
    sum(o.square().mean() for o in network(picture(2, 3, 64, 96))).backward()
    for name, parameter in network.named_parameters():
        if tuning == "adapters" and not is_learned(name):
            assert parameter.grad is None, name
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all(), name
            assert parameter.grad.any(), name


def test_a_step_changes_what_learns_and_nothing_else():
    network = nano()
    before = {n: p.clone() for n, p in network.named_parameters()}
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.1)
    sum(o.square().mean() for o in network(picture(2, 3, 64, 64))).backward()
    optimizer.step()
    assert [
        n for n, p in network.named_parameters() if not torch.equal(p, before[n])
    ] == network.trainable_names()


# --- names and sizes


def test_names_of_the_tensors():
    """What files and docs rely on; the encoder's names are compared with SAM 2's in test_golden.py."""
    names = list(nano().state_dict())
    assert {n.split(".")[0] for n in names} == {
        *("encoder", "rfb1", "rfb2", "rfb3", "rfb4", "up1", "up2", "up3", "side1", "side2", "head")
    }
    for name in (
        "encoder.patch_embed.proj.weight",
        "encoder.pos_embed",
        "encoder.pos_embed_window",
        "encoder.blocks.0.adapter.down.weight",
        "encoder.blocks.5.mlp.layers.1.bias",
        "rfb4.branch3.3.bn.running_var",
        "up3.conv.double_conv.4.num_batches_tracked",
        "head.bias",
    ):
        assert name in names
    assert not any("up4" in n for n in names)


@pytest.mark.parametrize("variant", [v for v in VARIANTS if v != "nano"])
def test_number_of_parameters(golden, variant):
    """Equal to the published checkpoint's, without its running statistics and the unused up4."""
    keys = json.loads((golden / f"keys_sam2unet_{variant}.json").read_text())
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    expected = sum(
        math.prod(shape)
        for name, shape in keys.items()
        if not name.startswith("up4.") and not name.endswith(statistics)
    )
    assert sum(p.numel() for p in meta(variant).parameters()) == expected
    if variant == "large":
        assert expected == 216_419_043  # the 216.4 M of the docs


@pytest.mark.parametrize(("decoder_channels", "expected"), [(64, 2_778_243), (32, 1_324_707)])
def test_number_of_parameters_of_nano(decoder_channels, expected):
    # Counted layer by layer from the structure, apart from the code under test.
    def conv(i, o, k=1):
        return i * o * k + 2 * o  # kernel, scale and shift of the normalisation

    widths, hidden, c = (24, 48, 96, 192), 32, decoder_channels
    count = 24 * 3 * 49 + 24 + 24 * 49 + 24 * 64  # patch embedding, both position embeddings
    for dim, out in ((24, 24), (24, 48), (48, 96), (96, 96), (96, 96), (96, 192)):
        count += 2 * dim * hidden + hidden + dim  # adapter
        count += 2 * dim + 2 * out  # norms
        count += 3 * out * (dim + 1) + out * (out + 1)  # attention
        count += 4 * out * (out + 1) + out * (4 * out + 1)  # feed-forward
        count += out * (dim + 1) if dim != out else 0  # projection of the shortcut
    for width in widths:
        count += conv(width, c) + conv(4 * c, c, 9) + conv(width, c)  # first branch, joining, shortcut
        count += sum(conv(width, c) + 2 * conv(c, c, k) + conv(c, c, 9) for k in (3, 5, 7))
    count += 3 * (conv(2 * c, c, 9) + conv(c, c, 9)) + 3 * (c + 1)  # decoder and heads
    assert count == expected
    assert sum(p.numel() for p in meta("nano", decoder_channels=c).parameters()) == expected


# --- what is refused


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((1, 3, 340, 336), "height and width must be multiples of 32, got 340x336; pad to 352x352"),
        ((1, 3, 33, 64), "got 33x64; pad to 64x64"),
        ((1, 3, 0, 64), "got 0x64; pad to 32x64"),
        ((1, 4, 64, 64), r"\(batch, 3, height, width\), got shape \[1, 4, 64, 64\].*in_channels"),
        ((3, 64, 64), r"\(batch, 3, height, width\), got shape \[3, 64, 64\]"),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_unfit_inputs_are_named(shape, message, training):
    with pytest.raises(ValueError, match=message):
        meta("nano").train(training)(torch.empty(shape, device="meta"))


@settings(max_examples=150)
@given(height=st.integers(1, 320), width=st.integers(1, 320))
def test_only_multiples_of_32_are_taken(height, width):
    assume(height % 32 or width % 32)
    with pytest.raises(ValueError, match="multiples of 32") as caught:
        meta("nano").check_input(torch.empty(1, 3, height, width, device="meta"))
    padded = [int(n) for n in str(caught.value).rpartition(" ")[2].split("x")]
    for side, fit in zip((height, width), padded, strict=True):
        assert fit % SIZE_DIVISOR == 0 and 0 <= fit - side < SIZE_DIVISOR


@settings(max_examples=6)
@given(rows=st.integers(1, 12), columns=st.integers(1, 12))
def test_every_multiple_of_32_is_taken(rows, columns):
    shape = (32 * rows, 32 * columns)
    assert meta("nano").eval()(torch.empty(1, 3, *shape, device="meta")).shape == (1, 1, *shape)


@pytest.mark.parametrize("name", ["in_channels", "out_channels", "decoder_channels", "lora_rank"])
def test_numbers_must_be_positive(name):
    with pytest.raises(ValueError, match=f"{name} must be at least 1, got 0"):
        meta("nano", **{name: 0})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"adapter_dim": -1}, "adapter_dim must be at least 0, got -1"),
        ({"lora_alpha": 0}, "lora_alpha must be above 0, got 0"),
        ({"tuning": "freeze"}, "tuning must be one of adapters, full, frozen, lora, bitfit, got 'freeze'"),
    ],
)
def test_unfit_tuning_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        meta("nano", **arguments)


def test_unknown_variants_are_named():
    with pytest.raises(ValueError, match=r"nano, tiny, small, base_plus, large, got 'Large'"):
        meta("Large")


# --- TorchScript and precision


@pytest.mark.parametrize("channels", [(3, 1), (1, 3)])
def test_scripted_equals_eager(tmp_path, channels):
    network = nano(in_channels=channels[0], out_channels=channels[1]).eval()
    torch.jit.script(network).save(tmp_path / "network.ts")
    scripted = torch.jit.load(tmp_path / "network.ts")
    for shape in ((64, 64), (96, 32)):
        x = picture(2, channels[0], *shape)
        with torch.no_grad():
            torch.testing.assert_close(scripted(x), network(x), rtol=1e-4, atol=1e-5)


def test_scripted_gives_one_tensor_and_refuses_unfit_sizes():
    scripted = torch.jit.script(nano())  # in training mode, as a careless export would be
    assert scripted(picture(2, 3, 64, 32)).shape == (2, 1, 64, 32)
    with pytest.raises(torch.jit.Error, match="multiples of 32, got 40x32; pad to 64x32"):
        scripted(picture(1, 3, 40, 32))


def test_traced_equals_eager(tmp_path):
    network, x = nano().eval(), picture(2, 3, 64, 96)
    torch.jit.trace(network, x).save(tmp_path / "network.ts")
    other = torch.randn_like(x)
    with torch.no_grad():
        result = torch.jit.load(tmp_path / "network.ts")(other)
        torch.testing.assert_close(result, network(other), rtol=1e-4, atol=1e-5)


def test_bfloat16_stays_near_float32():
    network, x = nano().eval(), picture(1, 3, 64, 96)
    with torch.no_grad():
        exact = network(x)
        with torch.autocast("cpu", torch.bfloat16):
            rough = network(x)
    assert rough.dtype == torch.bfloat16
    assert rough.isfinite().all()
    # bfloat16 rounds by up to 2^-9; some tens of layers add up to a few per cent.
    assert (rough.float() - exact).abs().max() < 0.1 * exact.abs().max()


def test_bfloat16_learns():
    network = nano()
    with torch.autocast("cpu", torch.bfloat16):
        loss = sum(o.float().square().mean() for o in network(picture(2, 3, 64, 64)))
    loss.backward()
    learned = [p for p in network.parameters() if p.requires_grad]
    assert all(p.grad.isfinite().all() and p.grad.dtype == torch.float32 for p in learned)
