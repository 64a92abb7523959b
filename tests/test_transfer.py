"""Large files over HTTP, from a server on this machine that misbehaves on demand."""

import errno
import hashlib
import os
import re
import socket
import stat

import pytest

from monai_sam2unet import transfer
from monai_sam2unet.errors import InputError
from tests.weight_server import CONTENT, SHA256, contents, serving

WHOLE = {"weights.pt": CONTENT}


@pytest.fixture
def server(monkeypatch):
    with serving(monkeypatch) as server:
        yield server


@pytest.fixture(autouse=True)
def fast(monkeypatch):
    monkeypatch.setattr(transfer, "CHUNK", 1000)  # what is cut at a thousand has arrived up to there
    monkeypatch.setattr(transfer, "PAUSES", (0, 0, 0))


@pytest.fixture
def closed():
    """Address of a port where nobody listens."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{s.getsockname()[1]}"


def fetch(url, folder):
    path = folder / "weights.pt"
    transfer.retrieve(f"{url}/weights.pt", path, len(CONTENT), SHA256, otherwise="Write a letter")


def put(folder, content):
    """Leave a part."""
    (folder / "weights.pt.part").write_bytes(content)


def part(length):
    return {"weights.pt.part": CONTENT[:length]}


@pytest.mark.parametrize("redirect", [False, True])
def test_a_file_is_downloaded(server, tmp_path, redirect):
    server.redirect = redirect
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE
    assert server.asked == [None] and server.sent == [300_000]


@pytest.mark.skipif(os.name != "posix", reason="Windows has no umask")
def test_others_may_read_the_file(server, tmp_path):
    """Pooch's temporary file is its owner's alone."""
    before = os.umask(0o022)
    try:
        fetch(server.url, tmp_path)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "weights.pt").stat().st_mode) == 0o644


# Going on


@pytest.mark.parametrize("redirect", [False, True])
def test_a_part_is_completed(server, tmp_path, redirect):
    server.redirect = redirect
    put(tmp_path, CONTENT[:123_456])
    assert transfer.arrived(tmp_path / "weights.pt") == 123_456
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE
    assert server.asked == ["bytes=123456-"] and server.sent == [300_000 - 123_456]


def test_a_complete_part_needs_no_connection(tmp_path, closed):
    put(tmp_path, CONTENT)
    fetch(closed, tmp_path)
    assert contents(tmp_path) == WHOLE


@pytest.mark.parametrize("wrong", [CONTENT[::-1], CONTENT + b"x"])
def test_a_part_that_is_too_long_or_wrong_is_begun_anew(server, tmp_path, wrong):
    put(tmp_path, wrong)
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE and server.asked == [None]


@pytest.mark.parametrize("length", [True, False])  # without, a cut looks like the end
@pytest.mark.parametrize("cuts", [[100_000], [100_000, 0, 50_000]])
def test_a_cut_connection_is_made_anew(server, tmp_path, caplog, cuts, length):
    server.cuts, server.length = iter(cuts), length
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE
    assert server.asked == [None, *["bytes=100000-"] * (len(cuts) - 1), f"bytes={sum(cuts)}-"]
    assert server.sent == [*cuts, 300_000 - sum(cuts)]
    assert caplog.text.count("cut (") == caplog.text.count("going on in 0 s") == len(cuts)


def test_a_connection_that_is_cut_always(server, tmp_path):
    server.cuts = iter([100_000, 10_000, 10_000, 10_000])  # one more than there are pauses
    with pytest.raises(InputError) as caught:
        fetch(server.url, tmp_path)
    kept = re.escape(f"0.1 of 0.3 MiB are kept in {tmp_path}/weights.pt.part: the same command goes on")
    assert re.search(rf"cut \(.*{kept} from there\. Write a letter$", str(caught.value))
    assert contents(tmp_path) == part(130_000)
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE
    assert server.asked[-1] == "bytes=130000-" and server.sent[-1] == 170_000


def test_a_server_that_falls_silent(server, tmp_path, monkeypatch):
    monkeypatch.setattr(transfer, "TIMEOUT", (5, 0.2))
    server.cuts = iter([100_000])
    server.stall.clear()
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE and server.asked == [None, "bytes=100000-"]


def test_a_server_without_ranges_starts_from_the_beginning(server, tmp_path):
    server.ranges = False
    put(tmp_path, b"x" * 100_000)  # must not stay at the beginning
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE
    assert server.asked == ["bytes=100000-"] and server.sent == [300_000]


def test_a_server_that_sends_from_an_earlier_byte(server, tmp_path):
    server.shift = -40_000
    put(tmp_path, CONTENT[:100_000])
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE and server.sent == [240_000]


def test_a_gap_is_refused(server, tmp_path):
    server.shift = 1
    put(tmp_path, CONTENT[:100_000])
    with pytest.raises(InputError, match="asked from byte 100000, it sends from byte 100001"):
        fetch(server.url, tmp_path)
    assert contents(tmp_path) == part(100_000)


def test_a_part_that_the_server_cannot_complete_is_begun_anew(server, tmp_path):
    server.statuses = iter([416])
    put(tmp_path, b"x" * 100_000)
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE and server.asked == ["bytes=100000-", None]


def test_an_interruption_keeps_the_part(server, tmp_path, monkeypatch, caplog):
    class Bar(transfer.tqdm):
        arrived = 0

        def update(self, n=1):
            Bar.arrived += n
            if Bar.arrived == 100_000:
                raise KeyboardInterrupt

    with monkeypatch.context() as m:
        m.setattr(transfer, "tqdm", Bar)
        with pytest.raises(KeyboardInterrupt):
            fetch(server.url, tmp_path)
    assert contents(tmp_path) == part(100_000)
    assert "0.1 of 0.3 MiB are kept" in caplog.text
    fetch(server.url, tmp_path)
    assert contents(tmp_path) == WHOLE and server.asked == [None, "bytes=100000-"]


def test_the_bar_shows_the_whole_file(server, tmp_path, monkeypatch):
    """Also where a part was there, and where the server then starts from the beginning."""
    bars = []

    class Bar(transfer.tqdm):
        def __init__(self, **settings):
            bars.append(self)
            super().__init__(**settings)
            self.begun = self.initial

    monkeypatch.setattr(transfer, "tqdm", Bar)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    for server.ranges in (True, False):
        put(tmp_path, CONTENT[:100_000])
        fetch(server.url, tmp_path)
    assert [(b.begun, b.initial, b.n, b.total) for b in bars] == [
        (100_000, 100_000, 300_000, 300_000),
        (100_000, 0, 300_000, 300_000),
    ]


@pytest.mark.parametrize(("terminal", "progress"), [(True, False), (False, True)])
def test_no_bar_is_shown(server, tmp_path, monkeypatch, capsys, terminal, progress):
    monkeypatch.setattr("sys.stderr.isatty", lambda: terminal)
    url = f"{server.url}/weights.pt"
    transfer.retrieve(url, tmp_path / "weights.pt", len(CONTENT), SHA256, progress=progress)
    assert capsys.readouterr() == ("", "")


# What cannot be used


def test_a_wrong_byte_is_found(server, tmp_path):
    server.content = CONTENT[:-1] + b"x"
    got = hashlib.sha256(server.content).hexdigest()
    with pytest.raises(InputError, match=rf"{SHA256}.*{got}.* Run the same command again\. Write a letter"):
        fetch(server.url, tmp_path)
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    ("ranges", "content"),
    [
        (True, CONTENT[:-1]),
        (True, CONTENT + b"x"),
        (False, CONTENT[:-1]),
        (False, CONTENT + b"x"),
        (False, b""),
    ],
)
def test_a_file_of_another_length_is_not_taken(server, tmp_path, ranges, content):
    server.content, server.ranges = content, ranges
    put(tmp_path, CONTENT[:100])
    with pytest.raises(InputError, match=rf"sends {len(content)} bytes instead of the file of 300000 bytes"):
        fetch(server.url, tmp_path)
    assert contents(tmp_path) == part(100)


def test_a_log_in_page_is_not_taken(server, tmp_path):
    server.content, server.length, server.ranges = b"<html>", False, False
    server.headers = {"Content-Type": "text/html"}
    put(tmp_path, CONTENT[:100])
    with pytest.raises(InputError, match=r"sends a web page instead .* may ask for a log-in"):
        fetch(server.url, tmp_path)
    assert contents(tmp_path) == part(100)


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (403, r"the server refuses \(403 .*proxy or firewall"),
        (404, r"the server refuses \(404 .*address is wrong"),
        (416, r"the server refuses \(416 "),
        (500, r"in trouble \(500 .*try again later"),
        (503, r"in trouble \(503 .*try again later"),
    ],
)
def test_an_http_error_is_explained(server, tmp_path, status, reason):
    server.statuses = iter([status] * 9)
    with pytest.raises(InputError, match=reason) as caught:
        fetch(server.url, tmp_path)
    assert str(caught.value).startswith(f"{server.url}/weights.pt: the server ")
    assert str(caught.value).endswith(". Nothing has arrived. Write a letter")
    assert len(server.asked) == 1 and contents(tmp_path) == {}


def test_nobody_listens(server, closed, tmp_path):
    with pytest.raises(
        InputError, match=r"^\S+weights\.pt: no connection.*\(.*refused\)\. Nothing has"
    ) as caught:
        fetch(closed, tmp_path)
    assert str(caught.value).endswith("Write a letter") and "\n" not in str(caught.value)
    assert contents(tmp_path) == {}


def test_there_is_no_network(server, tmp_path, monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(InputError, match=r"name is not known here .* no way to the internet"):
        fetch("http://example.invalid", tmp_path)
    assert contents(tmp_path) == {}


def test_a_proxy_that_is_not_there(closed, tmp_path, monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(name, closed)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.setenv(name, "")
    with pytest.raises(InputError, match=r"no way through the proxy \(.*refused\); see .* HTTPS_PROXY"):
        fetch("http://example.invalid", tmp_path)


def test_a_connection_that_is_not_trusted(server, tmp_path):
    """The server speaks no TLS, so there is no certificate to trust."""
    with pytest.raises(InputError, match=r"no trusted connection \(.*; .* REQUESTS_CA_BUNDLE"):
        fetch(server.url.replace("http:", "https:"), tmp_path)


def test_a_disk_that_fills_up(server, tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    put(tmp_path, CONTENT[:100_000])
    monkeypatch.setattr(transfer._Transfer, "write", full)
    with pytest.raises(InputError, match=r"weights\.pt: cannot be written \(No space left on device\)"):
        fetch(server.url, tmp_path)
    assert contents(tmp_path) == part(100_000)
