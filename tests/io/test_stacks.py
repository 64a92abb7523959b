"""TIFF stacks and plain pictures are sources of frames, too."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from monai_sam2unet.errors import InputError
from monai_sam2unet.io import Kind, kind_of, open_image, read
from monai_sam2unet.pictures import open_picture
from tests.io.phantoms import colours, ramp


def save(path, pages):
    first, *rest = [Image.fromarray(page) for page in pages]
    first.save(path, format="TIFF", save_all=True, append_images=rest)


def test_colour_stack(tmp_path):
    pages = [np.roll(colours(), shift, axis=0) for shift in range(3)]
    save(tmp_path / "a", pages)
    assert kind_of(tmp_path / "a") is Kind.TIFF_STACK
    source = read(tmp_path / "a")
    assert len(source) == 3
    for frame in source:
        assert np.array_equal(frame.pixels, pages[frame.number - 1])
        assert (frame.place.path, frame.place.number) == (tmp_path / "a", frame.number)
    assert np.array_equal(source.frame(2).pixels, pages[1])
    assert np.array_equal(open_image(tmp_path / "a"), pages[0]), "as open_picture: the first page"


def test_deep_stack(tmp_path):
    save(tmp_path / "a.tif", [ramp(), ramp() + 60])
    first, second = (frame.pixels[..., 0] for frame in read(tmp_path / "a.tif"))
    assert np.array_equal(np.stack([first, second]), np.rint(np.stack([ramp(), ramp() + 60]) * 255 / 119))
    shown = read(tmp_path / "a.tif", window=(30, 41)).frame(1).pixels[..., 0]
    expected = np.clip(((ramp() - 29.5) / 40 + 0.5) * 255, 0, 255)  # PS3.3, C.11.2.1.2.1
    assert np.abs(shown - expected).max() <= 0.5


def test_a_picture_is_one_frame(tmp_path):
    Image.fromarray(colours()).save(tmp_path / "a.png")
    assert kind_of(tmp_path / "a.png") is Kind.PICTURE
    (frame,) = read(tmp_path / "a.png")
    assert np.array_equal(frame.pixels, np.asarray(open_picture(tmp_path / "a.png")))
    with pytest.raises(InputError, match="is a picture, where window"):
        read(tmp_path / "a.png", window="lung")


def test_what_cannot_be_read_is_named(tmp_path):
    save(tmp_path / "a.tif", [colours(64, 64), colours(64, 64)])
    with pytest.raises(InputError, match="page 1 is no grey picture"):
        read(tmp_path / "a.tif", window=(0, 1)).frame(1)
    data = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "empty").touch()
    (tmp_path / "noise.gz").write_bytes(b"\x1f\x8b" + data[:50])
    for name in ("empty", "noise.gz"):
        assert kind_of(tmp_path / name) is Kind.UNKNOWN
        with pytest.raises(InputError, match=name):
            read(tmp_path / name)
