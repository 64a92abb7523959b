"""The benchmark of speed: what it says of two ways, its exit status, and each part on something small."""

import json
import re
import sys
import time
from functools import partial

import pytest
import torch

from scripts import benchmark
from scripts.speed import accelerator, data, evaluation, growth, loading, loss, metrics, network, runtimes
from scripts.speed.timing import Comparison, Figure, measure

ASLEEP = {"plain": partial(time.sleep, 0.03), "ours": partial(time.sleep, 0.005)}


def comparison(**changes):
    values = {"part": "loss", "name": "two naps", **ASLEEP, "difference": 1e-9, "allowed": 1e-6, "items": 2}
    return Comparison(**{**values, **changes})


# --- timing


def test_ratio_rate_and_order():
    calls = []
    found = measure(
        comparison(plain=lambda: calls.append("plain"), ours=lambda: calls.append("ours")), rounds=3
    )
    # one call of each that does not count, then in turns
    assert calls == ["plain", "ours", "plain", "ours", "ours", "plain", "plain", "ours"]
    assert len(found.ratios) == 3
    ticks = iter([0, 6, 6, 8, 8, 9, 9, 15, 15, 17, 17, 19])  # seconds before and after each call, by hand
    found = measure(comparison(), 3, lambda: next(ticks))
    assert (found.plain, found.ours) == ((6, 6, 2), (2, 1, 2))
    assert (found.ratios, found.ratio) == ([3, 6, 1], 3)
    assert (found.plain_median, found.ours_median, found.rate) == (6, 2, 1)


@pytest.mark.parametrize(
    ("changes", "failed"),
    [
        ({}, False),
        ({"guard": 2.0}, False),
        ({"guard": 50.0}, True),
        ({"goal": 50.0}, False),
        ({"difference": 1e-5}, True),
        ({"difference": float("nan")}, True),
    ],
)
def test_what_fails(changes, failed):
    assert measure(comparison(**changes), 3).failed is failed


# --- the command


@pytest.fixture
def parts(monkeypatch):
    """Have the parts give these."""

    def give(*found):
        threads = torch.get_num_threads()
        monkeypatch.setattr(torch, "set_num_threads", lambda n: None)
        monkeypatch.setattr(loss, "comparisons", lambda quick: iter(found))
        assert torch.get_num_threads() == threads

    return give


def test_table_and_file(parts, capsys, tmp_path):
    parts(comparison(goal=5.0), Figure("loss", "length of a nap", "5 ms"))
    file = tmp_path / "found.json"
    assert benchmark.main(["--parts", "loss", "--rounds", "3", "--json", str(file), "--markdown"]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    assert cells[:2] == ["loss", "two naps"]
    assert 3 < float(cells[4].split()[0]) < 9 and cells[5:] == ["5", "1e-09"]
    assert "| loss | length of a nap |  | 5 ms |" in lines[3]
    assert "threads" in lines[4] and "torch" in lines[4] and "rounds 3" in lines[4]
    told = json.loads(file.read_text())
    assert [len(told["comparisons"][0][way]) for way in ("plain_seconds", "ours_seconds")] == [3, 3]
    assert told["comparisons"][0]["rate_of_ours"] == pytest.approx(400, rel=0.5)  # two in 5 ms
    assert told["figures"] == [{"part": "loss", "name": "length of a nap", "value": "5 ms"}]
    assert told["about"]["rounds"] == 3 and told["about"]["versions"]["torch"]


def test_a_guard_that_fails_is_an_error(parts, capsys):
    busy = {"plain": lambda: sum(range(10**5)), "ours": lambda: sum(range(10**5))}
    parts(comparison(**busy, guard=3.0), comparison(**busy, name="unguarded"))
    assert benchmark.main(["--guard", "--parts", "loss"]) == 1
    out, err = capsys.readouterr()
    assert "unguarded" not in out + err
    assert re.search(r"Error: loss, two naps: \d\.\d\d times as fast as the plain form, expected 3", err)


def test_results_that_differ_are_an_error(parts, capsys):
    parts(comparison(difference=0.25))
    assert benchmark.main(["--parts", "loss", "--rounds", "3"]) == 1
    assert "loss, two naps: results differ by 0.25, expected at most 1e-06" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rounds", "2"], "--rounds: must be a whole number of at least 3, got '2'"),
        (["--threads", "none"], "--threads: must be a whole number of at least 1, got 'none'"),
        (["--parts", "speed"], "invalid choice: 'speed'"),
    ],
)
def test_wrong_arguments(capsys, arguments, message):
    with pytest.raises(SystemExit) as caught:
        benchmark.main(arguments)
    assert caught.value.code == 2
    assert message in capsys.readouterr().err


def test_what_ci_guards(monkeypatch):
    """The least ratios that a change must keep."""
    asked = {}
    monkeypatch.setattr(
        network, "forward", lambda variant, side, **bounds: asked.setdefault((variant, side), bounds["guard"])
    )
    list(network.comparisons(True))
    assert asked == {("large", 352): 1.1, ("tiny", 352): 1.0}
    assert [one.guard for one in loss.comparisons(True)] == [10]
    assert [one.guard for one in metrics.comparisons(True)] == [5]
    for part in (accelerator, data, evaluation, growth, loading, runtimes):  # long, or depend on the disk
        assert not list(part.comparisons(True))


# --- parts


@pytest.mark.parametrize("batch", [1, 2])
def test_forward(batch):
    found = network.forward("nano", 64, batch)
    assert found.difference <= found.allowed == 2e-5
    assert found.plain().shape == found.ours().shape == (batch, 1, 64, 64)


def test_training_step():
    found = network.training_step("nano", 96, 2)
    assert 0 < found.difference <= found.allowed


def test_exactness():
    found = network.exactness("nano", 96)
    errors = [float(number) for number in re.findall(r"\d\.\de-\d+", found.value)]
    assert len(errors) == 2 and all(0 < error < 1e-12 for error in errors)


def test_shares_of_a_training_step():
    shares = {
        one.name.rpartition(": ")[2]: float(one.value.split()[0]) for one in network.kinds_of_time("nano", 64)
    }
    assert sum(shares.values()) == pytest.approx(100, abs=0.5)
    assert shares.keys() == {*network.KINDS, "other"}
    assert shares["other"] < 50


@pytest.mark.parametrize("mode", ["weighted", "legacy"])
def test_loss(mode):
    found = loss.of_mode(mode, 2, 64)
    assert found.difference <= found.allowed == 1e-6


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
def test_loading(tmp_path, suffix):
    found = loading.of_file("nano", tmp_path / f"model{suffix}")
    assert found.difference == 0
    assert found.plain().state_dict().keys() == found.ours().state_dict().keys()


@pytest.mark.skipif(sys.platform != "linux", reason="the memory is told by /proc")
def test_memory_of_loading(tmp_path):
    loading.of_file("tiny", tmp_path / "model.pt")
    ballast = torch.ones(2**28)  # 1 GiB here is not the other process's
    share = float(loading.peak("tiny", tmp_path / "model.pt").value)
    assert 0.5 < share < 3 and ballast.sum() > 0  # a small network: what Python itself takes counts, too


def test_growth():
    threads = torch.get_num_threads()
    found = list(growth.of_network("nano", (64, 96), (1, 2), [1]))
    assert torch.get_num_threads() == threads
    assert [one.name.split(", ")[1:3] for one in found][:2] == [["64x64", "batch 1"], ["96x96", "batch 1"]]
    assert all(re.fullmatch(r"\d+ ms a picture", one.value) for one in found)


def test_accelerator_on_a_cpu():
    found = list(accelerator.on_device(torch.device("cpu"), ("nano",), (64,), (1,), 64))
    assert [type(one) for one in found] == [Figure, Comparison, Comparison, Figure, Figure, Figure]
    assert all(one.difference <= one.allowed for one in found if isinstance(one, Comparison))
    texts = [one.value for one in found if isinstance(one, Figure)]
    assert "FLOP/s" in texts[0] and "none: " in texts[1]
    assert "of the matrix rate" in texts[2] and "with checkpointing" in texts[3]


def test_without_a_gpu_it_is_said(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert [one.value for one in accelerator.comparisons(False)] == ["not measured: PyTorch finds no GPU"]
    assert not list(accelerator.comparisons(True))
