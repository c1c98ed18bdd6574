"""Linked overlays do not stay."""

from serve.overlays import Overlays


def test_overlays_expire() -> None:
    now = [0.0]
    overlays = Overlays(seconds=10, max_bytes=100, max_count=200, clock=lambda: now[0])
    name = overlays.add(b"png")
    now[0] = 9.9
    assert overlays.get(name) == b"png"
    now[0] = 10.0
    assert overlays.get(name) is None


def test_the_oldest_make_room() -> None:
    overlays = Overlays(seconds=10, max_bytes=100, max_count=200)
    names = [overlays.add(bytes(40)) for _ in range(3)]
    assert [overlays.get(name) is not None for name in names] == [False, True, True]


def test_their_number_is_bounded_too() -> None:
    overlays = Overlays(seconds=10, max_bytes=100, max_count=2)
    names = [overlays.add(b"") for _ in range(3)]
    assert [overlays.get(name) is not None for name in names] == [False, True, True]


def test_names_are_128_random_bits() -> None:
    overlays = Overlays(seconds=10, max_bytes=100, max_count=200)
    names = {overlays.add(b"") for _ in range(100)}
    assert len(names) == 100
    assert all(len(bytes.fromhex(name)) == 16 for name in names)
    assert overlays.get("../../etc/passwd") is None
