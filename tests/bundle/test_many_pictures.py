"""Inference in shards, killed and continued: byte for byte what one undisturbed process writes."""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from ignite.engine import Events
from PIL import Image

from monai_sam2unet.data import draw_case
from monai_sam2unet.networks import SAM2UNet
from monai_sam2unet.networks.weights import SHIPPED_NAME
from tests.bundle.finished import input_error
from tests.bundle.inferring import contents, run_child
from tests.bundle.killing import KILLED, Moment

NAMES = ["a.png", "a.jpg", "b.png", "c.png", "sub/a.png", "sub/d.png", "sub/e.png", "sub/deep/f.png", "z.png"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Nine pictures of several sizes; two have the same stem."""
    folder = tmp_path_factory.mktemp("pictures")
    for index, name in enumerate(NAMES):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw_case(index, size=(64 + 8 * index, 60))[0]).save(folder / name)
    return folder


@pytest.fixture(scope="module")
def segment(workflow, bundle_root, pictures):
    """`segment(out, **overrides)` runs inference with the model in the box."""

    def run(out, **overrides):
        workflow("inference", **{**settings(bundle_root, pictures, out), **overrides}).run()

    return run


def settings(bundle_root, pictures, out):
    model = str(bundle_root / "models" / SHIPPED_NAME)
    return {
        "input": str(pictures), "output_dir": str(out), "checkpoint": model,
        "input_size": 64, "probabilities": True, "overlays": True, "num_workers": 0, "device": "cpu",
    }  # fmt: skip


@pytest.fixture(scope="module")
def whole(segment, tmp_path_factory):
    """What one process writes that nothing disturbs."""
    out = tmp_path_factory.mktemp("whole")
    segment(out)
    found = contents(out)
    assert len(found) == 3 * len(NAMES) + 1  # and made_with.json
    assert len(np.unique(np.asarray(Image.open(out / "probabilities" / "c.png")))) > 10  # not all the same
    return found


@pytest.mark.parametrize("count", [3, 8, 12])
def test_shards_together_are_one_process(segment, whole, tmp_path, count):
    """Nine pictures in batches of four: the last one has a single picture, the shards have from 0 to 3."""
    for k in range(count, 0, -1):
        segment(tmp_path, shard=f"{k}/{count}")
    assert contents(tmp_path) == whole


def test_not_even_the_last_bits_depend_on_the_shard(workflow, bundle_root, pictures, tmp_path):
    """At 224 pixels this network computes a picture alone otherwise than among four."""
    found = {"1/1": {}, "3/9": {}}
    for shard, maps in found.items():
        given = {**settings(bundle_root, pictures, tmp_path / shard), "input_size": 224, "shard": shard}
        made = workflow("inference", **given)

        def keep(engine, maps=maps):
            for item, output in zip(engine.state.batch, engine.state.output, strict=True):
                maps.setdefault(item["output"], output["probability"].numpy())

        evaluator = made.parser.get_parsed_content("evaluator")
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, keep)
        made.run()
    assert len(found["1/1"]) == len(NAMES) + 1 and found["3/9"].keys() == {"b.png", ""}  # "" fills batches
    assert np.array_equal(found["3/9"]["b.png"], found["1/1"]["b.png"])


@pytest.mark.parametrize(
    ("moment", "leaves"),
    [
        (Moment("write c.png", 2), 1),  # within the second result of the picture, the probability map
        (Moment("rename e.png", 3), 1),  # before its third result, the overlay, has its name
        (Moment("renamed d.png"), 0),  # between two results of a picture
        (Moment("open a.jpg.png"), 0),  # before the first result of all
    ],
    ids=str,
)
def test_a_killed_run_goes_on_to_the_same_end(
    bundle_root, segment, pictures, whole, tmp_path, caplog, moment, leaves
):
    sizes = {Path(name).name: len(content) for name, content in whole.items()}
    code = run_child(moment, sizes, **settings(bundle_root, pictures, tmp_path), batch_size=2)
    assert code == KILLED
    left = contents(tmp_path)
    finished = {name for name in left if not name.endswith(".tmp")}
    assert finished < whole.keys() and len(left) - len(finished) == leaves
    assert all(left[name] == whole[name] for name in finished)
    kept = {name: (tmp_path / name).stat().st_mtime_ns for name in finished if "overlays" in name}
    with caplog.at_level(logging.INFO):
        segment(tmp_path, skip_finished="true")
    assert f"{len(NAMES) - len(kept)} segmented, {len(kept)} finished before, 0 failed" in caplog.text
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in kept} == kept  # not made again
    assert contents(tmp_path) == whole


def test_nothing_left_ends_before_the_network_is_built(segment, whole, tmp_path, caplog, monkeypatch):
    segment(tmp_path)
    build = SAM2UNet.__init__

    def build_shapes_alone(*args, **kwargs):
        """On PyTorch's meta device nothing is built but shapes, which the check of the file needs."""
        assert torch.get_default_device().type == "meta", "the network was built"
        build(*args, **kwargs)

    monkeypatch.setattr(SAM2UNet, "__init__", build_shapes_alone)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        segment(tmp_path, skip_finished=True)
        segment(tmp_path, shard="10/10")
    assert "nothing is left to segment, 9 finished before" in caplog.text
    assert "Shard 10/10: nothing is left to segment, 0 finished before" in caplog.text
    assert contents(tmp_path) == whole


def test_what_is_asked_for_later_is_added(segment, whole, tmp_path):
    segment(tmp_path, overlays=False, probabilities=False)
    segment(tmp_path, skip_finished=True)
    assert contents(tmp_path) == whole


def test_masks_of_two_thresholds_are_refused(segment, tmp_path):
    segment(tmp_path, shard="1/9")
    before = contents(tmp_path)
    for overrides in ({"shard": "2/9"}, {"skip_finished": True}):
        with pytest.raises(RuntimeError) as caught:
            segment(tmp_path, threshold=0.25, **overrides)
        assert "threshold 0.5, now it is threshold 0.25" in input_error(caught.value)
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"skip_finished": "true"}, "skip_finished true needs"),
        ({"shard": "2/3"}, "shard 2/3 needs"),
    ],
)
def test_a_folder_named_by_the_clock_is_refused(workflow, pictures, given, words):
    with pytest.raises(RuntimeError) as caught:
        workflow("inference", input=str(pictures), **given)
    message = input_error(caught.value)
    assert f"{words} an output_dir that" in message and "give --output_dir FOLDER" in message
    workflow("inference", input=str(pictures), shard="1/1", skip_finished=False)


def test_a_misspelt_setting_is_told(workflow, pictures, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        workflow("inference", input=str(pictures), output_dir=str(tmp_path), skip_finshed=True, shards="1/2")
    message = input_error(caught.value)
    assert "'skip_finshed'" in message and "did you mean 'skip_finished'?" in message
    assert "'shards'" in message and "did you mean 'shard'?" in message


# --- the scripts of docs/many_pictures.md


@pytest.fixture
def bundle(bundle_root, tmp_path):
    """A bundle's folder with the documented scripts, and an environment to run them in."""
    root = tmp_path / "bundle"
    (root / ".venv" / "bin").mkdir(parents=True)
    (root / ".venv" / "bin" / "activate").touch()  # the interpreter of the tests comes from PATH
    (root / "configs").symlink_to(bundle_root / "configs")
    (root / "models").mkdir()
    for path in (bundle_root / "models").glob(f"{Path(SHIPPED_NAME).stem}.*"):
        shutil.copy(path, root / "models")
    text = (bundle_root / "docs" / "many_pictures.md").read_text()
    for name, script in re.findall(
        r"^`(segment\.\w+)`, .*?```bash\n(.*?)```", text, re.DOTALL | re.MULTILINE
    ):
        (root / name).write_text(script)
    return root


def start(bundle_root, bundle, *command, **variables):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {
        **os.environ, "PATH": path, "PYTHONPATH": str(bundle_root / "bundle"), "PYTHONWARNINGS": "ignore",
        "OMP_NUM_THREADS": "1", **variables,
    }  # fmt: skip
    return subprocess.Popen(
        ["bash", *map(str, command)],
        cwd=bundle, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


def results(workflow, bundle, pictures, out, **overrides):
    """What one process in this interpreter writes with the settings of the scripts."""
    model = str(bundle / "models" / SHIPPED_NAME)
    workflow(
        "inference", input=str(pictures), output_dir=str(out), checkpoint=model, device="cpu", **overrides
    ).run()
    return contents(out)


@pytest.mark.parametrize("name", ["segment.sh", "segment.sbatch"])
def test_documented_scripts_are_bash(bundle, name):
    assert subprocess.run(["bash", "-n", bundle / name], check=False).returncode == 0
    assert "configs/inference.json" in (bundle / name).read_text()


@pytest.mark.slow
def test_documented_torchrun_command(bundle_root, bundle, workflow, pictures, tmp_path):
    """Two processes; the first has nothing but a picture to read in vain, which must not stop the second."""
    source = tmp_path / "in"
    shutil.copytree(pictures, source)
    expected = results(workflow, bundle, pictures, tmp_path / "one")
    del expected["made_with.json"]  # another input
    (source / "0.png").write_text("not a picture")
    with pytest.raises(RuntimeError, match=r"finish"):
        results(workflow, bundle, source, tmp_path / "out", shard="1/2")
    run = start(bundle_root, bundle, "segment.sh", source, tmp_path / "out", 2)
    said = run.communicate(timeout=300)[0]
    assert run.returncode == 1, said
    assert "Error: 1 file could not be read" in said and "in/0.png" in said
    assert "Shard 1/2: 0 segmented, 4 finished before, 1 failed" in said
    assert "Shard 2/2: 5 segmented, 0 finished before, 0 failed" in said
    found = contents(tmp_path / "out")
    del found["made_with.json"]
    assert found == expected


@pytest.mark.slow
def test_documented_array(bundle_root, bundle, workflow, pictures, tmp_path):
    """Every task of the array, with three shards in place of eight, two at a time."""
    script = (bundle / "segment.sbatch").read_text()
    (shards,) = re.findall(r"^#SBATCH --array=1-(\d+)$", script, re.MULTILINE)
    assert f"\nshards={shards} " in script
    (bundle / "segment.sbatch").write_text(script.replace(f"shards={shards} ", "shards=3 "))
    for tasks in ((1, 2), (3, 2)):
        running = [
            start(
                bundle_root, bundle, "segment.sbatch", pictures, tmp_path / "out",
                SLURM_ARRAY_TASK_ID=str(task), SLURM_SUBMIT_DIR=str(bundle),
            )
            for task in tasks
        ]  # fmt: skip
        for run in running:
            said = run.communicate(timeout=300)[0]
            assert run.returncode == 0, said
    assert "Shard 2/3: nothing is left to segment, 3 finished before" in said  # as if it had been requeued
    assert contents(tmp_path / "out") == results(workflow, bundle, pictures, tmp_path / "one")
