"""Bringing NIH: whole patients, and a batch that is all there or as before, whatever breaks."""

import itertools
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from chestxray.batch_layout import BOXES, HEADER, TABLE, TEST_LIST, TRAIN_LIST
from chestxray.datasets.batch import read_batch
from chestxray.datasets.download import unpack as unpack_module
from chestxray.datasets.download.http import DownloadError
from chestxray.datasets.download.nih_batch import WORK, bring_nih, choose_images
from chestxray.datasets.download.unpack import ArchiveError
from chestxray.findings import NIH_VOCABULARY
from tests.chestxray.datasets.download.small_release import (
    ARCHIVES,
    HOSTILE,
    IMAGES,
    PATIENTS,
    TEST_PATIENTS,
    archive,
    member,
    official_files,
    release,
)
from tests.chestxray.loopback import Loopback, instead, no_ranges, ranges_dropped_after, serving, status


@pytest.fixture
def server() -> Iterator[Loopback]:
    with serving() as server:
        server.files.update(official_files())
        yield server


def run(server: Loopback, root: Path, images: int | None = None, **options: object) -> None:
    bring_nih(root, images, release=release(server), pause=lambda failures: None, **options)  # type: ignore[arg-type] - passed on


def contents(root: Path) -> dict[str, bytes]:
    """All files of the batch, without what the command keeps for itself."""
    files = (file for file in root.rglob("*") if file.is_file() and WORK not in file.parts)
    return {str(file.relative_to(root)): file.read_bytes() for file in files}


def archive_requests(server: Loopback) -> list[str]:
    return [name for name, _ in server.requests if name in ARCHIVES]


def test_whole_patients_until_the_number_is_reached() -> None:
    largest = max(list(PATIENTS.values()).count(patient) for patient in PATIENTS.values())
    for images in range(1, len(PATIENTS) + 1):
        chosen = choose_images(PATIENTS, images, seed=0)
        patients = {PATIENTS[image] for image in chosen}
        assert chosen == {image for image, patient in PATIENTS.items() if patient in patients}
        assert images <= len(chosen) < images + largest


def test_a_greater_number_contains_the_smaller() -> None:
    sets = [choose_images(PATIENTS, images, seed=5) for images in range(1, 40)]
    assert all(smaller <= greater for smaller, greater in itertools.pairwise(sets))
    assert sets[-1] == choose_images(PATIENTS, None, seed=5) == set(PATIENTS)


def test_the_choice_depends_on_the_seed_and_on_nothing_else() -> None:
    backwards = dict(reversed(PATIENTS.items()))
    assert choose_images(PATIENTS, 10, seed=1) == choose_images(backwards, 10, seed=1)
    assert len({choose_images(PATIENTS, 10, seed=seed) for seed in range(8)}) > 1


@pytest.mark.parametrize("images", [0, -1])
def test_none_cannot_be_asked_for(images: int, server: Loopback, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=f"at least 1.*given {images}"):
        run(server, tmp_path / "nih", images)
    assert server.requests == []
    assert not (tmp_path / "nih").exists()


def test_brings_a_valid_batch_of_the_chosen_patients(server: Loopback, tmp_path: Path) -> None:
    run(server, tmp_path, 15)
    chosen = choose_images(PATIENTS, 15, seed=0)
    read = read_batch(tmp_path, NIH_VOCABULARY)
    assert set(read.studies["image"]) == chosen
    assert read.rejected.empty
    assert read.official_test == {PATIENTS[image] for image in chosen} & TEST_PATIENTS
    assert {image: path.read_bytes() for image, path in read.paths.items()} == {
        image: IMAGES[image] for image in chosen
    }
    official = server.files[TABLE].splitlines(keepends=True)
    table = (tmp_path / TABLE).read_bytes().splitlines(keepends=True)
    assert table == [line for line in official if line in table]  # the text of the rows, in their order
    assert table[0] == official[0]
    for name in (BOXES, TRAIN_LIST, TEST_LIST):
        assert (tmp_path / name).read_bytes() == server.files[name]
    assert not list((tmp_path / WORK).glob("*.gz*.part"))
    assert not list((tmp_path / WORK).glob("*.gz"))


def test_a_second_run_asks_for_nothing_and_changes_nothing(server: Loopback, tmp_path: Path) -> None:
    run(server, tmp_path, 15)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()}
    server.requests.clear()
    run(server, tmp_path, 15)
    assert server.requests == []
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*") if file.is_file()} == before


def test_more_images_later_equal_as_many_at_once(server: Loopback, tmp_path: Path) -> None:
    run(server, tmp_path / "grown", 4)
    server.requests.clear()
    run(server, tmp_path / "grown", 8)
    missing = choose_images(PATIENTS, 8, seed=0) - choose_images(PATIENTS, 4, seed=0)
    holding = {name for name in ARCHIVES for image in missing if image in listed(tmp_path / "grown", name)}
    assert set(archive_requests(server)) == holding
    run(server, tmp_path / "once", 8)
    assert contents(tmp_path / "grown") == contents(tmp_path / "once")


def listed(root: Path, name: str) -> list[str]:
    return (root / WORK / f"{name}.contents").read_text().split()


def test_fewer_images_later_is_an_error_that_deletes_nothing(server: Loopback, tmp_path: Path) -> None:
    run(server, tmp_path, 20)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="images that are not among"):
        run(server, tmp_path, 5)
    assert contents(tmp_path) == before


def test_a_bad_line_changes_nothing_in_the_end(server: Loopback, tmp_path: Path) -> None:
    run(server, tmp_path / "good")
    server.answers[ARCHIVES[0]].extend([ranges_dropped_after(3000), status(500), status(416)])
    server.answers[ARCHIVES[1]].extend([ranges_dropped_after(3000), no_ranges])
    server.answers[TABLE].extend([status(503), ranges_dropped_after(100)])
    run(server, tmp_path / "bad")
    assert contents(tmp_path / "bad") == contents(tmp_path / "good")


class Killed(BaseException):
    """What no code catches."""


def test_killed_anywhere_and_run_again(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dies at each file that is put in place, in turn: the batch is then the old one or not one yet, and the next run
    completes it without asking again for an archive that was complete."""
    run(server, tmp_path / "whole", 12)
    whole = contents(tmp_path / "whole")
    replace = Path.replace
    for number in range(1, 1000):
        left, root = [number], tmp_path / str(number)

        def dying(self: Path, target: Path, left: list[int] = left) -> Path:
            left[0] -= 1
            if left[0] == 0:
                raise Killed
            return replace(self, target)

        server.requests.clear()
        monkeypatch.setattr(Path, "replace", dying)
        try:
            run(server, root, 12)
            break
        except Killed:
            assert not (root / TABLE).exists()
        finally:
            monkeypatch.setattr(Path, "replace", replace)
        run(server, root, 12)
        assert contents(root) == whole
        assert max(archive_requests(server).count(name) for name in ARCHIVES) == 1
        shutil.rmtree(root)
    assert number > len(ARCHIVES) + 12  # every archive and every image had its turn


def test_killed_while_unpacking(server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dying(tar: Iterator[tarfile.TarInfo], what: str, total: int) -> Iterator[tarfile.TarInfo]:
        for count, info in enumerate(tar):
            if "002" in what and count == 3:
                raise Killed
            yield info

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(unpack_module, "progress", dying)
        run(server, tmp_path)
    assert contents(tmp_path) == {}
    server.requests.clear()
    run(server, tmp_path)
    assert archive_requests(server) == [ARCHIVES[2]]  # the first is done, the second is here
    assert len(read_batch(tmp_path, NIH_VOCABULARY).studies) == len(PATIENTS)


def test_an_archive_with_a_wrong_checksum_leaves_no_batch(server: Loopback, tmp_path: Path) -> None:
    other = archive(member("images/00000001_000.png", b"forged"))
    padded = other + bytes(len(server.files[ARCHIVES[1]]) - len(other))
    server.answers[ARCHIVES[1]].append(instead(padded))
    with pytest.raises(DownloadError, match=r"images_002.*wrong checksum"):
        run(server, tmp_path)
    assert contents(tmp_path) == {}


def test_a_hostile_archive_with_the_right_checksum_leaves_no_batch(server: Loopback, tmp_path: Path) -> None:
    server.files[ARCHIVES[2]] = archive(member("images/00000012_000.png", b"x"), *HOSTILE["parent"])
    with pytest.raises(ArchiveError, match=r"images_003.*escaped"):
        run(server, tmp_path / "batch")
    assert contents(tmp_path / "batch") == {}
    assert [file.name for file in tmp_path.iterdir()] == ["batch"]


def test_images_that_no_archive_has(server: Loopback, tmp_path: Path) -> None:
    server.files[ARCHIVES[2]] = archive()
    with pytest.raises(ArchiveError, match="in none of the archives, such as 0000"):
        run(server, tmp_path)
    assert contents(tmp_path) == {}


def test_too_little_disk_is_said_before_an_archive_is_asked_for(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    size = sum(len(server.files[name]) for name in ARCHIVES)
    largest = max(len(server.files[name]) for name in ARCHIVES)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=size + largest))
    with pytest.raises(ValueError, match="too little disk"):
        run(server, tmp_path)
    assert archive_requests(server) == []
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=int(1.06 * (size + largest))))
    run(server, tmp_path)
    assert "GB needed" in capsys.readouterr().out


def test_tables_brought_by_hand_are_used(server: Loopback, tmp_path: Path) -> None:
    hand = tmp_path / "hand"
    hand.mkdir()
    (tmp_path / "batch").mkdir()
    (hand / TABLE).write_bytes(server.files[TABLE])
    for name in (BOXES, TRAIN_LIST):
        (tmp_path / "batch" / name).write_bytes(server.files[name])
    run(server, tmp_path / "batch", tables=hand)
    assert [name for name, _ in server.requests] == [TEST_LIST, *ARCHIVES]


def test_another_table_brought_by_hand_is_refused(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / TABLE).write_bytes(server.files[TABLE] + b"\n")
    with pytest.raises(ValueError, match=f"{TABLE} is not NIH's: expected sha256:"):
        run(server, tmp_path / "batch", tables=tmp_path)


def test_a_dead_link_says_where_to_put_the_file(server: Loopback, tmp_path: Path) -> None:
    server.answers[BOXES].append(status(404))
    with pytest.raises(DownloadError) as error:
        run(server, tmp_path)
    place = tmp_path / WORK / BOXES
    assert f"put it at {place}" in str(error.value)
    place.write_bytes(server.files[BOXES])
    run(server, tmp_path)
    assert len(read_batch(tmp_path, NIH_VOCABULARY).boxes) == 1


def test_a_batch_of_other_origin_is_not_touched(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / TABLE).write_text(f"{HEADER}\nours.png,Mass,0,1,57,M,PA,9,9,0.1,0.1\n")
    before = contents(tmp_path)
    with pytest.raises(ValueError, match="holds another batch"):
        run(server, tmp_path)
    assert contents(tmp_path) == before
    assert server.requests == []


def test_an_unpacked_copy_is_not_brought_again(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "images_001/images").mkdir(parents=True)
    (tmp_path / TABLE).write_bytes(server.files[TABLE])
    with pytest.raises(ValueError, match="Use it as it is"):
        run(server, tmp_path)


def test_a_complete_copy_in_one_folder_needs_no_archive(server: Loopback, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    for image, content in IMAGES.items():
        (tmp_path / "images" / image).write_bytes(content)
    run(server, tmp_path)
    assert archive_requests(server) == []
    assert len(read_batch(tmp_path, NIH_VOCABULARY).studies) == len(PATIENTS)
