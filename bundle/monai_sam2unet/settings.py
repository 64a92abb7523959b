"""Checks of the values a user may set, before any work is done with them."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from monai_sam2unet import distributed
from monai_sam2unet.classes import ACTIVATIONS, Classes
from monai_sam2unet.data.cache import CACHES
from monai_sam2unet.data.shards import FORM, is_shard
from monai_sam2unet.errors import InputError
from monai_sam2unet.handlers.key_metric import check_key_figure
from monai_sam2unet.inferers import AMP_TYPES
from monai_sam2unet.io import WINDOWS, find_window
from monai_sam2unet.labels import label_problems
from monai_sam2unet.losses import LOSSES
from monai_sam2unet.metrics import PROTOCOLS
from monai_sam2unet.networks import SIZE_DIVISOR, VARIANTS
from monai_sam2unet.networks.compiling import COMPILE_MODES, missing_compiler
from monai_sam2unet.networks.tuning import TUNINGS
from monai_sam2unet.networks.weights import PARTS
from monai_sam2unet.transforms import CONTRASTS, PLANE_CODES

__all__ = ["check_settings", "choose_device", "flag"]

logger = logging.getLogger(__name__)


Rule = tuple[Callable[[Any], bool], str]


def _whole(low: int) -> Rule:
    return lambda v: _is_whole(v) and v >= low, f"a whole number of at least {low}"


def _number(low: float, inclusive: bool = True) -> Rule:
    bound = "at least" if inclusive else "above"
    return (
        lambda v: _is_number(v) and (v >= low if inclusive else v > low),
        f"a number {bound} {low:g}",
    )


def _fraction(v: Any) -> bool:
    return _is_number(v) and 0 <= v < 1


def _one_of(*names: str) -> Rule:
    return lambda v: v in names, f"one of {', '.join(names)}"


def _is_flag(v: Any) -> bool:
    return isinstance(v, bool) or str(v).lower() in ("true", "false")


def _size(v: Any) -> bool:
    sides = list(v) if isinstance(v, Sequence) and not isinstance(v, str) else [v]
    return len(sides) in (1, 2) and all(_is_whole(s) and s > 0 for s in sides)


def _spacing(v: Any) -> bool:
    steps = list(v) if isinstance(v, Sequence) and not isinstance(v, str) else None
    if steps is None:
        return _is_number(v) and v >= 0
    return len(steps) == 2 and all(_is_number(s) and s > 0 for s in steps)


def _scales(v: Any) -> bool:
    return isinstance(v, Sequence) and len(v) > 0 and all(_is_number(s) and s > 0 for s in v)


def _is_list(v: Any, fits: Callable[[Any], bool]) -> bool:
    return isinstance(v, Sequence) and not isinstance(v, str) and all(fits(item) for item in v)


def _is_colour(v: Any) -> bool:
    return _is_list(v, lambda c: _is_whole(c) and 0 <= c <= 255) and len(v) == 3


def _percentiles(v: Any) -> bool:
    return _is_list(v, _is_number) and len(v) == 2 and 0 <= v[0] < v[1] <= 100


def _window(v: Any) -> bool:
    try:
        return v == "" or bool(find_window(tuple(v) if isinstance(v, list) else v))
    except InputError:
        return False


def _is_whole(v: Any) -> bool:
    return isinstance(v, int) and not isinstance(v, bool)


def _is_number(v: Any) -> bool:
    return isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)


RULES: dict[str, Rule] = {
    "variant": _one_of(*VARIANTS),
    "input_size": (_size, "a side in pixels, or [height, width]"),
    "in_channels": _whole(1),
    "out_channels": _whole(1),
    "tuning": _one_of(*TUNINGS),
    "adapter_dim": _whole(0),
    "lora_rank": _whole(1),
    "lora_alpha": _number(0, inclusive=False),
    "decoder_channels": _whole(1),
    "batch_size": _whole(1),
    "max_epochs": _whole(1),
    "learning_rate": _number(0, inclusive=False),
    "min_learning_rate": _number(0),
    "layer_decay": (lambda v: _is_number(v) and 0 < v <= 1, "a number above 0 and at most 1"),
    "weight_decay": _number(0),
    "accumulation_steps": _whole(1),
    "ema_decay": (lambda v: _is_number(v) and 0 <= v < 1, "a number from 0 to below 1"),
    "gradient_clip": _number(0),
    "early_stopping": _whole(0),
    "val_interval": _whole(1),
    "protocol": _one_of(*PROTOCOLS),
    "key_metric": (lambda v: isinstance(v, str) and v != "", "the name of a figure of the protocol"),
    "val_fraction": (_fraction, "a number from 0 to below 1"),
    "threshold": (lambda v: _is_number(v) and 0 < v < 1, "a probability between 0 and 1"),
    "tolerance": _number(0),
    "spacing": (_spacing, "mm per pixel, or [rows, columns]; 0 for pixels"),
    "min_lesion_area": _whole(0),
    "num_workers": _whole(0),
    "seed": _whole(0),
    "scales": (_scales, "a list of positive factors, such as [1.0, 1.25]"),
    "amp": _one_of(*AMP_TYPES),
    "compile": _one_of(*COMPILE_MODES),
    "recipe": _one_of("paper", "strong"),
    "loss": _one_of(*LOSSES),
    "classes": (
        lambda v: _is_list(v, lambda name: isinstance(name, str)),
        "a list of names such as ['liver', 'tumour'], [] for one structure",
    ),
    "activation": _one_of(*ACTIVATIONS),
    "class_weights": (
        lambda v: _is_list(v, lambda w: _is_number(w) and w > 0),
        "a list of factors above 0, one a class; [] for all 1",
    ),
    "label_values": (
        lambda v: _is_list(v, lambda n: _is_whole(n) and n > 0),
        "a list of whole numbers above 0, one a class; [] for 1, 2, ...",
    ),
    "label_colours": (
        lambda v: _is_list(v, _is_colour),
        "a list of [red, green, blue] from 0 to 255, one a class; [] for none",
    ),
    "colour_tolerance": _number(0),
    "ignore_index": _whole(-1),
    "cache": _one_of(*CACHES),
    "mask_resize": _one_of("bicubic", "bilinear", "nearest"),
    "subset": _one_of("auto", "train", "validation", "test", "all"),
    "pretrained": (lambda v: isinstance(v, str) and v != "", "sam2, sam2.1, none or a file"),
    "engine": (lambda v: isinstance(v, str) and v != "", "a file"),
    "pretrained_part": _one_of(*PARTS),
    "save": _one_of("all", "trained"),
    "sync_batchnorm": (lambda v: v == "auto" or _is_flag(v), "auto, true or false"),
    "resume": (_is_flag, "true or false"),
    "checkpointing": (_is_flag, "true or false"),
    "check_data": (_is_flag, "true or false"),
    "probabilities": (_is_flag, "true or false"),
    "overlays": (_is_flag, "true or false"),
    "contrast": _one_of(*CONTRASTS),
    "flips": _one_of("both", "horizontal", "vertical", "none"),
    "tiles_per_picture": _whole(1),
    "tile": _whole(0),
    "overlap": (lambda v: _is_number(v) and 0 <= v <= 0.9, "a number from 0 to 0.9"),
    "shard": (is_shard, FORM),
    "skip_finished": (_is_flag, "true or false"),
    "plane": (
        lambda v: v in tuple(PLANE_CODES),
        f"one of {', '.join(PLANE_CODES)} (a model that was trained with volume.json notes it)",
    ),
    "slices": (lambda v: _is_whole(v) and v > 0 and v % 2 == 1, "an odd number above 0"),
    "window": (_window, f"a name ({', '.join(WINDOWS)}), [centre, width], or '' for none"),
    "percentiles": (_percentiles, "two numbers from 0 to 100, the smaller first"),
    "empty_share": (_fraction, "a number from 0 to below 1"),
}
"""For each setting: whether a value is fit, and what is expected in words."""


def check_settings(device: str | torch.device, **values: Any) -> None:
    """See that every setting has a value that makes sense.

    Args:
        device: device of the run.
        values: settings by name, among `RULES`.

    Raises:
        InputError: naming every setting that is wrong, what was got and what is expected.
    """
    wrong = {name: value for name, value in values.items() if not RULES[name][0](value)}
    problems = [f"{name} must be {RULES[name][1]}, got {value!r}" for name, value in wrong.items()]
    fit = {name: value for name, value in values.items() if name not in wrong}
    problems += _joint_problems(fit, choose_device(device))
    if problems:
        raise InputError("\n       ".join(problems))
    if values.get("tuning", "full") != "full" and str(values.get("pretrained", "")).lower() == "none":
        logger.warning(
            "Tuning %r leaves most of the encoder as it is, and with pretrained 'none' that is random: "
            "take tuning 'full', or pretrained weights",
            values["tuning"],
        )


def _joint_problems(values: Mapping[str, Any], device: torch.device) -> list[str]:
    """What is wrong with values that are right each for itself; those that are not are left out."""
    problems = []
    if values.get("amp") == "fp16" and device.type == "cpu":
        problems.append("amp 'fp16' needs a GPU; on a CPU use 'bf16' or 'none'")
    if (mode := values.get("compile", "none")) != "none":
        if "engine" in values:
            problems.append(f"compile must be none with an engine, which is compiled already, got {mode!r}")
        elif missing := missing_compiler(device):
            problems.append(f"compile {mode!r} needs {missing}; install it, or leave it at none")
    if str(values.get("sync_batchnorm")).lower() == "true" and device.type == "cpu":
        problems.append("sync_batchnorm true needs GPUs, PyTorch has none for a CPU; leave it at auto")
    size = values.get("input_size", SIZE_DIVISOR)
    wrong = [s for s in ([size] if isinstance(size, int) else size) if s % SIZE_DIVISOR]
    if wrong:
        nearest = max(SIZE_DIVISOR, round(wrong[0] / SIZE_DIVISOR) * SIZE_DIVISOR)
        problems.append(
            f"input_size must be a multiple of {SIZE_DIVISOR}, got {size}; nearest to {wrong[0]}: {nearest}"
        )
    tile = values.get("tile", 0)
    if tile % SIZE_DIVISOR:
        nearest = max(SIZE_DIVISOR, round(tile / SIZE_DIVISOR) * SIZE_DIVISOR)
        problems.append(f"tile must be 0 or a multiple of {SIZE_DIVISOR}, got {tile}; nearest: {nearest}")
    if values.get("save") == "trained" and str(values.get("pretrained", "")).lower() == "none":
        problems.append(
            "save 'trained' leaves out what a pretrained file gives, but pretrained is none; give --save all"
        )
    tuning = values.get("tuning")
    if tuning == "adapters" and values.get("adapter_dim") == 0:
        problems.append("tuning 'adapters' needs an adapter_dim of at least 1, got 0; or set tuning 'frozen'")
    if tuning not in (None, "full") and values.get("layer_decay", 1) < 1:
        problems.append(
            f"layer_decay {values['layer_decay']} needs tuning 'full', got {tuning!r}; leave layer_decay at 1"
        )
    if "protocol" in values and "key_metric" in values:
        try:
            check_key_figure(values["protocol"], values["key_metric"])
        except InputError as e:
            problems.append(str(e))
    problems += _volume_problems(values) if "plane" in values else []
    return problems + (_class_problems(values) if "classes" in values else [])


def _volume_problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings of volumes that are right each for itself."""
    problems = []
    slices = values.get("slices", 1)
    if values.get("in_channels", slices) != slices:
        problems.append(f"in_channels must be slices, {slices}, got {values['in_channels']}; give --slices")
    if (values.get("protocol", "fixed"), values.get("key_metric", "dice")) != ("fixed", "dice"):
        problems.append("protocol must be fixed and key_metric dice with volumes")
    if values.get("cache", "none") != "none":
        problems.append(f"cache must be none with volumes, got {values['cache']!r}: cache_dir keeps slices")
    if values.get("tile", 0) or values.get("contrast", "none") != "none":
        problems.append("tile and contrast are for pictures, leave them out with volumes; grey levels of "
                        "volumes are set by window and percentiles")  # fmt: skip
    return problems


def _class_problems(values: Mapping[str, Any]) -> list[str]:
    """What is wrong with settings of classes that are right each for itself."""
    try:
        classes = Classes.of(values["classes"], values.get("activation", "sigmoid"))
    except InputError as e:
        return [str(e)]
    problems = label_problems(
        classes.count,
        values.get("label_values", ()),
        values.get("label_colours", ()),
        values.get("ignore_index", -1),
    )
    weights = values.get("class_weights", ())
    if weights and len(weights) != classes.count:
        problems.append(
            f"class_weights must have one factor a class, {classes.count} without the background, got "
            f"{len(weights)}"
        )
    channels = values.get("out_channels", classes.out_channels)
    if channels != classes.out_channels:
        problems.append(
            f"out_channels is {channels}, but classes ({', '.join(classes.names)}) with activation "
            f"{classes.activation} make {classes.out_channels}; give the model's own classes and activation"
        )
    figure = (values.get("protocol", "fixed"), values.get("key_metric", "dice"))
    if figure != ("fixed", "dice") and (classes.count > 1 or values.get("ignore_index", -1) >= 0):
        problems.append(
            "protocol must be fixed and key_metric dice with several classes or an ignore_index, got "
            f"{figure[0]} and {figure[1]}: the other figures are of one structure and of all pixels"
        )
    return problems


def flag(value: bool | str) -> bool:
    """A yes or no as JSON has it, or as it comes from a command line (``--resume true`` is a word there)."""
    return value if isinstance(value, bool) else value.lower() == "true"


def choose_device(device: str | torch.device) -> torch.device:
    """The device by its name; ``auto`` is the first GPU if there is one, else the CPU.

    Of several processes on a machine each has a GPU of its own, by its number there.

    Raises:
        InputError: if there is no such device, or several processes would share it.
    """
    if str(device) == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
        if distributed.local_rank() is None:
            return torch.device(device)
    try:
        chosen = torch.device(device)
    except RuntimeError as e:
        raise InputError(f"device must be auto, cpu, cuda or cuda:N, got {device!r}") from e
    if chosen.type == "cuda" and distributed.local_rank() is not None:
        return _own_gpu(chosen, distributed.local_rank() or 0)
    if chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise InputError(
            f"device {device!r} is not there ({torch.cuda.device_count()} GPUs); use --device cpu"
        )
    return chosen


def _own_gpu(device: torch.device, rank: int) -> torch.device:
    """The GPU of one of several processes, by its number on its machine."""
    if device.index not in (None, rank):
        raise InputError(
            f"device '{device}' is one GPU, and process {rank} of this machine needs its own; leave --device "
            "at auto, and choose GPUs before the command: CUDA_VISIBLE_DEVICES=1,2 torchrun ..."
        )
    count = torch.cuda.device_count()
    if rank >= count:
        raise InputError(
            f"process {rank} (counted from 0) of this machine has no GPU, there are {count}; "
            f"start at most {count}: --nproc_per_node {count}"
        )
    return torch.device("cuda", rank)
