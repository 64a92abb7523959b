"""Pictures and patients on both sides of a split."""

from __future__ import annotations

import csv
import io
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from monai_sam2unet.data import DataLists, draw_case
from monai_sam2unet.data.fingerprints import (
    ORIENTATIONS,
    aligned_correlation,
    correlations,
    fingerprint,
    turn,
)
from monai_sam2unet.data.leakage import MAX_DISTANCE, MIN_CORRELATION, MIN_LIKENESS, find_leakage
from monai_sam2unet.data.leakage_report import COLUMNS, write_report
from monai_sam2unet.errors import InputError


@cache
def drawn(patient: int) -> Image.Image:
    """A frame of a made-up patient; four frames in a row are of one."""
    return Image.fromarray(draw_case(4 * patient)[0])


def compressed(picture: Image.Image, quality: int) -> Image.Image:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=quality)
    return Image.open(file).convert("RGB")


def cropped(picture: Image.Image, share: float) -> Image.Image:
    """Take half of a share off each side."""
    w, h = picture.size
    x, y = round(w * share / 2), round(h * share / 2)
    return picture.crop((x, y, w - x, h - y))


CHANGES = {
    "compressed": lambda p: compressed(p, 30),
    "resized": lambda p: p.resize((352, 352)),
    "halved": lambda p: p.resize((p.width // 2, p.height // 2)),
    "brightened": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "darkened": lambda p: ImageEnhance.Brightness(p).enhance(0.7),
    "cropped": lambda p: cropped(p, 0.04),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "mirrored left-right": ImageOps.mirror,
    "mirrored up-down": ImageOps.flip,
    "rotated by 180 degrees": lambda p: p.transpose(Image.Transpose.ROTATE_180),
}


def lists(root: Path, groups: dict[str, str] | None = None, **splits: list[Image.Image]) -> DataLists:
    """Write the pictures of train, validation and test as 000.png, ... below a folder each."""
    parts = {}
    for split in ("train", "validation", "test"):
        parts[split] = []
        for i, picture in enumerate(splits.get(split, [])):
            case = f"{split}/{i:03d}"
            file = root / f"{case}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            picture.save(file)
            group = (groups or {}).get(case, case)
            parts[split].append({"image": str(file), "label": str(file), "case": case, "group": group})
    return DataLists("made up", root, **parts)


def pairs(found) -> list[tuple[str, str, str, str]]:
    """Kind, orientation and the two cases of each match."""
    return [
        (m.kind, m.orientation, *(f"{p.path.parent.name}/{p.path.stem}" for p in (m.first, m.second)))
        for m in found.matches
    ]


@pytest.mark.parametrize(("patient", "expected"), [(0, "c567109807795fb3"), (1, "d03f25f2454f1669")])
def test_hash_is_the_one_of_imagehash(patient, expected):
    # str(imagehash.phash(picture)) of ImageHash 4.3.2
    bits = fingerprint(drawn(patient)).hashes[0]
    assert np.packbits(bits).tobytes().hex() == expected


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (0, "c567109807795fb3"),
        (1, "913245cd526d5ee6"),
        (2, "c59a106707a75fcc"),
        (3, "91cf453252d35e99"),
    ],
)
def test_hashes_of_turned_pictures(orientation, expected):
    # ImageHash 4.3.2, phash of the picture after PIL's mirror, flip and rotate(180)
    picture = drawn(0)
    turned = picture if not orientation else CHANGES[ORIENTATIONS[orientation]](picture)
    assert np.packbits(fingerprint(picture).hashes[orientation]).tobytes().hex() == expected
    # the thumbnail is turned likewise
    thumbnail = turn(fingerprint(picture).thumbnail, orientation)
    assert correlations(thumbnail[None], fingerprint(turned).thumbnail[None])[0] > 0.999


@settings(max_examples=40)
@given(
    patient=st.integers(0, 15),
    width=st.integers(96, 400),
    height=st.integers(96, 400),
    quality=st.integers(30, 95),
    brightness=st.floats(0.7, 1.2),
)
def test_what_is_done_to_files_changes_little(patient, width, height, quality, brightness):
    picture = drawn(patient)
    other = ImageEnhance.Brightness(picture).enhance(brightness).resize((width, height))
    one, two = fingerprint(picture), fingerprint(compressed(other, quality))
    assert (one.hashes[0] != two.hashes[0]).sum() <= MAX_DISTANCE
    assert correlations(one.thumbnail[None], two.thumbnail[None])[0] >= MIN_LIKENESS
    assert aligned_correlation(one.thumbnail, two.thumbnail) >= MIN_CORRELATION


def test_correlation_is_pearsons():
    rng = np.random.default_rng(0)
    one, two = rng.integers(0, 256, (2, 3, 48, 48), dtype=np.uint8)
    expected = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(one, two, strict=True)]
    np.testing.assert_allclose(correlations(one, two), expected, atol=1e-6)
    assert correlations(one[:0], two[:0]).shape == (0,)


def test_aligned_correlation_of_what_has_nothing_in_common():
    constant = np.full((48, 48), 7, np.uint8)
    noise = np.random.default_rng(0).integers(0, 256, (48, 48), dtype=np.uint8)
    assert aligned_correlation(noise, noise) == pytest.approx(1.0, abs=1e-4)
    assert aligned_correlation(noise, constant) == aligned_correlation(constant, noise) == 0.0


@pytest.mark.parametrize("change", CHANGES)
def test_changed_pictures_are_found_and_others_are_not(change, tmp_path):
    pictures = [drawn(patient) for patient in range(16)]
    changed = [CHANGES[change](picture) for picture in pictures[4:6]]
    made = lists(tmp_path, train=pictures[:8], test=[*pictures[8:], *changed])
    found = find_leakage({"made": made}, workers=2)
    orientation = change if change in ORIENTATIONS else ""
    expected = [("near", orientation, f"train/00{4 + i}", f"test/00{8 + i}") for i in range(2)]
    assert sorted(pairs(found), key=lambda pair: pair[2]) == expected
    assert found.crosses and not found.groups and not found.flat and not found.unreadable
    assert all(match.correlation >= MIN_CORRELATION for match in found.matches)


def test_exact_pictures_across_sets_and_within_one(tmp_path):
    pictures = [drawn(patient) for patient in range(6)]
    first = lists(tmp_path / "a", train=[*pictures[:3], pictures[0]], validation=[pictures[3]])
    second = lists(tmp_path / "b", test=[pictures[4], pictures[3]])
    found = find_leakage({"a": first, "b": second})
    assert pairs(found) == [("exact", "", "validation/000", "test/001")]
    assert {str(portion): n for portion, n in found.portions.items()} == {
        "a train": 4, "a validation": 1, "b test": 2
    }  # fmt: skip
    found = find_leakage({"a": first, "b": second}, within=True)
    # what crosses stands first
    assert pairs(found) == [
        ("exact", "", "validation/000", "test/001"),
        ("exact", "", "train/000", "train/003"),
    ]
    told = {f"{a} / {b}": dict(number) for (a, b), number in found.counts().items()}
    assert told == {"a train / a train": {"exact": 1}, "a validation / b test": {"exact": 1}}


def test_what_repeats_in_one_split_alone_is_no_leak(tmp_path):
    found = find_leakage({"a": lists(tmp_path, train=[drawn(0), drawn(0)])}, within=True)
    assert len(found.matches) == 1 and not found.crosses


def test_a_symmetric_picture_is_told_once(tmp_path):
    half = drawn(3).resize((60, 80))
    whole = Image.new("RGB", (120, 80))
    whole.paste(half, (0, 0))
    whole.paste(ImageOps.mirror(half), (60, 0))
    found = find_leakage({"a": lists(tmp_path, train=[whole], test=[whole])})
    assert pairs(found) == [("exact", "", "train/000", "test/000")]


def test_uniform_pictures_are_compared_by_pixels_alone(tmp_path):
    rng = np.random.default_rng(0)
    dark = [Image.fromarray(rng.integers(0, 4, (60, 80, 3), dtype=np.uint8)) for _ in range(3)]
    made = lists(tmp_path, train=[dark[0], dark[1]], test=[compressed(dark[0], 90), dark[1], dark[2]])
    found = find_leakage({"a": made})
    assert pairs(found) == [("exact", "", "train/001", "test/001")]
    assert len(found.flat) == 5


def test_unreadable_files_are_named_and_end_nothing(tmp_path):
    made = lists(tmp_path, train=[drawn(0), drawn(1)], test=[drawn(1)])
    broken = tmp_path / "train" / "000.png"
    broken.write_text("not a picture")
    found = find_leakage({"a": made})
    assert set(found.unreadable) == {broken} and str(broken) in found.unreadable[broken]
    assert pairs(found) == [("exact", "", "train/001", "test/000")]


def test_groups_on_both_sides(tmp_path):
    groups = {"train/000": "patient 1", "train/001": "patient 2", "test/000": "patient 1", "test/001": "x"}
    made = lists(tmp_path, groups, train=[drawn(0), drawn(1)], test=[drawn(2), drawn(3)])
    found = find_leakage({"a": made, "b": lists(tmp_path / "b", {"train/000": "x"}, train=[drawn(4)])})
    # "x" stands in two sets, where equal names mean nothing
    assert [(g.name, str(g.first), str(g.second)) for g in found.groups] == [
        ("patient 1", "a train", "a test")
    ]
    assert found.crosses and not found.matches


def test_folders_of_one_patient_in_two_splits(tmp_path):
    """Groups are folders below those of the split: train/images/p1 and val/images/p1 are one patient."""
    cases = {"train": ["train/images/p1/a", "train/images/p2/a"], "test": ["val/images/p1/b"]}
    made = lists(tmp_path, train=[drawn(0), drawn(1)], test=[drawn(2)])
    for split, names in cases.items():
        for item, case in zip(getattr(made, split), names, strict=True):
            item.update(case=case, group=case.rpartition("/")[0])
    assert [group.name for group in find_leakage({"a": made}).groups] == ["p1"]


def test_nothing_to_compare(tmp_path):
    found = find_leakage({"a": DataLists("empty", tmp_path, [], [], [])})
    assert not found.crosses and not found.matches and not found.portions


def test_workers_are_checked(tmp_path):
    with pytest.raises(InputError, match="workers must be at least 1, got 0"):
        find_leakage({}, workers=0)


def test_report(tmp_path):
    groups = {"train/000": "p", "test/000": "p"}
    made = lists(
        tmp_path / "in", groups, train=[drawn(0), drawn(1)], test=[drawn(0), ImageOps.mirror(drawn(1))]
    )
    found = find_leakage({"a, b": made})
    table, sheet = write_report(found, tmp_path / "out")
    with open(table, newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["kind"] for row in rows] == ["exact", "near", "group"]
    assert rows[1]["first_file"] == str(tmp_path / "in" / "train" / "001.png")
    assert (rows[1]["first_set"], rows[1]["first_split"], rows[1]["second_split"]) == (
        "a, b",
        "train",
        "test",
    )
    assert rows[1]["orientation"] == "mirrored left-right" and float(rows[1]["correlation"]) > 0.99
    assert rows[2]["group"] == "p" and rows[2]["first_file"] == ""
    with Image.open(sheet) as drawing:
        two = drawing.size
    write_report(found, tmp_path / "out", pairs=1)
    with Image.open(sheet) as drawing:
        assert drawing.size == (two[0] // 2, two[1])


def test_a_report_of_nothing_leaves_no_older_picture(tmp_path):
    leak = lists(tmp_path / "in", train=[drawn(0)], test=[drawn(0)])
    write_report(find_leakage({"a": leak}), tmp_path / "out")
    sound = lists(tmp_path / "sound", train=[drawn(0)], test=[drawn(1)])
    assert write_report(find_leakage({"a": sound}), tmp_path / "out") == [tmp_path / "out" / "leakage.csv"]
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["leakage.csv"]
    assert len((tmp_path / "out" / "leakage.csv").read_text().splitlines()) == 1
