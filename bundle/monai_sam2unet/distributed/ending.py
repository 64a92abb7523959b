"""How several processes end together: when one fails or is killed, with one short message."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
import zlib
from datetime import timedelta

import torch.distributed as dist

from monai_sam2unet.distributed.ranks import launched

__all__ = ["LOSS", "ProcessLostError", "end_when_told", "is_loss", "leave", "may_say"]

LOSS = (
    "Error: another process of this run has ended, or the run was cancelled; torchrun's report names it. "
    "With --resume true the same command goes on with a training, after its last completed epoch."
)


class ProcessLostError(RuntimeError):
    """Another process has ended, and with it this one can do nothing more."""


def is_loss(error: BaseException) -> bool:
    """Whether an error says no more than that another process has ended."""
    by_gloo = isinstance(error, RuntimeError) and "gloo/transport" in str(error)
    return by_gloo or isinstance(error, (ProcessLostError, dist.DistError))


def may_say(message: str) -> bool:
    """Whether this process is to show the message that it ends with.

    One that all processes have (a wrong setting) is shown by one of them, and that another process has ended
    only if that one could not say why.

    Args:
        message: the message, or `LOSS`.
    """
    if launched() == 1:
        return True
    try:
        store = _board()
        before = store.add("said", 1) - 1
        return before == 0 if message == LOSS else store.add(f"said-{zlib.crc32(message.encode())}", 1) == 1
    except RuntimeError:  # the process that kept the board is gone
        return True


def leave() -> None:
    """End this process at once if others work with it: an orderly end could wait for them for ever."""
    if dist.is_initialized():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def end_when_told() -> None:
    """Let SIGTERM, by which torchrun stops the others when one process has ended, say so and end this one.

    A signal handler in Python would wait for the step that the process is in, and that may wait for the
    process which is gone. So a thread listens to the byte that Python writes as the signal arrives.
    """
    reader, writer = socket.socketpair()
    writer.setblocking(False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=_end_as_usual)  # a loader process that ends must not end this one
    # the writer is handed on so that it stays open
    threading.Thread(target=_listen, args=(reader, writer), name="end-when-told", daemon=True).start()


def _board() -> dist.Store:
    """Where all processes of a run can leave word, for as long as torchrun lives."""
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    store = dist.TCPStore(host, port, timeout=timedelta(seconds=5), wait_for_workers=False)
    attempt = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0")
    return dist.PrefixStore(f"monai_sam2unet-{attempt}", store)


def _end_as_usual() -> None:
    """Take SIGTERM as a process does that nobody has told otherwise."""
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


def _listen(reader: socket.socket, _writer: socket.socket) -> None:
    """End the process at the first SIGTERM."""
    while signal.SIGTERM not in reader.recv(64):
        continue
    if may_say(LOSS):
        sys.stderr.write(f"\n{LOSS}\n")
        sys.stderr.flush()
    os._exit(128 + signal.SIGTERM)
