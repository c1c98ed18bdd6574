"""Linked overlays do not stay."""

from pathlib import Path
from typing import Any

import pytest

from serve.overlays import Overlays


def kept_in(folder: Path, **settings: Any) -> Overlays:
    return Overlays(folder, **{"seconds": 10, "max_bytes": 100, "max_count": 200, **settings})


def add(overlays: Overlays, png: bytes) -> str:
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
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "bounds"), [(40, {"max_bytes": 100}), (0, {"max_count": 2})])
def test_the_oldest_make_room(tmp_path: Path, size: int, bounds: dict[str, int]) -> None:
    overlays = kept_in(tmp_path, **bounds)
    names = [add(overlays, bytes(size)) for _ in range(3)]
    assert [overlays.get(name) is not None for name in names] == [False, True, True]
    assert len(list(tmp_path.iterdir())) == 2


def test_names_are_128_random_bits(tmp_path: Path) -> None:
    overlays = kept_in(tmp_path)
    names = {add(overlays, b"") for _ in range(100)}
    assert len(names) == 100
    assert all(len(bytes.fromhex(name.removesuffix(".png"))) == 16 for name in names)


def test_only_what_it_keeps_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    overlays = kept_in(tmp_path / "heatmaps")
    assert overlays.get("../secret.png") is None
    assert overlays.get("../../etc/passwd") is None


def test_what_a_killed_process_left_goes_and_other_files_stay(tmp_path: Path) -> None:
    name = add(kept_in(tmp_path), b"png")
    (tmp_path / "holiday.png").write_bytes(b"sea")
    overlays = kept_in(tmp_path)
    assert overlays.get(name) is None
    overlays.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]


def test_a_folder_that_was_tidied_away_is_made_again(tmp_path: Path) -> None:
    overlays = kept_in(tmp_path / "heatmaps")
    lost = add(overlays, b"png")
    (tmp_path / "heatmaps" / lost).unlink()
    (tmp_path / "heatmaps").rmdir()
    assert overlays.get(lost) is None
    assert overlays.get(add(overlays, b"png")) == b"png"


def test_nobody_else_may_look(tmp_path: Path) -> None:
    kept_in(tmp_path / "heatmaps")
    assert (tmp_path / "heatmaps").stat().st_mode & 0o077 == 0
