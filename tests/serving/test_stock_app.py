"""MONAI Label's own app ``monaibundle``, as its documentation says to start it, with this bundle."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet import predict
from tests.serving.rest import KINDS, ROOT, SHIPPED, Server, draw_studies, environment, free_port, running


@pytest.fixture(scope="module")
def masks(tmp_path_factory) -> dict[str, np.ndarray]:
    """The drawn masks by the name of the picture."""
    return draw_studies(tmp_path_factory.getbasetemp() / "stock" / "studies")


@pytest.fixture(scope="module")
def server(masks, tmp_path_factory):
    """The stock app with the bundle as it is: configs, and a model."""
    pytest.importorskip("monailabel", reason="MONAI Label is not installed (make monailabel)")
    folder = tmp_path_factory.getbasetemp() / "stock"
    python = [sys.executable, "-m", "monailabel.main"]
    download = [*python, "apps", "--download", "--name", "monaibundle", "--output", "apps"]
    subprocess.run(download, cwd=folder, env=environment(), check=True, timeout=120)
    bundle = folder / "apps" / "monaibundle" / "model" / "sam2unet"
    (bundle / "models").mkdir(parents=True)
    (bundle / "configs").symlink_to(ROOT / "configs")
    for suffix in (".pt", ".json"):
        shutil.copy(SHIPPED.with_suffix(suffix), bundle / "models" / f"model{suffix}")
    port = free_port()
    command = [*python, "start_server", "--app", "apps/monaibundle", "--studies", "studies"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--conf", "models", "sam2unet"]
    command += ["--conf", "zoo_source", "ngc"]
    with running(command, folder / "studies", bundle, folder, port) as started:
        yield started


def expected(server: Server, file: str, model: Path = SHIPPED) -> np.ndarray:
    """What this process says of a picture of the studies."""
    return predict(server.studies / file, model=model) >= 0.5


@pytest.mark.parametrize("file", [k for k in KINDS if not k.endswith(".tiff")])  # MONAI Label lists no .tiff
def test_picture_of_any_kind(server, masks, file):
    mask = server.mask(Path(file).stem)
    assert mask.shape == masks[Path(file).stem].shape and set(np.unique(mask)) == {0, 1}
    assert np.array_equal(mask > 0, expected(server, file))


def test_batch(server):
    response = server.call(
        "POST", "batch/infer/sam2unet?images=all&run_sync=true", json={"multi_gpu": False, "device": "cpu"}
    )
    assert response.status_code == 200
    written = np.asarray(Image.open(server.studies / "labels" / "original" / "exif.png"))
    assert np.array_equal(written > 0, expected(server, "exif.jpg"))


def test_wrong_picture(server):
    (server.studies / "no_picture.png").write_text("no picture")
    response = server.call("POST", "infer/sam2unet?image=" + str(server.studies / "no_picture.png"))
    assert response.status_code == 500
    assert server.infer("rgb").status_code == 200
    (server.studies / "no_picture.png").unlink()


def test_file_with_a_shorter_name_is_served_instead(server, tmp_path):
    """The trap that docs/monailabel.md warns of; our own app does not have it."""
    import torch

    weights = dict(torch.load(SHIPPED, weights_only=True))
    weights["head.bias"] = weights["head.bias"] + 20  # all is polyp
    short = server.bundle / "models" / "a.pt"
    torch.save(weights, short)
    _restart_app(server)
    assert server.mask("rgb").all()
    short.unlink()
    _restart_app(server)
    assert np.array_equal(server.mask("rgb") > 0, expected(server, "rgb.png"))


def _restart_app(server: Server) -> None:
    """Have the server read its folder again."""
    assert server.call("POST", "reload").status_code == 200


def test_training(server, masks, tmp_path):
    for name in ("rgb", "palette", "exif", "odd"):
        Image.fromarray(masks[name].astype(np.uint8)).save(tmp_path / f"{name}.png")
        assert server.upload(name, tmp_path / f"{name}.png").status_code == 200
    task = server.task("train", "sam2unet", max_epochs=1, val_split=0.25)
    assert task["status"] == "DONE", task["details"]
    model = server.bundle / "models" / "model.pt"
    assert json.loads(model.with_suffix(".json").read_text())["variant"] == "nano"
    from monai_sam2unet.networks.weights import read_weights

    before, after = read_weights(SHIPPED).tensors, read_weights(model).tensors
    moved = max(
        float((after[name].float() - tensor.float()).abs().max())
        for name, tensor in before.items()
        if "running" not in name and "num_batches" not in name
    )
    assert 0 < moved < 3e-3  # one step of AdamW at 1e-3 from the served weights
    assert np.array_equal(server.mask("rgba") > 0, expected(server, "rgba.png", model))
