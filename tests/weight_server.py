"""A server on this machine that misbehaves on demand, and the file that it serves."""

import contextlib
import hashlib
import random
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves one content under any address; the attributes say how it misbehaves."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/mirror"
        self.content = CONTENT
        self.asked = []  # header Range of each request
        self.sent = []  # bytes of each answer
        self.cuts = iter(())  # how much of each answer is sent before the connection is closed
        self.statuses = iter(())  # answers without content to the first requests
        self.stall = threading.Event()  # the first answer that is cut waits for it before its end
        self.stall.set()
        self.shift = 0  # where ranges are sent from, against where they were asked from
        self.ranges = self.length = True  # whether it knows ranges, and tells the length
        self.redirect = False
        self.headers = {}

    def handle_error(self, *_):
        """A client that hangs up is part of the tests."""


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server = self.server
        if server.redirect and self.path.startswith("/mirror/"):
            self.answer(302, Location=self.path.replace("mirror", "other"))
            return
        asked = self.headers.get("Range")
        server.asked.append(asked)
        status = next(server.statuses, None)
        if status is not None:
            self.answer(status)
            return
        ranged = asked and server.ranges
        start = int(asked.removeprefix("bytes=").removesuffix("-")) + server.shift if ranged else 0
        body = server.content[start:]
        headers = {"Content-Length": len(body)} if server.length else {}
        if ranged:
            headers["Content-Range"] = f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
        self.answer(206 if ranged else 200, **headers, **server.headers)
        body = body[: next(server.cuts, None)]
        self.wfile.write(body)
        server.sent.append(len(body))
        server.stall.wait(10)

    def answer(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serving(monkeypatch):
    """Run a `Server`; no proxy stands before it."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stall.set()
            server.shutdown()
            thread.join()


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}
