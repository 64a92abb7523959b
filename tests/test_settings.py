"""Settings: what is refused, in which words, and that all problems come at once."""

import re

import pytest
import torch

from monai_sam2unet.errors import InputError
from monai_sam2unet.settings import RULES, check_settings, choose_device, flag

WHOLE0, WHOLE1 = "a whole number of at least 0", "a whole number of at least 1"
SIZE = "a side in pixels, or [height, width]"
YES_OR_NO = "true or false"

# setting, values that are refused, what is expected, values that are taken
CASES = [
    ("variant", ["huge", "Large", None, 1], "one of nano, tiny, small, base_plus, large", ["nano", "large"]),
    (
        "input_size",
        [0, -32, 352.0, "352", [], [352, 0], [32, 32, 32], True, None],
        SIZE,
        [352, [352, 96], (32, 64)],
    ),
    ("in_channels", [0, 1.0, "3", True], WHOLE1, [1, 4]),
    ("out_channels", [0, -1, None], WHOLE1, [1, 3]),
    (
        "tuning",
        ["all", True, None, "LoRA"],
        "one of adapters, full, frozen, lora, bitfit",
        ["adapters", "full", "frozen", "lora", "bitfit"],
    ),
    ("adapter_dim", [-1, 0.5, "x"], WHOLE0, [0, 32]),
    ("lora_rank", [0, 4.0, "8"], WHOLE1, [1, 8]),
    ("lora_alpha", [0, -16, "16", float("inf")], "a number above 0", [16, 0.5]),
    ("decoder_channels", [0, 0.5], WHOLE1, [64]),
    ("batch_size", [0, 1.5, "12"], WHOLE1, [1, 12]),
    ("max_epochs", [0, -5, "twenty", False], WHOLE1, [1, 20]),
    ("learning_rate", [0, -1e-3, "1e-3", float("nan"), True], "a number above 0", [1e-3, 1]),
    ("min_learning_rate", [-1e-9, "0", float("nan")], "a number at least 0", [0, 1e-7]),
    ("layer_decay", [0, 1.1, -0.5, "0.8", True], "a number above 0 and at most 1", [1, 1.0, 0.8]),
    ("weight_decay", [-1, None], "a number at least 0", [0, 5e-4]),
    ("accumulation_steps", [0, 2.0], WHOLE1, [1, 4]),
    ("ema_decay", [-0.1, 1, "0.9", None], "a number from 0 to below 1", [0, 0.999]),
    ("gradient_clip", [-0.1, "off"], "a number at least 0", [0, 1.5]),
    ("early_stopping", [-1, 2.5], WHOLE0, [0, 10]),
    ("val_interval", [0, "1"], WHOLE1, [1]),
    (
        "protocol",
        ["sam", "Paper", None, 1],
        "one of paper, hetnet, masnet, fixed",
        ["paper", "hetnet", "masnet", "fixed"],
    ),
    ("key_metric", ["", None, 0.5, ["dice"]], "the name of a figure of the protocol", ["dice", "Smeasure"]),
    ("val_fraction", [-0.1, 1, 1.5, "0.1", True], "a number from 0 to below 1", [0, 0.1, 0.99]),
    ("threshold", [0, 1, -1, "0.5", None], "a probability between 0 and 1", [0.5, 0.01]),
    ("tolerance", [-1, "3", None, float("inf")], "a number at least 0", [0, 3, 2.5]),
    (
        "spacing",
        [-0.1, "0.1", None, [0.1], [0.1, 0], [0.1, 0.1, 0.1], [], True, float("nan")],
        "mm per pixel, or [rows, columns]; 0 for pixels",
        [0, 0.1, 1, [0.1, 0.2], (0.5, 0.5)],
    ),
    ("min_lesion_area", [-1, 9.5, "10", True], WHOLE0, [0, 10]),
    ("num_workers", [-1, 1.0], WHOLE0, [0, 8]),
    ("seed", [-1, "0", 0.0], WHOLE0, [0, 123]),
    (
        "scales",
        [[], [0], [1.0, -1], "1.0", 1.25, ["1"]],
        "a list of positive factors, such as [1.0, 1.25]",
        [[1], (0.75, 1.25)],
    ),
    ("amp", ["half", True, None], "one of none, bf16, fp16", ["none", "bf16"]),
    ("compile", [True, "yes", None], "one of none, default, reduce-overhead, max-autotune", ["none"]),
    ("recipe", ["best"], "one of paper, strong", ["paper", "strong"]),
    ("loss", ["dice"], "one of weighted, legacy, dice_ce", ["weighted", "legacy", "dice_ce"]),
    (
        "classes",
        ["liver", [1], None, {"liver": 1}],
        "a list of names such as ['liver', 'tumour'], [] for one structure",
        [[], ["liver"], ("a", "b c")],
    ),
    ("activation", ["relu", None], "one of sigmoid, softmax", ["sigmoid", "softmax"]),
    (
        "class_weights",
        [1.0, [0], [-1.0], ["1"], [float("nan")], None],
        "a list of factors above 0, one a class; [] for all 1",
        [[], [2], (0.5,)],
    ),
    (
        "label_values",
        [1, [0], [-1], [1.0], ["1"], None],
        "a list of whole numbers above 0, one a class; [] for 1, 2, ...",
        [[], [255], (7,)],
    ),
    (
        "label_colours",
        [[255, 0, 0], [[255, 0]], [[256, 0, 0]], [[1.0, 0, 0]], "red", None],
        "a list of [red, green, blue] from 0 to 255, one a class; [] for none",
        [[], [[255, 0, 0]], [(1, 2, 3)]],
    ),
    ("colour_tolerance", [-1, "60", None], "a number at least 0", [0, 100, 442.0]),
    ("ignore_index", [-2, 1.5, "255", None], "a whole number of at least -1", [-1, 2, 255]),
    ("cache", ["ram", True, None, ""], "one of auto, none, memory, disk", ["auto", "none", "memory", "disk"]),
    ("mask_resize", ["linear"], "one of bicubic, bilinear, nearest", ["bicubic", "bilinear", "nearest"]),
    (
        "subset",
        ["val"],
        "one of auto, train, validation, test, all",
        ["auto", "train", "validation", "test", "all"],
    ),
    ("pretrained", ["", None, 2], "sam2, sam2.1, none or a file", ["sam2", "none", "models/a.pt"]),
    (
        "pretrained_part",
        ["all", None, "decoder"],
        "one of auto, body, encoder, trunk",
        ["auto", "body", "encoder", "trunk"],
    ),
    ("engine", ["", None, 3], "a file", ["models/model_trt.ts"]),
    ("save", ["best", True], "one of all, trained", ["all", "trained"]),
    ("sync_batchnorm", ["yes", None, 2], "auto, true or false", ["auto", False, "false"]),
    ("resume", ["yes", 1, None, ""], YES_OR_NO, [True, False, "true", "False"]),
    ("checkpointing", ["on", 1, None], YES_OR_NO, [True, False, "true", "false"]),
    ("check_data", ["no", 0], YES_OR_NO, [True, False, "true", "false"]),
    ("probabilities", ["1"], YES_OR_NO, [True, "false"]),
    ("overlays", ["on"], YES_OR_NO, [False, "true"]),
    (
        "shard",
        ["0/8", "9/8", "3", "3/", "/8", "3/0", "-1/8", "3 / 8", "\u0663/8", 3, 0.375, None, ["1/2"]],
        "auto, or K/N such as 3/8: shard K, counted from 1, of N",
        ["auto", "1/1", "3/8", "8/8", "03/08", "1/1000000"],
    ),
    ("contrast", ["gamma", None, ""], "one of none, percentiles, clahe", ["none", "percentiles", "clahe"]),
    (
        "flips",
        ["left", True, None],
        "one of both, horizontal, vertical, none",
        ["both", "horizontal", "vertical", "none"],
    ),
    ("tiles_per_picture", [0, 1.5, "4", True], WHOLE1, [1, 16]),
    ("tile", [-32, 512.0, "512", None, True], WHOLE0, [0, 32, 512]),
    ("overlap", [-0.1, 0.95, 1, "0.25", None, True], "a number from 0 to 0.9", [0, 0.25, 0.9]),
    ("skip_finished", ["yes", 1, None], YES_OR_NO, [True, False, "true", "False"]),
    (
        "plane",
        ["oblique", "", None, 0, ["axial"]],
        "one of axial, coronal, sagittal (a model that was trained with volume.json notes it)",
        ["axial", "coronal", "sagittal"],
    ),
    ("slices", [0, 2, -1, 3.0, "3", True, None], "an odd number above 0", [1, 3, 7]),
    (
        "window",
        ["chest", [50], [50, 0], "50", 5, None, ["a", "b"]],
        "a name (abdomen, angio, bone, brain, liver, lung, mediastinum, spine, stroke, subdural, "
        "temporal_bone), [centre, width], or '' for none",
        ["", "liver", [50, 400], (40.5, 80)],
    ),
    (
        "percentiles",
        [[99, 1], [0], [0, 101], [-1, 50], "0,100", 5, None, [1, 1]],
        "two numbers from 0 to 100, the smaller first",
        [[0, 100], [0.5, 99.5]],
    ),
    ("empty_share", [-0.1, 1, "0.2", None], "a number from 0 to below 1", [0, 0.5]),
]
REFUSED = [(name, value, words) for name, values, words, _ in CASES for value in values]
TAKEN = [(name, value) for name, _, _, values in CASES for value in values]


def test_every_rule_is_tested():
    assert {name for name, *_ in CASES} == set(RULES)


@pytest.mark.parametrize(("name", "value", "words"), REFUSED, ids=lambda v: str(v)[:20])
def test_refused(name, value, words):
    with pytest.raises(InputError) as caught:
        check_settings("cpu", **{name: value})
    assert str(caught.value) == f"{name} must be {words}, got {value!r}"


@pytest.mark.parametrize(("name", "value"), TAKEN, ids=str)
def test_taken(name, value):
    check_settings("cpu", **{name: value})


@pytest.mark.parametrize(
    ("tuning", "pretrained", "said"),
    [("lora", "none", True), ("adapters", "None", True), ("full", "none", False), ("frozen", "sam2", False)],
)
def test_a_frozen_encoder_of_random_values_is_warned_about(caplog, tuning, pretrained, said):
    check_settings("cpu", tuning=tuning, pretrained=pretrained)
    assert ("that is random" in caplog.text) is said


def test_all_problems_are_named_at_once():
    with pytest.raises(InputError) as caught:
        check_settings("cpu", variant="huge", batch_size=0, amp="bf16", threshold=2)
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert [line.split()[0] for line in lines] == ["variant", "batch_size", "threshold"]


@pytest.mark.parametrize(
    ("size", "words"),
    [
        (340, "got 340; nearest to 340: 352"),  # 340 / 32 is 10.6
        (350, "got 350; nearest to 350: 352"),
        (1, "got 1; nearest to 1: 32"),
        ([352, 336], "got [352, 336]; nearest to 336: "),
        ((100, 64), "got (100, 64); nearest to 100: 96"),
    ],
)
def test_sizes_must_be_multiples_of_32(size, words):
    with pytest.raises(
        InputError, match=re.escape(f"input_size must be a multiple of 32, {words}")
    ) as caught:
        check_settings("cpu", input_size=size)
    assert int(str(caught.value).rpartition(" ")[2]) % 32 == 0


@pytest.mark.parametrize(("tile", "nearest"), [(500, 512), (1, 32), (100, 96)])  # 500 / 32 is 15.6
def test_tiles_must_be_multiples_of_32(tile, nearest):
    with pytest.raises(InputError) as caught:
        check_settings("cpu", tile=tile)
    assert str(caught.value) == f"tile must be 0 or a multiple of 32, got {tile}; nearest: {nearest}"


def test_joint_problems_are_named_at_once():
    with pytest.raises(InputError) as caught:
        check_settings("cpu", amp="fp16", input_size=100)
    assert [line.split()[0] for line in str(caught.value).splitlines()] == ["amp", "input_size"]
    assert "amp 'fp16' needs a GPU; on a CPU use 'bf16' or 'none'" in str(caught.value)


def test_joint_problems_are_named_with_the_others():
    with pytest.raises(InputError) as caught:
        check_settings("cpu", batch_size=0, input_size=100, protocol="hetnet", key_metric="dice")
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert [line.split()[0] for line in lines] == ["batch_size", "input_size", "key_metric"]
    with pytest.raises(InputError) as caught:  # what is wrong by itself is not compared with anything
        check_settings("cpu", input_size="352", protocol="none", key_metric="dice", amp="fp16")
    lines = [line.strip() for line in str(caught.value).splitlines()]
    assert [line.split()[0] for line in lines] == ["input_size", "protocol", "amp"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"classes": ["a", "a"]},
            r"classes must be names that differ, got ['a', 'a']; the background is none",
        ),
        (
            {"classes": ["a", "b"], "class_weights": [1]},
            "class_weights must have one factor a class, 2 without",
        ),
        ({"classes": ["a", "b"], "label_values": [3]}, "label_values must have one of each class, 2, got 1"),
        (
            {"classes": ["a", "b"], "label_values": [3, 3]},
            "label_values must differ from each other and from 0",
        ),
        (
            {"classes": ["a"], "label_colours": [[0, 0, 0]]},
            "label_colours must differ from each other and from 0, the background, got [[0, 0, 0]]",
        ),
        ({"classes": ["a", "b"], "ignore_index": 2}, "ignore_index must be a value that means nothing else"),
        ({"classes": [], "ignore_index": 0}, "in label maps, got 0; -1 is none"),
        (
            {"classes": [], "activation": "sigmoid", "out_channels": 3},
            "out_channels is 3, but classes (structure) with activation sigmoid make 1; give the model's own",
        ),
        (
            {"classes": ["a", "b"], "protocol": "paper", "key_metric": "Smeasure"},
            "protocol must be fixed and key_metric dice with several classes or an ignore_index, got paper",
        ),
        (
            {"classes": [], "ignore_index": 255, "protocol": "fixed", "key_metric": "iou"},
            "protocol must be fixed and key_metric dice with several classes or an ignore_index, got fixed",
        ),
    ],
)
def test_settings_of_classes_fit_each_other(values, message):
    with pytest.raises(InputError) as caught:
        check_settings("cpu", **values)
    assert message in str(caught.value)


def test_settings_of_classes_that_fit():
    check_settings(
        "cpu", classes=["a", "b"], activation="softmax", out_channels=3, class_weights=[1, 2.5],
        label_values=[2, 1], label_colours=[[255, 0, 0], [0, 255, 0]], ignore_index=255, protocol="fixed",
        key_metric="dice",
    )  # fmt: skip
    check_settings("cpu", classes=[], out_channels=1, protocol="paper", key_metric="Smeasure")


# the figures of each protocol as docs/metrics.md lists them, without those that are better if lower
HIGHER = {
    "paper": "meandice, meaniou, maxdice, maxiou, Smeasure, wFmeasure, adpFm, meanFm, maxFm, adpEm, meanEm, "
    "maxEm, sample_bidice, sample_biiou, overall_bidice, overall_biiou",
    "hetnet": "iou, f_measure, acc",
    "masnet": "mIoU, Smeasure, wFmeasure, meanEm",
    "fixed": "dice, iou, precision, recall, specificity",
}


@pytest.mark.parametrize("protocol", HIGHER)
def test_the_key_metric_is_a_figure_of_the_protocol(protocol):
    figures = HIGHER[protocol].split(", ")
    for figure in figures:
        check_settings("cpu", protocol=protocol, key_metric=figure)
    lower = ["MAE", "mae", "ber", "false_alarm_rate", "false_area_fraction"]
    others = {figure for names in HIGHER.values() for figure in names.split(", ")} - set(figures)
    for figure in [*lower, *others, "Dice", "validation_dice"]:
        with pytest.raises(InputError) as caught:
            check_settings("cpu", protocol=protocol, key_metric=figure)
        assert str(caught.value) == (
            f"key_metric must be a figure of protocol '{protocol}' of which higher is better "
            f"({HIGHER[protocol]}), got '{figure}'"
        )


@pytest.mark.parametrize("value", [True, "true", "True"])
def test_batch_normalisation_over_processes_needs_gpus(monkeypatch, value):
    with pytest.raises(InputError) as caught:
        check_settings("cpu", sync_batchnorm=value)
    assert str(caught.value) == "sync_batchnorm true needs GPUs, PyTorch has none for a CPU; leave it at auto"
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    check_settings("cuda", sync_batchnorm=value)


@pytest.mark.parametrize("tuning", ["adapters", "frozen", "lora", "bitfit"])
def test_layer_decay_needs_the_whole_encoder(tuning):
    with pytest.raises(InputError) as caught:
        check_settings("cpu", tuning=tuning, layer_decay=0.8)
    assert str(caught.value) == (
        f"layer_decay 0.8 needs tuning 'full', got '{tuning}'; leave layer_decay at 1"
    )
    check_settings("cpu", tuning=tuning, layer_decay=1.0)
    check_settings("cpu", tuning="full", layer_decay=0.8)


def test_adapters_that_learn_must_be_there():
    with pytest.raises(InputError) as caught:
        check_settings("cpu", tuning="adapters", adapter_dim=0)
    assert str(caught.value) == (
        "tuning 'adapters' needs an adapter_dim of at least 1, got 0; or set tuning 'frozen'"
    )
    for tuning in ("full", "frozen", "lora", "bitfit"):
        check_settings("cpu", tuning=tuning, adapter_dim=0)


@pytest.mark.parametrize(
    ("value", "expected"), [(True, True), (False, False), ("true", True), ("True", True), ("false", False)]
)
def test_flag(value, expected):
    assert flag(value) is expected


# --- devices


def test_devices(monkeypatch):
    assert choose_device("cpu") == torch.device("cpu")
    assert choose_device(torch.device("cpu")) == torch.device("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == "cuda"


@pytest.mark.parametrize(("count", "device"), [(0, "cuda"), (0, "cuda:0"), (1, "cuda:1"), (2, "cuda:7")])
def test_missing_gpus_are_named(monkeypatch, count, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    with pytest.raises(
        InputError, match=rf"device '{device}' is not there \({count} GPUs\); use --device cpu"
    ):
        check_settings(device)


@pytest.mark.parametrize(("count", "device"), [(1, "cuda"), (1, "cuda:0"), (2, "cuda:1")])
def test_gpus_that_are_there(monkeypatch, count, device):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    assert str(choose_device(device)) == device


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "None"])
def test_unknown_devices_are_named(device):
    with pytest.raises(InputError, match=f"device must be auto, cpu, cuda or cuda:N, got '{device}'"):
        check_settings(device)


@pytest.fixture
def of_several(monkeypatch):
    """`of_several(rank, gpus)` makes this one of eight processes of two machines, with GPUs on this one."""

    def make(rank, gpus):
        monkeypatch.setenv("WORLD_SIZE", "8")
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)

    return make


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:3"])
def test_each_process_has_a_gpu_of_its_own(of_several, device):
    of_several(rank=3, gpus=4)
    assert choose_device(device) == torch.device("cuda", 3)


def test_processes_without_gpus_compute_on_the_cpu(of_several):
    of_several(rank=3, gpus=0)
    assert choose_device("auto") == torch.device("cpu")
    of_several(rank=3, gpus=4)
    assert choose_device("cpu") == torch.device("cpu")


@pytest.mark.parametrize("device", ["auto", "cuda", "cuda:2"])
def test_more_processes_than_gpus(of_several, device):
    of_several(rank=2, gpus=2)
    with pytest.raises(InputError) as caught:
        choose_device(device)
    assert str(caught.value) == (
        "process 2 (counted from 0) of this machine has no GPU, there are 2; "
        "start at most 2: --nproc_per_node 2"
    )


def test_processes_do_not_share_a_gpu(of_several):
    of_several(rank=1, gpus=2)
    with pytest.raises(
        InputError, match="device 'cuda:0' is one GPU, and process 1 of this machine needs its"
    ):
        choose_device("cuda:0")
