"""Segmentation objects and secondary captures: on the source to the pixel, valid, of the patient or nobody.

Read back by pydicom alone, bits and positions by hand; `dciodvfy` (Debian's dicom3tools) judges where it is.
"""

from __future__ import annotations

import copy
import importlib.util
import shutil
import subprocess
from itertools import permutations, product

import nibabel
import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.data import get_testdata_file
from pydicom.datadict import dictionary_has_tag, dictionary_VR
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels import pixel_array

from monai_sam2unet.classes import Classes
from monai_sam2unet.errors import InputError
from monai_sam2unet.io import read, write_nifti
from monai_sam2unet.io.anonymise import anonymise, check_anonymiser
from monai_sam2unet.io.capture import write_capture
from monai_sam2unet.io.dicomseg import check_dicomseg, write_dicomseg, write_frame_segmentations
from monai_sam2unet.io.identity import Algorithm
from tests.io.phantoms import colours, item, write
from tests.io.test_writing import EXCLUSIVE, ONE, OVERLAPPING, bright

if importlib.util.find_spec("highdicom") is None:
    pytest.skip('needs highdicom: pip install "monai-sam2unet[medical]"', allow_module_level=True)

POLYP = Classes.of(["polyp"])
ALGORITHM = Algorithm("model.pt", "ab" * 32, "1.2.3")
STUDY = "1.2.826.0.1.3680043.8.498.1"
PATIENT = {
    "PatientName": "Doe^Jane",
    "PatientID": "4711",
    "PatientBirthDate": "19700203",
    "PatientSex": "F",
    "StudyInstanceUID": STUDY,
    "StudyDate": "20240102",
    "StudyTime": "101112",
    "StudyID": "S1",
    "AccessionNumber": "A1",
    "ReferringPhysicianName": "Roe^Richard",
}
SIDES = {"L": [1, 0, 0], "R": [-1, 0, 0], "P": [0, 1, 0], "A": [0, -1, 0], "H": [0, 0, 1], "F": [0, 0, -1]}
DIRECTIONS = [
    a + b for x, y in permutations(("LR", "PA", "HF"), 2) for a, b in product(x, y)
]  # along the rows, down the columns


def series(folder, directions, count=3):
    """A CT series without symmetry, with the mm of each of its bright pixels, by PS3.3, C.7.6.2.1.1."""
    folder.mkdir(exist_ok=True)
    along, down = (np.array(SIDES[side], float) for side in directions)
    truth = set()
    for k in range(count):
        pixels = np.random.default_rng(k).integers(0, 256, (4, 6), dtype=np.uint8)
        position = np.array([10.0, -20.0, 30.0]) + np.cross(along, down) * 5 * k
        write(
            folder / f"{9 - k}.dcm",
            pixels,
            SOPClassUID="1.2.840.10008.5.1.4.1.1.2",
            Modality="CT",
            SeriesInstanceUID=f"{STUDY}.2",
            FrameOfReferenceUID=f"{STUDY}.3",
            ImagePositionPatient=[float(x) for x in position],
            ImageOrientationPatient=[*along.tolist(), *down.tolist()],
            PixelSpacing=[0.5, 0.25],
            SliceThickness=5,
            **PATIENT,
        )
        truth |= points(pixels >= 128, position, along * 0.25, down * 0.5)
    return truth


def points(mask, position, column_step, row_step):
    """The mm (LPS+) of the pixels of a mask."""
    found = (position + c * column_step + r * row_step for r, c in np.argwhere(mask))
    return {tuple(np.round(point, 3) + 0.0) for point in found}


def points_in(made):
    """The mm (LPS+) of the pixels of a Segmentation object, bit by bit."""
    shared = made.SharedFunctionalGroupsSequence[0]
    directions = np.reshape(shared.PlaneOrientationSequence[0].ImageOrientationPatient, (2, 3)).astype(float)
    rows, columns = (float(x) for x in shared.PixelMeasuresSequence[0].PixelSpacing)
    bits = np.unpackbits(np.frombuffer(made.PixelData, np.uint8), bitorder="little")
    size = made.Rows * made.Columns
    found = set()
    for k, group in enumerate(made.PerFrameFunctionalGroupsSequence):
        mask = bits[k * size : (k + 1) * size].reshape(made.Rows, made.Columns)
        position = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        found |= points(mask, position, directions[0] * columns, directions[1] * rows)
    return found


def strict(path):
    """Read all of a file, every value being checked."""
    before = config.settings.reading_validation_mode
    config.settings.reading_validation_mode = config.RAISE
    try:
        made = dcmread(path)
        made.walk(lambda dataset, element: element.value)
    finally:
        config.settings.reading_validation_mode = before
    return made


def errors(path):
    """What dciodvfy calls an error."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("needs dciodvfy: apt-get install dicom3tools")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, check=False)
    return [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]


@pytest.mark.parametrize("directions", DIRECTIONS)
def test_every_orientation_lies_on_its_source(tmp_path, directions):
    truth = series(tmp_path / "ct", directions)
    source = read(tmp_path / "ct", window=(128, 256))
    (file,) = write_dicomseg(tmp_path / "seg", source, bright(source), POLYP, ALGORITHM)
    assert points_in(strict(file)) == truth
    write_nifti(tmp_path / "volume", source, bright(source), ONE)
    made = nibabel.load(tmp_path / "volume.nii.gz")
    ras = nibabel.affines.apply_affine(made.affine, np.argwhere(np.asanyarray(made.dataobj)))
    assert {tuple(np.round(point * (-1, -1, 1), 3) + 0.0) for point in ras} == truth


def test_patient_and_study_are_kept_and_references_lead_to_the_slices(tmp_path):
    series(tmp_path / "ct", "LP")
    source = read(tmp_path / "ct", window=(128, 256))
    (file,) = write_dicomseg(tmp_path / "seg", source, bright(source), POLYP, ALGORITHM)
    made = strict(file)
    assert {name: str(made[name].value) for name in PATIENT} == {**PATIENT}
    assert made.FrameOfReferenceUID == f"{STUDY}.3"
    sources = {place.dataset.SOPInstanceUID: place.dataset for place in source.places}
    assert made.SOPInstanceUID not in sources
    assert made.SeriesInstanceUID != f"{STUDY}.2"
    for group in made.PerFrameFunctionalGroupsSequence:
        named = group.DerivationImageSequence[0].SourceImageSequence[0]
        there = sources[named.ReferencedSOPInstanceUID].ImagePositionPatient
        assert list(group.PlanePositionSequence[0].ImagePositionPatient) == list(there)
    segment = made.SegmentSequence[0]
    assert segment.SegmentLabel == "polyp"
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "68496003"  # SNOMED CT: polyp of colon
    told = segment.SegmentationAlgorithmIdentificationSequence[0]
    assert told.AlgorithmVersion == "1.2.3"
    assert "ab" * 32 in str(told.AlgorithmParameters)


def test_written_objects_are_valid(tmp_path):
    series(tmp_path / "ct", "LP")
    source = read(tmp_path / "ct", window=(128, 256))
    (file,) = write_dicomseg(tmp_path / "seg", source, bright(source), Classes.of(["gizmo"]), ALGORITHM)
    assert errors(file) == []
    assert (
        strict(file).SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodingSchemeDesignator[:2]
        == "99"
    )
    (hidden,) = write_dicomseg(
        tmp_path / "anonymous", source, bright(source), POLYP, ALGORITHM, anonymised=True
    )
    assert errors(hidden) == []
    for name in ("examples_palette", "examples_rgb_color", "examples_jpeg2k", "MR_small", "CT_small"):
        source = read(get_testdata_file(f"{name}.dcm"))
        assert check_dicomseg(source) == ""
        (file,) = write_dicomseg(tmp_path / name, source, bright(source), POLYP, ALGORITHM)
        assert errors(file) == []


@pytest.mark.parametrize("classes", [EXCLUSIVE, OVERLAPPING])
def test_segments_of_several_classes(tmp_path, classes):
    source = read(get_testdata_file("examples_rgb_color.dcm"))
    (file,) = write_dicomseg(tmp_path / "seg", source, bright(source, classes), classes, ALGORITHM)
    made = strict(file)
    assert made.SegmentsOverlap == ("NO" if classes.exclusive else "YES")
    masks = next(bright(source, classes))[1]
    for frame, group in zip(pixel_array(made), made.PerFrameFunctionalGroupsSequence, strict=True):
        number = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        assert np.array_equal(frame, masks[number - 1])


def test_label_map_segmentations(tmp_path):
    source = read(get_testdata_file("examples_rgb_color.dcm"))
    results = bright(source, EXCLUSIVE)
    (file,) = write_dicomseg(tmp_path / "seg", source, results, EXCLUSIVE, ALGORITHM, "labelmap")
    made = strict(file)
    assert made.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"  # PS3.4, table B.5-1: Label Map Segmentation
    assert np.array_equal(pixel_array(made), EXCLUSIVE.label_map(next(bright(source, EXCLUSIVE))[1]))


def test_a_cine_is_refused_or_becomes_one_object_a_frame(tmp_path):
    source = read(get_testdata_file("examples_ybr_color.dcm"))
    with pytest.raises(InputError, match=r"ybr_color\.dcm: .*frame of reference; give --fallback frames"):
        check_dicomseg(source)
    assert "one Segmentation object a frame" in check_dicomseg(source, "frames")
    results = ((frame, masks & (frame.number in (3, 7))) for frame, masks in bright(source))
    files = write_frame_segmentations(tmp_path / "seg", source, results, POLYP, ALGORITHM)
    assert [file.name for file in files] == ["0003.dcm", "0007.dcm"]
    made = [strict(file) for file in files]
    assert len({one.SeriesInstanceUID for one in made}) == 1
    for one, number in zip(made, (3, 7), strict=True):
        picture = one.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence[0]
        assert picture.ReferencedFrameNumber == number
        for named in (picture, one.ReferencedSeriesSequence[0].ReferencedInstanceSequence[0]):
            assert named.ReferencedSOPInstanceUID == source.places[0].dataset.SOPInstanceUID
            assert named.ReferencedSOPClassUID == "1.2.840.10008.5.1.4.1.1.3.1"  # ultrasound, several frames
        assert np.array_equal(pixel_array(one), source.frame(number).pixels[..., 0] >= 128)
    assert source.places[0].dataset.NumberOfFrames == 30  # the source's own data set is as it was
    assert errors(files[0]) == []


def test_frames_without_anything_leave_one_empty_object(tmp_path):
    source = read(get_testdata_file("examples_ybr_color.dcm"))
    nothing = ((frame, np.zeros((1, *frame.pixels.shape[:2]), bool)) for frame in source)
    (file,) = write_frame_segmentations(tmp_path / "seg", source, nothing, POLYP, ALGORITHM)
    assert not pixel_array(strict(file)).any()


def test_a_secondary_capture_has_the_frames_with_the_masks_drawn(tmp_path):
    source = read(get_testdata_file("examples_ybr_color.dcm"))
    (file,) = write_capture(tmp_path / "sc", source, bright(source), POLYP, ALGORITHM)
    made = strict(file)
    assert made.NumberOfFrames == 30
    assert made.FrameTime == source.places[0].dataset.FrameTime
    assert made.StudyInstanceUID == source.places[0].dataset.StudyInstanceUID
    assert made.SourceImageSequence[0].ReferencedSOPInstanceUID == source.places[0].dataset.SOPInstanceUID
    shown, frame = read(file).frame(5).pixels.astype(int), source.frame(5)
    inside = frame.pixels[..., 0] >= 128
    assert np.abs(shown - frame.pixels)[~inside].mean() < 2  # JPEG of quality 95
    # Tint and outline are POLYP's colour (86, 180, 233): bluer than the grey of an ultrasound picture.
    assert (shown[..., 2] - shown[..., 0])[inside].mean() > 30
    assert errors(file) == []


def test_nothing_identifies_the_patient_and_references_hold(tmp_path):
    series(tmp_path / "ct", "LP")
    source = read(tmp_path / "ct", window=(128, 256))
    for place in source.places:
        place.dataset.InstitutionName, place.dataset.StationName = "St. Elsewhere", "4711-A"
    files = [
        write_dicomseg(tmp_path / name, source, bright(source), POLYP, ALGORITHM, anonymised=True)[0]
        for name in "ab"
    ]
    made = [strict(file) for file in files]
    for file, one in zip(files, made, strict=True):
        for secret in (b"Doe", b"4711", b"Roe", b"Elsewhere", b"19700203", b"20240102", STUDY.encode()):
            assert secret not in file.read_bytes()
        assert one.PatientIdentityRemoved == "YES"
        assert one.DeidentificationMethodCodeSequence[0].CodeValue == "113100"  # PS3.16, CID 7050
        assert one.file_meta.MediaStorageSOPInstanceUID == one.SOPInstanceUID
        assert points_in(one)
    for name in ("StudyInstanceUID", "FrameOfReferenceUID"):
        assert made[0][name].value == made[1][name].value
    named = [
        {
            group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            for group in one.PerFrameFunctionalGroupsSequence
        }
        for one in made
    ]
    assert named[0] == named[1]
    assert len(named[0]) == 3
    assert made[0].SOPInstanceUID != made[1].SOPInstanceUID


def test_no_text_that_the_profile_covers_stays_at_any_depth():
    """Every element of the table that holds text, in the data set and in sequences within sequences."""
    from dicomanonymizer.simpledicomanonymizer import initialize_actions

    texts = ("LO", "LT", "PN", "SH", "ST", "UC", "UT")
    made = Dataset()
    made.file_meta = FileMetaDataset()
    for tag in initialize_actions("dicomfields_2026c"):
        if len(tag) == 2 and dictionary_has_tag(tag) and dictionary_VR(tag) in texts and not tag[0] % 2:
            made.add_new(tag, dictionary_VR(tag), "SECRET")
    assert len(made) > 100  # PS3.15, table E.1-1
    inner = copy.deepcopy(made)
    made.DerivationImageSequence = [item(SourceImageSequence=[inner])]
    made.private_block(0x0099, "VENDOR", create=True).add_new(1, "LO", "SECRET")
    anonymise(made)
    assert "SECRET" not in str(made)
    assert len(made.DerivationImageSequence[0].SourceImageSequence) == 1


def test_old_forms_of_dates_are_brought_up_to_date(tmp_path):
    source = read(get_testdata_file("ExplVR_BigEnd.dcm"))
    assert source.places[0].dataset.StudyTime == "14:04:38"  # ACR-NEMA's form
    assert check_dicomseg(source) == ""
    (file,) = write_dicomseg(tmp_path / "seg", source, bright(source), POLYP, ALGORITHM)
    assert strict(file).StudyTime == "140438"
    (file,) = write_capture(tmp_path / "sc", source, bright(source), POLYP, ALGORITHM)
    assert strict(file).StudyTime == "140438"


def test_what_cannot_be_referred_to_is_refused(tmp_path):
    write(tmp_path / "a.dcm", colours(), "RGB")
    with pytest.raises(InputError, match=r"a\.dcm: a.dcm has no StudyInstanceUID"):
        check_dicomseg(read(tmp_path / "a.dcm"), "frames")
    source = read(get_testdata_file("rtdose.dcm"))  # frames at places that no functional group says
    assert "secondary capture" in check_dicomseg(source, "secondary-capture")


def test_enhanced_objects_with_functional_groups_are_one_object(tmp_path):
    own = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[1.0, 2.0, 3.0 + 4 * k])],
            FrameContentSequence=[item(DimensionIndexValues=[k + 1])],
        )
        for k in range(3)
    ]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.25], SliceThickness=4)],
    )
    pixels = np.arange(180, dtype=np.uint8).reshape(3, 6, 10)
    write(
        tmp_path / "a.dcm",
        pixels,
        frames=3,
        SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1",  # Enhanced CT
        Modality="CT",
        SeriesInstanceUID=f"{STUDY}.2",
        FrameOfReferenceUID=f"{STUDY}.3",
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=own,
        **PATIENT,
    )
    source = read(tmp_path / "a.dcm")
    assert check_dicomseg(source) == ""
    (file,) = write_dicomseg(tmp_path / "seg", source, bright(source), POLYP, ALGORITHM)
    expected = set()
    for k in range(3):
        place = np.array([1.0, 2.0, 3.0 + 4 * k])
        expected |= points(pixels[k] >= 128, place, np.array([0.25, 0, 0]), np.array([0, 0.5, 0]))
    assert points_in(strict(file)) == expected


def test_missing_packages_are_named(monkeypatch):
    source = read(get_testdata_file("CT_small.dcm"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r'needs highdicom.*pip install "monai-sam2unet\[medical\]"'):
        check_dicomseg(source)
    with pytest.raises(InputError, match=r'needs dicom-anonymizer.*pip install "monai-sam2unet\[medical\]"'):
        check_anonymiser()
