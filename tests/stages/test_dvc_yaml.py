"""dvc.yaml names what each stage depends on, no more and no less."""

from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

TOP = Path(__file__).parents[2]
STAGES = YAML(typ="safe").load(TOP / "dvc.yaml")["stages"]
# They check, record and show; they change no output.
WITHOUT_EFFECT = {"chestxray.params", "chestxray.tracking", "chestxray.progress"}
GRAPH = grimp.build_graph("chestxray", "stages", cache_dir=None)


def imported(module: str) -> set[str]:
    found: set[str] = set()
    waiting = GRAPH.find_modules_directly_imported_by(module) - WITHOUT_EFFECT
    while waiting:
        found |= waiting
        waiting = {m for f in waiting for m in GRAPH.find_modules_directly_imported_by(f)} - WITHOUT_EFFECT - found
    return {name for name in found if name not in ("chestxray", "stages")}


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_modules_that_the_stage_imports(stage: str) -> None:
    definition = STAGES[stage].get("do", STAGES[stage])
    code = {dep for dep in definition["deps"] if dep.endswith(".py")}
    expected = {f"{module.replace('.', '/')}.py" for module in {f"stages.{stage}", *imported(f"stages.{stage}")}}
    assert code == expected


def test_stages_are_listed_in_run_order() -> None:
    assert list(STAGES) == [
        "phantom", "prepare", "backbone", "class_weighting", "features",
        "train", "fine_tune", "evaluate", "gradcam", "register",
    ]  # fmt: skip


def test_every_stage_is_a_thin_file_of_its_name() -> None:
    for stage in STAGES:
        assert len((TOP / "stages" / f"{stage}.py").read_text().splitlines()) <= 60, stage
