"""`params.yaml` is checked before any work, and a fault is named by its key."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from chestxray.params import ParamsError, load_params
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
        ("train.fold", 3, "train.fold: is not known; remove it, or mend its spelling"),
        ("train.folds", None, "train.folds: is missing; add it"),
        (
            "train.warm_start",
            "models:/chest-xray@champion",
            "must be .* models:/chest-xray/1, or null",
        ),
        ("phantom.update.studies", 5000, "phantom.update: 5000 .* a patient has 1 to 4 studies"),
        ("prepare.test", 0.9, "leave nothing to train on"),
        ("prepare.max_rejected", 1.5, "prepare.max_rejected"),
        ("backbone.alpha", 0.4, "backbone.alpha"),
        ("backbone.alpha", 0.5, "alpha 1.0"),
        ("backbone.input_size", 200, "backbone.input_size"),
        ("backbone.input_size", 512, "larger than prepare.size"),
        ("class_weighting.power", 0.7, "class_weighting.power"),
        ("features.scale", [1.3, 1.0], "features.scale"),
        ("features.views", 1, "features.views"),
        ("head.taps", ["block_13_expand_relu"], "head.taps: .*expected last among them"),
        ("head.taps", ["last", "last"], "head.taps: .*last is there twice"),
        ("head.taps", ["block_17_expand_relu", "last"], "head.taps.0: .*such as block_13_expand_relu"),
        ("head.taps", ["block_13_project", "last"], "head.taps.0: .*behind its ReLU"),
        ("fine_tune.from_layer", "block_17", "fine_tune.from_layer"),
        ("fine_tune.learning_rate", "fast", "fine_tune.learning_rate"),
        ("evaluate.operating_points", ["best"], "evaluate.operating_points"),
        ("evaluate.operating_points", [], "evaluate.operating_points"),
        ("evaluate.operating_points", ["f1", "f1"], "evaluate.operating_points: .*f1 is there twice"),
        ("evaluate.operating_points", ["sensitivity@90"], r"evaluate\.operating_points.0: .* sensitivity@0\.9"),
        ("evaluate.operating_points", ["assured_sensitivity@1"], "evaluate.operating_points.0"),
        ("phantom.patients", 5000, "a patient has 1 to 4 studies"),
        ("register.model", "../x", "register.model"),
        ("batches", {}, "batches"),
        ("batches", {"../up": {"root": "x"}}, "batches"),
        ("batches", {"a": {"path": "x"}}, "batches.a.root: is missing"),
        ("batches", {"on": {"root": "x"}}, "take another name"),
        ("batches.phantom.uncertain", "maybe", "batches.phantom.uncertain.*'unknown', 'positive' or 'negative'"),
        ("batches.phantom.patients", "a/b", "batches.phantom.patients: must be a prefix of letters.* or image"),
        ("batches.phantom.labels", {"Gout": 1}, "batches.phantom.labels.Gout"),
        ("batches.phantom.tabel", "x.csv", "batches.phantom.tabel: is not known"),
        ("prepare.views", "lateral", "prepare.views.*'frontal' or 'all'"),
        ("surprise", 1, "surprise"),
    ],
)
def test_a_fault_is_an_error_with_the_key(tmp_path: Path, key: str, value: Any, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        load_params(with_change(tmp_path, key, value))


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("train.folds", 1, r"train.folds: .* greater than or equal to 2 \(given 1\)"),
        ("train.l2", [3, 0], r"train.l2: must be a number above 0, or a list of such numbers \(given \[3, 0\]\)"),
        (
            "batches",
            {"../up": {"root": "x"}},
            r"batches\.\.\./up: must be named .* a letter first, 64 at most \(given '\.\./up'\)",
        ),
        ("batches", {"b" * 65: {"root": "x"}}, r"batches\.b{65}: must be named .* \(given 'b{65}'\)"),
        ("evaluate.benchmark", "nih", r"evaluate\.benchmark: must be a list, such as \[a, b\] \(given 'nih'\)"),
        ("backbone.weights", ["x" * 999], r"backbone\.weights: must be text \(given \['x{78}…\)"),
        ("prepare.test", 0.9, r"prepare: test 0\.9 \+ validation 0\.2 .*: stay below 1"),
    ],
)
def test_a_fault_is_one_line_with_the_key_the_value_and_the_mend(
    tmp_path: Path, key: str, value: Any, said: str
) -> None:
    path = with_change(tmp_path, key, value)
    with pytest.raises(ParamsError, match=rf"^{path}: {said}$"):
        load_params(path)


def test_every_fault_has_its_line(tmp_path: Path) -> None:
    path = with_change(tmp_path, "batches", {"a": {"path": "x"}})
    with pytest.raises(ParamsError) as raised:
        load_params(path)
    assert [line.split(": ")[1] for line in str(raised.value).splitlines()] == ["batches.a.root", "batches.a.path"]


@pytest.mark.parametrize(("given", "read"), [(2, 2.0), ([0.1, 3, 1], (0.1, 3.0, 1.0))])
def test_l2_is_a_number_or_a_grid(tmp_path: Path, given: Any, read: Any) -> None:
    assert load_params(with_change(tmp_path, "train.l2", given)).train.l2 == read


def test_a_batch_is_found_by_its_name_and_others_are_said() -> None:
    params = load_params(SHIPPED)
    assert params.batch("phantom").root == "data/raw/phantom"
    with pytest.raises(ParamsError, match=r"params\.yaml: batches: no 'nih' there; name one of phantom"):
        params.batch("nih")


def test_no_file_and_no_yaml_are_said(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="top of the repository"):
        load_params(tmp_path / "params.yaml")
    (tmp_path / "params.yaml").write_text("a: [")
    with pytest.raises(ParamsError, match="not YAML"):
        load_params(tmp_path / "params.yaml")


def test_labels_of_a_table_are_a_value_and_no_keys_of_what_is_logged(tmp_path: Path) -> None:
    params = load_params(with_change(tmp_path, "batches.phantom.labels", {"Fluid (left), 50 %": "Effusion", "x": None}))
    assert params.batches["phantom"].labels == {"Fluid (left), 50 %": "Effusion", "x": None}
    logged = params.model_dump(mode="json")["batches"]["phantom"]["labels"]
    assert logged == '{"Fluid (left), 50 %": "Effusion", "x": null}'


def with_findings(tmp_path: Path, findings: Any) -> Path:
    params: Any = YAML(typ="safe").load(SHIPPED)
    params["findings"] = findings
    YAML().dump(params, tmp_path / "params.yaml")
    return tmp_path / "params.yaml"


def test_a_finding_without_an_entry_has_the_usual_names_and_its_own_sign(tmp_path: Path) -> None:
    own = load_params(with_findings(tmp_path, {"Tuberculosis": {"synonyms": ["TB"]}, "Effusion": None}))
    assert own.findings["Effusion"].sign == "Effusion"
    assert own.findings["Tuberculosis"].sign is None
    assert own.vocabulary.findings == ("Tuberculosis", "Effusion")
    assert own.vocabulary.find("tb") == "Tuberculosis"
    assert own.vocabulary.find("Pleural Effusion") == "Effusion"


def test_case_and_spaces_of_a_usual_finding_make_no_difference(tmp_path: Path) -> None:
    own = load_params(with_findings(tmp_path, {"effusion": None, "Pleural thickening": {"title": "Thick"}}))
    assert [finding.sign for finding in own.findings.values()] == ["Effusion", "Pleural_Thickening"]
    assert own.vocabulary.find("Pleural Effusion") == "effusion"
    assert own.vocabulary.signs == {"Effusion": "effusion", "Pleural_Thickening": "Pleural thickening"}


@pytest.mark.parametrize(
    ("findings", "said"),
    [
        ({}, "1 to 200 findings"),
        ({"../x": None}, "findings.../x: must be named with letters"),
        ({"No finding": None}, "without findings: take another name"),
        ({"Normal": None}, "without findings: take another name"),
        ({"A": {"synonyms": ["No Finding"]}}, "A: 'No Finding' is what tables say .* take another name"),
        ({"Row": None}, "is called row, as a column"),
        ({"A": {"synonyms": ["fluid"]}, "B": {"synonyms": ["Fluid"]}}, "is a name of both A and B"),
        ({"A": {"sign": "Effusion"}, "Effusion": None}, "A and Effusion are both drawn by Effusion"),
        ({"A": {"title": "TB"}, "B": {"title": "tb"}}, "A and B have one title"),
        ({"A": {"sign": "Tuberculosis"}}, "findings.A.sign: must be null or one of Atelectasis"),
        ({"A": {"title": "Big\theart"}}, "findings.A.title: a title must be 1 to 100 printable characters"),
        ({"A": {"title": "  "}}, "findings.A.title: a title must be .* without spaces around them; got 2 characters"),
        ({"A": {"title": "x" * 101}}, "findings.A.title: .*; got 101 characters"),
        ({"A": {"syn": []}}, "findings.A.syn: is not known"),
        ({True: None}, "quote it"),
        (["A"], "findings"),
    ],
)
def test_findings_that_can_be_taken_for_one_another_are_refused(tmp_path: Path, findings: Any, said: str) -> None:
    with pytest.raises(ParamsError, match=said):
        load_params(with_findings(tmp_path, findings))
