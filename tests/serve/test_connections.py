"""Clients that hold connections leave room for others; each test has a real server process."""

import socket
from pathlib import Path

import pytest

from benchmarks.attack import HELD, OTHERS, UPLOAD, closed, connected, held, reopening, unread
from benchmarks.client import FORM, PREDICT, Client, form
from benchmarks.process import DEADLINE, Server, may_open, serving
from tests.serve.files import PNG
from tests.serve.waiting import wait_until

pytestmark = pytest.mark.slow
SOON = 20.0
"""Seconds in which an answer comes while connections are held, on a busy machine too."""


def ask(server: Server, path: str, body: bytes | None = None) -> int:
    """The status of an answer that comes soon, to a connection of its own."""
    with Client(server.port, SOON) as client:
        return (client.get(path) if body is None else client.post(path, body)).status


@pytest.mark.parametrize("descriptors", [64, 1024])
def test_connections_that_are_held_leave_room(bundle: Path, tmp_path: Path, descriptors: int) -> None:
    with serving(tmp_path, bundle, *may_open(descriptors), head_seconds=DEADLINE, transfer_seconds=DEADLINE) as server:
        for said in HELD.values():
            with held(server, descriptors, said):
                assert ask(server, "/livez") == 200
                # Uploads may be slow for a while.
                wait_until(lambda: ask(server, PREDICT, form(PNG)) == 200, "no prediction")
                assert ask(server, "/livez") == 200
                assert server.descriptors() < descriptors
        assert server.log.stat().st_size < 1024 * 1024
        assert b"system resource" not in server.log.read_bytes()


def test_who_says_nothing_or_little_is_cut(bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, bundle, head_seconds=0.5, transfer_seconds=0.5) as server:
        with connected(server) as idle, connected(server, b"GET /") as dripping:

            def drip() -> bool:
                try:
                    dripping.send(b"x")
                except ConnectionError:
                    return True
                return closed(dripping)

            wait_until(lambda: closed(idle), "an idle connection stayed")
            wait_until(drip, "a head without an end stayed")
        with Client(server.port) as client:
            assert b'connections_cut_total{reason="too-slow"} 2.0' in client.get("/metrics").body


def test_who_drips_after_a_refusal_or_reads_no_answer_is_cut(bundle: Path, tmp_path: Path) -> None:
    with serving(tmp_path, bundle, transfer_seconds=0.5, max_body_bytes=50_000) as server:
        begun = server.descriptors()
        large = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n"
        with held(server, 1, large) as (dripping,), held(server, 4, HELD["answers that nobody reads"] * 1000):

            def drip() -> bool:
                try:
                    dripping.send(b"x")
                except ConnectionError:
                    return True
                return False

            wait_until(drip, "a refused upload stayed")
            wait_until(lambda: server.descriptors() <= begun, "answers that nobody reads stayed")


@pytest.mark.parametrize(("proxies", "stay"), [("[]", 8), ('["127.0.0.1"]', 16)])
def test_one_address_has_half_of_the_connections_unless_it_is_a_proxy(
    bundle: Path, tmp_path: Path, proxies: str, stay: int
) -> None:
    settings = {"max_connections": 16, "head_seconds": DEADLINE, "trusted_proxies": proxies}
    with (
        serving(tmp_path, bundle, **settings) as server,
        connected(server, source="127.0.0.2") as other,
        held(server, 40, b"") as clients,
    ):
        wait_until(lambda: sum(map(closed, clients)) == 40 - stay, f"not {stay} connections")
        assert closed(other) == (stay == 16)


def test_a_client_that_has_said_all_gets_its_answer(bundle: Path, tmp_path: Path) -> None:
    body = form(PNG)
    head = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body)}"
    two = (b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n", head.encode() + b"\r\n\r\n" + body)
    with serving(tmp_path, bundle) as server, connected(server, b"".join(two)) as client:
        client.shutdown(socket.SHUT_WR)
        answers = b"".join(iter(lambda: client.recv(65536), b""))
    assert answers.count(b"HTTP/1.1 200 OK") == 2 and b'"predicted_labels"' in answers


def test_too_few_descriptors_stop_the_start(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="ulimit -n"), serving(tmp_path, bundle, *may_open(40)):
        pass


SMALL = form(PNG)
ELSEWHERE = (["127.0.0.2"], OTHERS)


@pytest.mark.parametrize("drip", [b"", bytes(7_000)], ids=["heads", "drips"])
@pytest.mark.parametrize(
    "sources", [["127.0.0.1"], *(pytest.param(each, marks=pytest.mark.heavy) for each in ELSEWHERE)], ids="-".join
)
def test_uploads_that_stall_leave_room_for_others(
    bundle: Path, tmp_path: Path, drip: bytes, sources: list[str]
) -> None:
    said = UPLOAD + SMALL[:200] if drip else UPLOAD
    with serving(tmp_path, bundle) as server, reopening(server, 64, said, drip, sources):
        assert [ask(server, PREDICT, SMALL) for _ in range(8)] == [200] * 8
        assert ask(server, "/livez") == 200


@pytest.mark.parametrize(("descriptors", "count"), [(64, 24), pytest.param(1024, 700, marks=pytest.mark.heavy)])
@pytest.mark.parametrize("sources", [["127.0.0.1"], pytest.param(OTHERS, marks=pytest.mark.heavy)])
def test_large_answers_that_nobody_reads_leave_room(
    bundle: Path, tmp_path: Path, descriptors: int, count: int, sources: list[str]
) -> None:
    with (
        serving(tmp_path, bundle, *may_open(descriptors), transfer_seconds=DEADLINE) as server,
        unread(server, count, sources),
    ):
        assert [ask(server, "/livez") for _ in range(20)] == [200] * 20
        assert ask(server, PREDICT, SMALL) == 200
