"""Large files over HTTP: a download that was cut goes on where it stopped, and only a checked file stays."""

from __future__ import annotations

import logging
import os
import re
import socket
import time
from pathlib import Path
from typing import Any, BinaryIO

import pooch
import requests
from tqdm import tqdm

from monai_sam2unet.errors import InputError

__all__ = ["arrived", "retrieve"]

logger = logging.getLogger(__name__)

CHUNK = 2**16
"""Bytes taken at a time from a connection; fewer than these are lost when it is cut."""

TIMEOUT = (20, 60)
"""Seconds to wait for a connection, and for the next bytes on it."""

PAUSES = (1, 2, 4, 8, 16)
"""Seconds to wait before each further try after a connection was cut."""


def arrived(path: Path) -> int:
    """Bytes that an earlier download of a file has left.

    Args:
        path: the file, as given to `retrieve`.

    Returns:
        Length of its part, 0 if there is none.
    """
    part = _part(path)
    return part.stat().st_size if part.exists() else 0


def retrieve(
    url: str, path: Path, size: int, sha256: str, progress: bool = True, otherwise: str = ""
) -> None:
    """Download a file, or what is missing of it, and check it.

    What arrives is kept in ``NAME.part`` until it is complete and right; a wrong one is deleted.

    Args:
        url: what to ask for.
        path: absolute path, in a folder that is there; a file there is replaced.
        size: bytes of the right content.
        sha256: of the right content.
        progress: show a bar, where the error stream is a terminal.
        otherwise: how else to get the file, for the message.

    Raises:
        InputError: if the file cannot be had, is another, or cannot be written.
    """
    part = _part(path)

    def fetch(url: str, output_file: str, _: object) -> None:
        """Pooch's downloader."""
        if arrived(path) >= size:
            part.unlink()  # pooch has found that it is wrong
        _complete(url, part, size, path.name, progress)
        os.replace(part, output_file)

    pooch.get_logger().setLevel(logging.WARNING)  # it would announce the part
    try:
        pooch.retrieve(url, f"sha256:{sha256}", part.name, part.parent, downloader=fetch)
        os.replace(part, path)
    except KeyboardInterrupt:
        logger.warning("%s", _kept(path, size))
        raise
    except requests.RequestException as e:
        raise InputError(f"{url}: {_cause(e)}. {_kept(path, size)}. {otherwise}") from e
    except OSError as e:
        raise InputError(f"{path}: cannot be written ({e.strerror or e}); choose another folder") from e
    except InputError as e:
        raise InputError(f"{url}: {e}. {otherwise}") from e
    except ValueError as e:  # pooch's, with the checksum expected and the one got
        raise InputError(f"{url}: {e} Run the same command again. {otherwise}") from e
    finally:
        if not arrived(path):
            part.unlink(missing_ok=True)


def _part(path: Path) -> Path:
    """Where a file is gathered."""
    return path.with_name(f"{path.name}.part")


def _kept(path: Path, size: int) -> str:
    """What is there of a file that is not complete."""
    if not arrived(path):
        return "Nothing has arrived"
    there, whole = arrived(path) / 2**20, size / 2**20
    return f"{there:.1f} of {whole:.1f} MiB are kept in {_part(path)}: the same command goes on from there"


def _complete(url: str, part: Path, size: int, name: str, progress: bool) -> None:
    """Fetch what is missing of a part file; a connection that is cut is made anew.

    Args:
        url: what to ask for.
        part: the part file, made if missing.
        size: its length when complete.
        name: shown before the bar.
        progress: show a bar on a terminal.

    Raises:
        requests.RequestException: if there is no answer, an error, or too many cut connections.
        InputError: if the answer is something else than the file.
    """
    with (
        open(part, "ab") as out,
        tqdm(
            desc=name,
            initial=out.tell(),
            total=size,
            unit="B",
            unit_scale=True,
            disable=None if progress else True,  # None: unless on a terminal
        ) as bar,
    ):
        transfer = _Transfer(out, size, bar)
        pauses = iter(PAUSES)
        while transfer.size < size:
            try:
                transfer.run(url)
            except requests.HTTPError:
                raise
            except requests.RequestException as e:
                pause = next(pauses, None)
                if pause is None or transfer.response is None:
                    raise
                bar.clear()
                logger.warning("%s: %s; going on in %d s", name, _cause(e), pause)
                time.sleep(pause)
        out.flush()
        os.fsync(out.fileno())  # a rename may reach the disk before the content does


class _Transfer:
    """Appends what a server sends to a part file.

    Args:
        out: the part file, open for appending.
        whole: its length when complete.
        bar: shows how much is there.
    """

    def __init__(self, out: BinaryIO, whole: int, bar: tqdm[Any]) -> None:
        self.out = out
        self.whole = whole
        self.bar = bar
        self.size = out.tell()
        self.response: requests.Response | None = None

    def run(self, url: str) -> None:
        """Ask for what is missing and take it.

        Raises:
            requests.RequestException: if it does not arrive in full.
            InputError: if the answer is something else than the file.
        """
        headers = {"Accept-Encoding": "identity"}  # positions and lengths are to be those of the file
        if self.size:
            headers["Range"] = f"bytes={self.size}-"
        get = pooch.HTTPDownloader(
            chunk_size=CHUNK, headers=headers, timeout=TIMEOUT, hooks={"response": self.check}
        )
        try:
            get(url, self, None)
        except requests.HTTPError as e:
            if _status(e) != 416 or not self.size:  # 416: nothing can be sent from there on
                raise
            self.shorten(0)
            self.run(url)
        finally:
            if self.response is not None:
                self.response.close()
        if self.size < self.whole:  # to requests the end of an answer without a length is no error
            raise requests.ConnectionError(f"{self.size} of {self.whole} bytes have arrived")

    def check(self, response: requests.Response, *_: object, **__: object) -> None:
        """Requests' hook: see to it, before any content is written, that it belongs where it will be.

        Raises:
            requests.RequestException: if it begins behind the end of the part file.
            InputError: if it is not the file, by its type or length.
        """
        self.response = response
        if response.status_code not in (200, 206):
            return  # a redirection, or an error that pooch raises
        start, whole = _extent(response, self.size)
        page = "html" in response.headers.get("Content-Type", "")
        if page or whole not in (None, self.whole):
            raise InputError(
                f"the server sends {'a web page' if page else f'{whole} bytes'} instead of the file of "
                f"{self.whole} bytes; the network may ask for a log-in, or the address is wrong"
            )
        if start > self.size:
            raise requests.RequestException(f"asked from byte {self.size}, it sends from byte {start}")
        if start < self.size:
            self.shorten(start)

    def shorten(self, size: int) -> None:
        """Keep the first bytes alone."""
        self.out.truncate(size)
        self.size = self.bar.n = self.bar.initial = size
        self.bar.refresh()

    def write(self, data: bytes) -> None:
        """Append; called by pooch."""
        self.out.write(data)
        self.size += len(data)
        self.bar.update(len(data))

    def flush(self) -> None:
        """Called by pooch after each piece; one flush at the end is enough."""


def _extent(response: requests.Response, asked: int) -> tuple[int, int | None]:
    """First byte of an answer's content within the file, and the file's length where it is told."""
    if response.status_code == 206:
        told = re.match(r"bytes (\d+)-\d+/(\d+)?", response.headers.get("Content-Range", ""))
        return (int(told[1]), int(told[2]) if told[2] else None) if told else (asked, None)
    length = None if "Content-Encoding" in response.headers else response.headers.get("Content-Length")
    return 0, None if length is None else int(length)


def _status(error: requests.HTTPError) -> int:
    """What a server has answered, 0 if nothing."""
    return 0 if error.response is None else error.response.status_code


def _cause(error: requests.RequestException) -> str:
    """What went wrong, and what it may come from."""
    root: BaseException = error
    while inner := root.__cause__ or root.__context__:
        root = inner
    reason = next(iter(str(root).splitlines()), "") or type(root).__name__
    if isinstance(error, requests.HTTPError) and _status(error) >= 500:
        return f"the server is in trouble ({reason}); try again later"
    if isinstance(error, requests.HTTPError):
        return f"the server refuses ({reason}); the address is wrong, or a proxy or firewall blocks it"
    if isinstance(error, requests.exceptions.ProxyError):
        return f"no way through the proxy ({reason}); see the variables HTTPS_PROXY and NO_PROXY"
    if isinstance(error, requests.exceptions.SSLError):
        return (
            f"no trusted connection ({reason}); if a proxy inspects the traffic, name its certificate in "
            "the variable REQUESTS_CA_BUNDLE"
        )
    if isinstance(root, socket.gaierror):
        return f"the server's name is not known here ({reason}); there may be no way to the internet"
    if isinstance(error, requests.Timeout):
        return f"no answer in time ({reason})"
    return f"no connection, or one that was cut ({reason})"
