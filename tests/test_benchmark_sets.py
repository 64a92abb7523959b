"""The sets of a table: found, named, and given their protocols."""

import pytest

from monai_sam2unet.benchmark import load_sets, protocols_for
from monai_sam2unet.errors import InputError
from tests.tiny_sets import put, tiny_set


def own_folder(folder, *stems):
    for stem in stems:
        put(folder / "images" / f"{stem}.png")
        put(folder / "masks" / f"{stem}.png")
    return folder


@pytest.mark.parametrize("given", ["polyps", "polyps/TestDataset", "polyps/TestDataset/Kvasir"])
def test_pranet_is_a_set_for_each_of_its_test_sets(tmp_path, given):
    tiny_set("pranet").build(tmp_path)
    sets = load_sets([tmp_path / given])
    names = {one.name: (one.key, len(one.items), one.tests_only) for one in sets}
    kvasir = {"Kvasir": ("pranet/Kvasir", 2, True)}
    if given.endswith("Kvasir"):
        assert names == kvasir
    else:
        assert names == {"CVC-300": ("pranet/CVC-300", 1, True), **kvasir}


def test_training_pictures_are_a_set_apart(tmp_path):
    sets = load_sets([tiny_set("pranet").build(tmp_path)], "all")
    assert {one.name: one.tests_only for one in sets} == {
        "TrainDataset": False, "CVC-300": True, "Kvasir": True,
    }  # fmt: skip


def test_a_set_that_is_not_of_the_part(tmp_path):
    polyps = tiny_set("pranet").build(tmp_path)
    with pytest.raises(InputError, match="train of PraNet polyp benchmark holds no set Kvasir"):
        load_sets([polyps / "TestDataset" / "Kvasir"], "train")


# As the task has it: polyps, camouflaged and salient objects in the paper's protocol, marine animals also in
# that of their benchmark, mirrors in theirs, everything else also at a fixed threshold.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cvc_300", ("paper",)),
        ("camo", ("paper",)),
        ("ecssd", ("paper",)),
        ("mas3k", ("masnet", "paper")),
        ("pmd", ("hetnet",)),
        ("isic_2018", ("paper", "fixed")),
    ],
)
def test_usual_protocols(tmp_path, name, expected):
    (found,) = load_sets([tiny_set(name).build(tmp_path)])
    assert protocols_for(found, ["auto"]) == expected
    assert protocols_for(found, ["fixed", "auto", "paper"])[0] == "fixed"
    assert sorted(protocols_for(found, ["fixed", "auto", "fixed"])) == sorted({"fixed", *expected})


def test_names_tell_sets_apart(tmp_path):
    folders = [own_folder(tmp_path / name / "set", "a") for name in ("one", "two")]
    assert [one.name for one in load_sets(folders, "all")] == ["set (one/set)", "set (two/set)"]
    with pytest.raises(InputError, match=r"set \(one/set\) is given twice"):
        load_sets([folders[0], folders[0]], "all")
    with pytest.raises(InputError, match="no data given"):
        load_sets([])


def test_random_splits_are_known_as_such(tmp_path):
    folder = own_folder(tmp_path / "own", *"abcdefgh")
    one, other = (load_sets([folder], val_fraction=0.5, seed=seed)[0] for seed in (0, 1))
    assert one.drawn and one.part == "validation" and len(one.items) == 4 and not one.tests_only
    assert [item["case"] for item in one.items] != [item["case"] for item in other.items]
    assert not load_sets([folder], "all")[0].drawn


def test_checksum_is_that_of_masks_and_names_wherever_they_lie(tmp_path):
    one, other = (own_folder(tmp_path / name / "set", "a", "b") for name in ("one", "two"))
    before = load_sets([one], "all")[0].sha256()
    assert load_sets([other], "all")[0].sha256() == before
    put(other / "masks" / "b.png", value=254)
    assert load_sets([other], "all")[0].sha256() != before


def test_a_folder_without_masks_is_no_set(tmp_path):
    put(tmp_path / "set" / "images" / "a.png")
    with pytest.raises(InputError, match="like no layout"):
        load_sets([tmp_path / "set"])
