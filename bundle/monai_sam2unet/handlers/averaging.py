"""Averages: of the weights over the steps of a training, and of running statistics over its processes."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

import ignite.distributed as idist
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.optim import Optimizer
from torch.optim.swa_utils import AveragedModel

__all__ = ["SharedStatistics", "WeightAverage"]


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


class SharedStatistics:
    """Give all processes the mean of their running statistics at the end of every epoch.

    Each process normalises its own batches and so keeps running means and variances of its own pictures. The
    mean of them is of all pictures; what is validated and saved does not depend on the process then.

    Args:
        network: the network being trained.
        average: an average of its weights, which has running statistics as well; None if there is none.
    """

    def __init__(self, network: nn.Module, average: WeightAverage | None = None) -> None:
        self.networks = [network] if average is None else [network, average.network]

    def attach(self, engine: Engine) -> None:
        """Register with a trainer, before the handlers that validate and save."""
        engine.add_event_handler(Events.EPOCH_COMPLETED, self)

    @torch.no_grad()
    def __call__(self, engine: Engine) -> None:
        """Exchange all statistics in one message."""
        layers = [m for network in self.networks for m in network.modules() if isinstance(m, _BatchNorm)]
        statistics = [s for m in layers for s in (m.running_mean, m.running_var) if s is not None]
        if not statistics:
            return
        mean = idist.all_reduce(torch.cat(statistics)) / idist.get_world_size()
        for old, new in zip(statistics, mean.split([len(s) for s in statistics]), strict=True):
            old.copy_(new)


@torch.no_grad()
def _mixed(decay: float, average: Tensor, current: Tensor, steps: Tensor | int) -> Tensor:
    """The average after one more step; equal weights stay equal to the bit, so frozen ones do."""
    kept = min(decay, (1 + int(steps)) / (10 + int(steps)))
    return average + (current - average) * (1 - kept)
