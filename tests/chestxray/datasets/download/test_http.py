"""Downloads end whole and verified, or as an error with nothing half-written under the file's name."""

import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from chestxray.datasets.download.http import CHUNK, MAX_FAILURES, DownloadError, RemoteFile, download
from tests.chestxray.loopback import (
    Answer,
    Loopback,
    instead,
    no_ranges,
    no_ranges_dropped_after,
    ranges_dropped_after,
    serving,
    stalls,
    status,
    without_length,
)

CONTENT = random.Random(0).randbytes(3 * CHUNK + 12_345)
OTHER = bytes(len(CONTENT))


class Pauses(list[int]):
    def __call__(self, failures: int) -> None:
        self.append(failures)
        assert len(self) < 50, "retries without bound"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as server:
        server.files["file"] = CONTENT
        yield server


@pytest.fixture
def pauses() -> Pauses:
    return Pauses()


def remote(server: Loopback) -> RemoteFile:
    return RemoteFile("file", f"{server.url}/file", len(CONTENT), (f"md5:{hashlib.md5(CONTENT).hexdigest()}",))  # noqa: S324 - as NIH does


def bring(server: Loopback, folder: Path, pauses: Pauses, *answers: Answer) -> bytes:
    """Downloads against these answers; whatever happens, only the whole file may be under its name."""
    server.answers["file"].extend(answers)
    path = folder / "file"
    try:
        download(remote(server), path, pauses, timeout=60.0)
    except DownloadError:
        assert not path.exists()
        raise
    assert [file.name for file in folder.iterdir()] == ["file"]
    return path.read_bytes()


def test_brings_a_file_and_does_not_ask_again(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    assert bring(server, tmp_path, pauses) == CONTENT
    assert bring(server, tmp_path, pauses) == CONTENT
    assert server.requests == [("file", None)]
    assert pauses == []


def test_a_damaged_file_is_replaced(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    (tmp_path / "file").write_bytes(OTHER)
    assert bring(server, tmp_path, pauses) == CONTENT


def test_goes_on_where_the_connection_dropped(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    assert bring(server, tmp_path, pauses, ranges_dropped_after(1000), ranges_dropped_after(CHUNK)) == CONTENT
    assert server.requested("file") == [None, "bytes=1000-", f"bytes={CHUNK + 1000}-"]


def test_starts_again_where_the_server_does_not_know_ranges(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    assert bring(server, tmp_path, pauses, no_ranges_dropped_after(2000), no_ranges) == CONTENT
    assert server.requested("file") == [None, "bytes=2000-"]


def test_a_later_run_goes_on(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    with pytest.raises(DownloadError, match=rf"500.*{CHUNK:,} of {len(CONTENT):,} bytes are here"):
        bring(server, tmp_path, pauses, ranges_dropped_after(CHUNK), *[status(500)] * MAX_FAILURES)
    assert bring(server, tmp_path, pauses) == CONTENT
    assert server.requested("file")[-1] == f"bytes={CHUNK}-"


def test_server_errors_are_retried_with_growing_pauses(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    assert bring(server, tmp_path, pauses, status(500), status(503), status(429)) == CONTENT
    assert pauses == [1, 2, 3]


def test_retries_are_bounded(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    server.default = status(500)
    with pytest.raises(DownloadError, match="500"):
        bring(server, tmp_path, pauses)
    assert len(server.requests) == MAX_FAILURES
    assert pauses == [1, 2, 3, 4]


def test_retries_are_bounded_when_each_brings_a_byte(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    server.default = ranges_dropped_after(1)
    with pytest.raises(DownloadError, match=f"connection ended at {MAX_FAILURES} of"):
        bring(server, tmp_path, pauses)


def test_retries_are_bounded_without_ranges(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    server.default = no_ranges_dropped_after(2 * CHUNK)
    with pytest.raises(DownloadError, match="connection ended"):
        bring(server, tmp_path, pauses)
    assert len(server.requests) <= MAX_FAILURES + 1


def test_progress_renews_the_patience(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    patience_lost = [status(500)] * (MAX_FAILURES - 2)
    answers = [ranges_dropped_after(CHUNK), *patience_lost] * 3
    assert bring(server, tmp_path, pauses, *answers) == CONTENT


def test_an_address_that_is_gone_is_not_retried(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    with pytest.raises(DownloadError, match=r"404.*put it at"):
        bring(server, tmp_path, pauses, status(404))
    assert len(server.requests) == 1


def test_a_range_that_cannot_be_satisfied_starts_again(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    assert bring(server, tmp_path, pauses, ranges_dropped_after(1000), status(416)) == CONTENT
    assert server.requested("file") == [None, "bytes=1000-", None]


def test_a_part_of_another_file_ends_right(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    (tmp_path / "file.part").write_bytes(b"another file")
    assert bring(server, tmp_path, pauses) == CONTENT
    assert server.requested("file") == ["bytes=12-", None]


def test_a_part_that_is_too_long_ends_right(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    (tmp_path / "file.part").write_bytes(CONTENT + b"!")
    assert bring(server, tmp_path, pauses) == CONTENT


def test_a_wrong_checksum_is_an_error_at_once_and_nothing_is_kept(
    server: Loopback, tmp_path: Path, pauses: Pauses
) -> None:
    with pytest.raises(DownloadError, match=r"wrong checksum.*expected md5:.*given md5:"):
        bring(server, tmp_path, pauses, instead(OTHER))
    assert list(tmp_path.iterdir()) == []
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (instead(CONTENT[:-1]), f"something else.*{len(CONTENT) - 1}; expected {len(CONTENT)}"),
        (instead(CONTENT + b"!"), "something else"),
        (instead(b"<html>sign in</html>", "text/html"), "something else.*text/html"),
        (without_length(1000), "connection ended at 1,000 of"),
    ],
    ids=["shorter", "longer", "web page", "truncated without a length"],
)
def test_what_is_not_the_file_is_an_error(
    answer: Answer, said: str, server: Loopback, tmp_path: Path, pauses: Pauses
) -> None:
    server.default = answer
    with pytest.raises(DownloadError, match=said):
        bring(server, tmp_path, pauses)


def test_a_web_page_in_between_does_not_cost_what_is_there(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    page = instead(b"<html>busy</html>", "text/html")
    assert bring(server, tmp_path, pauses, ranges_dropped_after(1000), page) == CONTENT
    assert server.requested("file") == [None, "bytes=1000-", "bytes=1000-"]


def test_no_more_than_the_size_is_read(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    server.files["file"] = CONTENT + OTHER
    assert bring(server, tmp_path, pauses, without_length(2 * len(CONTENT))) == CONTENT


def test_a_stalled_server_times_out(server: Loopback, tmp_path: Path, pauses: Pauses) -> None:
    server.default = stalls
    with pytest.raises(DownloadError, match="timed out"):
        download(remote(server), tmp_path / "file", pauses, timeout=0.05)
    assert len(pauses) <= MAX_FAILURES


def test_no_server(tmp_path: Path, pauses: Pauses) -> None:
    with serving() as server:
        file = remote(server)
    with pytest.raises(DownloadError, match="refused"):
        download(file, tmp_path / "file", pauses)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://127.0.0.1/file", "file"])
def test_only_http(url: str) -> None:
    with pytest.raises(ValueError, match="expected http"):
        RemoteFile("file", url, 1, ("md5:0",))
