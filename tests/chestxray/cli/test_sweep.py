"""What a sweep refuses before it trains anything."""

from pathlib import Path

import pytest
from ruamel.yaml import YAML

from chestxray.cli.sweep import check_reproduced
from chestxray.errors import UserError

PARAMS = {
    "batches": {"nih": {}},
    "features": {"views": 8, "scale": [1.0, 1.2]},
    "fine_tune": {"from_layer": "block_13"},
}
STAGES = {
    "features@nih": {"features": PARAMS["features"], "fine_tune.from_layer": "block_13"},
    "features@gone": {"features": {"views": 2}},
    "evaluate": {"evaluate": {"seed": 1}},
}


@pytest.fixture
def top(tmp_path: Path) -> Path:
    stages = {name: {"params": {"params.yaml": params}} for name, params in STAGES.items()}
    YAML(typ="safe").dump({"stages": {"phantom": {"cmd": "true"}, **stages}}, tmp_path / "dvc.lock")
    write(tmp_path, PARAMS)
    return tmp_path


def write(top: Path, params: dict[str, object]) -> None:
    YAML(typ="safe").dump(params, top / "params.yaml")


def test_params_as_they_were_pass_and_so_do_those_of_other_stages_and_batches(top: Path) -> None:
    check_reproduced(top)
    write(top, {**PARAMS, "evaluate": {"seed": 2}})
    check_reproduced(top)


@pytest.mark.parametrize(
    ("section", "now", "said"),
    [
        ("fine_tune", {"from_layer": "block_12"}, r"fine_tune\.from_layer is 'block_12' and was 'block_13'"),
        ("features", {"views": 8, "scale": [1.0, 1.3]}, r"features\.scale is \[1\.0, 1\.3\] and was \[1\.0, 1\.2\]"),
        ("features", {"views": 8}, r"features\.scale is None and was \[1\.0, 1\.2\]"),
        ("features", {"views": 8, "scale": [1.0, 1.2], "seed": 1}, r"features\.seed is 1 and was None"),
    ],
)
def test_a_param_that_changed_since_is_named(top: Path, section: str, now: dict[str, object], said: str) -> None:
    write(top, {**PARAMS, section: now})
    with pytest.raises(UserError, match=rf"{said} in the last run of features@nih\. Run dvc repro, then sweep"):
        check_reproduced(top)


def test_without_a_lock_there_is_nothing_to_start_from(top: Path) -> None:
    (top / "dvc.lock").unlink()
    with pytest.raises(UserError, match=r"no .*dvc\.lock"):
        check_reproduced(top)
