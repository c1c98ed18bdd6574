"""The model card says nothing that its bundle does not, and does not hide that a figure is missing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError
from ruamel.yaml import YAML

from chestxray.inference.bundle import Bundle
from chestxray.inference.card import Card
from chestxray.inference.card_figures import ModelCardError, plain
from chestxray.inference.label_quality import known_quality
from chestxray.inference.located import Compared, Difference, Located
from chestxray.inference.model_card import card_body, model_card, shortened
from chestxray.inference.operating_point import Rate
from chestxray.inference.provenance import BatchFacts, SplitFacts
from chestxray.inference.reporting_items import CLAIM, PCCP, PERSON, TRIPOD

NUMBER = re.compile(r"(?<![\w.])-?\d+(?:\.\d+)?(?![\w]|\.\d)")
NAMES = ("95 %", "CLAIM 2024", "MobileNetV2", "apache-2.0", "SHA-256", "Radiology 2020")
"""In the card's own words, with digits that are no figures."""


def sides(card: Card, synthetic: bool) -> dict[str, SplitFacts]:
    """The sides of a card, all their batches phantoms or none."""
    return {
        name: facts.model_copy(
            update={"batches": {b: of.model_copy(update={"synthetic": synthetic}) for b, of in facts.batches.items()}}
        )
        for name, facts in card.splits.items()
    }


@pytest.fixture(scope="module")
def card(bundle_folder: Path) -> Card:
    """With all that may be in a card."""
    made = Bundle(bundle_folder).card
    compared = Compared(
        map=Rate(value=0.8125, low=0.75, high=0.875, n=9),
        mean_box=Rate(value=0.7, low=None, high=None, n=8),
        gain=Difference(value=-0.0125, low=-0.25, high=0.2, n=8),
    )
    places = (Located(pixel_auroc=compared, pointing_game=compared), *[None] * 13)
    tables = {"b": "NIH ChestX-ray14"}
    gate = {"test": {"good test images": {"n": 20, "refused": 1, "share": 0.05, "low": 0.01, "high": 0.2}}}
    changes: dict[str, Any] = {
        "synthetic": False,
        "splits": sides(made, False),
        "localization": places,
        "explanation": ("shown", *["unproven"] * 13),
        "input_gate": gate,
        "label_quality": known_quality(tables, made.findings),
    }
    return Card.model_validate(made.model_copy(update=changes).model_dump())


def numbers_in(value: Any) -> Iterator[float]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (float(found) for found in NUMBER.findall(str(key)))
            yield from numbers_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from numbers_in(inner)
    elif isinstance(value, str):
        yield from (float(found) for found in NUMBER.findall(value))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield float(value)


def own_words(text: str) -> str:
    """The card without the names of the guidelines' items."""
    for name in NAMES:
        text = text.replace(name, "")
    return re.sub(r"^\| (CLAIM 2024|CLAIM|TRIPOD\+AI|FDA PCCP)? *[\w ]+ \|", "|", text, flags=re.MULTILINE)


def test_every_number_of_the_card_is_in_its_bundle(card: Card) -> None:
    known = sorted(set(numbers_in(json.loads(card.model_dump_json()))))
    said = NUMBER.findall(own_words(model_card(card)))
    assert len(said) > 500
    for text in said:
        decimals = len(text.partition(".")[2])
        assert any(round(value, decimals) == float(text) for value in known), text
    for digest in re.findall(r"[0-9a-f]{64}", model_card(card)):
        assert digest in card.model_dump_json()


def test_the_head_is_what_hugging_face_reads(card: Card) -> None:
    _, head, body = model_card(card).split("---\n", 2)
    content = YAML(typ="safe").load(head)
    assert content["license"] == "apache-2.0" and content["pipeline_tag"] == "image-classification"
    assert "chest-x-ray" in content["tags"] and content["metrics"] == ["roc_auc", "average_precision", "f1"]
    (result,) = content["model-index"][0]["results"]
    assert result["dataset"]["split"] == "test"
    assert result["metrics"][0]["value"] == pytest.approx(card.metrics["test"]["mean_auroc"], abs=1e-4)
    assert body.strip() == card_body(card).strip()


def test_every_operating_point_and_finding_is_there(card: Card) -> None:
    text = card_body(card)
    for name, points in card.operating_points.items():
        for title, point in zip(card.titles, points, strict=True):
            (row,) = re.findall(rf"^\| `{re.escape(name)}` \| {re.escape(title)} \| .*$", text, re.MULTILINE)
            if point.threshold is None:
                assert plain(point.lacking) in row
            else:
                assert f"| {point.threshold:.3f} |" in row and row.count(", n ") == 2 + sum(
                    each is not None for each in (point.ppv, point.npv)
                )
    for said in ("NPV has no interval", "mean over patients", "## Promotion gate", "`reports/promotion.md`"):
        assert said in text
    assert "| PPV | NPV |" in text
    assert "| Atelectasis | shown | pixel AUROC | 0.812 (0.750 to 0.875), n 9 | 0.700 (no interval" in text


@pytest.mark.parametrize(
    "path",
    ["test.mean_auroc", "test.auroc.Hernia", "test.f1.Mass", "test.auroc_ci_high.Mass", "test.patients",
     "test.labelled", "test.positives.Edema", "benchmark.mean_average_precision", "test.calibration_error_before",
     "benchmark", "batch", "batch.b.patients", "test.macro_f1", "test.mean_auroc_ci_low", "test.calibration_error",
     "test.precision.Mass", "test.npv", "test.npv.Nodule", "test.recall_ci_low", "test.precision_ci_high"],
)  # fmt: skip
def test_a_missing_metric_is_named(card: Card, path: str) -> None:
    metrics = json.loads(json.dumps(card.metrics))
    *sections, last = path.split(".")
    place = metrics
    for section in sections:
        place = place[section]
    del place[last]
    with pytest.raises(ModelCardError, match=rf"no metrics\.{re.escape(path)},"):
        model_card(card.model_copy(update={"metrics": metrics}))


def test_both_ends_of_an_interval_can_t_be_missing(card: Card) -> None:
    metrics = json.loads(json.dumps(card.metrics))
    (finding, *_) = metrics["test"]["auroc_ci_low"]
    for name in ("auroc", "average_precision"):
        for end in ("low", "high"):
            del metrics["test"][f"{name}_ci_{end}"][finding]
    with pytest.raises(ModelCardError, match=r"no metrics\.test\.auroc_ci_low"):
        model_card(card.model_copy(update={"metrics": metrics}))


def test_an_older_bundle_may_lack_what_its_version_did_not_have(card: Card) -> None:
    test = {key: value for key, value in card.metrics["test"].items() if "_ci_" not in key and key != "npv"}
    older = {"schema_version": 1, "metrics": {"test": test}, "headlines": {"mean_auroc": "mean AUROC"}}
    text = card_body(Card.model_validate(card.model_copy(update=older).model_dump()))
    assert "too few patients" not in text.partition("## Labels")[0] and "this bundle has none" in text


@pytest.mark.parametrize(
    ("changes", "said"),
    [({"metrics": {"test": {"mean_auroc": "x"}}}, "metrics: test.mean_auroc must be a number between 0 and 1"),
     ({"metrics": {"test": {"mean_auroc": 7.5}}}, "between 0 and 1"),
     ({"metrics": {"test": {"auroc": {"Effusion": -3}}}}, "metrics: test.auroc must be numbers between 0 and 1"),
     ({"metrics": {"benchmark": {"n": 1.5}}}, "metrics: benchmark.n must be a number whole, from 0 on"),
     ({"metrics": {"batch": {"xxxx": []}}}, "metrics: batch must be an object"),
     ({"metrics": {"xxxx": 1}}, "a part must be an object"),
     ({"metrics": {"test": {"xxxx": "y"}}, "headlines": {"xxxx": "X"}}, "a headline must be a number"),
     ({"params": {"batches": [1]}}, "params.batches must be a list of names"),
     ({"input_gate": {"test": {"good": 1}}}, "input_gate.test must be"),
     ({"schema_version": 3}, "less than or equal to 2")],
)  # fmt: skip
def test_figures_of_another_kind_are_refused_when_the_card_is_read(
    card: Card, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError, match=re.escape(said)) as raised:
        Card.model_validate(card.model_dump() | changes)
    assert "xxxx" not in raised.value.errors()[0]["msg"]


def test_what_was_not_measured_is_said(card: Card) -> None:
    older = {
        "localization": (),
        "subgroups": (),
        "explanation": (),
        "input_gate": {},
        "uncertain": (),
        "label_quality": (),
    }
    text = card_body(card.model_copy(update=older))
    for section in ("Where heatmaps point", "Subgroups", "Input gate", "Uncertain bands"):
        assert f"## {section}\n\nNot measured." in text
    assert "is not known here" in text


def test_titles_of_a_stranger_stay_in_their_cell(card: Card) -> None:
    hostile = card.model_copy(update={"titles": ("<script>|`x`", *card.titles[1:])})
    assert r"\<script\>\|\`x\`" in card_body(hostile) and "<script>" not in card_body(hostile)


def test_what_radiologists_found_is_said_of_nih_labels_alone(card: Card) -> None:
    assert "| Pneumothorax | pneumothorax | 0.46 | 0.46 | 4376 |" in card_body(card)
    assert "0.76 | 0.44" in card_body(card)
    assert not known_quality({"b": "CheXpert"}, card.findings)
    assert not known_quality({"b": "Kaggle sample"}, ["Tuberculosis"])


def test_a_recalibrated_model_says_what_the_labels_of_either_data_set_are_worth(card: Card) -> None:
    elsewhere = {"synthetic": True, "label_quality": (), "recalibrated": True, "test_label_quality": card.label_quality}
    phantoms = sides(card, True)
    text = card_body(card.model_copy(update=elsewhere | {"splits": phantoms}))
    assert "Of training: Drawn with the images, so they are right.\n\nOf validation and test: Drawn" in text
    facts = {"images": 9, "patients": 9, "sha256": "0" * 64}
    side = SplitFacts(**facts, batches={"external": BatchFacts(**facts, table="NIH ChestX-ray14", synthetic=False)})
    splits = {"train": phantoms["train"], "validation": side, "test": side}
    text = card_body(card.model_copy(update=elsewhere | {"splits": splits}))
    assert "so they are right.\n\nOf validation and test: Mined from reports." in text
    assert "| test | external | radiographs | NIH ChestX-ray14 | 9 | 9 | 0000" in text


def test_phantoms_beside_radiographs_do_not_vouch_for_their_labels(card: Card) -> None:
    train = card.splits["train"]
    (batch,) = train.batches.values()
    drawn = batch.model_copy(update={"synthetic": True})
    mixed = train.model_copy(update={"batches": {"b": batch, "phantom": drawn}})
    text = card_body(card.model_copy(update={"synthetic": True, "splits": card.splits | {"train": mixed}}))
    assert "Of phantoms, drawn with the images, so they are right. Of radiographs: Mined from reports." in text


def test_guidelines_have_all_their_items_and_the_gate_is_the_protocol(card: Card) -> None:
    assert [int(item.number) for item in CLAIM] == list(range(1, 45))
    assert {int(re.sub(r"\D", "", item.number)) for item in TRIPOD} == set(range(1, 28))
    assert len(PCCP) == 3 and "register.gate" in PCCP[1].answer
    assert card_body(card).count(PERSON) > 20


def test_a_description_is_cut_before_a_section(card: Card) -> None:
    text = card_body(card)
    cut = shortened(text, 4000, "The rest: elsewhere.")
    assert len(cut) <= 4000 and cut.endswith("\n\nThe rest: elsewhere.") and "## Results" not in cut[3900:]
    assert text.startswith(cut[:500]) and shortened("short", 10, "") == "short"
