"""SAM2-UNet in its plain form: all three outputs whatever the mode, windows padded, normalisations apart."""

import copy

from torch import Tensor, nn

from monai_sam2unet.networks import VARIANTS, SAM2UNet
from tests.plain.hiera import PlainHiera


class PlainSAM2UNet(nn.Module):
    """The plain encoder before the decoder as it is trained; of each tensor a copy.

    The same learns as in the network that it is made of: (B, C, H, W) -> three logits of (B, K, H, W).
    """

    def __init__(self, network: SAM2UNet, variant: str, adapter_dim: int = 32) -> None:
        super().__init__()
        encoder = PlainHiera(VARIANTS[variant], network.in_channels, adapter_dim)
        encoder.to(network.head.weight).load_state_dict(network.encoder.state_dict())
        learning = dict(network.encoder.named_parameters())
        for name, parameter in encoder.named_parameters():
            parameter.requires_grad_(learning[name].requires_grad)
        self.network = copy.deepcopy(network)
        self.network.encoder = encoder  # type: ignore[assignment]

    def forward(self, x: Tensor) -> list[Tensor]:
        return self.network.outputs(x)
