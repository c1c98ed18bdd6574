"""What people turn about the tables of their batches re-labels in seconds, and decodes and embeds nothing again."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from chestxray.batch_layout import SYNTHETIC_NOTICE
from chestxray.datasets.dataset import BatchFolders, read_studies
from tests.nih_batch import plain_batch
from tests.stages.conftest import Clone

pytestmark = pytest.mark.slow

DEAR = ("decode", "features", "backbone")


@pytest.fixture(scope="module")
def clone(make_clone: Callable[[], Clone]) -> Clone:
    """Two batches of noise, decoded, prepared and embedded: `a` with labels of its own, `b` of phantoms."""
    clone = make_clone()
    plain_batch(clone.top / "data/raw/a", 24, "Mass|Klump")
    (plain_batch(clone.top / "data/raw/b", 16) / SYNTHETIC_NOTICE).touch()
    set_params(clone, batches={"a": {"root": "data/raw/a", "labels": {"Klump": None}}, "b": {"root": "data/raw/b"}})
    clone.repro("digests@prepared", "digests@features")
    return clone


def set_params(clone: Clone, **sections: object) -> None:
    yaml, path = YAML(), clone.top / "params.yaml"
    params = yaml.load(path)
    params.update(sections)
    yaml.dump(params, path)


def params(clone: Clone) -> dict[str, dict[str, object]]:
    read: dict[str, dict[str, object]] = YAML(typ="safe").load(clone.top / "params.yaml")
    return read


def turned(clone: Clone, **sections: object) -> list[str]:
    """The stages that a change of params runs, up to the digests on which all later ones depend."""
    set_params(clone, **sections)
    return clone.repro("digests@prepared", "digests@features")


def positives(clone: Clone, batch: str) -> dict[str, int]:
    studies = read_studies(BatchFolders(batch, clone.top / "data").prepared)
    return {name: int((studies[name] == 1).sum()) for name in studies.columns if studies[name].dtype == "int8"}


def test_a_label_that_is_mapped_otherwise_re_labels_its_batch_and_embeds_nothing(clone: Clone) -> None:
    assert positives(clone, "a")["Nodule"] == 0
    batches = params(clone)["batches"]
    batches["a"] = {"root": "data/raw/a", "labels": {"Klump": "Nodule"}}
    assert turned(clone, batches=batches) == ["prepare@a", "digests@prepared"]
    assert positives(clone, "a")["Nodule"] == positives(clone, "a")["Mass"] == 12


def test_an_edit_of_one_batch_prepares_no_other(clone: Clone) -> None:
    batches = params(clone)["batches"]
    batches["b"] = {"root": "data/raw/b", "uncertain": "positive"}
    assert [stage for stage in turned(clone, batches=batches) if "@a" in stage or stage.startswith(DEAR)] == []


def test_titles_and_synonyms_change_no_output(clone: Clone) -> None:
    before = (clone.top / "data/prepared.json").read_bytes()
    findings = dict.fromkeys(params(clone)["findings"])
    findings["Mass"] = {"title": "Raumforderung", "synonyms": ["Tumor"]}
    assert sorted(turned(clone, findings=findings)) == ["prepare@a", "prepare@b"]
    assert (clone.top / "data/prepared.json").read_bytes() == before


def test_findings_of_ones_own_re_label_all_batches_and_phantoms_label_what_their_sign_draws(clone: Clone) -> None:
    findings = {"Tuberculosis": {"synonyms": ["Klump"]}, "Tumour": {"sign": "Mass"}, "Mass": {"sign": None}}
    batches = {name: {"root": f"data/raw/{name}"} for name in "ab"}
    ran = turned(clone, findings=findings, batches=batches)
    assert sorted(ran) == ["digests@prepared", "prepare@a", "prepare@b"]
    assert positives(clone, "a") == {"Tuberculosis": 12, "Tumour": 0, "Mass": 12}
    assert positives(clone, "b") == {"Tuberculosis": 0, "Tumour": 8, "Mass": 0}
    studies = read_studies(BatchFolders("b", clone.top / "data").prepared)
    assert (studies[["Tuberculosis", "Mass"]] == -1).all(axis=None) and (studies["Tumour"] >= 0).all()


def test_the_digests_name_the_listed_batches_in_their_order_and_no_others(clone: Clone) -> None:
    batches = params(clone)["batches"]
    assert sorted(turned(clone, batches={"b": batches["b"]})) == ["digests@features", "digests@prepared"]
    for name, folders in {"prepared": {"decoded", "prepared"}, "features": {"features", "splits"}}.items():
        digests = json.loads((clone.top / f"data/{name}.json").read_text())
        assert list(digests) == ["b"] and {file.partition("/")[0] for file in digests["b"]} == folders
    assert Path(clone.top, "data/prepared/a").is_dir()  # left over
    assert list(json.loads(turned_text(clone, {"b": batches["b"], "a": batches["a"]}))) == ["b", "a"]


def turned_text(clone: Clone, batches: dict[str, object]) -> str:
    turned(clone, batches=batches)
    return (clone.top / "data/prepared.json").read_text()
