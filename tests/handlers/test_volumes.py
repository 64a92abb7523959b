"""What is written of volumes where there is nothing to draw, or classes overlap."""

from __future__ import annotations

import json
from types import SimpleNamespace

import nibabel
import numpy as np
import torch
from monai.transforms import Compose, Orientationd

from monai_sam2unet.handlers import VolumeReport, VolumeWriter
from monai_sam2unet.handlers.tracking import _means
from monai_sam2unet.io import Volume
from monai_sam2unet.transforms import PLANE_CODES, LoadVolumed

AFFINE = np.diag([1.0, 2.0, 3.0, 1.0])


def engine(pred, label, tmp_path):
    """An engine after one volume of 4 x 5 x 6 voxels."""
    volume = Volume(np.arange(120.0).reshape(4, 5, 6), AFFINE, tmp_path / "a.nii")
    load = Compose([LoadVolumed(label_key=None), Orientationd("image", PLANE_CODES["axial"], labels=None)])
    item = {**load({"image": volume}), "case": "a", "group": "a", "output": "in/a.nii.gz"}
    output = {"pred": torch.from_numpy(pred), "label": torch.from_numpy(label)}
    return SimpleNamespace(state=SimpleNamespace(batch=[item], output=[output]))


def test_a_report_without_any_structure(tmp_path, caplog):
    caplog.set_level("INFO", logger="monai_sam2unet")
    report = VolumeReport(tmp_path, ["liver", "tumour"], "softmax")
    pred = np.zeros((2, 4, 5, 6))
    pred[0, 1, 2, 3] = 1
    state = engine(pred, np.zeros((2, 4, 5, 6)), tmp_path)
    report.started(state)
    report.iteration_completed(state)
    report.completed(state)
    summary = json.loads((tmp_path / "summary.json").read_text())
    for name, rate in (("liver", 1), ("tumour", 0)):
        absent = summary["by_class"][name]["without_reference"]
        assert absent["cases"] == 1 and absent["false_alarm_rate"]["mean"] == rate
    assert summary["mean_over_classes"]["dice"]["mean"] is None
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    # one voxel of 1 x 2 x 3 mm; overlap and distances are undefined
    assert rows[1].startswith("a,a,liver,0.000000,0.006000,,,,,0.99") and rows[1].endswith(",,")
    assert not (tmp_path / "cases.png").exists() and "no figure" in caplog.text
    assert "liver: false alarms on 100.0 % of 1 volumes without it" in caplog.text
    assert list(_means(summary)) == [("false_alarm_rate_liver", 1), ("false_alarm_rate_tumour", 0)]


def test_where_classes_overlap_the_later_counts(tmp_path):
    pred = np.zeros((2, 4, 5, 6))
    pred[0, :2], pred[1, 1:3] = 1, 1
    writer = VolumeWriter(tmp_path, ["liver", "tumour"], "sigmoid")
    writer.iteration_completed(engine(pred, pred, tmp_path))
    found = nibabel.load(tmp_path / "label_maps" / "in" / "a.nii.gz")
    assert np.asanyarray(found.dataobj)[:, 0, 0].tolist() == [1, 2, 2, 0]
    assert np.array_equal(found.affine, AFFINE) and found.header.get_xyzt_units()[0] == "mm"
