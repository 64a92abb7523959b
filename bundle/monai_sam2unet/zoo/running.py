"""What the zoo's tests run with an entry: properties, input and output of the network, export."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from monai.bundle import ConfigWorkflow, ckpt_export, verify_net_in_out

from monai_sam2unet.data import write_demo
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import load_model, read_weights
from monai_sam2unet.zoo.entry import MODEL
from monai_sam2unet.zoo.findings import METADATA, Finding, innermost

__all__ = ["check_export", "check_in_out", "check_model", "check_properties"]

NETWORK = "network_def"
INFERENCE = "configs/inference.json"
TOLERANCE = 1e-4
"""Largest difference of logits between the exported network and the loaded one."""

SMALL = {"variant": "nano", "pretrained": "none", "input_size": 64, "scales": [1.0], "num_workers": 0}
"""Settings by which the objects of a training are made in seconds."""


def check_model(folder: Path) -> Iterator[Finding]:
    """Whether the weights are a whole network, in the plain form that MONAI's tools load."""
    try:
        weights = read_weights(folder / MODEL, folder / "models/pretrained")
    except ValueError as e:
        yield Finding(MODEL, str(e), "the weights of a trained SAM2-UNet", "pack another model")
        return
    if weights.content != "network" or weights.base is not None or weights.layout != "ours":
        yield Finding(
            MODEL,
            f"it is {weights.kind}",
            "a whole network under this bundle's names",
            "write it so: python -m scripts.convert_weights FILE OUT",
        )


def check_properties(folder: Path) -> Iterator[Finding]:
    """What MONAI's programs look up in the configs, made for real with a few drawn pictures."""
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        pictures = write_demo(Path(scratch) / "pictures", train=4, validation=2)
        for name, kind in (("train", "train"), ("inference", "inference")):
            overrides: dict[str, Any] = {"bundle_root": str(folder), "output_dir": f"{scratch}/{name}"}
            overrides["dataset_dir"] = str(pictures if kind == "train" else pictures / "images")
            if kind == "train":
                overrides |= {**SMALL, "ckpt_dir": f"{scratch}/models"}
            yield from _check_workflow(folder, f"configs/{name}.json", kind, overrides)


def check_in_out(folder: Path) -> Iterator[Finding]:
    """Whether the network takes and gives what the metadata says, at two sizes."""
    for n in (1, 3):
        try:
            with _quiet():
                verify_net_in_out(
                    net_id=NETWORK,
                    meta_file=str(folder / METADATA),
                    config_file=str(folder / INFERENCE),
                    bundle_root=str(folder),
                    n=n,
                )
        except Exception as e:  # whatever MONAI or the network makes of a wrong description
            got = f"verify_net_in_out fails with n={n} ({innermost(e)})"
            yield Finding(METADATA, got, "the network's input and output", "correct network_data_format")
            return


def check_export(folder: Path) -> Iterator[Finding]:
    """Whether the weights can be exported as TorchScript, and compute the same then."""
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        exported = Path(scratch) / "verify_model.ts"
        try:
            ckpt_export(
                net_id=NETWORK,
                filepath=str(exported),
                ckpt_file=str(folder / MODEL),
                meta_file=str(folder / METADATA),
                config_file=str(folder / INFERENCE),
                bundle_root=str(folder),
            )
            difference = _difference(torch.jit.load(str(exported)), folder / MODEL)
        except Exception as e:  # whatever MONAI or TorchScript cannot do with the weights or the network
            got = f"ckpt_export fails ({innermost(e)})"
            yield Finding(MODEL, got, f"weights of {NETWORK} in {INFERENCE}", "make them fit")
            return
        if difference > TOLERANCE:
            got = f"as TorchScript its logits differ by {difference:.2g}"
            yield Finding(MODEL, got, f"at most {TOLERANCE}", "look for what scripting changes")


def _check_workflow(folder: Path, config: str, kind: str, overrides: dict[str, Any]) -> Iterator[Finding]:
    """Properties of one config."""
    try:
        workflow = ConfigWorkflow(
            config_file=str(folder / config), workflow_type=kind, logging_file=False, **overrides
        )
        workflow.initialize()
        missing = workflow.check_properties()
    except Exception as e:  # whatever an item of the config raises
        yield Finding(
            config, f"its objects cannot be made ({innermost(e)})", "a config that runs", "correct it"
        )
        return
    for name in missing or ():
        yield Finding(config, f"no property {name}", f"what MONAI asks of {kind}", "define it")


def _difference(exported: Any, model: Path) -> float:
    """Largest difference of logits on a fixed random picture."""
    settings = read_weights(model).architecture
    network = SAM2UNet(**settings)
    load_model(network, model)
    generator = torch.Generator().manual_seed(0)
    picture = torch.randn(1, settings["in_channels"], 64, 96, generator=generator)
    with torch.inference_mode():
        return float((exported(picture) - network.eval()(picture)).abs().max())


@contextmanager
def _quiet() -> Iterator[None]:
    """Without MONAI's list of arguments, and torch's notice that TorchScript, which the zoo wants, is old."""
    loggers = [logging.getLogger(f"monai.bundle.{module}") for module in ("scripts", "workflows")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=r".*torch\.jit\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
