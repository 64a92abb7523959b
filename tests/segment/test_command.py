"""`monai-sam2unet segment`: every input gets the masks of `predict`, in its own form; failures are told."""

from __future__ import annotations

import importlib.util
import json
import runpy
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import torch
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.pixels import pixel_array

from monai_sam2unet import predict, predict_volume
from monai_sam2unet.io import read
from monai_sam2unet.io.dicomseg import FALLBACKS, SEGMENTATION_TYPES
from monai_sam2unet.io.volumes import PLANES
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.prediction import Segmenter, VolumeModelError
from monai_sam2unet.segment import FORMATS
from monai_sam2unet.segment.running import RECORD
from sam2unet_command import FALLBACKS as GIVEN_FALLBACKS
from sam2unet_command import FORMATS as GIVEN_FORMATS
from sam2unet_command import PLANES as GIVEN_PLANES
from sam2unet_command import SEGMENTATION_TYPES as GIVEN_TYPES
from sam2unet_command import main
from tests.io.phantoms import slices, write

needs_medical = pytest.mark.skipif(
    importlib.util.find_spec("highdicom") is None, reason='needs pip install "monai-sam2unet[medical]"'
)


def scene(number, height=40, width=56):
    """A picture without symmetry."""
    return np.random.default_rng(number).integers(0, 256, (height, width, 3), dtype=np.uint8)


def make_model(folder, channels=1):
    """Weights by chance from a seed, whose threshold parts the pixels of `scene` about half and half."""
    torch.manual_seed(0)
    path = folder / "model.pt"
    torch.save(SAM2UNet("nano", decoder_channels=8, adapter_dim=4, out_channels=channels).state_dict(), path)
    path.with_suffix(".json").write_text('{"input_size": 64, "threshold": 0.5}')
    probability = predict(scene(0), model=path, device="cpu")
    settings = {"input_size": 64, "threshold": round(float(np.median(probability)), 6)}
    path.with_suffix(".json").write_text(json.dumps(settings))
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_model(tmp_path_factory.mktemp("model"))


@pytest.fixture
def run(model, tmp_path, capsys):
    """`run(*arguments)` gives exit status, the JSON document and what stands on the error output."""

    def call(*arguments, given=model):
        capsys.readouterr()
        options = ["-o", tmp_path / "out", "--model", given, "--device", "cpu", "--json"]
        status = main(["segment", *(str(argument) for argument in [*arguments, *options])])
        out, err = capsys.readouterr()
        return status, json.loads(out) if out else None, err

    return call


def expected(picture, model):
    """The mask of a picture by `predict`."""
    return (
        predict(picture, model=model, device="cpu")
        >= json.loads(model.with_suffix(".json").read_text())["threshold"]
    )


def test_segmenter_is_predict_bit_by_bit(model):
    pictures = [scene(0), scene(1, 33, 70), scene(2)]
    alone = [predict(picture, model=model, device="cpu") for picture in pictures]
    for found, probability in zip(Segmenter(model, "cpu").segment(pictures), alone, strict=True):
        assert np.array_equal(found.probability[0], probability)
    together = list(Segmenter(model, "cpu", batch_size=2).segment(pictures))
    again = list(Segmenter(model, "cpu", batch_size=2).segment(pictures))
    for one, other, probability in zip(together, again, alone, strict=True):
        assert np.array_equal(one.probability, other.probability)
        np.testing.assert_allclose(one.probability[0], probability, atol=1e-5)


def test_tiles_are_those_of_predict(model):
    (found,) = Segmenter(model, "cpu", tile=32, overlap=0.5).segment([scene(0)])
    assert np.array_equal(
        found.probability[0], predict(scene(0), model=model, device="cpu", tile=32, overlap=0.5)
    )


def test_every_input_gets_its_form(run, model, tmp_path):
    made = tmp_path / "in"
    (made / "deep").mkdir(parents=True)
    Image.fromarray(scene(0)).save(made / "deep" / "a.png")
    pages = [Image.fromarray(scene(k)) for k in range(3)]
    pages[0].save(made / "stack.tif", save_all=True, append_images=pages[1:])
    values = np.random.default_rng(0).integers(0, 100, (9, 8, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.diag([2.0, 1.5, 4, 1])), made / "b.nii.gz")
    (made / "bad.png").write_bytes(b"no picture")
    status, document, err = run(made, "--overlays")
    out = tmp_path / "out"
    assert status == 1
    assert (document["done"], document["failed"]) == (3, 1)
    inputs = {entry["input"].rsplit("/", 1)[1]: entry for entry in document["inputs"]}
    assert inputs["bad.png"]["status"] == "failed"
    assert "bad.png" in inputs["bad.png"]["reason"]
    assert "inputs" in err  # the progress bar
    mask = np.asarray(Image.open(out / "deep" / "a.png")) > 0
    assert np.array_equal(mask, expected(scene(0), model))
    assert 0 < mask.mean() < 1
    assert inputs["a.png"]["classes"]["structure"] == {
        "pixels": mask.sum(),
        "frames": 1,
        "mm2": None,
        "ml": None,
    }
    assert inputs["a.png"]["outputs"] == [str(out / "deep" / "a.png"), str(out / "deep" / "a.overlay.png")]
    for k in range(3):
        page = np.asarray(Image.open(out / "stack" / f"{k + 1:04d}.png")) > 0
        assert np.array_equal(page, expected(scene(k), model))
        assert (out / "stack.overlay" / f"{k + 1:04d}.png").is_file()
    volume = np.asanyarray(nibabel.load(out / "b.nii.gz").dataobj)
    for frame in read(made / "b.nii.gz"):
        assert np.array_equal(frame.place.view(volume), expected(frame.pixels, model))
    # By hand: a voxel is 2 x 1.5 x 4 = 12 cubic millimetres.
    assert inputs["b.nii.gz"]["classes"]["structure"]["ml"] == pytest.approx(volume.sum() * 0.012, abs=1e-4)
    assert document["threshold"] == json.loads(model.with_suffix(".json").read_text())["threshold"]


def test_format_plane_window_and_names(run, model, tmp_path):
    values = np.random.default_rng(0).integers(-1000, 1000, (9, 8, 5)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "b.nii")
    arguments = (tmp_path / "b.nii", "--plane", "sagittal", "--window", "40,400", "--names", "lung")
    status, document, _ = run(*arguments, "--format", "png", "--threshold", "0.4")
    assert status == 0
    assert list(document["inputs"][0]["classes"]) == ["lung"]
    source = read(tmp_path / "b.nii", window=(40, 400), plane="sagittal")
    files = sorted((tmp_path / "out" / "b").iterdir())
    assert len(files) == len(source) == 9
    for file, frame in zip(files, source, strict=True):
        probability = predict(frame.pixels, model=model, device="cpu")
        assert np.array_equal(np.asarray(Image.open(file)) > 0, probability >= 0.4)


def test_classes_that_may_overlap_get_a_picture_each(run, tmp_path):
    two = make_model(tmp_path, channels=2)
    Image.fromarray(scene(0)).save(tmp_path / "a.png")
    status, _, _ = run(tmp_path / "a.png", "--names", "liver,tumour", given=two)
    assert status == 0
    probability = predict(scene(0), model=two, device="cpu")
    for name, one in zip(("1-liver", "2-tumour"), expected(scene(0), two), strict=True):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a" / f"{name}.png")) > 0, one)
    assert probability.shape == (2, 40, 56)


def test_results_of_another_input_are_kept(run, tmp_path):
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        Image.fromarray(scene(0)).save(tmp_path / folder / "a.png")
    assert run(tmp_path / "x")[0] == 0
    assert run(tmp_path / "x")[0] == 0  # the same again
    status, document, _ = run(tmp_path / "y")
    assert status == 2
    assert f"made of {tmp_path / 'x' / 'a.png'}" in document["inputs"][0]["reason"]
    assert run(tmp_path / "y", "--overwrite")[0] == 0
    assert json.loads((tmp_path / "out" / RECORD).read_text())["made_from"] == {
        "a": str(tmp_path / "y" / "a.png")
    }


def test_inputs_are_never_replaced(run, tmp_path):
    out = tmp_path / "out"
    (out / "b").mkdir(parents=True)
    for name in ("a.png", "b.bmp", "b/c.bmp"):
        Image.fromarray(scene(0)).save(out / name)
    status, document, _ = run(out, "--overwrite", "--format", "png")
    assert status == 1
    reasons = {entry["input"]: entry["reason"] for entry in document["inputs"]}
    assert "is an input" in reasons[str(out / "a.png")]
    assert np.array_equal(np.asarray(Image.open(out / "a.png")), scene(0))
    assert (out / "b" / "c.png").is_file() and (out / "b.bmp.png").is_file()


def test_results_within_the_input_folder_are_no_inputs(run, tmp_path):
    Image.fromarray(scene(0)).save(tmp_path / "a.png")
    for _ in range(2):
        status, document, _ = run(tmp_path)
        assert status == 0
        assert [entry["input"] for entry in document["inputs"]] == [str(tmp_path / "a.png")]


def test_later_frames_of_an_earlier_run_go(run, tmp_path):
    pages = [Image.fromarray(scene(k)) for k in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    run(tmp_path / "a.tif")
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:2])
    assert run(tmp_path / "a.tif")[0] == 0
    assert sorted(file.name for file in (tmp_path / "out" / "a").iterdir()) == ["0001.png", "0002.png"]


def test_wrong_arguments(run, tmp_path, capsys):
    Image.fromarray(scene(0)).save(tmp_path / "a.png")
    for arguments, words in (
        ((tmp_path / "none",), "none is not there"),
        ((tmp_path / "a.png", "--names", "a,b"), "names must be as many as the model has classes, 1"),
        ((tmp_path / "a.png", "--window", "moon"), "window 'moon' is not known"),
        ((tmp_path / "a.png", "--threshold", "2"), "threshold must be a probability"),
        ((tmp_path / "a.png", "--batch", "0"), "batch_size must be a whole number"),
    ):
        status, document, err = run(*arguments)
        assert (status, document) == (2, None)
        assert words in err
    for arguments in (("--window", "4;5,1"), ("--format", "bmp")):
        with pytest.raises(SystemExit, match="2"):
            main(["segment", "a.png", "-o", "out", *arguments])
    assert "expected" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        main([])


@pytest.fixture
def volume_model(tmp_path):
    """A model of volumes, two classes that exclude each other, by chance from a seed."""
    torch.manual_seed(0)
    network = SAM2UNet("nano", in_channels=3, out_channels=3, decoder_channels=8, adapter_dim=4).eval()
    with torch.no_grad():  # so that each class is the greatest somewhere
        network.head.bias -= network(2 * torch.randn(4, 3, 32, 32)).flatten(2).median(2)[0].mean(0)
    torch.save(network.state_dict(), tmp_path / "v.pt")
    settings = {"plane": "coronal", "input_size": 32, "classes": ["a", "b"], "activation": "softmax"}
    (tmp_path / "v.json").write_text(json.dumps(settings))
    return tmp_path / "v.pt"


def test_models_of_volumes_look_at_volumes_and_series_as_a_whole(run, volume_model, tmp_path):
    """Their masks are those of `predict_volume`, in whatever plane the overlays show the volume."""
    values = np.random.default_rng(0).integers(0, 100, (9, 12, 7)).astype(np.int16)
    volume = tmp_path / "in" / "mr.nii.gz"
    volume.parent.mkdir()
    nibabel.save(nibabel.Nifti1Image(values, np.diag([-1.0, 2, 3, 1])), volume)
    slices(tmp_path / "in" / "ct", [1, 0, 0, 0, 1, 0], [0, 2, 4])
    Image.fromarray(scene(0)).save(tmp_path / "in" / "a.png")
    status, document, _ = run(
        tmp_path / "in", "--format", "nifti", "--plane", "sagittal", "--overlays", given=volume_model
    )
    assert status == 1
    (failed,) = (entry for entry in document["inputs"] if entry["status"] == "failed")
    assert failed["input"].endswith("a.png")
    for name, path in (("mr", volume), ("ct", tmp_path / "in" / "ct")):
        image = nibabel.load(tmp_path / "out" / f"{name}.nii.gz")
        label_map, affine = predict_volume(path, model=volume_model, device="cpu")
        assert np.array_equal(np.asanyarray(image.dataobj), label_map)
        np.testing.assert_allclose(image.affine, affine, atol=1e-5)
    assert len(np.unique(predict_volume(volume, model=volume_model, device="cpu")[0])) > 1
    assert len(list((tmp_path / "out" / "mr.overlay").iterdir())) == 9


def test_models_of_volumes_are_refused_where_pictures_are_segmented(volume_model, capsys):
    with pytest.raises(VolumeModelError, match="is a model of volumes"):
        Segmenter(volume_model, "cpu")
    given = ["segment", "a.png", "-o", "out", "--device", "cpu"]
    assert main([*given, "--model", str(volume_model), "--tile", "32"]) == 2


def test_dicom_that_nothing_can_refer_to_becomes_a_volume_or_a_picture(run, tmp_path):
    slices(tmp_path / "ct", [1, 0, 0, 0, 1, 0], [0, 2, 4])
    write(tmp_path / "a.dcm", scene(0), "RGB")
    status, document, err = run(tmp_path / "ct", tmp_path / "a.dcm")
    assert status == 0
    assert {entry["format"] for entry in document["inputs"]} == {"nifti", "png"}
    assert nibabel.load(tmp_path / "out" / "ct.nii.gz").shape == (6, 4, 3)
    assert "written as nifti" in err and "written as png" in err


@needs_medical
def test_dicom_becomes_a_segmentation(run, model, tmp_path):
    file = get_testdata_file("examples_palette.dcm")
    status, document, _ = run(file, "--names", "polyp")
    assert status == 0
    made = dcmread(tmp_path / "out" / "examples_palette.dcm")
    assert np.array_equal(pixel_array(made), expected(read(file).frame(1).pixels, model))
    assert made.SegmentSequence[0].SegmentLabel == "polyp"
    parameters = made.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmParameters
    assert document["sha256"] in str(parameters)


@needs_medical
def test_a_cine_needs_a_fallback(run, model, tmp_path):
    cine = get_testdata_file("SC_rgb_rle_2frame.dcm")
    status, document, _ = run(cine)
    assert status == 2
    assert "--fallback frames" in document["inputs"][0]["reason"]
    status, document, err = run(cine, "--fallback", "frames")
    assert status == 0
    assert "one Segmentation object a frame" in document["inputs"][0]["note"]
    assert "one Segmentation object a frame" in err
    made = dcmread(tmp_path / "out" / "SC_rgb_rle_2frame" / "0002.dcm")
    assert np.array_equal(pixel_array(made), expected(read(cine).frame(2).pixels, model))
    status, document, _ = run(cine, "--fallback", "secondary-capture")
    assert status == 0
    assert dcmread(tmp_path / "out" / "SC_rgb_rle_2frame.dcm").NumberOfFrames == 2


@needs_medical
def test_anonymised_results_have_numbers_for_names(run, tmp_path):
    source = dcmread(get_testdata_file("examples_palette.dcm"))
    source.PatientName, source.PatientID = "Doe^Jane", "4711"
    (tmp_path / "Doe").mkdir()
    source.save_as(tmp_path / "Doe" / "Doe.dcm")
    Image.fromarray(scene(0)).save(tmp_path / "Doe" / "Jane.png")
    status, document, _ = run(tmp_path / "Doe", "--anonymise")
    assert status == 0
    files = sorted(path for path in (tmp_path / "out").rglob("*"))
    assert [path.name for path in files] == ["0001.dcm", "0002.png"]
    for file in files:
        assert b"Doe" not in file.read_bytes() and b"4711" not in file.read_bytes()
    assert document["inputs"][0]["input"].endswith("Doe.dcm")


def test_table(model, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    Image.fromarray(scene(0)).save(tmp_path / "a[1].png")
    (tmp_path / "b.png").write_bytes(b"")
    options = ["-o", tmp_path / "out", "--model", model, "--device", "cpu"]
    status = main([str(part) for part in ["segment", tmp_path / "a[1].png", tmp_path / "b.png", *options]])
    out = capsys.readouterr().out
    assert status == 1
    assert "a[1].png" in out and "structure" in out
    assert f"failed: {tmp_path / 'b.png'}" in out
    assert "1 done, 1 failed, 0 passed over" in out


def test_choices_are_those_of_the_package():
    assert (GIVEN_FORMATS, GIVEN_PLANES) == (FORMATS, PLANES)
    assert (GIVEN_FALLBACKS, GIVEN_TYPES) == (FALLBACKS, SEGMENTATION_TYPES)


def test_help_comes_without_the_package(bundle_root):
    command = [sys.executable, "-X", "importtime", "-m", "scripts.segment", "--help"]
    result = subprocess.run(command, cwd=bundle_root, capture_output=True, text=True, check=True)
    assert "--fallback" in result.stdout
    assert not any(name in result.stderr for name in ("monai_sam2unet", "torch", "rich"))


def test_the_script_is_the_command(model, tmp_path, monkeypatch):
    Image.fromarray(scene(0)).save(tmp_path / "a.png")
    given = [tmp_path / "a.png", "-o", tmp_path / "out", "--model", model, "--device", "cpu", "--json"]
    monkeypatch.setattr(sys, "argv", ["segment", *map(str, given)])
    with pytest.raises(SystemExit, match="0"):
        runpy.run_module("scripts.segment", run_name="__main__")
    assert (tmp_path / "out" / "a.png").is_file()


def test_grey_levels_are_those_of_the_models_training(run, model, tmp_path):
    """CT by the window that the model notes, unless another is asked for; pictures as they are."""
    given = tmp_path / "m.pt"
    given.write_bytes(model.read_bytes())
    noted = json.loads(model.with_suffix(".json").read_text())
    given.with_suffix(".json").write_text(json.dumps({**noted, "window": "liver"}))
    values = np.random.default_rng(0).integers(-200, 300, (40, 56)).astype(np.int16)
    (tmp_path / "in").mkdir()
    write(tmp_path / "in" / "ct.dcm", values, Modality="CT")
    Image.fromarray(scene(0)).save(tmp_path / "in" / "a.png")
    status, *_ = run(tmp_path / "in", "--format", "png", given=given)
    assert status == 0
    for name, window in (("liver", "liver"), ("bone", "bone")):
        if name == "bone":
            status, *_ = run(tmp_path / "in" / "ct.dcm", "--format", "png", "--window", window, given=given)
            assert status == 0
        pixels = read(tmp_path / "in" / "ct.dcm", window).frame(1).pixels
        mask = np.asarray(Image.open(tmp_path / "out" / "ct.png"))
        assert np.array_equal(mask > 0, expected(pixels, model))
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out" / "a.png")) > 0, expected(scene(0), model))
    by_inference = predict(tmp_path / "in" / "ct.dcm", model=given, device="cpu")
    shown = read(tmp_path / "in" / "ct.dcm", "liver").frame(1).pixels
    assert np.array_equal(by_inference, predict(shown, model=model, device="cpu"))


def test_decoders_tried_in_vain_leave_no_traceback(run):
    """12-bit JPEG, which SimpleITK decodes in the end."""
    status, _, err = run(get_testdata_file("JPGExtended.dcm"), "--format", "png")
    assert status == 0 and "Traceback" not in err


def test_a_video_becomes_a_mask_for_each_frame(run, model, tmp_path):
    av = pytest.importorskip("av", reason='needs pip install "monai-sam2unet[video]"')
    path = tmp_path / "in" / "cine.mp4"
    path.parent.mkdir()
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.bit_rate = 64, 48, "yuv420p", 8_000_000
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(scene(number, 48, 64), format="rgb24")
            for packet in [*stream.encode(frame), *(stream.encode(None) if number == 2 else [])]:
                container.mux(packet)
    (path.parent / "broken.mp4").write_bytes(path.read_bytes()[:200])
    status, document, _ = run(path.parent)
    assert status == 1
    good, bad = sorted(document["inputs"], key=lambda one: one["status"])
    assert (good["kind"], good["format"], good["frames"]) == ("a video", "png", 3)
    assert "broken.mp4: the video cannot be decoded" in bad["reason"]
    for frame in read(path):
        mask = np.asarray(Image.open(tmp_path / "out" / "cine" / f"{frame.number:04d}.png"))
        assert np.array_equal(mask > 0, expected(frame.pixels, model)) and mask.any()
