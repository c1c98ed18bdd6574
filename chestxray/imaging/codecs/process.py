"""Decode codestreams in processes that are kept, so that no damaged one can crash, stall or fill this process.

Why, and what it costs: docs/decisions/dicom-codecs.md.
"""

import atexit
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from itertools import islice
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from chestxray.imaging.codecs import worker
from chestxray.imaging.codecs.worker import KEPT_BLOCK, MOST_BYTES, REPLY, REQUEST, TYPES, Codec
from chestxray.imaging.radiograph import RadiographError

Values = npt.NDArray[Any]
Codestream = bytes | Sequence[bytes | memoryview]
"""In one piece or in several, which are not joined here."""

BUFFER = 4 * 2**20
"""Bytes of a codestream that wait for the process at most, if the system allows as many: a film in one go."""

PARTS = 512
"""Of a codestream that are sent at a time: systems allow 1024."""

ANSWERS_WITHIN = 60.0
"""Seconds on a machine that is busy; the process limits its own processor time to less."""

ENDS_WITHIN = 1.0
"""Seconds, once the socket is closed."""


class CodecError(ValueError):
    """The codestream is damaged: its codec said so, or crashed."""


class CrashError(CodecError):
    """The codec crashed, or somebody killed its process."""


REFUSALS: dict[int, Callable[[], Exception]] = {
    worker.DAMAGED: CodecError,
    worker.ANOTHER_SIZE: lambda: RadiographError("the codestream has another size or depth than the header says"),
    worker.NO_MEMORY: lambda: RadiographError("the codestream takes more memory than any of its size"),
}
"""What the outcomes of `chestxray.imaging.codecs.worker` mean."""


class CodecProcess:
    """A process that decodes one codestream at a time; it ends when this process does, or closes it.

    Raises:
        OSError: it does not start.
    """

    def __init__(self) -> None:
        self._owes = False
        self._block = _open_block()
        self._socket, theirs = socket.socketpair()
        for end in (self._socket, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BUFFER)
        environment = {
            "PYTHONPATH": os.pathsep.join(path or os.getcwd() for path in sys.path),  # noqa: PTH109 # as sys.path has it, a text
            "PYTHONDONTWRITEBYTECODE": "1",
            "OPENBLAS_NUM_THREADS": "1",  # more threads would each reserve memory
            "MALLOC_MMAP_THRESHOLD_": str(2**22),  # glibc: memory of more than some megabytes goes back after a frame
            "MALLOC_TRIM_THRESHOLD_": str(2**23),
        }
        command = [sys.executable, "-P", "-m", worker.__name__]
        try:
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    stdin=theirs.fileno(),
                    stdout=self._block.fileno(),
                    stderr=subprocess.DEVNULL,
                    env=environment,
                    process_group=0,  # Ctrl-C in a terminal is for this process, which ends that one
                )
        except OSError:
            self.forget()
            raise
        if self._receive(REPLY.size, time.monotonic() + ANSWERS_WITHIN)[:1] != bytes([worker.READY]):
            self.close()
            raise OSError(errno.ECHILD, "the process for codecs does not start")

    @property
    def pid(self) -> int:
        """Its number."""
        return int(self._process.pid)

    @property
    def alive(self) -> bool:
        """Whether it can decode: it runs, and owes no answer to a request that was given up."""
        return self._process.poll() is None and not self._owes

    def decode(self, codec: Codec, data: Codestream, rows: int, columns: int, components: int) -> Values:
        """Decode a codestream: see `decode_in_process`; where something is raised, the process may be dead."""
        self._owes = True
        ends = time.monotonic() + ANSWERS_WITHIN
        parts = [data] if isinstance(data, bytes) else data
        request = REQUEST.pack(codec.encode(), rows, columns, components, sum(map(len, parts)))
        self._block.truncate(max(rows * columns * MOST_BYTES, KEPT_BLOCK))  # memory is taken for what is written alone
        try:
            self._socket.settimeout(ANSWERS_WITHIN)
            self._send([request, *parts])
        except (BrokenPipeError, ConnectionResetError):
            raise self._died() from None
        except TimeoutError:
            self.close()
            raise subprocess.TimeoutExpired("codec", ANSWERS_WITHIN) from None
        reply = self._receive(REPLY.size, ends)
        outcome, kind, found = REPLY.unpack(reply) if reply else (None, b"", 0)
        if outcome == worker.DECODED and kind in TYPES and found in (1, 3):
            values = np.empty((rows, columns) if found == 1 else (rows, columns, found), TYPES[kind])
            if self._fill(values):
                self._owes = False
                return values
        if outcome not in REFUSALS:
            raise self._died()
        self._owes = False
        raise REFUSALS[outcome]()

    def _send(self, parts: Sequence[bytes | memoryview]) -> None:
        """Send the parts, many at a time: a PNG may have thousands."""
        waiting = deque([memoryview(part) for part in parts])
        while waiting:
            sent = self._socket.sendmsg(islice(waiting, PARTS))
            while waiting and sent >= len(waiting[0]):
                sent -= len(waiting.popleft())
            if sent:
                waiting[0] = waiting[0][sent:]

    def _fill(self, values: Values) -> bool:
        """Copy the pixels of the answer out of the block; return whether they are all there.

        They are read, not mapped: if the other process had cut the block, a mapping would crash this one.
        """
        count = os.preadv(self._block.fileno(), [values.data], 0)
        if values.nbytes > KEPT_BLOCK:
            self._block.truncate(0)
        return count == values.nbytes

    def _receive(self, count: int, ends: float) -> bytearray:
        """Return so many bytes, or none if the process died.

        Raises:
            subprocess.TimeoutExpired: they did not come in time; the process is dead.
        """
        data = bytearray(count)
        rest = memoryview(data)
        while rest:
            try:
                self._socket.settimeout(max(ends - time.monotonic(), 1e-3))
                received = self._socket.recv_into(rest)
            except ConnectionResetError:
                received = 0
            except TimeoutError:
                self.close()
                raise subprocess.TimeoutExpired("codec", ANSWERS_WITHIN) from None
            if received == 0:
                return bytearray()
            rest = rest[received:]
        return data

    def _died(self) -> Exception:
        """Return what its death says of the codestream."""
        status = self.close()
        if status == -signal.SIGPROF:
            return RadiographError("the codestream takes more time than any of its size")
        logging.getLogger(__name__).warning("a codec died: %s", status)
        if status == -signal.SIGKILL:  # by the system, which has no memory left
            return MemoryError()
        return CrashError("crashed")

    def close(self) -> int | None:
        """End the process; return what it died of by itself, None if it had to be killed."""
        self.forget()
        try:
            return int(self._process.wait(ENDS_WITHIN))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return None

    def forget(self) -> None:
        """Leave the process to the one that this was forked from."""
        self._socket.close()
        self._block.close()


def _open_block() -> IO[bytes]:
    """Open a file that has no name, in memory where the system can, to share it with another process."""
    if hasattr(os, "memfd_create"):
        file: IO[bytes] = os.fdopen(os.memfd_create("pixels"), "r+b", buffering=0)
    else:  # macOS
        file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115 # closed by `forget`
    file.truncate(KEPT_BLOCK)
    return file


class CodecPool:
    """As many processes as threads decode at the same time, at most one a core; they are kept.

    Attributes:
        processes: all of them.
    """

    def __init__(self) -> None:
        self.processes: set[CodecProcess] = set()
        self._idle: list[CodecProcess] = []
        self._slots = threading.Semaphore(os.cpu_count() or 1)
        self._lock = threading.Lock()

    def decode(self, codec: Codec, data: Codestream, rows: int, columns: int, components: int) -> Values:
        """Decode in a process that is idle, or in another one if there is none; if it dies, once more in another."""
        with self._slots:
            try:
                return self._decode(codec, data, rows, columns, components)
            except (CrashError, MemoryError):  # it may have been killed, whatever the codestream is
                return self._decode(codec, data, rows, columns, components)

    def _decode(self, codec: Codec, data: Codestream, rows: int, columns: int, components: int) -> Values:
        process = self._take()
        try:
            return process.decode(codec, data, rows, columns, components)
        finally:
            self._idle.append(process)

    def _take(self) -> CodecProcess:
        with self._lock:
            while self._idle:
                process = self._idle.pop()
                if process.alive:
                    return process
                process.close()
                self.processes.discard(process)
        process = CodecProcess()
        with self._lock:
            self.processes.add(process)
        return process

    def close(self) -> None:
        """End all processes."""
        for process in list(self.processes):
            process.close()


_pool = CodecPool()


def _begin_anew() -> None:
    """Leave the processes to the process that this one was forked from."""
    global _pool  # noqa: PLW0603 # the child of a fork has a pool of its own
    for process in _pool.processes:
        process.forget()
    _pool = CodecPool()


os.register_at_fork(after_in_child=_begin_anew)


@atexit.register
def _end() -> None:
    _pool.close()


def decode_in_process(codec: Codec, data: Codestream, rows: int, columns: int, components: int = 1) -> Values:
    """Decode a codestream in a process of its own, which is started by the first and kept for the next.

    Args:
        codec: what decodes it.
        data: the codestream.
        rows: height in pixels.
        columns: width in pixels.
        components: as many as it has at most, for the bounds of time and memory.

    Returns:
        rows × columns or rows × columns × 3; uint8 or uint16, or int8 or int16 where the codestream has signs.

    Raises:
        CodecError: it is damaged.
        RadiographError: it has another size, or takes more time or memory than an image of its size.
        OSError, subprocess.TimeoutExpired: the machine failed, the file may be good.
    """
    return _pool.decode(codec, data, rows, columns, components)
