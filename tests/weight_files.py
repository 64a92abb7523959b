"""Weight files for tests: of the published layouts, filled by a rule or hollow, and of a tiny network."""

from __future__ import annotations

import json
import re

import torch

from monai_sam2unet.networks import SAM2UNet
from tests.golden import rule

NANO = {"variant": "nano", "in_channels": 3, "adapter_dim": 4, "out_channels": 1, "decoder_channels": 8}
SIZES = ("tiny", "small", "base_plus", "large")
LAYOUTS = {  # file of names and shapes in tests/golden, how a file of that kind holds its state dict
    "SAM 2": ("keys_sam2_hiera_{}.json", lambda tensors: {"model": tensors}),
    "SAM 2.1": ("keys_sam2_hiera_{}.json", lambda tensors: {"model": {**tensors, **sam21()}}),
    "transformers": ("keys_transformers_sam2_{}.json", dict),
    "timm": ("keys_timm_sam2_{}.json", dict),
    "published SAM2-UNet": ("keys_sam2unet_{}.json", dict),
}


def network(**changes):
    """A `SAM2UNet` of the nano variant with a narrow decoder."""
    return SAM2UNet(**{**NANO, **changes})


def copied(state_dict):
    """A state dict that shares nothing with the network."""
    return {name: tensor.clone() for name, tensor in state_dict.items()}


def equal(one, other):
    """Whether two state dicts are the same to the bit, whatever their order."""
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def keys(golden, layout, size):
    """Names and shapes of a published layout."""
    return json.loads((golden / LAYOUTS[layout][0].format(size)).read_text())


def hollow(golden, layout, size):
    """Its tensors with one stored element each: a file of full shape, but small."""
    return {
        name: torch.zeros((), dtype=torch.int64 if "num_batches" in name else torch.float32).expand(shape)
        for name, shape in keys(golden, layout, size).items()
    }


def filled(golden, layout, size):
    """Its tensors with the rule's values."""
    shapes = keys(golden, layout, size)
    return {name: torch.from_numpy(rule.fill(name, shape)) for name, shape in shapes.items()}


def sam21():
    """The tensors that SAM 2.1's files have besides; shapes as in SAM 2.1's model."""
    return {
        "no_obj_embed_spatial": torch.zeros(1, 64),
        "obj_ptr_tpos_proj.weight": torch.zeros(64, 256),
        "obj_ptr_tpos_proj.bias": torch.zeros(64),
    }


def published(state_dict):
    """Our names back to the published ones, and two tensors of the dead decoder step."""
    renamed = {}
    for name, tensor in state_dict.items():
        name = re.sub(r"^(encoder\.blocks\.\d+)\.(?!adapter)", r"\1.block.", name)
        name = name.replace("adapter.down", "prompt_learn.0").replace("adapter.up", "prompt_learn.2")
        renamed[name] = tensor
    step = "up4.conv.double_conv."
    return {**renamed, f"{step}0.weight": torch.ones(8, 16, 3, 3), f"{step}1.bias": torch.ones(8)}


def sam2(state_dict):
    """The encoder of our network as SAM 2 holds it, without adapters."""
    return {
        name.replace("encoder.", "image_encoder.trunk.", 1): tensor
        for name, tensor in state_dict.items()
        if name.startswith("encoder.") and ".adapter." not in name
    }
