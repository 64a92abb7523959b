"""Every kind of DICOM picture comes out as a viewer shows it."""

from __future__ import annotations

import numpy as np
import pytest
from monai.transforms import LoadImage
from PIL import Image
from pydicom import dcmread, dcmwrite
from pydicom.pixels import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRBigEndian, RLELossless

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import open_image, read
from tests.io.phantoms import colours, item, ramp, write, ybr_full, ybr_full_422


def grey_of(path, **settings):
    """The grey levels of a file's only frame."""
    pixels = read(path, **settings).frame(1).pixels
    assert pixels.dtype == np.uint8 and pixels.shape[2] == 3
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0]


@pytest.mark.parametrize("planar", [0, 1])
def test_rgb(tmp_path, planar):
    stored = colours() if planar == 0 else np.ascontiguousarray(colours().transpose(2, 0, 1))
    made = {"Rows": 6, "Columns": 10, "SamplesPerPixel": 3, "PlanarConfiguration": planar}
    write(tmp_path / "a.dcm", stored, "RGB", **made)
    assert np.array_equal(read(tmp_path / "a.dcm").frame(1).pixels, colours())


def test_ybr_full(tmp_path):
    write(tmp_path / "a.dcm", ybr_full(colours()), "YBR_FULL")
    back = read(tmp_path / "a.dcm").frame(1).pixels.astype(int)
    assert np.abs(back - colours()).max() <= 2  # two roundings of 8 bits


def test_ybr_full_422(tmp_path):
    rgb = np.repeat(colours()[:, ::2], 2, axis=1)  # pairs of one colour, for which half the chroma is enough
    made = {"Columns": 10, "SamplesPerPixel": 3, "PlanarConfiguration": 0}
    write(tmp_path / "a.dcm", ybr_full_422(rgb), "YBR_FULL_422", **made)
    assert np.abs(read(tmp_path / "a.dcm").frame(1).pixels.astype(int) - rgb).max() <= 2


def test_colour_of_16_bits_keeps_the_upper_eight(tmp_path):
    deep = colours().astype(np.uint16) * 256 + 77
    write(tmp_path / "a.dcm", deep, "RGB", syntax=RLELossless)
    assert np.array_equal(read(tmp_path / "a.dcm").frame(1).pixels, colours())


@pytest.mark.parametrize("scale", [256, 1])  # 1: entries of 8 bits in a table of 16, as some writers do
@pytest.mark.parametrize("first", [0, 5])
def test_palette(tmp_path, scale, first):
    table = np.random.default_rng(1).integers(0, 256, (3, 60), dtype=np.uint8).astype(np.uint16)
    elements = {}
    for name, entries in zip(("Red", "Green", "Blue"), table, strict=True):
        elements[f"{name}PaletteColorLookupTableDescriptor"] = [60, first, 16]
        elements[f"{name}PaletteColorLookupTableData"] = (entries * scale).tobytes()
    write(tmp_path / "a.dcm", ramp(dtype=np.uint8) + np.uint8(first), "PALETTE COLOR", **elements)
    expected = table.T[ramp()]  # the phantom's value is its place in the table, by construction
    assert np.array_equal(read(tmp_path / "a.dcm").frame(1).pixels, expected)


def test_monochrome_of_8_bits_is_as_stored(tmp_path):
    stored = ramp(dtype=np.uint8)
    write(tmp_path / "2.dcm", stored)
    write(tmp_path / "1.dcm", stored, "MONOCHROME1")
    assert np.array_equal(grey_of(tmp_path / "2.dcm"), stored)
    assert np.array_equal(grey_of(tmp_path / "1.dcm"), 255 - stored)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_deep_grey_without_a_window_is_stretched(tmp_path, bits, dtype):
    write(tmp_path / "a.dcm", ramp(dtype=dtype) * 3 - (7 if dtype is np.int16 else 0), bits=bits)
    assert np.array_equal(grey_of(tmp_path / "a.dcm"), np.rint(ramp() * 255 / 59))  # 60 values, 0 to 59


def test_window_of_the_file(tmp_path):
    elements = {"WindowCenter": [30, 5], "WindowWidth": [41, 9], "RescaleSlope": 2, "RescaleIntercept": -40}
    write(tmp_path / "a.dcm", ramp(), Modality="CT", **elements)
    hu = ramp() * 2.0 - 40
    # PS3.3, C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255 between the ends.
    expected = np.clip(((hu - 29.5) / 40 + 0.5) * 255, 0, 255)
    assert np.abs(grey_of(tmp_path / "a.dcm") - expected).max() <= 0.5
    assert np.abs(grey_of(tmp_path / "a.dcm", window=(30, 41)) - expected).max() <= 0.5
    lung = np.clip(((hu + 600.5) / 1499 + 0.5) * 255, 0, 255)
    assert np.abs(grey_of(tmp_path / "a.dcm", window="lung") - lung).max() <= 0.5


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
def test_functions_of_the_window_are_pydicoms(tmp_path, function):
    made = write(
        tmp_path / "a.dcm", ramp(), WindowCenter=20, WindowWidth=30, VOILUTFunction=function, bits=12
    )
    theirs = apply_voi_lut(ramp(), made) * 255 / 4095  # 12 bits: pydicom's range
    assert np.abs(grey_of(tmp_path / "a.dcm") - theirs).max() <= 0.5 + 1e-9


def test_tables_of_the_file(tmp_path):
    modality = item(
        LUTDescriptor=[60, 0, 16],
        LUTData=np.arange(1000, 1060, dtype=np.uint16).tobytes(),
        ModalityLUTType="US",
    )
    voi = item(LUTDescriptor=[60, 1000, 12], LUTData=np.arange(4095, 495, -60, dtype=np.uint16).tobytes())
    write(tmp_path / "a.dcm", ramp(), ModalityLUTSequence=[modality], VOILUTSequence=[voi])
    made = dcmread(tmp_path / "a.dcm")
    theirs = apply_voi_lut(apply_modality_lut(ramp(), made), made) * (255 / 4095)
    assert np.abs(grey_of(tmp_path / "a.dcm") - theirs).max() <= 0.5 + 1e-9
    assert theirs[0, 0] == 255 and theirs[-1, -1] < 50, "falls, as the table does"


@pytest.mark.parametrize("width", [0, -3])
def test_a_window_without_width_is_none(tmp_path, width):
    write(tmp_path / "a.dcm", ramp(), WindowCenter=5, WindowWidth=width)
    assert np.array_equal(grey_of(tmp_path / "a.dcm"), np.rint(ramp() * 255 / 59))


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize("declared", [-2000, 63536])  # the same 16 bits, read as SS and as US
def test_padding_is_black_and_has_no_part_in_the_range(tmp_path, photometric, declared):
    stored = ramp(dtype=np.int16)
    stored[0, :4] = [-2000, -1999, -1998, 3]
    made = write(tmp_path / "a.dcm", stored, photometric)
    made.add_new("PixelPaddingValue", "SS" if declared < 0 else "US", declared)
    made.add_new("PixelPaddingRangeLimit", "SS", -1998)
    made.save_as(tmp_path / "a.dcm")
    rest = np.rint((stored.astype(float) - 3) * 255 / 56)  # 3 to 59
    expected = 255 - rest if photometric == "MONOCHROME1" else rest
    expected[0, :3] = 0
    assert np.array_equal(grey_of(tmp_path / "a.dcm"), expected)


@pytest.mark.parametrize("syntax", [None, RLELossless])
def test_frames_of_a_colour_cine(tmp_path, syntax):
    frames = np.stack([np.roll(colours(), number, axis=1) for number in range(5)])
    write(tmp_path / "a.dcm", frames, "RGB", frames=5, **({"syntax": syntax} if syntax else {}))
    source = read(tmp_path / "a.dcm")
    assert len(source) == 5
    for number, frame in enumerate(source, start=1):
        assert (frame.number, frame.place.number) == (number, number)
        assert np.array_equal(frame.pixels, frames[number - 1])
        assert np.array_equal(source.frame(number).pixels, frames[number - 1])
    assert "PixelData" not in source.places[0].dataset


def test_monai_mixes_rows_and_frames_and_we_do_not(tmp_path):
    frames = np.stack([np.roll(colours(), number, axis=1) for number in range(5)])
    write(tmp_path / "a.dcm", frames, "RGB", frames=5)
    theirs = np.asarray(LoadImage(reader="PydicomReader", image_only=True)(tmp_path / "a.dcm"))
    assert theirs.shape == (6, 5, 10, 3), "rows, frames, columns: neither W H nor H W, so frames are mixed"
    assert np.array_equal(theirs.transpose(1, 0, 2, 3), frames)
    assert all(
        np.array_equal(ours.pixels, frame)
        for ours, frame in zip(read(tmp_path / "a.dcm"), frames, strict=True)
    )


def test_a_shade_means_one_value_in_all_frames(tmp_path):
    frames = np.stack([ramp(), ramp() + 60])
    write(tmp_path / "a.dcm", frames, frames=2)
    shown = [frame.pixels[..., 0] for frame in read(tmp_path / "a.dcm")]
    assert np.array_equal(shown, np.rint(frames * 255 / 119))  # over both, 0 to 119


def test_enhanced_frames_have_grey_levels_of_their_own(tmp_path):
    shared = item(PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=0)])
    per_frame = [
        item(FrameVOILUTSequence=[item(WindowCenter=20, WindowWidth=41)]),
        item(
            FrameVOILUTSequence=[item(WindowCenter=30, WindowWidth=61)],
            PixelValueTransformationSequence=[item(RescaleSlope=1, RescaleIntercept=-5)],
        ),
    ]
    elements = {"SharedFunctionalGroupsSequence": [shared], "PerFrameFunctionalGroupsSequence": per_frame}
    write(tmp_path / "a.dcm", np.stack([ramp()] * 2), frames=2, WindowCenter=1, WindowWidth=2, **elements)
    first, second = (frame.pixels[..., 0] for frame in read(tmp_path / "a.dcm"))
    # The formula of test_window_of_the_file, by the frame's own elements before the shared and the file's.
    assert np.abs(first - np.clip(((ramp() * 2.0 - 19.5) / 40 + 0.5) * 255, 0, 255)).max() <= 0.5
    assert np.abs(second - np.clip(((ramp() - 5.0 - 29.5) / 60 + 0.5) * 255, 0, 255)).max() <= 0.5


def test_without_preamble_and_transfer_syntax(tmp_path):
    made = write(tmp_path / "whole.dcm", colours(), "RGB")
    bare = tmp_path / "bare"
    del made.file_meta
    made.preamble = None
    made.save_as(bare, implicit_vr=True, little_endian=True)
    assert np.array_equal(open_image(bare), colours())


def test_big_endian(tmp_path):
    made = write(tmp_path / "a.dcm", ramp())
    made.PixelData = ramp().astype(">u2").tobytes()
    made.file_meta.TransferSyntaxUID = ExplicitVRBigEndian
    dcmwrite(tmp_path / "b.dcm", made, implicit_vr=False, little_endian=False, force_encoding=True)
    assert np.array_equal(grey_of(tmp_path / "b.dcm"), np.rint(ramp() * 255 / 59))


def test_open_image(tmp_path):
    write(tmp_path / "scan", colours(), "RGB")
    Image.fromarray(colours()).save(tmp_path / "a.png")
    for name in ("scan", "a.png"):
        image = open_image(str(tmp_path / name))
        assert image.mode == "RGB" and np.array_equal(image, colours())
    write(tmp_path / "cine.dcm", np.stack([colours()] * 3), "RGB", frames=3)
    with pytest.raises(InputError, match=r"cine\.dcm: is a DICOM file of 3 frames, expected a picture"):
        open_image(tmp_path / "cine.dcm")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"PhotometricInterpretation": "HSV"}, "Photometric Interpretation HSV; read are MONOCHROME1"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "DICOM Segmentation"),
        ({"Rows": None}, "without a picture .*no Rows"),
        ({"NumberOfFrames": 0}, "Number of Frames"),
        ({"NumberOfFrames": 9}, "frame 2 cannot be decoded .*180 vs 1620 bytes"),
        ({"Rows": 100}, "frame 1 cannot be decoded"),
    ],
)
def test_what_is_not_read_is_named(tmp_path, change, words):
    made = write(tmp_path / "a.dcm", colours(), "RGB")
    for keyword, value in change.items():
        setattr(made, keyword, value)
    made.save_as(tmp_path / "a.dcm")
    with pytest.raises(InputError, match=rf"a\.dcm: .*({words})"):
        list(read(tmp_path / "a.dcm"))


def test_windows_that_do_not_suit(tmp_path):
    write(tmp_path / "rgb.dcm", colours(), "RGB")
    write(tmp_path / "mr.dcm", ramp(), Modality="MR")
    with pytest.raises(InputError, match=r"rgb\.dcm: is in colour"):
        read(tmp_path / "rgb.dcm", window=(0, 1))
    with pytest.raises(InputError, match=r"mr\.dcm: window 'lung' is in Hounsfield units, and this is MR"):
        read(tmp_path / "mr.dcm", window="lung")
    with pytest.raises(InputError, match="there is no frame 2; expected 1 to 1"):
        read(tmp_path / "mr.dcm").frame(2)
