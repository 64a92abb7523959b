"""Shards: every picture in exactly one, evenly; what names them; waiting for the others under torchrun."""

import threading

import pytest
import torch.distributed
from hypothesis import given
from hypothesis import strategies as st

from monai_sam2unet.data import Shard, shards
from monai_sam2unet.errors import InputError


@pytest.fixture(autouse=True)
def no_torchrun(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "TORCHELASTIC_USE_AGENT_STORE"):
        monkeypatch.delenv(name, raising=False)


@given(st.integers(0, 200), st.integers(1, 30))
def test_every_picture_is_in_exactly_one_shard(pictures, count):
    parts = [range(pictures)[Shard(f"{k}/{count}").part] for k in range(1, count + 1)]
    assert sorted(i for part in parts for i in part) == list(range(pictures))


@given(st.lists(st.integers(0, 40), max_size=8), st.integers(1, 12))
def test_pictures_of_one_folder_spread_evenly(sizes, count):
    folders = [folder for folder, size in enumerate(sizes) for _ in range(size)]  # in the order of paths
    for folder in set(folders):
        shares = [folders[Shard(f"{k}/{count}").part].count(folder) for k in range(1, count + 1)]
        assert max(shares) - min(shares) <= 1


@pytest.mark.parametrize(
    ("rank", "size", "name"), [(None, None, "1/1"), ("0", "4", "1/4"), ("3", "4", "4/4"), ("0", "1", "1/1")]
)
def test_auto_is_what_torchrun_says(monkeypatch, rank, size, name):
    for variable, value in (("RANK", rank), ("WORLD_SIZE", size)):
        if value is not None:
            monkeypatch.setenv(variable, value)
    assert str(Shard()) == str(Shard("auto")) == name
    assert str(Shard("2/3")) == "2/3"  # what is named goes before


@pytest.mark.parametrize(
    ("rank", "size"), [("4", "4"), ("-1", "4"), ("0", None), (None, "2"), ("", ""), ("x", "2"), ("0", "two")]
)
def test_a_strange_environment_is_named(monkeypatch, rank, size):
    for variable, value in (("RANK", rank), ("WORLD_SIZE", size)):
        if value is not None:
            monkeypatch.setenv(variable, value)
    with pytest.raises(InputError, match=f"RANK {rank} and WORLD_SIZE {size}, expected both.*--shard 1/1"):
        Shard()


def test_a_wrong_name_is_named():
    with pytest.raises(InputError, match=r"shard must be auto, or K/N .*, got '0/8'"):
        Shard("0/8")


def test_nobody_waits_without_torchrun():
    shards.wait_for_others()


def test_under_torchrun_all_wait_for_the_last(monkeypatch):
    """The store is torchrun's; here this test has its place, and that of the second process."""
    store = torch.distributed.TCPStore("localhost", 0, is_master=True, wait_for_workers=False)
    for name, value in {
        "TORCHELASTIC_USE_AGENT_STORE": "True", "TORCHELASTIC_RESTART_COUNT": "1", "WORLD_SIZE": "2",
        "MASTER_ADDR": "localhost", "MASTER_PORT": str(store.port),
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(shards, "POLL", 0.02)
    first = threading.Thread(target=shards.wait_for_others, daemon=True)
    first.start()
    first.join(0.5)
    assert first.is_alive()
    shards.wait_for_others()
    first.join(10)
    assert not first.is_alive()
