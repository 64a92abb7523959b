"""SAM2-UNet: SAM 2's encoder with adapters, receptive-field blocks and a U-Net decoder.

Source: Xiong et al., "SAM2-UNet: Segment Anything 2 Makes Strong Encoder for Natural and Medical Image
Segmentation", arXiv 2408.08870, section 2. Receptive-field blocks: Liu et al., arXiv 1711.07767, in the
form that PraNet uses (arXiv 2006.11392).

Shapes: ``B`` batch, ``H W`` height and width in pixels, ``C`` channels, ``K`` output channels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from monai_sam2unet.networks.hiera import Hiera
from monai_sam2unet.networks.positions import KeptPositions
from monai_sam2unet.networks.tuning import apply_tuning

__all__ = ["SIZE_DIVISOR", "SAM2UNet"]

SIZE_DIVISOR = 32
"""Height and width of the network's input must be multiples of this (stride of the last stage)."""


class ConvNorm(nn.Module):
    """Convolution without bias, then batch normalisation, and no activation.

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        kernel: rows and columns of the kernel; the output keeps the input's size.
        dilation: spacing of the kernel's elements.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: tuple[int, int] = (1, 1), dilation: int = 1
    ) -> None:
        super().__init__()
        padding = (dilation * (kernel[0] // 2), dilation * (kernel[1] // 2))
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel, padding=padding, dilation=dilation, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self.bn(self.conv(x))

    def folded(self) -> nn.Conv2d:
        """The same in evaluation mode as one convolution."""
        return fuse_conv_bn_eval(self.conv, self.bn)


def _branch(in_channels: int, out_channels: int, size: int) -> nn.Sequential:
    """Branch of a receptive-field block: 1x1, 1xk, kx1, and 3x3 dilated by k."""
    return nn.Sequential(
        ConvNorm(in_channels, out_channels),
        ConvNorm(out_channels, out_channels, (1, size)),
        ConvNorm(out_channels, out_channels, (size, 1)),
        ConvNorm(out_channels, out_channels, (3, 3), dilation=size),
    )


class ReceptiveFieldBlock(nn.Module):
    """Four branches of growing receptive field, joined, plus a shortcut (arXiv 2408.08870, section 2).

    Args:
        in_channels: channels of the encoder's stage.
        out_channels: channels of the decoder.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.branch0 = nn.Sequential(ConvNorm(in_channels, out_channels))
        self.branch1 = _branch(in_channels, out_channels, 3)
        self.branch2 = _branch(in_channels, out_channels, 5)
        self.branch3 = _branch(in_channels, out_channels, 7)
        self.conv_cat = ConvNorm(4 * out_channels, out_channels, (3, 3))
        self.conv_res = ConvNorm(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        branches = [self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)]
        return F.relu(self.conv_cat(torch.cat(branches, dim=1)) + self.conv_res(x))


class FusedReceptiveFieldBlock(nn.Module):
    """A receptive-field block for inference: its five 1x1 convolutions of the input are one.

    Args:
        block: trained block in evaluation mode; its normalisations are folded into its convolutions.
    """

    def __init__(self, block: ReceptiveFieldBlock) -> None:
        super().__init__()
        branches = [
            _folded(branch) for branch in (block.branch0, block.branch1, block.branch2, block.branch3)
        ]
        self.entry = _joined([*(branch[0] for branch in branches), block.conv_res.folded()])
        self.branch1 = nn.Sequential(*branches[1][1:])
        self.branch2 = nn.Sequential(*branches[2][1:])
        self.branch3 = nn.Sequential(*branches[3][1:])
        self.conv_cat = block.conv_cat.folded()

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        x0, x1, x2, x3, shortcut = self.entry(x).chunk(5, dim=1)
        branches = [x0, self.branch1(x1), self.branch2(x2), self.branch3(x3)]
        return self.conv_cat(torch.cat(branches, dim=1)).add_(shortcut).relu_()


def _folded(branch: nn.Sequential) -> list[nn.Conv2d]:
    """The steps of a branch, each as one convolution."""
    return [step.folded() for step in branch if isinstance(step, ConvNorm)]


def _joined(convolutions: list[nn.Conv2d]) -> nn.Conv2d:
    """One 1x1 convolution that gives the channels of several of one input, one after the other."""
    weights = torch.cat([c.weight for c in convolutions])
    biases = torch.cat([c.bias for c in convolutions if c.bias is not None])
    joined = nn.Conv2d(weights.shape[1], len(weights), 1, device="meta")
    joined.weight, joined.bias = nn.Parameter(weights), nn.Parameter(biases)
    return joined


class DoubleConv(nn.Module):
    """3x3 convolution, batch normalisation, ReLU, twice (names as in the published checkpoint)."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.double_conv = nn.Sequential(
            nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
            nn.ReLU(inplace=True),
        )

    def forward(self, x: Tensor) -> Tensor:
        """(B, in_channels, H, W) -> (B, out_channels, H, W)."""
        return self.double_conv(x)

    def fold(self) -> None:
        """Fold the normalisations into the convolutions; the same in evaluation mode."""
        steps: list[nn.Module] = []
        for step in self.double_conv:
            if isinstance(step, nn.BatchNorm2d):
                convolution = steps.pop()
                assert isinstance(convolution, nn.Conv2d)
                step = fuse_conv_bn_eval(convolution, step)
            steps.append(step)
        self.double_conv = nn.Sequential(*steps)


class DecoderStep(nn.Module):
    """Double the deep map's size, join it to the skip connection, convolve twice.

    Args:
        channels: channels of both inputs and of the output.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = DoubleConv(2 * channels, channels)

    def forward(self, deep: Tensor, skip: Tensor) -> Tensor:
        """Deep (B, C, H/2, W/2) and skip (B, C, H, W) -> (B, C, H, W)."""
        up = F.interpolate(deep, scale_factor=2.0, mode="bilinear", align_corners=True)
        return self.conv(torch.cat([skip, up], dim=1))


class SAM2UNet(nn.Module):
    """SAM2-UNet for 2D segmentation.

    In training mode a forward pass gives three logit maps for deep supervision, in evaluation mode the
    main one alone. In the paper the encoder keeps SAM 2's weights and only its adapters learn
    (``tuning="adapters"``); from scratch it must learn too (``tuning="full"``).

    Args:
        variant: size of the encoder: ``nano``, ``tiny``, ``small``, ``base_plus`` or ``large`` (paper).
        in_channels: channels of the picture. When weights made for three channels are loaded for another
            number ``n``, every channel of the first layer gets the sum of the three kernels divided by
            ``n``: a picture that repeats one grey channel gives the same response as its RGB form
            (see `monai_sam2unet.networks.weights.fit_first_layer`).
        out_channels: channels ``K`` of every output: classes or independent structures.
        adapter_dim: channels of each adapter's bottleneck; 0 leaves the adapters out.
        decoder_channels: channels of the receptive-field blocks and of the decoder; the configs give
            ``nano`` 32, which makes it a network of 1.3 million parameters.
        tuning: what of the encoder learns (all else always does): ``adapters`` (paper), ``full``: all of
            it, ``frozen``: nothing, ``lora``: low-rank updates of the attention and adapters, ``bitfit``:
            biases and adapters (see `monai_sam2unet.networks.tuning`).
        lora_rank: rank of the updates of ``lora``.
        lora_alpha: the updates of ``lora`` are multiplied by ``lora_alpha / lora_rank``.

    Attributes:
        fused: whether `fuse` has made it one for inference alone.

    Raises:
        ValueError: if the variant or the tuning is unknown or a number is too small.

    Example:
        >>> network = SAM2UNet("nano").eval()
        >>> network(torch.zeros(1, 3, 64, 96)).shape
        torch.Size([1, 1, 64, 96])
    """

    def __init__(
        self,
        variant: str = "large",
        in_channels: int = 3,
        out_channels: int = 1,
        adapter_dim: int = 32,
        decoder_channels: int = 64,
        tuning: str = "adapters",
        lora_rank: int = 8,
        lora_alpha: float = 16.0,
    ) -> None:
        super().__init__()
        for name, value in (("out_channels", out_channels), ("decoder_channels", decoder_channels)):
            if value < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        self.in_channels = in_channels
        self.fused = False
        self.encoder = Hiera(variant, in_channels, adapter_dim)
        c1, c2, c3, c4 = self.encoder.channels
        self.rfb1 = ReceptiveFieldBlock(c1, decoder_channels)
        self.rfb2 = ReceptiveFieldBlock(c2, decoder_channels)
        self.rfb3 = ReceptiveFieldBlock(c3, decoder_channels)
        self.rfb4 = ReceptiveFieldBlock(c4, decoder_channels)
        self.up1 = DecoderStep(decoder_channels)
        self.up2 = DecoderStep(decoder_channels)
        self.up3 = DecoderStep(decoder_channels)
        self.side1 = nn.Conv2d(decoder_channels, out_channels, 1)
        self.side2 = nn.Conv2d(decoder_channels, out_channels, 1)
        self.head = nn.Conv2d(decoder_channels, out_channels, 1)
        apply_tuning(self, tuning, lora_rank, lora_alpha)

    def trainable_names(self) -> list[str]:
        """Names of the parameters that training changes, in the order of `named_parameters`."""
        return [name for name, parameter in self.named_parameters() if parameter.requires_grad]

    def fuse(self) -> SAM2UNet:
        """Make this a network for inference alone: the same function, but for rounding, in less time.

        Normalisations are folded into the convolutions before them, and the convolutions of a
        receptive-field block that read the same input become one. The position embedding is computed only
        where the pictures' size changes. The decoder's tensors have other names and shapes then: what is to
        be saved, or to load weights, must not be fused.

        Returns:
            The network itself, in evaluation mode; nothing of it learns any more.
        """
        self.eval()
        if not self.fused:
            for name in ("rfb1", "rfb2", "rfb3", "rfb4"):
                setattr(self, name, FusedReceptiveFieldBlock(getattr(self, name)))
            for step in (self.up1, self.up2, self.up3):
                step.conv.fold()
            self.encoder.kept_positions = KeptPositions()
            self.requires_grad_(False)
            self.fused = True
        return self

    def decode(self, x: Tensor) -> list[Tensor]:
        """Decoder maps of strides 16, 8 and 4, each (B, decoder_channels, H / stride, W / stride)."""
        s1, s2, s3, s4 = self.encoder(x)
        d16 = self.up1(self.rfb4(s4), self.rfb3(s3))
        d8 = self.up2(d16, self.rfb2(s2))
        d4 = self.up3(d8, self.rfb1(s1))
        return [d16, d8, d4]

    def outputs(self, x: Tensor) -> list[Tensor]:
        """All three logit maps, in either mode.

        Args:
            x: normalised pictures, (B, in_channels, H, W), both sides multiples of 32.

        Returns:
            ``[main, side1, side2]``, from decoder strides 4, 16 and 8, each (B, K, H, W).

        Raises:
            ValueError: if the input has another number of channels or a side is no multiple of 32.
        """
        self.check_input(x)
        d16, d8, d4 = self.decode(x)
        return [
            _resized(self.head(d4), 4.0),
            _resized(self.side1(d16), 16.0),
            _resized(self.side2(d8), 8.0),
        ]

    # no return annotation: TorchScript compiles only the branch that gives one tensor
    def forward(self, x: Tensor):  # type: ignore[no-untyped-def]
        """Segment pictures.

        Args:
            x: normalised pictures, (B, in_channels, H, W), both sides multiples of 32.

        Returns:
            In evaluation mode the main logits, (B, K, H, W). In training mode the list
            ``[main, side1, side2]`` of logits, each (B, K, H, W) (see `outputs`).

        Raises:
            ValueError: if the input has another number of channels or a side is no multiple of 32.
        """
        if self.training and not torch.jit.is_scripting():
            return self.outputs(x)
        self.check_input(x)
        return _resized(self.head(self.decode(x)[2]), 4.0)

    def check_input(self, x: Tensor) -> None:
        """Raise ValueError unless ``x`` is (B, in_channels, 32 n, 32 m)."""
        if torch.jit.is_tracing():
            return  # shapes are symbols there; the picture that is traced was checked by hand
        if x.dim() != 4 or x.shape[1] != self.in_channels:
            raise ValueError(
                f"input must be (batch, {self.in_channels}, height, width), got shape {list(x.shape)}; "
                "convert the pictures or build SAM2UNet with the in_channels that they have"
            )
        h, w = x.shape[2], x.shape[3]
        if h % 32 != 0 or w % 32 != 0 or h == 0 or w == 0:
            ph, pw = max((h + 31) // 32, 1) * 32, max((w + 31) // 32, 1) * 32
            raise ValueError(f"height and width must be multiples of 32, got {h}x{w}; pad to {ph}x{pw}")


def _resized(logits: Tensor, factor: float) -> Tensor:
    """Enlarge logits to the input's size: (B, K, H, W) -> (B, K, factor H, factor W)."""
    return F.interpolate(logits, scale_factor=factor, mode="bilinear", align_corners=False)
