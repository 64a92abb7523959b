"""The command line that looks for pictures and patients on both sides of a split."""

import json
import re
import subprocess
import sys

import pytest
from PIL import Image

from monai_sam2unet.data import draw_case, load_datalists
from scripts import check_leakage


@pytest.fixture
def run(capsys, monkeypatch):
    """`run(*arguments)` gives exit status, output in one line, and errors."""
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments):
        status = check_leakage.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, " ".join(out.split()), err

    return call


def write(root, **splits):
    """`{split}/images` and `{split}/masks` with the frames of these numbers."""
    for split, numbers in splits.items():
        for i in numbers:
            for folder, array in zip(("images", "masks"), draw_case(i), strict=True):
                file = root / split / folder / f"{i:03d}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(file)
    return root


def test_nothing_on_two_sides(run, tmp_path):
    folder = write(tmp_path / "sound", train=(0, 4, 8), val=(12, 16), test=(20,))
    status, out, err = run(folder, "--output", tmp_path / "out")
    assert (status, err) == (0, "")
    assert "sound train 3, sound validation 2, sound test 1" in out and "Nothing stands on two sides." in out
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["leakage.csv"]


def test_pictures_on_two_sides(run, tmp_path):
    folder = write(tmp_path / "leaky", train=(0, 4, 8), val=(12, 4))
    other = write(tmp_path / "other", train=(24,), val=(28,), test=(8,))
    status, out, _ = run(folder, other, "--output", tmp_path / "out", "--workers", 1)
    assert status == 1
    assert "│ leaky train │ leaky validation │ 1 │ 0 │ 0 │" in out
    assert "│ leaky train │ other test │ 1 │ 0 │ 0 │" in out
    one, two = folder / "train/images/004.png", folder / "val/images/004.png"
    assert f"exact 1.000 leaky train: {one} = leaky validation: {two}" in out
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["leakage.csv", "leakage.png"]


def test_the_datalist_of_a_run_and_its_groups(run, tmp_path):
    folder = write(tmp_path / "set", train=range(0, 24, 4), val=(24, 28))
    listed = tmp_path / "run" / "datalist.json"
    load_datalists(folder).write(listed)
    assert run("--datalist", listed, folder)[0] == 0
    document = json.loads(listed.read_text())
    document["training"][0]["group"] = document["validation"][1]["group"] = "patient 7"
    listed.write_text(json.dumps(document))
    status, out, _ = run("--datalist", listed, folder)
    assert status == 1
    assert "│ set train │ set validation │ 0 │ 0 │ 1 │" in out
    assert "group patient 7: set train and set validation" in out


def test_repeated_within_one_split(run, tmp_path):
    folder = write(tmp_path / "set", train=(0, 4), val=(8,))
    (folder / "train/images/copy.png").write_bytes((folder / "train/images/000.png").read_bytes())
    (folder / "train/masks/copy.png").write_bytes((folder / "train/masks/000.png").read_bytes())
    assert run(folder)[0] == 0
    status, out, _ = run(folder, "--within")
    assert status == 0 and "│ set train │ set train │ 1 │ 0 │ 0 │" in out
    assert "Nothing stands on two sides." in out


def test_unreadable_file(run, tmp_path):
    folder = write(tmp_path / "set", train=(0, 4), val=(8,))
    (folder / "train/images/004.png").write_text("no picture")
    status, out, _ = run(folder)
    assert status == 1 and "1 file cannot be read" in out and "004.png" in out


def test_errors_are_one_line(run, tmp_path):
    folder = write(tmp_path / "set", train=(0,), val=(8,))
    for arguments, expected in (
        ([tmp_path / "nowhere"], "nowhere is not there"),
        ([], "nothing to compare"),
        ([folder, folder], "is given twice"),
        (["--datalist", tmp_path / "a.json", folder], "a.json is not there"),
    ):
        status, out, err = run(*arguments)
        assert (status, out) == (1, "") and err.startswith("Error: ") and expected in err
        assert err.count("\n") == 1
    (tmp_path / "file").touch()
    status, _, err = run(folder, "--output", tmp_path / "file" / "out")
    assert status == 1 and "cannot write here" in err


def test_wrong_numbers(run, tmp_path):
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "--workers", 0)


def test_help_answers_at_once(bundle_root):
    """Neither torch nor MONAI is loaded for it: those take seconds."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "scripts.check_leakage", "--help"],
        cwd=bundle_root,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(re.findall(r"^import time:.*\| +(\S+)$", done.stderr, re.MULTILINE))
    assert "argparse" in loaded
    assert not {n for n in loaded if n.split(".")[0] in ("torch", "monai", "monai_sam2unet", "numpy", "rich")}
    assert "--within" in done.stdout and "Exit status" in done.stdout
