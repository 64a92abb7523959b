"""Published weight files: the table, and what a download does with what is there."""

import hashlib
import re
from types import SimpleNamespace

import pytest

from monai_sam2unet.errors import InputError
from monai_sam2unet.networks import VARIANTS
from monai_sam2unet.networks.weights.pretrained import (
    BLOCK,
    PRETRAINED,
    PretrainedFile,
    download,
    pretrained_file,
    sha256_of,
)
from tests.weight_server import CONTENT, SHA256, contents, serving

FILE = PretrainedFile("weights.pt", "http://localhost/nowhere", SHA256, len(CONTENT))
# FIPS 180-4, example of SHA-256
SHA256_OF_ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


def test_the_table_has_each_variant_in_both_generations():
    variants = [v for v in VARIANTS if v != "nano"]
    assert sorted(PRETRAINED) == sorted((sam, v) for sam in ("2", "2.1") for v in variants)
    for (sam, variant), file in PRETRAINED.items():
        assert file.name == f"sam{sam}_hiera_{variant}.pt"
        assert file.url.endswith(f"/{file.name}")
        assert re.fullmatch("[0-9a-f]{64}", file.sha256)
    assert len({f.sha256 for f in PRETRAINED.values()}) == len({f.size for f in PRETRAINED.values()}) == 8


def test_addresses_are_those_of_the_sam_2_page():
    """Links of https://github.com/facebookresearch/sam2, README.md."""
    folder = "https://dl.fbaipublicfiles.com/segment_anything_2"
    assert pretrained_file("2", "base_plus").url == f"{folder}/072824/sam2_hiera_base_plus.pt"
    assert pretrained_file("2.1", "tiny").url == f"{folder}/092824/sam2.1_hiera_tiny.pt"


def test_the_readme_lists_the_table(bundle_root):
    text = (bundle_root / "models" / "pretrained" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(\w+)` \| `(\S+)` \| ([\d ]+) \| `(\w+)` \|$", text, re.MULTILINE)
    table = [(v, f.name, f"{f.size:,}".replace(",", " "), f.sha256) for (_, v), f in PRETRAINED.items()]
    assert rows == table


def test_what_is_not_in_the_table_is_named():
    with pytest.raises(
        InputError, match=r"'nano' has no weights of SAM 2\.1 \(there are: tiny, small, base_"
    ):
        pretrained_file("2.1", "nano")
    with pytest.raises(InputError, match=r"no generation '3' of SAM 2; there are: 2, 2\.1"):
        pretrained_file("3", "tiny")


def test_sha256(tmp_path):
    path = tmp_path / "a"
    path.write_bytes(b"abc")
    assert sha256_of(path) == SHA256_OF_ABC
    for length in (0, BLOCK, 2 * BLOCK + 1):
        content = bytes(i % 251 for i in range(length))
        path.write_bytes(content)
        assert sha256_of(str(path)) == hashlib.sha256(content).hexdigest()


@pytest.mark.parametrize("end", ["", "/", "/weights.pt"])
def test_a_file_is_downloaded_from_a_source(server, tmp_path, end):
    folder = tmp_path / "new" / "folder"
    assert download(FILE, folder, server.url + end) == folder / "weights.pt"
    assert contents(folder) == {"weights.pt": CONTENT}


def test_without_a_source_the_published_address_is_asked(server, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = PretrainedFile("a.pt", f"{server.url}/a.pt", SHA256, len(CONTENT))
    assert download(file, ".") == tmp_path / "a.pt"
    assert contents(tmp_path) == {"a.pt": CONTENT}


def test_the_right_file_is_left_alone(server, tmp_path, caplog):
    path = tmp_path / "weights.pt"
    path.write_bytes(CONTENT)
    before = path.stat()
    with caplog.at_level("INFO"):
        assert download(FILE, tmp_path, server.url, force=True) == path
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert server.asked == [] and "is there already" in caplog.text


def test_another_file_is_replaced_only_if_asked(server, tmp_path):
    (tmp_path / "weights.pt").write_bytes(b"abc")
    with pytest.raises(
        InputError, match=rf"its sha256 is {SHA256_OF_ABC}, expected {SHA256}; delete it, .*--force"
    ):
        download(FILE, tmp_path, server.url)
    assert server.asked == []
    server.statuses = iter([500])
    with pytest.raises(InputError, match="server is in trouble"):
        download(FILE, tmp_path, server.url, force=True)
    assert contents(tmp_path) == {"weights.pt": b"abc"}  # until the right one is there
    download(FILE, tmp_path, server.url, force=True)
    assert contents(tmp_path) == {"weights.pt": CONTENT}


def test_a_failure_says_how_else_to_get_the_file(server, tmp_path):
    server.statuses = iter([404])
    with pytest.raises(InputError) as caught:
        download(FILE, tmp_path, server.url)
    text = str(caught.value)
    assert text.startswith(f"{server.url}/weights.pt: ") and "\n" not in text
    assert "--source" in text and f"download {FILE.url} on another machine" in text
    assert text.endswith(f"into {tmp_path} under the name weights.pt (sha256 {SHA256})")


@pytest.mark.parametrize("source", ["/data/weights", "example.org/sam2", "ftp://example.org", "https://"])
def test_a_source_that_is_no_address(tmp_path, source):
    with pytest.raises(InputError, match=f"source '{source}': expected the address of a folder"):
        download(FILE, tmp_path / "new", source)
    assert not (tmp_path / "new").exists()


def test_too_little_space(server, tmp_path, monkeypatch):
    monkeypatch.setattr("shutil.disk_usage", lambda _: SimpleNamespace(free=200_000))
    with pytest.raises(InputError, match=r"weights \(weights\.pt\) need 0 MiB, free are 0 MiB"):
        download(FILE, tmp_path, server.url)
    assert server.asked == [] and contents(tmp_path) == {}
    (tmp_path / "weights.pt.part").write_bytes(CONTENT[:100_000])
    download(FILE, tmp_path, server.url)  # the rest fits
    assert contents(tmp_path) == {"weights.pt": CONTENT}


def test_a_folder_under_the_name_of_the_file(server, tmp_path):
    (tmp_path / "weights.pt").mkdir()
    with pytest.raises(InputError, match=r"weights\.pt: cannot be read \(Is a directory\); move it away"):
        download(FILE, tmp_path, server.url, force=True)
    assert server.asked == []
