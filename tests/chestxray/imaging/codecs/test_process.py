"""Codecs decode in a process that is kept, stopped where it would not end, and replaced where it died."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from chestxray.imaging.codecs import process as codec_process
from chestxray.imaging.codecs import worker as codec_worker
from chestxray.imaging.codecs.process import CodecError, CodecPool, CodecProcess
from chestxray.imaging.radiograph import RadiographError
from tests.dicom_files import encoded
from tests.repository import TOP

PIXELS = np.random.default_rng(0).integers(4096, size=(64, 48), dtype=np.uint16)
JPEG_LS = encoded("jpegls", PIXELS)
ENDLESS = bytes.fromhex(
    "ffd8fff7000b0c0040003001011100ffda0008010100000000afdfbf77bbf77be77d73c6fb6bde6fddef9df5cf1bedaf"
    "79ce737bdef7ad6b5ad6b560c17bceb8db4cb0bace"
)
"""Found by `make fuzz`: it keeps CharLS in a loop."""


@pytest.fixture
def pool() -> Iterator[CodecPool]:
    pool = CodecPool()
    yield pool
    pool.close()


def pids(pool: CodecPool) -> set[int]:
    return {process.pid for process in pool.processes if process.alive}


def decoded(pool: CodecPool) -> bool:
    return np.array_equal(pool.decode("jpeg-ls", JPEG_LS, 64, 48, 1), PIXELS)


def test_one_process_decodes_one_codestream_after_another(pool: CodecPool) -> None:
    assert pids(pool) == set()
    assert decoded(pool)
    (pid,) = pids(pool)
    assert all(decoded(pool) for _ in range(20)) and pids(pool) == {pid}


def test_it_survives_what_is_damaged_or_of_another_size(pool: CodecPool) -> None:
    assert decoded(pool)
    before = pids(pool)
    with pytest.raises(CodecError):
        pool.decode("jpeg-ls", JPEG_LS[:500], 64, 48, 1)
    with pytest.raises(CodecError):
        pool.decode("jpeg-2000", b"", 64, 48, 1)
    with pytest.raises(RadiographError, match="another size"):
        pool.decode("jpeg-ls", JPEG_LS, 48, 64, 1)
    assert decoded(pool) and pids(pool) == before


def test_a_codestream_that_never_ends_is_stopped(pool: CodecPool) -> None:
    with pytest.raises(RadiographError, match="more time"):
        pool.decode("jpeg-ls", ENDLESS, 64, 48, 1)
    assert decoded(pool)


def test_one_that_takes_gibibytes_is_stopped(pool: CodecPool) -> None:
    vast = encoded("jpegls", np.zeros((1, 65535), np.uint16)).replace(b"\x10\x00\x01\xff\xff", b"\x10\xff\xff\xff\xff")
    with pytest.raises((RadiographError, CodecError)):
        pool.decode("jpeg-ls", vast, 64, 48, 1)
    (process,) = pool.processes
    assert peak(process.pid) < 200
    assert decoded(pool)


def peak(pid: int) -> float:
    """Mebibytes that were resident at most."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGTERM, signal.SIGKILL])
def test_the_death_of_a_process_costs_no_file(pool: CodecPool, number: signal.Signals) -> None:
    """Neither while it is idle nor at work: the file is decoded in another one."""
    assert decoded(pool)
    (first,) = pids(pool)
    os.kill(first, number)
    while first in pids(pool):
        time.sleep(0.01)
    assert decoded(pool)
    (second,) = pids(pool)
    with ThreadPoolExecutor(1) as thread:
        os.kill(second, signal.SIGSTOP)
        waits = thread.submit(decoded, pool)
        time.sleep(0.2)  # it has been asked
        os.kill(second, number)
        os.kill(second, signal.SIGCONT)
        assert waits.result()
    assert second not in pids(pool)


def test_a_codestream_that_crashes_two_processes_is_damaged(pool: CodecPool, monkeypatch: pytest.MonkeyPatch) -> None:
    died: list[int] = []

    def crash(process: CodecProcess, *_: object) -> None:
        died.append(process.pid)
        os.kill(process.pid, signal.SIGSEGV)
        raise process._died()

    with monkeypatch.context() as patch:
        patch.setattr(CodecProcess, "decode", crash)
        with pytest.raises(CodecError, match="crashed"):
            decoded(pool)
    assert len(set(died)) == 2 and decoded(pool)


def test_a_process_that_says_nothing_is_given_up(pool: CodecPool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert decoded(pool)
    (pid,) = pids(pool)
    monkeypatch.setattr(codec_process, "ANSWERS_WITHIN", 0.2)
    os.kill(pid, signal.SIGSTOP)
    with pytest.raises(subprocess.TimeoutExpired):
        decoded(pool)
    monkeypatch.undo()
    assert pids(pool) == set() and decoded(pool)


@pytest.mark.parametrize(
    "reply",
    [b"", bytes([codec_worker.DECODED]), codec_worker.REPLY.pack(codec_worker.DECODED, b"<f8", 1), b"\xff" * 100],
)
def test_a_process_that_answers_nonsense_is_ended(
    pool: CodecPool, reply: bytes, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As a codec might make it that a codestream has taken over."""
    script = f"import os; os.write(0, bytes([0] * 5)); os.read(0, 9); os.write(0, {reply!r}); os.read(0, 1 << 20)"
    (tmp_path / "nonsense.py").write_text(
        script + ("; os._exit(0)" if len(reply) < 5 else "; import time; time.sleep(60)")
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(codec_worker, "__name__", "nonsense")
    with pytest.raises(CodecError):
        decoded(pool)
    assert pids(pool) == set()


def test_a_request_that_is_given_up_leaves_no_answer_for_the_next(
    pool: CodecPool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as at Ctrl-C: its pixels would be taken for those of the next file."""
    assert decoded(pool)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(codec_process.CodecProcess, "_receive", interrupt)
        with pytest.raises(KeyboardInterrupt):
            pool.decode("jpeg-ls", encoded("jpegls", PIXELS[::-1]), 64, 48, 1)
    assert decoded(pool) and decoded(pool)


def test_one_that_does_not_start_is_no_fault_of_the_file(pool: CodecPool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec_worker, "__name__", "there_is_no_such_module")
    with pytest.raises(OSError, match="does not start"):
        decoded(pool)
    monkeypatch.undo()
    assert decoded(pool)


def test_threads_decode_at_the_same_time_and_share_no_process(pool: CodecPool) -> None:
    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(lambda _: decoded(pool), range(200)))
    assert 1 <= len(pids(pool)) <= (os.cpu_count() or 1)


LARGE = np.tile(np.arange(3000, dtype=np.uint16), (3000, 1))
LARGE_JPEG_LS = encoded("jpegls", LARGE)


def test_pixels_stay_as_they_are_whatever_is_decoded_next(pool: CodecPool) -> None:
    """Small ones share a block, that of large ones is made for each."""
    other = encoded("jpegls", PIXELS[::-1])
    answers = [
        pool.decode("jpeg-ls", data, *pixels.shape, 1)
        for data, pixels in ((JPEG_LS, PIXELS), (other, PIXELS), (LARGE_JPEG_LS, LARGE)) * 2
    ]
    for answer, pixels in zip(answers, [PIXELS, PIXELS[::-1], LARGE] * 2, strict=True):
        assert np.array_equal(answer, pixels)
        answer[:] = 0
    assert decoded(pool) and len(pool.processes) == 1


def test_colours_of_a_codestream_that_was_said_to_be_grey_fit(pool: CodecPool) -> None:
    colours = np.arange(2000 * 1500 * 3).reshape(2000, 1500, 3).astype(np.uint8)
    data = encoded("jpegls", colours)
    assert np.array_equal(pool.decode("jpeg-ls", data, 2000, 1500, 1), colours)


def test_memory_of_a_large_frame_goes_back(pool: CodecPool) -> None:
    assert np.array_equal(pool.decode("jpeg-ls", LARGE_JPEG_LS, 3000, 3000, 1), LARGE)
    (process,) = pool.processes
    lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
    assert next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")) < 64
    assert os.fstat(process._block.fileno()).st_blocks == 0


def test_a_large_frame_takes_its_pixels_twice_at_most_when_they_come_back(pool: CodecPool) -> None:
    assert decoded(pool)
    (process,) = pool.processes
    before = peak(process.pid)
    pool.decode("jpeg-ls", LARGE_JPEG_LS, 3000, 3000, 1)
    assert peak(process.pid) - before < 2.5 * LARGE.nbytes / 2**20


@pytest.mark.parametrize("size", [0, PIXELS.nbytes - 1])
def test_a_process_that_cuts_the_block_harms_nobody(
    pool: CodecPool, size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Reading it as mapped memory would end this process."""
    receive = CodecProcess._receive

    def cut(process: CodecProcess, count: int, ends: float) -> bytearray:
        received = receive(process, count, ends)
        os.truncate(f"/proc/{process.pid}/fd/{codec_worker.BLOCK}", size)
        return received

    assert decoded(pool)
    with monkeypatch.context() as patch:
        patch.setattr(CodecProcess, "_receive", cut)
        with pytest.raises(CodecError, match="crashed"):
            decoded(pool)
    assert decoded(pool)


def test_the_process_writes_no_more_into_the_block_than_it_was_given(pool: CodecPool) -> None:
    """It has no right to make files larger."""
    assert decoded(pool)
    (process,) = pool.processes
    assert "Max file size             0 " in Path(f"/proc/{process.pid}/limits").read_text()


def test_a_codestream_of_many_parts_is_sent_whole(pool: CodecPool) -> None:
    parts = [JPEG_LS[place : place + 1] for place in range(len(JPEG_LS))]
    assert len(parts) > 3 * codec_process.PARTS
    assert np.array_equal(pool.decode("jpeg-ls", [b"", *parts, b""], 64, 48, 1), PIXELS)


def test_no_descriptor_is_left(pool: CodecPool) -> None:
    def count() -> int:
        return len(list(Path("/proc/self/fd").iterdir()))

    assert decoded(pool)
    before = count()
    for _ in range(3):
        with pytest.raises(RadiographError):
            pool.decode("jpeg-ls", ENDLESS, 64, 48, 1)
        assert decoded(pool)
    assert count() == before
    pool.close()
    assert count() == before - 2  # the socket and the block


CHILD = f"""
import os, sys, time
import numpy as np
from chestxray.imaging.codecs import process as codec_process
data = bytes.fromhex("{JPEG_LS.hex()}")
decode = lambda: codec_process.decode_in_process("jpeg-ls", data, 64, 48).sum() == {PIXELS.sum()}
ids = lambda: {{process.pid for process in codec_process._pool.processes}}
"""


def run(script: str, folder: Path) -> str:
    """What a process prints that begins with `CHILD`, in a folder without the library."""
    done = subprocess.run(
        [sys.executable, "-X", "dev", "-c", CHILD + script],
        cwd=folder,
        env={"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stderr == ""
    return done.stdout


def test_it_works_in_any_folder_prints_nothing_and_ends_with_its_parent(tmp_path: Path) -> None:
    pid = run("sys.stdout.write(str(*ids()) if decode() else '')", tmp_path)
    assert gone(int(pid))


def test_it_ends_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    script = "decode(); print(*ids(), flush=True); os.kill(os.getpid(), 9)"
    done = subprocess.run(
        [sys.executable, "-c", CHILD + script],
        cwd=tmp_path,
        env={"PYTHONPATH": str(TOP)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == -signal.SIGKILL and gone(int(done.stdout))


def gone(pid: int) -> bool:
    """Whether a process ends within seconds; one that nobody waits for is as good as gone."""
    for _ in range(500):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except OSError:
            return True
        if state == "Z":
            return True
        time.sleep(0.01)
    return False


def test_a_fork_has_a_process_of_its_own(tmp_path: Path) -> None:
    script = """
decode()
before = ids()
if os.fork() == 0:
    descriptors = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    inherited = any("memfd" in os.readlink(path) for path in descriptors if os.path.lexists(path))
    os._exit(not (not inherited and decode() and not ids() & before))
_, status = os.wait()
print(status, decode() and ids() == before)
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CHILD + script],
        cwd=tmp_path, env={"PYTHONPATH": str(TOP)}, capture_output=True, text=True, check=True, timeout=60,
    )  # fmt: skip
    assert done.stdout.split() == ["0", "True"]


def test_the_process_loads_only_what_it_needs() -> None:
    script = "import sys; from chestxray.imaging.codecs import worker as w; w._codecs(); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", script], cwd=TOP, capture_output=True, text=True, check=True)
    assert not {"pydicom", "cv2", "PIL", "pydantic"} & set(done.stdout.split())
