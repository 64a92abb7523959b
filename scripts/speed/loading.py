"""From a file to a network that is ready: built and then filled, against built from the file."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import load_network
from scripts.speed.timing import Comparison, Figure

__all__ = ["comparisons", "of_file", "peak"]

PART = "loading"
GOAL = 8.0
PEAK = """
import sys
from pathlib import Path
from monai_sam2unet.networks.weights import load_network
def kilobytes(name):
    return int(next(line for line in open("/proc/self/status") if line.startswith(name)).split()[1])
before = kilobytes("VmRSS")
network = load_network(Path(sys.argv[1]))
print(kilobytes("VmHWM") - before)
"""
"""The kernel's own count: `resource.getrusage` begins with the most that the parent process ever had."""


def comparisons(quick: bool) -> Iterator[Comparison | Figure]:
    """The largest network, in both kinds of files.

    Args:
        quick: nothing is measured then.

    Yields:
        One comparison after the other, and the memory it takes; files are there until the next.
    """
    if quick:
        return
    with tempfile.TemporaryDirectory() as folder:
        for suffix in (".pt", ".safetensors"):
            yield of_file("large", Path(folder, f"model{suffix}"), GOAL)
        if sys.platform == "linux":
            yield peak("large", Path(folder, "model.pt"))


def of_file(variant: str, path: Path, goal: float | None = None) -> Comparison:
    """Write the weights of a network, and load them in two ways.

    Args:
        variant: of the encoder.
        path: file to write, ``.pt`` or ``.safetensors``.
        goal: ratio aimed at.
    """
    made = SAM2UNet(variant)
    write = save_file if path.suffix == ".safetensors" else torch.save
    write(made.state_dict(), str(path))

    def plain() -> SAM2UNet:
        network = SAM2UNet(variant)
        if path.suffix == ".safetensors":
            network.load_state_dict(load_file(path))
        else:
            network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
        return network

    def ours() -> SAM2UNet:
        return load_network(path)

    found, expected = ours().state_dict(), plain().state_dict()
    different = sum(not torch.equal(found[name], tensor) for name, tensor in expected.items())
    name = f"{variant}, {path.suffix}"
    return Comparison(PART, name, plain, ours, different, 0, unit="networks", goal=goal)


def peak(variant: str, path: Path) -> Figure:
    """Memory that loading takes at most, in a process of its own, as a part of the weights.

    Args:
        variant: of the encoder.
        path: its weights.
    """
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], check=True, capture_output=True, text=True)
    share = 1024 * int(done.stdout.split()[-1]) / path.stat().st_size
    return Figure(PART, f"{variant}, {path.suffix}: most memory, of the weights", f"{share:.2f}")
