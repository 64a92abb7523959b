"""From logits to figures as the published test and evaluation programs go: map by map through PNG files.

Written from docs/metrics.md (protocol `paper`), with each figure as its paper defines it, from the whole
picture and threshold by threshold: what ours is compared with, in its values and in its time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import ndimage

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
EPSILON = float(np.spacing(1.0))

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


def segment_step(
    picture: Path, mask: Path, target: Path, network: Callable[[torch.Tensor], torch.Tensor], side: int = 352
) -> None:
    """Read a picture and its mask, segment, and write the map."""
    with Image.open(picture) as opened:
        rgb = opened.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
    with Image.open(mask) as opened:
        truth = np.asarray(opened.convert("L"), np.float32)
    image = torch.from_numpy(np.array(rgb)).permute(2, 0, 1).contiguous().float() / 255
    image = (image - torch.tensor(MEAN).view(3, 1, 1)) / torch.tensor(STD).view(3, 1, 1)
    with torch.no_grad():
        logits = network(image[None])
        logits = F.interpolate(logits, size=truth.shape, mode="bilinear", align_corners=False)
        found = logits.sigmoid().cpu().numpy().squeeze()
    found = (found - found.min()) / (found.max() - found.min() + 1e-8)
    Image.fromarray((found * 255).astype(np.uint8)).save(target)


def evaluation_step(
    maps: Iterable[Path],
    masks: Iterable[Path],
    weighted: bool = True,
    scored: Callable[[Sequence[tuple[Bytes, Bytes]], bool], dict[str, float]] | None = None,
) -> dict[str, float]:
    """Read the maps and masks and score them, by `figures` if nothing else is given."""
    pairs = []
    for paths in zip(maps, masks, strict=True):
        with Image.open(paths[0]) as levels, Image.open(paths[1]) as truth:
            pairs.append((np.asarray(levels.convert("L")), np.asarray(truth.convert("L"))))
    return (scored or figures)(pairs, weighted)


def figures(pairs: Sequence[tuple[Bytes, Bytes]], weighted: bool = True) -> dict[str, float]:
    """The figures of a set of maps and masks."""
    return mean_figures([one_picture(*pair, weighted) for pair in pairs])


def one_picture(levels: Bytes, mask: Bytes, weighted: bool = True) -> dict[str, Any]:
    """Figures and curves of one picture; each figure starts from the files' values, as a class of its own."""
    made: dict[str, Any] = {
        "Smeasure": s_measure(*prepared(levels, mask)),
        "MAE": np.abs(np.subtract(*prepared(levels, mask))).mean(),
        **f_measure(*prepared(levels, mask)),
        **e_measure(*prepared(levels, mask)),
        **dice_and_iou(*prepared(levels, mask)),
    }
    return {**made, "wFmeasure": weighted_f(*prepared(levels, mask))} if weighted else made


def mean_figures(pictures: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means over pictures; of curves the mean and the greatest value of the mean curve."""
    made = {}
    for name in pictures[0]:
        mean = np.mean([picture[name] for picture in pictures], axis=0)
        if mean.ndim == 0:
            made[name] = float(mean)
        else:
            made |= {f"mean{name}": float(mean.mean()), f"max{name}": float(mean.max())}
    return made


def prepared(levels: Bytes, mask: Bytes) -> tuple[Floats, Bools]:
    """The map stretched to [0, 1], and the mask."""
    found = levels / 255
    if found.max() != found.min():
        found = (found - found.min()) / (found.max() - found.min())
    return found, mask > 128


def binary_maps(found: Floats) -> Iterable[Bools]:
    """The map at all thresholds."""
    levels = (found * 255).astype(np.uint8)
    for threshold in range(256):
        yield levels >= threshold


def adaptive_map(found: Floats) -> Bools:
    """The map at twice its mean."""
    return found >= min(2 * found.mean(), 1)


def counts(binary: Bools, truth: Bools) -> tuple[int, int, int, int]:
    """True positives, false positives, false negatives, true negatives."""
    tp, fp = int(np.count_nonzero(binary & truth)), int(np.count_nonzero(binary & ~truth))
    fg = int(np.count_nonzero(truth))
    return tp, fp, fg - tp, truth.size - fg - fp


def f_measure(found: Floats, truth: Bools) -> dict[str, Any]:
    """Achanta et al., CVPR 2009: beta squared 0.3."""

    def at(binary: Bools) -> float:
        tp, fp, fn, _ = counts(binary, truth)
        if tp == 0:
            return 0.0
        precision, recall = tp / (tp + fp), tp / (tp + fn)
        return 1.3 * precision * recall / (0.3 * precision + recall)

    return {"adpFm": at(adaptive_map(found)), "Fm": np.array([at(binary) for binary in binary_maps(found)])}


def e_measure(found: Floats, truth: Bools) -> dict[str, Any]:
    """Fan et al., IJCAI 2018: alignment of map and mask about their means, which takes four values."""

    def at(binary: Bools) -> float:
        tp, fp, fn, tn = counts(binary, truth)
        if tp + fn == 0:
            total = float(tn)
        elif fp + tn == 0:
            total = float(tp)
        else:
            p, m = (tp + fp) / truth.size, (tp + fn) / truth.size
            total = 0.0
            for number, a, b in ((tp, 1 - p, 1 - m), (fp, 1 - p, -m), (fn, -p, 1 - m), (tn, -p, -m)):
                total += number * (2 * a * b / (a * a + b * b + EPSILON) + 1) ** 2 / 4
        return total / (truth.size - 1 + EPSILON)

    return {"adpEm": at(adaptive_map(found)), "Em": np.array([at(binary) for binary in binary_maps(found)])}


def dice_and_iou(found: Floats, truth: Bools) -> dict[str, Any]:
    """Dice and IoU at all thresholds; 0 with an empty mask."""
    dice, iou = [], []
    for binary in binary_maps(found):
        tp, fp, fn, _ = counts(binary, truth)
        dice.append(2 * tp / max(2 * tp + fp + fn, 1))
        iou.append(tp / max(tp + fp + fn, 1))
    return {"dice": np.array(dice), "iou": np.array(iou)}


def s_measure(found: Floats, truth: Bools) -> float:
    """Fan et al., arXiv 1708.00786, alpha 0.5."""
    share = truth.mean()
    if share in (0, 1):
        return float(found.mean() if share else 1 - found.mean())
    objects = share * likeness(found[truth]) + (1 - share) * likeness(1 - found[~truth])
    return max(0.0, float(0.5 * objects + 0.5 * regions(found, truth)))


def likeness(values: Floats) -> float:
    """The object's part of the S-measure."""
    mean, spread = values.mean(), values.std(ddof=1) if values.size > 1 else 0.0
    return float(2 * mean / (mean**2 + 1 + spread + EPSILON))


def regions(found: Floats, truth: Bools) -> float:
    """The regions' part of the S-measure: quarters about the object's centre of mass."""
    row, column = (int(place) + 1 for place in np.argwhere(truth).mean(axis=0).round())
    total = 0.0
    for rows in (slice(None, row), slice(row, None)):
        for columns in (slice(None, column), slice(column, None)):
            if truth[rows, columns].size:
                part = similarity(found[rows, columns], truth[rows, columns])
                total += part * truth[rows, columns].size / truth.size
    return total


def similarity(found: Floats, truth: Bools) -> float:
    """Structural similarity of a quarter."""
    x, y, n = found.mean(), truth.mean(), truth.size - 1 + EPSILON
    both = ((found - x) * (truth - y)).sum() / n
    spread = ((found - x) ** 2).sum() / n + ((truth - y) ** 2).sum() / n
    above, below = 4 * x * y * both, (x**2 + y**2) * spread
    return float(above / (below + EPSILON)) if above else float(below == 0)


def weighted_f(found: Floats, truth: Bools) -> float:
    """Margolin et al., CVPR 2014, beta 1: window 7x7, sigma 5, half of the weight at 5 pixels."""
    if not truth.any():
        return 0.0
    distance, nearest = ndimage.distance_transform_edt(~truth, return_indices=True)
    error = np.abs(found - truth)
    spread = np.where(truth, error, error[tuple(nearest)])
    y, x = np.mgrid[-3:4, -3:4]
    kernel = np.exp(-(x * x + y * y) / (2 * 5.0**2))
    around = ndimage.convolve(spread, kernel / kernel.sum(), mode="constant")
    least = np.where(truth & (around < error), around, error)
    final = least * np.where(truth, 1.0, 2 - np.exp(np.log(0.5) / 5 * distance))
    hit, false = truth.sum() - final[truth].sum(), final[~truth].sum()
    recall, precision = 1 - final[truth].mean(), hit / (hit + false + EPSILON)
    return float(2 * recall * precision / (recall + precision + EPSILON))
