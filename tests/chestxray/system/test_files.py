"""Files and folders are written whole or not at all, and reports are the same whenever they hold the same."""

import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from chestxray.system.files import atomic_write, read_json, write_csv, write_json, write_parquet, write_text
from tests.repository import TOP


def write(path: Path, content: str, *, folder: bool) -> None:
    """As a file, or as a folder with one file."""
    with atomic_write(path) as partial:
        if folder:
            partial.mkdir()
        (partial / "a.txt" if folder else partial).write_text(content)


def read(path: Path) -> str:
    return (path / "a.txt" if path.is_dir() else path).read_text()


@pytest.fixture(params=[False, True], ids=["file", "folder"])
def folder(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


def test_what_was_written_takes_its_place_and_nothing_else_is_left(folder: bool, tmp_path: Path) -> None:
    write(tmp_path / "out", "new", folder=folder)
    assert read(tmp_path / "out") == "new" and [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_was_there_is_replaced_whole(folder: bool, tmp_path: Path) -> None:
    write(tmp_path / "out", "old", folder=folder)
    if folder:
        (tmp_path / "out" / "older.txt").write_text("of an earlier run")
    write(tmp_path / "out", "new", folder=folder)
    assert read(tmp_path / "out") == "new"
    assert len(list(tmp_path.rglob("*"))) == 1 + folder


def test_a_folder_may_become_a_file(tmp_path: Path) -> None:
    write(tmp_path / "out", "old", folder=True)
    write(tmp_path / "out", "new", folder=False)
    assert read(tmp_path / "out") == "new"


@pytest.mark.parametrize("failure", [OSError("disk full"), KeyboardInterrupt()], ids=repr)
@pytest.mark.parametrize("exists", [False, True])
def test_a_failure_leaves_what_was_there_and_no_part_of_the_new(
    failure: BaseException, exists: bool, folder: bool, tmp_path: Path
) -> None:
    if exists:
        write(tmp_path / "out", "old", folder=folder)
    with pytest.raises(type(failure)), atomic_write(tmp_path / "out") as partial:
        if folder:
            partial.mkdir()
        (partial / "a.txt" if folder else partial).write_text("half")
        raise failure
    assert [path.name for path in tmp_path.iterdir()] == ["out"] * exists
    assert not exists or read(tmp_path / "out") == "old"


def test_the_old_content_is_there_until_the_block_ends(folder: bool, tmp_path: Path) -> None:
    write(tmp_path / "out", "old", folder=folder)
    with atomic_write(tmp_path / "out") as partial:
        if folder:
            partial.mkdir()
        (partial / "a.txt" if folder else partial).write_text("new")
        assert read(tmp_path / "out") == "old"


@pytest.mark.parametrize("left_folder", [False, True])
def test_what_a_killed_run_left_is_cleared_away(left_folder: bool, folder: bool, tmp_path: Path) -> None:
    with atomic_write(tmp_path / "out") as partial:
        partial.write_text("")
    (tmp_path / "out").unlink()
    if left_folder:
        partial.mkdir()
        (partial / "left.txt").write_text("left")
    else:
        partial.write_text("left")
    write(tmp_path / "out", "new", folder=folder)
    assert read(tmp_path / "out") == "new" and len(list(tmp_path.rglob("*"))) == 1 + folder


def test_the_folders_above_are_made(folder: bool, tmp_path: Path) -> None:
    write(tmp_path / "a" / "b" / "out", "new", folder=folder)
    assert read(tmp_path / "a" / "b" / "out") == "new"


def test_json_is_read_as_it_was_written(tmp_path: Path) -> None:
    value = {"b": 1, "a": [0.1, None, "≥ 3 cm"]}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    text = (tmp_path / "a.json").read_bytes().decode()
    assert text.index('"b"') < text.index('"a"') and "≥" in text and text.endswith("}\n")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_json_has_no_word_for_what_is_not_finite(number: float, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        write_json(tmp_path / "a.json", {"auroc": number})
    assert list(tmp_path.iterdir()) == []


def test_csv_has_six_decimals_and_the_same_bytes_everywhere(tmp_path: Path) -> None:
    write_csv(tmp_path / "a.csv", pd.DataFrame({"finding": ["Mass"], "auroc": [1 / 3]}, index=[7]))
    assert (tmp_path / "a.csv").read_bytes() == b"finding,auroc\nMass,0.333333\n"


def test_parquet_keeps_floats_to_the_bit_and_the_index(tmp_path: Path) -> None:
    table = pd.DataFrame({"logit": [1 / 3, 0.1 + 0.2]}, index=pd.Index(["a", "b"], name="content_hash"))
    write_parquet(tmp_path / "a.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "a.parquet"), table, check_exact=True)


WRITERS = """
import resource, sys
from pathlib import Path
import h5py, numpy as np, pandas as pd
from chestxray.errors import one_line
from chestxray.system.files import atomic_write, write_csv, write_parquet
from chestxray.system.npy import ArrayFile

TABLE = pd.DataFrame({"x": np.random.default_rng(0).random(50_000)})

def h5(path):
    with atomic_write(path) as partial, h5py.File(partial, "w") as file:
        file.create_dataset("0", data=TABLE["x"].to_numpy())

def arrays(path):
    with atomic_write(path) as partial:
        partial.mkdir()
        with ArrayFile(partial / "a.npy", (1,), np.float64) as file:
            file.append(TABLE.to_numpy())
        np.save(partial / "b.npy", TABLE.to_numpy())

resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
for name, write in {
    "a.csv": lambda path: write_csv(path, TABLE), "a.parquet": lambda path: write_parquet(path, TABLE),
    "a.h5": h5, "arrays": arrays,
}.items():
    try:
        write(Path(name))
    except OSError as error:
        print(one_line(error))
"""


def test_where_a_file_does_not_fit_its_name_is_said_and_nothing_is_left(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", WRITERS], cwd=tmp_path, capture_output=True, text=True, check=True)
    said = [line.split(";")[0] for line in done.stdout.splitlines()]
    assert said == [f"File too large: {name}" for name in ("a.csv", "a.parquet", "a.h5", "arrays")], done.stderr
    assert list(tmp_path.iterdir()) == []


def test_text_keeps_its_line_ends(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "één\r\ntwee\n")
    assert (tmp_path / "a.txt").read_bytes() == "één\r\ntwee\n".encode()


def test_neither_dvc_nor_git_looks_at_what_a_killed_run_left() -> None:
    left = "data/raw/.phantom.partial"
    assert subprocess.run(["dvc", "check-ignore", "-q", left], cwd=TOP, check=False).returncode == 0
    assert subprocess.run(["git", "check-ignore", "-q", left], cwd=TOP, check=False).returncode == 0
