"""Videos: made by PyAV here, rotated by the bytes that the standard of MP4 says."""

from __future__ import annotations

import builtins
import struct

import numpy as np
import pytest

from monai_sam2unet import InputError
from monai_sam2unet.io import Kind, kind_of, open_image, read

H, W, FRAMES = 48, 64, 7


def frames(count=FRAMES):
    """Each with a grey of its own, red at the top and green at the left, which no turn or mirror leaves."""
    made = []
    for number in range(count):
        pixels = np.full((H, W, 3), 40 + 20 * number, np.uint8)
        pixels[:16] = (220, 30, 30)
        pixels[16:, :16] = (30, 200, 30)
        made.append(pixels)
    return made


@pytest.fixture
def video(tmp_path):
    """`video("a.mp4", "mpeg4")` writes a file."""
    av = pytest.importorskip("av", reason="PyAV is not installed (make medical)")

    def write(name, codec, made=None, rate=25):
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=rate, options={"qscale": "1"})
            stream.width, stream.height, stream.pix_fmt = W, H, "yuv420p"
            stream.bit_rate = 8_000_000
            for pixels in frames() if made is None else made:
                for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                    container.mux(packet)
            for packet in stream.encode(None):
                container.mux(packet)
        return path

    return write


@pytest.mark.parametrize(
    ("name", "codec"),
    [("a.mp4", "mpeg4"), ("a.mov", "mpeg4"), ("a.avi", "mpeg4"), ("a.mkv", "mpeg4"), ("a.mpg", "mpeg2video"),
     ("a.ts", "mpeg2video"), ("a.webm", "libvpx-vp9"), ("a.wmv", "wmv2"), ("h264.mp4", "libx264")],
)  # fmt: skip
def test_every_container_gives_its_frames_in_order(video, name, codec):
    path = video(name, codec)
    assert kind_of(path) is Kind.VIDEO
    source = read(path)
    assert (source.kind, len(source)) == (Kind.VIDEO, FRAMES)
    seconds = []
    for number, (frame, pixels) in enumerate(zip(source, frames(), strict=True), start=1):
        assert (frame.number, frame.place.path, frame.place.number) == (number, path, number)
        assert frame.pixels.shape == (H, W, 3) and frame.pixels.dtype == np.uint8
        # compressed, and colours at half the resolution: the middles of the three areas are what counts
        for y, x in ((5, 40), (32, 5), (32, 48)):
            assert np.abs(frame.pixels[y, x].astype(int) - pixels[y, x]).max() < 20
        seconds.append(frame.place.seconds)
    assert np.allclose(np.diff(seconds), 1 / 25, atol=1e-3)
    assert np.array_equal(source.frame(5).pixels, list(source)[4].pixels)
    with pytest.raises(InputError, match=r"no frame 8; expected 1 to 7"):
        source.frame(8)


@pytest.mark.parametrize(
    ("matrix", "turned"),
    [  # a, b, c, d of ISO/IEC 14496-12: (x, y) -> (a x + c y, b x + d y), y downwards
        ((0, 1, -1, 0), lambda p: np.rot90(p, -1)),  # right becomes down: with the clock
        ((0, -1, 1, 0), np.rot90),
        ((-1, 0, 0, -1), lambda p: np.rot90(p, 2)),
    ],
)
def test_videos_of_turned_cameras_are_upright(video, matrix, turned):
    path = video("turned.mp4", "mpeg4")
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 4 + 40  # version 0: the matrix is after 40 bytes
    a, b, c, d = (value * 65536 for value in matrix)
    content[start : start + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    for frame, pixels in zip(read(path), frames(), strict=True):
        expected = turned(pixels)
        assert frame.pixels.shape == expected.shape
        assert np.abs(frame.pixels.astype(int) - expected).mean() < 8


def test_a_damaged_video_gives_what_comes_before_and_says_so(video, tmp_path):
    path = video("a.ts", "mpeg2video", frames() * 6)
    whole = path.read_bytes()
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(video("b.mp4", "mpeg4").read_bytes()[:300])
    with pytest.raises(InputError, match=r"cut\.mp4: the video cannot be decoded .*MP4 \(H\.264\)"):
        read(cut)
    path.write_bytes(whole[: len(whole) // 2])
    assert 0 < len(read(path)) < 6 * FRAMES


def test_it_is_no_picture_and_has_no_window(video):
    path = video("a.mp4", "mpeg4")
    with pytest.raises(InputError, match=r"a\.mp4: is a video, expected a picture"):
        open_image(path)
    with pytest.raises(InputError, match=r"is a video, where window 'lung' means nothing"):
        read(path, window="lung")


def test_without_pyav_the_message_says_what_to_install(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(600))
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "av":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r'needs PyAV, which is not installed; pip install "\.\[video\]"'):
        read(path)


@pytest.mark.parametrize("brand", [b"heic", b"avif", b"mif1"])
def test_pictures_in_the_same_container_are_none(tmp_path, brand):
    path = tmp_path / "a.heic"
    path.write_bytes(b"\0\0\0\x18ftyp" + brand + bytes(600))
    assert kind_of(path) is Kind.UNKNOWN
