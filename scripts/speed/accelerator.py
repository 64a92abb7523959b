"""A GPU, where there is one: rates of inference and training, memory, and the latency of a single frame.

Arithmetic is bfloat16 by autocast, and its rate is stated as a part of what the GPU reaches in one large
matrix product. Frames of an endoscope come at 25 to 60 a second: 40 to 17 ms each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from monai_sam2unet import StructureLoss
from monai_sam2unet.networks import SAM2UNet, compile_network
from scripts.speed.network import forward, training_step
from scripts.speed.timing import Comparison, Figure

__all__ = ["comparisons", "on_device"]

PART = "accelerator"
VARIANTS = ("tiny", "small", "base_plus", "large")
SIDES = (352, 1024)
BATCHES = (1, 8, 64)
CALLS = 10
PRODUCT = 8192  # rows and columns of the matrices that the rate is measured by


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """Everything, on the first GPU.

    Args:
        quick: nothing is measured then.

    Yields:
        Comparisons with the plain form and figures; one figure that says so where there is no GPU.
    """
    if quick:
        return
    if not torch.cuda.is_available():
        yield Figure(PART, "everything", "not measured: PyTorch finds no GPU")
        return
    yield from on_device(torch.device("cuda"), VARIANTS, SIDES, BATCHES, PRODUCT)


def on_device(
    device: torch.device,
    variants: tuple[str, ...],
    sides: tuple[int, ...],
    batches: tuple[int, ...],
    product: int,
) -> Iterator[Comparison | Figure]:
    """The same, on any device.

    Args:
        device: where to compute.
        variants: of the encoder.
        sides: of the pictures, pixels.
        batches: pictures at once; what the memory does not hold is left out, and said.
        product: rows and columns of the matrices that the device's own rate is measured by.
    """
    peak = _matrix_rate(device, product)
    yield Figure(PART, f"matrix product {product}, bf16", f"{peak / 1e12:.3g} TFLOP/s")
    for variant in variants:
        yield forward(variant, sides[0], device=str(device))
        yield training_step(variant, sides[0], 1, device=str(device))
        for side in sides:
            yield _latency(device, variant, side)
            for batch in batches:
                for kind, measured in (("inference", _inference), ("training", _training)):
                    name = f"{kind}, {variant}, {side}x{side}, batch {batch}, bf16"
                    work = partial(measured, device, variant, side, batch, peak)
                    yield Figure(PART, name, _within_memory(work))


def _inference(device: torch.device, variant: str, side: int, batch: int, peak: float) -> str:
    """Pictures a second of the form for inference."""
    network, x = SAM2UNet(variant).fuse().to(device), torch.randn(batch, 3, side, side, device=device)

    def work() -> None:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            network(x)

    return _rate(device, work, batch, peak)


def _training(device: torch.device, variant: str, side: int, batch: int, peak: float) -> str:
    """Pictures a second of a training step, with and without activation checkpointing."""
    found = []
    for checkpointing in (False, True):
        network = SAM2UNet(variant).to(device).train()
        network.encoder.set_checkpointing(checkpointing)
        found.append(_rate(device, _training_work(device, network, side, batch), batch, peak))
    return f"{found[0]}; with checkpointing {found[1]}"


def _training_work(device: torch.device, network: SAM2UNet, side: int, batch: int) -> Callable[[], None]:
    """A training step by the paper's recipe."""
    x = torch.randn(batch, 3, side, side, device=device)
    mask = (torch.rand(batch, 1, side, side, device=device) > 0.5).float()
    loss = StructureLoss()
    learning = [p for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(learning, lr=1e-3, fused=True)

    def work() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast(device.type, torch.bfloat16):
            outputs: list[Tensor] = network(x)
        loss([output.float() for output in outputs], mask).backward()
        optimizer.step()

    return work


def _latency(device: torch.device, variant: str, side: int) -> Figure:
    """Milliseconds of one frame from the CPU's memory to the mask there, eager and by CUDA graphs."""
    found = []
    for mode in ("none", "reduce-overhead") if device.type == "cuda" else ("none",):
        network = SAM2UNet(variant).fuse().to(device)
        compile_network(network, mode)
        frame = torch.randn(1, 3, side, side)
        if device.type == "cuda":
            frame = frame.pin_memory()
        found.append(f"{mode}: {1000 * _seconds(device, partial(_frame, network, frame, device)):.2f} ms")
    return Figure(PART, f"one frame, {variant}, {side}x{side}, bf16, compile", ", ".join(found))


def _frame(network: nn.Module, frame: Tensor, device: torch.device) -> Tensor:
    """The mask of one frame."""
    with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
        logits: Tensor = network(frame.to(device, non_blocking=True))
        return (logits > 0).cpu()


def _rate(device: torch.device, work: Callable[[], object], batch: int, peak: float) -> str:
    """Pictures a second, as a part of the device's matrix rate, and the memory that it takes."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with FlopCounterMode(display=False) as counter:
        work()
    seconds = _seconds(device, work)
    share = counter.get_total_flops() / seconds / peak
    memory = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    taken = "" if memory is None else f", {memory:.1f} GiB"
    return f"{batch / seconds:.4g} pictures/s, {100 * share:.0f} % of the matrix rate{taken}"


def _matrix_rate(device: torch.device, side: int) -> float:
    """Floating-point operations a second of one large product in bfloat16."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * side**3 / _seconds(device, partial(torch.mm, a, b))


def _seconds(device: torch.device, work: Callable[[], Any]) -> float:
    """Mean time of some calls in a row, after three that do not count."""
    for _ in range(3):
        work()
    _wait(device)
    start = time.perf_counter()
    for _ in range(CALLS):
        work()
    _wait(device)
    return (time.perf_counter() - start) / CALLS


def _wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _within_memory(measured: Callable[[], str]) -> str:
    """What was measured, or that it does not fit."""
    try:
        return measured()
    except torch.OutOfMemoryError:
        return "does not fit into the memory"
    finally:
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
