"""Send requests to a server on the loopback over one connection that stays open."""

import json
import time
from collections.abc import Mapping
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, NamedTuple, Self

BOUNDARY = "chestxray-boundary"
FORM = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
PREDICT = "/predict"


class Answer(NamedTuple):
    """An answer, and the seconds from sending to the last byte."""

    status: int
    body: bytes
    seconds: float

    def json(self) -> Any:
        """Parse the body."""
        return json.loads(self.body)


class Client:
    """A connection to a port of the loopback.

    Args:
        port: of the server.
        timeout: seconds for an answer.
    """

    def __init__(self, port: int, timeout: float = 60.0) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=timeout)

    def get(self, path: str) -> Answer:
        """Send a GET request."""
        return self._ask("GET", path, None, {})

    def post(self, path: str, body: bytes, headers: Mapping[str, str] = FORM) -> Answer:
        """Send a POST request with a body, by default a form."""
        return self._ask("POST", path, body, headers)

    def _ask(self, method: str, path: str, body: bytes | None, headers: Mapping[str, str]) -> Answer:
        started = time.perf_counter()
        try:
            self._connection.request(method, path, body, headers)
            response = self._connection.getresponse()
            content = response.read()
        except BaseException:  # re-raised; a connection in the middle of an answer can't be used again
            self._connection.close()
            raise
        return Answer(response.status, content, time.perf_counter() - started)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._connection.close()


def form(*files: bytes, name: str = "radiograph.png") -> bytes:
    """Return the body of a form with files, all under the field name `file`."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
    return b"".join(head + file + b"\r\n" for file in files) + f"--{BOUNDARY}--\r\n".encode()
