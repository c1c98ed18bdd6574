"""Linked overlays do not stay."""

from pathlib import Path
from typing import Any

import pytest

from serve.overlays import Overlays


def kept_in(folder: Path, **settings: Any) -> Overlays:
    return Overlays(folder, **{"seconds": 10, "max_bytes": 100, "max_count": 200, **settings})


def test_overlays_expire(tmp_path: Path) -> None:
    now = [0.0]
    overlays = kept_in(tmp_path, clock=lambda: now[0])
    name = overlays.add(b"png")
    now[0] = 9.9
    assert overlays.get(name) == b"png"
    now[0] = 10.0
    assert overlays.get(name) is None
    assert not list(tmp_path.iterdir())


def test_what_expired_goes_without_being_asked_for(tmp_path: Path) -> None:
    now = [0.0]
    overlays = kept_in(tmp_path, clock=lambda: now[0])
    overlays.add(b"png")
    now[0] = 10.0
    overlays.sweep()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("size", "bounds"), [(40, {"max_bytes": 100}), (0, {"max_count": 2})])
def test_the_oldest_make_room(tmp_path: Path, size: int, bounds: dict[str, int]) -> None:
    overlays = kept_in(tmp_path, **bounds)
    names = [overlays.add(bytes(size)) for _ in range(3)]
    assert [overlays.get(name) is not None for name in names] == [False, True, True]
    assert len(list(tmp_path.iterdir())) == 2


def test_names_are_128_random_bits(tmp_path: Path) -> None:
    overlays = kept_in(tmp_path)
    names = {overlays.add(b"") for _ in range(100)}
    assert len(names) == 100
    assert all(len(bytes.fromhex(name)) == 16 for name in names)


def test_only_what_it_keeps_is_opened(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    overlays = kept_in(tmp_path / "heatmaps")
    assert overlays.get("../secret") is None
    assert overlays.get("../../etc/passwd") is None


def test_what_a_killed_process_left_goes_and_other_files_stay(tmp_path: Path) -> None:
    name = kept_in(tmp_path).add(b"png")
    (tmp_path / "holiday.png").write_bytes(b"sea")
    overlays = kept_in(tmp_path)
    assert overlays.get(name) is None
    overlays.sweep(all=True)
    assert [path.name for path in tmp_path.iterdir()] == ["holiday.png"]


def test_a_folder_that_was_tidied_away_is_made_again(tmp_path: Path) -> None:
    overlays = kept_in(tmp_path / "heatmaps")
    lost = overlays.add(b"png")
    (tmp_path / "heatmaps" / f"{lost}.png").unlink()
    (tmp_path / "heatmaps").rmdir()
    assert overlays.get(lost) is None
    assert overlays.get(overlays.add(b"png")) == b"png"


def test_nobody_else_may_look(tmp_path: Path) -> None:
    kept_in(tmp_path / "heatmaps")
    assert (tmp_path / "heatmaps").stat().st_mode & 0o077 == 0
