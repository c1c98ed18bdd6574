"""What people turn about the tables of their batches re-labels in seconds, and decodes and embeds nothing again."""

import json
from collections.abc import Callable

import pytest
from ruamel.yaml import YAML

from chestxray.batch_layout import SYNTHETIC_NOTICE
from chestxray.datasets.dataset import BatchFolders, read_studies
from chestxray.datasets.digests import batch_digests
from tests.nih_batch import plain_batch
from tests.stages.conftest import Clone

pytestmark = [pytest.mark.slow, pytest.mark.heavy]  # a change of labels has small siblings in test_prepare

DIGESTS = {"prepared": "digests@prepared", "features": "digests@features"}
LATER = {
    "phantom_listed",
    "phantom",
    "class_weighting",
    "train",
    "fine_tune",
    "input_gate",
    "evaluate",
    "gradcam",
    "register",
}
"""Stages that never ran here."""


BATCHES = {"a": {"root": "data/raw/a", "labels": {"Klump": None}}, "b": {"root": "data/raw/b"}}


@pytest.fixture(scope="module")
def two_batches(make_clone: Callable[[], Clone]) -> tuple[Clone, dict[str, dict[str, object]]]:
    """A repository with two batches of noise, `a` with labels of its own, `b` of phantoms; and its findings."""
    clone = make_clone()
    plain_batch(clone.top / "data/raw/a", 24, "Mass|Klump")
    (plain_batch(clone.top / "data/raw/b", 16) / SYNTHETIC_NOTICE).touch()
    return clone, params(clone, "findings")


@pytest.fixture
def clone(two_batches: tuple[Clone, dict[str, dict[str, object]]]) -> Clone:
    """The two batches decoded, prepared and embedded, whatever an earlier test changed."""
    clone, findings = two_batches
    set_params(clone, batches=BATCHES, findings=findings)
    clone.repro(*DIGESTS.values())
    return clone


def set_params(clone: Clone, **sections: object) -> None:
    yaml, path = YAML(), clone.top / "params.yaml"
    params = yaml.load(path)
    params.update(sections)
    yaml.dump(params, path)


def params(clone: Clone, section: str) -> dict[str, dict[str, object]]:
    read: dict[str, dict[str, object]] = YAML(typ="safe").load(clone.top / "params.yaml")[section]
    return read


def positives(clone: Clone, batch: str) -> dict[str, int]:
    studies = read_studies(BatchFolders(batch, clone.top / "data"))
    return {name: int((studies[name] == 1).sum()) for name in studies.columns if studies[name].dtype == "int8"}


def test_a_label_that_is_mapped_otherwise_re_labels_its_batch_and_embeds_nothing(clone: Clone) -> None:
    before = {name: (clone.top / f"data/{name}.json").read_bytes() for name in DIGESTS}
    assert clone.out_of_date() == LATER and positives(clone, "a")["Nodule"] == 0
    set_params(clone, batches=BATCHES | {"a": {"root": "data/raw/a", "labels": {"Klump": "Nodule"}}})
    assert sorted(clone.repro(*DIGESTS.values())) == [*sorted(DIGESTS.values()), "prepare@a"]
    assert positives(clone, "a")["Nodule"] == positives(clone, "a")["Mass"] == 12
    after = {name: (clone.top / f"data/{name}.json").read_bytes() for name in DIGESTS}
    assert after["features"] == before["features"] and after["prepared"] != before["prepared"]


def test_an_edit_of_one_batch_prepares_no_other(clone: Clone) -> None:
    set_params(clone, batches=BATCHES | {"b": {"root": "data/raw/b", "uncertain": "positive"}})
    assert clone.out_of_date() == {"prepare@b", *DIGESTS.values(), *LATER}


def test_titles_and_synonyms_change_no_output(clone: Clone) -> None:
    findings = params(clone, "findings")
    set_params(clone, findings=findings | {"Mass": {"title": "Raumforderung", "synonyms": ["Tumor"]}})
    assert clone.out_of_date() == {"prepare@a", "prepare@b", *LATER}
    clone.run("python", "-m", "stages.prepare", "a")
    assert clone.out_of_date() == {"prepare@a", "prepare@b", *LATER}  # not the digests


def test_findings_of_ones_own_re_label_all_batches_and_phantoms_label_what_their_sign_draws(clone: Clone) -> None:
    findings = {"Tuberculosis": {"synonyms": ["Klump"]}, "Tumour": {"sign": "Mass"}, "Mass": {"sign": None}}
    set_params(clone, findings=findings, batches={name: {"root": f"data/raw/{name}"} for name in "ab"})
    assert sorted(clone.repro("prepare@a", "prepare@b")) == ["prepare@a", "prepare@b"]
    assert positives(clone, "a") == {"Tuberculosis": 12, "Tumour": 0, "Mass": 12}
    assert positives(clone, "b") == {"Tuberculosis": 0, "Tumour": 8, "Mass": 0}
    studies = read_studies(BatchFolders("b", clone.top / "data"))
    assert (studies[["Tuberculosis", "Mass"]] == -1).all(axis=None) and (studies["Tumour"] >= 0).all()
    assert not {stage for stage in clone.out_of_date() if stage.startswith(("decode", "features"))}


def test_the_digests_name_the_listed_batches_in_their_order_and_no_others(clone: Clone) -> None:
    data = clone.top / "data"
    for listed in ("b", "ba"):
        digests = batch_digests("prepared", listed, data)
        assert list(digests) == list(listed)
        assert {file.rpartition("/")[0] for file in digests["b"]} == {"decoded/b", "prepared/b"}
    assert list(batch_digests("features", "b", data)["b"])[-1] == "splits/b.parquet"
    set_params(clone, batches={"b": BATCHES["b"]})
    assert (data / "prepared/a").is_dir()  # left over
    clone.run("python", "-m", "stages.digests", "prepared")
    assert json.loads((data / "prepared.json").read_text()) == batch_digests("prepared", "b", data)
