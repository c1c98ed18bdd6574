"""Runs that are killed, in processes of their own, and go on."""

import os
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from chestxray.cli.main import main
from chestxray.errors import UserError
from chestxray.inference.answer import Model
from chestxray.inference.bundle import Bundle
from chestxray.inference.predictions import ModelInfo
from chestxray.scoring.columns import Row
from chestxray.scoring.heatmap_files import HeatmapFiles
from chestxray.scoring.inputs import find_inputs
from chestxray.scoring.journal import ROWS, Journal, State, file_state
from chestxray.scoring.run import run_digest
from chestxray.scoring.score import Scorer
from chestxray.system.sole_writer import sole_writer
from tests.chestxray.scoring.ward import radiographs
from tests.repository import TOP

DYING = """
import os, signal, sys
from chestxray.cli.main import main
from chestxray.scoring import journal, run, table
place, words = sys.argv[1], sys.argv[2:]
die = lambda: os.kill(os.getpid(), signal.SIGKILL)
Journal = journal.Journal
append, remove, resume, rows = Journal.append, Journal.remove, Journal.resume, Journal.rows
count = 0

def counting_resume(self, files, is_whole):
    global count
    count = resume(self, files, is_whole)
    return count

def dying_append(self, state, row):
    global count
    if place == f"row {count}":
        die()
    append(self, state, row)
    count += 1
    if place == f"half of row {count}":
        self._file.truncate(self._file.tell() - 50)
        die()

def dying_rows(self):
    for number, row in enumerate(rows(self)):
        if place == "table" and number == 20:
            die()
        yield row

def dying_remove(self):
    die() if place == "end" else remove(self)

Journal.append, Journal.resume = dying_append, counting_resume
Journal.rows, Journal.remove = dying_rows, dying_remove
sys.exit(main(words))
"""
"""`chestxray`, which kills itself at a place."""

COMMAND = """
import signal, sys
signal.signal(signal.SIGTERM, signal.SIG_DFL)
from chestxray.cli.main import main
sys.exit(main())
"""
"""`chestxray` as a shell starts it, whatever the tests inherited."""

PLACES = ["row 0", "half of row 7", "row 29", "table", "end"]
COUNT = 30


def start(*words: object, at: str = "", folder: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", DYING, at, "predict", *map(str, words)]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, check=False, timeout=120
    )


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("films")
    radiographs(folder / "in", COUNT - 2)
    (folder / "in" / "damaged.png").write_bytes(b"")
    (folder / "in" / "missing.png").symlink_to("nowhere")
    return folder


def left_over(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".partial"))


@pytest.mark.slow
@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_a_run_that_is_killed_again_and_again_makes_the_same_table(
    films: Path, small_bundle: Path, suffix: str
) -> None:
    common = ("in", "--model", small_bundle, "--heatmaps", f"maps-{suffix}")
    whole = start(*common, "--output", f"whole.{suffix}", folder=films)
    assert whole.returncode == 1, whole.stderr
    expected = (films / f"whole.{suffix}").read_bytes()
    maps = {path: path.read_bytes() for path in (films / f"maps-{suffix}").rglob("*.png")}
    killed = films / f"killed.{suffix}"
    for place in PLACES if suffix == "csv" else ["table"]:
        died = start(*common, "--output", killed.name, at=place, folder=films)
        assert died.returncode == -signal.SIGKILL, died.stderr
        assert killed.exists() == (place == "end")
        assert len(left_over(films)) == 1
    again = start(*common, "--output", killed.name, folder=films)
    assert (again.returncode, again.stdout.replace("killed", "whole")) == (1, whole.stdout), again.stderr
    assert killed.read_bytes() == expected and left_over(films) == []
    assert {path: path.read_bytes() for path in (films / f"maps-{suffix}").rglob("*.png")} == maps and maps


def send_after_the_first_row(number: signal.Signals, words: list[str], folder: Path) -> tuple[int, int]:
    """Run `chestxray`, send it a signal once a row is written, and return its exit code and how many rows there are."""
    command = [sys.executable, "-c", COMMAND, *words]
    (folder / "temporary").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(TOP), "TMPDIR": str(folder / "temporary")}
    with subprocess.Popen(command, cwd=folder, env=environment) as process:
        deadline = time.monotonic() + 60
        while not (journal := next(folder.glob(f".*.csv.*.partial/{ROWS}"), None)) or not journal.stat().st_size:
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        assert list((folder / "temporary").glob("chestxray-*")), "where a model of a registry would be"
        process.send_signal(number)
    return process.returncode, journal.read_bytes().count(b"\n")


@pytest.mark.slow
def test_a_run_that_is_terminated_stops_as_with_ctrl_c_and_leaves_no_model(tmp_path: Path, small_bundle: Path) -> None:
    radiographs(tmp_path / "in", 300)
    words = ["predict", "in", "--model", str(small_bundle), "--output", "ended.csv"]
    code, made = send_after_the_first_row(signal.SIGTERM, words, tmp_path)
    assert code == 130 and 0 < made < 300 and not (tmp_path / "ended.csv").exists()
    assert not list((tmp_path / "temporary").glob("chestxray-*"))


@pytest.mark.slow
def test_a_storage_that_is_silent_does_not_hold_up_who_is_terminated(tmp_path: Path, small_bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(60)
        words = ["predict", "--csv", "s3.csv:path", "--model", str(small_bundle), "--output", "t.csv"]
        (tmp_path / "s3.csv").write_text("path\ns3://archive/x.png\ns3://archive/y.png\n")
        aws = {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b", "TMPDIR": str(tmp_path)}
        aws["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        environment = {**os.environ, "PYTHONPATH": str(TOP), **aws}
        command = [sys.executable, "-c", COMMAND, *words]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=pipe, text=True) as process:
            connection, _ = silent.accept()
            sent = time.monotonic()
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=60)
            connection.close()
    assert process.returncode == 130 and time.monotonic() - sent < 15 and said.endswith("chestxray predict: stopped\n")
    assert not list(tmp_path.glob("chestxray-*"))


@pytest.mark.slow
def test_who_is_terminated_early_shows_no_traceback_and_who_ignores_it_goes_on(
    tmp_path: Path, small_bundle: Path
) -> None:
    radiographs(tmp_path / "in", 2)
    command = [sys.executable, "-c", COMMAND, "predict", "in", "--model", str(small_bundle), "--output", "t.csv"]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    for seconds in (0.1, 0.2, 0.3, 0.4):
        with subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True) as process:
            time.sleep(seconds)
            process.send_signal(signal.SIGTERM)
            said = process.communicate(timeout=60)[1]
        assert process.returncode in (0, 130, -signal.SIGTERM) and "Traceback" not in said
    shell = ["sh", "-c", 'trap "" TERM; exec "$@"', "sh", sys.executable, "-m", "chestxray", *command[3:]]
    with subprocess.Popen(shell, cwd=tmp_path, env=environment) as process:
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
    assert process.returncode == 0


@pytest.mark.parametrize("blocks", [2, 16])
def test_where_a_file_can_not_be_written_in_full_its_place_is_named(
    tmp_path: Path, small_bundle: Path, blocks: int
) -> None:
    """The journal or the table meets the limit, whichever comes first."""
    radiographs(tmp_path / "in", 24)
    limited = ["sh", "-c", f'ulimit -f {blocks}; exec "$@"', "sh", sys.executable, "-c", COMMAND, "predict", "in"]
    command = [*limited, "--model", str(small_bundle), "--output", "t.csv"]
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    said = done.stderr.splitlines()[-1]
    assert done.returncode == 2 and said.startswith("chestxray predict: File too large: ") and "t.csv" in said
    assert not (tmp_path / "t.csv").exists()
    start("in", "--model", small_bundle, "--output", "t.csv", folder=tmp_path)
    assert len((tmp_path / "t.csv").read_text().splitlines()) == 25 and left_over(tmp_path) == []


def test_heatmaps_that_vanish_before_the_table_is_made_are_missed_and_drawn_anew(
    tmp_path: Path, small_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = radiographs(tmp_path / "in", 3)
    maps, table = tmp_path / "maps", tmp_path / "t.csv"
    words = ["predict", str(tmp_path / "in"), "--model", str(small_bundle), "--output", str(table), "--threshold", "0"]
    words += ["--heatmaps", str(maps)]
    append, left = Journal.append, [len(files)]

    def losing_append(self: Journal, state: State, row: Row) -> None:
        append(self, state, row)
        left[0] -= 1
        if left[0] == 0:
            maps.rename(tmp_path / "elsewhere")

    with monkeypatch.context() as patch:
        patch.setattr(Journal, "append", losing_append)
        assert main(words) == 2 and not table.exists()
    assert "some is gone: call again" in capsys.readouterr().err
    assert main(words) == 0
    assert sorted(p.name for p in maps.rglob("*.png")) == sorted(p.name for p in tmp_path.glob("elsewhere/**/*.png"))


@pytest.mark.slow
def test_a_run_that_is_killed_from_outside_goes_on_and_another_one_begins_anew(
    tmp_path: Path, small_bundle: Path
) -> None:
    radiographs(tmp_path / "in", 300)
    words = ["predict", "in", "--model", str(small_bundle), "--output", "killed.csv"]
    _, made = send_after_the_first_row(signal.SIGKILL, words, tmp_path)
    assert 0 < made < 300 and not (tmp_path / "killed.csv").exists()
    other = start(*words[1:], "--threshold", "0.3", folder=tmp_path)
    assert "1 unfinished runs" in other.stdout and "scoring: 300 files" in other.stderr
    again = start(*words[1:], folder=tmp_path)
    assert again.returncode == 0 and left_over(tmp_path) == []
    assert int(again.stderr.split("scoring: ")[1].split()[0]) <= 300 - made
    assert start("in", "--model", small_bundle, "--output", "whole.csv", folder=tmp_path).returncode == 0
    assert (tmp_path / "killed.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.slow
def test_rows_of_files_that_changed_since_are_made_anew(tmp_path: Path, small_bundle: Path) -> None:
    files = radiographs(tmp_path / "in", 6)
    words = ("in", "--model", small_bundle, "--output")
    assert start(*words, "a.csv", at="row 5", folder=tmp_path).returncode == -signal.SIGKILL
    files[3].write_bytes(files[0].read_bytes() + b"\n")
    files[4].chmod(0o600)
    again = start(*words, "a.csv", folder=tmp_path)
    assert again.returncode == 0 and "scoring: 3 files" in again.stderr
    assert start(*words, "b.csv", folder=tmp_path).returncode == 0
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.slow
def test_a_heatmap_that_lost_its_bytes_is_drawn_again(tmp_path: Path, small_bundle: Path) -> None:
    radiographs(tmp_path / "in", 3)
    words = ("in", "--model", small_bundle, "--heatmaps", "maps", "--heatmaps-for", "all", "--output", "a.csv")
    assert start(*words, at="row 2", folder=tmp_path).returncode == -signal.SIGKILL
    lost = sorted((tmp_path / "maps").rglob("*.png"))[0]
    lost.write_bytes(b"")
    assert start(*words, folder=tmp_path).returncode == 0
    assert lost.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_two_processes_never_make_one_table(tmp_path: Path, small_bundle: Path) -> None:
    radiographs(tmp_path / "in", 2)
    words = ("in", "--model", small_bundle, "--output", "a.csv")
    assert start(*words, at="row 1", folder=tmp_path).returncode == -signal.SIGKILL
    with sole_writer(tmp_path / "a.csv", "at work"):
        for asked in ([], ["--threshold", "0.3"]):  # the same run and another one
            refused = start(*words, *asked, folder=tmp_path)
            assert refused.returncode == 2 and "another process is making this table" in refused.stderr
        assert len(left_over(tmp_path)) == 1
        assert start(*words[:-1], "b.csv", folder=tmp_path).returncode == 0
    assert start(*words, folder=tmp_path).returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.csv", "b.csv", "in"]


def test_of_many_that_would_make_a_table_one_does_at_a_time(tmp_path: Path) -> None:
    """Each adds one to a number in the file; none is lost, and no lock is left."""
    table = tmp_path / "folder" / "a.csv"

    def add() -> bool:
        try:
            with sole_writer(table, "at work"):
                count = int(table.read_text()) if table.exists() else 0
                time.sleep(0.0002)
                table.write_text(str(count + 1))
        except UserError:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        made = sum(pool.map(lambda _: add(), range(2000)))
    assert int(table.read_text()) == made > 0
    assert [path.name for path in table.parent.iterdir()] == ["a.csv"]


def test_a_failure_leaves_no_lock(tmp_path: Path) -> None:
    with pytest.raises(KeyError), sole_writer(tmp_path / "a.csv", "at work"):
        raise KeyError
    assert not list(tmp_path.iterdir())


PEAK = """
import resource, sys
from chestxray.cli.main import main
code = main(sys.argv[1:])
assert "tensorflow" not in sys.modules and "mlflow" not in sys.modules and "pandas" not in sys.modules
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024), file=sys.stderr)
"""


@pytest.mark.slow
def test_memory_is_flat(tmp_path: Path, small_bundle: Path) -> None:
    (file,) = radiographs(tmp_path, 1)
    peaks = []
    for count in (100, 1500):
        folder = tmp_path / str(count)
        folder.mkdir()
        for number in range(count):
            (folder / f"{number}.png").hardlink_to(file)
        words = ["predict", str(folder), "--model", str(small_bundle), "--output", str(tmp_path / f"{count}.csv")]
        done = subprocess.run(
            [sys.executable, "-c", PEAK, *words],
            env={**os.environ, "PYTHONPATH": str(TOP)},
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append(int(done.stderr.splitlines()[-1]))
    assert peaks[1] - peaks[0] < 20 * 2**20, peaks


def test_a_journal_survives_a_machine_that_lost_its_end(tmp_path: Path) -> None:
    files = find_inputs([str(path) for path in radiographs(tmp_path, 4)]).files
    with Journal(tmp_path / "run") as journal:
        for file in files:
            journal.append(file_state(file.path), [file.given, 0.5, None])
    lines = (tmp_path / "run" / ROWS).read_bytes().splitlines(keepends=True)
    for end, kept in [(b"", 4), (b"\0" * 40, 4), (b"[1", 4), (b'{"a": 1}\n', 4), (b"7\n", 4), (lines[3], 4)]:
        (tmp_path / "run" / ROWS).write_bytes(b"".join(lines) + end)
        with Journal(tmp_path / "run") as journal:
            assert journal.resume(files) == kept
            assert len(list(journal.rows())) == kept
            assert journal.resume(files, lambda row: row[0] != files[2].given) == min(kept, 2)  # its heatmap is lost
    for middle in (b"\0" * len(lines[1]), lines[0], b'{"a": 1}\n', b"[]\n", b"[[1, 2], []]\n", lines[1][:-1]):
        (tmp_path / "run" / ROWS).write_bytes(lines[0] + middle + lines[2])
        with Journal(tmp_path / "run") as journal:
            assert journal.resume(files) == 1
            assert [row[0] for row in journal.rows()] == [files[0].given]


def test_the_digest_of_a_run_goes_by_all_that_changes_its_rows(tmp_path: Path, small_bundle: Path) -> None:
    bundle = Bundle(small_bundle, 1)
    files = find_inputs([str(path) for path in radiographs(tmp_path, 2)]).files
    model, other = (Model(ModelInfo(name="m", sha256=digit * 64, synthetic=True), bundle) for digit in "01")
    maps = HeatmapFiles("maps", "")
    runs = [
        (Scorer(model), files),
        (Scorer(other), files),
        (Scorer(model, threshold=0.5), files),
        (Scorer(model, accept_anyway=True), files),
        (Scorer(model, identifiers=True), files),
        (Scorer(model, heatmaps=maps), files),
        (Scorer(model, heatmaps=HeatmapFiles("maps", "", of_all=True)), files),
        (Scorer(model), files[:1]),
        (Scorer(model), files[::-1]),
        (Scorer(model), []),
    ]
    digests = [run_digest(scorer, list(chosen)) for scorer, chosen in runs]
    assert len(set(digests)) == len(runs) and digests[0] == run_digest(Scorer(model), files)
