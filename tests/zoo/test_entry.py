"""What an entry is made of, what it must agree with in the repository, and the archive."""

from __future__ import annotations

import json
import os
import shutil
import zipfile

import pytest

import monai_sam2unet
from monai_sam2unet.errors import InputError
from monai_sam2unet.zoo import check_repository, find_model, has_unreleased_changes, stage, write_archive

TOP = {"LICENSE", "NOTICE", "README.md", "CHANGELOG.md", "CITATION.cff", "configs", "docs", "models"}


def names(folder):
    """Files below a folder."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


# --- what belongs to it


def test_parts(entry, bundle_root, model):
    assert {path.name for path in entry.iterdir()} == TOP
    assert names(entry / "models") == ["README.md", "model.json", "model.pt", "pretrained/README.md"]
    assert (entry / "models/model.pt").read_bytes() == model.read_bytes()
    assert (entry / "models/model.json").read_text() == model.with_suffix(".json").read_text()
    configs = {path.name for path in (bundle_root / "configs").glob("*.json")} | {"logging.conf"}
    assert {path.name for path in (entry / "configs").iterdir()} == configs


def test_private_files_stay_at_home(bundle_root, model, tmp_path):
    root = tmp_path / "repository"
    for part in ("configs", "docs"):
        shutil.copytree(bundle_root / part, root / part)
    private = "configs/.mine.json", "docs/.cache/a.md", "docs/patients.csv", "models/a.pt", "runs/a.json"
    for name in (*private, "models/pretrained/sam2_hiera_tiny.pt", "tests/test_a.py", ".env"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("{}")
    (root / "docs/notes.md").write_text("x")
    made = names(stage(root, model, tmp_path, "polyps"))
    assert [name for name in made if not name.startswith(("configs/", "docs/"))] == [
        "models/model.json", "models/model.pt"
    ]  # fmt: skip
    assert "docs/notes.md" in made and not {*private} & {*made}


def test_code_goes_along_if_wanted(bundle_root, model, tmp_path):
    made = names(stage(bundle_root, model, tmp_path, "polyps", with_code=True) / "monai_sam2unet")
    assert {"__init__.py", "py.typed", "networks/hiera.py", "zoo/entry.py"} <= {*made}
    assert not [name for name in made if not name.endswith((".py", "py.typed"))]


def test_which_model(tmp_path, model):
    with pytest.raises(InputError, match=r"no such model: .*model\.pt or .*polypgen_nano\.pt; train one"):
        find_model(tmp_path)
    (tmp_path / "models").mkdir()
    shipped, own = tmp_path / "models/polypgen_nano.pt", tmp_path / "models/model.pt"
    shipped.touch()
    assert find_model(tmp_path) == shipped
    own.touch()
    assert find_model(tmp_path) == own
    assert find_model(tmp_path, model) == model
    with pytest.raises(InputError, match=r"no such model: nowhere\.pt;"):
        find_model(tmp_path, "nowhere.pt")


def test_folder_that_is_no_bundle(tmp_path, model):
    with pytest.raises(InputError, match="no folder configs"):
        stage(tmp_path, model, tmp_path / "out")


# --- the rest of the repository


@pytest.fixture
def root(bundle_root, tmp_path):
    """A copy of what is compared."""
    for name in ("CHANGELOG.md", "CITATION.cff", "constraints.txt", "configs/metadata.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(bundle_root / name, tmp_path / name)
    return tmp_path


def test_the_repository_agrees_with_itself(bundle_root, root):
    assert check_repository(bundle_root) == check_repository(root) == []


@pytest.mark.parametrize(
    ("file", "old", "new", "told"),
    [
        ("CHANGELOG.md", "## [{version}]", "## [9]", "no line ## [{version}]"),
        ("CITATION.cff", "version: {version}", "version: 9", "no line version: {version}"),
        ("constraints.txt", "torch==2.13.0", "torch==2.12.0", "torch 2.13.0, constraints.txt has 2.12.0"),
        ("constraints.txt", "tqdm==", "tqdm2==", "tqdm {tqdm}, constraints.txt has none"),
    ],
)
def test_what_differs(root, file, old, new, told):
    meta = json.loads((root / "configs/metadata.json").read_text())
    words = {"version": meta["version"], "tqdm": meta["required_packages_version"]["tqdm"]}
    text = (root / file).read_text()
    old = old.format(**words).replace("torch==2.13.0", f"torch=={meta['pytorch_version']}")
    assert old in text
    (root / file).write_text(text.replace(old, new))
    (finding,) = check_repository(root)
    assert finding.got == told.format(**words).replace("torch 2.13.0", f"torch {meta['pytorch_version']}")


def test_version_of_the_package(root):
    path = root / "configs/metadata.json"
    version = monai_sam2unet.__version__
    path.write_text(path.read_text().replace(f'"version": "{version}"', '"version": "0.0.1"'))
    found = [finding.got for finding in check_repository(root)]
    assert found == [
        f"version 0.0.1, the package has {version}", "no line ## [0.0.1]", "no line version: 0.0.1"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("## [Unreleased]\n\n### Added\n\n- one\n\n## [1.0]\n", True),
        ("## [Unreleased]\n\n## [1.0]\n\n- one\n", False),
        ("## [1.0]\n\n- one\n", False),
        (None, False),
    ],
)
def test_unreleased_changes(tmp_path, text, expected):
    if text is not None:
        (tmp_path / "CHANGELOG.md").write_text(text)
    assert has_unreleased_changes(tmp_path) is expected


# --- the archive


def test_archive(entry, tmp_path):
    path = tmp_path / "dist" / "polyps.zip"
    written = write_archive(entry, path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == written == [f"{entry.name}/{name}" for name in names(entry)]
        assert not [info for info in archive.infolist() if info.is_dir() or info.filename.startswith("/")]
        archive.extractall(tmp_path / "out")
    for name in names(entry):
        assert (tmp_path / "out" / entry.name / name).read_bytes() == (entry / name).read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["polyps.zip"]


def test_the_same_bytes_from_the_same_content(entry, tmp_path):
    """Whatever the order in which the files were made, their dates and rights are."""
    other = tmp_path / entry.name
    for name in reversed(names(entry)):
        (other / name).parent.mkdir(parents=True, exist_ok=True)
        (other / name).write_bytes((entry / name).read_bytes())
        os.utime(other / name, (0, 1_000_000_000))
        os.chmod(other / name, 0o600)
    for folder, path in ((entry, tmp_path / "one.zip"), (other, tmp_path / "two.zip")):
        write_archive(folder, path)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_an_archive_that_cannot_be_written_leaves_the_old_one(entry, tmp_path, monkeypatch):
    path = tmp_path / "polyps.zip"
    path.write_bytes(b"old")
    monkeypatch.setattr(zipfile.ZipFile, "writestr", lambda *_, **__: (_ for _ in ()).throw(OSError("full")))
    with pytest.raises(InputError, match="cannot be written"):
        write_archive(entry, path)
    assert [(file.name, file.read_bytes()) for file in tmp_path.iterdir()] == [("polyps.zip", b"old")]
