"""Linked overlays do not stay."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from serve.heatmap_store import HeatmapStore


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
    assert fresh.get(name) is None and left.exists()
    os.utime(left.parent, (0, 0))
    kept_in(tmp_path)
    assert files_in(tmp_path) == [tmp_path / "holiday.png"]


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
