"""Children end when their parent is killed."""

import subprocess
import sys
import textwrap
import time
from pathlib import Path

from benchmarks.process import DEADLINE, family

POOL = """
    import time
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context
    from chestxray.system.parent import end_with_parent

    if __name__ == "__main__":
        with ProcessPoolExecutor(2, get_context("spawn"), initializer=end_with_parent) as pool:
            list(pool.map(abs, range(2)))
            print("working", flush=True)
            list(pool.map(time.sleep, [600, 600]))
"""
CHILD = """
    import subprocess, sys
    code = "from chestxray.system.parent import end_with_parent; import time; end_with_parent()"
    child = subprocess.Popen([sys.executable, "-c", code + "; print('working', flush=True); time.sleep(600)"])
    child.wait()
"""


LATE = "from chestxray.system.parent import end_with_parent; import time; end_with_parent({0}); time.sleep(600)"
"""A child that follows a process which has ended before it asks."""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def children_end(script: Path) -> None:
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout and process.stdout.readline() == "working\n"
        children = family(process.pid)[1:]
        assert children
        process.kill()
        process.stdout.close()
    end = time.monotonic() + DEADLINE
    while any(map(runs, children)):
        assert time.monotonic() < end, "a child stayed"
        time.sleep(0.05)


def test_workers_of_a_pool_end_with_it(tmp_path: Path) -> None:
    (tmp_path / "pool.py").write_text(textwrap.dedent(POOL))
    children_end(tmp_path / "pool.py")


def test_a_child_ends_whose_parent_ended_before_it_asked() -> None:
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    assert subprocess.run([sys.executable, "-c", LATE.format(ended.pid)], timeout=DEADLINE, check=False).returncode == 1


def test_a_child_ends_with_its_parent(tmp_path: Path) -> None:
    (tmp_path / "child.py").write_text(textwrap.dedent(CHILD))
    children_end(tmp_path / "child.py")
