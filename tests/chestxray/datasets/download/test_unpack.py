"""Archives: the wanted images, or nothing at all of one that holds anything else."""

import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest

from chestxray.datasets.download import unpack as unpack_module
from chestxray.datasets.download.unpack import ArchiveError, unpack
from tests.chestxray.datasets.download.small_release import HOSTILE, IMAGES, NAME, archive, member

HUGE = {
    "image": [member(NAME, bytes((16 << 20) + 1))],
    "long name": [member("x", bytes((16 << 20) + 1), type=tarfile.GNUTYPE_LONGNAME), member(NAME, b"x")],
    "extended header": [member("x", bytes((16 << 20) + 1), type=tarfile.XHDTYPE), member(NAME, b"x")],
    "by extended header": [member("x", b"17 size=16777217\n", type=tarfile.XHDTYPE), member(NAME, b"x")],
}


def test_unpacks_the_wanted_images_and_lists_all(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(archive(*(member(f"images/{image}", content) for image, content in IMAGES.items())))
    wanted = frozenset(list(IMAGES)[::3])
    assert unpack(path, wanted, tmp_path / "out") == set(IMAGES)
    assert {file.name: file.read_bytes() for file in (tmp_path / "out").iterdir()} == {i: IMAGES[i] for i in wanted}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.tar.gz", "out"]


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
    monkeypatch.setattr(unpack_module, "MAX_MEMBERS", 3)
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
