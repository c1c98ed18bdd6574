"""Arrays that grow on disk."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chestxray.system.npy import HEADER_BYTES, ArrayFile

ROWS = np.arange(60, dtype=np.float16).reshape(10, 2, 3)


def write(path: Path, rows: np.ndarray) -> None:
    with ArrayFile(path, (2, 3), np.float16) as file:
        for row in rows:
            file.append(row[None])


def test_what_is_appended_is_what_numpy_reads(tmp_path: Path) -> None:
    for count in (0, 1, 10):
        write(tmp_path / f"{count}.npy", ROWS[:count])
        read = np.load(tmp_path / f"{count}.npy", mmap_mode="r") if count else np.load(tmp_path / "0.npy")
        assert np.array_equal(read, ROWS[:count]) and read.shape == (count, 2, 3)


@settings(max_examples=40, deadline=None)
@given(kept=st.integers(0, HEADER_BYTES + ROWS.nbytes))
def test_a_file_cut_anywhere_is_taken_up_again(kept: int, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("cut") / "a.npy"
    write(path, ROWS)
    whole = path.read_bytes()
    path.write_bytes(whole[:kept])
    with ArrayFile(path, (2, 3), np.float16) as file:
        assert file.rows == max(0, kept - HEADER_BYTES) // 12
        file.append(ROWS[file.rows :])
    assert path.read_bytes() == whole


def test_truncating_forgets_later_rows(tmp_path: Path) -> None:
    write(tmp_path / "a.npy", ROWS)
    with ArrayFile(tmp_path / "a.npy", (2, 3), np.float16) as file:
        file.truncate(4)
    assert np.array_equal(np.load(tmp_path / "a.npy"), ROWS[:4])


def test_rows_of_another_shape_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\) given"), ArrayFile(tmp_path / "a.npy", (2, 3), np.float16) as file:
        file.append(np.zeros((1, 3, 2)))
