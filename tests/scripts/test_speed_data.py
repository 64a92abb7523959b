"""The part of the benchmark on data, on few small pictures."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from scripts.speed.data import comparisons, comparisons_of, drawn, kept, recipe
from scripts.speed.timing import Comparison, Figure, measure
from tests.plain.pipeline import PlainPictures


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return drawn(tmp_path_factory.mktemp("drawn"), 5, (70, 50))


def test_nothing_of_it_is_quick():
    assert list(comparisons(quick=True)) == []


def test_pictures_are_of_the_size_and_kind_that_is_asked_for(items):
    for item in items:
        with Image.open(item["image"]) as picture, Image.open(item["label"]) as mask:
            assert picture.size == mask.size == (70, 50)
            assert (picture.format, mask.format) == ("JPEG", "PNG")


def test_both_ways_give_the_same_and_are_timed(items):
    first, later, rate = comparisons_of(items, 32, rounds=1)
    for one in (first, later):
        assert isinstance(one, Comparison) and one.part == "data" and one.items == 5
        measured = measure(one, rounds=1)
        assert measured.agrees and measured.ratio > 0
    assert first.goal == 1.5
    assert isinstance(rate, Figure) and rate.value.endswith("goal 300")


def test_a_difference_is_seen(items):
    """Steps that were not the published ones would be told: here the mask of another picture."""
    swapped = [{**item, "label": items[index - 1]["label"]} for index, item in enumerate(items)]
    plain = PlainPictures([(item["image"], item["label"]) for item in items], 32, flip=0)
    ours = kept(swapped, *recipe(32, flips="none"))
    assert max(float((ours[i]["label"] - plain[i]["label"]).abs().max()) for i in range(5)) > 0.9


def test_the_plain_pipeline_flips_picture_and_mask_alike(items):
    pairs = [(item["image"], item["label"]) for item in items]
    turned, straight = (PlainPictures(pairs, 32, flip)[0] for flip in (1, 0))
    for key in ("image", "label"):
        assert torch.equal(turned[key], straight[key].flip(1, 2))
