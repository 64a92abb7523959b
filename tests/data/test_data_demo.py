"""The synthetic set: the same everywhere, complete or not there, and with something to learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from monai_sam2unet.data import check_pairs, draw_case, ensure_demo, load_datalists, write_demo
from monai_sam2unet.data.demo import SIZES, _to_bytes
from monai_sam2unet.errors import InputError

# index: (means of the blocks, pixels of the mask), see test_golden.
GOLDEN = {
    1: (
        [
            [51.4, 79.8, 84.6, 49.0],
            [82.1, 66.9, 84.2, 89.7],
            [97.4, 94.0, 96.4, 78.2],
            [54.1, 70.5, 70.9, 43.5],
        ],
        133,
    ),
    3: (
        [
            [55.8, 93.0, 93.3, 56.8],
            [79.9, 101.5, 82.2, 82.5],
            [80.9, 88.9, 85.8, 79.6],
            [55.9, 92.4, 83.8, 52.8],
        ],
        853,
    ),
    4: (
        [
            [61.8, 79.3, 82.4, 57.1],
            [74.3, 94.5, 94.9, 57.7],
            [92.4, 99.0, 104.0, 61.6],
            [65.3, 87.1, 80.7, 57.0],
        ],
        500,
    ),
}
CASES = {index: draw_case(index, size=SIZES[index % len(SIZES)]) for index in range(32)}


def files_of(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def block_means(picture: np.ndarray) -> np.ndarray:
    """Means of a 64x64 picture's green channel over 16x16 blocks, (4, 4)."""
    return picture[..., 1].astype(float).reshape(4, 16, 4, 16).mean(axis=(1, 3))


def test_shapes_and_values():
    for index, (picture, mask) in CASES.items():
        width, height = SIZES[index % len(SIZES)]
        assert picture.shape == (height, width, 3) and mask.shape == (height, width)
        assert picture.dtype == mask.dtype == np.uint8
        assert set(np.unique(mask)) <= {0, 255}
        assert picture[0, 0].max() < 60 and picture.max() > 150  # a dark corner, a lit mucosa


def test_repeats_exactly_and_varies():
    again = draw_case(5, size=SIZES[5])
    assert np.array_equal(again[0], CASES[5][0]) and np.array_equal(again[1], CASES[5][1])
    assert not np.array_equal(draw_case(5, seed=1, size=SIZES[5])[0], CASES[5][0])
    assert not np.array_equal(draw_case(11, size=SIZES[5])[0], CASES[5][0])


@pytest.mark.parametrize("index", sorted(GOLDEN))
def test_golden(index):
    # Drawn by this code on x86-64 with numpy 2.4; another libm may differ by one value, 2 % in area.
    picture, mask = draw_case(index, size=(64, 64))
    means, area = GOLDEN[index]
    np.testing.assert_allclose(block_means(picture), means, atol=1.0)
    assert (mask > 0).sum() == pytest.approx(area, rel=0.02)


def test_one_of_eight_is_negative():
    for start in range(0, 32, 8):
        assert sum(not CASES[index][1].any() for index in range(start, start + 8)) == 1
    assert not draw_case(1, negative=True)[1].any()
    assert draw_case(0, negative=False)[1].any()


def test_polyps_vary():
    masks = [mask for _, mask in CASES.values() if mask.any()]
    areas = np.array([(mask > 0).mean() for mask in masks])
    assert areas.min() > 0.005 and areas.max() < 0.5 and areas.max() > 5 * areas.min()
    counts = {ndimage.label(mask)[1] for mask in masks}
    assert counts == {1, 2}


def test_polyps_are_seen_and_no_one_threshold_finds_them():
    # A polyp differs from the ring around it in most frames; yet a threshold of the red channel chosen for
    # each frame, chosen knowing the mask, is a poor segmentation.
    visible, dice = [], []
    for picture, mask in CASES.values():
        inside = mask > 0
        if not inside.any():
            continue
        ring = ndimage.binary_dilation(inside, iterations=8) & ~ndimage.binary_dilation(inside, iterations=2)
        inner = ndimage.binary_erosion(inside, iterations=2)
        visible.append(np.abs(picture[inner].mean(0) - picture[ring].mean(0)).max())
        found = picture[..., 0] > picture[inner][:, 0].mean()
        dice.append(2 * (found & inside).sum() / (found.sum() + inside.sum()))
    assert np.median(visible) > 12
    assert np.mean(dice) < 0.6


def test_same_patient_same_tint():
    def tint(index: int) -> np.ndarray:
        picture = draw_case(index, negative=True)[0].reshape(-1, 3).astype(float)
        lit = np.median(picture[picture.max(axis=1) > 60], axis=0)
        return lit / lit[0]

    tints = np.array([tint(index) for index in range(24)]).reshape(6, 4, 3)
    assert tints.std(axis=1).mean() < 0.5 * tints.mean(axis=1).std(axis=0).max()


def test_written_set(tmp_path):
    folder = write_demo(tmp_path / "demo", train=6, validation=4)
    lists = load_datalists(folder)
    assert (lists.dataset, len(lists.train), len(lists.validation)) == ("demo", 6, 4)
    assert lists.summary().startswith("Synthetic polyps: 6 training, 4 validation")
    assert not {i["group"] for i in lists.train} & {i["group"] for i in lists.validation}
    assert check_pairs(lists.train + lists.validation).pairs == 10
    picture, mask = CASES[3]
    assert np.array_equal(np.asarray(Image.open(folder / "images/0003.png")), picture)
    assert np.array_equal(np.asarray(Image.open(folder / "masks/0003.png")), mask)
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]  # no draft, no old folder is left


def test_ensure_reuses_completes_and_redraws(tmp_path):
    folder = ensure_demo(tmp_path / "demo", train=2, validation=1)
    before = files_of(folder)
    stamp = (folder / "images/0000.png").stat().st_mtime_ns
    ensure_demo(folder, train=2, validation=1)
    assert (folder / "images/0000.png").stat().st_mtime_ns == stamp
    (folder / "masks/0001.png").unlink()
    ensure_demo(folder, train=2, validation=1)
    assert files_of(folder) == before
    ensure_demo(folder, train=3, validation=0, seed=1)
    assert len(list((folder / "images").iterdir())) == 3
    assert json.loads((folder / "dataset.json").read_text())["demo"]["seed"] == 1


def test_a_folder_of_other_files_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").touch()
    with pytest.raises(InputError, match="holds other files"):
        ensure_demo(tmp_path, train=1, validation=0)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    assert write_demo(tmp_path / "empty", train=1, validation=0) == tmp_path / "empty"


def test_a_failure_leaves_nothing_behind(tmp_path, monkeypatch):
    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("monai_sam2unet.data.demo.write_json", fail)
    with pytest.raises(OSError, match="disk full"):
        write_demo(tmp_path / "demo", train=1, validation=0)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "wrong", [{"seed_index": -1}, {"seed_index": 0, "seed": -1}, {"seed_index": 0, "size": (16, 64)}]
)
def test_bad_numbers(wrong):
    with pytest.raises(InputError, match="at least"):
        draw_case(**wrong)


def test_bad_counts(tmp_path):
    with pytest.raises(InputError, match="train must be at least 1"):
        write_demo(tmp_path / "demo", train=0)


def test_rounding_ignores_the_last_bit():
    half = np.array([0.5 / 255])
    near = np.array([np.nextafter(half[0], 0.0), half[0], np.nextafter(half[0], 1.0)])
    assert len(set(_to_bytes(near).tolist())) == 1
