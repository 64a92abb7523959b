"""Each rule that reading an entry can check refuses a copy that breaks it, and no other rule does."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil

import pytest

from monai_sam2unet import __version__
from monai_sam2unet.zoo import check_entry, check_files
from monai_sam2unet.zoo import metadata as rules
from monai_sam2unet.zoo.files import REQUIRED

META = "configs/metadata.json"
IMAGE = "network_data_format#inputs#image"


def only(folder, **options):
    """The one finding on a folder."""
    found = check_files(folder, **options)
    assert len(found) == 1, [str(finding) for finding in found]
    return found[0]


def test_the_entry_is_sound(entry):
    assert check_files(entry) == []


# --- files


@pytest.mark.parametrize("name", REQUIRED)
def test_missing_file(broken, name):
    (broken / name).unlink()
    # the model card refers to some of them, which is told, too
    found = [finding for finding in check_files(broken) if not finding.got.startswith("it refers to")]
    assert [(finding.file, finding.got) for finding in found] == [(name, "it is missing")]


def test_empty_licence(broken):
    (broken / "LICENSE").write_text("")
    assert str(only(broken)) == "LICENSE: it is empty; expected: the licence of the bundle; write it"


@pytest.mark.parametrize("content", ['{"a": 1', "[]"])
def test_config_that_is_no_object(broken, content):
    (broken / "configs/inference.json").write_text(content)
    finding = only(broken)
    assert finding.file == "configs/inference.json" and "cannot be read as JSON" in finding.got


@pytest.mark.parametrize("name", ["sam2unet_v2_polyps", "sam2-unet", "2d_polyps"])
def test_name_of_the_folder(broken, name):
    finding = only(broken.rename(broken.with_name(name)))
    assert finding.file == name and "letters, digits and _" in finding.expected


@pytest.mark.parametrize(
    "name",
    ["models/m.pt", "configs/.train.json.swp", "__pycache__/a.pyc", ".git/config", "models/model.pt.tmp"],
)
def test_stray_file(broken, name):
    (broken / name).parent.mkdir(exist_ok=True)
    (broken / name).write_bytes(b"a")
    finding = only(broken)
    assert finding.file == name and "does not belong" in finding.got


def test_package_called_scripts(broken):
    (broken / "scripts").mkdir()
    assert only(broken).file == "scripts"


@pytest.mark.skipif(not hasattr(os, "symlink") or os.name == "nt", reason="links need rights on Windows")
def test_link(broken):
    (broken / "docs/other.md").symlink_to(broken / "docs/README.md")
    assert only(broken).got == "it is a link"


def test_file_that_is_too_large(broken):
    (broken / "models/model.pt").write_bytes(bytes(25_000_001))  # the zoo's limit is 25 MB
    finding = only(broken)
    assert finding.file == "models/model.pt" and "large_files.yml" in finding.remedy


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("docs/README.md", "\nSee /home/ann/data.", "/home/ann"),
        ("docs/configs.md", "\nC:\\Users\\ann\\x", "C:\\Users\\ann"),
        ("docs/data_license.txt", "\n/Users/ann/b", "/Users/ann"),
    ],
)
def test_private_path_in_a_text(broken, name, text, told):
    with open(broken / name, "a") as file:
        file.write(text)
    finding = only(broken)
    assert finding.file == name and told in finding.got


@pytest.mark.parametrize("value", ["/workspace/data", "~/data", "D:\\data"])
def test_absolute_path_in_a_config(broken, edit, value):
    edit("configs/train.json", "demo_dir", value)
    finding = only(broken)
    assert finding.file == "configs/train.json" and value in finding.got


# --- large files


def listed(folder, suffix="json", **changes):
    """List the model as a large file of the entry."""
    digest = hashlib.sha1((folder / "models/model.pt").read_bytes()).hexdigest()
    item = {"path": "models/model.pt", "url": "https://x.org/a", "hash_val": digest, "hash_type": "sha1"}
    item = {key: value for key, value in {**item, **changes}.items() if value is not ...}
    (folder / f"large_files.{suffix}").write_text(json.dumps({"large_files": [item]}))


def test_large_files(broken):
    listed(broken, "yml")
    assert check_files(broken) == []
    listed(broken, "yml", hash_val="", hash_type="")  # empty is as good as none, as in the zoo's template
    assert check_files(broken) == []
    (broken / "models/model.pt").unlink()
    assert check_files(broken) == []
    assert [str(f)[:60] for f in check_entry(broken) if f.file == "models/model.pt"] == [
        "models/model.pt: it is listed as a large file only; expected"
    ]


def test_large_files_in_yaml(broken):
    pytest.importorskip("yaml")
    text = 'large_files:\n  - path: "models/model.pt"\n    url: "{}"\n'
    (broken / "large_files.yml").write_text(text.format("https://x.org/a"))
    assert check_files(broken) == []
    (broken / "large_files.yml").write_text(text.format("ftp://x.org/a"))
    assert "url 'ftp://x.org/a'" in only(broken).got
    (broken / "large_files.yml").write_text("large_files: [")
    assert "cannot be read" in only(broken).got


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"path": "../model.pt"}, "has the path '../model.pt'"),
        ({"path": "/models/model.pt"}, "has the path '/models/model.pt'"),
        ({"path": ...}, "has the path None"),
        ({"url": "models/model.pt"}, "has the url 'models/model.pt'"),
        ({"url": ...}, "has the url None"),
        ({"hash_type": "crc"}, "hash_type 'crc'"),
        ({"hash_type": ...}, "hash_type None"),
        ({"hash_val": "12ab"}, "hash_val '12ab'"),
        ({"hash_val": "0" * 40}, "sha1 0000"),
        ({"sha": "12ab"}, "has the keys ['sha']"),
    ],
)
def test_wrong_large_file(broken, changes, told):
    listed(broken, **changes)
    finding = only(broken)
    assert finding.file == "large_files.json" and told in finding.got


def test_large_files_of_another_form(broken):
    (broken / "large_files.json").write_text('{"files": []}')
    assert only(broken).got == "no list large_files"
    (broken / "large_files.json").write_text('{"large_files": ["models/model.pt"]}')
    assert "file 1 is 'models/model.pt'" in only(broken).got
    listed(broken)
    listed(broken, "yaml")
    assert only(broken).got == "there is also large_files.json"


# --- metadata


@pytest.mark.parametrize("key", rules.REQUIRED)
def test_missing_key(broken, edit, key):
    edit(META, key, ...)
    assert f"no {key}" in [finding.got for finding in check_files(broken)]


@pytest.mark.parametrize("key", [k for k in rules.TYPES if k != "optional_packages_version"])
def test_key_of_a_wrong_type(broken, edit, key):
    edit(META, key, 1)
    assert f"{key} is 1" in [finding.got for finding in check_files(broken)]


@pytest.mark.parametrize("key", rules.TENSOR)
def test_tensor_of_a_wrong_type(broken, edit, key):
    edit(META, f"{IMAGE}#{key}", None)
    assert f"{IMAGE}#{key} is None" in [finding.got for finding in check_files(broken)]


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        (
            "schema",
            "https://x.org/meta_schema_20220324.json",
            "schema is 'https://x.org/meta_schema_20220324",
        ),
        ("authors", "", "authors is empty"),
        ("references", ["one", 2], "references is 2"),
        ("version", "9.9.9", "version '9.9.9' is not in changelog"),
        ("changelog", {"0.1.0": "first", __version__: "now"}, "is not first in changelog"),
        ("monai_version", ">=1.6", "monai '>=1.6'"),
        ("monai_version", "1.6.1rc1", "monai '1.6.1rc1'"),  # the zoo's tests count up the last number
        ("pytorch_version", "2.13.*", "torch '2.13.*'"),
        ("required_packages_version#tqdm", 4, "tqdm 4"),
        ("optional_packages_version", {"onnx": "latest"}, "onnx 'latest'"),
        (f"{IMAGE}#num_channels", ..., f"no {IMAGE}#num_channels"),
        (f"{IMAGE}#num_channels", True, f"{IMAGE}#num_channels is True"),
        (f"{IMAGE}#spatial_shape", ["32*n", 1.5], f"{IMAGE}#spatial_shape is 1.5"),
        (f"{IMAGE}#value_range", [0], f"{IMAGE}#value_range is [0]"),
        (f"{IMAGE}#value_range", ["0", "1"], f"{IMAGE}#value_range is ['0', '1']"),
        (f"{IMAGE}#channel_def", {"0": "red"}, f"{IMAGE}#channel_def has ['0']"),
        (IMAGE, None, f"{IMAGE} is None"),
        ("network_data_format#outputs", ..., "network_data_format#outputs is None"),
        ("network_data_format#outputs", {"mask": 1}, "no network_data_format#outputs#pred"),
        ("other_data_format", {"inputs": {}}, "other_data_format#outputs is None"),
    ],
)
def test_wrong_metadata(broken, edit, key, value, told):
    edit(META, key, value)
    finding = only(broken)
    assert finding.file == META and told in finding.got


def test_version_that_the_zoo_has(entry):
    version = json.loads((entry / META).read_text())["version"]
    known = {f"{entry.name}_v{version}": {}, "other_v1": {}}
    assert f"the zoo has {entry.name} in version {version}" in only(entry, known=known).got
    assert check_files(entry, known={f"{entry.name}_v0.0.1": {}}) == []


def test_versions_that_are_installed(broken, edit, monkeypatch):
    named = rules.packages(json.loads((broken / META).read_text()))
    assert {"monai", "torch", "numpy", "pillow"} <= named.keys()
    monkeypatch.setattr(rules.metadata, "version", lambda package: f"{named[package]}+cpu")
    assert [*rules.check_installed(broken)] == []
    edit(META, "pytorch_version", "1.0")
    (finding,) = rules.check_installed(broken)
    assert finding.got == f"torch 1.0, here {named['torch']}"


def test_package_that_is_not_installed(broken, edit):
    edit(META, "required_packages_version", {"no-such-package": "1.0"})
    assert "no-such-package 1.0, here not installed" in [f.got for f in rules.check_installed(broken)]


def test_versions_of_the_package_index(entry):
    named = rules.packages(json.loads((entry / META).read_text()))
    assert [*rules.check_online(entry, lambda package: ["99", named[package]])] == []
    found = [
        *rules.check_online(entry, lambda package: ["99", "98"] if package == "tqdm" else [named[package]])
    ]
    assert [re.sub(r"\d[\d.]+\d", "N", finding.got) for finding in found] == ["tqdm N cannot be installed"]
    assert "which has 99, 98" in found[0].expected


# --- configs


@pytest.mark.parametrize(
    ("file", "key"),
    [
        ("configs/inference.json", "network_def"),
        ("configs/inference.json", "output_dir"),
        ("configs/train.json", "val_interval"),
        ("configs/train.json", "train#dataset#data"),
        ("configs/train.json", "train#trainer#max_epochs"),
        ("configs/train.json", "validate#key_metric"),
    ],
)
def test_missing_id(broken, edit, file, key):
    edit(file, key, ...)
    finding = only(broken)
    assert (finding.file, finding.got) == (file, f"no {key}")


def test_handlers_that_are_no_list(broken, edit):
    edit("configs/train.json", "train#handlers", "$[]")
    assert only(broken).got == "train#handlers is no list"


def test_interval_of_validation(broken, edit):
    handlers = json.loads((broken / "configs/train.json").read_text())["train"]["handlers"]
    changed = [{**h, "interval": 1} if h["_target_"] == "ValidationHandler" else h for h in handlers]
    edit("configs/train.json", "train#handlers", changed)
    assert only(broken).got == "interval of the ValidationHandler is 1"


# --- model card and terms


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("### Input\n", "### Pictures\n", "no section Input"),
        ("## References\n", "## Reference\n", "no section References"),
        ("(configs.md)", "(settings.md)", "it refers to settings.md"),
        ("(../LICENSE)", "(../../LICENSE)", "it refers to ../../LICENSE"),
    ],
)
def test_wrong_model_card(broken, old, new, told):
    card = broken / "docs/README.md"
    assert old in card.read_text()
    card.write_text(card.read_text().replace(old, new))
    assert only(broken).got == told


def test_section_out_of_order(broken):
    card = broken / "docs/README.md"
    text = card.read_text()
    data = text[text.index("## Data\n") : text.index("## Training configuration\n")]
    card.write_text(text.replace(data, "") + data)
    finding = only(broken)
    assert finding.got.endswith("License, Data") and "Overview, Data, Training" in finding.expected


def test_data_set_without_terms(broken):
    terms = broken / "docs/data_license.txt"
    terms.write_text(terms.read_text().replace("BUSI", "Breast"))
    assert only(broken).got == "nothing on BUSI"


# --- all at once


def test_all_findings_are_given_at_once(broken, edit):
    (broken / "LICENSE").unlink()
    edit(META, "task", 3)
    edit("configs/inference.json", "device", ...)
    shutil.rmtree(broken / "docs")
    found = {finding.file for finding in check_entry(broken)}
    assert {"LICENSE", META, "configs/inference.json", "docs/README.md", "docs/data_license.txt"} <= found
