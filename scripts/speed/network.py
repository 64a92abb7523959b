"""The network, plain and ours: forward, training steps, and where the time of a step goes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from monai_sam2unet import StructureLoss
from monai_sam2unet.networks import SAM2UNet
from scripts.speed.timing import Comparison, Figure
from tests.plain.loss import structure_loss
from tests.plain.network import PlainSAM2UNet

__all__ = ["comparisons", "exactness", "forward", "kinds_of_time", "training_step"]

FORWARD = "forward"
TRAINING = "training"
EXACT = "exactness"
PROFILE = "profile"
ALLOWED = 2e-5
"""Largest difference of logits in float32, of the largest logit."""

ALLOWED_GRADIENTS = 1e-3
"""Largest difference of gradients in float32, of the largest one; cancelling sums lose bits in both forms."""

KINDS = {
    "matrix products": ("aten::addmm", "aten::mm", "aten::bmm", "aten::_addmm_activation"),
    "attention": ("scaled_dot_product",),
    "convolutions": ("convolution", "slow_conv", "conv_depthwise"),
    "normalisation": ("layer_norm", "batch_norm"),
    "activations": ("gelu", "relu", "threshold", "sigmoid"),
    "copies and sums": ("aten::copy_", "aten::cat", "aten::add", "aten::sum", "aten::mul", "aten::fill_"),
    "resizing and pooling": ("upsample", "max_pool"),
    "AdamW": ("adam",),
}
"""What operators do, by parts of PyTorch's names for them; the first that fits counts."""


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """Networks of random weights, of pictures of random values.

    Args:
        quick: only what guards against a regression.

    Yields:
        One comparison after the other; agreement in float64 and the profile of a training step as figures.
    """
    yield forward("large", 352, goal=1.3, guard=1.1)
    yield forward("tiny", 352, goal=1.2, guard=1.0)
    if quick:
        return
    yield forward("base_plus", 256, goal=1.4)
    yield forward("base_plus", 352)
    yield forward("small", 352)
    yield forward("nano", 224)
    yield forward("tiny", 352, batch=8)
    yield training_step("large", 352, batch=1, goal=1.4)
    yield training_step("tiny", 352, batch=4, goal=1.3)
    for variant in ("tiny", "large"):
        yield exactness(variant, 352)
    yield from kinds_of_time("large", 352)


def forward(
    variant: str,
    side: int,
    batch: int = 1,
    goal: float | None = None,
    guard: float | None = None,
    device: str = "cpu",
) -> Comparison:
    """Logits of pictures: the published network against the form for inference.

    Args:
        variant: of the encoder.
        side: of the pictures, pixels.
        batch: pictures at once.
        goal: ratio aimed at.
        guard: least ratio.
        device: where to compute.
    """
    network = _network(variant).to(device).eval()
    plain = PlainSAM2UNet(network, variant).to(device).eval()
    network.fuse()
    x = _pictures(batch, side).to(device)

    def plain_way() -> Tensor:
        with torch.no_grad():
            return _done(plain(x)[0])

    def ours() -> Tensor:
        with torch.inference_mode():
            return _done(network(x))

    name = f"{variant}, {side}x{side}, batch {batch}{_on(device)}"
    apart = _apart(ours(), plain_way())
    return Comparison(FORWARD, name, plain_way, ours, apart, ALLOWED, items=batch, goal=goal, guard=guard)


def training_step(
    variant: str, side: int, batch: int, device: str = "cpu", goal: float | None = None
) -> Comparison:
    """Forward, loss over three outputs, backward and AdamW of the paper's recipe, on one batch.

    Args:
        variant: of the encoder.
        side: of the pictures, pixels.
        batch: pictures of a step.
        device: where to compute.
        goal: ratio aimed at.
    """
    network = _network(variant).to(device).train()
    plain = PlainSAM2UNet(network, variant).to(device).train()
    x, mask = _pictures(batch, side).to(device), _mask(batch, side).to(device)
    plain_way = _step(plain, lambda outputs: structure_loss(outputs, mask, "legacy"), x, fused=None)
    ours = _step(network, lambda outputs: StructureLoss("legacy")(outputs, mask), x, fused=True)
    plain_way()
    ours()
    apart = _apart(_gradients(network), _gradients(plain))
    name = f"step, {variant}, {side}x{side}, batch {batch}{_on(device)}"
    return Comparison(TRAINING, name, plain_way, ours, apart, ALLOWED_GRADIENTS, items=batch, goal=goal)


def exactness(variant: str, side: int) -> Figure:
    """Largest difference of the encoder's maps, and of its gradients, in float64 from the plain form.

    Args:
        variant: of the encoder.
        side: of the picture, pixels.
    """
    network = _network(variant).double()
    plain = PlainSAM2UNet(network, variant).network
    x = _pictures(1, side).double()
    maps: list[Sequence[Tensor]] = []
    for encoder in (network.encoder, plain.encoder):
        stages = encoder(x)
        maps.append([stage.detach() for stage in stages])
        sum(stage.square().mean() for stage in stages).backward()
    values = max(_apart(one, other) for one, other in zip(*maps, strict=True))
    gradients = _apart(_gradients(network.encoder), _gradients(plain.encoder))
    text = f"maps {values:.1e}, gradients {gradients:.1e} of the largest"
    return Figure(EXACT, f"encoder in float64, {variant}, {side}x{side}", text)


def kinds_of_time(variant: str, side: int) -> Iterator[Figure]:
    """Shares of a training step of one picture, by PyTorch's profiler.

    Args:
        variant: of the encoder.
        side: of the picture, pixels.
    """
    network, mask = _network(variant).train(), _mask(1, side)
    step = _step(
        network, lambda outputs: StructureLoss("legacy")(outputs, mask), _pictures(1, side), fused=True
    )
    step()
    with profile(activities=[ProfilerActivity.CPU]) as found:
        for _ in range(3):
            step()
    times: dict[str, float] = {}
    for event in found.key_averages():
        kind = next((k for k, parts in KINDS.items() if any(part in event.key for part in parts)), "other")
        times[kind] = times.get(kind, 0.0) + event.self_cpu_time_total
    whole = sum(times.values())
    for kind, time in sorted(times.items(), key=lambda item: -item[1]):
        yield Figure(
            PROFILE,
            f"training step, {variant}, {side}x{side}, batch 1: {kind}",
            f"{100 * time / whole:.1f} %",
        )


def _network(variant: str) -> SAM2UNet:
    """A network whose normalisations and biases do something, of the configs' settings."""
    torch.manual_seed(0)
    network = SAM2UNet(variant, decoder_channels=32 if variant == "nano" else 64)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
        if isinstance(module, nn.Linear):
            nn.init.normal_(module.bias, std=0.02)
    return network


def _pictures(batch: int, side: int) -> Tensor:
    """Values as those of normalised pictures: (B, 3, side, side)."""
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(0))


def _mask(batch: int, side: int) -> Tensor:
    """One rectangle: (B, 1, side, side)."""
    mask = torch.zeros(batch, 1, side, side)
    mask[..., side // 4 : side // 2, side // 3 : side // 4 * 3] = 1
    return mask


def _step(
    network: nn.Module, loss: Callable[[Any], Tensor], x: Tensor, fused: bool | None
) -> Callable[[], None]:
    """A training step; its gradients stay until the next."""
    learning = [p for p in network.parameters() if p.requires_grad]
    # no rate: every round begins with the same weights
    optimizer = torch.optim.AdamW(learning, lr=0.0, weight_decay=5e-4, fused=fused)

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        value = loss(network(x))
        value.backward()
        optimizer.step()
        _done(value)

    return step


def _on(device: str) -> str:
    """Where, unless it is the CPU."""
    return "" if device == "cpu" else f", {device}"


def _done(x: Tensor) -> Tensor:
    """Wait until a device has computed it."""
    if x.is_cuda:
        torch.cuda.synchronize(x.device)
    return x


def _gradients(network: nn.Module) -> Tensor:
    """All gradients, one after the other in the order of the parameters."""
    return torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None])


def _apart(one: Tensor, other: Tensor) -> float:
    """Largest difference, of the largest value."""
    return ((one - other).abs().max() / other.abs().max()).item()
