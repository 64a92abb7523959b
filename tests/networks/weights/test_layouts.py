"""Layouts: told apart by names, renamed by a table, and back."""

import json

import pytest
import torch

from monai_sam2unet.networks import Hiera, SAM2UNet
from monai_sam2unet.networks.weights.layouts import LAYOUTS, recognise, rename, to_published
from monai_sam2unet.networks.weights.unused import SAM21_ONLY
from tests.weight_files import LAYOUTS as FILES
from tests.weight_files import SIZES, copied, equal, hollow, keys, network, published

NAMES = {  # kind of file in tests/golden: short name of the layout
    "SAM 2": "sam2",
    "SAM 2.1": "sam2",
    "transformers": "transformers",
    "timm": "timm",
    "published SAM2-UNet": "published",
}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("kind", FILES)
def test_every_name_of_a_published_file_is_taken_or_listed(golden, kind, size):
    """All tensors of the network or encoder, each of its shape, and nothing unknown."""
    tensors = hollow(golden, kind, size)
    layout = recognise(tensors)
    renamed = rename(tensors, layout)
    assert layout.name == NAMES[kind]
    assert renamed.unknown == ()
    with torch.device("meta"):
        if kind == "published SAM2-UNet":
            ours = SAM2UNet(size).state_dict()
        else:
            ours = {f"encoder.{n}": t for n, t in Hiera(size, adapter_dim=0).state_dict().items()}
    assert {n: t.shape for n, t in renamed.tensors.items()} == {n: t.shape for n, t in ours.items()}
    assert len(renamed.tensors) + len(renamed.unused) == len(tensors)


def test_published_names_become_ours():
    """Written by hand from the published code: `block` is SAM 2's block, `prompt_learn` the adapter."""
    names = {
        "encoder.patch_embed.proj.weight": "encoder.patch_embed.proj.weight",
        "encoder.blocks.0.prompt_learn.0.weight": "encoder.blocks.0.adapter.down.weight",
        "encoder.blocks.11.prompt_learn.2.bias": "encoder.blocks.11.adapter.up.bias",
        "encoder.blocks.11.block.attn.qkv.weight": "encoder.blocks.11.attn.qkv.weight",
        "encoder.blocks.3.block.mlp.layers.0.bias": "encoder.blocks.3.mlp.layers.0.bias",
        "rfb1.branch0.0.conv.weight": "rfb1.branch0.0.conv.weight",
        "up3.conv.double_conv.0.weight": "up3.conv.double_conv.0.weight",
        "head.bias": "head.bias",
    }
    tensors = {name: torch.tensor(i) for i, name in enumerate([*names, "up4.conv.double_conv.0.weight"])}
    renamed = rename(tensors, recognise(tensors))
    assert {n: t.item() for n, t in renamed.tensors.items()} == {n: i for i, n in enumerate(names.values())}
    assert renamed.unused == ("up4.conv.double_conv.0.weight",)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vision_encoder.backbone.patch_embed.projection.bias", "encoder.patch_embed.proj.bias"),
        ("vision_encoder.backbone.pos_embed_window", "encoder.pos_embed_window"),
        ("vision_encoder.backbone.blocks.3.layer_norm2.weight", "encoder.blocks.3.norm2.weight"),
        ("vision_encoder.backbone.blocks.3.mlp.proj_out.bias", "encoder.blocks.3.mlp.layers.1.bias"),
        ("vision_encoder.backbone.blocks.3.attn.proj.weight", "encoder.blocks.3.attn.proj.weight"),
        ("vision_encoder.backbone.blocks.3.proj.weight", "encoder.blocks.3.proj.weight"),
        ("backbone.blocks.3.layer_norm1.weight", "encoder.blocks.3.norm1.weight"),
        ("blocks.3.layer_norm1.weight", "encoder.blocks.3.norm1.weight"),
        ("blocks.3.mlp.fc2.weight", "encoder.blocks.3.mlp.layers.1.weight"),
        ("blocks.3.mlp.layers.1.weight", "encoder.blocks.3.mlp.layers.1.weight"),
        ("image_encoder.trunk.blocks.3.attn.qkv.bias", "encoder.blocks.3.attn.qkv.bias"),
    ],
)
def test_single_names(name, expected):
    signatures = {
        "vision_": "vision_encoder.backbone.pos_embed",
        "backbon": "backbone.blocks.0.layer_norm1.bias",
    }
    tensors = {name: torch.ones(1), signatures.get(name[:7], name): torch.ones(1)}
    assert expected in rename(tensors, recognise(tensors)).tensors


def test_sam_2_and_sam_2_1_are_told_apart(golden):
    words = {}
    for kind in ("SAM 2", "SAM 2.1"):
        tensors = FILES[kind][1](hollow(golden, kind, "tiny"))["model"]
        words[kind] = rename(tensors, recognise(tensors)).words
    assert words == {"SAM 2": "SAM 2 checkpoint", "SAM 2.1": "SAM 2.1 checkpoint"}
    assert not SAM21_ONLY & keys(golden, "SAM 2", "tiny").keys()


def test_a_name_that_no_list_has_is_unknown(golden):
    for kind in FILES:
        tensors = {**hollow(golden, kind, "tiny"), "memory_attention.layers.4.norm1.weight": torch.ones(1)}
        assert rename(tensors, recognise(tensors)).unknown == ("memory_attention.layers.4.norm1.weight",)


def test_signatures_exclude_each_other(golden):
    """A published file matches the signature of its own layout and of none tried before it."""
    for kind, name in NAMES.items():
        names = keys(golden, kind, "tiny")
        matching = [layout.name for layout in LAYOUTS if any(layout.signature.search(n) for n in names)]
        assert matching[0] == name
        assert set(matching) <= {name, "ours"}  # published and ours begin alike: hence the order


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("image_encoder.blocks.0.attn.rel_pos_h", "a checkpoint of the first SAM"),
        ("decoder_blocks.0.norm1.weight", "a masked-autoencoder checkpoint of Hiera"),
        ("detector_model.vision_encoder.layers.0.weight", "a checkpoint of SAM 3"),
        ("sam_mask_decoder.iou_token.weight", "without SAM 2's encoder"),
        ("encoder.stages.0.0.convs.0.conv.weight", "a checkpoint of nnU-Net"),
        ("fc.weight", r"no known checkpoint\. Tensors: 1 \(fc\.weight\)\. Known are: SAM 2 checkpoint; "),
    ],
)
def test_other_checkpoints_are_named(name, message):
    with pytest.raises(ValueError, match=message):
        recognise({name: torch.ones(1)})


# --- to the published layout


@pytest.mark.parametrize("size", SIZES)
def test_to_published_gives_exactly_the_published_names(golden, size):
    with torch.device("meta"):
        ours = SAM2UNet(size).state_dict()
    shapes = {name: list(tensor.shape) for name, tensor in to_published(ours).items()}
    assert shapes == keys(golden, "published SAM2-UNet", size)


def test_to_published_and_back_changes_no_bit():
    torch.manual_seed(0)
    ours = copied(network().state_dict())
    there = to_published(ours)
    renamed = rename(there, recognise(there))
    assert equal(renamed.tensors, ours)
    assert len(renamed.unused) == 12  # two convolutions, and two normalisations of five tensors each


def test_published_to_ours_and_back_changes_no_bit_but_the_dead_step():
    torch.manual_seed(0)
    there = published(network().state_dict())
    back = to_published(rename(there, recognise(there)).tensors)
    assert equal(
        {n: t for n, t in back.items() if "up4" not in n}, {n: t for n, t in there.items() if "up4" not in n}
    )


def test_a_network_without_adapters_gets_idle_ones():
    torch.manual_seed(0)
    plain = network(adapter_dim=0).eval()
    there = to_published(plain.state_dict())
    with_adapters = network(adapter_dim=32).eval()
    with_adapters.load_state_dict(rename(there, recognise(there)).tensors)
    x = torch.randn(1, 3, 64, 96)
    with torch.inference_mode():
        assert torch.equal(with_adapters(x), plain(x))


def test_an_encoder_has_no_published_form():
    encoder = {n: t for n, t in network().state_dict().items() if n.startswith("encoder.")}
    with pytest.raises(ValueError, match="no decoder"):
        to_published(encoder)


def test_golden_lists_are_whole(golden):
    """Numbers of names counted in the reference implementation's own state dicts (see tests/golden)."""
    counted = {kind: len(json.loads((golden / FILES[kind][0].format("large")).read_text())) for kind in FILES}
    assert counted["SAM 2"] == 900 and counted["published SAM2-UNet"] == 1192
