"""The plain form of the published evaluation gives the stored figures, and so does what is shipped."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from monai_sam2unet.metrics import score
from tests.plain import library, scoring

pytestmark = pytest.mark.filterwarnings("ignore:all predictions hold two values")


@pytest.fixture(scope="module")
def pairs(golden):
    """Maps and masks of the golden cases."""
    stored = np.load(golden / "metrics_cases.npz")
    return [(stored[f"pred{i}"], stored[f"gt{i}"]) for i in range(12)]


@pytest.fixture(scope="module")
def expected(golden):
    """What the paper's evaluation says of them, see tests/golden/README.md."""
    return json.loads((golden / "metrics_cases.json").read_text())


def test_the_golden_set(pairs, expected):
    plain = scoring.figures(pairs)
    assert len(plain) == 13
    stored = expected["official_eval"]
    assert plain == pytest.approx({name: stored[name] for name in plain}, abs=1e-9)


@pytest.mark.parametrize("case", range(12))
def test_each_golden_case(pairs, expected, case):
    plain = scoring.figures([pairs[case]])
    stored = expected["cases"][case]["official_eval"]
    assert plain == pytest.approx({name: stored[name] for name in plain}, abs=1e-9)


@pytest.mark.parametrize("kind", ["empty mask", "full mask", "constant map", "all but one pixel"])
def test_ours_is_the_same_where_figures_are_odd(pairs, kind):
    levels, mask = pairs[0][0].copy(), pairs[0][1].copy()
    if kind == "empty mask":
        mask[:] = 0
    elif kind == "full mask":
        mask[:] = 255
    elif kind == "constant map":
        levels[:] = 200
    else:
        mask[:] = 255
        mask[3, 5] = 0
    plain, ours = scoring.figures([(levels, mask)]), score([levels], [mask])
    assert plain == pytest.approx({name: ours[name] for name in plain}, abs=1e-9)


@pytest.mark.skipif(not library.installed(), reason="PySODMetrics is not installed; `make oracles` does it")
@pytest.mark.parametrize("weighted", [True, False])
def test_figures_are_those_of_the_library(pairs, weighted):
    plain = scoring.figures(pairs, weighted)
    assert plain == pytest.approx(library.figures(pairs, weighted), abs=1e-9)


def test_all_but_weighted_f(pairs):
    whole, part = scoring.figures(pairs), scoring.figures(pairs, weighted=False)
    assert part == {name: value for name, value in whole.items() if name != "wFmeasure"}


def test_maps_go_through_files_of_the_mask_s_size(tmp_path):
    """Logits of a ramp from left to right; by hand: stretched to 0 and (almost) 255, rising."""
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    truth = np.zeros((50, 70), np.uint8)
    truth[:, 35:] = 255
    Image.fromarray(picture).save(tmp_path / "a.jpg")
    Image.fromarray(truth).save(tmp_path / "a.png")
    seen = []

    def network(images):
        seen.append(images)
        return torch.linspace(-4, 4, 16).expand(1, 1, 16, 16)

    scoring.segment_step(tmp_path / "a.jpg", tmp_path / "a.png", tmp_path / "map.png", network, side=16)
    levels = np.asarray(Image.open(tmp_path / "map.png"))
    assert levels.shape == (50, 70) and levels.min() == 0 and levels.max() >= 254
    assert (np.diff(levels.astype(int), axis=1) >= 0).all() and (levels == levels[:1]).all()
    (images,) = seen
    assert images.shape == (1, 3, 16, 16)
    with Image.open(tmp_path / "a.jpg") as stored:
        small = np.asarray(stored.resize((16, 16), Image.Resampling.BILINEAR))
    assert images[0, 2, 7, 3].item() == pytest.approx((small[7, 3, 2] / 255 - 0.406) / 0.225, abs=1e-6)
    read = scoring.evaluation_step([tmp_path / "map.png"], [tmp_path / "a.png"])
    assert read == scoring.figures([(levels, truth)])
