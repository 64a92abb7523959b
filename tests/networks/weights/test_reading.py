"""Weight files as untrusted input: containers, code, damage, and files that are no weights."""

import io
import json
import pickle
import struct
import zipfile

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks.weights.reading import METADATA_KEY, read_checkpoint, tensors_of


def legacy(content, path):
    torch.save(content, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize("save", [torch.save, legacy, save_file])
def test_every_container_is_read(tmp_path, save):
    tensors = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, 2])}
    save(tensors, tmp_path / "weights")  # told apart by content, not by name
    read = read_checkpoint(tmp_path / "weights")
    assert read.keys() == tensors.keys() and all(torch.equal(read[n], tensors[n]) for n in tensors)


def test_metadata_of_safetensors(tmp_path):
    extra = {"base": {"name": "b.pt"}}
    save_file(
        {"a": torch.ones(2)}, tmp_path / "w", metadata={METADATA_KEY: json.dumps(extra), "format": "pt"}
    )
    read = read_checkpoint(tmp_path / "w")
    assert read["base"] == extra["base"] and torch.equal(read["network"]["a"], torch.ones(2))
    save_file({"a": torch.ones(2)}, tmp_path / "w", metadata={METADATA_KEY: "{not json"})
    with pytest.raises(InputError, match="metadata 'monai_sam2unet' cannot be read"):
        read_checkpoint(tmp_path / "w")


# --- code


class Code:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def pickled(content, path):
    path.write_bytes(pickle.dumps(content, protocol=2))


@pytest.mark.parametrize("save", [torch.save, pickled, legacy])
def test_code_in_a_file_does_not_run(tmp_path, save):
    path, trace = tmp_path / "model.pt", tmp_path / "ran"
    pickle.loads(pickle.dumps(Code(trace))).close()
    assert trace.exists()  # the trap works
    trace.unlink()
    save({"head.bias": torch.zeros(1) if save is not pickled else 0, "code": Code(trace)}, path)
    with pytest.raises(InputError, match=r"model\.pt: refused, reading it would run code") as caught:
        read_checkpoint(path)
    assert not trace.exists()
    assert "open" in str(caught.value)  # what the file wants to run is named
    assert "torch.save(network.state_dict(), FILE)" in str(caught.value)  # and what to do
    assert "weights_only" not in str(caught.value)  # torch's advice to run it is not passed on


def test_a_whole_network_object_is_refused(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "model.pt")
    with pytest.raises(InputError, match=r"refused.*torch\.nn\.modules\.linear\.Linear"):
        read_checkpoint(tmp_path / "model.pt")


# --- files that are no weights


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello, this is a README\n", "a text file, not weights; it begins with 'hello, this is a README'"),
        (b'{"model": []}', "a text file, not weights"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "a web page or XML, not weights"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n", "a pointer of Git LFS"),
        (b"\x1f\x8b\x08\x00abc", "compressed: unpack it first"),
        (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
        (b"", r"empty \(0 bytes\)"),
        (b"\x00\x01\x02\x03", "refused, damaged or no file of torch.save|cannot be read as weights"),
    ],
)
def test_other_files_are_named(tmp_path, content, message):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(InputError, match=rf"model\.pt: ({message})"):
        read_checkpoint(tmp_path / "model.pt")


def test_a_torchscript_program_is_named(tmp_path):
    torch.jit.save(torch.jit.script(torch.nn.Linear(2, 2)), tmp_path / "model.ts")
    with pytest.raises(
        InputError, match=r"a TorchScript program .*give the \.pt file that it was exported from"
    ):
        read_checkpoint(tmp_path / "model.ts")


def test_another_archive_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "weights.zip", "w") as archive:
        for i in range(4):
            archive.writestr(f"model_{i}.pt", b"x")
    with pytest.raises(InputError, match=r"a zip archive, not weights; .*4 \(model_0\.pt, .*, \.\.\.\)"):
        read_checkpoint(tmp_path / "weights.zip")


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.pt: no such weight file"):
        read_checkpoint(tmp_path / "none.pt")
    with pytest.raises(InputError, match="no such weight file"):
        read_checkpoint(tmp_path)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([b"", b"\x80\x02", b"}(", b"PK\x03\x04", b"cos\nsystem\n", b"\x09\0\0\0\0\0\0\0{"]),
    rest=st.binary(max_size=40),
)
def test_any_bytes_are_refused(tmp_path, start, rest):
    """A few bytes may happen to be a pickled number or list: read, but never taken for a state dict."""
    (tmp_path / "model.pt").write_bytes(start + rest)
    with pytest.raises(InputError):
        tensors_of(read_checkpoint(tmp_path / "model.pt"), "model.pt")


# --- damage


@pytest.mark.parametrize("part", [0.1, 0.5, 0.99])
@pytest.mark.parametrize("save", [torch.save, legacy, save_file])
def test_truncated_files_are_refused(tmp_path, save, part):
    path = tmp_path / "model.pt"
    save({"a": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[: int(part * path.stat().st_size)])
    with pytest.raises(
        InputError, match=r"model\.pt: .*(damaged|incomplete).*; copy or download it again|refused"
    ):
        read_checkpoint(path)


def test_a_truncated_safetensors_file_says_how_much_is_missing(tmp_path):
    save_file({"a": torch.ones(1000)}, tmp_path / "w.safetensors")
    whole = (tmp_path / "w.safetensors").read_bytes()
    (tmp_path / "w.safetensors").write_bytes(whole[:-100])
    with pytest.raises(InputError, match=rf"asks for {len(whole)} bytes, the file has {len(whole) - 100}"):
        read_checkpoint(tmp_path / "w.safetensors")


def test_one_flipped_bit_is_noticed(tmp_path):
    """PyTorch reads it without a word, so it is our check of the checksums that finds it."""
    path = tmp_path / "model.pt"
    torch.save({"a": torch.ones(1000)}, path)
    content = bytearray(path.read_bytes())
    content[content.index(b"\x00\x00\x80\x3f" * 4) + 2] ^= 1  # within the tensor: 1.0 is 0x3f800000
    path.write_bytes(content)
    assert not torch.equal(torch.load(path, weights_only=True)["a"], torch.ones(1000))
    with pytest.raises(InputError, match=r"damaged or incomplete \(its checksums do not fit\)"):
        read_checkpoint(path)


def test_files_without_checksums_are_read(tmp_path):
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "model.pt")
    finally:
        torch.serialization.set_crc32_options(True)
    assert torch.equal(read_checkpoint(tmp_path / "model.pt")["a"], torch.ones(3))


def test_a_zip_bomb_is_refused(tmp_path):
    """A file of 100 kB that would fill 100 MB: compressed zeros where a tensor's bytes belong."""
    buffer = io.BytesIO()
    torch.save({"a": torch.zeros(25_000_000)}, buffer)
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(buffer) as source, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb:
        for name in source.namelist():
            bomb.writestr(name, source.read(name))
    assert path.stat().st_size < 200_000
    with pytest.raises(InputError, match=r"bomb\.pt: refused, \d+ bytes would unpack to 10000\d{4}"):
        read_checkpoint(path)


def test_a_header_that_asks_for_too_much_is_refused(tmp_path):
    header = json.dumps({"a": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 8)
    with pytest.raises(InputError, match=r"asks for 40000000\d+ bytes"):
        read_checkpoint(tmp_path / "a.safetensors")
    (tmp_path / "a.safetensors").write_bytes(struct.pack("<Q", 2**60) + header)
    with pytest.raises(InputError, match="damaged or incomplete safetensors file"):
        read_checkpoint(tmp_path / "a.safetensors")


# --- the state dict within


@pytest.mark.parametrize("key", ["model", "network", "state_dict", "model_state_dict"])
def test_wrappers_are_opened(key):
    assert tensors_of({key: {"a": torch.ones(1)}, "epoch": 3}, "w") == {"a": torch.ones(1)}


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrapped_networks_are_dropped(prefix):
    tensors = {f"{prefix}head.bias": torch.ones(1), f"{prefix}module.weight": torch.ones(1)}
    assert list(tensors_of(tensors, "w")) == ["head.bias", "module.weight"]
    assert list(tensors_of({**tensors, "other": torch.ones(1)}, "w")) == [*tensors, "other"]


@pytest.mark.parametrize(
    ("content", "described"),
    [
        ([torch.zeros(1)], "list"),
        (torch.zeros(1), "Tensor"),
        ({}, r"a dictionary with the entries 0 \(\)"),
        ({"a": 1, "b": 2}, r"a dictionary with the entries 2 \(a, b\)"),
        ({0: torch.zeros(1)}, r"a dictionary with the entries 1 \(0\)"),
        ({"model": {"a": "b"}}, r"a dictionary with the entries 1 \(a\)"),
    ],
)
def test_other_content_is_refused(content, described):
    with pytest.raises(
        InputError, match=rf"w: expected a state dict \(names and tensors\), got {described}$"
    ):
        tensors_of(content, "w")
