"""Quantisation of an ONNX file to 8-bit integers, calibrated on pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from monai_sam2unet.errors import InputError

__all__ = ["quantise"]

QUANTISED = ["Conv", "MatMul", "Gemm"]
"""Kinds of layers that compute in integers; all others stay float32."""


class _Inputs:
    """Inputs one by one, as onnxruntime asks for them."""

    def __init__(self, name: str, inputs: Iterable[NDArray[Any]]) -> None:
        self.name = name
        self.inputs: Iterator[NDArray[Any]] = iter(inputs)

    def get_next(self) -> dict[str, NDArray[Any]] | None:
        """The next input under its name; None at the end."""
        batch = next(self.inputs, None)
        return None if batch is None else {self.name: batch}


def quantise(source: Path, target: Path, inputs: Iterable[NDArray[Any]]) -> None:
    """Write an ONNX file whose convolutions and matrix products compute with 8-bit integers.

    Static quantisation in QDQ form: weights by channel, activations by the range that they have on the
    inputs given. Height, width and batch stay as free as in the source.

    Args:
        source: float32 ONNX file.
        target: file to write; a second one, of the source prepared, is written beside it.
        inputs: inputs of the network to find the ranges with, at least one; some tens of real pictures.

    Raises:
        InputError: if no inputs are given.
    """
    import onnx
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    batches = list(inputs)
    if not batches:
        raise InputError("onnx-int8 needs pictures to calibrate with, got none; give them by --data DIR")
    prepared = target.with_name("prepared.onnx")
    # its symbolic inference of shapes needs none here and fails on free sizes
    quant_pre_process(source, prepared, skip_symbolic_shape=True)
    name = onnx.load(prepared, load_external_data=False).graph.input[0].name
    quantize_static(
        prepared,
        target,
        _Inputs(name, batches),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=QUANTISED,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )
