"""What long work says of itself."""

import pytest

from chestxray.tracking import progress as module
from chestxray.tracking.progress import progress, steps


def test_chunks_are_counted_by_what_they_hold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    chunks = ["abc", "de"]
    assert list(progress(chunks, "predicting", 5, count=len)) == chunks
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["predicting: 3 of 5 images", "predicting: 5 of 5 images"]
    assert lines[-1].startswith("predicting: 5 images in ")


@pytest.mark.parametrize(
    ("unit", "number", "said"), [("file", 1, "1 file in"), ("file", 0, "0 files in"), ("MiB", 3, "3 MiB in")]
)
def test_one_is_no_plural(unit: str, number: int, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert list(progress(range(number), "work", number, unit)) == list(range(number))
    assert f"work: {said}" in capsys.readouterr().err


def test_steps_of_unknown_number_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SECONDS_BETWEEN_LINES", 0.0)
    with steps("fitting") as step:
        step()
        step()
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(",")[0] for line in lines[:2]] == ["fitting: 1 step", "fitting: 2 steps"]
    assert lines[-1].startswith("fitting: 2 steps in ")
