"""A server on the loopback that answers as badly as a test asks for."""

import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

Answer = Callable[[BaseHTTPRequestHandler, bytes], None]


class Loopback(ThreadingHTTPServer):
    """Serves `files`; the next request for a name is answered by the first of `answers[name]`, then by `ranges`.

    `requests` lists (name, Range header) in order.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files: dict[str, bytes] = {}
        self.answers: defaultdict[str, deque[Answer]] = defaultdict(deque)
        self.default: Answer = ranges
        self.requests: list[tuple[str, str | None]] = []
        self.stopped = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def requested(self, name: str) -> list[str | None]:
        return [header for requested, header in self.requests if requested == name]

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that go away are what these tests are about."""


class _Handler(BaseHTTPRequestHandler):
    server: Loopback

    def do_GET(self) -> None:
        name = self.path.lstrip("/")
        self.server.requests.append((name, self.headers["Range"]))
        answers = self.server.answers[name]
        answer = answers.popleft() if answers else self.server.default
        answer(self, self.server.files[name])

    def log_message(self, format: str, *arguments: object) -> None:
        pass


@contextmanager
def serving() -> Iterator[Loopback]:
    with Loopback() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.stopped.set()
            server.shutdown()
            thread.join()


def ranges(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Answers as a good server does."""
    ranges_dropped_after(len(content))(request, content)


def ranges_dropped_after(count: int) -> Answer:
    """Knows ranges, and hangs up after `count` bytes of the body."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        start = int((request.headers["Range"] or "bytes=0-").removeprefix("bytes=").rstrip("-"))
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        request.wfile.write(content[start : start + count])

    return answer


def no_ranges(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Sends everything, whatever was asked for."""
    no_ranges_dropped_after(len(content))(request, content)


def no_ranges_dropped_after(count: int) -> Answer:
    """Ignores ranges, and hangs up after `count` bytes."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[:count])

    return answer


def without_length(count: int) -> Answer:
    """Sends `count` bytes without saying how many there are."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_response(200)
        request.end_headers()
        request.wfile.write(content[:count])

    return answer


def instead(other: bytes, content_type: str = "application/gzip") -> Answer:
    """Sends something else."""

    def answer(request: BaseHTTPRequestHandler, content: bytes) -> None:
        request.send_response(200)
        request.send_header("Content-Type", content_type)
        request.send_header("Content-Length", str(len(other)))
        request.end_headers()
        request.wfile.write(other)

    return answer


def status(code: int) -> Answer:
    """Refuses."""
    return lambda request, content: request.send_error(code)


def stalls(request: BaseHTTPRequestHandler, content: bytes) -> None:
    """Sends half, then nothing, and keeps the line open for a minute, or until the server stops."""
    assert isinstance(request.server, Loopback)
    request.send_response(200)
    request.send_header("Content-Length", str(len(content)))
    request.end_headers()
    request.wfile.write(content[: len(content) // 2])
    request.wfile.flush()
    request.server.stopped.wait(60)
