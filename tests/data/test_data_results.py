"""The folder of results: names that never collide, what counts as finished, and who made what."""

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from monai_sam2unet.data import PicturesToSegment, ResultsFolder, Shard, listing, segmenting
from monai_sam2unet.data.results import result_names
from monai_sam2unet.errors import InputError
from monai_sam2unet.pictures import write_png

MADE = {"input_size": 64, "threshold": 0.5, "amp": "none"}
LEFTOVER = ".b.png.0123456789abcdef0123456789abcdef.tmp"  # as files.write_atomically names it


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.pt"
    path.write_bytes(b"weights")
    return path


@pytest.fixture
def pictures(tmp_path):
    """Four pictures, two of which have the same stem, and one in a subfolder."""
    for name in ("a.png", "b.png", "sub/a.png"):
        write_png(tmp_path / "in" / name, np.full((4, 5), 9, np.uint8))
    os.link(tmp_path / "in" / "a.png", tmp_path / "in" / "a.jpg")
    return tmp_path / "in"


def put(folder, *names, kind="masks", content=b"old"):
    for name in names:
        path = folder / kind / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


# --- names

STEMS = st.sampled_from(["a", "b", "a.jpg", "a.png", "sub/a", "sub/a.jpg", "a.jpg.png"])
NAMES = st.sets(st.tuples(STEMS, st.sampled_from([".jpg", ".png", ".PNG"])).map("".join))


@given(NAMES, st.integers(1, 4))
def test_results_never_collide_and_are_the_same_in_every_shard(names, count):
    names = sorted(names)
    whole = result_names(names, slice(None))
    assert len(set(whole)) == len(names)
    for k in range(1, count + 1):
        part = Shard(f"{k}/{count}").part
        assert result_names(names, part) == whole[part]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.jpg", "sub/a.png"], ["a.png", "sub/a.png"]),
        (["a.JPG", "a.png"], ["a.JPG.png", "a.png.png"]),
        (["a.jpg", "a.jpg.jpg", "a.png"], ["a.jpg.png", "a.jpg.jpg.png", "a.png.png"]),
        (["notes"], ["notes.png"]),
        (["CT.1.2.84", "1.2.85", "a.dcm"], ["CT.1.2.84.png", "1.2.85.png", "a.png"]),
    ],
)
def test_result_names(names, expected):
    assert result_names(names, slice(None)) == expected


def test_the_order_of_the_disk_does_not_matter(pictures, monkeypatch):
    """Every order in which a system may list a folder gives the same shards."""
    walk, seen = os.walk, []
    for turn in (lambda names: names, lambda names: names[::-1]):

        def turned(*args, turn=turn, **kwargs):
            for parent, folders, names in walk(*args, **kwargs):
                folders[:] = turn(sorted(folders))
                yield parent, folders, turn(sorted(names))

        monkeypatch.setattr(listing.os, "walk", turned)
        seen.append([PicturesToSegment(pictures, Shard(f"{k}/3")).items for k in (1, 2, 3)])
    assert seen[0] == seen[1]
    assert sorted(item["output"] for part in seen[0] for item in part) == [
        "a.jpg.png", "a.png.png", "b.png", "sub/a.png",
    ]  # fmt: skip


def test_batches_are_filled_as_one_process_would(pictures):
    """Four pictures: batches of 2 and 4 are full for everybody, 8 becomes 4."""
    for size, shard, lengths in ((2, "1/1", 4), (8, "1/1", 4), (8, "2/3", 4), (2, "1/3", 2), (3, "1/1", 6)):
        found = PicturesToSegment(pictures, Shard(shard))
        filled = found.in_full_batches(size)
        assert len(filled) == lengths
        assert filled[: len(found.items)] == found.items
        assert all(item["output"] == "" for item in filled[len(found.items) :])
    assert PicturesToSegment(pictures, Shard("5/5")).in_full_batches(4) == []


# --- finished


def test_a_picture_is_finished_if_all_its_results_are_there_and_none_is_older(tmp_path, pictures):
    out = tmp_path / "out"
    put(out, "a.jpg.png", "b.png")
    put(out, "b.png", kind="overlays")

    def left(**settings):
        return [i["output"] for i in PicturesToSegment(pictures, None, ResultsFolder(out, **settings)).items]

    assert left() == ["a.jpg.png", "a.png.png", "b.png", "sub/a.png"]
    assert left(skip_finished=True) == ["a.png.png", "sub/a.png"]
    assert left(skip_finished=True, kinds=("masks", "overlays")) == ["a.jpg.png", "a.png.png", "sub/a.png"]
    changed = (out / "masks" / "b.png").stat().st_mtime_ns + 10**9
    os.utime(pictures / "b.png", ns=(changed, changed))
    assert left(skip_finished=True) == ["a.png.png", "b.png", "sub/a.png"]


def test_an_unreadable_picture_is_never_finished_and_keeps_its_name(tmp_path, pictures, caplog, monkeypatch):
    (pictures / "a.jpg").unlink()
    (pictures / "a.jpg").write_text("not a picture")
    out = tmp_path / "out"
    put(out, "a.png.png", "b.png", "sub/a.png")
    with caplog.at_level("INFO"):
        found = PicturesToSegment(pictures, None, ResultsFolder(out, skip_finished=True))
        assert (found.items, found.finished, len(found.failed)) == ([], 3, 1)
        waited = []
        monkeypatch.setattr(segmenting, "wait_for_others", lambda: waited.append(True))
        with pytest.raises(InputError, match=r"1 file could not be read, without a result:\n .*a\.jpg"):
            found.finish()
        assert waited == [True]
    assert "0 segmented, 3 finished before, 1 failed" in caplog.text
    assert [i["output"] for i in PicturesToSegment(pictures).items] == ["a.png.png", "b.png", "sub/a.png"]


def test_leftovers_are_no_results_and_are_removed_by_who_goes_on(tmp_path):
    out = tmp_path / "out"
    put(out, LEFTOVER, f"sub/{LEFTOVER}", LEFTOVER.replace("b.png", "c.png"))
    ResultsFolder(out).remove_leftovers(["b.png"])
    assert (out / "masks" / LEFTOVER).exists()
    ResultsFolder(out, skip_finished=True).remove_leftovers(["b.png"])
    names = sorted(path.relative_to(out).as_posix() for path in out.rglob("*.tmp"))
    assert names == [f"masks/{LEFTOVER.replace('b.png', 'c.png')}", f"masks/sub/{LEFTOVER}"]


# --- who made what


def shared(out):
    return ResultsFolder(out, skip_finished=True)


def claim(folder, model, source, **settings):
    """What an inference does before and after it has loaded its model."""
    folder.made_by(model, source, **settings)
    folder.claim()


def test_nothing_is_written_before_the_model_is_loaded(tmp_path, model, pictures):
    shared(tmp_path / "out").made_by(model, pictures, **MADE)
    assert not (tmp_path / "out").exists()


def test_a_record_without_results_gives_way(tmp_path, model, pictures):
    claim(shared(tmp_path), model, pictures, **MADE)
    other = {**MADE, "threshold": 0.75}
    with pytest.raises(InputError, match="threshold"):
        claim(shared(tmp_path), model, pictures, **other)  # the one who wrote it may be about to begin
    claim(ResultsFolder(tmp_path), model, pictures, **other)
    assert json.loads((tmp_path / "made_with.json").read_text())["threshold"] == 0.75


def test_the_record_is_written_first_and_by_everybody_alike(tmp_path, model, pictures):
    for folder in (ResultsFolder(tmp_path / "1"), shared(tmp_path / "2")):
        claim(folder, model, pictures / "*.png", **MADE)
    record = (tmp_path / "1" / "made_with.json").read_bytes()
    assert record == (tmp_path / "2" / "made_with.json").read_bytes()
    # SHA-256 by coreutils: printf weights | sha256sum
    digest = "9a129038d9a00aed0cf6a7ea059ca50a813449061ab87848cf1a13eafdf33b2c"
    assert json.loads(record) == {"model": "model.pt", "sha256": digest, "input": str(pictures), **MADE}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"threshold": 0.3}, "made with threshold 0.5, now it is threshold 0.3: choose another --output_dir"),
        ({"amp": "bf16", "input_size": 32}, "input_size 64, amp none, now it is input_size 32, amp bf16"),
        ({"source": "elsewhere"}, "in, now it is input elsewhere"),
        ({"weights": b"other"}, r"model model.pt \(SHA-256 \w{12}...\), now it is model model.pt \(SHA-256"),
    ],
)
def test_results_of_two_kinds_are_not_mixed(tmp_path, model, pictures, caplog, change, words):
    out, settings = tmp_path / "out", {"source": pictures, **MADE, **change}
    claim(ResultsFolder(out), model, pictures, **MADE)
    put(out, "b.png")
    model.write_bytes(settings.pop("weights", b"weights"))
    for folder in (shared(out), ResultsFolder(out, shard=Shard("1/2"))):
        with pytest.raises(InputError, match=words):
            claim(folder, model, **settings)
    claim(ResultsFolder(out), model, **settings)  # alone and anew: replaces, and nobody can go on from it
    assert "stay as they are" in caplog.text and not (out / "made_with.json").exists()
    claim(ResultsFolder(out), model, **settings)
    with pytest.raises(InputError, match=r"no made_with\.json says which model and settings made them all"):
        claim(shared(out), model, **settings)


def test_the_same_model_under_another_name_goes_on(tmp_path, model, pictures):
    claim(shared(tmp_path / "out"), model, pictures, **MADE)
    claim(shared(tmp_path / "out"), model.rename(tmp_path / "renamed.pt"), f"{pictures}/", **MADE)


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_damaged_record_is_named(tmp_path, model, pictures, content):
    (tmp_path / "made_with.json").write_text(content)
    with pytest.raises(InputError, match=r"made_with\.json: cannot be read as the record"):
        claim(shared(tmp_path), model, pictures, **MADE)


def test_a_missing_model_is_named_before_anything_is_written(tmp_path, pictures):
    with pytest.raises(InputError, match=r"no model at .*none.pt"):
        claim(shared(tmp_path / "out"), tmp_path / "none.pt", pictures, **MADE)
    assert not (tmp_path / "out").exists()


def test_another_process_may_begin_and_write_at_any_moment(tmp_path, model, pictures, monkeypatch):
    """Just after this one has seen no record, another one writes it and a first mask."""
    plain = Path.exists

    def exists(path):
        there = plain(path)
        if path.name == "made_with.json":
            monkeypatch.setattr(Path, "exists", plain)
            claim(shared(tmp_path / "out"), model, pictures, **MADE)
            put(tmp_path / "out", "b.png")
        return there

    monkeypatch.setattr(Path, "exists", exists)
    claim(shared(tmp_path / "out"), model, pictures, **MADE)
    assert (tmp_path / "out" / "masks" / "b.png").exists()


def _claim(out, model, source, gate, refused, threshold):
    gate.wait()
    try:
        claim(shared(out), model, source, threshold=threshold)
        put(out, f"{os.getpid()}.png")
    except InputError as e:
        assert "now it is threshold" in str(e)
        refused.put(threshold)


def test_of_processes_that_start_at_the_same_moment_one_kind_wins(tmp_path, model, pictures):
    """Six with one threshold and six with another: whoever was first, its six go on and the others end."""
    context = multiprocessing.get_context("fork")
    for turn in range(5):
        out, gate, refused = tmp_path / str(turn), context.Barrier(12), context.Queue()
        shared_by_all = (out, model, pictures, gate, refused)
        processes = [
            context.Process(target=_claim, args=(*shared_by_all, 0.25 + 0.5 * (i % 2))) for i in range(12)
        ]
        for process in processes:
            process.start()
        losers = {refused.get(timeout=60) for _ in range(6)}
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0] * 12 and refused.empty()
        assert losers == {1 - json.loads((out / "made_with.json").read_text())["threshold"]}
        assert len(list((out / "masks").iterdir())) == 6
        assert not list(out.glob(".*"))
