"""Scoring of sets: by a network, or of ready-made maps; one picture after the other.

Logits are resized to the mask's size (bilinear, ``align_corners=False``), never the mask to the prediction;
the sigmoid follows. Stretching and 8 bits are the protocol's business.

Shapes: ``B`` pictures at once, ``H`` rows, ``W`` columns of a mask.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from tqdm import tqdm

from monai_sam2unet.benchmark.ahead import in_order
from monai_sam2unet.benchmark.maps import find_maps, fitted, maps_sha256, read_grey, read_masks
from monai_sam2unet.benchmark.scoring import Run, Scorer
from monai_sam2unet.benchmark.sets import EvaluationSet, check_file_names
from monai_sam2unet.data.naming import label_files
from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics.levels import as_map
from monai_sam2unet.networks.weights import load_network, read_checkpoint
from monai_sam2unet.networks.weights.pretrained import sha256_of
from monai_sam2unet.networks.weights.trained import noted_base
from monai_sam2unet.pictures import write_png

__all__ = ["evaluate_maps", "evaluate_network", "score_network"]

Protocols = Mapping[str, Sequence[str]]
Measured = tuple[dict[str, npt.NDArray[np.float64]], bool]
"""Rows by protocol, and whether the prediction had another size than its mask."""


class CaseReader:
    """Read pictures or maps with their masks, in any number of threads.

    Args:
        items: of the set.
        preprocessing: of pictures; None to read maps.
        maps: files of the maps, one for each item.
        resize: whether maps of another size are resized.
    """

    def __init__(
        self,
        items: Sequence[Mapping[str, Any]],
        preprocessing: Any = None,
        maps: Sequence[Path] = (),
        resize: bool = False,
    ) -> None:
        self.items = items
        self.preprocessing = preprocessing
        self.maps = maps
        self.resize = resize

    def __call__(self, index: int) -> dict[str, Any]:
        """One case: ``image`` or ``map``, ``masks``, and whether it was of ``other_size``.

        Raises:
            InputError: if a file cannot be read.
        """
        item = self.items[index]
        masks = read_masks(label_files(item))
        shape = masks[0].shape
        found: dict[str, Any]
        if self.preprocessing is None:
            levels = read_grey(self.maps[index])
            found = {"map": fitted(levels, shape, self.maps[index], self.resize)}
            size: tuple[int, ...] = levels.shape
        else:
            image = self.picture(item["image"])
            found = {"image": image.as_tensor()}
            size = tuple(image.applied_operations[0]["orig_size"])
        return {**found, "masks": masks, "case": item["case"], "other_size": size != shape}

    def picture(self, path: str) -> Any:
        """A picture as the network takes it."""
        try:
            return self.preprocessing({"image": path})["image"]
        except RuntimeError as e:  # MONAI wraps what a transform raises
            if isinstance(e.__cause__, InputError):
                raise e.__cause__ from None
            raise


def evaluate_maps(
    folder: str | os.PathLike[str],
    sets: Sequence[EvaluationSet],
    protocols: Protocols,
    *,
    resize: bool = False,
    threshold: float | None = None,
    num_workers: int = 0,
) -> Run:
    """Score ready-made 8-bit maps.

    Args:
        folder: maps named like the pictures; for several sets in a subfolder each.
        sets: to be scored.
        protocols: names for each set's name.
        resize: whether maps of another size than their mask are resized to it.
        threshold: operating point of `fixed`; 0.5 if None.
        num_workers: threads that read ahead, and as many that score.

    Returns:
        The figures.

    Raises:
        InputError: if maps are missing, left over, of another size or cannot be read.
    """
    files = {found.name: find_maps(folder, found, alone=len(sets) == 1) for found in sets}
    cut = 0.5 if threshold is None else threshold
    run = Run({"predictions": Path(folder).resolve().name, "resize": resize, "threshold": cut, "sha256": {}})
    for found in sets:
        run.about["sha256"][found.name] = maps_sha256(found, files[found.name])
        reader = CaseReader(found.items, maps=files[found.name], resize=resize)
        scorer = Scorer(protocols[found.name], cut)
        read = _read(reader, found.name, num_workers)
        measured = in_order(partial(_measure_map, scorer, found.name), read, num_workers)
        _score(run, found, scorer, measured, "maps were resized to their masks' size")
    return run


def evaluate_network(
    checkpoint: str | os.PathLike[str],
    sets: Sequence[EvaluationSet],
    protocols: Protocols,
    *,
    bundle_root: str | os.PathLike[str],
    device: str = "auto",
    pretrained_dir: str | os.PathLike[str] | None = None,
    input_size: int | None = None,
    threshold: float | None = None,
    batch_size: int = 1,
    num_workers: int = 0,
    maps_dir: str | os.PathLike[str] | None = None,
) -> Run:
    """Score a network, run as ``configs/inference.json`` says.

    Args:
        checkpoint: weights.
        sets: to be scored.
        protocols: names for each set's name.
        bundle_root: folder of the bundle.
        device: where to compute; ``auto`` takes a GPU if there is one.
        pretrained_dir: where the base file of a small checkpoint lies; ``models/pretrained`` if None.
        input_size: side that pictures are resized to, pixels; that of the training if None.
        threshold: operating point of `fixed`; that of the training if None.
        batch_size: pictures that the network takes at once.
        num_workers: threads that read ahead, and as many that score.
        maps_dir: where the 8-bit maps go that protocol `paper` scores, in a folder for each set; none are
            written if None.

    Returns:
        The figures.

    Raises:
        InputError: if the checkpoint does not load, marks several structures, or a file cannot be read.
    """
    parts = _parts(checkpoint, Path(bundle_root), device, pretrained_dir, input_size)
    cut = float(parts["threshold"] if threshold is None else threshold)
    run = Run({**_about(Path(checkpoint)), "variant": parts["variant"], "input_size": parts["input_size"]})
    run.about |= {"threshold": cut, "device": _device_name(parts["torch_device"])}
    check_file_names(sets)
    for found in sets:
        folder = None if maps_dir is None else Path(maps_dir) / found.file_name
        score_network(run, found, protocols[found.name], cut, parts, batch_size, num_workers, folder)
    return run


def score_network(
    run: Run,
    found: EvaluationSet,
    protocols: Sequence[str],
    threshold: float,
    parts: Mapping[str, Any],
    batch_size: int = 1,
    num_workers: int = 0,
    maps: Path | None = None,
) -> None:
    """Add the figures of a network on one set to a run.

    Args:
        run: what they are added to.
        found: the set.
        protocols: names.
        threshold: operating point of `fixed`.
        parts: ``network``; ``preprocessing``, ``inferer``, ``torch_device`` of ``configs/inference.json``.
        batch_size: pictures that the network takes at once.
        num_workers: threads that read ahead, and as many that score.
        maps: where maps go, see `evaluate_network`.

    Raises:
        InputError: if a file cannot be read or written.
    """
    scorer = Scorer(protocols, threshold)

    def measure(predicted: tuple[torch.Tensor, Mapping[str, Any]]) -> Measured:
        logits, read = predicted
        probability = _probability(logits, read["masks"][0].shape)
        if maps is not None:  # as the paper's test program does
            write_png(maps / f"{read['case']}.png", as_map(probability, stretch=True), lasting=False)
        return _measure(scorer, found.name, probability, read)

    reader = CaseReader(found.items, parts["preprocessing"])
    predicted = _predicted(parts, _read(reader, found.name, num_workers), batch_size)
    measured = in_order(measure, predicted, num_workers)
    note = "masks have another size than their pictures; the prediction was resized to the mask"
    _score(run, found, scorer, measured, note)


def _measure(scorer: Scorer, name: str, prediction: npt.NDArray[Any], read: Mapping[str, Any]) -> Measured:
    """What a picture adds to the figures of the set of a name."""
    try:
        return scorer.measure(prediction, read["masks"]), read["other_size"]
    except InputError as e:
        raise InputError(f"{name}, {read['case']}: {e}") from e


def _measure_map(scorer: Scorer, name: str, read: Mapping[str, Any]) -> Measured:
    """The same of a ready-made map."""
    return _measure(scorer, name, read["map"], read)


def _score(run: Run, found: EvaluationSet, scorer: Scorer, measured: Iterable[Measured], note: str) -> None:
    """Add the figures of one set to a run."""
    resized = 0
    with tqdm(total=len(found.items), desc=found.name, unit="picture", disable=None, leave=False) as progress:
        for rows, other_size in measured:
            scorer.add(rows)
            resized += other_size
            progress.update()
    run.scores[found.name] = scorer.scores()
    run.notes[found.name] = [f"{resized} {note}"] if resized else []


def _read(reader: CaseReader, name: str, num_workers: int) -> Iterator[dict[str, Any]]:
    """All cases in order, read ahead of their use; errors name the set."""
    try:
        yield from in_order(reader, range(len(reader.items)), num_workers)
    except InputError as e:
        raise InputError(f"{name}: {e}") from e


def _predicted(
    parts: Mapping[str, Any], cases: Iterable[dict[str, Any]], batch_size: int
) -> Iterator[tuple[torch.Tensor, Mapping[str, Any]]]:
    """Logits (1, side, side) of each case, with what was read."""
    batch: list[dict[str, Any]] = []
    for read in cases:
        batch.append(read)
        if len(batch) == batch_size:
            yield from _predict(parts, batch)
            batch = []
    if batch:
        yield from _predict(parts, batch)


def _predict(
    parts: Mapping[str, Any], batch: Sequence[dict[str, Any]]
) -> Iterator[tuple[torch.Tensor, Mapping[str, Any]]]:
    """Logits of some cases that the network takes at once."""
    images = torch.stack([read["image"] for read in batch]).to(parts["torch_device"])
    with torch.inference_mode():
        logits = parts["inferer"](images, parts["network"])  # (B, 1, side, side)
    return zip(logits, batch, strict=True)


def _probability(logits: torch.Tensor, shape: Sequence[int]) -> npt.NDArray[Any]:
    """Probabilities (H, W) at the size of a mask, from logits (1, side, side)."""
    with torch.inference_mode():
        own = F.interpolate(logits[None], tuple(shape), mode="bilinear", align_corners=False)
        probability: npt.NDArray[Any] = own.sigmoid_()[0, 0].cpu().numpy()
    return probability


def _parts(
    checkpoint: str | os.PathLike[str],
    root: Path,
    device: str,
    pretrained_dir: str | os.PathLike[str] | None,
    input_size: int | None,
) -> dict[str, Any]:
    """The pieces of ``configs/inference.json`` that turn a picture into logits, the network loaded."""
    folder = Path(pretrained_dir) if pretrained_dir is not None else root / "models" / "pretrained"
    parser = ConfigParser()
    parser.read_config(root / "configs" / "inference.json")
    parser.read_meta(root / "configs" / "metadata.json")
    parser.update({"bundle_root": str(root), "checkpoint": str(checkpoint), "device": device})
    if input_size is not None:
        parser.update({"input_size": input_size})
    if not Path(checkpoint).is_file():
        raise InputError(f"no checkpoint at {checkpoint}; give a trained model, --checkpoint FILE")
    parser.parse()
    names = ("preprocessing", "inferer", "torch_device", "input_size", "threshold", "variant",
             "out_channels")  # fmt: skip
    parts = {name: parser.get_parsed_content(name) for name in names}
    if parts["out_channels"] != 1:
        raise InputError(
            f"{checkpoint}: marks {parts['out_channels']} structures; the table is of models that mark one"
        )
    parts["network"] = load_network(Path(checkpoint), folder).fuse().to(parts["torch_device"])
    return parts


def _about(path: Path) -> dict[str, Any]:
    """Which file a network was loaded from, and its base file if it holds only what was trained."""
    noted = noted_base(read_checkpoint(path), path)
    base = noted[0].reference() if noted else None
    return {"checkpoint": path.name, "size": path.stat().st_size, "sha256": sha256_of(path), "base": base}


def _device_name(device: torch.device) -> str:
    """What the network ran on."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
