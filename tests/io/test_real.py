"""Real CT series against SimpleITK's own reader of series; skipped without the data."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK

from monai_sam2unet.io import find_series, read


@pytest.mark.parametrize(
    ("name", "count"),
    [("CT-liver-DICOM-SEG/ct-3slice", 3), ("TotalSegmentator-example/example_ct_dicom", 20)],
)
def test_series_is_simpleitks(real_data, name, count):
    folder = real_data(name)
    reader = SimpleITK.ImageSeriesReader()
    files = reader.GetGDCMSeriesFileNames(str(folder))
    image = SimpleITK.ReadImage(files)
    (series,) = find_series(folder)
    assert [str(file) for file in series.files] == list(files)
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine[:3, 3] = image.GetOrigin()
    assert np.allclose(series.affine, np.diag([-1, -1, 1, 1]) @ affine, atol=1e-3)
    hu = SimpleITK.GetArrayFromImage(image).astype(float)
    source = read(folder, window="liver")
    assert len(source) == count
    for frame in source:
        # PS3.3, C.11.2.1.2.1 for centre 30, width 150, but for padding, which is black.
        expected = np.clip(((hu[frame.number - 1] - 29.5) / 149 + 0.5) * 255, 0, 255)
        assert np.abs(frame.pixels[..., 0] - expected).max() <= 0.5
