"""Download files of known size and digest over connections that break."""

import hashlib
import http.client
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from chestxray.errors import UserError
from chestxray.tracking.progress import progress

MAX_FAILURES = 5
"""Failures in a row, without a MiB of progress between them, after which a download is given up."""
TIMEOUT = 60.0
"""Seconds without a byte."""
CHUNK = 1 << 20
"""Bytes read at a time."""
RETRIED_STATUS = (408, 416, 429)
"""Status codes 4xx that another attempt may mend; the others say that the address is wrong."""


class DownloadError(UserError):
    """A file could not be downloaded. What is there of it is kept, to go on from."""


@dataclass(frozen=True)
class RemoteFile:
    """A file to download.

    Attributes:
        name: of the file once it is here.
        url: its http or https address.
        size: bytes.
        digests: what it may hash to, as `md5:…` or `sha256:…`.
    """

    name: str
    url: str
    size: int
    digests: tuple[str, ...]

    def __post_init__(self) -> None:
        """Refuse another kind of address, such as `file:`."""
        if not self.url.startswith(("https://", "http://")):
            raise UserError(f"address of {self.name}: expected http:// or https://, given {self.url!r}.")


def back_off(failures: int) -> None:
    """Wait 2, 4, 8 … seconds, at most a minute, after so many failures in a row."""
    time.sleep(min(2.0**failures, 60.0))


def is_intact(path: Path, file: RemoteFile) -> bool:
    """Return whether `path` is a file with one of the digests of `file`."""
    return path.is_file() and any(_digest(path, digest.split(":")[0]) == digest for digest in file.digests)


def download(file: RemoteFile, path: Path, pause: Callable[[int], None] = back_off, timeout: float = TIMEOUT) -> None:
    """Download `file` to `path`, which appears whole and verified or not at all.

    Goes on from `<path>.part` when an earlier attempt, or an earlier run, left one and the server knows ranges; see
    docs/decisions/nih-download.md. A `path` that is intact is left alone, without a request.

    Args:
        file: what to download.
        path: where to put it.
        pause: called with the number of failures in a row before each further attempt.
        timeout: seconds without a byte after which an attempt has failed.

    Raises:
        DownloadError: after `MAX_FAILURES` failures in a row, or at once when the address is wrong or a file that came
            in one piece has another digest.
    """
    if is_intact(path, file):
        return
    part = path.with_name(f"{path.name}.part")
    failures = 0
    furthest = 0
    while True:
        try:
            _fetch(file, part, timeout)
            part.replace(path)
        except (OSError, http.client.HTTPException) as error:
            reached = _size(part)
            failures = 1 if reached >= furthest + CHUNK else failures + 1
            furthest = max(furthest, reached)
            if failures >= MAX_FAILURES or _is_final(error):
                raise DownloadError(
                    f"{file.name}: {error}. {reached:,} of {file.size:,} bytes are here. Run the same command again to "
                    f"go on from there, or bring the file yourself and put it at {path}."
                ) from error
            print(f"{file.name}: {error}; trying again", file=sys.stderr, flush=True)
            pause(failures)
        else:
            return


def _fetch(file: RemoteFile, part: Path, timeout: float) -> None:
    """Make one attempt to complete `part`; delete it when it is complete and wrong."""
    have = _size(part)
    if have < file.size:
        _append(file, part, have, timeout)
    if _size(part) < file.size:
        raise OSError(f"the connection ended at {_size(part):,} of {file.size:,} bytes")
    if not is_intact(part, file):
        given = _digest(part, file.digests[0].split(":")[0])
        part.unlink()
        wrong = f"{file.name}: wrong checksum at {file.url}: expected {file.digests[0]}, given {given}"
        if have:  # pieces of several attempts may not fit together
            raise OSError(wrong)
        raise DownloadError(f"{wrong}. Nothing of it was kept. Try another address.")


def _append(file: RemoteFile, part: Path, have: int, timeout: float) -> None:
    """Request what `part` lacks beyond its `have` bytes, and append it; start again where the server sends all."""
    headers = {"User-Agent": "chestxray"} | ({"Range": f"bytes={have}-"} if have else {})
    request = urllib.request.Request(file.url, headers=headers)  # noqa: S310 - RemoteFile allows http and https only
    try:
        response = urllib.request.urlopen(request, timeout=timeout)  # noqa: S310 - as above
    except urllib.error.HTTPError as error:
        if error.code == http.HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            part.unlink(missing_ok=True)
        raise
    with response:
        start = _body_start(response, file, have)
        with part.open("ab" if start else "wb") as out:
            left = file.size - start
            for chunk in progress(_chunks(response, left), file.name, -(-left // CHUNK), "MiB"):
                out.write(chunk)


def _body_start(response: http.client.HTTPResponse, file: RemoteFile, have: int) -> int:
    """Return where the body of the answer starts in the file.

    Raises:
        OSError: the answer is not of this file.
    """
    if response.status == http.HTTPStatus.PARTIAL_CONTENT:
        given = response.headers["Content-Range"]
        expected = f"bytes {have}-{file.size - 1}/{file.size}"
        start = have
    else:
        given = response.headers["Content-Length"]
        expected = str(file.size)
        start = 0
    if given not in (expected, None) or response.headers.get_content_type() == "text/html":
        kind = response.headers.get_content_type()
        raise OSError(f"the server answered with something else ({kind}, {given}; expected {expected})")
    return start


def _chunks(response: http.client.HTTPResponse, left: int) -> Iterator[bytes]:
    while left and (chunk := response.read(min(CHUNK, left))):
        left -= len(chunk)
        yield chunk


def _is_final(error: Exception) -> bool:
    """Return whether another attempt would end the same way."""
    return isinstance(error, urllib.error.HTTPError) and error.code < 500 and error.code not in RETRIED_STATUS


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.new(algorithm, usedforsecurity=False))
    return f"{algorithm}:{digest.hexdigest()}"
