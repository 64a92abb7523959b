"""What a user sees of an error, and that no misspelt setting is passed over."""

import json
import sys

import pytest
from monai.bundle import ConfigWorkflow
from torch.utils.data import DataLoader, Dataset

from monai_sam2unet.commandline import check_ids, run_steps, sets_in, short_errors
from monai_sam2unet.errors import InputError


@pytest.fixture
def shown(monkeypatch, capsys):
    """What the program would write to the error stream if the function's error ended it."""
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    short_errors()

    def run(function):
        try:
            function()
        except BaseException as e:
            sys.excepthook(type(e), e, e.__traceback__)
        else:
            pytest.fail("no error")
        return capsys.readouterr().err

    return run


def wrapped(error, *outer):
    """A function that raises an error, then others because of it, as MONAI does around a config's items."""

    def function():
        try:
            if outer:
                wrapped(error, *outer[1:])()
        except BaseException as e:
            raise outer[0] from e
        raise error

    return function


def test_steps_need_a_running_config():
    with pytest.raises(RuntimeError, match="for the steps of a running bundle's config"):
        run_steps("segmentation")


# --- errors


def test_an_input_error_shows_its_message_alone(shown):
    assert shown(wrapped(InputError("a.png: no such file"))) == "\nError: a.png: no such file\n"


def test_an_input_error_is_found_deep_in_a_chain(shown):
    outer = RuntimeError("Failed to evaluate '$run()'"), RuntimeError("Failed to instantiate 'dataset'")
    assert shown(wrapped(InputError("a.png: no such file"), *outer)) == "\nError: a.png: no such file\n"


def test_an_input_error_is_found_among_unexpected_ones(shown):
    def function():
        try:
            raise InputError("bad value")
        except InputError:
            raise KeyError("while handling it")  # noqa: B904 - the chain without a cause is what is tested

    assert shown(function) == "\nError: bad value\n"


def test_the_outermost_input_error_counts(shown):
    assert shown(wrapped(InputError("inner"), InputError("model.pt: inner"))) == "\nError: model.pt: inner\n"


def test_all_lines_of_a_message_are_shown(shown):
    assert (
        shown(wrapped(InputError("first\n       second"), RuntimeError("x")))
        == "\nError: first\n       second\n"
    )


def test_a_diverged_training_and_an_interruption_are_short(shown):
    assert shown(wrapped(FloatingPointError("loss is nan"), RuntimeError("x"))) == "\nError: loss is nan\n"
    assert shown(wrapped(KeyboardInterrupt())) == "\nInterrupted.\n"


@pytest.mark.parametrize("error", [ValueError("unknown"), RuntimeError(""), AssertionError("ours")])
def test_other_errors_keep_their_traceback(shown, error):
    text = shown(wrapped(error, RuntimeError("outer")))
    assert "Traceback (most recent call last)" in text
    assert type(error).__name__ in text and "RuntimeError: outer" in text
    assert "in wrapped" in text or "in function" in text
    assert "\nError: " not in text


class Broken(Dataset):
    """Its first item raises as a data set does, its second as a transform of MONAI's does."""

    def __len__(self):
        return 2

    def __getitem__(self, index):
        try:
            raise InputError("a.png: cannot be read\n       b.png: cannot be read")
        except InputError as e:
            if index == 0:
                raise
            raise RuntimeError("applying transform LoadImaged") from e


@pytest.mark.parametrize("index", [0, 1])
def test_an_error_in_a_worker_shows_its_message_alone(shown, index):
    def function():
        list(DataLoader(Broken(), sampler=[index], num_workers=1))

    expected = "\nError: a.png: cannot be read\n       b.png: cannot be read\n"
    assert shown(function) == expected
    assert shown(wrapped_call(function)) == expected


def wrapped_call(function):
    def outer():
        try:
            function()
        except Exception as e:
            raise RuntimeError("Failed to evaluate '$run()'") from e

    return outer


def test_other_errors_in_a_worker_keep_their_traceback(shown):
    text = shown(lambda: list(DataLoader([], sampler=[3], num_workers=1)))
    assert "IndexError" in text and "Traceback" in text


def test_installed_once(monkeypatch):
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    short_errors()
    hook = sys.excepthook
    short_errors()
    assert sys.excepthook is hook is not sys.__excepthook__


# --- ids


CONFIG = {
    "imports": ["$import monai_sam2unet"],
    "max_epochs": 3,
    "train": {"epochs": "@max_epochs"},
    "initialize": ["$monai_sam2unet.commandline.check_ids()"],
    "run": ["$@max_epochs + 1"],
}


def run_bundle(tmp_path, config=None, others=(), **settings):
    """Run a tiny bundle as the command line does; gives what its expressions gave."""
    (tmp_path / "metadata.json").write_text(json.dumps({"metadata_only": 1}))
    (tmp_path / "train.json").write_text(json.dumps({**CONFIG, **(config or {})}))
    for name, content in others:
        (tmp_path / name).write_text(json.dumps(content))
    workflow = ConfigWorkflow(str(tmp_path / "train.json"), logging_file=False, **settings)
    workflow.initialize()
    return workflow.run()


def cause(error):
    """The InputError at the bottom of what MONAI wraps around it."""
    while not isinstance(error, InputError):
        error = error.__cause__ or error.__context__
    return str(error)


def test_known_ids_are_taken(tmp_path):
    assert run_bundle(tmp_path) == [4]
    assert run_bundle(tmp_path, max_epochs=5) == [6]
    assert run_bundle(tmp_path, **{"train::epochs": 5}) == [4]


@pytest.mark.parametrize(
    ("name", "close"), [("max_epoch", "max_epochs"), ("maxepochs", "max_epochs"), ("trian", "train")]
)
def test_a_misspelt_id_suggests_the_close_one(tmp_path, name, close):
    with pytest.raises(Exception) as caught:
        run_bundle(tmp_path, **{name: 5})
    assert cause(caught.value) == (
        f"unknown setting '{name}' (from the command line or a config file): did you mean '{close}'?"
    )


def test_a_setting_of_an_earlier_version_names_its_successor(tmp_path):
    with pytest.raises(Exception) as caught:
        run_bundle(tmp_path, freeze_encoder=True)
    assert cause(caught.value) == (
        "unknown setting 'freeze_encoder' (from the command line or a config file): it became 'tuning': "
        "--tuning adapters is what true was, --tuning full what false was"
    )


def test_all_unknown_ids_are_named(tmp_path):
    with pytest.raises(Exception) as caught:
        run_bundle(tmp_path, max_epoch=5, zzzzzz=1)
    first, second = cause(caught.value).splitlines()
    assert "'max_epoch'" in first and "'zzzzzz'" in second
    assert second.endswith("docs/configs.md lists all")


def test_an_id_that_is_referred_to_is_taken(tmp_path):
    config = {"run": ["$@max_epochs + @further + @nested::x"]}
    assert run_bundle(tmp_path, config, further=1, nested={"x": 1}) == [5]


def test_parts_of_the_bundles_other_configs_are_taken(tmp_path):
    others = [("inference.json", {"threshold": 0.5, "saver#x": 1})]
    assert run_bundle(tmp_path, others=others, saver=1) == [4]


OTHERS = [
    ("inference.json", {"threshold": 0.5, "overlays": False, "run": ["$@threshold"]}),
    ("salient.json", {"data_dir": "datasets", "max_epochs": 9}),
    ("marine.json", {"data_dir": "datasets", "threshold": 0.4}),
]


def test_a_setting_of_configs_that_are_not_loaded_is_refused(tmp_path):
    with pytest.raises(Exception) as caught:
        run_bundle(tmp_path, others=OTHERS, overlays=True, data_dir="mine")
    assert cause(caught.value).splitlines() == [
        "setting 'overlays' has no effect here, nothing refers to it: leave it out, or give in "
        "--config_file what it belongs to: inference.json",
        "       setting 'data_dir' has no effect here, nothing refers to it: leave it out, or give in "
        "--config_file what it belongs to: marine.json or salient.json",
    ]


def test_a_setting_that_an_overlay_refers_to_is_taken(tmp_path):
    overlay = {"data_dir": "datasets", "run": ["$@data_dir"]}
    assert run_bundle(tmp_path, overlay, others=OTHERS, data_dir="mine") == ["mine"]
    # as it came, and what it is for was set in its place
    assert run_bundle(tmp_path, {"data_dir": "datasets"}, others=OTHERS) == [4]


def test_any_setting_of_a_config_that_is_loaded_is_taken(tmp_path):
    """A setting of `inference.json` whose use was overridden, such as `ckpt_dir` beside `checkpoint`."""
    loaded = {"threshold": 0.5, "overlays": False}
    assert run_bundle(tmp_path, loaded, others=OTHERS, overlays=True) == [4]


def test_the_folders_of_data_sets(tmp_path, monkeypatch):
    for name in ("CAMO", "COD10K-v3"):
        (tmp_path / name).mkdir()
    both = [str(tmp_path / "COD10K-v3"), str(tmp_path / "CAMO")]
    assert sets_in(tmp_path, "CAMO") == both[1]
    assert sets_in(tmp_path, "COD10K-v3", "CAMO") == both
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert sets_in(f"~/{tmp_path.name}", "CAMO") == both[1]
    monkeypatch.chdir(tmp_path)
    assert sets_in(".", "COD10K-v3", "CAMO") == both


def test_missing_folders_of_data_sets_are_named(tmp_path):
    (tmp_path / "CAMO").mkdir()
    with pytest.raises(InputError) as caught:
        sets_in(tmp_path, "COD10K-v3", "CAMO")
    assert str(caught.value) == (
        f"no such folder: {tmp_path / 'COD10K-v3'}; unpack the data there as downloaded, or name the folder "
        "that holds COD10K-v3 and CAMO: --data_dir DIR"
    )


def test_the_metadata_is_no_config(tmp_path):
    with pytest.raises(Exception) as caught:
        run_bundle(tmp_path, metadata_only=2)
    assert "'metadata_only'" in cause(caught.value)


def test_ids_that_the_run_names_are_taken(tmp_path):
    mine = "$monai_sam2unet.commandline.check_ids()"
    assert run_bundle(
        tmp_path, run_id="go", init_id="begin", final_id="end", go=["$1"], begin=mine, end=[]
    ) == [1]


def test_nothing_to_check_outside_a_workflow():
    assert check_ids() is None
