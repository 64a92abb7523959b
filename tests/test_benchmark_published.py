"""The paper's results as data, and which of our figures they go with."""

import pytest

from monai_sam2unet.benchmark import PAPER, published
from monai_sam2unet.benchmark.published import FIGURES, SAME_PICTURES, TASKS
from monai_sam2unet.data import LAYOUTS
from monai_sam2unet.metrics.protocols import PROTOCOLS

# Copied by hand from the paper's tables (arXiv 2408.08870): set, pictures, figures.
TABLES = """
duts 5019 S .934 E .959 MAE .020
dut_omron 5168 S .884 E .912 MAE .039
hku_is 4447 S .941 E .971 MAE .019
pascal_s 850 S .894 E .931 MAE .043
ecssd 1000 S .950 E .970 MAE .020
chameleon 76 S .914 F .863 E .961 MAE .022
camo 250 S .884 F .861 E .932 MAE .042
cod10k 2026 S .880 F .789 E .936 MAE .021
nc4k 4121 S .901 F .863 E .941 MAE .029
mas3k 1141 mIoU .799 S .903 wF .848 E .943 MAE .021
rmas 500 mIoU .738 S .874 wF .810 E .944 MAE .022
mirror_msd 955 IoU .918 F .957 MAE .022
pmd 571 IoU .728 F .826 MAE .027
pranet/Kvasir 100 mDice .928 mIoU .879
pranet/CVC-ClinicDB 62 mDice .907 mIoU .856
pranet/CVC-ColonDB 380 mDice .808 mIoU .730
pranet/CVC-300 60 mDice .894 mIoU .827
pranet/ETIS-LaribPolypDB 196 mDice .796 mIoU .723
"""


def test_values_are_those_of_the_paper():
    rows = [line.split() for line in TABLES.split("\n") if line]
    assert [row[0] for row in rows] == list(PAPER)
    for key, pictures, *cells in rows:
        values = {name: float(value) for name, value in zip(cells[::2], cells[1::2], strict=True)}
        assert (PAPER[key].pictures, PAPER[key].values) == (int(pictures), values), key


def test_every_value_has_a_figure_that_its_protocol_computes():
    for key, found in PAPER.items():
        for name in found.values:
            for protocol, figure in FIGURES[found.task][name]:
                assert figure in PROTOCOLS[protocol].figures
                told = published(key, protocol, figure)
                assert (told.name, told.value, told.pictures) == (name, found.values[name], found.pictures)


def test_counts_are_those_of_complete_test_parts():
    """The layouts' counts were gathered from the sets' own descriptions."""
    layouts = {layout.name: layout for layout in LAYOUTS}
    for key, found in PAPER.items():
        name, _, subset = key.partition("/")
        tests = [part for part in layouts[name].parts if part.split == "testing"]
        assert [part.expected for part in tests if subset in ("", part.subset)] == [found.pictures], key
    assert layouts.keys() >= {*TASKS, *SAME_PICTURES}


def test_what_the_paper_does_not_state_is_none():
    assert published("camo", "paper", "wFmeasure") is None
    assert published("folders", "paper", "Smeasure") is None
    # the adaptive F is the paper's, by its evaluation code; the others are not
    assert published("camo", "paper", "adpFm").value == 0.861
    assert published("camo", "paper", "maxFm") is None
    # a draw from these two sets is not the paper's draw
    assert published("kvasir", "paper", "meandice") is published("clinicdb", "paper", "meandice") is None
    assert published("etis", "paper", "meandice").value == 0.796


@pytest.mark.parametrize("key", ["mas3k", "rmas"])
def test_two_of_ours_may_be_the_marine_miou(key):
    both = [published(key, "masnet", "mIoU"), published(key, "paper", "meaniou")]
    assert both[0] == both[1] and not both[0].sure
    assert published(key, "paper", "Smeasure").sure
