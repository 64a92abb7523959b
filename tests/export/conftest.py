"""A small network whose masks are neither empty nor full."""

import pytest
import torch

from monai_sam2unet.networks import SAM2UNet


def made(seed=0):
    """Nano with random weights; running statistics from noise, logits of mean 0 and deviation 3 on it."""
    torch.manual_seed(seed)
    network = SAM2UNet("nano", decoder_channels=8, adapter_dim=4, tuning="full")
    noise = torch.randn(4, 3, 64, 64)
    with torch.no_grad():
        for _ in range(20):  # of momentum 0.1: the statistics come within 12 % (0.9^20) of the noise's
            network.train()(noise)
        logits = network.eval()(noise)
        scale = 3 / logits.std()
        network.head.weight.mul_(scale)
        network.head.bias.copy_((network.head.bias - logits.mean()) * scale)
    return network


@pytest.fixture(scope="session")
def network():
    return made()


@pytest.fixture(scope="session")
def model_file(network, tmp_path_factory):
    """model.pt of that network with its settings beside it, as a training leaves them."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.save(network.state_dict(), path)
    path.with_suffix(".json").write_text('{"input_size": 64, "threshold": 0.5}')
    return path
