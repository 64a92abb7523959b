"""A MONAI Label server in a process of its own, and pictures of every kind for it."""

from __future__ import annotations

import importlib.util
import json
import logging
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from PIL import Image

from monai_sam2unet.data import draw_case
from scripts.label_server import stand_ins

logger = logging.getLogger(__name__)

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "models" / "polypgen_nano.pt"
START = 120
"""Seconds that a server may take to start on a busy machine."""


@dataclass
class Server:
    """A running server, and what it was started with."""

    address: str
    studies: Path
    bundle: Path
    process: subprocess.Popen[bytes]
    log: Path
    seconds: float
    times: dict[str, list[float]] = field(default_factory=dict)

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """A request, timed under the first word of its path."""
        begin = time.monotonic()
        response = requests.request(method, f"{self.address}/{path}", timeout=300, **arguments)
        self.times.setdefault(path.split("/")[0], []).append(time.monotonic() - begin)
        return response

    def infer(self, image: str, **params: Any) -> requests.Response:
        """An inference that answers with the mask's file."""
        return self.call(
            "POST", f"infer/sam2unet?image={image}&output=image", data={"params": json.dumps(params)}
        )

    def mask(self, image: str, **params: Any) -> np.ndarray:
        """The mask of an inference, (H, W)."""
        response = self.infer(image, **params)
        assert response.status_code == 200, response.text
        path = self.studies.parent / "answer.png"
        path.write_bytes(response.content)
        with Image.open(path) as picture:
            assert picture.format == "PNG" and picture.mode == "L"
            return np.asarray(picture)

    def upload(self, image: str, label: Path, tag: str = "final") -> requests.Response:
        """The upload of a label."""
        with open(label, "rb") as file:
            return self.call(
                "PUT",
                f"datastore/label?image={image}&tag={tag}",
                data={"params": "{}"},
                files={"label": (label.name, file)},
            )

    def task(self, kind: str, name: str, **request: Any) -> dict[str, Any]:
        """Start a task of the server and wait for its end."""
        response = self.call("POST", f"{kind}/{name}", json=request)
        assert response.status_code == 200, response.text
        end = time.monotonic() + 240
        while time.monotonic() < end:
            status = self.call("GET", f"{kind}/?all=true").json()
            own = next(task for task in status if task["id"] == response.json()["id"])
            if own["status"] not in ("SUBMITTED", "RUNNING"):
                return own
            time.sleep(0.5)
        raise AssertionError(f"{kind} does not end; see {self.log}")


def environment() -> dict[str, str]:
    """That of a server's process: with stand-ins for what is not installed, and no scoring by itself."""
    paths = [*map(str, stand_ins().values()), *filter(None, [os.environ.get("PYTHONPATH")])]
    more = {"PYTHONPATH": os.pathsep.join(paths), "PYTHON": sys.executable}
    return {**os.environ, **more, "MONAI_LABEL_AUTO_UPDATE_SCORING": "false"}


@contextmanager
def running(command: list[str], studies: Path, bundle: Path, folder: Path, port: int) -> Iterator[Server]:
    """Start a server, wait until it answers, and stop it at the end; skip where there is no MONAI Label."""
    if importlib.util.find_spec("monailabel") is None:
        pytest.skip("MONAI Label is not installed (make monailabel)")
    log = folder / "server.log"
    begin = time.monotonic()
    with open(log, "wb") as output:
        process = subprocess.Popen(command, env=environment(), stdout=output, stderr=output, cwd=folder)
    server = Server(f"http://127.0.0.1:{port}", studies, bundle, process, log, 0.0)
    try:
        while not _answers(server.address):
            assert process.poll() is None, f"the server ended: {log.read_text()[-3000:]}"
            assert time.monotonic() - begin < START, f"the server does not answer: {log.read_text()[-3000:]}"
            time.sleep(0.2)
        server.seconds = time.monotonic() - begin
        yield server
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        _log_times(server)


def _log_times(server: Server) -> None:
    """For the record: pytest shows it by --log-cli-level=info."""
    logger.info("start %.1f s", server.seconds)
    for name, times in server.times.items():
        logger.info(
            "%s: %d requests, median %.3f s, at most %.3f s", name, len(times), np.median(times), max(times)
        )


def _answers(address: str) -> bool:
    """Whether a server answers there."""
    try:
        return requests.get(f"{address}/info/", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


KINDS = ("rgb.png", "grey.jpg", "rgba.png", "palette.png", "exif.jpg", "deep.png", "odd.png", "tiff.tiff")
"""Pictures of `draw_studies`, by what is special about them."""


def draw_studies(folder: Path) -> dict[str, np.ndarray]:
    """Write one synthetic polyp in several kinds of file, and give the masks.

    The polyp lies off the middle both ways, and the picture is wider than high.
    """
    folder.mkdir(parents=True, exist_ok=True)
    drawn, reference = draw_case(2, seed=3)
    picture, mask = Image.fromarray(np.asarray(drawn)), np.asarray(reference) > 0
    picture.save(folder / "rgb.png")
    picture.convert("L").save(folder / "grey.jpg", quality=95)
    picture.convert("RGBA").save(folder / "rgba.png")
    picture.quantize(256).save(folder / "palette.png")
    turned = Image.Exif()
    turned[0x0112] = 6  # orientation: a viewer turns the stored picture by 90 degrees clockwise
    picture.transpose(Image.Transpose.ROTATE_90).save(folder / "exif.jpg", exif=turned, quality=95)
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(folder / "deep.png")
    picture.crop((0, 0, 173, 141)).save(folder / "odd.png")
    picture.save(folder / "tiff.tiff")
    masks = {Path(name).stem: mask for name in KINDS}
    return {**masks, "odd": mask[:141, :173]}
