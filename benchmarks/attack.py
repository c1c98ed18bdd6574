"""Attack a real server process, and measure what others notice of it: `python -m benchmarks.attack`."""

import argparse
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image

from benchmarks.client import FORM, PREDICT, Client, form
from benchmarks.machine import machine
from benchmarks.process import DEADLINE, TOP, Server, may_open, serving
from benchmarks.table import publish
from chestxray.imaging.radiograph import MAX_PIXELS
from tests.serve.files import JPEG, PNG, chunk, encoded

DESCRIPTORS = (64, 1024)
"""How many files the process may open, and as many connections are held."""
EVERY = 0.01
"""Seconds between probes."""

HEAD = f"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: {FORM['Content-Type']}\r\nContent-Length: 9999\r\n\r\n"
HELD = {
    "idle connections": b"",
    "half a request line": b"GET /liv",
    "half a head": b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: 1",
    "uploads that stall": HEAD.encode(),
    "answers that nobody reads": b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n",
}
"""What a client says and then no more."""
UPLOAD = HEAD.replace("9999", "2000000").encode()
"""Of an upload whose body may come."""
LARGE = b"GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n"
"""A request for a megabyte."""
OTHERS = ("127.0.0.2", "127.0.0.3")
"""Addresses that are not the probes'."""
UNREAD = {64: 24, 1024: 700}
"""Clients that read nothing, by descriptors."""


class Outcome(NamedTuple):
    """What others notice of an attack.

    Attributes:
        status: of the answer: of a file its own, of held connections that of a prediction meanwhile.
        seconds: until it came; of stalled uploads, with the refusals before it.
        livez_milliseconds: the slowest answer of `/livez` meanwhile.
        log_kibibytes: written meanwhile.
    """

    status: int
    seconds: float
    livez_milliseconds: float
    log_kibibytes: float


def connected(server: Server, said: bytes = b"", source: str = "127.0.0.1") -> socket.socket:
    """Connect from an address, and say something."""
    client = socket.create_connection(("127.0.0.1", server.port), DEADLINE, (source, 0))
    with suppress(ConnectionError):  # it may have had to make room already
        client.sendall(said)
    return client


@contextmanager
def held(server: Server, count: int, said: bytes) -> Iterator[list[socket.socket]]:
    """Hold so many connections while the block runs."""
    with ExitStack() as stack:
        yield [stack.enter_context(connected(server, said)) for _ in range(count)]


@contextmanager
def reopening(server: Server, count: int, said: bytes, drip: bytes, sources: Sequence[str]) -> Iterator[None]:
    """Have clients begin an upload, go on with it for a second and a half, and begin again, while the block runs."""
    done = threading.Event()

    def attack(number: int) -> None:
        while not done.is_set():
            with suppress(OSError), connected(server, said, sources[number % len(sources)]) as client:
                client.settimeout(1.0)
                for _ in range(15):
                    if drip:
                        client.sendall(drip)
                    if done.wait(0.1):
                        return

    with ThreadPoolExecutor(count) as threads:
        for number in range(count):
            threads.submit(attack, number)
        time.sleep(2.5)  # until all places are theirs
        try:
            yield
        finally:
            done.set()


@contextmanager
def unread(server: Server, count: int, sources: Sequence[str]) -> Iterator[None]:
    """Have clients ask for large answers, read none, and come again when they are cut, while the block runs."""
    done, all_came = threading.Event(), threading.Event()

    def connect(source: str) -> socket.socket:
        client = socket.socket()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.bind((source, 0))
        with suppress(ConnectionError):
            client.connect(("127.0.0.1", server.port))
            client.sendall(LARGE * 6)
        return client

    def attack() -> None:
        clients = [connect(sources[number % len(sources)]) for number in range(count)]
        while not done.wait(0.1):
            all_came.set()
            for place, client in enumerate(clients):
                if closed(client):
                    client.close()
                    clients[place] = connect(sources[place % len(sources)])
        for client in clients:
            client.close()

    attacker = threading.Thread(target=attack)
    attacker.start()
    try:
        all_came.wait(DEADLINE)
        yield
    finally:
        done.set()
        attacker.join()


def closed(client: socket.socket) -> bool:
    """Say whether the server has ended a connection."""
    client.setblocking(False)
    try:
        return client.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def large_files() -> dict[str, bytes]:
    """Make files that cost a decoder more than their bytes, or as much as any may."""
    side = int(MAX_PIXELS**0.5)
    deep = np.random.default_rng(0).integers(65536, size=(side, side), dtype=np.uint16)
    grey = Image.fromarray(deep.astype(np.uint8))
    return {
        "JPEG, 15 MB of fill bytes": JPEG[:2] + b"\xff" * 15_000_000 + JPEG[2:],
        "JPEG, 15 MB of restart markers": JPEG[:-2] + b"\xff\xd0" * 7_500_000 + JPEG[-2:],
        "PNG, 17 MB of empty chunks": PNG[:33] + chunk(b"IDAT", b"") * 1_400_000 + PNG[33:],
        "PNG, a million texts": PNG[:33] + chunk(b"tEXt", b"k\0v") * 1_000_000 + PNG[33:],
        "JPEG, lossless, 16 bits, 40 megapixels": bytes(imagecodecs.jpeg8_encode(deep, lossless=True)),
        "JPEG, progressive, 40 megapixels": encoded(grey, "JPEG", progressive=True),
        "PNG, 40 megapixels": encoded(grey, compress_level=0),
    }


def predict_during(server: Server, attack: AbstractContextManager[object]) -> Outcome:
    """Ask for a prediction while an attack goes on."""
    with attack:
        return _watched(server, lambda: _predicted(server))


def send(server: Server, file: bytes) -> Outcome:
    """Send a file."""

    def sent() -> int:
        with Client(server.port, DEADLINE) as client:
            return client.post(PREDICT, form(file)).status

    return _watched(server, sent)


def _predicted(server: Server) -> int:
    """Ask for a prediction until there is room for it."""
    while True:
        with Client(server.port, DEADLINE) as client:
            status = client.post(PREDICT, form(PNG)).status
        if status != 503:
            return status
        time.sleep(EVERY)


def _watched(server: Server, attack: Callable[[], int]) -> Outcome:
    """Attack, while probes come each by a connection of its own."""
    written = server.log.stat().st_size
    done = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        slowest = threads.submit(_slowest_probe, server, done)
        started = time.perf_counter()
        try:
            status = attack()
        finally:
            seconds = time.perf_counter() - started
            done.set()
    return Outcome(status, seconds, 1000 * slowest.result(), (server.log.stat().st_size - written) / 1024)


def _slowest_probe(server: Server, done: threading.Event) -> float:
    seconds: list[float] = []
    while not seconds or not done.wait(EVERY):
        started = time.perf_counter()
        with Client(server.port, DEADLINE) as client:
            client.get("/livez")
        seconds.append(time.perf_counter() - started)
    return max(seconds)


def outcomes(bundle: Path, files: Mapping[str, bytes]) -> dict[str, Outcome]:
    """Run all attacks."""
    found = {}
    for descriptors in DESCRIPTORS:
        settings = {"head_seconds": DEADLINE, "transfer_seconds": DEADLINE}  # the bounds alone make room
        launcher = may_open(descriptors)
        with tempfile.TemporaryDirectory() as folder, serving(Path(folder), bundle, *launcher, **settings) as server:
            send(server, PNG)
            for name, said in HELD.items():
                found[f"{descriptors:,} {name}"] = predict_during(server, held(server, descriptors, said))
            count = UNREAD[descriptors]
            for sources in (["127.0.0.1"], OTHERS):
                name = f"{count} that ask for large answers and read none, {descriptors:,} descriptors, {sources[0]}"
                found[name] = predict_during(server, unread(server, count, sources))
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), bundle) as server:
        send(server, PNG)
        for name, drip in {"heads": b"", "drips": bytes(7_000)}.items():
            for sources in (["127.0.0.1"], OTHERS):
                attack = reopening(server, 64, UPLOAD + form(PNG)[:200] if drip else UPLOAD, drip, sources)
                found[f"64 uploads that begin again, {name}, {sources[0]}"] = predict_during(server, attack)
        for name, file in files.items():
            found[f"{name} ({len(file) / 1e6:.0f} MB)"] = send(server, file)
    return found


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", type=Path, default=TOP / "models" / "bundle")
    parser.add_argument("--out", type=Path, help="a folder for attack.md and attack.json")
    options = parser.parse_args()
    found = outcomes(options.bundle, large_files())
    rows = [
        {
            "attack": name,
            "status": str(outcome.status),
            "s": f"{outcome.seconds:.2f}",
            "slowest /livez, ms": f"{outcome.livez_milliseconds:.0f}",
            "log, KiB": f"{outcome.log_kibibytes:.0f}",
        }
        for name, outcome in found.items()
    ]
    record = {"outcomes": {name: outcome._asdict() for name, outcome in found.items()}}
    publish("attack", f"Attacks on the service; {machine()}", rows, record, options.out)


if __name__ == "__main__":
    main()
