"""Tuning: what learns, low-rank updates and their merging, networks without adapters, rates by layer."""

import functools
import re

import pytest
import torch
from torch import nn

from monai_sam2unet.networks import VARIANTS, SAM2UNet
from monai_sam2unet.networks.tuning import TUNINGS, LoRALinear, merge_lora, parameter_groups

ADAPTER_DIM = {"adapters": 32, "full": 32, "frozen": 0, "lora": 0, "bitfit": 0}  # defaults of train.json

# Channels of the first stage and blocks per stage: SAM 2's configs (embed_dim, stages); nano is ours.
LAYOUT = {
    "nano": (24, (1, 1, 3, 1)),
    "tiny": (96, (1, 2, 7, 2)),
    "small": (96, (1, 2, 11, 2)),
    "base_plus": (112, (2, 3, 16, 3)),
    "large": (144, (2, 6, 36, 4)),
}


def nano(**arguments):
    torch.manual_seed(0)
    return SAM2UNet("nano", **{"decoder_channels": 8, "adapter_dim": 4, **arguments})


@functools.cache
def meta(variant, tuning):
    """Shapes without values, with the settings that train.json takes for this tuning."""
    channels = 32 if variant == "nano" else 64
    with torch.device("meta"):
        return SAM2UNet(variant, adapter_dim=ADAPTER_DIM[tuning], decoder_channels=channels, tuning=tuning)


def picture(*shape):
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def loss_of(network, x):
    return sum(o.square().mean() for o in network(x))


def learn(network, x, steps=3, rate=1e-2):
    """A few steps of AdamW with weight decay on whatever learns."""
    optimizer = torch.optim.AdamW(parameter_groups(network, rate, 1.0, 0.0), weight_decay=0.1)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss_of(network, x).backward()
        optimizer.step()
    return network.eval()


# --- what learns


def widths(variant):
    """Channels in and out of every block: they double with every stage."""
    first, depths = LAYOUT[variant]
    outs = [first * 2**stage for stage, depth in enumerate(depths) for _ in range(depth)]
    return list(zip([first, *outs[:-1]], outs, strict=True))


def count(variant, tuning):
    """Parameters that learn, added up layer by layer from the structure, apart from the code under test."""

    def conv(i, o, k=1):
        return i * o * k + 2 * o  # kernel, scale and shift of the normalisation

    first, c = LAYOUT[variant][0], 32 if variant == "nano" else 64
    stages = [first * 2**stage for stage in range(4)]
    decoder = 3 * (conv(2 * c, c, 9) + conv(c, c, 9)) + 3 * (c + 1)
    for width in stages:
        decoder += 2 * conv(width, c) + conv(4 * c, c, 9)
        decoder += sum(conv(width, c) + 2 * conv(c, c, k) + conv(c, c, 9) for k in (3, 5, 7))
    grid, window = (14 if variant == "base_plus" else 7) ** 2, 8**2
    weights, biases, adapters, lora = first * (3 * 49 + grid + window), first, 0, 0
    for dim, out in widths(variant):
        shortcut = dim != out
        weights += dim + out + 3 * out * dim + out * out + 8 * out * out + shortcut * out * dim
        biases += dim + out + 3 * out + out + 4 * out + out + shortcut * out
        adapters += 2 * dim * 32 + 32 + dim
        lora += 8 * (dim + 3 * out) + 8 * (out + out)  # rank 8: down and up of qkv, of proj
    encoder = {
        "adapters": adapters,
        "full": weights + biases + adapters,
        "frozen": 0,
        "lora": lora,
        "bitfit": biases,
    }
    return decoder + encoder[tuning]


@pytest.mark.parametrize("tuning", TUNINGS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_number_of_parameters_that_learn(bundle_root, variant, tuning):
    expected = count(variant, tuning)
    assert sum(p.numel() for p in meta(variant, tuning).parameters() if p.requires_grad) == expected
    design = (bundle_root / "docs" / "design.md").read_text()
    header = re.search(r"^\| variant \| `adapters` \|.*$", design, re.MULTILINE)[0]
    row = re.search(rf"^\| `{variant}` \|.*$", design[design.index(header) :], re.MULTILINE)[0]
    column = [cell.strip(" `") for cell in header.split("|")].index(tuning)
    assert row.split("|")[column].strip() == f"{expected:,}"


BLOCKS = [f"encoder.blocks.{i}" for i in range(6)]
ADAPTERS = {
    f"{b}.adapter.{way}.{kind}" for b in BLOCKS for way in ("down", "up") for kind in ("weight", "bias")
}
LORA = {f"{b}.attn.{layer}.lora_{way}" for b in BLOCKS for layer in ("qkv", "proj") for way in ("down", "up")}
LAYERS = ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.layers.0", "mlp.layers.1")
BIASES = {f"{b}.{layer}.bias" for b in BLOCKS for layer in LAYERS}
BIASES |= {f"encoder.blocks.{i}.proj.bias" for i in (1, 2, 5)}  # blocks where a stage begins
BIASES |= {"encoder.patch_embed.proj.bias"}


@pytest.mark.parametrize("adapter_dim", [0, 4])
@pytest.mark.parametrize(
    ("tuning", "names"), [("adapters", set()), ("frozen", set()), ("lora", LORA), ("bitfit", BIASES)]
)
def test_names_of_what_learns_in_the_encoder(tuning, names, adapter_dim):
    network = nano(tuning=tuning, adapter_dim=adapter_dim)
    learns = {n for n in network.trainable_names() if n.startswith("encoder.")}
    assert learns == names | (ADAPTERS if adapter_dim and tuning != "frozen" else set())
    outside = [n for n, _ in network.named_parameters() if not n.startswith("encoder.")]
    assert [n for n in network.trainable_names() if not n.startswith("encoder.")] == outside


@pytest.mark.parametrize("adapter_dim", [0, 4])
def test_all_learns_in_full_tuning(adapter_dim):
    network = nano(tuning="full", adapter_dim=adapter_dim)
    assert network.trainable_names() == [n for n, _ in network.named_parameters()]


@pytest.mark.parametrize("adapter_dim", [0, 4])
@pytest.mark.parametrize("tuning", TUNINGS)
def test_steps_change_what_learns_and_nothing_else(tuning, adapter_dim):
    network = nano(tuning=tuning, adapter_dim=adapter_dim)
    before = {n: t.clone() for n, t in network.state_dict().items()}
    learn(network, picture(2, 3, 64, 64))
    changed = {n for n, t in network.state_dict().items() if not torch.equal(t, before[n])}
    statistics = {n for n, _ in network.named_buffers() if not n.endswith("lora_scale")}
    assert changed == set(network.trainable_names()) | statistics
    assert statistics and not any(n.startswith("encoder.") for n in statistics)


# --- networks without adapters


def test_without_adapters_all_other_names_stay():
    without, with_adapters = nano(adapter_dim=0), nano()
    names = [n for n in with_adapters.state_dict() if ".adapter." not in n]
    assert list(without.state_dict()) == names
    assert len(with_adapters.state_dict()) == len(names) + len(ADAPTERS)


@pytest.mark.parametrize("tuning", ["adapters", "frozen"])
def test_without_adapters_as_with_adapters_that_do_nothing(tuning):
    idle, without, x = nano(tuning=tuning), nano(adapter_dim=0), picture(2, 3, 64, 96)
    if tuning == "adapters":  # "frozen" has zeroed them itself
        for name, parameter in idle.named_parameters():
            if ".adapter.up." in name:
                nn.init.zeros_(parameter)
    shared = {n: t for n, t in idle.state_dict().items() if ".adapter." not in n}
    without.load_state_dict(shared)
    with torch.no_grad():
        assert torch.equal(idle.eval()(x), without.eval()(x))
        assert not torch.equal(nano().eval()(x), without(x))


def test_frozen_adapters_of_a_file_are_used():
    trained, frozen, x = nano().eval(), nano(tuning="frozen").eval(), picture(1, 3, 64, 64)
    frozen.load_state_dict(trained.state_dict())
    with torch.no_grad():
        assert torch.equal(frozen(x), trained(x))


# --- low-rank updates


def test_lora_starts_as_the_plain_network():
    plain, lora, x = nano(), nano(tuning="lora"), picture(2, 3, 64, 96)
    own = lora.state_dict()
    assert all(torch.equal(t, own[n]) for n, t in plain.state_dict().items())
    with torch.no_grad():
        torch.testing.assert_close(lora.eval()(x), plain.eval()(x), rtol=0, atol=1e-6)


def test_lora_linear_by_hand():
    linear = nn.Linear(2, 2)
    layer = LoRALinear(linear, rank=2, alpha=1.0)
    assert layer.weight is linear.weight and layer.bias is linear.bias
    assert (layer.lora_down.shape, layer.lora_up.shape) == ((2, 2), (2, 2))
    assert layer.lora_scale.item() == 0.5 and layer.lora_scale.dtype == torch.float32
    values = {
        "weight": [[1, 2], [3, 4]],
        "bias": [1, -1],
        "lora_down": [[1, 0], [2, 1]],
        "lora_up": [[2, 1], [0, 4]],
    }
    layer.load_state_dict(
        {**{n: torch.tensor(v) for n, v in values.items()}, "lora_scale": torch.tensor(0.5)}
    )
    # W x + b = (1 + 4 + 1, 3 + 8 - 1) = (6, 10) for x = (1, 2); down x = (1, 4), up (1, 4) = (6, 16), halved
    assert layer(torch.tensor([1.0, 2.0])).tolist() == [9, 18]


def test_plain_weights_fit_the_base_part():
    result = nano(tuning="lora").load_state_dict(nano().state_dict(), strict=False)
    assert result.unexpected_keys == []
    scales = {f"{b}.attn.{layer}.lora_scale" for b in BLOCKS for layer in ("qkv", "proj")}
    assert set(result.missing_keys) == LORA | scales


def test_gradients_reach_up_at_once_and_down_after_a_step():
    network, x = nano(tuning="lora"), picture(2, 3, 64, 64)
    optimizer = torch.optim.AdamW([p for p in network.parameters() if p.requires_grad], lr=1e-3)
    for step in range(2):
        optimizer.zero_grad()
        loss_of(network, x).backward()
        for name, parameter in network.named_parameters():
            if name.endswith("lora_up"):
                assert parameter.grad.any(), name
            if name.endswith("lora_down"):
                assert bool(parameter.grad.any()) == (step == 1), name  # up is zero at first
        optimizer.step()


def test_low_rank_updates_alone_lower_the_loss():
    network, x = nano(tuning="lora", adapter_dim=0), picture(2, 3, 64, 64)
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(".lora_" in name)
    before = loss_of(network, x).item()
    learn(network, x, steps=5)
    assert loss_of(network.train(), x).item() < 0.99 * before


@pytest.mark.parametrize(
    "variant",
    ["nano", "tiny", "small", "base_plus", pytest.param("large", marks=pytest.mark.slow)],
)
def test_merged_equals_unmerged(variant):
    torch.manual_seed(0)
    network, x = (
        SAM2UNet(variant, adapter_dim=0, tuning="lora", lora_rank=4, lora_alpha=6.0),
        picture(2, 3, 64, 64),
    )
    learn(network, x)
    state_dict = network.state_dict()
    plain = SAM2UNet(variant, adapter_dim=0, tuning="full").eval()
    with torch.no_grad():
        expected = network(x)
        plain.load_state_dict(merge_lora(state_dict), strict=True)
        merged = plain(x)
        plain.load_state_dict({n: t for n, t in state_dict.items() if ".lora_" not in n})
        dropped = plain(x)
    largest = expected.abs().max()
    assert (merged - expected).abs().max() < 1e-5 * largest
    assert (dropped - expected).abs().max() > 1e-3 * largest  # the updates do something


def test_merging_by_hand():
    state_dict = {
        "a.weight": torch.tensor([[1.0, 2.0], [3.0, 4.0]]),
        "a.bias": torch.tensor([5.0, 6.0]),
        "a.lora_down": torch.tensor([[10.0, 20.0]]),
        "a.lora_up": torch.tensor([[1.0], [2.0]]),
        "a.lora_scale": torch.tensor(0.5),
        "b.weight": torch.ones(1),
    }
    before = {n: t.clone() for n, t in state_dict.items()}
    merged = merge_lora(state_dict)
    assert list(merged) == ["a.weight", "a.bias", "b.weight"]
    assert merged["a.weight"].tolist() == [[6, 12], [13, 24]]  # W + 0.5 * (10 20; 20 40)
    assert merged["a.bias"] is state_dict["a.bias"] and merged["b.weight"] is state_dict["b.weight"]
    assert state_dict.keys() == before.keys() and all(
        torch.equal(t, before[n]) for n, t in state_dict.items()
    )


def test_merging_in_float32_into_the_weights_type():
    # 256 + 1 + 2**-9 lies above the middle between bfloat16's neighbours 256 and 258; had the update been
    # rounded to bfloat16 (to 1), the sum would be that middle, which rounds to 256.
    tensors = {
        "weight": torch.tensor([[256.0]]),
        "lora_down": torch.tensor([[1.0], [2.0**-9]]),
        "lora_up": torch.ones(1, 2),
        "lora_scale": torch.tensor(1.0),
    }
    merged = merge_lora({n: t.bfloat16() for n, t in tensors.items()})
    assert merged["weight"].dtype == torch.bfloat16 and merged["weight"].item() == 258


def test_nothing_to_merge():
    state_dict = nano().state_dict()
    merged = merge_lora(state_dict)
    assert list(merged) == list(state_dict) and all(merged[n] is state_dict[n] for n in merged)


@pytest.mark.parametrize("gone", ["weight", "lora_down", "lora_up", "lora_scale"])
def test_incomplete_updates_are_named(gone):
    state_dict = nano(tuning="lora").state_dict()
    del state_dict[f"encoder.blocks.3.attn.qkv.{gone}"]
    with pytest.raises(ValueError, match=rf"incomplete LoRA: encoder\.blocks\.3\.attn\.qkv\.{gone} missing"):
        merge_lora(state_dict)


@pytest.mark.parametrize(
    ("name", "shape"), [("lora_down", (2, 24)), ("lora_up", (71, 8)), ("lora_scale", (2,))]
)
def test_updates_of_another_shape_are_named(name, shape):
    state_dict = nano(tuning="lora").state_dict()
    state_dict[f"encoder.blocks.0.attn.qkv.{name}"] = torch.zeros(shape)
    with pytest.raises(ValueError, match=rf"LoRA does not fit: .*encoder\.blocks\.0\.attn\.qkv\.{name} "):
        merge_lora(state_dict)


@pytest.mark.parametrize(
    "arguments", [{"tuning": "lora"}, {"adapter_dim": 0}, {"tuning": "lora", "adapter_dim": 0}]
)
def test_scripted_equals_eager(tmp_path, arguments):
    network, x = learn(nano(**arguments), picture(2, 3, 64, 64), steps=2), picture(2, 3, 96, 64)
    torch.jit.script(network).save(tmp_path / "network.ts")
    with torch.no_grad():
        torch.testing.assert_close(
            torch.jit.load(tmp_path / "network.ts")(x), network(x), rtol=1e-4, atol=1e-5
        )


def test_bfloat16_reaches_the_updates():
    network = nano(tuning="lora")
    with torch.autocast("cpu", torch.bfloat16):
        layer = network.encoder.blocks[0].attn.qkv
        assert layer(torch.ones(1, 24)).dtype == torch.bfloat16
        loss = sum(o.float().square().mean() for o in network(picture(2, 3, 64, 64)))
    loss.backward()
    assert layer.lora_up.grad.dtype == torch.float32 and layer.lora_up.grad.any()


# --- learning rates by layer


def rates_by_name(network, groups):
    """Rate of every parameter; each must stand in one group."""
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert len(rates) == sum(len(group["params"]) for group in groups)
    return {n: rates[id(p)] for n, p in network.named_parameters() if id(p) in rates}


def test_rates_of_nano():
    network = nano(tuning="full")
    groups = parameter_groups(network, 1e-3, 0.5, 1e-7)
    rates = rates_by_name(network, groups)
    assert list(rates) == network.trainable_names()
    # by hand: block i of 6 at 0.001 / 2^(6 - i), embeddings at 0.001 / 2^7
    blocks = {5: 5e-4, 4: 2.5e-4, 3: 1.25e-4, 2: 6.25e-5, 1: 3.125e-5, 0: 1.5625e-5}
    for name, rate in rates.items():
        if not name.startswith("encoder.") or ".adapter." in name:
            expected = 1e-3
        elif name.startswith("encoder.blocks."):
            expected = blocks[int(name.split(".")[2])]
        else:
            assert re.match(r"encoder\.(patch_embed\.|pos_embed)", name)
            expected = 7.8125e-6
        assert rate == pytest.approx(expected, rel=1e-12), name
    assert groups[0]["lr"] == 1e-3  # the rate that the history shows


def test_rates_of_large():
    network = meta("large", "full")
    groups = parameter_groups(network, 1.0, 0.9, 0.0)
    rates = rates_by_name(network, groups)
    assert list(rates) == network.trainable_names()
    # 0.9^1, 0.9^25, 0.9^48 and 0.9^49, by decimal arithmetic
    for name, expected in (
        ("head.bias", 1.0),
        ("encoder.blocks.0.adapter.down.weight", 1.0),
        ("encoder.blocks.47.norm1.weight", 0.9),
        ("encoder.blocks.23.attn.qkv.bias", 0.0717897987691853),
        ("encoder.blocks.0.mlp.layers.0.weight", 0.00636268544113595),
        ("encoder.patch_embed.proj.weight", 0.00572641689702235),
        ("encoder.pos_embed", 0.00572641689702235),
        ("encoder.pos_embed_window", 0.00572641689702235),
    ):
        assert rates[name] == pytest.approx(expected, rel=1e-12), name


def test_no_rate_below_the_lowest():
    groups = parameter_groups(nano(tuning="full"), 1e-3, 0.5, 1e-4)
    # by hand: 0.001, 0.0005, 0.00025, 0.000125, then what would be 0.0000625 and less
    assert [g["lr"] for g in groups] == pytest.approx([1e-3, 5e-4, 2.5e-4, 1.25e-4, 1e-4, 1e-4, 1e-4, 1e-4])


def test_the_schedule_moves_every_group():
    network = nano(tuning="full")
    optimizer = torch.optim.AdamW(parameter_groups(network, 1e-3, 0.5, 1e-5), lr=1e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=4, eta_min=1e-5)
    start = [g["lr"] for g in optimizer.param_groups]
    for _ in range(2):
        optimizer.step()
        schedule.step()
    # half-way the cosine is 0: the mean of start and end
    half = [(rate + 1e-5) / 2 for rate in start]
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx(half)
    for _ in range(2):
        optimizer.step()
        schedule.step()
    assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([1e-5] * 8)


@pytest.mark.parametrize("tuning", TUNINGS)
def test_without_decay_one_group_in_the_networks_order(tuning):
    network = nano(tuning=tuning)
    (group,) = parameter_groups(network, 0.3, 1.0, 1e-7)
    expected = [p for p in network.parameters() if p.requires_grad]
    assert group["lr"] == 0.3 and len(group["params"]) == len(expected)
    assert all(a is b for a, b in zip(group["params"], expected, strict=True))


def test_what_is_frozen_is_in_no_group():
    network = nano(tuning="bitfit")
    rates = rates_by_name(network, parameter_groups(network, 1e-3, 0.5, 0.0))
    assert list(rates) == network.trainable_names()


@pytest.mark.parametrize("layer_decay", [0, -0.5, 1.01, float("nan")])
def test_unfit_decay_is_named(layer_decay):
    with pytest.raises(ValueError, match=f"layer_decay must be above 0 and at most 1, got {layer_decay}"):
        parameter_groups(nano(), 1e-3, layer_decay, 0.0)
