"""Scoring of sets: by a network, or of ready-made maps; one picture after the other.

Logits are resized to the mask's size (bilinear, ``align_corners=False``), never the mask to the prediction;
the sigmoid follows. Stretching and 8 bits are the protocol's business.

Shapes: ``B`` pictures at once, ``H`` rows, ``W`` columns of a mask.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy.typing as npt
import torch
import torch.nn.functional as F
from monai.bundle import ConfigParser
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

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


class CaseReader(Dataset[dict[str, Any]]):
    """Read pictures or maps with their masks, in worker processes.

    An error of the user's is given back instead of raised, since a loader would wrap its message.

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

    def __len__(self) -> int:
        """Number of cases."""
        return len(self.items)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """One case: ``image`` or ``map``, ``masks``, and whether it was of another ``size``; or ``error``."""
        item = self.items[index]
        try:
            masks = read_masks(label_files(item))
            shape = masks[0].shape
            if self.preprocessing is None:
                levels = read_grey(self.maps[index])
                found = {"map": fitted(levels, shape, self.maps[index], self.resize), "size": levels.shape}
            else:
                image = self.preprocessing({"image": item["image"]})["image"]
                size = tuple(image.applied_operations[0]["orig_size"])
                found = {"image": image.as_tensor(), "size": size}
        except InputError as e:
            return {"error": str(e)}
        except RuntimeError as e:  # MONAI wraps what a transform raises
            if isinstance(e.__cause__, InputError):
                return {"error": str(e.__cause__)}
            raise
        return {**found, "masks": masks, "case": item["case"], "other_size": found["size"] != shape}


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
        num_workers: processes that read ahead.

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
        scored = ((read["map"], read) for read in _read(reader, found.name, 1, num_workers))
        _score(run, found, protocols[found.name], cut, scored, "maps were resized to their masks' size")
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
        num_workers: processes that read ahead.
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
        num_workers: processes that read ahead.
        maps: where maps go, see `evaluate_network`.

    Raises:
        InputError: if a file cannot be read or written.
    """
    reader = CaseReader(found.items, parts["preprocessing"])
    scored = _predicted(parts, _read(reader, found.name, batch_size, num_workers), batch_size)
    if maps is not None:
        scored = _written(scored, maps)
    note = "masks have another size than their pictures; the prediction was resized to the mask"
    _score(run, found, protocols, threshold, scored, note)


def _score(
    run: Run,
    found: EvaluationSet,
    protocols: Sequence[str],
    threshold: float,
    scored: Iterable[tuple[npt.NDArray[Any], Mapping[str, Any]]],
    note: str,
) -> None:
    """Add the figures of one set to a run."""
    scorer, resized = Scorer(protocols, threshold), 0
    for prediction, read in scored:
        try:
            scorer.add(prediction, read["masks"])
        except InputError as e:
            raise InputError(f"{found.name}, {read['case']}: {e}") from e
        resized += read["other_size"]
    run.scores[found.name] = scorer.scores()
    run.notes[found.name] = [f"{resized} {note}"] if resized else []


def _read(reader: CaseReader, name: str, batch_size: int, num_workers: int) -> Iterator[dict[str, Any]]:
    """All cases in order, read ahead of their use."""
    loader: DataLoader[dict[str, Any]] = DataLoader(
        reader, batch_size=batch_size, num_workers=min(num_workers, len(reader)), collate_fn=list
    )
    with tqdm(total=len(reader), desc=name, unit="picture", disable=None, leave=False) as progress:
        for batch in loader:
            for read in batch:
                if "error" in read:
                    raise InputError(f"{name}: {read['error']}")
                yield read
            progress.update(len(batch))


def _predicted(
    parts: Mapping[str, Any], cases: Iterable[dict[str, Any]], batch_size: int
) -> Iterator[tuple[npt.NDArray[Any], Mapping[str, Any]]]:
    """Probabilities (H, W) of each case at its mask's size, with what was read."""
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
) -> Iterator[tuple[npt.NDArray[Any], Mapping[str, Any]]]:
    """Probabilities of some cases that the network takes at once."""
    images = torch.stack([read["image"] for read in batch]).to(parts["torch_device"])
    with torch.inference_mode():
        logits = parts["inferer"](images, parts["network"])  # (B, 1, side, side)
    for one, read in zip(logits, batch, strict=True):
        with torch.inference_mode():
            own = F.interpolate(one[None], read["masks"][0].shape, mode="bilinear", align_corners=False)
            probability = own.sigmoid_()[0, 0].cpu()
        yield probability.numpy(), read


def _written(
    scored: Iterable[tuple[npt.NDArray[Any], Mapping[str, Any]]], folder: Path
) -> Iterator[tuple[npt.NDArray[Any], Mapping[str, Any]]]:
    """The same, after writing each as the paper's test program does."""
    for probability, read in scored:
        write_png(folder / f"{read['case']}.png", as_map(probability, stretch=True), lasting=False)
        yield probability, read


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
