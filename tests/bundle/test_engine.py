"""`inference_trt.json`, with plain TorchScript in the place of the engine: TensorRT itself is not tested."""

from __future__ import annotations

import importlib.util
import json
import re
import zipfile

import numpy as np
import pytest
import torch
from monai.bundle import ckpt_export
from monai.networks.utils import convert_to_torchscript
from PIL import Image

from monai_sam2unet.errors import InputError
from monai_sam2unet.export import load_engine
from monai_sam2unet.networks import SAM2UNet
from tests.bundle.finished import input_error

CONFIGS = ("inference", "inference_trt")
CLASS = b"__torch__.torch.classes.tensorrt.Engine"  # what torch_tensorrt registers with PyTorch


@pytest.fixture(scope="module")
def engine(bundle_root, trained, tmp_path_factory):
    """What MONAI's command writes of the trained model, without TensorRT."""
    path = tmp_path_factory.mktemp("engine") / "model_trt.ts"
    model = str(trained / "models" / "model.pt")
    ckpt_export(
        net_id="network_def",
        filepath=str(path),
        ckpt_file=model,
        meta_file=str(bundle_root / "configs" / "metadata.json"),
        config_file=str(bundle_root / "configs" / "inference.json"),
        checkpoint=model,
        use_trace=True,
        input_shape=[1, 3, 64, 64],
    )
    return path


@pytest.fixture
def segment(workflow, trained, small_set, tmp_path):
    """`segment("name", configs, ...)` writes masks and probabilities of all pictures; gives the folder."""

    def run(name, configs, **overrides):
        workflow(
            "inference",
            configs,
            output_dir=str(tmp_path / name),
            ckpt_dir=str(trained / "models"),
            input=str(small_set / "images"),
            probabilities=True,
            num_workers=0,
            **{"device": "cpu", **overrides},
        ).run()
        return tmp_path / name

    return run


def test_the_engine_takes_the_place_of_the_network(segment, engine):
    """Sixteen pictures: four full batches of a file that was traced with a batch of one."""
    plain, by_engine = segment("plain", ("inference",)), segment("engine", CONFIGS, engine=str(engine))
    names = sorted(path.name for path in (plain / "probabilities").iterdir())
    assert len(names) == 16
    assert sorted(path.name for path in (by_engine / "masks").iterdir()) == names
    for name in names:
        a, b = (
            np.asarray(Image.open(folder / "probabilities" / name)).astype(int)
            for folder in (plain, by_engine)
        )
        assert abs(a - b).max() <= 1  # of 255: logits differ by rounding


def test_the_engine_and_not_the_checkpoint_is_what_computes(segment, engine, tmp_path):
    """With another network in the engine's file the masks are that one's: empty."""
    network = torch.jit.load(str(engine))
    with torch.no_grad():
        network.head.bias.fill_(-1000.0)
    network.save(str(tmp_path / "empty.ts"))
    folder = segment("empty", CONFIGS, engine=str(tmp_path / "empty.ts"))
    assert not any(np.asarray(Image.open(path)).any() for path in (folder / "masks").iterdir())


def test_the_overlay_refers_to_what_inference_has(bundle_root):
    base, overlay = (json.loads((bundle_root / "configs" / f"{name}.json").read_text()) for name in CONFIGS)
    assert overlay.keys() - base.keys() == {"engine", "inference#0"}
    left_out = ("load_model", "compile_network", "tracking")  # an engine holds its weights, compiled
    kept = [step for step in base["segmentation"] if not any(name in step for name in left_out)]
    assert [step for step in overlay["segmentation"] if "tracking" not in step] == kept


def test_a_missing_engine_is_named(segment, tmp_path):
    with pytest.raises(RuntimeError) as caught:
        segment("none", CONFIGS, engine=str(tmp_path / "none.ts"))
    assert input_error(caught.value).startswith(
        f"{tmp_path / 'none.ts'}: no such file; make it by trt_export"
    )


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_a_missing_gpu_is_named(segment, engine):
    with pytest.raises(RuntimeError) as caught:
        segment("no_gpu", CONFIGS, engine=str(engine), device="cuda")
    assert "device 'cuda' is not there (0 GPUs)" in input_error(caught.value)


def test_other_files_are_refused(tmp_path):
    torch.save({"weight": torch.zeros(1)}, tmp_path / "model.pt")
    (tmp_path / "text.ts").write_text("no archive")
    for name in ("model.pt", "text.ts"):
        with pytest.raises(InputError, match=f"{name}: not a TorchScript file"):
            load_engine(tmp_path / name, "cpu")


class Holder(torch.nn.Module):
    """A module with a submodule, whose type is exchanged in the file."""

    def __init__(self):
        super().__init__()
        self.part = torch.nn.Identity()

    def forward(self, x):
        return self.part(x)


@pytest.mark.skipif(importlib.util.find_spec("torch_tensorrt") is not None, reason="the class is known")
def test_a_file_that_needs_tensorrt_says_so(tmp_path):
    """The name of the missing class, in an archive of PyTorch's own making."""
    torch.jit.script(Holder()).save(str(tmp_path / "plain.ts"))
    with zipfile.ZipFile(tmp_path / "plain.ts") as plain, zipfile.ZipFile(tmp_path / "trt.ts", "w") as made:
        for item in plain.infolist():
            content = plain.read(item)
            if item.filename.endswith(".py"):
                content = re.sub(rb"part : [\w.]+", b"part : " + CLASS, content)
            made.writestr(item, content)
    with pytest.raises(InputError, match="its engine needs torch_tensorrt"):
        load_engine(tmp_path / "trt.ts", "cpu")


def test_tracing_for_one_picture_serves_a_batch():
    """The first half of `trt_export --use_trace true`: the batch stays free, as --dynamic_batchsize needs."""
    torch.manual_seed(0)
    network = SAM2UNet("nano", decoder_channels=8).eval()
    traced = convert_to_torchscript(network, inputs=[torch.rand(1, 3, 96, 96)], use_trace=True)
    for batch in (1, 4, 8):
        x = torch.randn(batch, 3, 96, 96, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            torch.testing.assert_close(traced(x), network(x), rtol=1e-4, atol=1e-5)
