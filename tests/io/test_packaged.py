"""pydicom's packaged files, which real devices and programs wrote, against SimpleITK's own GDCM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom.data
import pytest
import SimpleITK
from pydicom.pixels import get_decoder, iter_pixels

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Kind, kind_of, read

FILES = Path(pydicom.data.__file__).parent / "test_files"

# All are compared with SimpleITK in the file's own values.
NATIVE = [
    "CT_small.dcm",
    "ExplVR_BigEnd.dcm",
    "MR_small.dcm",
    "MR_small_bigendian.dcm",
    "MR_small_expb.dcm",
    "MR_small_implicit.dcm",
    "MR_small_padded.dcm",
    "MR_small_RLE.dcm",
    "SC_rgb_jpeg_dcmd.dcm",
    "SC_rgb_rle.dcm",
    "SC_rgb_rle_2frame.dcm",
    "SC_rgb_small_odd.dcm",
    "SC_rgb_small_odd_big_endian.dcm",
    "SC_ybr_full_422_uncompressed.dcm",
    "examples_overlay.dcm",
    "examples_palette.dcm",
    "examples_rgb_color.dcm",
    "image_dfl.dcm",
    "rtdose.dcm",
    "rtdose_rle.dcm",
]
# Decoded by Pillow, which is always there.
BY_PILLOW = [
    "693_J2KI.dcm",
    "JPEG2000.dcm",
    "MR_small_jp2klossless.dcm",
    "SC_jpeg_no_color_transform.dcm",
    "SC_jpeg_no_color_transform_2.dcm",
    "SC_rgb_dcmtk_+eb+cr.dcm",
    "SC_rgb_dcmtk_+eb+cy+n1.dcm",
    "SC_rgb_dcmtk_+eb+cy+n2.dcm",
    "SC_rgb_dcmtk_+eb+cy+np.dcm",
    "SC_rgb_dcmtk_+eb+cy+s2.dcm",
    "SC_rgb_dcmtk_+eb+cy+s4.dcm",
    "SC_rgb_gdcm_KY.dcm",
    "SC_rgb_jpeg.dcm",
    "SC_rgb_jpeg_app14_dcmd.dcm",
    "SC_rgb_jpeg_dcmtk.dcm",
    "SC_rgb_jpeg_lossy_gdcm.dcm",
    "SC_rgb_small_odd_jpeg.dcm",
    "examples_jpeg2k.dcm",
    "examples_ybr_color.dcm",
]
# These need the extra `medical`.
BY_PLUGINS = [
    "GDCMJ2K_TextGBR.dcm",
    "J2K_pixelrep_mismatch.dcm",
    "JPEGLSNearLossless_08.dcm",
    "JPEGLSNearLossless_16.dcm",
    "MR_small_jpeg_ls_lossless.dcm",
    "SC_rgb_jls_lossy_line.dcm",
    "SC_rgb_jls_lossy_sample.dcm",
    "SC_rgb_jpeg_gdcm.dcm",
]


# Decoded by SimpleITK in our reader, too: what is tested is all that comes after.
BY_ITK = ["JPEG-lossy.dcm", "JPGExtended.dcm"]


def compare(name: str) -> None:
    """Every frame against SimpleITK: colours as shown, grey by the window that spans the values of all."""
    theirs = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(FILES / name), imageIO="GDCMImageIO"))
    colour = theirs.ndim == 4
    low, high = float(theirs.min()), float(theirs.max())
    window = None if colour else ((low + high) / 2 + 0.5, high - low + 1)  # LINEAR: exactly low to high
    source = read(FILES / name, window=window)
    assert len(source) == len(theirs)
    for frame in source:
        expected = theirs[frame.number - 1]
        if colour:
            assert np.array_equal(frame.pixels, expected)
        else:
            scaled = (expected.astype(np.float64) - low) / (high - low) * 255
            scaled[expected == padding_of(name)] = 0
            assert np.abs(frame.pixels[..., 0] - scaled).max() <= 0.51  # rounding to whole levels


def padding_of(name: str) -> float:
    """The padding value after rescaling, as SimpleITK gives it."""
    header = pydicom.dcmread(FILES / name, stop_before_pixels=True)
    value = header.get("PixelPaddingValue", np.nan)
    return value * header.get("RescaleSlope", 1) + header.get("RescaleIntercept", 0)


@pytest.mark.parametrize("name", NATIVE)
def test_native_and_run_length(name):
    compare(name)


@pytest.mark.parametrize("name", BY_PILLOW)
def test_what_pillow_decodes(name):
    compare(name)


@pytest.mark.parametrize("name", BY_PLUGINS)
def test_what_plugins_decode(name):
    pytest.importorskip("gdcm", reason="needs the extra medical")
    pytest.importorskip("openjpeg", reason="needs the extra medical")
    compare(name)


@pytest.mark.parametrize("name", BY_ITK)
def test_jpeg_of_12_bits(name):
    compare(name)


def test_jpeg_of_12_bits_is_rescaled_once(tmp_path):
    """SimpleITK rescales by itself: the picture of a file in other units must be the same."""
    file = pydicom.dcmread(FILES / "JPGExtended.dcm")
    plain = read(FILES / "JPGExtended.dcm", window=(132.5, 265)).frame(1).pixels
    file.RescaleSlope, file.RescaleIntercept = 2, -100
    file.save_as(tmp_path / "a.dcm")
    rescaled = read(tmp_path / "a.dcm", window=(132.5 * 2 - 100, 265 * 2)).frame(1).pixels
    assert plain.std() > 10, "not the case to be tested"
    assert np.abs(rescaled.astype(int) - plain).max() <= 1  # LINEAR has a half and a one that do not scale


# Not with SimpleITK 2.5, which reads these with bytes and colours exchanged: the same stripes in all files.
@pytest.mark.parametrize("bits", [16, 32])
@pytest.mark.parametrize("frames", ["", "_2frame"])
def test_deep_colour_is_that_of_the_file_of_8_bits(bits, frames):
    deep = list(read(FILES / f"SC_rgb_rle_{bits}bit{frames}.dcm"))
    eight = list(read(FILES / f"SC_rgb_rle{frames}.dcm"))
    assert len(deep) == len(eight)
    assert all(np.array_equal(one.pixels, other.pixels) for one, other in zip(deep, eight, strict=True))


# Not with SimpleITK, which exchanges the bytes of the one and refuses the others.
@pytest.mark.parametrize("name", ["rtdose_expb", "rtdose_1frame", "rtdose_expb_1frame", "rtdose_rle_1frame"])
def test_doses_of_all_encodings_are_one(name):
    window = (1024500, 459001)  # from minimum to maximum of the values, 795000 to 1254000 by pydicom
    first = read(FILES / "rtdose.dcm", window=window).frame(1).pixels
    assert first.std() > 10, "not the case to be tested"
    assert np.array_equal(read(FILES / f"{name}.dcm", window=window).frame(1).pixels, first)


def test_cine_is_pydicoms_in_every_frame():
    source = read(FILES / "examples_ybr_color.dcm")
    theirs = list(iter_pixels(FILES / "examples_ybr_color.dcm"))
    assert len(source) == len(theirs) == 30
    assert not np.array_equal(theirs[0], theirs[29]), "not the case to be tested"
    for frame in source:
        assert np.array_equal(frame.pixels, theirs[frame.number - 1])
    assert np.array_equal(source.frame(17).pixels, theirs[16])


# What stands in these files was looked up with pydicom's dump; expected is the reason, in our words.
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("JPEG2000-embedded-sequence-delimiter.dcm", "frame 1 cannot be decoded"),
        ("MR_truncated.dcm", "8130 vs 8192 bytes"),
        ("badVR.dcm", "Number of Frames .* '1A'"),
        ("liver_1frame.dcm", "DICOM Segmentation"),
        ("reportsi.dcm", "without a picture .SOP class Basic Text SR Storage"),
        ("rtplan.dcm", "without a picture .SOP class RT Plan Storage"),
        ("rtstruct.dcm", "without a picture"),
        ("waveform_ecg.dcm", "without a picture .SOP class 12-lead ECG"),
        ("README.txt", "not a picture of a known kind"),
        ("test1.json", "not a picture of a known kind"),
    ],
)
def test_what_cannot_be_read_is_named(name, words):
    with pytest.raises(InputError, match=words) as caught:
        read(FILES / name).frame(1)
    assert name in str(caught.value)


def test_missing_decoders_are_named(monkeypatch):
    syntax = pydicom.dcmread(FILES / "JPEGLSNearLossless_08.dcm").file_meta.TransferSyntaxUID
    monkeypatch.setattr(get_decoder(syntax), "_available", {})
    with pytest.raises(
        InputError, match=r"JPEG-LS Lossy .*no decoder for it is installed; pip install .*medical"
    ):
        read(FILES / "JPEGLSNearLossless_08.dcm").frame(1)


def test_kinds():
    assert kind_of(FILES / "dicomdirtests" / "DICOMDIR") is Kind.DICOMDIR
    assert kind_of(FILES / "rtstruct.dcm") is Kind.DICOM, "without preamble"
    assert kind_of(FILES) is Kind.FOLDER
    with pytest.raises(InputError, match=r"DICOMDIR: is a DICOMDIR .*give the folder"):
        read(FILES / "dicomdirtests" / "DICOMDIR")
