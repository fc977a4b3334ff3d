"""A real HTTP server on a free port that serves one file, well or badly, as a script says.

Each request is answered by the next function of ``script``, and by :func:`whole` when it is empty.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[["Handler"], None]
ETAG = '"1"'


class Server(ThreadingHTTPServer):
    """Serves ``content`` under every path."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = content
        self.script: list[Answer] = []
        self.requests: list[Handler] = []
        self.closing = threading.Event()
        """Set at the end, so that a stalled answer does not hold the test up."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/model.onnx"

    @property
    def ranges(self) -> list[str | None]:
        """The Range header of each request, in order."""
        return [request.headers.get("Range") for request in self.requests]

    def handle_error(self, request, client_address) -> None:
        """Keep quiet: clients that hang up are part of the tests."""


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(self)
        (self.server.script.pop(0) if self.server.script else whole)(self)

    def log_message(self, *_) -> None:
        """Keep quiet."""

    def reply(
        self, status: int, headers: dict[str, object], body: bytes = b"", etag: str | None = ETAG
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, str(value))
        if etag:
            self.send_header("ETag", etag)
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def asked(self) -> tuple[int, bytes]:
        """Where the asked range starts (0 for none, or for another version's), and its bytes."""
        match = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        start = int(match[1]) if match and self.headers.get("If-Range", ETAG) == ETAG else 0
        return start, self.server.content[start:]

    def begin(self, start: int, body: bytes, sent: bytes) -> None:
        """The right header for ``body`` from ``start`` on, followed by ``sent``."""
        total = len(self.server.content)
        headers: dict[str, object] = {"Content-Length": len(body)}
        if start and start >= total:
            self.reply(416, {"Content-Range": f"bytes */{total}", "Content-Length": 0})
        elif start:
            headers["Content-Range"] = f"bytes {start}-{total - 1}/{total}"
            self.reply(206, headers, sent)
        else:
            self.reply(200, headers, sent)


def whole(handler: Handler) -> None:
    start, body = handler.asked()
    handler.begin(start, body, body)


def ignoring_range(handler: Handler) -> None:
    body = handler.server.content
    handler.reply(200, {"Content-Length": len(body)}, body)


def truncated(size: int) -> Answer:
    """Close the connection after ``size`` bytes of the answer."""

    def answer(handler: Handler) -> None:
        start, body = handler.asked()
        handler.begin(start, body, body[:size])

    return answer


def stalled(size: int) -> Answer:
    """Send ``size`` bytes of the answer and then nothing, keeping the connection open."""

    def answer(handler: Handler) -> None:
        start, body = handler.asked()
        handler.begin(start, body, body[:size])
        handler.server.closing.wait(20)

    return answer


def silent(handler: Handler) -> None:
    """Accept the request and never answer it."""
    handler.server.closing.wait(20)


def dripping(pieces: int, pause_s: float) -> Answer:
    """Send all of the answer, slowly."""

    def answer(handler: Handler) -> None:
        start, body = handler.asked()
        handler.begin(start, body, b"")
        step = -(-len(body) // pieces)
        for first in range(0, len(body), step):
            handler.wfile.write(body[first : first + step])
            handler.wfile.flush()
            if handler.server.closing.wait(pause_s):
                return

    return answer


def corrupted(handler: Handler) -> None:
    start, body = handler.asked()
    handler.begin(start, body, bytes(len(body)))


def status(code: int) -> Answer:
    def answer(handler: Handler) -> None:
        handler.reply(code, {"Content-Length": 0})

    return answer


def redirect(to: str, code: int = 302) -> Answer:
    def answer(handler: Handler) -> None:
        handler.reply(code, {"Location": to, "Content-Length": 0})

    return answer


def without_length(extra: bytes = b"") -> Answer:
    """Send the file and ``extra``, and mark the end by closing the connection."""

    def answer(handler: Handler) -> None:
        handler.reply(200, {}, handler.server.content + extra)

    return answer


def chunked(keep: int) -> Answer:
    """Send the first ``keep`` bytes in chunks, then close without the last chunk."""

    def answer(handler: Handler) -> None:
        handler.protocol_version = "HTTP/1.1"
        body = handler.server.content[:keep]
        handler.reply(
            200, {"Transfer-Encoding": "chunked"}, b"%x\r\n%b\r\n" % (len(body), body), etag=None
        )
        handler.close_connection = True

    return answer


def another_range(handler: Handler) -> None:
    """Answer with the first bytes, whichever were asked for."""
    body = handler.server.content
    headers = {"Content-Length": 4, "Content-Range": f"bytes 0-3/{len(body)}"}
    handler.reply(206, headers, body[:4])


def declaring(size: int) -> Answer:
    """Declare ``size`` bytes and send few."""

    def answer(handler: Handler) -> None:
        handler.reply(200, {"Content-Length": size}, b"few")

    return answer


@contextmanager
def serve(content: bytes) -> Iterator[Server]:
    with Server(content) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.closing.set()
            server.shutdown()
            thread.join()
