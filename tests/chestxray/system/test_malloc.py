"""What is freed goes back to the system, or stays, as it was asked for."""

import subprocess
import sys

import pytest

from tests.repository import TOP

MEASURE = """
import resource
import numpy as np
from chestxray.system.malloc import set_heap
set_heap(kept_block={kept}, kept_end=2 * {kept})
faults = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_minflt
np.ones(8_000_000, np.uint8)
before = faults()
for _ in range(10):
    np.ones(8_000_000, np.uint8)
print(faults() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is set")
def test_kept_blocks_are_not_asked_for_again() -> None:
    kept, returned = (
        int(subprocess.run([sys.executable, "-c", MEASURE.format(kept=size)], capture_output=True, check=True).stdout)
        for size in (30_000_000, 1_000_000)
    )
    assert kept < returned / 4


HOLES = """
from pathlib import Path
from chestxray.system.malloc import give_back_free_memory, set_heap
set_heap(kept_block=30_000_000, kept_end=200_000_000)
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])
blocks = [bytes(100_000) for _ in range(400)]
at_the_end = bytes(100_000)
before = resident()
del blocks
freed = resident()
give_back_free_memory()
print(before, freed, resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc is set")
def test_holes_in_the_heap_go_back_when_asked() -> None:
    said = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, check=True).stdout
    before, freed, after = map(int, said.split())
    assert after < freed - 4_000 and after < before - 4_000  # pages


def test_a_stage_gives_back_the_memory_of_tables_it_has_read() -> None:
    """Arrow's own pool keeps it: 60 MiB of the table of 112,120 studies."""
    asked = "import stages, pyarrow; print(pyarrow.default_memory_pool().backend_name)"
    said = subprocess.run([sys.executable, "-c", asked], cwd=TOP, capture_output=True, check=True, text=True).stdout
    assert said.strip() == "system"
