"""Names beside SAM 2's encoder: those of the recorded checkpoints, no more and no less."""

import json
from collections import Counter

import pytest

from monai_sam2unet.networks.weights.unused import (
    PUBLISHED_UNUSED,
    SAM2_UNUSED,
    SAM21_ONLY,
    TIMM_UNUSED,
    TRANSFORMERS_UNUSED,
    expand,
)

VARIANTS = ("tiny", "small", "base_plus", "large")


@pytest.fixture(params=VARIANTS)
def recorded(request, golden):
    """`recorded(kind)`: the names of one kind of checkpoint, in each of the four sizes."""
    return lambda kind: set(json.loads((golden / f"keys_{kind}_{request.param}.json").read_text()))


def beside(names, encoder):
    """Names that do not begin like the encoder's; there must be names of the encoder."""
    rest = {name for name in names if not name.startswith(encoder)}
    assert len(rest) < len(names)
    return rest


def test_sam2(recorded):
    rest = beside(recorded("sam2_hiera"), "image_encoder.trunk.")
    # the recorded lists are SAM 2's; SAM 2.1's files have these three besides, says their README
    assert {
        "no_obj_embed_spatial",
        "obj_ptr_tpos_proj.weight",
        "obj_ptr_tpos_proj.bias",
    } == SAM21_ONLY
    assert rest.isdisjoint(SAM21_ONLY)
    assert rest | SAM21_ONLY == SAM2_UNUSED


def test_transformers(recorded):
    assert beside(recorded("transformers_sam2"), "vision_encoder.backbone.") == TRANSFORMERS_UNUSED


def test_timm(recorded):
    assert beside(recorded("timm_sam2"), ("blocks.", "patch_embed.", "pos_embed")) == TIMM_UNUSED


def test_published(recorded):
    used = ("encoder.", "rfb", "up1.", "up2.", "up3.", "side", "head.")
    assert beside(recorded("sam2unet"), used) == PUBLISHED_UNUSED


# Counted by hand from the architecture (arXiv 2408.00714, appendix D.1), a weight and a bias per layer. An
# attention has 4 layers; a layer of the decoder 3 attentions, 2 linear layers and 4 norms; one of the memory
# attention 2 attentions, 2 linear layers and 3 norms; one of the fuser 3 convolutions, a norm and a scale.
DECODER = 2 * 2 * (3 * 4 + 2 + 4) + 2 * 4 + 2  # two layers, the last attention and its norm
DECODER += 3 + 2 * 2 + 2 * 3 + 4 * 2 * 3 + 2 * 2 * 3  # tokens, skips, upscaling, 4 + 2 heads of 3 layers
MEMORY_ATTENTION = 4 * 2 * (2 * 4 + 2 + 3) + 2
MEMORY_ENCODER = 2 * (5 + 4) + 2 * (2 * 4 + 1) + 2 * 2  # downsampling, fuser, two projections
PROMPTS = 2 * (3 + 2)  # downscaling of masks: 3 convolutions, 2 norms


def test_sizes_of_sam2():
    assert Counter(name.partition(".")[0] for name in SAM2_UNUSED) == {
        "image_encoder": 2 * 4,  # neck: one convolution per stage
        "sam_prompt_encoder": PROMPTS + 1 + 4 + 2,  # matrix, 4 kinds of points, no point, no mask
        "sam_mask_decoder": DECODER,
        "memory_attention": MEMORY_ATTENTION,
        "memory_encoder": MEMORY_ENCODER,
        "mask_downsample": 2,
        "obj_ptr_proj": 2 * 3,
        **dict.fromkeys(("maskmem_tpos_enc", "no_mem_embed", "no_mem_pos_enc", "no_obj_ptr"), 1),
        "no_obj_embed_spatial": 1,
        "obj_ptr_tpos_proj": 2,
    }
    assert (DECODER, MEMORY_ATTENTION, MEMORY_ENCODER) == (131, 106, 40)
    assert len(SAM2_UNUSED) == 314 + 3


def test_sizes_of_the_others():
    # transformers joins the four kinds of points into one tensor and has the prompts' matrix twice
    assert len(TRANSFORMERS_UNUSED) == len(SAM2_UNUSED) - 3 + 1
    counts = Counter(name.partition(".")[0] for name in TRANSFORMERS_UNUSED)
    assert counts["mask_decoder"] == DECODER
    assert counts["prompt_encoder"] == PROMPTS + 1 + 1 + 2
    assert counts["memory_attention"] == MEMORY_ATTENTION
    assert counts["memory_encoder"] == MEMORY_ENCODER
    assert len(TIMM_UNUSED) == 2 * 2  # a norm and a linear layer
    assert len(PUBLISHED_UNUSED) == 2 * (1 + 5)  # twice a kernel and a batch normalisation


@pytest.mark.parametrize(
    ("template", "names"),
    [
        ("plain.name", ["plain.name"]),
        ("{a,b}", ["a", "b"]),
        ("x{9..11}", ["x9", "x10", "x11"]),
        ("{0,1}.{q,k}_w", ["0.q_w", "0.k_w", "1.q_w", "1.k_w"]),
        ("{layers.0,out}", ["layers.0", "out"]),  # a single full stop counts nothing
    ],
)
def test_templates(template, names):
    assert expand(template) == names
