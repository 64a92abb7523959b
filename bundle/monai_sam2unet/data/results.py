"""The folder that inference writes to: what is in it, and by which model and settings it was made."""

from __future__ import annotations

import json
import logging
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_sam2unet.classes import Classes
from monai_sam2unet.data.shards import Shard
from monai_sam2unet.data.sources import source_root
from monai_sam2unet.errors import InputError
from monai_sam2unet.files import make_folder, remove_leftovers, write_json
from monai_sam2unet.networks.weights.pretrained import sha256_of

__all__ = ["RECORD", "ResultsFolder", "mask_folders", "probability_folders", "result_kinds", "result_names"]

logger = logging.getLogger(__name__)

RECORD = "made_with.json"
KINDS = ("masks", "probabilities", "overlays", "label_maps")
"""Folders of results, as `SegmentationWriter` and `VolumeWriter` name them."""


class ResultsFolder:
    """Results of one or several processes, and the record of what made them.

    The record (`RECORD`) has the model's name and SHA-256, the input and the settings that results depend on.
    Processes that share the work, or go on with it, refuse to add to results of anything else: a folder must
    not hold the masks of two models. A process that segments everything anew, alone, replaces what is there;
    if that was made otherwise the record goes, since from then on nobody knows who made what.

    Args:
        folder: where results go.
        kinds: which results are asked for, of `KINDS` or folders below these (see `result_kinds`).
        shard: the part that this process segments; None for all.
        skip_finished: whether pictures that have all their results are left out.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        kinds: Sequence[str] = KINDS[:1],
        shard: Shard | None = None,
        skip_finished: bool = False,
    ) -> None:
        self.folder = Path(folder)
        self.kinds = tuple(kinds)
        self.shard = Shard("1/1") if shard is None else shard
        self.skip_finished = skip_finished
        self._own: dict[str, Any] = {}

    def made_by(
        self, checkpoint: str | os.PathLike[str], source: str | os.PathLike[str], **settings: Any
    ) -> None:
        """Say what makes the results, and see that it is what made those there. Nothing is written.

        Args:
            checkpoint: the model.
            source: the input; of a pattern the folders before the first wildcard count.
            settings: plain JSON values that results depend on.

        Raises:
            InputError: if results are shared or continued, and those there were made by something else, or
                nobody knows by what; or if there is no such model.
        """
        model = Path(checkpoint)
        if not model.is_file():
            raise InputError(f"no model at {model}: train one first, or give another with --checkpoint FILE")
        root = os.path.normpath(source_root(source))
        self._own = {"model": model.name, "sha256": sha256_of(model), "input": root, **settings}
        self._may_write()

    def claim(self) -> None:
        """Note what makes the results, before the first of them is written, or see again that it is noted.

        Several processes may do so at the same moment: the first one's record counts for all.

        Raises:
            InputError: as `made_by`; or if the folder cannot be written.
        """
        if self._may_write():
            make_folder(self.folder)
            write_json(self.folder / RECORD, self._own, once=True)
            self._compare(_read(self.folder / RECORD))

    def finished(self, output: str, picture: str | os.PathLike[str]) -> bool:
        """Whether a picture is to be left out: all its results are there, and none is older than it.

        Args:
            output: path of its results below each kind's folder.
            picture: the picture's file.
        """
        if not self.skip_finished:
            return False
        try:
            changed = os.stat(picture).st_mtime_ns
            return all(os.stat(self.folder / k / output).st_mtime_ns >= changed for k in self.kinds)
        except OSError:
            return False

    def remove_leftovers(self, outputs: Iterable[str]) -> None:
        """Remove what a killed process left of results that are about to be made again.

        Nothing is looked for unless finished pictures are left out: no other process may write the same
        results at this moment, which only he who continues a run is known to have seen to.

        Args:
            outputs: paths of results below each kind's folder.
        """
        if not self.skip_finished:
            return
        names: dict[str, list[str]] = defaultdict(list)
        for output in outputs:
            parent, _, name = output.rpartition("/")
            names[parent].append(name)
        for parent, own in names.items():
            for kind in self.kinds:
                remove_leftovers(self.folder / kind / parent, own)

    @property
    def _shared(self) -> bool:
        """Whether results of other processes, at this time or before, are to stand beside those made now."""
        return self.skip_finished or self.shard.count > 1

    def _may_write(self) -> bool:
        """Whether a record is to be written; InputError if one's own results must not stand beside those."""
        path = self.folder / RECORD
        # looked for before the record: another process that begins now writes its record before its results
        holds_results = self._holds_results()
        if path.exists():
            self._compare(_read(path))
        elif holds_results and self._shared:
            raise InputError(
                f"{self.folder} holds results, and no {RECORD} says which model and settings made them all: "
                f"choose another --output_dir, or delete its folders {', '.join(KINDS)}"
            )
        return not holds_results and not path.exists()

    def _holds_results(self) -> bool:
        """Whether there is any result, or a folder that may hold one."""
        return any(next((self.folder / kind).glob("*"), None) is not None for kind in KINDS)

    def _compare(self, there: Mapping[str, Any]) -> None:
        """See that the record is one's own; if not, refuse to share, or remove it and warn."""
        other = _differences(there, self._own)
        if not other:
            return
        differ = f"made with {_listed(other, 0)}, now it is {_listed(other, 1)}"
        if self._shared:
            raise InputError(
                f"{self.folder} holds results {differ}: choose another --output_dir, or give what "
                f"{self.folder / RECORD} says"
            )
        logger.warning(
            "%s holds results %s: those of pictures that are not segmented now stay as they are",
            self.folder,
            differ,
        )
        (self.folder / RECORD).unlink(missing_ok=True)


def mask_folders(classes: Classes) -> tuple[str, ...]:
    """The folders that masks go to: one, or one a class where classes may overlap."""
    return ("masks",) if classes.exclusive or classes.count == 1 else _of_each("masks", classes)


def probability_folders(classes: Classes) -> tuple[str, ...]:
    """The folders that probability maps go to: one, or one a class of several."""
    return ("probabilities",) if classes.count == 1 else _of_each("probabilities", classes)


def result_kinds(
    classes: Sequence[str], activation: str, probabilities: bool = False, overlays: bool = False
) -> list[str]:
    """The folders of results in each of which every picture has a file.

    Args:
        classes: names as settings have them.
        activation: likewise.
        probabilities: whether probability maps are asked for.
        overlays: whether overlays are.

    Example:
        >>> result_kinds(["a", "b"], "softmax", probabilities=True)
        ['masks', 'probabilities/a', 'probabilities/b']
    """
    known = Classes.of(classes, activation)
    return [
        *mask_folders(known),
        *(probability_folders(known) if probabilities else ()),
        *(("overlays",) if overlays else ()),
    ]


def _of_each(kind: str, classes: Classes) -> tuple[str, ...]:
    """A folder for each class, below that of the kind, where no picture's own name can be in its way."""
    return tuple(f"{kind}/{name}" for name in classes.names)


def result_names(names: Sequence[str], part: slice) -> list[str]:
    """Paths of results, no two of which are the same.

    The suffix becomes ``.png``; a number, as at the end of a UID, is no suffix. A picture keeps its own
    before that if another one has the same stem, or its stem is the name of another one: whatever lies there,
    whether it can be read, and in every shard alike.

    Args:
        names: paths of all pictures, with ``/`` between names.
        part: which of them are wanted.

    Returns:
        Path of the results of each wanted picture.

    Example:
        >>> result_names(["a.jpg", "a.png", "b.jpg", "b.jpg.jpg"], slice(None))
        ['a.jpg.png', 'a.png.png', 'b.png', 'b.jpg.jpg.png']
    """
    taken = set(names)
    stems: set[str] = set()
    twice: set[str] = set()
    for name in names:
        stem = _stem(name)
        (twice if stem in stems else stems).add(stem)
    plain = (_stem(name) for name in names[part])
    return [
        f"{name if stem in twice or (stem in taken and stem != name) else stem}.png"
        for name, stem in zip(names[part], plain, strict=True)
    ]


def _stem(name: str) -> str:
    """A path without its suffix, if that is one."""
    stem, suffix = os.path.splitext(name)
    return name if suffix[1:].isdigit() else stem


def _read(path: Path) -> dict[str, Any]:
    """The content of a record."""
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as e:
        raise InputError(
            f"{path}: cannot be read as the record of what made the results ({e}); choose another "
            "--output_dir"
        ) from e


def _differences(there: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """What a record says otherwise: name to (there, now); of the model its content counts, not its name."""
    names = [name for name in {**there, **own} if name != "model"]
    other = {name: (there.get(name), own.get(name)) for name in names if there.get(name) != own.get(name)}
    if other.pop("sha256", None):
        before, now = (f"{r.get('model')} (SHA-256 {str(r.get('sha256'))[:12]}...)" for r in (there, own))
        other = {"model": (before, now), **other}
    return other


def _listed(other: Mapping[str, tuple[Any, Any]], side: int) -> str:
    """One side of what differs."""
    return ", ".join(f"{name} {both[side]}" for name, both in other.items())
