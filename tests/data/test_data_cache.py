"""What is kept of pictures: done once, the same values, made anew when anything changed."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
import torch
from monai.data import DataLoader, MetaTensor
from monai.transforms import (
    Compose,
    Lambda,
    MapTransform,
    RandAffined,
    RandFlipd,
    RandGaussianNoised,
    RandScaleIntensityd,
    ScaleIntensityRanged,
)
from PIL import Image

from monai_sam2unet.data import PictureDataset, cache
from monai_sam2unet.errors import InputError
from monai_sam2unet.transforms import LoadPictured, ResizeLikePillowd

KINDS = ("none", "memory", "disk")


class Count(MapTransform):
    """Notes in a file how often it is called: workers have memories of their own."""

    def __init__(self, path):
        super().__init__("image")
        self.path = str(path)

    def __call__(self, data):
        with open(self.path, "ab") as file:
            file.write(b".")
        return dict(data)


@pytest.fixture
def items(tmp_path):
    """Five noise pictures with masks, of differing sizes."""
    drawn = np.random.default_rng(0)
    made = []
    for number in range(5):
        shape = (20 + number, 31)
        files = {"image": tmp_path / f"{number}.png", "label": tmp_path / f"{number}_mask.png"}
        Image.fromarray(drawn.integers(0, 256, (*shape, 3), dtype=np.uint8)).save(files["image"])
        Image.fromarray(drawn.integers(0, 2, shape, dtype=np.uint8) * 255).save(files["label"])
        made.append({**{key: str(path) for key, path in files.items()}, "case": str(number)})
    return made


@pytest.fixture
def make(items, tmp_path):
    """`make(kind)` gives a dataset; `make.calls()` how often files have been read."""
    calls = tmp_path / "calls"
    calls.touch()

    def dataset(kind, data=None, size=16, later=(), **more):
        first = [LoadPictured(), ResizeLikePillowd(["image", "label"], size), Count(calls)]
        steps = Compose([*first, *later])
        return PictureDataset(
            items if data is None else data,
            steps,
            len(first),
            cache=kind,
            cache_dir=tmp_path / "kept",
            **more,
        )

    dataset.calls = lambda: calls.stat().st_size
    return dataset


def strong():
    """Random steps that note themselves in metadata, and such as might change their input."""
    keys = ["image", "label"]
    return [
        RandFlipd(keys, prob=0.5, spatial_axis=0),
        ScaleIntensityRanged(keys, 0, 255, 0.0, 1.0, clip=True),
        RandAffined(keys, prob=0.7, rotate_range=0.5, mode="bilinear"),
        RandScaleIntensityd("image", factors=0.2, prob=0.5),
        RandGaussianNoised("image", prob=0.5),
    ]


def read(dataset, seed=3):
    dataset.transform.set_random_state(seed)
    return [dataset[index] for _ in range(2) for index in range(len(dataset))]


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys()
        and a["case"] == b["case"]
        and all(np.array_equal(a[k], b[k]) for k in ("image", "label"))
        for a, b in zip(one, other, strict=True)
    )


def test_values_and_draws_are_those_of_monais_own_dataset(items, make):
    """Compose over an item, with metadata, is what MONAI's Dataset does: the other side is not ours."""
    plain = Compose([LoadPictured(), ResizeLikePillowd(["image", "label"], 16), *strong()])
    plain.set_random_state(3)
    expected = [plain(item) for _ in range(2) for item in items]
    assert isinstance(expected[0]["image"], MetaTensor)
    for kind in KINDS:
        assert same(read(make(kind, later=strong())), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_loaders_give_the_same_whatever_is_kept(make, workers):
    batches = {}
    for kind in KINDS:
        loader = DataLoader(make(kind, later=strong()), batch_size=2, num_workers=workers)
        torch.manual_seed(5)  # of which the loader takes the seeds of its processes
        loader.dataset.transform.set_random_state(5)
        batches[kind] = [batch for _ in range(2) for batch in loader]
    assert same(batches["memory"], batches["none"]) and same(batches["disk"], batches["none"])


@pytest.mark.parametrize(("kind", "calls"), [("none", 10), ("memory", 5), ("disk", 5)])
def test_pictures_are_read_once(make, kind, calls):
    """Five pictures in two passes."""
    read(make(kind))
    assert make.calls() == calls


def test_workers_find_what_is_in_memory_and_what_others_wrote(make, items):
    list(DataLoader(make("memory"), num_workers=2))
    assert make.calls() == 5
    data = make("disk", data=[items[0]] * 12)
    loader = DataLoader(data, num_workers=2)
    first, again = list(loader), list(loader)
    assert same(first, again) and len(list(data.loaded.folder.iterdir())) == 1
    assert 6 <= make.calls() <= 7  # each process may have read it before the other had written


def test_what_is_in_memory_reaches_processes_that_are_not_forked(make):
    """They are sent the dataset pickled."""
    dataset = make("memory", later=strong())
    sent = pickle.loads(pickle.dumps(dataset))
    assert same(read(sent), read(dataset)) and make.calls() == 5


def test_what_is_kept_is_uint8_and_stays_as_it_is(make):
    dataset = make("memory", later=strong())
    kept = [{key: item[key].copy() for key in ("image", "label")} for item in dataset.loaded]
    read(dataset)
    for before, after in zip(kept, dataset.loaded, strict=True):
        for key, channels in (("image", 3), ("label", 1)):
            assert after[key].dtype == np.uint8 and after[key].shape == (channels, 16, 16)
            assert np.array_equal(before[key], after[key])


def test_files_on_disk_serve_other_datasets_and_names(make, items, tmp_path):
    expected = read(make("disk"))
    assert same(read(make("disk")), expected) and make.calls() == 5
    moved = []
    for item in items:
        target = tmp_path / f"moved-{os.path.basename(item['image'])}"
        os.rename(item["image"], target)
        moved.append({**item, "image": str(target)})
    assert same(read(make("disk", data=moved)), expected) and make.calls() == 5


def test_other_content_of_the_same_size_and_time_is_read_anew(make, items):
    read(make("disk"))
    path = items[2]["label"]
    before = os.stat(path)
    with Image.open(path) as mask:
        turned = Image.fromarray(255 - np.asarray(mask))
    turned.save(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    item = make("disk")[2]
    assert make.calls() == 6
    assert np.array_equal(item["label"], make("none")[2]["label"])


def test_other_steps_are_other_files(make):
    small, large = make("disk", size=16)[0], make("disk", size=32)[0]
    assert (small["image"].shape, large["image"].shape) == ((3, 16, 16), (3, 32, 32))


def test_what_is_in_an_item_besides_files_is_told_apart(make, items):
    """A picture given as an array has no file to be known by."""
    arrays = [{**items[0], "image": np.full((8, 8, 3), value, np.uint8)} for value in (10, 200)]
    arrays = [{**item, "label": items[0]["label"]} for item in arrays]
    dataset = make("disk", data=arrays)
    assert [int(dataset[index]["image"].max()) for index in (0, 1, 0)] == [10, 200, 10]


@pytest.mark.parametrize("damage", [b"", b"half of a file"])
def test_damaged_files_are_made_anew(make, caplog, damage):
    dataset = make("disk")
    expected = dataset[1]
    [path] = dataset.loaded.folder.iterdir()
    path.write_bytes(damage)
    assert same([dataset[1]], [expected]) and f"{path}: is damaged" in caplog.text
    assert same([dataset[1]], [expected]) and make.calls() == 2


def test_a_process_that_was_killed_leaves_nothing_that_is_read(make, monkeypatch):
    """The file gets its name when it is whole: up to there nothing under that name is found."""
    dataset = make("disk")

    def killed(source, target):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            dataset[0]
    assert not list(dataset.loaded.folder.glob("*.safetensors"))
    dataset[0], dataset[0]
    assert make.calls() == 2


def test_auto_is_memory_where_all_pictures_fit(make, monkeypatch):
    needed = 5 * 4 * 16 * 16  # pictures, channels with the mask, pixels
    monkeypatch.setattr(cache, "MOST", needed)
    read(make("auto"))
    assert make.calls() == 1 + 5  # the first, to see how large it is, and all
    monkeypatch.setattr(cache, "MOST", needed - 1)
    read(make("auto"))
    assert make.calls() == 6 + 1 + 10


def test_auto_is_none_where_sizes_differ_or_processes_would_copy(make, monkeypatch):
    make("auto", one_size=False)
    monkeypatch.setattr("multiprocessing.get_start_method", lambda: "forkserver")
    make("auto", num_workers=1)
    assert make.calls() == 0
    make("auto", num_workers=0)
    assert make.calls() == 6


def test_auto_counts_every_process_of_a_training(make, monkeypatch):
    monkeypatch.setattr(cache, "MOST", 2 * 5 * 4 * 16 * 16 - 1)  # twice as much less one byte
    make("auto")
    assert make.calls() == 6
    monkeypatch.setattr("monai_sam2unet.distributed.processes", lambda: 2)
    make("auto")
    assert make.calls() == 7


@pytest.mark.parametrize("kind", KINDS)
def test_a_picture_that_cannot_be_read_is_named(make, items, kind):
    open(items[3]["image"], "wb").close()
    with pytest.raises(Exception) as caught:
        make(kind, num_workers=2)[3]
    assert isinstance(caught.value, InputError) or isinstance(caught.value.__cause__, InputError)
    assert "3.png: the file is empty" in f"{caught.value} {caught.value.__cause__}"


def test_steps_without_a_name_cannot_be_kept_on_disk(items, tmp_path):
    steps = Compose([LoadPictured(), Lambda(lambda item: item)])
    with pytest.raises(InputError, match="cache disk needs steps that can be pickled"):
        PictureDataset(items, steps, 2, cache="disk", cache_dir=tmp_path / "kept")


def test_a_folder_that_cannot_be_written_is_named(make, tmp_path):
    (tmp_path / "kept").touch()
    with pytest.raises(InputError, match="cannot write here"):
        make("disk")
