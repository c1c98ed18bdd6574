import os
from pathlib import Path

import fsspec
import pytest

from chestxray.errors import UserError
from chestxray.scoring.inputs import InputFile, InputFiles, Inputs, find_inputs
from tests.chestxray.scoring.ward import TAKEN
from tests.serve.files import USABLE


def given(inputs: Inputs) -> list[str]:
    assert [file.place for file in inputs.files] == list(range(len(inputs.files)))
    return [file.given for file in inputs.files]


def test_a_folder_gives_what_may_be_an_image_in_the_order_of_names_and_counts_the_rest(ward: Path) -> None:
    inputs = find_inputs([str(ward)])
    assert given(inputs) == [f"{ward}/{name}" for name in TAKEN]
    assert inputs.skipped == {"hidden": 2, "no image": 3, "link to a folder": 1, "no regular file": 1}
    assert inputs.missing == []


def test_paths_stand_as_they_were_given(ward: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ward)
    assert given(find_inputs(["./=cmd.png", "IM0001", "."])) == ["./=cmd.png", "IM0001", *(f"./{n}" for n in TAKEN)]


def test_a_pattern_matches_files_and_folders_and_a_name_that_exists_is_none(ward: Path) -> None:
    assert given(find_inputs([f"{ward}/**/000*.png"])) == [f"{ward}/a b/[1]/{n:04d}.png" for n in range(3)]
    assert given(find_inputs([f"{ward}/a*"])) == [f"{ward}/a b/[1]/{n:04d}.png" for n in range(3)]
    assert given(find_inputs([f"{ward}/a b/[1]/0000.png"])) == [f"{ward}/a b/[1]/0000.png"]
    assert find_inputs([f"{ward}/.h*"]).files and not find_inputs([f"{ward}/*hid*"]).files
    assert find_inputs([f"{ward}/*.bmp", "typo"]).missing == [f"{ward}/*.bmp", "typo"]


def test_a_pattern_gives_each_file_once(tmp_path: Path) -> None:
    for name in ("b/c/z.png", "b/y.png", "x.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(USABLE["grey png"])
    (tmp_path / "self").symlink_to(tmp_path)
    every = [f"{tmp_path}/{name}" for name in ("b/c/z.png", "b/y.png", "x.png")]
    for pattern in ("*", "**", "**/*"):
        inputs = find_inputs([f"{tmp_path}/{pattern}"])
        assert given(inputs) == every
        assert inputs.skipped["link to a folder"] == 1


def test_a_named_file_is_taken_whatever_it_is(ward: Path) -> None:
    names = [str(ward / name) for name in ("README", ".hidden.png", "pipe.png", "broken.png")]
    assert given(find_inputs(names)) == names


@pytest.mark.parametrize("name", USABLE)
def test_every_kind_of_file_that_can_be_decoded_is_found_without_a_suffix(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(USABLE[name])
    assert len(find_inputs([str(tmp_path)]).files) == 1


def test_a_folder_that_is_excluded_is_not_searched(ward: Path) -> None:
    others = [f"{ward}/{name}" for name in TAKEN if not name.startswith("a b")]
    (ward.parent / "link").symlink_to(ward / "a b")
    for excluded in (f"{ward}/a b", f"{ward}/../link/"):
        assert given(find_inputs([str(ward)], excluded=excluded)) == others
        assert find_inputs([f"{ward}/**/000*.png"], excluded=excluded).missing
        with pytest.raises(UserError, match="a folder of its own"):
            find_inputs([f"{ward}/a b"], excluded=excluded)


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_a_column_of_paths_is_relative_to_its_file(tmp_path: Path, separator: str, encoding: str) -> None:
    table = tmp_path / "studies.csv"
    rows = [["id", "path"], ["1", "a/ä.png"], ["2", ""], ["3", "/b.png"], ["4", "a/ä.png"]]
    table.write_text("".join(separator.join(row) + "\n" for row in rows), encoding=encoding)
    inputs = find_inputs([], [f"{table}:path"])
    assert given(inputs) == ["a/ä.png", "/b.png", "a/ä.png"]
    assert [file.path for file in inputs.files] == [f"{tmp_path}/a/ä.png", "/b.png", f"{tmp_path}/a/ä.png"]
    assert inputs.skipped == {"empty cell": 1}


def test_spaces_around_a_path_are_its_own_where_a_file_has_them(tmp_path: Path) -> None:
    (tmp_path / " a.png").touch()
    (tmp_path / "t.csv").write_text("path\n a.png\n b.png \n")
    assert given(find_inputs([], [f"{tmp_path}/t.csv:path"])) == [" a.png", "b.png"]


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("t.csv", "FILE:COLUMN"),
        ("t.csv:", "FILE:COLUMN"),
        ("t.csv:image", "has no column 'image'; it has 'path', 'id'"),
        ("twice.csv:path", "several columns 'path'"),
        ("short.csv:path", "row 3: 1 fields, the header has 2"),
    ],
)
def test_a_column_that_cannot_be_read_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, argument: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("t.csv").write_text("path,id\na.png,1\n")
    Path("twice.csv").write_text("path,path\na.png,b.png\n")
    Path("short.csv").write_text("path,id\na.png,1\nb.png\n")
    with pytest.raises(UserError, match=said):
        find_inputs([], [argument])


def test_objects_of_a_storage_are_found_by_the_rules_of_files(tmp_path: Path) -> None:
    storage = fsspec.filesystem("memory")
    image = USABLE["grey png"]
    names = {"a/IM1": image, "a.png": b"", "README": b"text", ".h/b.png": b"", "DICOMDIR": image, "b/c.dcm": b""}
    storage.pipe({f"/inputs/{name}": data for name, data in names.items()})
    (tmp_path / "t.csv").write_text("path\nmemory://inputs/none.png\nb.png\n")
    try:
        inputs = find_inputs(["memory://inputs", "memory://inputs/README", "memory://none"], [f"{tmp_path}/t.csv:path"])
        found = [f"memory:///inputs/{name}" for name in ("a.png", "a/IM1", "b/c.dcm")]
        assert given(inputs) == [*found, "memory://inputs/README", "memory://inputs/none.png", "b.png"]
        assert inputs.files[-1].path == f"{tmp_path}/b.png"
        assert inputs.missing == ["memory://none"]
        assert inputs.skipped == {"hidden": 1, "no image": 2}
        slashes = find_inputs(["memory://inputs//"])
        assert given(slashes) == found and slashes.skipped == inputs.skipped
    finally:
        storage.rm("/inputs", recursive=True)


def test_names_come_back_as_they_were_given() -> None:
    names = [
        ("a.png", "ward/a.png"),
        ("ä b.png", "ä b.png"),
        (os.fsdecode(b"\xff.png"), "x/\udcff"),
        ("no\0thing", "y\0"),
    ]
    files = InputFiles()
    for given, path in names:
        files.append(given, path)
    assert list(files) == [InputFile(place, *each) for place, each in enumerate(names)]
    assert (files[-1], files[1:3]) == (list(files)[-1], list(files)[1:3])
    with pytest.raises(IndexError):
        files[4]
