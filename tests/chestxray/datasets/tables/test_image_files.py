"""Images are found in any folder and under any name, and never outside of the batch."""

import os
import tempfile
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from chestxray.batch_layout import BOXES, SYNTHETIC_NOTICE, TEST_LIST, UNLABELLED_NOTICE
from chestxray.datasets.tables.image_files import find_images
from chestxray.datasets.tables.path_ends import NamedPaths, PathEnds
from chestxray.errors import UserError
from chestxray.system.file_names import IMAGE_SUFFIXES
from tests.chestxray.datasets.tables.small_tables import labels, read, text, write

HEAD = ["image", "labels", "patient"]
PART = st.text(
    st.characters(codec="utf-8", categories=("L", "N", "S", "P", "Zs"), exclude_characters="/\\:"), min_size=1
).filter(lambda part: part.isprintable() and part.strip() == part)
PARTS = st.lists(
    PART.filter(lambda part: part[0] not in ".=+-@" and len(part.encode()) < 100),
    min_size=1,
    max_size=4,
)


def batch_of(root: Path, *pairs: tuple[str, str]) -> Path:
    """A batch whose table has the first name of each pair, and whose file the second."""
    rows = [(name, "Mass", place) for place, (name, _) in enumerate(pairs)]
    return write(root, "t.csv", text(HEAD, rows), [file for _, file in pairs if file])


@settings(max_examples=50, deadline=None)
@given(PARTS, st.sampled_from(IMAGE_SUFFIXES), st.booleans(), st.data())
@example(["Müller (3)", "Röntgen [1]"], ".png", True, None)
@example(["film"], ".jfif", False, None)
def test_a_file_is_found_by_its_path_or_the_end_of_it(
    parts: list[str], suffix: str, upper: bool, data: st.DataObject
) -> None:
    path = "/".join(parts) + (suffix.upper() if upper else suffix)
    first = 0 if data is None else data.draw(st.integers(0, len(parts) - 1))
    name = "/".join(parts[first:])
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder, path).parent).mkdir(parents=True, exist_ok=True)
        Path(folder, path).touch()
        files = find_images(Path(folder))
        for spelled in (name + suffix, name, f"./{name}{suffix}", unicodedata.normalize("NFD", name) + suffix):
            assert files.find(spelled) == (path, "")
        assert files.find(f"above/{path}")[0] == (path if "/" in path else "")
        assert files.find(f"{name}x{suffix}")[0] == ""
        for outside in (f"/{path}", f"../{path}", f"{parts[0]}/../{path}", f"C:\\{path}", f"\\\\{path}"):
            path_found, reason = files.find(outside)
            assert path_found == "" and reason.startswith("image name leads out of the batch")


def test_names_in_two_folders_need_their_folder(tmp_path: Path) -> None:
    root = batch_of(tmp_path, ("one/a.png", "one/a.png"), ("two/a.png", "two/a.png"), ("a.png", ""))
    batch = read(root)
    assert batch.studies["image"].tolist() == ["one/a.png", "two/a.png"]
    assert (
        batch.rejected["reason"].tolist()[0].startswith("image is not unique: one/a.png and two/a.png have that name")
    )


def test_a_name_in_two_cases_means_the_one_that_is_so_written(tmp_path: Path) -> None:
    root = batch_of(tmp_path, ("a.png", "a.png"), ("A.png", "A.png"), ("B.PNG", "b.png"))
    assert read(root).studies["image"].tolist() == ["A.png", "a.png", "b.png"]


def test_a_number_with_dots_is_no_suffix_and_a_file_needs_none(tmp_path: Path) -> None:
    root = batch_of(tmp_path, ("1.2.840.1", "d/1.2.840.1.dcm"), ("1.2.840.2", "d/1.2.840.2"), ("IM0001", "IM0001"))
    (root / "IM0002").touch()  # not named, and no image by its name
    batch = read(root)
    assert batch.studies["image"].tolist() == ["1.2.840.1.dcm", "1.2.840.2", "IM0001"] and batch.rejected.empty


@pytest.mark.parametrize(
    ("files", "name", "found"),
    [
        (("0001", "a/0001.dcm"), "a/0001", "a/0001.dcm"),
        (("0001", "a/0001.dcm"), "0001", "0001"),
        (("meta/0001", "img/0001.dcm"), "0001", ""),
        (("orig/a.dcm", "png/a.dcm.png"), "a.dcm", "orig/a.dcm"),
        (("X/1.png", "y/x/1.png"), "x/1.png", ""),
        (("x/1.png", "y/x/1.png"), "x/1.png", "x/1.png"),
        (("X/1.png", "x/1.PNG"), "x/1.png", ""),
        (("X/1.png", "x/1.PNG"), "y/X/1.png", "X/1.png"),
        (("v1.png",), "pat2/v1.png", ""),
        (("pat2/v1.png", "v1.png"), "set/pat2/v1.png", "pat2/v1.png"),
        (("p/v1.png", "set/p/v1.png"), "all/set/p/v1", "set/p/v1.png"),
        (("p/v1.png", "p/v1.jpg"), "all/p/v1", ""),
        (("a.j2k",), "a", "a.j2k"),
        (("IM.dcm", *(f"{place}/IM.dcm" for place in "abc")), "im", "IM.dcm"),
    ],
)
def test_which_of_several_files_a_name_means(files: tuple[str, ...], name: str, found: str, tmp_path: Path) -> None:
    for file in files:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert find_images(tmp_path).find(name)[0] == found


def test_a_look_up_costs_the_same_however_many_files_have_the_name() -> None:
    """All of CheXpert's files are called view1_frontal.jpg, and all of a PACS export's IM-0001.dcm."""

    def compared(count: int, name: str) -> int:
        paths = [f"train/patient{place:05d}/study1/view1_frontal.jpg" for place in range(count)]
        index = NamedPaths.of(paths, str)
        counted = CountedTexts(index.folded.texts)
        NamedPaths(index.written, PathEnds(counted, index.folded.paths)).named(name)
        return counted.looked_at

    for name in ("train/patient00007/study1/view1_frontal.jpg", "study1/view1_frontal.jpg", "view1_frontal.jpg"):
        assert compared(4096, name) <= compared(64, name) + 12


class CountedTexts(tuple[str, ...]):
    """Texts that count how many of them are looked at."""

    looked_at = 0

    def __getitem__(self, place: Any) -> Any:
        self.looked_at += 1
        return super().__getitem__(place)

    def __iter__(self) -> Any:
        raise AssertionError("all of them are looked at")


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """A batch with links to a file and a folder outside of it, to itself, to a file of its own, and to nothing."""
    (tmp_path / "secret").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "secret" / name).touch()
    names = ("a.png", "link/b.png", "c.png", "d.png", "e.png")
    root = batch_of(tmp_path / "batch", *((name, "c.png" if name == "c.png" else "") for name in names))
    (root / "a.png").symlink_to(tmp_path / "secret/a.png")
    (root / "link").symlink_to(tmp_path / "secret")
    (root / "loop").symlink_to(root)
    (root / "d.png").symlink_to("c.png")
    (root / "e.png").symlink_to("e.png")
    return root


def test_links_out_of_the_batch_are_refused_unless_a_person_lets_them(linked: Path) -> None:
    refused = {"a.png": "link out of the batch", "e.png": "link to nothing", "link/b.png": "image missing"}
    folder = {"link": "link to a folder outside of the batch"}
    for follow, paths, reasons in ((False, [], refused | folder), (True, ["a.png"], refused | folder)):
        batch = read(linked, follow_links=follow)
        assert list(batch.paths) == [*paths, "c.png", "d.png"]
        told = dict(zip(batch.rejected["image"], batch.rejected["reason"], strict=True))
        expected = {image: reason for image, reason in reasons.items() if image not in paths}
        assert {image: reason.partition(":")[0] for image, reason in told.items()} == expected
        assert follow or "batches.<name>.follow_links: true (--follow-links)" in told["a.png"]


def test_so_are_tables_and_lists(linked: Path) -> None:
    (linked / "t.csv").rename(linked.parent / "secret/t.csv")
    (linked / "t.csv").symlink_to(linked.parent / "secret/t.csv")
    with pytest.raises(UserError, match="no table"):
        read(linked)
    with pytest.raises(UserError, match=r"is a link out of .*follow_links: true"):
        read(linked, table="t.csv")
    assert list(read(linked, table="t.csv", follow_links=True).paths) == ["a.png", "c.png", "d.png"]
    with pytest.raises(UserError, match="name a file within"):
        read(linked, table="../secret/t.csv", follow_links=True)


@pytest.mark.parametrize("name", [TEST_LIST, BOXES, SYNTHETIC_NOTICE, UNLABELLED_NOTICE])
@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("nowhere")])
def test_what_says_something_of_a_batch_is_never_passed_over(
    name: str, make: Callable[[Path], None], tmp_path: Path
) -> None:
    root = batch_of(tmp_path, ("a.png", "a.png"))
    make(root / name)
    with pytest.raises(UserError, match=f"{name}.*name a file within"):
        read(root)


def test_a_file_that_can_not_be_read_may_be_left_out(linked: Path) -> None:
    (linked / "bad.txt").write_text("a.png\nb.png\nlink\ne.png\n")
    assert read(linked, exclude="bad.txt", table="t.csv").rejected["image"].tolist() == ["link/b.png"]


def test_hidden_files_are_none_and_unsafe_names_are_rejected(tmp_path: Path) -> None:
    root = batch_of(tmp_path, ("a.png", "a.png"), ("=cmd.png", "=cmd.png"), ("bell\x07.png", "bell\x07.png"))
    for hidden in (".download/b.png", "__MACOSX/._a.png", "._a.png"):
        (root / hidden).parent.mkdir(exist_ok=True)
        (root / hidden).touch()
    batch = read(root)
    assert list(batch.paths) == ["a.png"]
    assert batch.rejected["reason"].str.startswith("unsafe file name").sum() == 2
    assert batch.rejected["image"].str.match(r"['\"]").all()
    (root / "a.png").rename(root / os.fsdecode(b"\xff.png"))
    assert read(root).studies.empty


def test_images_to_leave_out(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(4)]
    root = batch_of(tmp_path, *((name, f"x/{name}") for name in names), ("gone.png", ""))
    (root / "x/stray.png").touch()
    (root / "bad.txt").write_text("1.png\r\nx/2.png\nx/stray.png\ngone.png\nnowhere.png\n")
    batch = read(root, exclude="bad.txt", table="t.csv")
    assert list(batch.paths) == ["0.png", "3.png"] and batch.rejected.empty
    assert batch.left_out["image"].tolist() == ["1.png", "2.png", "gone.png"]
    assert any("exclude: 1 lines name no image, such as nowhere.png" in note for note in batch.notes)
    for name in ("none.txt", "../t.csv"):
        with pytest.raises(UserError, match=r"a list of images.*name a file within"):
            read(root, exclude=name, table="t.csv")


@pytest.mark.parametrize("line", ["a", "a.png", "train/a.png", "A.PNG"])
def test_the_official_list_calls_images_as_the_table_or_by_their_path(tmp_path: Path, line: str) -> None:
    root = batch_of(tmp_path, ("a", "train/a.png"), ("b", "train/b.png"))
    (root / TEST_LIST).write_text(f"{line}\nelsewhere\n")
    batch = read(root)
    assert batch.official_test == {"0"} and set(labels(batch, "Mass").values()) == {1}
