"""The average of the weights: its formula, what stays equal, and a run with it."""

import pytest
import torch

from monai_sam2unet.handlers import WeightAverage


def test_formula():
    """Against a loop over plain numbers, from the definition."""
    torch.manual_seed(0)
    network = torch.nn.Linear(3, 2)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    average = WeightAverage(network, optimizer, decay=0.6)
    expected = None
    for step in range(12):
        network(torch.randn(4, 3)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        now = network.weight.detach().double()
        kept = min(0.6, (1 + step) / (10 + step))
        expected = now if expected is None else kept * expected + (1 - kept) * now
    torch.testing.assert_close(average.network.weight.double(), expected, rtol=1e-6, atol=1e-7)
    assert not torch.equal(average.network.weight, network.weight)
    assert int(average.state_dict()["steps"]) == 12


def test_frozen_weights_stay_equal_and_statistics_follow():
    network = torch.nn.Sequential(torch.nn.Linear(3, 3), torch.nn.BatchNorm1d(3))
    network[0].requires_grad_(False)
    optimizer = torch.optim.AdamW(network[1].parameters(), lr=0.1)
    average = WeightAverage(network, optimizer, decay=0.9)
    for _ in range(20):
        network(torch.randn(8, 3)).sum().backward()
        optimizer.step()
    assert torch.equal(average.network[0].weight, network[0].weight)
    means = average.network[1].running_mean, network[1].running_mean
    assert not torch.equal(*means) and (means[0] - means[1]).abs().max() < 1
    assert not average.network[0].weight.requires_grad


@pytest.mark.parametrize("decay", [0, 1, -0.5])
def test_bad_decay(decay):
    network = torch.nn.Linear(1, 1)
    with pytest.raises(ValueError, match="above 0 and below 1"):
        WeightAverage(network, torch.optim.SGD(network.parameters(), lr=0.1), decay)
