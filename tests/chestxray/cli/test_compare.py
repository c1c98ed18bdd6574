"""How the figures of a run compare with the committed ones: reproduced, not reproduced, or nothing to compare with."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from chestxray.cli.compare import BASELINE, compare_with_commit, comparison
from tests.repository import TOP

PART = {"n": 288, "mean_auroc": 0.9054, "mean_auroc_ci_low": 0.88, "mean_auroc_ci_high": 0.93}
LOCK = """stages:
  decode@mine:
    deps:
    - path: /data/mine
      md5: {md5}
    - path: stages/decode.py
      md5: x
"""


def git(top: Path, *words: str) -> None:
    identity = ("-c", "user.name=tests", "-c", "user.email=tests@localhost")
    subprocess.run(["git", *identity, *words], cwd=top, check=True, capture_output=True)


@pytest.fixture
def clone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A commit of params, figures and lock."""
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    shutil.copy(TOP / "params.yaml", tmp_path)
    (tmp_path / "dvc.lock").write_text(LOCK.format(md5="a"))
    write(tmp_path, PART)
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "figures")
    return tmp_path


def write(top: Path, part: dict[str, float]) -> None:
    (top / "reports").mkdir(exist_ok=True)
    (top / "reports/metrics.json").write_text(json.dumps({"test": part}))


def test_equal_figures_are_reproduced_to_the_byte(clone: Path) -> None:
    said = compare_with_commit()
    assert said.startswith("reproduced: no difference of a headline (commit ") and "equal to the byte" in said


def test_other_last_digits_are_reproduced_and_can_be_made_the_baseline(clone: Path) -> None:
    write(clone, PART | {"mean_auroc": 0.9035})
    said = compare_with_commit()
    assert said.startswith("reproduced: largest difference test.mean_auroc 0.903, committed 0.905, tolerance 0.010")
    assert "Another CPU gives other last digits" in said and said.endswith(BASELINE) and "\n" not in said
    git(clone, *BASELINE.replace('"Figures of this machine"', "baseline").split()[1:])
    assert "equal to the byte" in compare_with_commit()


@pytest.mark.parametrize(
    ("part", "said"),
    [
        (PART | {"mean_auroc": 0.85}, "largest difference test.mean_auroc 0.850, committed 0.905"),
        (PART | {"n": 287}, "test.n is 287, committed 288"),
        ({"n": 288}, "test.mean_auroc was not measured"),
    ],
)
def test_other_figures_are_not_reproduced(part: dict[str, float], said: str, clone: Path) -> None:
    write(clone, part)
    assert compare_with_commit().startswith(f"not reproduced: {said}")


def test_where_nothing_can_be_compared_it_is_said(clone: Path) -> None:
    (clone / "dvc.lock").write_text(LOCK.format(md5="b"))
    assert "the data are not those of the commit" in compare_with_commit()
    (clone / "params.yaml").write_text("findings: {}\n")
    assert "params.yaml is not as in the commit" in compare_with_commit()
    shutil.rmtree(clone / ".git")
    said = compare_with_commit()
    assert said.startswith("Nothing to compare these figures with: no commit") and "reproduced" not in said


def test_without_an_interval_the_tolerance_is_fixed() -> None:
    before, after = {"test": {"macro_f1_of_all": 0.5}}, {"test": {"macro_f1_of_all": 0.53}}
    assert comparison(before, after).startswith("not reproduced") and "tolerance 0.020" in comparison(before, after)


def test_what_is_not_reproduced_is_no_baseline(clone: Path) -> None:
    write(clone, PART | {"mean_auroc": 0.5})
    said = compare_with_commit()
    assert said.startswith("not reproduced") and BASELINE not in said and "look for what differs" in said


@pytest.mark.parametrize("text", ["", "[]", "{}", "garbage", '{"test": {}}', '{"test": {"mean_auroc": NaN}}', "\xff"])
def test_figures_that_are_none_are_not_compared(clone: Path, text: str) -> None:
    (clone / "reports/metrics.json").write_text(text, encoding="latin-1")
    assert "reports/metrics.json here is not what `evaluate` writes" in compare_with_commit()
    git(clone, "commit", "-qam", "other figures")
    write(clone, PART)
    assert compare_with_commit().startswith("Nothing to compare")  # also where nothing of it can be read


def test_a_part_that_was_not_measured_is_said(clone: Path) -> None:
    (clone / "reports/metrics.json").write_text(json.dumps({"benchmark": PART}))
    assert compare_with_commit().startswith("not reproduced: test.n is None, committed 288")
