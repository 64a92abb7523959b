"""Files are written whole or not at all."""

import errno
import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch

from monai_sam2unet.errors import InputError
from monai_sam2unet.files import (
    check_space,
    make_folder,
    move_file,
    remove_leftovers,
    write_atomically,
    write_json,
)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_a_file_is_written_whole(tmp_path):
    path = tmp_path / "new" / "folder" / "a.bin"
    write_atomically(path, lambda file: file.write(b"content"))
    assert contents(path.parent) == {"a.bin": b"content"}
    write_atomically(str(path), lambda file: file.write(b"other"))
    assert contents(path.parent) == {"a.bin": b"other"}


def test_nothing_is_seen_of_a_file_before_it_is_whole(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"half")
        file.flush()
        assert path.read_bytes() == b"old"
        assert [p.name for p in tmp_path.glob("*.bin")] == ["a.bin"]  # the part has another suffix
        file.write(b" and half")

    write_atomically(path, write)
    assert contents(tmp_path) == {"a.bin": b"half and half"}


def test_a_file_that_is_there_can_be_left_as_it_is(tmp_path):
    path = tmp_path / "a.bin"
    write_atomically(path, lambda file: file.write(b"first"), once=True)
    write_atomically(path, lambda file: file.write(b"second"), once=True)
    assert contents(tmp_path) == {"a.bin": b"first"}


def test_a_disk_without_links(tmp_path, monkeypatch):
    def link(source, target):
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))  # what Linux says on FAT

    monkeypatch.setattr(os, "link", link)
    test_a_file_that_is_there_can_be_left_as_it_is(tmp_path)


def failing(error):
    def write(file):
        file.write(b"half")
        raise error

    return write


@pytest.mark.parametrize("error", [ValueError("not ours"), KeyboardInterrupt(), MemoryError()])
@pytest.mark.parametrize("old", [b"old", None])
def test_a_failing_writer_leaves_the_old_file(tmp_path, error, old):
    path = tmp_path / "a.bin"
    if old is not None:
        path.write_bytes(old)
    with pytest.raises(type(error)) as caught:
        write_atomically(path, failing(error))
    assert caught.value is error  # its own error, not one of ours
    assert contents(tmp_path) == ({"a.bin": old} if old is not None else {})


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), "No space left on device"),
        (RuntimeError("unexpected pos 64 vs 0\nmore"), r"unexpected pos 64 vs 0; "),  # what torch.save raises
        (RuntimeError(), "RuntimeError"),
    ],
)
def test_a_full_disk_is_named_and_leaves_the_old_file(tmp_path, error, reason):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(
        InputError, match=rf"a\.bin: cannot be written \({reason}.* MiB free\); free some space"
    ):
        write_atomically(path, failing(error))
    assert contents(tmp_path) == {"a.bin": b"old"}


def test_a_disk_that_fills_up_under_torch_save(tmp_path):
    class Full:
        """A file that takes a hundred bytes."""

        def __init__(self, file):
            self.file, self.left = file, 100

        def write(self, data):
            self.left -= len(data)
            if self.left < 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

        def flush(self):
            self.file.flush()

    path = tmp_path / "model.pt"
    write_atomically(path, lambda file: torch.save({"a": torch.ones(3)}, file))
    before = contents(tmp_path)
    with pytest.raises(InputError, match=r"model\.pt: cannot be written"):
        write_atomically(path, lambda file: torch.save({"a": torch.ones(999)}, Full(file)))
    assert contents(tmp_path) == before


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path):
    """Stands for every folder that cannot be written, also where tests run as root."""
    (tmp_path / "runs").write_text("a file")
    with pytest.raises(InputError, match=r"runs/a\.json: cannot be written \((Not a directory|File exists)"):
        write_json(tmp_path / "runs" / "a.json", {})
    with pytest.raises(InputError, match=r"runs/deep/a\.json: cannot be written \(Not a directory"):
        write_json(tmp_path / "runs" / "deep" / "a.json", {})
    with pytest.raises(InputError, match=r"runs: cannot write here \(File exists\); choose another folder"):
        make_folder(tmp_path / "runs")
    with pytest.raises(InputError, match=r"runs/deep: cannot write here \(Not a directory\)"):
        make_folder(tmp_path / "runs" / "deep")
    assert contents(tmp_path) == {"runs": b"a file"}


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path):
    (tmp_path / "a.json").mkdir()
    with pytest.raises(InputError, match=r"a\.json: cannot be written \(Is a directory"):
        write_json(tmp_path / "a.json", {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_is_named(tmp_path):
    folder = tmp_path / "locked"
    folder.mkdir(mode=0o500)
    with pytest.raises(InputError, match=r"a\.json: cannot be written \(Permission denied"):
        write_json(folder / "a.json", {})
    with pytest.raises(InputError, match="cannot write here"):
        make_folder(folder)


def test_make_folder(tmp_path):
    assert make_folder(str(tmp_path / "a" / "b")) == tmp_path / "a" / "b"
    assert make_folder(tmp_path / "a" / "b").is_dir()  # again: no error
    assert list((tmp_path / "a" / "b").iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_the_umask_rules_who_may_read(tmp_path, umask, mode):
    """As for any file made by open(): files in a shared folder stay readable for the group."""
    before = os.umask(umask)
    try:
        write_json(tmp_path / "a.json", {})
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == mode


def test_json(tmp_path):
    content = {"name": "Gefäß", "dice": [0.1, None], "n": 3, "deep": {"b": True}}
    write_json(tmp_path / "a.json", content)
    text = (tmp_path / "a.json").read_text(encoding="utf-8")
    assert json.loads(text) == content
    assert "Gefäß" in text and text.endswith("}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}])
def test_json_refuses_what_no_other_reader_takes(tmp_path, value):
    write_json(tmp_path / "a.json", [1])
    with pytest.raises((ValueError, TypeError)):
        write_json(tmp_path / "a.json", [value])
    assert json.loads((tmp_path / "a.json").read_text()) == [1]


def test_space_is_checked(tmp_path):
    check_space(tmp_path, 1, "two files")
    free = shutil.disk_usage(tmp_path).free
    with pytest.raises(
        InputError, match=r": two files need \d+ MiB, free are \d+ MiB; free some space"
    ) as caught:
        check_space(tmp_path, free + 2**40, "two files")
    needed = int(str(caught.value).split(" need ")[1].split()[0])
    assert needed == pytest.approx((free + 2**40) / 2**20, abs=1)


TOKEN = "0123456789abcdef" * 2


def test_what_a_killed_writer_leaves_is_removed(tmp_path, monkeypatch):
    """Its own cleaning up does not run then; the name is the one that it really takes."""
    (tmp_path / "a.bin").write_bytes(b"old")
    with monkeypatch.context() as killed, pytest.raises(KeyboardInterrupt):
        killed.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        write_atomically(tmp_path / "a.bin", failing(KeyboardInterrupt()))
    assert len(contents(tmp_path)) == 2
    remove_leftovers(tmp_path, ["b.bin"])
    assert len(contents(tmp_path)) == 2  # of another name: perhaps another process is at it
    remove_leftovers(str(tmp_path), ["b.bin", "a.bin"])
    assert contents(tmp_path) == {"a.bin": b"old"}


def test_a_killed_probe_is_removed(tmp_path, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(Path, "unlink", lambda path, missing_ok=False: None)
        make_folder(tmp_path)
    assert len(contents(tmp_path)) == 1
    remove_leftovers(tmp_path, [])
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "name",
    [
        "model.pt",
        f"model.pt.{TOKEN}.tmp",
        ".model.pt.tmp",
        f".model.pt.{TOKEN[1:]}.tmp",
        f".model.pt.{TOKEN.upper()}.tmp",
        f".model.pt.{TOKEN}.tmp.gz",
        f".my.model.pt.{TOKEN}.tmp",
        f".modelxpt.{TOKEN}.tmp",
        f".{TOKEN}.tmp",
        f".metrics.csv.{TOKEN}.tmp",
    ],
)
def test_files_of_other_names_are_never_removed(tmp_path, name):
    (tmp_path / name).write_bytes(b"the user's")
    (tmp_path / f".model.pt.{TOKEN}.tmp").mkdir()  # nor a folder
    remove_leftovers(tmp_path, ["model.pt"])
    assert (tmp_path / name).read_bytes() == b"the user's" and (tmp_path / f".model.pt.{TOKEN}.tmp").is_dir()


def test_no_folder_has_no_leftovers(tmp_path):
    remove_leftovers(tmp_path / "nowhere", ["model.pt"])
    assert contents(tmp_path) == {}


@pytest.mark.skipif(
    os.name != "posix", reason="Windows cannot write a folder's entries to the disk on demand"
)
def test_a_new_name_is_on_the_disk_when_the_call_returns(tmp_path, monkeypatch):
    """Content, name, folder: in this order a loss of power leaves the old file or the whole new one."""
    done = []
    fsync, replace = os.fsync, os.replace

    def note_fsync(descriptor):
        done.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "content")
        fsync(descriptor)

    def note_replace(source, target):
        done.append("name")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "replace", note_replace)
    write_atomically(tmp_path / "a.bin", lambda file: file.write(b"content"))
    assert done == ["content", "name", "folder"]
    (tmp_path / "b").mkdir()
    move_file(str(tmp_path / "a.bin"), str(tmp_path / "b" / "a.bin"))
    assert done[3:] == ["name", "folder", "folder"]
    assert contents(tmp_path / "b") == {"a.bin": b"content"} and not (tmp_path / "a.bin").exists()


def test_what_need_not_last_is_not_waited_for(tmp_path, monkeypatch):
    waited = []
    monkeypatch.setattr(os, "fsync", waited.append)
    write_atomically(tmp_path / "a", lambda file: file.write(b"new"), lasting=False)
    assert (tmp_path / "a").read_bytes() == b"new" and os.listdir(tmp_path) == ["a"]
    assert not waited


def test_a_folder_that_cannot_be_synchronised_is_no_error(tmp_path, monkeypatch):
    """Some network file systems refuse; the file is there all the same."""
    fsync = os.fsync

    def refuse(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", refuse)
    write_atomically(tmp_path / "a.bin", lambda file: file.write(b"content"))
    assert contents(tmp_path) == {"a.bin": b"content"}
