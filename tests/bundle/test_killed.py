"""A training that is killed at any moment leaves no half-written file and resumes to the same bits.

Each training runs in a child process, which sends itself SIGKILL at a stated `Moment`; its parent then reads
every file that is left and starts the next child.
"""

from __future__ import annotations

import csv
import json
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.bundle.conftest import FAST
from tests.bundle.killing import KILLED, Child, Job, Moment

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL and fork")

RECIPE = {**FAST, "max_epochs": 3, "recipe": "strong"}  # three iterations and four validations an epoch


def folders(folder: Path) -> dict[str, str]:
    return {"output_dir": str(folder), "ckpt_dir": str(folder / "models")}


@pytest.fixture(scope="module")
def undisturbed(small_set, tmp_path_factory):
    """`undisturbed(**overrides)` gives the folder of a training that was let run to its end.

    It also holds the state after each epoch, as `epoch-1.pt` and so on.
    """
    known: dict[str, Path] = {}

    def run(**overrides: Any) -> Path:
        folder = known.get(str(overrides))
        if folder is None:
            folder = known[str(overrides)] = tmp_path_factory.mktemp("undisturbed")
            settings = {**RECIPE, "dataset_dir": str(small_set), **folders(folder), **overrides}
            Child(Job(settings, keep=folder), folder / "log.txt").end(0)
        return folder

    return run


@pytest.fixture
def start(small_set, tmp_path, undisturbed):
    """`start(moment)` gives a child that trains into `tmp_path / "run"`, resuming where there is a state."""
    folder = tmp_path / "run"

    def make(moment: Moment | None = None, careless: bool = False, **overrides: Any) -> Child:
        whole = undisturbed(**overrides)
        sizes = {path.name: path.stat().st_size for path in whole.rglob("*") if path.is_file()}
        settings = {**RECIPE, "dataset_dir": str(small_set), **folders(folder), **overrides}
        settings["resume"] = has_own_state(folder, whole)
        return Child(Job(settings, moment, sizes, careless=careless), tmp_path / "log.txt")

    return make


def load(path: Path) -> Any:
    """Content of a weight file, without the seconds that the epochs took."""
    content = torch.load(path, weights_only=True)
    for row in content.get("engine", {}).get("history", ()):
        row.pop("seconds")
    return content


def rows(path: Path) -> list[dict[str, str]]:
    """Rows of a history, without the seconds; every epoch is there once and every cell filled."""
    text = path.read_text()
    found = list(csv.DictReader(text.splitlines()))
    assert text.endswith("\n") and all(all(row.values()) for row in found)
    assert [int(row["epoch"]) for row in found] == list(range(1, len(found) + 1))
    return [{name: value for name, value in row.items() if name != "seconds"} for row in found]


def damaged(folder: Path) -> list[str]:
    """Files that cannot be read whole, or should not be there, of those under their final names."""
    readers: dict[str, Callable[[Path], Any]] = {
        ".pt": load,
        ".json": lambda path: json.loads(path.read_text()),
        ".csv": rows,
    }
    found = []
    for path in sorted(folder.rglob("*")):
        if path.is_dir() or path.name.startswith(".") or path.parent.name == "tensorboard":
            continue
        try:
            readers[path.suffix](path)
        except Exception:
            found.append(path.relative_to(folder).as_posix())
    return found


def same(a: Any, b: Any) -> bool:
    """Whether two contents of weight files are equal to the bit."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[name], b[name]) for name in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return bool(a == b)


def has_own_state(folder: Path, whole: Path) -> bool:
    """Whether there is a state to resume from: of this training, not an earlier one, and right to the bit."""
    path = folder / "models" / "checkpoint_last.pt"
    if not path.is_file():
        return False
    state = load(path)
    return same(state, load(whole / f"epoch-{state['epoch']}.pt"))


def check_model(models: Path, whole: Path, others: Iterable[Path]) -> None:
    """See that a model has its settings, and is that of the epoch which they name."""
    if not (models / "model.pt").is_file():
        return
    settings = json.loads((models / "model.json").read_text())
    assert settings["input_size"] == RECIPE["input_size"]
    model = load(models / "model.pt")
    epochs = [settings["epoch"]] if settings["epoch"] else range(1, RECIPE["max_epochs"] + 1)
    candidates = [load(path)["network"] for n in epochs if (path := whole / f"epoch-{n}.pt").is_file()]
    candidates += [load(other / "models" / "model.pt") for other in others]
    assert any(same(model, candidate) for candidate in candidates)


def check_end(folder: Path, whole: Path) -> None:
    """See that a training which was killed and resumed has left what an undisturbed one leaves."""
    for name in ("checkpoint_last.pt", "model.pt"):
        assert same(load(folder / "models" / name), load(whole / "models" / name)), name
    for name in ("models/model.json", "datalist.json"):
        assert (folder / name).read_text() == (whole / name).read_text()
    assert rows(folder / "history.csv") == rows(whole / "history.csv")
    assert not [path for path in folder.rglob(".*")]
    events = EventAccumulator(str(folder / "tensorboard")).Reload()
    assert {event.step for event in events.Scalars("train_loss")} == set(range(1, 10))


def go_through(start, moments: Iterable[Moment], folder: Path, whole: Path, **overrides: Any) -> None:
    """Kill a training at each of the moments, start it again each time, and let it end at last."""
    for moment in moments:
        start(moment, **overrides).end(KILLED)
        assert damaged(folder) == [], moment
        check_model(folder / "models", whole, ())
    start(**overrides).end(0)
    check_end(folder, whole)


def test_killed_within_an_epoch_and_within_a_checkpoint(start, undisturbed, tmp_path):
    moments = [Moment("iteration", 5), Moment("write checkpoint_last.pt")]
    go_through(start, moments, tmp_path / "run", undisturbed())


@pytest.mark.slow
def test_killed_at_many_moments(start, undisturbed, tmp_path):
    """The training begins in the folders of an earlier one, which is a little different."""
    folder, whole = tmp_path / "run", undisturbed()
    earlier = undisturbed(accumulation_steps=2)
    copytree(earlier / "models", folder / "models")
    before_any_state = [
        Moment("write datalist.json"),
        Moment("moved checkpoint_last.pt"),
        Moment("moved model.pt"),
        Moment("iteration"),
        Moment("iteration", 2),
        Moment("validation", 2),
        Moment("open history.csv"),
        Moment("write checkpoint_last.pt"),
        Moment("renamed checkpoint_last.pt"),
    ]
    for number, moment in enumerate(before_any_state):
        assert not has_own_state(folder, whole), moment
        start(moment).end(KILLED)
        assert damaged(folder) == [], moment
        # the earlier training's state is the first thing to go, and nothing comes in its place before the end
        # of an epoch: there is never one to resume from by mistake
        there = (folder / "models" / "checkpoint_last.pt").is_file()
        assert there == (number in (0, len(before_any_state) - 1)), moment
        for models in (folder / "models", *folder.glob("models/replaced/*")):
            check_model(models, whole, [earlier])
    resumed = [
        Moment("renamed model.json"),
        Moment("write model.pt"),
        Moment("renamed model.pt"),
        Moment("iteration", 2),
        Moment("rename checkpoint_last.pt"),
        Moment("renamed checkpoint_last.pt"),
        Moment("validation", 3),
        Moment("renamed history.csv"),
        Moment("write checkpoint_last.pt"),
    ]
    go_through(start, resumed, folder, whole)
    (kept,) = (folder / "models" / "replaced").iterdir()
    for path in kept.iterdir():
        assert path.read_bytes() == (earlier / "models" / path.name).read_bytes()
    assert len(list(kept.iterdir())) == 3


@pytest.mark.slow
def test_killed_by_the_clock(start, undisturbed, tmp_path):
    for seconds in (0.1, 0.3, 0.5):  # an epoch takes about half a second
        child = start()
        child.kill_after(seconds)
        child.end(KILLED, 0)  # a fast machine may have come to the end before
        assert damaged(tmp_path / "run") == []
    start().end(0)
    check_end(tmp_path / "run", undisturbed())


@pytest.mark.slow
def test_killed_with_loader_processes(start, undisturbed, tmp_path):
    """They end soon after it, and the next ones draw what those of an undisturbed training draw."""
    whole = undisturbed(num_workers=2)
    go_through(start, [Moment("iteration", 5)], tmp_path / "run", whole, num_workers=2)


@pytest.mark.slow
def test_a_careless_writer_is_found_out(start, tmp_path):
    """These tests would notice files that are not written under another name first."""
    start(Moment("write checkpoint_last.pt"), careless=True).end(KILLED)
    assert damaged(tmp_path / "run") == ["models/checkpoint_last.pt"]
