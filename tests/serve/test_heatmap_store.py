"""Linked overlays do not stay."""

import errno
import os
import shutil
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from serve.heatmap_store import HeatmapStore, _Folder


def kept_in(folder: Path, **settings: Any) -> HeatmapStore:
    return HeatmapStore(folder, **{"seconds": 10, "max_bytes": 100, "max_count": 200, **settings})


def files_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def add(overlays: HeatmapStore, png: bytes) -> str:
    [name] = overlays.add([png])
    return name


def test_overlays_expire(tmp_path: Path) -> None:
    now = [0.0]
    overlays = kept_in(tmp_path, clock=lambda: now[0])
    name = add(overlays, b"png")
    now[0] = 9.9
    assert overlays.get(name) == b"png"
    now[0] = 10.0
    assert overlays.get(name) is None
    overlays.sweep()
    assert not files_in(tmp_path)


@pytest.mark.parametrize(("size", "bounds"), [(40, {"max_bytes": 100}), (0, {"max_count": 2})])
def test_the_oldest_make_room(tmp_path: Path, size: int, bounds: dict[str, int]) -> None:
    overlays = kept_in(tmp_path, **bounds)
    names = [add(overlays, bytes(size)) for _ in range(3)]
    assert [overlays.get(name) is not None for name in names] == [False, True, True]
    assert len(files_in(tmp_path)) == 2


def test_names_are_128_random_bits(tmp_path: Path) -> None:
    overlays = kept_in(tmp_path)
    names = {add(overlays, b"") for _ in range(100)}
    assert len(names) == 100
    assert all(len(bytes.fromhex(name.removesuffix(".png"))) == 16 for name in names)


def test_only_what_it_keeps_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    overlays = kept_in(tmp_path)
    assert next(tmp_path.glob("*/")).joinpath("../secret.png").read_bytes() == b"secret"
    assert overlays.get("../secret.png") is None
    assert overlays.get("../../etc/passwd") is None


def test_what_a_killed_process_left_goes_when_it_has_expired_and_other_files_stay(tmp_path: Path) -> None:
    (tmp_path / "holiday.png").write_bytes(b"sea")
    name = add(kept_in(tmp_path), b"png")  # and is killed
    [left] = tmp_path.glob("*/*.png")
    fresh = kept_in(tmp_path)
    assert fresh.get(name) == b"png" and left.exists()
    os.utime(left, (0, 0))
    assert fresh.get(name) is None
    os.utime(left.parent, (0, 0))
    kept_in(tmp_path)
    assert files_in(tmp_path) == [tmp_path / "holiday.png"]


def test_replicas_find_each_others(tmp_path: Path) -> None:
    one, other = kept_in(tmp_path), kept_in(tmp_path)
    name = add(one, b"png")
    assert other.get(name) == b"png"
    [path] = tmp_path.glob(f"*/{name}")
    assert other.get(f"../{path.parent.name}/{name}") is None
    path.write_bytes(bytes(101))
    assert other.get(name) is None  # larger than any
    path.write_bytes(b"png")
    os.utime(path, (0, 0))
    assert other.get(name) is None  # expired
    os.utime(path)
    assert other.get(name) == b"png"
    one.close()
    assert other.get(name) is None


def test_two_processes_keep_out_of_each_others_way(tmp_path: Path) -> None:
    going, coming = kept_in(tmp_path), kept_in(tmp_path)
    names = add(going, b"going"), add(coming, b"coming")
    going.close()
    assert [going.get(names[0]), coming.get(names[1])] == [None, b"coming"]
    coming.close()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_was_tidied_away_is_made_again(tmp_path: Path) -> None:
    overlays = kept_in(tmp_path)
    lost = add(overlays, b"png")
    shutil.rmtree(next(tmp_path.iterdir()))
    overlays.sweep()
    assert overlays.get(lost) is None
    assert overlays.get(add(overlays, b"png")) == b"png"


def test_nobody_else_may_look(tmp_path: Path) -> None:
    kept_in(tmp_path)
    assert next(tmp_path.iterdir()).stat().st_mode & 0o077 == 0


def full_beyond(monkeypatch: pytest.MonkeyPatch, folder: Path, most: int) -> None:
    """A disk that has room for so many bytes; a file that does not fit is written in part."""
    write = _Folder.write

    def written(self: _Folder, name: str, content: bytes) -> None:
        room = most - sum(path.stat().st_size for path in files_in(folder))
        write(self, name, content[: max(0, room)])
        if len(content) > room:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(_Folder, "write", written)


def test_where_the_disk_is_full_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_beyond(monkeypatch, tmp_path, 100)
    overlays = kept_in(tmp_path, max_bytes=1000)
    first, second, third = (add(overlays, bytes(40)) for _ in range(3))
    assert [overlays.get(name) for name in (first, second, third)] == [None, bytes(40), bytes(40)]


def test_where_an_answer_does_not_fit_none_of_it_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full_beyond(monkeypatch, tmp_path, 100)
    overlays = kept_in(tmp_path, max_bytes=1000)
    with pytest.raises(OSError, match="No space"):
        overlays.add([bytes(40)] * 3)
    assert not files_in(tmp_path)
    assert overlays.get(add(overlays, bytes(100))) == bytes(100)


def test_an_answer_that_fails_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    overlays = kept_in(tmp_path)
    with pytest.raises(ZeroDivisionError):
        overlays.add(bytes(1 // n) for n in (1, 1, 0))
    assert not files_in(tmp_path)


def foreign(tmp_path: Path) -> Path:
    folder = tmp_path / "foreign"
    folder.mkdir()
    (folder / f"{'0' * 32}.png").write_bytes(b"theirs")
    (folder / "file").write_bytes(b"theirs")
    return folder


@pytest.mark.parametrize("link", [True, False])
def test_what_comes_to_lie_in_the_place_of_the_folder_is_left_alone(tmp_path: Path, link: bool) -> None:
    kept, theirs = tmp_path / "kept", foreign(tmp_path)
    overlays = kept_in(kept)
    name = add(overlays, b"png")
    (path,) = kept.iterdir()
    path.rename(tmp_path / "away")
    path.symlink_to(theirs) if link else theirs.rename(path)
    os.utime(path, (0, 0))
    other = add(overlays, b"another")
    overlays.sweep()
    assert [overlays.get(each) for each in (name, other)] == [b"png", b"another"]
    overlays.close()
    if link:
        kept_in(kept)  # which removes what has expired
    assert sorted(each.read_bytes() for each in path.iterdir()) == [b"theirs"] * 2


@pytest.mark.parametrize("swap", [os.mkfifo, lambda path: path.symlink_to("/etc/hostname"), Path.mkdir])
def test_only_regular_files_are_read(tmp_path: Path, swap: Callable[[Path], object]) -> None:
    overlays = kept_in(tmp_path)
    name = add(overlays, b"png")
    (path,) = files_in(tmp_path)
    path.unlink()
    swap(path)
    assert overlays.get(name) is None
    overlays.sweep()
    overlays.close()


def test_a_file_in_place_of_an_overlay_is_not_read_whole(tmp_path: Path) -> None:
    overlays = kept_in(tmp_path)
    name = add(overlays, b"png")
    (path,) = files_in(tmp_path)
    for size in (3 * 1024**3, 2):
        os.truncate(path, size)
        tracemalloc.start()
        assert overlays.get(name) is None
        assert tracemalloc.get_traced_memory()[1] < 1024 * 1024
        tracemalloc.stop()
