"""Bringing NIH: whole patients, safe archives, a batch that is all there or as before, whatever breaks."""

import hashlib
import io
import itertools
import random
import shutil
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from chestxray.batch_layout import BOXES, HEADER, TABLE, TEST_LIST, TRAIN_LIST
from chestxray.cli import nih as command
from chestxray.cli.main import main
from chestxray.datasets.download import unpack as image_archive
from chestxray.datasets.download.catalog import NIH, Release
from chestxray.datasets.download.http import DownloadError, RemoteFile, is_intact
from chestxray.datasets.download.nih_batch import WORK, bring_nih, choose_images
from chestxray.datasets.download.unpack import ArchiveError, unpack
from chestxray.datasets.nih import read_batch
from tests.chestxray.loopback import Loopback, instead, no_ranges, ranges_dropped_after, serving, status
from tests.repository import SHARED

PATIENTS = {
    f"{patient:08d}_{visit:03d}.png": str(patient) for patient in range(1, 13) for visit in range(patient % 4 + 1)
}
IMAGES = {image: random.Random(image).randbytes(5000) for image in PATIENTS}
TEST_PATIENTS = {"2", "3", "11"}
ARCHIVES = ("images_001.tar.gz", "images_002.tar.gz", "images_003.tar.gz")


def member(name: str, content: bytes = b"", **changes: object) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    for field, value in changes.items():
        setattr(info, field, value)
    return info, content


def archive(*members: tuple[tarfile.TarInfo, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", format=tarfile.GNU_FORMAT) as tar:
        tar.addfile(member("images", type=tarfile.DIRTYPE)[0])
        for info, content in members:
            tar.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def official_files() -> dict[str, bytes]:
    rows = [
        f"{image},{'Mass' if patient == '4' else 'No Finding'},0,{patient},57,M,PA,9,9,0.1,0.1"
        for image, patient in PATIENTS.items()
    ]
    names = sorted(PATIENTS)
    third = -(-len(names) // 3)
    return {
        TABLE: "\r\n".join([HEADER, *rows, ""]).encode(),
        BOXES: f"Image Index,Finding Label,Bbox [x,y,w,h],,,\n{names[0]},Mass,1,2,3,4\n".encode(),
        TRAIN_LIST: "\n".join(name for name in names if PATIENTS[name] not in TEST_PATIENTS).encode(),
        TEST_LIST: "\n".join(name for name in names if PATIENTS[name] in TEST_PATIENTS).encode(),
    } | {
        name: archive(*(member(f"images/{image}", IMAGES[image]) for image in names[third * i : third * (i + 1)]))
        for i, name in enumerate(ARCHIVES)
    }  # fmt: skip


def remote(server: Loopback, name: str) -> RemoteFile:
    content = server.files[name]
    return RemoteFile(name, f"{server.url}/{name}", len(content), (f"sha256:{hashlib.sha256(content).hexdigest()}",))


def release(server: Loopback) -> Release:
    tables = (TABLE, BOXES, TRAIN_LIST, TEST_LIST)
    return Release(tuple(remote(server, name) for name in ARCHIVES), tuple(remote(server, name) for name in tables))


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


# Choosing


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


# Unpacking


def test_unpacks_the_wanted_images_and_lists_all(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(archive(*(member(f"images/{image}", content) for image, content in IMAGES.items())))
    wanted = frozenset(list(IMAGES)[::3])
    assert unpack(path, wanted, tmp_path / "out") == set(IMAGES)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {i: IMAGES[i] for i in wanted}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar.gz", "out"]


NAME = "images/00000001_000.png"
HOSTILE = {
    "parent": [member("images/../../escaped.png", b"x")],
    "parent of an image": [member("../images/00000001_000.png", b"x")],
    "absolute": [member("/tmp/00000001_000.png", b"x")],  # noqa: S108 - a name that must not be used
    "other name": [member("images/.bashrc", b"x")],
    "other folder": [member("00000001_000.png", b"x")],
    "newline": [member("images/00000001_000.png\n", b"x")],
    "not ascii digits": [member("images/0000000\N{ARABIC-INDIC DIGIT ONE}_000.png", b"x")],
    "symlink": [member(NAME, type=tarfile.SYMTYPE, linkname="/etc/passwd")],
    "symlinked folder": [member("images", type=tarfile.SYMTYPE, linkname="/tmp")],  # noqa: S108 - as above
    "hardlink": [member(NAME, type=tarfile.LNKTYPE, linkname="/etc/passwd")],
    "character device": [member(NAME, type=tarfile.CHRTYPE, devmajor=1, devminor=3)],
    "block device": [member(NAME, type=tarfile.BLKTYPE)],
    "fifo": [member(NAME, type=tarfile.FIFOTYPE)],
    "folder named as an image": [member(NAME, type=tarfile.DIRTYPE)],
    "renamed by extended header": [member("x", b"20 path=../../x.png\n", type=tarfile.XHDTYPE), member(NAME, b"x")],
    "twice": [member(NAME, b"x"), member(NAME, b"y")],
}


HUGE = {
    "image": [member(NAME, bytes((16 << 20) + 1))],
    "long name": [member("x", bytes((16 << 20) + 1), type=tarfile.GNUTYPE_LONGNAME), member(NAME, b"x")],
    "extended header": [member("x", bytes((16 << 20) + 1), type=tarfile.XHDTYPE), member(NAME, b"x")],
    "by extended header": [member("x", b"17 size=16777217\n", type=tarfile.XHDTYPE), member(NAME, b"x")],
}


@pytest.mark.parametrize(
    ("members", "said"),
    [(members, "expected regular members|is there twice") for members in HOSTILE.values()]
    + [(members, "more than 16,777,216") for members in HUGE.values()],
    ids=[*HOSTILE.keys(), *(f"huge {name}" for name in HUGE)],
)
def test_a_hostile_archive_is_an_error_and_nothing_of_it_is_kept(
    members: list[tuple[tarfile.TarInfo, bytes]], said: str, tmp_path: Path
) -> None:
    work = tmp_path / "deep" / "work"
    work.mkdir(parents=True)
    path = work / "a.tar.gz"
    good = "00000009_000.png"
    path.write_bytes(archive(member(f"images/{good}", b"good"), *members))
    with pytest.raises(ArchiveError, match=rf"a\.tar\.gz: .*({said}).*Nothing of it was kept"):
        unpack(path, frozenset({good, "00000001_000.png"}), work / "out")
    assert [file for file in tmp_path.rglob("*") if not file.is_dir()] == [path]


def test_too_many_members(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_archive, "MAX_MEMBERS", 3)
    path = tmp_path / "a.tar.gz"
    path.write_bytes(archive(*(member(f"images/0000000{number}_000.png") for number in range(4))))
    with pytest.raises(ArchiveError, match="more than 3 members"):
        unpack(path, frozenset(), tmp_path / "out")


@pytest.mark.parametrize("damage", [lambda a: b"not gzip", lambda a: a[: len(a) // 2], lambda a: a[:2000] + a[2100:]])
def test_what_is_not_an_archive_is_an_error(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(damage(archive(*(member(f"images/{image}", content) for image, content in IMAGES.items()))))
    with pytest.raises(ArchiveError, match="Nothing of it was kept"):
        unpack(path, frozenset(IMAGES), tmp_path / "out")
    assert list(tmp_path.iterdir()) == [path]


# The whole command


def test_brings_a_valid_batch_of_the_chosen_patients(server: Loopback, tmp_path: Path) -> None:
    run(server, tmp_path, 15)
    chosen = choose_images(PATIENTS, 15, seed=0)
    read = read_batch(tmp_path)
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
        patch.setattr(image_archive, "progress", dying)
        run(server, tmp_path)
    assert contents(tmp_path) == {}
    server.requests.clear()
    run(server, tmp_path)
    assert archive_requests(server) == [ARCHIVES[2]]  # the first is done, the second is here
    assert len(read_batch(tmp_path).studies) == len(PATIENTS)


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


# Tables, and folders of other origin


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
    assert len(read_batch(tmp_path).boxes) == 1


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
    assert len(read_batch(tmp_path).studies) == len(PATIENTS)


# The command line and the official constants


def test_the_command_says_what_it_brought_how_to_cite_and_what_to_edit(
    server: Loopback, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(command, "NIH", release(server))
    root = tmp_path / "nih"
    assert main(["nih", "--images", "all", "--root", str(root), "--base-url", f"{server.url}/"]) == 0
    said = capsys.readouterr().out
    assert f"{len(PATIENTS)} images of 12 patients, 3 of them official test" in said
    assert "CVPR 2017" in said
    assert "NIH Clinical Center" in said
    assert "Research use only" in said
    assert f"batches:\n  nih:\n    root: {root}" in said


@pytest.mark.parametrize(
    ("arguments", "said"),
    [(["--images", "0"], "at least 1"), (["--base-url", "file:///etc"], "expected http")],
)
def test_the_command_tells_errors_in_one_line(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["nih", "--root", str(tmp_path), "--tables", str(tmp_path / "none"), *arguments]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("chestxray nih: ") and said in line


def test_the_release_is_whole() -> None:
    assert len(NIH.archives) == 12
    assert sum(file.size for file in NIH.archives) == 45_079_862_784
    assert len({file.digests for file in NIH.archives}) == 12
    assert all(file.url.startswith("https://nihcc.") for file in (*NIH.archives, *NIH.tables))
    assert NIH.mirrored("http://mirror/x").archives[11].url == "http://mirror/x/images_012.tar.gz"


@pytest.mark.skipif(not (SHARED / "nih-tables").is_dir(), reason="the official tables are not at ../shared/nih-tables")
def test_the_official_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for table in NIH.tables:
        assert is_intact(SHARED / "nih-tables" / table.name, table)
    today = tmp_path / TABLE
    today.write_bytes((SHARED / "nih-tables" / TABLE).read_bytes().replace(b"Patient Gender", b"Patient Sex", 1))
    assert is_intact(today, NIH.tables[0])
    assert today.stat().st_size == NIH.tables[0].size
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=7.2e9))
    with pytest.raises(ValueError, match=r"too little disk.*7\.8 GB needed"):
        bring_nih(tmp_path / "nih", 8000, tables=SHARED / "nih-tables")
