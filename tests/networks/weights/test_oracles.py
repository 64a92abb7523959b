"""Other implementations of SAM 2's encoder compute what ours computes, from the same file.

Hugging Face transformers and timm wrote theirs for themselves. Their networks are filled by the rule of
`tests.golden.rule` and saved; the file goes through our loader. The four stages must agree, which checks the
names as well as windows, pooling and the position embedding at any size. `make oracles` installs
transformers and runs these tests; timm needs torchvision besides, so it is compared only where both are.

In float32 two ways to compute attention differ by rounding (measured: up to 5e-5 of the largest value after
the 48 blocks of large); in float64 nothing but a real difference is left.
"""

import copy
import json

import pytest
import torch
from safetensors.torch import save_file

from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import load_pretrained, read_weights
from monai_sam2unet.networks.weights.unused import TRANSFORMERS_UNUSED
from tests.golden import rule

TOLERANCE = 2e-5  # of the encoder's stages in float32, as stated with the reference values

# Type of all numbers, transformers' way to compute attention, and how far the stages may differ. "eager"
# writes attention out instead of calling PyTorch's function, with the softmax in float32 whatever the type.
ARITHMETIC = [
    (torch.float32, "sdpa", TOLERANCE),
    (torch.float64, "sdpa", 1e-11),
    (torch.float64, "eager", TOLERANCE),
]

# Height and width of the picture. The grid of tokens is a quarter of it, and halved by each stage: 352 gives
# 88, 44, 22 and 11 rows and 320 gives 80, 40, 20 and 10: windows of 14 and 7 (large: 16 and 8) are padded.
SIZES = [(352, 352), (320, 448), (224, 672)]

# What transformers' Sam2HieraDetConfig calls the sizes of SAM 2's configuration files sam2_hiera_*.yaml;
# its own defaults are those of tiny.
CONFIGS = {
    "tiny": {},
    "small": {"blocks_per_stage": [1, 2, 11, 2], "global_attention_blocks": [7, 10, 13]},
    "base_plus": {
        "hidden_size": 112,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 3, 16, 3],
        "embed_dim_per_stage": [112, 224, 448, 896],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "global_attention_blocks": [12, 16, 20],
        "window_positional_embedding_background_size": [14, 14],
    },
    "large": {
        "hidden_size": 144,
        "num_attention_heads": 2,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "global_attention_blocks": [23, 33, 43],
        "window_size_per_stage": [8, 4, 16, 8],
    },
}


@pytest.fixture(scope="module")
def transformers():
    return pytest.importorskip("transformers", reason="needs transformers, which `make oracles` installs")


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm", reason="needs timm and torchvision", exc_type=ImportError)


def fill(module):
    """Give a module the rule's values."""
    own = module.state_dict()
    module.load_state_dict({n: torch.from_numpy(rule.fill(n, t.shape)) for n, t in own.items()})
    return module.eval()


def encoder_from(path, variant):
    """Our encoder with a file's weights, loaded as a training does; the adapters add nothing."""
    network = SAM2UNet(variant, adapter_dim=2, decoder_channels=2).eval()
    for block in network.encoder.blocks:  # GELU of 0 is 0
        torch.nn.init.zeros_(block.adapter.up.weight)
        torch.nn.init.zeros_(block.adapter.up.bias)
    load_pretrained(network, variant, str(path), path.parent)
    return network.encoder


def hiera(transformers, variant):
    """The encoder of transformers, filled."""
    return fill(transformers.Sam2HieraDetModel(transformers.Sam2HieraDetConfig(**CONFIGS[variant])))


def stages_of_transformers(encoder, dtype=torch.float32, attention="sdpa"):
    """`stages(x)` of an encoder of transformers, which is copied: (B, C, H, W) each, as ours."""
    encoder = copy.deepcopy(encoder).to(dtype)
    encoder.set_attn_implementation(attention)
    return lambda x: [s.permute(0, 3, 1, 2) for s in encoder(x).intermediate_hidden_states]


def stages_of_timm(model, dtype=torch.float32):
    """`stages(x)` of a network of timm, which is copied: (B, C, H, W) each, as ours."""
    model = copy.deepcopy(model).to(dtype)
    return lambda x: model.forward_intermediates(x, intermediates_only=True)


def largest_error(theirs, ours, size):
    """Largest relative error of the four stages on a picture of this size, and their shapes."""
    x = torch.from_numpy(rule.image(f"oracle-{size[0]}x{size[1]}", (1, 3, *size)))
    x = x.to(ours.pos_embed.dtype)
    with torch.inference_mode():
        pairs = list(zip(theirs(x), ours(x), strict=True))
    assert [tuple(b.shape[2:]) for _, b in pairs] == [
        (size[0] // stride, size[1] // stride) for stride in (4, 8, 16, 32)
    ]
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)


# --- transformers


@pytest.fixture(scope="module")
def sam2_of_transformers(transformers, tmp_path_factory):
    """A whole SAM 2.1 (tiny) of transformers with a filled encoder, and the folder it was saved in."""
    folder = tmp_path_factory.mktemp("transformers")
    model = transformers.Sam2VideoModel(transformers.Sam2VideoConfig()).eval()
    fill(model.vision_encoder.backbone)
    model.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "sam2.pt")
    yield model, folder
    for path in folder.iterdir():  # 150 MB each
        path.unlink()


@pytest.mark.parametrize("file", ["model.safetensors", "sam2.pt"])
def test_a_whole_model_of_transformers(sam2_of_transformers, file):
    model, folder = sam2_of_transformers
    weights = read_weights(folder / file)
    assert (weights.layout, weights.content, weights.variant) == ("transformers", "encoder", "tiny")
    # transformers 4 leaves one of two equal tensors out of its safetensors files
    twice = {"prompt_encoder.shared_embedding.positional_embedding"}
    assert set(weights.unused) in (TRANSFORMERS_UNUSED, TRANSFORMERS_UNUSED - twice)
    theirs, ours = stages_of_transformers(model.vision_encoder.backbone), encoder_from(folder / file, "tiny")
    assert largest_error(theirs, ours, SIZES[0]) < TOLERANCE


@pytest.mark.parametrize(("dtype", "attention", "tolerance"), ARITHMETIC)
@pytest.mark.parametrize("size", SIZES)
def test_stages_of_transformers(sam2_of_transformers, size, dtype, attention, tolerance):
    model, folder = sam2_of_transformers
    theirs = stages_of_transformers(model.vision_encoder.backbone, dtype, attention)
    ours = encoder_from(folder / "model.safetensors", "tiny").to(dtype)
    assert largest_error(theirs, ours, size) < tolerance


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["small", "base_plus", "large"])
def test_stages_of_larger_transformers(transformers, tmp_path, variant):
    encoder = hiera(transformers, variant)
    path = tmp_path / "model.safetensors"
    save_file({f"vision_encoder.backbone.{n}": t for n, t in encoder.state_dict().items()}, path)
    ours = encoder_from(path, variant)
    path.unlink()  # up to 850 MB
    for dtype, attention, tolerance in ARITHMETIC:
        theirs = stages_of_transformers(encoder, dtype, attention)
        assert largest_error(theirs, ours.to(dtype), SIZES[1]) < tolerance, (dtype, attention)


@pytest.mark.slow
def test_stages_at_sam2s_own_size(sam2_of_transformers):
    model, folder = sam2_of_transformers
    theirs = stages_of_transformers(model.vision_encoder.backbone)
    ours = encoder_from(folder / "model.safetensors", "tiny")
    assert largest_error(theirs, ours, (1024, 1024)) < TOLERANCE


def test_a_wrong_reading_is_noticed(sam2_of_transformers):
    """The comparison can fail: the window's embedding turned, or an epsilon that is not SAM 2's."""
    model, folder = sam2_of_transformers
    theirs = stages_of_transformers(model.vision_encoder.backbone)
    ours = encoder_from(folder / "model.safetensors", "tiny")
    for block in ours.blocks:
        block.norm1.eps = 1e-5  # PyTorch's default
    assert largest_error(theirs, ours, SIZES[1]) > TOLERANCE
    ours = encoder_from(folder / "model.safetensors", "tiny")
    ours.pos_embed_window.data = ours.pos_embed_window.data.mT.contiguous()
    assert largest_error(theirs, ours, SIZES[1]) > 0.1


@pytest.mark.parametrize("variant", list(CONFIGS))
def test_names_of_the_installed_transformers(transformers, golden, variant):
    """The recorded lists are those of the version at hand, whichever it is."""
    backbone = transformers.Sam2HieraDetConfig(**CONFIGS[variant])
    channels = list(reversed(backbone.embed_dim_per_stage))
    vision = transformers.Sam2VisionConfig(backbone_config=backbone, backbone_channel_list=channels)
    with torch.device("meta"):
        model = transformers.Sam2VideoModel(transformers.Sam2VideoConfig(vision_config=vision))
    recorded = json.loads((golden / f"keys_transformers_sam2_{variant}.json").read_text())
    assert {n: list(t.shape) for n, t in model.state_dict().items()} == recorded


# --- timm


@pytest.fixture(scope="module")
def sam2_of_timm(timm, tmp_path_factory):
    """A filled encoder (tiny) of timm, and the folder it was saved in."""
    folder = tmp_path_factory.mktemp("timm")
    model = fill(timm.create_model("sam2_hiera_tiny"))
    save_file(model.state_dict(), folder / "model.safetensors")
    torch.save(model.state_dict(), folder / "model.pt")
    yield model, folder
    for path in folder.iterdir():  # 100 MB each
        path.unlink()


@pytest.mark.parametrize("file", ["model.safetensors", "model.pt"])
def test_a_file_of_timm(sam2_of_timm, file):
    model, folder = sam2_of_timm
    weights = read_weights(folder / file)
    assert (weights.layout, weights.content, weights.variant) == ("timm", "encoder", "tiny")
    assert set(weights.unused) == {"head.norm.weight", "head.norm.bias"}  # without classes no head.fc
    ours = encoder_from(folder / file, "tiny")
    assert largest_error(stages_of_timm(model), ours, SIZES[0]) < TOLERANCE


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, TOLERANCE), (torch.float64, 1e-11)])
@pytest.mark.parametrize("size", SIZES)
def test_stages_of_timm(sam2_of_timm, size, dtype, tolerance):
    model, folder = sam2_of_timm
    ours = encoder_from(folder / "model.pt", "tiny").to(dtype)
    assert largest_error(stages_of_timm(model, dtype), ours, size) < tolerance


@pytest.mark.parametrize("variant", list(CONFIGS))
def test_names_of_the_installed_timm(timm, golden, variant):
    model = timm.create_model(f"sam2_hiera_{variant}", num_classes=1000, device="meta")
    recorded = json.loads((golden / f"keys_timm_sam2_{variant}.json").read_text())
    assert {n: list(t.shape) for n, t in model.state_dict().items()} == recorded
