"""A bundle says what it means, or says what is wrong with it; TensorFlow has no part in it."""

import json
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import CARD, BundleError, bundle_digest, write_card
from chestxray.inference.gate_checks import gate_checks
from chestxray.inference.onnx_model import OnnxModel
from tests.chestxray.conftest import SIZE, TINY


@pytest.fixture(scope="module")
def bundle(bundle_folder: Path) -> Bundle:
    return Bundle(bundle_folder)


@pytest.fixture
def damaged(bundle_folder: Path, tmp_path: Path) -> Callable[..., Path]:
    """Copies the bundle, one file of it changed."""

    def damage(name: str, change: Callable[[bytes], bytes]) -> Path:
        for file in bundle_folder.iterdir():
            (tmp_path / file.name).write_bytes(change(file.read_bytes()) if file.name == name else file.read_bytes())
        return tmp_path

    return damage


def test_probabilities_are_calibrated_logits_and_maps_add_up_to_them(bundle: Bundle, dataset: Dataset) -> None:
    images = next(dataset.split("test").chunks(32))
    probabilities, maps = bundle.predict(images)
    logits = maps.mean(axis=(1, 2)) + np.array(bundle.card.bias)
    np.testing.assert_allclose(bundle.model.logits(images), logits, rtol=1e-4, atol=1e-4)
    curves = [bundle.card.calibration[finding] for finding in FINDINGS]
    slope, intercept = (np.array([curve[key] for curve in curves]) for key in ("slope", "intercept"))
    np.testing.assert_allclose(probabilities, 1 / (1 + np.exp(-(slope * logits + intercept))), atol=1e-4)
    assert (slope != 1).any() and probabilities.dtype == maps.dtype == np.float32 and maps.shape == (20, 4, 4, 14)


def test_images_come_out_the_same_alone_and_together(bundle: Bundle, dataset: Dataset) -> None:
    images = next(dataset.split("test").chunks(32))
    together = bundle.model.logits(images)
    apart = [bundle.model.logits(part) for part in (images[:3], images[3:4], images[4:])]
    np.testing.assert_array_equal(np.concatenate(apart), together)


def test_the_card_says_what_the_model_is(bundle: Bundle, bundle_folder: Path, dataset: Dataset) -> None:
    card = bundle.card
    assert card.findings == FINDINGS and (card.size, card.input_size) == (SIZE, TINY.input_size)
    assert card.bias == bundle.model.bias and len(card.thresholds()) == 14
    assert card.synthetic and RESEARCH_USE_ONLY in card.intended_use
    assert card.data_sha256 == dataset.split("train").digest
    assert set(card.params) == {
        "batches", "prepare", "backbone", "head", "class_weighting", "features", "train", "fine_tune", "input_gate",
        "evaluate",
    }  # fmt: skip
    text = (bundle_folder / CARD).read_text()
    assert str(bundle_folder) not in text and str(Path.cwd()) not in text


def test_a_card_survives_its_file_to_the_bit(bundle: Bundle, bundle_folder: Path, tmp_path: Path) -> None:
    write_card(bundle.card, tmp_path)
    assert (tmp_path / CARD).read_bytes() == (bundle_folder / CARD).read_bytes()
    assert bundle_digest(tmp_path) == bundle_digest(bundle_folder)


@pytest.mark.parametrize("name", [MODEL, CARD])
def test_a_missing_file_is_said(name: str, damaged: Callable[..., Path]) -> None:
    folder = damaged(name, lambda content: content)
    (folder / name).unlink()
    with pytest.raises(BundleError, match=rf"is not a bundle.*{name}"):
        Bundle(folder)


@pytest.mark.parametrize(
    "change", [lambda content: b"", lambda content: content[:-1], lambda content: content[:9] + b"!" + content[10:]]
)
def test_a_damaged_model_is_said(change: Callable[[bytes], bytes], damaged: Callable[..., Path]) -> None:
    with pytest.raises(BundleError, match=r"model\.onnx has SHA-256 \w{64}, bundle\.json says \w{64}"):
        Bundle(damaged(MODEL, change))


def apply_edits(**changes: Any) -> Callable[[bytes], bytes]:
    return lambda content: json.dumps({**json.loads(content), **changes}).encode()


@pytest.mark.parametrize(
    "change",
    [
        lambda content: b"",
        lambda content: b"{}",
        lambda content: content[:-20],
        lambda content: b"\xff\xfe",
        apply_edits(surprise=1),
        apply_edits(size="large"),
        apply_edits(calibration={}),
        apply_edits(calibration={finding: {"slope": -1.0, "intercept": 0.0} for finding in FINDINGS}),
        apply_edits(calibration={finding: {"slope": 1.0} for finding in FINDINGS}),
        apply_edits(calibration=[1, 2]),
        apply_edits(calibration=dict.fromkeys(FINDINGS, 1.0)),
    ],
)
def test_a_damaged_card_is_said(change: Callable[[bytes], bytes], damaged: Callable[..., Path]) -> None:
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle(damaged(CARD, change))


BIG = 10**400
"""An integer that no float holds."""
NO_NUMBERS = ["0.5", True, float("nan"), float("inf"), -float("inf"), None, BIG]


def curves(**changes: object) -> dict[str, dict[str, object]]:
    usual: dict[str, dict[str, object]] = {finding: {"slope": 1.0, "intercept": 0.0} for finding in FINDINGS}
    return usual | {"Mass": usual["Mass"] | changes}


def rate(value: object, low: object = 0.4, high: object = 0.6, n: object = 7) -> dict[str, object]:
    return {"value": value, "low": low, "high": high, "n": n}


def points(threshold: object, **measured: object) -> dict[str, list[dict[str, object]]]:
    return {"f1": [{"threshold": 0.5}] * 13 + [{"threshold": threshold, **measured}]}


WRONG_NUMBERS = [
    *(("operating_points", points(value)) for value in ("0.5", True, float("nan"), float("inf"), BIG, -5.0, 7.0)),
    *(("operating_points", points(0.5, sensitivity=rate(value))) for value in (*NO_NUMBERS, -0.1, 1.1)),
    ("operating_points", points(0.5, sensitivity=rate(0.5, low=0.6))),
    ("operating_points", points(0.5, sensitivity=rate(0.5, high=None))),
    *(("operating_points", points(0.5, specificity=rate(0.5, n=n))) for n in (-1, 0, 10**10, BIG, 7.0, True)),
    ("operating_points", {"threshold": points(0.5)["f1"]}),
    ("model_sha256", "x" * 64),
    ("operating_points", {"f1; drop": points(0.5)["f1"]}),
    ("operating_points", {}),
    ("uncertain", [None] * 13 + [{"low": 0.6, "high": 0.5, "error": 0.1}]),
    *(("bias", [0.5] * 13 + [value]) for value in NO_NUMBERS),
    *(("calibration", curves(slope=value)) for value in (*NO_NUMBERS, 0.0, -1.0)),
    *(("calibration", curves(intercept=value)) for value in NO_NUMBERS),
    ("calibration", curves(more=1.0)),
    *(("size", value) for value in ("72", 72.5, True, 0, -1, 5000, BIG)),
    *(("input_size", value) for value in ("64", True, 0, 73)),
    *(("synthetic", value) for value in ("no", 0, None)),
    ("patients_known", "yes"),
    *(("metrics", {"test": {"mean_auroc": value}}) for value in (float("nan"), float("inf"), BIG)),
    ("params", {"train": {"l2": [float("nan")]}}),
    ("input_gate", {"thresholds": [-float("inf")]}),
]


@pytest.mark.parametrize(("name", "value"), WRONG_NUMBERS)
def test_a_card_holds_finite_numbers_in_range_only_when_it_is_read(
    name: str, value: object, damaged: Callable[..., Path]
) -> None:
    folder = damaged(CARD, apply_edits(**{name: value}))
    with pytest.raises(BundleError, match="is not a bundle"):
        Bundle(folder)


@pytest.mark.parametrize(("name", "value"), WRONG_NUMBERS)
def test_and_when_it_is_written(name: str, value: object, bundle: Bundle, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"number|bool|integer|greater|less|at most|pos|interval|pattern|1 item|requir|names"
    ):
        write_card(bundle.card.model_copy(update={name: value}), tmp_path)
    assert list(tmp_path.iterdir()) == []


HOSTILE = "<script>" + "x" * 100_000
DEEP: list[Any] = []
for _ in range(100):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "changes",
    [
        {"findings": [f"f{place}" for place in range(100_000)]},
        {"model_sha256": HOSTILE},
        {"intended_use": HOSTILE},
        {"intended_use": "\x1b[31m"},
        {"licences": ["a"] * 100_000},
        {"headlines": {f"h{place}": "a" for place in range(100_000)}},
        {"splits": {"train": {"images": 1, "patients": 1, "sha256": "0" * 64, "batches": {HOSTILE: 1}}}},
        {"findings": [7] * 100_000},
        {"findings": [HOSTILE] * 14},
        {"titles": [7] * 100_000},
        {"titles": [HOSTILE] * 14},
        {"operating_points": {"f1": ["xxxx"] * 100_000}},
        {"operating_points": {HOSTILE: []}},
        {"operating_points": {f"f{place}": [] for place in range(100_000)}},
        {"operating_points": points(0.5, lacking=HOSTILE)},
        {"status": [HOSTILE] * 14},
        {"evidence": [{HOSTILE: place} for place in range(14)]},
        {"calibration": curves(slope=HOSTILE)},
        {"test_draws": {HOSTILE: 7}},
        {"metrics": {"test": {f"m{place}": 0.5 for place in range(100_000)}}},
        {"metrics": {"test": DEEP}},
        {"metrics": {"test": {"mean_auroc": HOSTILE}}},
        {"metrics": {"test": {"mean_auroc": 7.5}}},
        {"metrics": {"test": {"mean_auroc": {"Mass": 0.5}}}},
        {"metrics": {"benchmark": {"auroc": {"Mass": -3.0}}}},
        {"metrics": {"benchmark": {"auroc": 0.5}}},
        {"metrics": {"batch": {HOSTILE: {"n": 0.5}}}},
        {"metrics": {"batch": {HOSTILE: {HOSTILE: "a"}}}},
        {"metrics": {"batch": [1]}},
        {"headlines": {"auroc": "AUROC"}},
        {"headlines": {"npv": HOSTILE}},
        {"headlines": {"positives": HOSTILE}},
        {"params": {"batches": [1]}},
        {"params": {"batches": HOSTILE}},
        {"input_gate": {"test": {"good": {"share": HOSTILE}}}},
        {"input_gate": {"test": [1]}},
        {f"{HOSTILE}{place}": place for place in range(100)},
        {HOSTILE: 1},
    ],
)
def test_what_is_said_of_a_hostile_card_is_short_and_repeats_nothing_of_it(
    changes: dict[str, object], damaged: Callable[..., Path]
) -> None:
    folder = damaged(CARD, apply_edits(**changes))
    with pytest.raises(BundleError) as raised:
        Bundle(folder)
    said = "".join(traceback.format_exception(raised.value))
    assert len(str(raised.value).removeprefix(str(folder))) < 200 and "xxxx" not in said and len(said) < 10_000


def test_a_card_that_is_too_large_is_not_read(damaged: Callable[..., Path]) -> None:
    folder = damaged(CARD, lambda content: content)
    with (folder / CARD).open("r+b") as file:
        file.truncate(2**40)
    with pytest.raises(OSError, match="larger than the 16,777,216 bytes"):
        Bundle(folder)


def test_what_serves_loads_no_tensorflow_and_no_mlflow() -> None:
    script = (
        "import sys, chestxray.inference.bundle, chestxray.inference.heatmap, chestxray.imaging.radiograph\n"
        "print([name for name in ('tensorflow', 'keras', 'mlflow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_bundle_from_before_the_input_gate_opens_and_finds_nothing(
    bundle: Bundle, bundle_folder: Path, dataset: Dataset, tmp_path: Path
) -> None:
    card = json.loads((bundle_folder / CARD).read_text())
    del card["input_gate"], card["params"]["input_gate"]
    (tmp_path / CARD).write_text(json.dumps(card))
    (tmp_path / MODEL).write_bytes((bundle_folder / MODEL).read_bytes())
    older = Bundle(tmp_path)
    images = next(dataset.split("test").chunks(32))
    probabilities, maps, scores = older.predict_with_gate(images)
    assert older.card.input_gate == {} and older.model.input_gate.names == () and scores.shape == (20, 0)
    np.testing.assert_array_equal(probabilities, bundle.predict(images)[0])
    assert gate_checks(older.model.input_gate, scores[0], synthetic=False) == [] and len(maps) == 20


@pytest.mark.parametrize(
    "gate", ['[["inverted"], [Infinity]]', '[["inverted"], ["0.5"]]', '[["inverted"], []]', "7", "{"]
)
def test_the_thresholds_of_a_models_gate_are_not_believed(gate: str, bundle_folder: Path) -> None:
    model = onnx.load(bundle_folder / MODEL)
    facts = {fact.key: fact.value for fact in model.metadata_props} | {"input_gate": gate}
    onnx.helper.set_model_props(model, facts)
    with pytest.raises(UserError, match="does not say what it is"):
        OnnxModel(model.SerializeToString())


def test_a_name_that_is_there_twice_is_refused(damaged: Callable[..., Path]) -> None:
    folder = damaged(
        CARD, lambda content: content.replace(b'"synthetic": true', b'"synthetic": true, "synthetic": false')
    )
    with pytest.raises(BundleError, match="the same name twice"):
        Bundle(folder)


def test_an_older_bundle_has_its_thresholds_as_one_operating_point(damaged: Callable[..., Path]) -> None:
    def older(content: bytes) -> bytes:
        card = json.loads(content)
        for name in ("operating_points", "uncertain", "explanation"):
            del card[name]
        card["params"]["evaluate"] = {"threshold_policy": "sensitivity@0.9"}
        return json.dumps(card | {"thresholds": [0.25] * 13 + [1.0]}).encode()

    card = Bundle(damaged(CARD, older)).card
    assert (
        card.operating_point == "sensitivity@0.9" and card.thresholds()[0] == 0.25 and np.isnan(card.thresholds()[13])
    )
    for value in (True, "0.5", float("nan"), 2.0):
        wrong = damaged(
            CARD,
            lambda content, value=value: json.dumps(json.loads(older(content)) | {"thresholds": [value] * 14}).encode(),
        )
        with pytest.raises(BundleError):
            Bundle(wrong)
