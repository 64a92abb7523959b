"""Which figures are means over pictures, and how masks and maps are read for them."""

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet.benchmark import NOT_MEANS
from monai_sam2unet.benchmark.maps import fitted, read_grey, read_masks
from monai_sam2unet.benchmark.scoring import Scorer
from monai_sam2unet.errors import InputError
from monai_sam2unet.metrics import PROTOCOLS, score


@pytest.fixture
def pairs():
    """Twelve noisy maps of rectangles, one mask empty."""
    rng, made = np.random.default_rng(0), []
    for i in range(12):
        mask = np.zeros((20 + i, 30), np.uint8)
        mask[4 : 6 + i, 3 + i : 20] = 255 * (i != 5)
        levels = np.clip(mask * 0.6 + rng.normal(60, 40, mask.shape), 0, 255).astype(np.uint8)
        made.append((levels, mask))
    return made


@pytest.mark.filterwarnings("ignore:an empty or full mask")
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_equal_to_score_and_to_the_mean_of_the_cases(pairs, protocol):
    scorer = Scorer([protocol], threshold=0.5)
    for levels, mask in pairs:
        scorer.add(scorer.measure(levels, (mask, mask)))
    found = scorer.scores()[protocol]
    # the one definition of the protocols
    assert found.figures == score(*zip(*pairs, strict=True), protocol=protocol)
    for name, cases in found.cases.items():
        assert found.figures[name] == pytest.approx(np.nanmean(cases), abs=1e-12), name
        assert np.isnan(cases).sum() == found.undefined[name]


@pytest.mark.filterwarnings("ignore:an empty or full mask")
@pytest.mark.parametrize("protocol", [name for name in PROTOCOLS if NOT_MEANS[name]])
def test_figures_called_no_means_are_none(pairs, protocol):
    """Otherwise they would have an interval without a reason to leave it out."""
    whole = score(*zip(*pairs, strict=True), protocol=protocol)
    each = [score([levels], [mask], protocol=protocol) for levels, mask in pairs]
    for name in NOT_MEANS[protocol]:
        assert abs(np.nanmean([case[name] for case in each]) - whole[name]) > 1e-4, name


def test_each_protocol_has_its_own_form_of_the_mask():
    """128 and 254: by hand, both object in `fixed` and `masnet`, one in `paper`, none in `hetnet`."""
    grey = np.array([[0, 0, 128, 254]], np.uint8)
    binary = np.array([[0, 0, 255, 255]], np.uint8)
    scorer = Scorer(["paper", "hetnet", "masnet", "fixed"], threshold=0.5)
    scorer.add(scorer.measure(binary, (grey, binary)))
    found = {name: made.figures for name, made in scorer.scores().items()}
    assert found["fixed"]["iou"] == 1
    assert found["masnet"]["mIoU"] == 1
    assert found["paper"]["sample_biiou"] == 0.5
    assert np.isnan(found["hetnet"]["iou"])


def test_grey_of_a_mask_is_kept_for_the_benchmarks(tmp_path):
    """128 is object for the bundle, not in protocol paper; 254 is not in protocol hetnet."""
    levels = np.array([[0, 127, 128, 129, 254, 255]], np.uint8)
    Image.fromarray(levels).save(tmp_path / "a.png")
    grey, binary = read_masks([tmp_path / "a.png"])
    assert grey.tolist() == levels.tolist() and binary.tolist() == [[0, 0, 255, 255, 255, 255]]


@pytest.mark.parametrize("kind", ["zero and one", "16 bits", "dark red"])
def test_masks_of_other_values_are_read_as_by_the_bundle(tmp_path, kind):
    half = np.array([[0, 1, 1]])
    Image.fromarray(
        {
            "zero and one": half.astype(np.uint8),
            "16 bits": (half * 65535).astype(np.uint16),
            # luminance 76: below half, and yet red is what is meant
            "dark red": np.stack([half * 255, half * 0, half * 0], axis=-1).astype(np.uint8),
        }[kind]
    ).save(tmp_path / "a.png")
    assert [form.tolist() for form in read_masks([tmp_path / "a.png"])] == [[[0, 255, 255]]] * 2


def test_several_masks_are_united(tmp_path):
    for name, values in (("a", [255, 0, 0]), ("b", [0, 0, 200])):
        Image.fromarray(np.array([values], np.uint8)).save(tmp_path / f"{name}.png")
    grey, binary = read_masks([tmp_path / "a.png", tmp_path / "b.png"])
    assert grey.tolist() == [[255, 0, 200]] and binary.tolist() == [[255, 0, 255]]
    Image.new("L", (2, 1)).save(tmp_path / "c.png")
    with pytest.raises(InputError, match=r"c\.png: other size than .*a\.png"):
        read_masks([tmp_path / "a.png", tmp_path / "c.png"])
    with pytest.raises(InputError, match="without a mask cannot be scored"):
        read_masks([])


def test_maps_have_8_bits(tmp_path):
    Image.fromarray(np.array([[0, 40000]], np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"a\.png: more than 8 bits"):
        read_grey(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"b\.png: cannot be decoded"):
        read_grey(tmp_path / "b.png")


def test_resizing_is_bilinear_without_antialiasing():
    """By hand, half-pixel centres: 0 and 100 become 0, 25, 75, 100 at twice the width."""
    levels = np.array([[0, 100]], np.uint8)
    assert fitted(levels, (1, 4), "a.png", resize=True).tolist() == [[0, 25, 75, 100]]
    assert fitted(levels, (1, 2), "a.png", resize=False) is levels
    with pytest.raises(
        InputError, match=r"a\.png: the map is 1x2 \(height x width\), its mask 1x4.*--resize"
    ):
        fitted(levels, (1, 4), "a.png", resize=False)
