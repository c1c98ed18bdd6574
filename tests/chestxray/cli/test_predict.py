"""`chestxray predict`, as people call it."""

import csv
import json
import os
import signal
import subprocess
from pathlib import Path

import fsspec
import pytest

from chestxray.cli.main import main
from tests.chestxray.conftest import NAME
from tests.chestxray.scoring.ward import TAKEN, radiographs
from tests.serve.files import PNG

Text = pytest.CaptureFixture[str]


@pytest.fixture(autouse=True)
def model(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_URI", str(small_bundle))


def read(table: Path) -> list[dict[str, str]]:
    with table.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_folder_in_a_table_out(ward: Path, tmp_path: Path, capsys: Text) -> None:
    assert main(["predict", str(ward), "--output", str(tmp_path / "new" / "scores.csv")]) == 1
    rows = read(tmp_path / "new" / "scores.csv")
    assert [row["path"] for row in rows] == [f"{ward}/{name}".replace("\udcff", "\\xff") for name in TAKEN]
    said = capsys.readouterr()
    assert said.out.splitlines()[:3] == [
        "files     13: 8 accepted, 0 warned, 1 refused, 4 failed",
        "errors    1 file-too-large, 1 not-a-radiograph, 2 unreadable-file, 1 unreadable-image",
        "skipped   2 hidden, 1 link to a folder, 3 no image, 1 no regular file",
    ]
    assert "scoring: 13 files" in said.err and "Trained on synthetic phantoms" in said.out
    assert os.listdir(tmp_path / "new") == ["scores.csv"]  # noqa: PTH208 # names are compared


def test_exit_codes(ward: Path, tmp_path: Path, capsys: Text) -> None:
    good, out = str(ward / "=cmd.png"), ["--output", str(tmp_path / "t.csv")]
    assert main(["predict", good, *out]) == 0
    assert main(["predict", good, str(ward / "damaged.PNG"), *out]) == 1
    (tmp_path / "empty").mkdir()
    for words in (
        [],
        ["typo"],
        [good, "typo/*.png"],
        [str(tmp_path / "empty")],
        [str(ward / "__MACOSX")],
        ["--csv", "typo.csv:path"],
        ["--csv", "typo.csv"],
        [good, "--model", "typo"],
        [good, "--model", "models:/typo"],
        [good, "--threshold", "2"],
        [good, "--heatmaps", good],
        [str(ward), "--heatmaps", str(ward)],
    ):
        before = (tmp_path / "t.csv").read_bytes()
        assert main(["predict", *words, *out]) == 2, words
        said = capsys.readouterr()
        assert said.err.count("\n") >= 1 and "Traceback" not in said.err
        assert (tmp_path / "t.csv").read_bytes() == before
    assert main(["predict", good, "--output", str(tmp_path / "t.xlsx")]) == 2
    (tmp_path / "folder.csv").mkdir()
    table = tmp_path / "studies.csv"
    table.write_text(f"path\n{good}\n")
    assert main(["predict", "--csv", f"{table}:path", "--output", str(table)]) == 2
    assert "is the table that --csv reads" in capsys.readouterr().err and table.read_text().startswith("path\n")
    assert main(["predict", good, "--output", str(tmp_path / "folder.csv")]) == 2
    assert not list(tmp_path.glob(".*partial"))


def test_a_column_of_paths_keeps_its_rows(ward: Path, tmp_path: Path) -> None:
    (ward / "list.csv").write_text("n;path\n1;=cmd.png\n2;no\0thing.png\n3;a b/[1]/0001.png\n4;=cmd.png\n")
    table = tmp_path / "t.csv"
    assert main(["predict", "--csv", f"{ward}/list.csv:path", "--output", str(table)]) == 1
    rows = read(table)
    assert [row["path"] for row in rows] == ["./=cmd.png", "no\0thing.png", "a b/[1]/0001.png", "./=cmd.png"]
    assert [row["error"] for row in rows] == ["", "unreadable-file", "", ""]


def test_tables_and_heatmaps_within_the_folder_are_not_read_again(
    ward: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(ward)
    for name in ("t.csv", "t.parquet", "t.csv"):
        assert main(["predict", ".", "--output", name, "--heatmaps", "maps"]) == 1
    rows = read(Path("t.csv"))
    assert len(rows) == len(TAKEN)
    drawn = [path for row in rows for column, path in row.items() if column.endswith(":heatmap") and path]
    assert drawn and all(Path(path).is_file() for path in drawn)


def test_objects_of_a_storage_score_as_files_do_and_one_that_fails_stops_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Text
) -> None:
    films = radiographs(tmp_path / "films", 5)
    storage = fsspec.filesystem("memory")
    storage.pipe({f"/films/{file.name}": file.read_bytes() for file in films})
    stored = ["predict", "memory://films", "--output", str(tmp_path / "stored.csv")]
    kind, cat_file = type(storage), type(storage).cat_file  # each thread has one of its own
    with monkeypatch.context() as patch:
        patch.setattr(kind, "cat_file", lambda s, path, **part: cat_file(s, path, **part) if "4" not in path else 1 / 0)
        assert main(stored) == 2 and "run the same again" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(kind, "cat_file", lambda s, path, **part: cat_file(s, path, **part) if "4" in path else 1 / 0)
        assert main(stored) == 0  # the others were done
    assert main(["predict", str(tmp_path / "films"), "--output", str(tmp_path / "local.csv")]) == 0
    storage.rm("/films", recursive=True)
    one, other = read(tmp_path / "stored.csv"), read(tmp_path / "local.csv")
    assert [Path(row.pop("path")).name for row in one] == [Path(row.pop("path")).name for row in other]
    assert one == other and len(one) == 5
    assert main([*stored[:-1], "s3://bucket/scores.csv"]) == 2


def test_patient_data_are_in_the_table_only_when_asked_for(ward: Path, tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    assert main(["predict", str(ward / "IM0001"), "--output", str(table)]) == 0
    assert "sop_instance_uid" not in read(table)[0]
    assert main(["predict", str(ward / "IM0001"), "--output", str(table), "--uids"]) == 0
    assert read(table)[0]["sop_instance_uid"] == "1.2.3"


def test_without_a_table_it_prints_an_answer_for_each_file_with_its_path(ward: Path, capsys: Text) -> None:
    assert main(["predict", str(ward / "a b"), str(ward / "pipe.png"), "typo", "--heatmaps", "raw"]) == 1
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["file"] for answer in answers[:3]] == [f"{ward}/a b/[1]/{n:04d}.png" for n in range(3)]
    assert all(len(answer["findings"]) == 14 for answer in answers[:3])
    assert [answer["type"] for answer in answers[3:]] == ["unreadable-file"] * 2
    assert main(["predict", str(ward / "=cmd.png")]) == 0


@pytest.mark.parametrize("words", [["--heatmaps", "maps"], ["--uids"]])
def test_what_only_a_table_has_is_refused_without_one(ward: Path, words: list[str], capsys: Text) -> None:
    assert main(["predict", str(ward), *words]) == 2
    assert "--output" in capsys.readouterr().err


@pytest.mark.slow
def test_a_version_of_the_registry_scores_and_says_which_it_was(
    tmp_path: Path, client: object, capsys: Text, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.chdir(tmp_path)
    assert main(["predict", "a.png", "--model", f"models:/{NAME}/1", "--output", "t.csv"]) in (0, 1)
    assert f"model     {NAME} version 1" in capsys.readouterr().out


def test_who_stops_while_a_model_is_fetched_stops_the_fetching(
    tmp_path: Path, client: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[subprocess.Popen[str]] = []

    def stop(process: subprocess.Popen[str], **_: object) -> None:
        asked.append(process)
        raise KeyboardInterrupt

    (tmp_path / "a.png").write_bytes(PNG)
    monkeypatch.setattr(subprocess.Popen, "communicate", stop)
    table = tmp_path / "t.csv"
    assert main(["predict", str(tmp_path), "--model", f"models:/{NAME}/1", "--output", str(table)]) == 130
    assert [process.returncode for process in asked] == [-signal.SIGKILL] and not table.exists()
