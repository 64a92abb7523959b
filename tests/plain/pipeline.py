"""The published pipeline of training pictures, written plainly: each picture is opened anew in every epoch.

What a data set class does in its `__getitem__` (https://github.com/WZH0120/SAM2-UNet, dataset.py), with what
torchvision's transforms do there written out: Pillow resizes and flips, NumPy hands over, torch normalises.
"""

import random

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class PlainPictures(Dataset):
    """Pairs of files -> dictionaries of float32: ``image`` (3, size, size), ``label`` (1, size, size)."""

    def __init__(self, pairs: list[tuple[str, str]], size: int, flip: float = 0.5) -> None:
        self.pairs = pairs
        self.size = size
        self.flip = flip

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        image_path, label_path = self.pairs[index]
        image, label = opened(image_path, "RGB"), opened(label_path, "L")
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        label = label.resize((self.size, self.size), Image.Resampling.BICUBIC)
        for way in (Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.FLIP_TOP_BOTTOM):
            if random.random() < self.flip:
                image, label = image.transpose(way), label.transpose(way)
        return {"image": normalised(to_tensor(image)), "label": to_tensor(label)}


def opened(path: str, mode: str) -> Image.Image:
    with open(path, "rb") as file:
        return Image.open(file).convert(mode)


def to_tensor(picture: Image.Image) -> torch.Tensor:
    """(C, H, W), float32 in [0, 1]."""
    array = np.array(picture, copy=True)
    pixels = torch.from_numpy(array[..., None] if array.ndim == 2 else array)
    return pixels.permute(2, 0, 1).contiguous().to(torch.float32).div(255)


def normalised(picture: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    return picture.clone().sub_(mean).div_(std)
