"""Name the folders that tests read: the repository, and the real data that may lie beside it."""

from pathlib import Path

TOP = Path(__file__).resolve().parents[1]
SHARED = TOP.parent / "shared"
