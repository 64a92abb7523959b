"""The bundle's own app, started by scripts/monailabel.sh, through its REST interface.

What a mask must be is what `predict` gives in this process for the same file and model, and the drawn mask.
"""

from __future__ import annotations

import base64
import json
import logging
import os
import runpy
import shutil
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import requests
import SimpleITK
import torch
from PIL import Image
from skimage.draw import polygon2mask

from monai_sam2unet import SAM2UNet, predict
from monai_sam2unet.networks.weights import read_weights
from tests.serving.rest import KINDS, ROOT, SHIPPED, Server, draw_studies, free_port, running

# of MONAI Label's client
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

try:
    from monailabel.client.client import MONAILabelClient, MONAILabelClientException
except ImportError:  # then the tests are skipped
    MONAILabelClient = MONAILabelClientException = None


@pytest.fixture(scope="module")
def masks(tmp_path_factory) -> dict[str, np.ndarray]:
    """The drawn masks by the name of the picture."""
    return draw_studies(tmp_path_factory.getbasetemp() / "serving" / "studies")


@pytest.fixture(scope="module")
def server(masks, tmp_path_factory):
    """The server on the drawn studies, with the model in the box, and without scoring by itself."""
    folder = tmp_path_factory.getbasetemp() / "serving"
    (folder / "studies" / "no_picture.png").write_text("no picture")
    port = free_port()
    command = [
        "bash",
        str(ROOT / "scripts" / "monailabel.sh"),
        "studies",
        "--app",
        "app",
        "--port",
        str(port),
    ]
    command += ["--checkpoint", str(SHIPPED)]
    with running(command, folder / "studies", folder / "app" / "model" / "sam2unet", folder, port) as started:
        yield started


def expected(server: Server, file: str, model: Path | None = None, threshold: float = 0.5) -> np.ndarray:
    """What this process says of a picture of the studies."""
    return predict(server.studies / file, model=model or SHIPPED) >= threshold


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Intersection over union."""
    return float((a & b).sum() / (a | b).sum())


def test_info(server):
    info = server.call("GET", "info/").json()
    model = info["models"]["sam2unet"]
    assert info["labels"] == ["structure"] and model["labels"] == {"structure": 1}
    assert model["type"] == "segmentation" and model["dimension"] == 2
    assert model["version"] == json.loads((ROOT / "configs" / "metadata.json").read_text())["version"]
    assert model["config"]["result_extension"] == ".png" and model["config"]["model_filename"] == ["model.pt"]
    assert info["trainers"]["sam2unet"]["config"]["learning_rate"] == 1e-4
    assert list(info["strategies"]) == ["uncertainty", "first", "random"]
    assert info["datastore"]["total"] == len(KINDS) + 1


@pytest.mark.parametrize("file", KINDS)
def test_picture_of_any_kind(server, masks, file):
    name = Path(file).stem
    mask = server.mask(name)
    assert set(np.unique(mask)) == {0, 1}
    assert np.array_equal(mask > 0, expected(server, file))
    assert iou(mask > 0, masks[name]) > (0.9 if name not in ("grey", "deep") else 0.5)  # it learned in colour


def test_uploaded_picture_and_threshold(server):
    with open(server.studies / "rgb.png", "rb") as file:
        response = server.call(
            "POST",
            "infer/sam2unet?output=all",
            data={"params": json.dumps({"threshold": 0.9})},
            files={"file": ("other.png", file)},
        )
    assert response.status_code == 200 and b"label_names" in response.content
    low, high = server.mask("rgb", threshold=0.1), server.mask("rgb", threshold=0.9)
    assert np.array_equal(high > 0, expected(server, "rgb.png", threshold=0.9))
    assert np.array_equal(low > 0, expected(server, "rgb.png", threshold=0.1)) and low.sum() > high.sum()
    assert np.array_equal(server.mask("rgb") > 0, expected(server, "rgb.png"))  # it was for one request
    refused = server.infer("rgb", threshold=3)
    assert refused.status_code == 400 and "threshold must be a probability" in refused.json()["detail"]


def test_as_cvat_asks(server, masks):
    """MONAI Label's own plug-in for CVAT, which runs in a container there, asks this server."""
    plugin = Path(sys.prefix) / "monailabel" / "plugins" / "cvat" / "detector.py"
    if not plugin.is_file():
        pytest.skip("MONAI Label is installed without its plug-ins")
    handler = runpy.run_path(str(plugin))["handler"]
    user_data = SimpleNamespace(model="sam2unet", model_handler=MONAILabelClient(server.address))
    context = SimpleNamespace(
        logger=logging.getLogger(), user_data=user_data, Response=lambda body, **_: body
    )
    picture = base64.b64encode((server.studies / "rgb.png").read_bytes())
    shapes = json.loads(handler(context, SimpleNamespace(body={"image": picture})))
    assert [(shape["label"], shape["type"]) for shape in shapes] == [("structure", "polygon")]
    corners = np.reshape(shapes[0]["points"], (-1, 2))[:, ::-1]
    drawn = polygon2mask(masks["rgb"].shape, corners)
    assert iou(drawn, expected(server, "rgb.png")) > 0.9 and iou(drawn, masks["rgb"]) > 0.9


def test_as_slicer_asks(server, masks, tmp_path):
    """MONAI Label's client with the parameters of its plug-in for 3D Slicer: the result is a volume."""
    client = MONAILabelClient(server.address, tmpdir=str(tmp_path))
    params = {"result_extension": ".nrrd", "result_dtype": "uint8"}
    file, answer = client.infer("sam2unet", "odd", params)
    mask = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(file))
    assert np.array_equal(mask > 0, expected(server, "odd.png")) and answer["label_names"] == {"structure": 1}
    with pytest.raises(MONAILabelClientException, match="no picture"):
        client.infer("sam2unet", "nobody", params)


def test_many_at_once(server):
    names = ["rgb", "odd", "exif", "tiff"] * 4
    files = {Path(file).stem: file for file in KINDS}
    address = f"{server.address}/infer/sam2unet?output=json&image="
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda name: requests.post(address + name, timeout=300), names))
    assert [answer.status_code for answer in answers] == [200] * len(names)
    assert np.array_equal(server.mask("exif") > 0, expected(server, files["exif"]))


@pytest.mark.parametrize(
    ("image", "status", "told"),
    [
        ("no_picture", 400, "the contents are not a picture"),
        ("nobody", 404, "no picture 'nobody' among the 9 of the studies"),
    ],
)
def test_wrong_picture(server, image, status, told):
    response = server.infer(image)
    assert response.status_code == status and told in response.json()["detail"]
    assert server.infer("rgb").status_code == 200


def test_wrong_model_name(server):
    response = server.call("POST", "infer/other?image=rgb")
    assert response.status_code == 404 and "no model 'other'; there is: sam2unet" in response.json()["detail"]
    response = server.infer("rgb", model_filename="none.pt")
    assert (
        response.status_code == 400
        and "no model 'none.pt' on the server; there is: model.pt" in response.text
    )


def test_next_picture_is_the_least_certain(server):
    picture = np.asarray(Image.open(server.studies / "rgb.png").resize((224, 224)))
    Image.fromarray(picture).save(server.studies / "square.png")
    deadline = time.monotonic() + 20  # the server watches its folder
    while server.call("GET", "info/").json()["datastore"]["total"] < len(KINDS) + 2:
        assert time.monotonic() < deadline, "the new picture is not noticed"
        time.sleep(0.2)
    summary = server.call("POST", "scoring/uncertainty?run_sync=true", json={}).json()
    assert summary["total"] == len(KINDS) + 2 and summary["failed"] <= 1
    stored = json.loads((server.studies / "datastore_v2.json").read_text())["objects"]
    scores = {name: item["image"]["info"]["uncertainty"] for name, item in stored.items()}
    turns = [(), (1,), (0,), (0, 1)]
    maps = [np.flip(predict(np.ascontiguousarray(np.flip(picture, t)), model=SHIPPED), t) for t in turns]
    p = np.mean(maps, axis=0, dtype=np.float64).clip(1e-12, 1 - 1e-12)
    assert scores["square"] == pytest.approx(np.mean(-p * np.log2(p) - (1 - p) * np.log2(1 - p)), abs=1e-5)
    order = sorted((name for name in scores), key=lambda name: -scores[name])
    given = [server.call("POST", "activelearning/uncertainty", json={}).json()["id"] for _ in range(2)]
    assert given == order[:2] and scores["no_picture"] == 0
    again = server.call("POST", "scoring/uncertainty?run_sync=true", json={}).json()
    assert again["executed"] == 0 and again["skipped"] == summary["total"]


def test_batch(server):
    (server.studies / "no_picture.png").unlink()
    deadline = time.monotonic() + 20
    while "no_picture" in server.call("GET", "datastore/?output=all").text:
        assert time.monotonic() < deadline, "the deleted picture is not noticed"
        time.sleep(0.2)
    address = "batch/infer/sam2unet?images=unlabeled&run_sync=true"
    response = server.call("POST", address, json={"multi_gpu": False, "device": "cpu"})
    assert response.status_code == 200 and set(response.json()) == {Path(k).stem for k in KINDS} | {"square"}
    written = np.asarray(Image.open(server.studies / "labels" / "original" / "exif.png"))
    assert np.array_equal(written > 0, expected(server, "exif.jpg"))


@pytest.fixture(scope="module")
def labels(masks, tmp_path_factory) -> Path:
    """Labels as clients send them: numbers 0 and 1, in PNG, NIfTI and NRRD; and wrong ones."""
    folder = tmp_path_factory.mktemp("labels")
    for name, mask in masks.items():
        Image.fromarray(mask.astype(np.uint8)).save(folder / f"{name}.png")
    volume = SimpleITK.GetImageFromArray(masks["rgb"][None].astype(np.uint8))
    SimpleITK.WriteImage(volume, str(folder / "rgb.nii.gz"))
    SimpleITK.WriteImage(volume, str(folder / "tiff.nrrd"))
    SimpleITK.WriteImage(
        SimpleITK.GetImageFromArray(np.ones((3, 160, 192), np.uint8)), str(folder / "three.nii.gz")
    )
    (folder / "text.png").write_text("no label")
    (folder / "text.nrrd").write_text("no label")
    return folder


@pytest.mark.parametrize(
    ("file", "told"),
    [
        ("odd.png", "the label is 173x141 pixels, the picture 'rgb' is 192x160"),
        ("text.png", "the file: the contents are not a picture"),
        ("text.nrrd", "the file: no volume that can be read"),
        ("three.nii.gz", "must have one slice, got shape (3, 160, 192)"),
    ],
)
def test_wrong_label(server, labels, file, told):
    response = server.upload("rgb", labels / file)
    assert response.status_code == 400 and told in response.json()["detail"]
    assert not list((server.studies / "labels" / "final").iterdir())


def test_label_of_no_picture(server, labels):
    response = server.upload("nobody", labels / "rgb.png")
    assert response.status_code == 404 and "no picture 'nobody'" in response.json()["detail"]


def test_training_without_labels(server):
    task = server.task("train", "sam2unet", max_epochs=1)
    assert task["status"] == "ERROR"
    assert "no picture of the studies has a final label" in task["details"][-1]
    assert server.infer("rgb").status_code == 200


def test_training(server, labels):
    for name, suffix in (("rgb", ".nii.gz"), ("tiff", ".nrrd"), ("exif", ".png"), ("odd", ".png")):
        response = server.upload(name, labels / f"{name}{suffix}")
        assert response.status_code == 200, response.text
    before = {
        name: t.float() for name, t in read_weights(server.bundle / "models" / "model.pt").tensors.items()
    }
    rate, epochs = 1e-3, 2
    response = server.call(
        "POST", "train/sam2unet", json={"max_epochs": epochs, "val_split": 0.25, "learning_rate": rate}
    )
    assert response.status_code == 200
    shipped = expected(server, "palette.png")
    assert np.array_equal(server.mask("palette") > 0, shipped)  # answered meanwhile, by the model of before
    status = _wait(server)
    assert status["status"] == "DONE", status["details"]
    model = server.bundle / "models" / "model.pt"
    settings = json.loads(model.with_suffix(".json").read_text())
    assert (settings["input_size"], settings["max_epochs"], settings["learning_rate"]) == (224, epochs, rate)
    run = next((server.bundle / "runs").glob("train-*/models/model.pt"))
    assert run.read_bytes() == model.read_bytes()
    learnt = read_weights(model).tensors
    moved = max(
        float((learnt[name] - tensor).abs().max())
        for name, tensor in before.items()
        if "running" not in name and "num_batches" not in name
    )
    assert 0 < moved < 3 * rate * epochs  # so many steps of AdamW from the served weights, not from new ones
    assert np.array_equal(server.mask("palette") > 0, expected(server, "palette.png", model))
    assert server.call("GET", "info/").json()["train_stats"]["sam2unet"]["epoch"] == settings["epoch"]
    assert "odd" not in server.call("POST", "activelearning/first", json={}).json()["id"]


def _wait(server: Server) -> dict:
    """The end of the training that runs."""
    deadline = time.monotonic() + 240
    while True:
        task = server.call("GET", "train/").json()
        if task["status"] not in ("SUBMITTED", "RUNNING"):
            return task
        assert time.monotonic() < deadline, "the training does not end"
        time.sleep(0.5)


def test_weights_of_another_network_take_over(server, tmp_path):
    model = server.bundle / "models" / "model.pt"
    torch.manual_seed(0)
    other = SAM2UNet("nano", decoder_channels=16, tuning="full").eval()
    _replace(model, lambda path: torch.save(other.state_dict(), path))
    copy = shutil.copy(model, tmp_path / "model.pt")
    shutil.copy(model.with_suffix(".json"), tmp_path / "model.json")
    assert np.array_equal(server.mask("odd") > 0, expected(server, "odd.png", copy))


@pytest.mark.parametrize("what", ["damaged", "short of a tensor", "text"])
def test_model_that_cannot_be_served(server, what):
    model = server.bundle / "models" / "model.pt"
    good = model.read_bytes()
    weights = dict(torch.load(model, weights_only=True))
    if what == "damaged":
        _replace(model, lambda path: path.write_bytes(good[: len(good) // 2]))
    elif what == "text":
        _replace(model, lambda path: path.write_text("no model"))
    else:
        weights.pop("head.bias")
        _replace(model, lambda path: torch.save(weights, path))
    response = server.infer("rgb")
    assert response.status_code == 400 and "model.pt" in response.json()["detail"]
    if what == "short of a tensor":
        assert "missing: 1 (head.bias)" in response.json()["detail"]
    _replace(model, lambda path: path.write_bytes(good))
    assert server.infer("rgb").status_code == 200


def test_file_with_a_shorter_name_is_not_served(server, tmp_path):
    before = server.mask("rgb")
    short = server.bundle / "models" / "a.pt"
    shutil.copy(SHIPPED, short)
    shutil.copy(SHIPPED.with_suffix(".json"), short.with_suffix(".json"))
    assert np.array_equal(server.mask("rgb"), before)
    assert np.array_equal(server.mask("rgb", model_filename="a.pt") > 0, expected(server, "rgb.png"))
    short.unlink()


def _replace(path: Path, write) -> None:
    """Write a file with a date of its own."""
    stamp = path.stat().st_mtime_ns
    write(path)
    os.utime(path, ns=(stamp + 10**9, stamp + 10**9))
