"""One writer and one reader for each format, of a common form.

Shapes: ``B`` batch, ``H W`` rows and columns in pixels, ``K`` output channels.
"""

from __future__ import annotations

import importlib.util
import io
import logging
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from monai_sam2unet.errors import InputError
from monai_sam2unet.export.inputs import MEAN, STD
from monai_sam2unet.export.packed import PackedNetwork, for_inference, for_torch_export
from monai_sam2unet.files import write_atomically, write_json
from monai_sam2unet.networks import SIZE_DIVISOR, SAM2UNet

__all__ = ["FORMATS", "Format", "check_packages", "export", "runner"]

logger = logging.getLogger(__name__)

Array = NDArray[Any]
Runner = Callable[[Array], Array]
Network = SAM2UNet | PackedNetwork

ONNX_OPSET = 18

# Exported with room for at least two windows of every variant and stage both ways, as rows differ from
# columns: torch.export would otherwise note "one window" as a property of all pictures.
EXAMPLE = (288, 320)

TOP = 256
"""Largest multiple of 32 that a dynamic torch.export program is made for (8192 pixels)."""


@dataclass(frozen=True)
class Format:
    """A way to store the network.

    Attributes:
        file: name of its file.
        packages: what it needs beside the package's own requirements.
        write: is given the module (evaluation mode), the path, the side in pixels or None for any size, and
            inputs to calibrate with.
        load: gives a function of arrays for a path.
        fixed: whether a file can be made for one size; else it takes any.
    """

    file: str
    packages: tuple[str, ...]
    write: Callable[[Network, Path, int | None, Iterable[Array]], None]
    load: Callable[[Path], Runner]
    fixed: bool = True


def export(
    network: Network,
    path: str | Path,
    kind: str,
    *,
    size: int | None = None,
    calibration: Iterable[Array] = (),
    threshold: float = 0.5,
) -> Path:
    """Write a network in a format, and beside it ``<file>.json``: how its input is made and what it gives.

    Args:
        network: logits from normalised pictures, or with pre- and post-processing packed.
        path: file to write; parent folders are made.
        kind: one of `FORMATS`.
        size: side of the only input taken, pixels, which makes a graph without padding; None for any height
            and width divisible by 32. TorchScript takes any size, without padding. The batch is always free.
        calibration: inputs of the network, batch by batch; needed by ``onnx-int8``.
        threshold: of the probability, noted in the JSON file.

    Returns:
        The path.

    Raises:
        InputError: if the format is unknown, a package is missing, the size does not fit, or a file cannot be
            written.
    """
    path = Path(path)
    chosen = _format(kind)
    check_packages([kind])
    if size is not None and (size < SIZE_DIVISOR or size % SIZE_DIVISOR):
        raise InputError(f"size must be a multiple of {SIZE_DIVISOR} pixels or dynamic, got {size}")
    size = size if chosen.fixed else None
    with torch.no_grad():
        chosen.write(for_inference(network, size), path, size, calibration)
    write_json(path.with_name(path.name + ".json"), _description(network, kind, size, threshold))
    return path


def runner(path: str | Path, kind: str) -> Runner:
    """A function that runs a written file on the CPU, on as many threads as PyTorch has.

    Args:
        path: written by `export`.
        kind: one of `FORMATS`.

    Returns:
        Takes and gives arrays: float32 (B, C, H, W) to logits (B, K, H, W); of a `PackedNetwork`, uint8
        (B, H, W, 3) to probabilities (B, K, H, W).

    Raises:
        InputError: if the format is unknown, a package is missing, or there is no such file.
    """
    chosen = _format(kind)
    check_packages([kind])
    if not Path(path).is_file():
        raise InputError(f"{path}: no such file; write it with `python -m scripts.export --format {kind}`")
    return chosen.load(Path(path))


def check_packages(kinds: Iterable[str]) -> None:
    """Raise InputError, with the command that installs them, if packages of these formats are missing."""
    wanted = dict.fromkeys(package for kind in kinds for package in _format(kind).packages)
    missing = [package for package in wanted if importlib.util.find_spec(package) is None]
    if missing:
        raise InputError(
            f"{', '.join(kinds)}: {' and '.join(missing)} not installed (for {sys.executable}); run "
            f"`make exports`, or {sys.executable} -m pip install {' '.join(missing)}"
        )


def _format(kind: str) -> Format:
    """The format of that name."""
    if kind not in FORMATS:
        raise InputError(f"format must be one of {', '.join(FORMATS)}, got {kind!r}")
    return FORMATS[kind]


def _description(network: Network, kind: str, size: int | None, threshold: float) -> dict[str, Any]:
    """What a program must know to use the file."""
    packed = isinstance(network, PackedNetwork)
    side = "32*n" if size is None else size
    channels = 3 if isinstance(network, PackedNetwork) else network.in_channels
    return {
        "format": kind,
        "input": {
            "name": "image",
            "dtype": "uint8" if packed else "float32",
            "shape": ["batch", side, side, 3] if packed else ["batch", channels, side, side],
            "colour": "RGB",
            "mean": None if packed else MEAN,
            "std": None if packed else STD,
        },
        "output": {"name": _output_name(network), "dtype": "float32"},
        "threshold_of_probability": threshold,
        "torch": torch.__version__,
    }


def _output_name(network: Network) -> str:
    """What the output is called in formats that name it."""
    return "probability" if isinstance(network, PackedNetwork) else "logits"


def _example(network: Network, size: int | None) -> torch.Tensor:
    """An input to export with."""
    rows, columns = EXAMPLE if size is None else (size, size)
    if isinstance(network, PackedNetwork):
        return torch.zeros(2, rows, columns, 3, dtype=torch.uint8)
    return torch.zeros(2, network.in_channels, rows, columns)


def _axes(network: Network) -> tuple[int, int]:
    """Which axes of the input are rows and columns."""
    return (1, 2) if isinstance(network, PackedNetwork) else (2, 3)


def _write_torchscript(network: Network, path: Path, size: int | None, calibration: Iterable[Array]) -> None:
    scripted = torch.jit.script(network)
    write_atomically(path, lambda file: torch.jit.save(scripted, file))


def _load_torchscript(path: Path) -> Runner:
    return _torch_runner(torch.jit.load(str(path)))


def _write_pt2(network: Network, path: Path, size: int | None, calibration: Iterable[Array]) -> None:
    shapes: dict[int, Any] = {0: torch.export.Dim("batch", min=1, max=1024)}
    if size is None:
        rows, columns = _axes(network)
        shapes[rows] = SIZE_DIVISOR * torch.export.Dim("rows", min=1, max=TOP)
        shapes[columns] = SIZE_DIVISOR * torch.export.Dim("columns", min=1, max=TOP)
    example = _example(network, size)
    made = for_torch_export(network) if size is None else network
    program = torch.export.export(made, (example,), dynamic_shapes=(shapes,), strict=False)
    stream = io.BytesIO()
    torch.export.save(program, stream)
    write_atomically(path, lambda file: file.write(stream.getbuffer()))


def _load_pt2(path: Path) -> Runner:
    # its guards refuse what the example did not show, such as a picture of one window, and are not needed for
    # a right result, which the tests show
    return _torch_runner(torch.export.load(str(path)).module(check_guards=False))


def _write_onnx(network: Network, path: Path, size: int | None, calibration: Iterable[Array]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.onnx")
        _trace_onnx(network, file, size)
        _put(file, path)


def _trace_onnx(network: Network, path: Path, size: int | None) -> None:
    """Export by tracing: sizes that are no plain numbers stay calculations on the input's shape."""
    rows, columns = _axes(network)
    taken, given = {0: "batch"}, {0: "batch"}
    if size is None:
        taken |= {rows: "height", columns: "width"}
        given |= {2: "height", 3: "width"}
    output = _output_name(network)
    with warnings.catch_warnings():
        # torch.export's own ONNX exporter does not get through these shapes in reasonable time
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (_example(network, size),),
            str(path),
            dynamo=False,
            opset_version=ONNX_OPSET,
            input_names=["image"],
            output_names=[output],
            dynamic_axes={"image": taken, output: given},
        )


def _load_onnx(path: Path) -> Runner:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda x: np.asarray(session.run(None, {name: x})[0])


def _write_onnx_int8(network: Network, path: Path, size: int | None, calibration: Iterable[Array]) -> None:
    from monai_sam2unet.export.int8 import quantise

    with tempfile.TemporaryDirectory() as folder:
        _trace_onnx(network, Path(folder, "model.onnx"), size)
        quantise(Path(folder, "model.onnx"), Path(folder, "int8.onnx"), calibration)
        _put(Path(folder, "int8.onnx"), path)


def _write_openvino(network: Network, path: Path, size: int | None, calibration: Iterable[Array]) -> None:
    import openvino

    with tempfile.TemporaryDirectory() as folder:
        _trace_onnx(network, Path(folder, "model.onnx"), size)
        model = openvino.convert_model(Path(folder, "model.onnx"))
        openvino.save_model(model, Path(folder, "model.xml"), compress_to_fp16=False)
        # the weights first: with the new graph in place they must be there
        for suffix in (".bin", ".xml"):
            _put(Path(folder, "model").with_suffix(suffix), path.with_suffix(suffix))


def _load_openvino(path: Path) -> Runner:
    import openvino

    # without the hint, processors that have bfloat16 would compute in it
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": torch.get_num_threads()}
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda x: np.asarray(compiled(x)[0])


def _put(source: Path, target: Path) -> None:
    """Copy a finished file to its place."""
    write_atomically(target, lambda file: file.write(source.read_bytes()))


def _torch_runner(module: Any) -> Runner:
    """A module as a function of arrays."""

    def run(x: Array) -> Array:
        with torch.inference_mode():
            return np.asarray(module(torch.from_numpy(x)).numpy())

    return run


FORMATS: dict[str, Format] = {
    "torchscript": Format("model.ts", (), _write_torchscript, _load_torchscript, fixed=False),
    "pt2": Format("model.pt2", (), _write_pt2, _load_pt2),
    "onnx": Format("model.onnx", ("onnx", "onnxruntime"), _write_onnx, _load_onnx),
    "onnx-int8": Format("model_int8.onnx", ("onnx", "onnxruntime"), _write_onnx_int8, _load_onnx),
    "openvino": Format("model.xml", ("onnx", "openvino"), _write_openvino, _load_openvino),
}
"""All formats by name."""
