"""Volumes are found, paired, named, divided by patient and checked, and errors name the file."""

from __future__ import annotations

import json
import shutil

import nibabel
import numpy as np
import pytest
import SimpleITK
from PIL import Image

from monai_sam2unet.data import (
    VolumesToSegment,
    check_volumes,
    class_names,
    detect,
    load_datalists,
    load_volumes,
    prepare_volumes,
    volumes_in,
)
from monai_sam2unet.errors import InputError
from monai_sam2unet.labels import LabelReader
from tests.io.phantoms import slices
from tests.volume_sets import AFFINE, NAMES, SHAPE, phantom, save, write_volumes

TWO = LabelReader(NAMES)


@pytest.fixture(scope="module")
def decathlon(tmp_path_factory):
    return write_volumes(tmp_path_factory.mktemp("sets") / "Task99_Own", 6)


def cases(items):
    return [item["case"] for item in items]


def test_decathlon_layout(decathlon):
    lists = load_volumes(decathlon, val_fraction=0.34, seed=1)
    assert (len(lists.train), len(lists.validation), lists.test) == (4, 2, [])
    everything = sorted(cases([*lists.train, *lists.validation]))
    assert everything == [f"imagesTr/case_{n:03d}" for n in range(1, 7)]
    item = lists.train[0]
    assert item["image"].endswith(".nii.gz") and item["label"] == item["image"].replace(
        "imagesTr", "labelsTr"
    )
    assert lists.summary().endswith("4 training, 2 validation, 0 test volumes (random split, seed 1)")
    assert cases(load_volumes(decathlon, val_fraction=0.34, seed=1).validation) == cases(lists.validation)


def test_a_run_writes_its_split_and_reads_it_again(decathlon, tmp_path):
    lists = prepare_volumes(decathlon, labels=TWO, output_dir=tmp_path, val_fraction=0.34)
    again = load_volumes(decathlon, datalist=tmp_path / "datalist.json")
    assert (again.train, again.validation) == (lists.train, lists.validation)


def test_pictures_configs_name_the_config_for_volumes(decathlon):
    assert detect(decathlon).name == "decathlon_other"
    with pytest.raises(InputError, match=r"trained on by slices.*configs/volume\.json"):
        load_datalists(decathlon)


def test_a_training_on_pictures_names_the_config_for_volumes(tmp_path):
    for folder in ("images", "masks"):
        save(tmp_path / folder / "a.nii.gz", phantom(1)[1])
    with pytest.raises(InputError, match=r"images holds no picture .*holds volumes, .*configs/volume\.json"):
        load_datalists(tmp_path)


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("images/a{}.nii.gz", "labels/a{}.nii.gz"),
        ("images/a{}.nii", "masks/a{}_seg.nii.gz"),
        ("imagesTr/a{}_0000.nii.gz", "labelsTr/a{}.nii.gz"),  # nnU-Net's channel number
        ("train/images/1.2.{}.nii", "train/labels/1.2.{}.nii"),  # a UID is no suffix
    ],
)
def test_pairs_by_name(tmp_path, image, label):
    for number in (1, 2):
        values, labels = phantom(number)
        save(tmp_path / image.format(number), values)
        save(tmp_path / label.format(number), labels)
    lists = load_volumes(tmp_path, val_fraction=0)
    for number, item in enumerate(lists.train, start=1):
        assert item["image"] == str(tmp_path / image.format(number))
        assert item["label"] == str(tmp_path / label.format(number))


def test_given_folders_are_the_split(tmp_path):
    for part, number in (("train", 1), ("val", 2), ("test", 3)):
        values, labels = phantom(number)
        save(tmp_path / part / "images" / f"{number}.nii", values)
        save(tmp_path / part / "labels" / f"{number}.nii", labels)
    lists = load_volumes(tmp_path)
    assert cases(lists.train) == ["train/images/1"]
    assert cases(lists.validation) == ["val/images/2"]
    assert cases(lists.test) == ["test/images/3"]


def test_volumes_of_one_folder_stay_on_one_side(tmp_path):
    """Two times of each of three patients."""
    for patient in "abc":
        for time in (1, 2):
            values, labels = phantom(time)
            save(tmp_path / "images" / patient / f"{time}.nii", values)
            save(tmp_path / "labels" / patient / f"{time}.nii", labels)
    for seed in range(4):
        lists = load_volumes(tmp_path, val_fraction=0.3, seed=seed)
        patients = [{item["group"] for item in part} for part in (lists.train, lists.validation)]
        assert not patients[0] & patients[1] and (len(lists.train), len(lists.validation)) == (4, 2)


def test_series_and_nrrd(tmp_path):
    """A series of six columns, four rows and three slices, its label map as NRRD by SimpleITK."""
    files = slices(tmp_path / "images" / "one", [1, 0, 0, 0, 1, 0], [0.0, 3.0, 6.0])
    image = SimpleITK.ReadImage([str(file) for file in files])
    (tmp_path / "labels").mkdir()
    SimpleITK.WriteImage(
        SimpleITK.Cast(image > 500, SimpleITK.sitkUInt8), str(tmp_path / "labels" / "one.nrrd")
    )
    assert volumes_in(tmp_path / "images") == {"one": tmp_path / "images" / "one"}
    lists = load_volumes(tmp_path, val_fraction=0)
    assert cases(lists.train) == ["images/one"]
    check_volumes(lists.train, LabelReader())


def test_what_does_not_pair_is_named(tmp_path):
    for folder, name in (("images", "a"), ("images", "b"), ("labels", "b"), ("labels", "c")):
        save(tmp_path / folder / f"{name}.nii", phantom(1)[1])
    with pytest.raises(InputError, match=r"2 volumes, without a label map: a; label maps without.*: c; give"):
        load_volumes(tmp_path)
    shutil.copy(tmp_path / "images" / "a.nii", tmp_path / "images" / "a.nii.gz")
    with pytest.raises(InputError, match=r"a\.nii.* have one name"):
        load_volumes(tmp_path)
    with pytest.raises(InputError, match=r"holds no volumes with label maps; expected imagesTr/"):
        load_volumes(tmp_path / "images")


def test_several_channels_are_refused(tmp_path):
    for channel in ("0000", "0001"):
        save(tmp_path / "imagesTr" / f"a_{channel}.nii", phantom(1)[0])
    save(tmp_path / "labelsTr" / "a.nii", phantom(1)[1])
    with pytest.raises(InputError, match="has several channels a case"):
        load_volumes(tmp_path)


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"0": "background", "1": "liver", "2": "cancer"}, ["liver", "cancer"]),  # Decathlon
        ({"background": 0, "cancer": 2, "liver": 1}, ["liver", "cancer"]),  # nnU-Net
    ],
)
def test_names_of_classes_from_dataset_json(tmp_path, labels, names):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert class_names(tmp_path) == names


@pytest.mark.parametrize("labels", [{"0": "background"}, {"0": "b", "2": "a"}, {"whole": [1, 2], "b": 0}])
def test_labels_that_name_no_values_are_refused(tmp_path, labels):
    (tmp_path / "dataset.json").write_text(json.dumps({"labels": labels}))
    with pytest.raises(
        InputError, match=r"dataset\.json: labels must name the values 0 \(background\), 1, 2"
    ):
        class_names(tmp_path)


def test_names_of_classes_without_dataset_json(tmp_path):
    save(tmp_path / "imagesTr" / "hippocampus_001.nii.gz", phantom(1)[0])
    assert class_names(tmp_path) == ["Anterior", "Posterior"]  # Task04's own dataset.json
    assert class_names("") == [] == class_names(write_volumes(tmp_path / "own", 1, named=False))


def test_check_names_every_file(decathlon, tmp_path):
    values, label = phantom(1)
    moved = AFFINE.copy()
    moved[2, 3] += 2
    images = {
        "right": (save(tmp_path / "i0.nii", values), save(tmp_path / "right.nii", label)),
        "size": (save(tmp_path / "i1.nii", values), save(tmp_path / "size.nii", label[1:])),
        "place": (save(tmp_path / "i2.nii", values), save(tmp_path / "place.nii", label, moved)),
        "value": (save(tmp_path / "i3.nii", values), save(tmp_path / "value.nii", label * 3)),
        "itself": (save(tmp_path / "i4.nii", values), save(tmp_path / "itself.nii", values + 0.5)),
    }
    (tmp_path / "damaged.nii.gz").write_bytes((decathlon / "imagesTr" / "case_001.nii.gz").read_bytes()[:900])
    images["damaged"] = (tmp_path / "damaged.nii.gz", tmp_path / "right.nii")
    items = [{"image": str(i), "label": str(m), "case": name} for name, (i, m) in images.items()]
    with pytest.raises(InputError) as caught:
        check_volumes(items, TWO)
    told = str(caught.value)
    assert told.startswith("5 volumes cannot be used:")
    for part in (
        "size.nii: has 19x26x8 voxels, expected 20x26x8",
        "place.nii: lies up to 2 mm off",
        "value.nii: holds the values 3",
        "itself.nii: a label map has whole numbers from 0 to 255",
        "damaged.nii.gz: is",
    ):
        assert part in told


def test_one_structure_has_one_value(decathlon, tmp_path):
    item = {"image": str(decathlon / "imagesTr" / "case_001.nii.gz"), "case": "a"}
    two = {**item, "label": str(decathlon / "labelsTr" / "case_001.nii.gz")}
    with pytest.raises(InputError, match=r"case_001\.nii\.gz: has the values \[1, 2\]; name them, --classes"):
        check_volumes([two], LabelReader())
    white = np.where(phantom(1)[1] > 0, 255, 0).astype(np.uint8)
    check_volumes([{**item, "label": str(save(tmp_path / "white.nii", white))}], LabelReader())
    nothing = {**item, "label": str(save(tmp_path / "black.nii", np.zeros(SHAPE, np.uint8)))}
    with pytest.raises(InputError, match="1 label map: none holds a structure"):
        check_volumes([nothing], LabelReader())


def test_volumes_need_a_folder(tmp_path):
    with pytest.raises(InputError, match="dataset_dir is empty"):
        prepare_volumes("", labels=TWO, output_dir=tmp_path)


def test_what_is_segmented(decathlon, tmp_path):
    images = tmp_path / "in"
    shutil.copytree(decathlon / "imagesTr", images / "mr")
    slices(images / "ct", [1, 0, 0, 0, 1, 0], [0.0, 3.0])
    (images / "bad.nii").write_bytes(b"no volume")
    found = VolumesToSegment(images)
    assert [item["output"] for item in found.items] == [
        "ct.nii.gz",
        *(f"mr/case_{number:03d}.nii.gz" for number in range(1, 7)),
    ]
    with pytest.raises(InputError, match=r"1 volume could not be read, without a result:\n  .*bad\.nii"):
        found.finish()
    assert [item["case"] for item in VolumesToSegment(images / "ct").items] == ["ct"]
    assert [item["case"] for item in VolumesToSegment(images / "mr" / "case_001.nii.gz").items] == [
        "case_001"
    ]
    (tmp_path / "nothing").mkdir()
    with pytest.raises(InputError, match="holds no volume"):
        VolumesToSegment(tmp_path / "nothing")


def test_real_hippocampus(real_data):
    root = real_data("MSD-Hippocampus")
    lists = load_volumes(root, val_fraction=0.2)
    assert (len(lists.train), len(lists.validation)) == (48, 12)
    assert class_names(root) == ["Anterior", "Posterior"]
    check_volumes(lists.validation, LabelReader(class_names(root)))
    affine = nibabel.load(lists.train[0]["image"]).affine
    assert np.array_equal(affine, nibabel.load(lists.train[0]["label"]).affine)


def test_a_folder_of_pictures_is_named_as_such(tmp_path):
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        Image.new("L", (8, 8)).save(tmp_path / kind / "a.png")
    with pytest.raises(InputError, match=r"hold no volume; expected NIfTI.*Pictures.*without volume\.json"):
        load_volumes(tmp_path)
