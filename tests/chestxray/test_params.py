"""`params.yaml` is checked before any work, and a fault is named by its key."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from chestxray.params import ParamsError, load_params
from chestxray.training.linear_head import l2_grid
from tests.repository import TOP

SHIPPED = TOP / "params.yaml"


def with_change(tmp_path: Path, key: str, value: Any) -> Path:
    params: Any = YAML(typ="safe").load(SHIPPED)
    *sections, last = key.split(".")
    target = params
    for section in sections:
        target = target[section]
    if value is None:
        del target[last]
    else:
        target[last] = value
    path = tmp_path / "params.yaml"
    YAML(typ="safe").dump(params, path)
    return path


def test_the_shipped_file_is_right_and_can_not_be_changed_in_passing() -> None:
    params = load_params(SHIPPED)
    assert list(params.batches) == ["phantom"]
    with pytest.raises(ValidationError):
        params.train.folds = 7  # type: ignore[misc] - that it can't is what is tested


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.l2", -1.0, "train.l2"),
        ("train.l2", [], "train.l2"),
        ("train.fold", 3, "train.fold"),
        ("train.folds", None, "train.folds"),
        ("train.warm_start", "models:/chest-xray@champion", "train.warm_start"),
        ("phantom.update.studies", 5000, "a patient has 1 to 4 studies"),
        ("prepare.test", 0.9, "leave nothing to train on"),
        ("prepare.max_rejected", 1.5, "prepare.max_rejected"),
        ("backbone.alpha", 0.4, "backbone.alpha"),
        ("backbone.alpha", 0.5, "alpha 1.0"),
        ("backbone.input_size", 200, "backbone.input_size"),
        ("backbone.input_size", 512, "larger than prepare.size"),
        ("class_weighting.power", 0.7, "class_weighting.power"),
        ("features.scale", [1.3, 1.0], "features.scale"),
        ("features.views", 1, "features.views"),
        ("fine_tune.from_layer", "block_17", "fine_tune.from_layer"),
        ("fine_tune.learning_rate", "fast", "fine_tune.learning_rate"),
        ("evaluate.threshold_policy", "best", "evaluate.threshold_policy"),
        ("evaluate.threshold_policy", "sensitivity@90", r"evaluate\.threshold_policy: .* sensitivity@0\.9"),
        ("phantom.patients", 5000, "a patient has 1 to 4 studies"),
        ("register.model", "../x", "register.model"),
        ("batches", {}, "batches"),
        ("batches", {"../up": {"root": "x"}}, "batches"),
        ("batches", {"a": {"path": "x"}}, "batches.a"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_fault_is_an_error_with_the_key(tmp_path: Path, key: str, value: Any, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        load_params(with_change(tmp_path, key, value))


def test_the_value_given_is_said(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"train.folds: .*\(given 1\)"):
        load_params(with_change(tmp_path, "train.folds", 1))


def test_one_value_or_a_grid_strongest_first(tmp_path: Path) -> None:
    assert l2_grid(load_params(with_change(tmp_path, "train.l2", 2)).train) == (2.0,)
    assert l2_grid(load_params(with_change(tmp_path, "train.l2", [0.1, 3, 1])).train) == (3.0, 1.0, 0.1)


def test_no_file_and_no_yaml_are_said(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="top of the repository"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(ParamsError, match="not YAML"):
        load_params(tmp_path / "params.yaml")
