"""dvc.yaml names what each stage depends on, no more and no less."""

import json
import re
from pathlib import Path

import grimp
import pytest
from ruamel.yaml import YAML

from benchmarks.scratch import pipeline
from tests.repository import TOP

STAGES = YAML(typ="safe").load(TOP / "dvc.yaml")["stages"]
WITHOUT_EFFECT = ("chestxray.params", "chestxray.errors", "chestxray.tracking", "stages")
"""They check, record and show; they change no output."""
BY_MODULE = "training"
"""The package in which a re-run is so dear that a stage names its modules."""
GRAPH = grimp.build_graph("chestxray", "stages", cache_dir=None)


def imported(module: str) -> set[str]:
    """The modules that can change an output of `module`."""
    found: set[str] = set()
    waiting = {module}
    while waiting:
        direct = {m for name in waiting for m in GRAPH.find_modules_directly_imported_by(name)}
        waiting = {m for m in direct - found if m not in WITHOUT_EFFECT and not m.startswith("chestxray.tracking.")}
        found |= waiting
    return found


def dependency(module: str) -> str:
    """What dvc.yaml names for a module: its package, or its file."""
    path = Path(*module.split("."))
    if len(path.parts) > 2 and path.parts[1] != BY_MODULE:
        return str(Path(*path.parts[:2]))
    return str(path) if (TOP / path).is_dir() else f"{path}.py"


@pytest.mark.parametrize("stage", STAGES)
def test_deps_are_the_packages_that_the_stage_imports(stage: str) -> None:
    definition = STAGES[stage].get("do", STAGES[stage])
    code = [dep for dep in definition["deps"] if dep.startswith(("chestxray", "stages"))]
    expected = {dependency(module) for module in (f"stages.{stage}", *imported(f"stages.{stage}"))}
    assert sorted(code) == sorted(expected)


def test_drawing_is_no_dependency_of_a_stage_that_trains() -> None:
    for stage in ("features", "train", "fine_tune", "input_gate"):
        drawing = {
            m for m in imported(f"stages.{stage}") if GRAPH.find_modules_directly_imported_by(m) & {"matplotlib"}
        }
        assert "chestxray/evaluation" not in STAGES[stage].get("do", STAGES[stage])["deps"] and not drawing


def test_the_memory_of_every_stage_is_measured() -> None:
    measured = {command.split()[2] for command in pipeline().values()}
    assert measured == {f"stages.{path.stem}" for path in (TOP / "stages").glob("[a-z]*.py")}
    assert [name.partition("@")[0] for name in pipeline() if name != "digests@features"] == list(STAGES)


def test_the_file_stays_short() -> None:
    lines = (TOP / "dvc.yaml").read_text().splitlines()
    code = [line for line in lines if line.strip().startswith(("- chestxray/", "- stages/"))]
    assert len(lines) <= 330 and len(code) <= 105


def test_the_page_of_plots_has_a_place_for_each_figure_and_takes_nothing_from_the_internet() -> None:
    entries = [entry for stage in STAGES.values() for entry in stage.get("plots", [])]
    figures = [path for entry in entries for path in entry if path.endswith(".png")]
    page = (TOP / ".dvc/plots/page.html").read_text()
    places = re.findall(r"#(\w+)\s*{ order: (\d+); --title: \"\2\. ", page)
    assert sorted(identifier for identifier, _ in places) == sorted(re.sub(r"[/.]", "_", path) for path in figures)
    assert [int(place) for _, place in places] == list(range(1, len(figures) + 1))
    assert "//" not in page.replace("<!-- ", "") and "{scripts}" not in page


def test_curves_of_findings_are_a_line_a_finding() -> None:
    plots = {path: props for entry in STAGES["evaluate"]["plots"] for path, props in entry.items()}
    for name in ("roc", "precision_recall"):
        assert plots[f"reports/curves/{name}.csv"]["template"] == "by_finding"
    template = json.loads((TOP / ".dvc/plots/by_finding.json").read_text())
    assert template["encoding"]["color"]["field"] == "finding"


def test_stages_are_listed_in_run_order() -> None:
    assert list(STAGES) == [
        "phantom_listed", "phantom", "decode", "prepare", "backbone", "features", "digests", "class_weighting",
        "train", "fine_tune", "input_gate", "evaluate", "gradcam", "register",
    ]  # fmt: skip


def test_every_stage_is_a_thin_file_of_its_name() -> None:
    for stage in STAGES:
        assert len((TOP / "stages" / f"{stage}.py").read_text().splitlines()) <= 80, stage
