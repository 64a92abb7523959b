"""The command line that compares two evaluations."""

import csv
import json
import subprocess
import sys

import pytest

from monai_sam2unet.metrics import CASE_COLUMNS, VOLUME_COLUMNS
from scripts import compare_runs

# Six pictures of 10x10 of three patients, one without a lesion; Dice, HD95 and lesions found per picture.
# Run B has a Dice higher by 0.1, misses the third picture altogether, and raises no false alarm.
GROUPS = ("p1", "p1", "p2", "p2", "p3", "p3")
RUNS = {
    "a": {"dice": (0.5, 0.6, 0.7, 0.8, 0.4, ""), "hd95": (4, 4, 9, 2, 2, ""), "found": (1, 1, 1, 2, 0, 0)},
    "b": {"dice": (0.6, 0.7, 0.8, 0.9, 0.5, ""), "hd95": (3, 3, "", 1, 1, ""), "found": (1, 1, 0, 2, 1, 0)},
}
LESIONS = (1, 1, 1, 2, 1, 0)


def rows_of(name):
    run = RUNS[name]
    for i, group in enumerate(GROUPS):
        empty = LESIONS[i] == 0
        yield {
            **dict.fromkeys(CASE_COLUMNS, "" if empty else 0.5),
            "case": f"images/{i}", "group": group, "height": 10, "width": 10, "specificity": 0.9,
            "reference_pixels": 0 if empty else 20, "predicted_pixels": 20 if name == "a" or not empty else 0,
            "dice": run["dice"][i], "hd95": run["hd95"][i],
            "lesions": LESIONS[i], "lesions_found": run["found"][i],
            "false_positives": int(empty and name == "a"),
        }  # fmt: skip


def write(folder, rows, settings=None):
    folder.mkdir(exist_ok=True)
    rows = list(rows)
    with open(folder / "metrics.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    if settings is not None:
        (folder / "summary.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def runs(tmp_path):
    """Folders of both runs."""
    return [write(tmp_path / name, rows_of(name), {"tolerance": 3, "threshold": 0.5}) for name in RUNS]


@pytest.fixture
def call(capsys, monkeypatch):
    """`call(*arguments)` gives exit status, output in one line, and errors."""
    monkeypatch.setenv("COLUMNS", "80")

    def made(*arguments):
        status = compare_runs.main([str(a) for a in arguments])
        out, err = capsys.readouterr()
        return status, " ".join(out.split()), err

    return made


def test_figures_by_hand(call, runs, tmp_path):
    status, out, _ = call(*runs, "--output", tmp_path / "difference.json")
    found = json.loads((tmp_path / "difference.json").read_text())
    assert status == 0 and "6 cases in 3 groups" in out
    # every case is better by 0.1, so every sample is; three patients show no more than 2 / 2**3
    assert "dice 0.6000 0.7000 +0.1000 +0.1000 to +0.1000 0.250 5" in out
    assert found["dice"] == pytest.approx({
        "first": 0.6, "second": 0.7, "difference": 0.1, "low": 0.1, "high": 0.1, "p": 0.25, "cases": 5,
        "groups": 3, "in_one_run_only": 0,
    })  # fmt: skip
    # 9 is not compared with nothing: means of 4 4 2 2 and 3 3 1 1, and it is said
    assert "hd95 3.00 2.00 -1.00 -1.00 to -1.00 0.250 4" in out
    assert "hd95: left out are 1 cases that one run alone has it for" in out
    assert found["hd95"]["in_one_run_only"] == 1
    # both found 5 of 6 lesions; by patient 0 of 2, -1 of 3, +1 of 1
    sensitivity = found["lesion_sensitivity"]
    assert sensitivity["first"] == sensitivity["second"] == pytest.approx(5 / 6)
    assert sensitivity["low"] == pytest.approx(-1 / 3) and sensitivity["high"] == pytest.approx(1)
    # one false component in six pictures against none
    assert found["false_positives"]["difference"] == pytest.approx(-1 / 6)
    assert (found["false_alarm_rate"]["first"], found["false_alarm_rate"]["second"]) == (1, 0)
    assert found["false_area_fraction"]["difference"] == pytest.approx(-0.2)


def test_order_of_rows_does_not_matter(call, runs, tmp_path):
    call(*runs, "--output", tmp_path / "one.csv")
    write(runs[1], reversed(list(rows_of("b"))))
    status, _, _ = call(*runs, "--output", tmp_path / "two.csv")
    assert status == 0 and (tmp_path / "one.csv").read_text() == (tmp_path / "two.csv").read_text()
    with open(tmp_path / "one.csv", newline="") as file:
        table = {row["figure"]: row for row in csv.DictReader(file)}
    assert float(table["dice"]["difference"]) == pytest.approx(0.1)
    assert set(table) > {"iou", "nsd", "hd95", "specificity"}


def test_reports_of_version_0_2_are_compared_in_what_they_have(call, runs):
    old = [{k: v for k, v in row.items() if k not in CASE_COLUMNS[-5:]} for row in rows_of("b")]
    status, out, _ = call(runs[0], write(runs[1], old))
    assert status == 0 and "dice 0.6000 0.7000" in out
    assert not any(name in out for name in ("nsd", "hd95", "lesion", "false_positives"))


def changed(name, which, **cells):
    return [{**row, **(cells if row["case"] == which else {})} for row in rows_of(name)]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (list(rows_of("b"))[1:], ["only in", "/a: 1 (images/0)", "same subset"]),
        (changed("b", "images/3", case="images/9"), ["/a: 1 (images/3)", "/b: 1 (images/9)"]),
        (changed("b", "images/2", reference_pixels=21), ["reference_pixels differs for 1 (images/2)"]),
        (changed("b", "images/2", group="p9"), ["group differs for 1 (images/2)"]),
        (changed("b", "images/2", lesions=4), ["lesions differs for 1 (images/2)"]),
        (changed("b", "images/2", case="images/1"), ["line 4: case images/1 is there twice"]),
        (changed("b", "images/2", dice="good"), ["line 4: not as an evaluation writes it", "good"]),
        (changed("b", "images/2", predicted_pixels=""), ["line 4", "predicted_pixels is no number"]),
        ([{"name": 1, "value": 2}], ["line 2: not as an evaluation writes it"]),
    ],
)
def test_runs_that_cannot_be_paired(call, runs, rows, words):
    write(runs[1], rows)
    status, out, err = call(*runs)
    assert (status, out) == (1, "") and err.startswith("Error: ") and "Traceback" not in err
    assert all(word in err for word in words), err


def test_other_settings_of_the_figures_are_refused(call, runs):
    """The threshold may differ, that is what is compared; the tolerance of NSD must not."""
    write(runs[1], rows_of("b"), {"tolerance": 3, "threshold": 0.3})
    assert call(*runs)[0] == 0
    write(runs[1], rows_of("b"), {"tolerance": 5, "threshold": 0.5})
    status, _, err = call(*runs)
    assert status == 1 and "another tolerance (3 and 5)" in err


def test_files_that_cannot_be_read(call, runs, tmp_path):
    status, _, err = call(runs[0], tmp_path / "nowhere")
    assert status == 1 and "nowhere/metrics.csv: cannot be read (No such file" in err
    status, _, err = call(*runs, "--output", tmp_path / "difference.txt")
    assert status == 1 and "--output must end in .csv or .json" in err
    (runs[0] / "summary.json").write_text("{")
    status, _, err = call(*runs)
    assert status == 1 and "summary.json: cannot be read as JSON" in err
    (runs[0] / "metrics.csv").write_text("case,group\n")
    status, _, err = call(*runs)
    assert status == 1 and "holds no cases" in err


def test_help_answers_at_once(bundle_root):
    code = """
import runpy, sys
sys.argv = ["compare_runs", "--help"]
try:
    runpy.run_module("scripts.compare_runs", run_name="__main__")
finally:
    print(sorted({"torch", "monai", "rich", "numpy"} & sys.modules.keys()))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=bundle_root, capture_output=True, text=True)
    assert done.returncode == 0 and "RUN_A RUN_B" in done.stdout
    assert done.stdout.endswith("[]\n")


def test_several_classes_are_compared_each_for_itself(tmp_path, call):
    """Class two is class one with the runs exchanged: the same difference, of another sign."""
    folders = []
    for name, other in (("a", "b"), ("b", "a")):
        both = [
            {**row, "class": label} for label, of in (("one", name), ("two", other)) for row in rows_of(of)
        ]
        folders.append(write(tmp_path / name, both))
    status, out, _ = call(*folders, "--output", tmp_path / "out.json")
    assert status == 0 and "6 cases in 3 groups" in out
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["dice (one)"]["difference"] == pytest.approx(0.1)  # as RUNS says
    assert found["dice (two)"]["difference"] == pytest.approx(-0.1)
    assert found["dice (one)"]["cases"] == found["dice (two)"]["cases"] == 5


def test_runs_on_volumes(tmp_path, call):
    """Two structures of three volumes; the second run is better by 0.1, and by 1 mm."""
    for name, gain in (("a", 0), ("b", 0.1)):
        rows = [
            {
                **dict.fromkeys(VOLUME_COLUMNS, 0.5), "case": f"v{i}", "group": f"v{i}", "class": label,
                "dice": 0.5 + 0.1 * i + gain, "hd95": 4 - 10 * gain,
            }
            for i in range(3)
            for label in ("head", "tail")
        ]  # fmt: skip
        write(tmp_path / name, rows, {"tolerance": 1})
    status, said, _ = call(tmp_path / "a", tmp_path / "b")
    assert status == 0 and "3 cases in 3 groups" in said
    assert "dice (head) 0.6000 0.7000 +0.1000" in said and "hd95 (tail) 4.00 3.00 -1.00" in said
