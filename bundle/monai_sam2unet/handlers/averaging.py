"""An average of the weights over the steps of a training, which is validated and kept as the model."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

__all__ = ["WeightAverage"]


class WeightAverage:
    """Exponential moving average of a network's weights (Polyak averaging), updated at every step.

    The average begins young: after ``n`` steps its decay is ``min(decay, (1 + n) / (10 + n))``, so that the
    random weights of the beginning are soon forgotten (TensorFlow's ``ExponentialMovingAverage`` does so).
    Running statistics are averaged with the weights. PyTorch's ``AveragedModel`` does the work; it counts
    the steps in its state, and so a resumed training goes on exactly.

    Args:
        network: the network being trained.
        optimizer: its optimiser; the average follows each of its steps.
        decay: part of the average that a step leaves as it is, above 0 and below 1.

    Raises:
        ValueError: if the decay is out of its range.
    """

    def __init__(self, network: nn.Module, optimizer: Optimizer, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"decay must be above 0 and below 1, got {decay}")
        self.averaged = AveragedModel(network, avg_fn=partial(_mixed, decay), use_buffers=True)
        self.source = network
        optimizer.register_step_post_hook(self._follow)

    @property
    def network(self) -> nn.Module:
        """The network with the averaged weights."""
        return self.averaged.module

    def state_dict(self) -> dict[str, Any]:
        """What a resumed training needs besides the averaged weights: the number of steps."""
        return {"steps": self.averaged.n_averaged}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`; the averaged weights are loaded into `network`."""
        self.averaged.n_averaged.copy_(state["steps"])

    def _follow(self, *_: Any) -> None:
        """Called after a step of the optimiser."""
        self.averaged.update_parameters(self.source)


@torch.no_grad()
def _mixed(decay: float, average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    """The average after one more step; equal weights stay equal to the bit, so frozen ones do."""
    kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
    return average + (current - average) * (1 - kept)
