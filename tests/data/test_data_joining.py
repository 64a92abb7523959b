"""Several folders as one set: nothing lost, nothing mixed up."""

import pytest
from PIL import Image

from monai_sam2unet.data import load_datalists
from monai_sam2unet.data.joining import folders_of, join_datalists, load_joined
from monai_sam2unet.errors import InputError


def write(folder, names, parents=("",)):
    """A folder pair; in each parent folder the same names."""
    for parent in parents:
        for name in names:
            for kind, mode in (("images", "RGB"), ("masks", "L")):
                path = folder / kind / parent / f"{name}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.new(mode, (6, 4), 255 if mode == "L" else "red").save(path)
    return folder


@pytest.fixture
def two(tmp_path):
    """Two sets with pictures and patients of the same names."""
    a = write(tmp_path / "a", ["1", "2", "3"], ["p1", "p2"])
    b = write(tmp_path / "deep" / "b", ["1", "2"], ["p1", "p3"])
    return a, b


def test_all_parts_of_both(two, tmp_path):
    joined = load_joined([str(folder) for folder in two], val_fraction=0.5)
    alone = [load_datalists(folder, val_fraction=0.5) for folder in two]
    for part in ("train", "validation", "test"):
        images = [item["image"] for lists in alone for item in getattr(lists, part)]
        assert [item["image"] for item in getattr(joined, part)] == images
    assert joined.root == tmp_path
    assert joined.dataset == "folders+folders"
    assert "a: random split" in joined.rule and "b: random split" in joined.rule


def test_equal_names_stay_apart(two):
    joined = load_joined(two, val_fraction=0.5)
    items = [*joined.train, *joined.validation]
    assert len({item["case"] for item in items}) == len(items) == 10
    groups = {item["group"] for item in items}
    assert groups == {"a/images/p1", "a/images/p2", "deep/b/images/p1", "deep/b/images/p3"}
    assert not {i["group"] for i in joined.train} & {i["group"] for i in joined.validation}


def test_written_and_read_again(two, tmp_path):
    joined = load_joined(two, val_fraction=0.5)
    again = load_datalists(tmp_path, datalist=joined.write(tmp_path / "list.json"))
    for part in ("train", "validation", "test"):
        assert getattr(again, part) == getattr(joined, part)


def test_one_folder_is_as_ever(two):
    for given in (two[0], str(two[0]), [two[0]]):
        assert load_joined(given) == load_datalists(two[0])


def test_folders_that_share_pictures_are_refused(two, tmp_path):
    for pair in ((two[0], two[0]), (tmp_path / "deep", two[1]), (two[1], tmp_path / "deep")):
        with pytest.raises(InputError, match="pictures would count twice"):
            folders_of(pair)


def test_a_missing_folder_is_named(two, tmp_path):
    with pytest.raises(InputError, match="nowhere is not there"):
        load_joined([two[0], tmp_path / "nowhere"])


def test_a_datalist_goes_with_one_folder(two):
    with pytest.raises(InputError, match=r"mine\.json goes with one dataset_dir, got 2"):
        load_joined(two, datalist="mine.json")


def test_options_hold_for_each(two):
    lists = join_datalists([load_datalists(folder, val_fraction=0) for folder in two])
    assert load_joined(two, val_fraction=0) == lists and not lists.validation
