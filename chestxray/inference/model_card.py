"""Write the model card: everything that a bundle's card knows of a model, as Markdown for people.

It is a function of `bundle.json` alone: every number in it stands there too, most of them with more digits. Its head is
the metadata that Hugging Face reads.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference import card_figures as figures
from chestxray.inference.card import Card
from chestxray.inference.card_figures import NONE, plain, table
from chestxray.inference.label_quality import LabelQuality
from chestxray.inference.operating_point import NO_NPV_INTERVAL
from chestxray.inference.provenance import ImageFacts
from chestxray.inference.reporting_items import GUIDELINES
from chestxray.inference.status import PATIENTS_UNKNOWN

TITLE = "Chest X-ray findings"
NOT_MEASURED = "Not measured."
HUGGING_FACE = {"mean_auroc": "roc_auc", "mean_average_precision": "average_precision", "macro_f1": "f1"}
"""What Hugging Face calls the metrics in the head."""
KINDS = {True: "synthetic phantoms", False: "radiographs"}
NOT_FOR = (
    "Not for diagnosis, triage or treatment of anybody; not for {views}children or other parts of the body; "
    "not for images that the input gate refuses. Nothing detected does not mean that the chest is healthy."
)
RECALIBRATED = (
    "Recalibrated: calibration, operating points and bands are from a part of images that the model was not trained "
    "on, its figures from the rest of these. Training, and the patients of it, are those of the model before."
)
PROMOTION = (
    "A version is served as the champion only if the gate promotes it. Its policy is the section `register.gate` of "
    "`params.yaml` (`docs/decisions/gate.md`); the verdict is reached after a bundle is written, so it is not in here "
    "but with the version: `reports/promotion.md`, and its description in the registry."
)
BY_PATIENT = (
    "`assured_sensitivity` holds for the mean over patients of the share of their images that is detected; the "
    "sensitivity beside it counts images, and may be lower where patients of many images are the harder ones."
)
LIMITS = (
    "Figures hold for images like the test images: another hospital, device or population needs its own evaluation "
    "(`chestxray evaluate`), and predictive values hang on how common a finding is there.",
    "Intervals say how far chance among patients reaches, not how wrong the labels are or how other hospitals differ.",
    "Calibration, operating points and bands are from the validation images; a finding that is `insufficient` has "
    "neither operating points nor a band.",
    "A heatmap shows what the network weighed; where boxes do not show that it finds the place, it is unproven.",
)


def model_card(card: Card) -> str:
    """Write the model card of a bundle, head included.

    Raises:
        ModelCardError: a metric is missing; the message names it.
    """
    body = card_body(card)
    return f"{_head(card)}\n{body}"


def card_body(card: Card) -> str:
    """Write the model card without its head.

    Raises:
        ModelCardError: a metric is missing; the message names it.
    """
    figures.check_measured(card)
    sections = "\n\n".join(f"## {title}\n\n{text}" for title, text in _sections(card) if text)
    return f"# Model card: {TITLE}\n\n**{_warning(card)}**\n\n{sections}\n"


def shortened(text: str, length: int, rest: str) -> str:
    """Return Markdown of at most so many characters, cut before a section, with a line that says where the rest is."""
    if len(text) <= length:
        return text
    end = text.rfind("\n\n## ", 0, length - len(rest) - 2)
    return f"{text[: max(end, 0)]}\n\n{rest}"


def _warning(card: Card) -> str:
    return (
        "Trained on synthetic phantoms: says nothing about patients. " if card.synthetic else ""
    ) + RESEARCH_USE_ONLY


def _head(card: Card) -> str:
    """Write the metadata; texts are JSON, which YAML reads."""
    test = figures.needed(card.metrics, "test")
    known = {metric: key for metric, key in HUGGING_FACE.items() if metric in test}
    tags = ["medical", "chest-x-ray", "radiology", "multi-label", "onnx", *(["synthetic"] if card.synthetic else [])]
    lines = ["license: apache-2.0", "library_name: onnx", "pipeline_tag: image-classification"]
    lines += ["tags:", *(f"- {tag}" for tag in tags), "metrics:", *(f"- {key}" for key in HUGGING_FACE.values())]
    if known:
        lines += ["model-index:", f"- name: {json.dumps(TITLE)}", "  results:"]
        lines += ["  - task: {type: image-classification}"]
        lines += [
            f"    dataset: {{name: {json.dumps(', '.join(_test_batches(card)))}, type: chest-x-ray, split: test}}",
            "    metrics:",
        ]
        lines += [
            f"    - {{type: {key}, name: {json.dumps(metric)}, value: {test[metric]:.4f}}}"
            for metric, key in known.items()
        ]
    return "\n".join(["---", *lines, "---", ""])


def _sections(card: Card) -> Iterator[tuple[str, str]]:
    """Yield the sections, each with its title."""
    yield "Use", f"Intended: {plain(card.intended_use)}\n\n{NOT_FOR.format(views=_other_views(card))}"
    yield "Limits", "\n".join(f"- {limit}" for limit in LIMITS)
    yield "Results", _results(card)
    yield "Labels", _labels(card)
    yield "Data", _data(card)
    yield "Operating points", _points(card)
    yield "Uncertain bands", _bands(card)
    yield "Where heatmaps point", _places(card)
    yield "Subgroups", _groups(card)
    yield "Input gate", _gate(card)
    yield "Promotion gate", PROMOTION
    yield "Training", _training(card)
    yield "Licences", "\n".join(f"- {plain(licence)}" for licence in card.licences)
    yield "Reporting guidelines", _guidelines()


def _results(card: Card) -> str:
    test = figures.needed(card.metrics, "test")
    parts = [
        "With 95 % intervals over patients. Means are over the findings with enough patients for an interval.",
        figures.headline_table(card),
        f"By finding, on the test images, decided by the operating point `{card.operating_point}`. {NO_NPV_INTERVAL}",
        figures.finding_table(card),
    ]
    if "calibration_error" in test:
        before = figures.needed(card.metrics, "test", "calibration_error_before")
        said = f"Mean calibration error: {before:.3f} before calibration, {test['calibration_error']:.3f} after"
        parts.append(f"{said} (no interval: `docs/decisions/intervals.md` says why).")
    return "\n\n".join(part for part in (*parts, figures.batch_table(card)) if part)


def _test_batches(card: Card) -> list[str]:
    """Return the batches of the test images; older bundles know those of all images alone."""
    return list(card.splits["test"].batches if "test" in card.splits else ()) or list(card.params.get("batches", ()))


def _other_views(card: Card) -> str:
    """Say which views the model was not made for, if it was made for some alone."""
    return "" if card.params.get("prepare", {}).get("views") == "all" else "lateral views, "


def _kinds(card: Card, side: str) -> set[bool]:
    """Return whether batches of a side are phantoms: both, if some are; older bundles know it of training alone."""
    batches = card.splits[side].batches if side in card.splits else {}
    return {batch.synthetic for batch in batches.values()} or {card.synthetic}


def _labels(card: Card) -> str:
    train = _label_worth(card, "train", card.label_quality)
    if not card.recalibrated:
        return train
    test = _label_worth(card, "test", card.test_label_quality)
    return f"Of training: {train}\n\nOf validation and test: {test}"


def _label_worth(card: Card, side: str, quality: tuple[LabelQuality, ...]) -> str:
    """Say what the labels of a side are worth."""
    kinds = _kinds(card, side)
    if kinds == {True}:
        return "Drawn with the images, so they are right."
    others = "Of phantoms, drawn with the images, so they are right. Of radiographs: " if True in kinds else ""
    if not quality:
        return f"{others}What the labels are worth is not known here: {NOT_MEASURED.lower()}"
    titles = dict(zip(card.findings, card.titles, strict=True))
    rows = []
    for found in quality:
        names = ", ".join(plain(titles.get(name, name)) for name in found.findings)
        rows.append([names, plain(found.read_as), f"{found.ppv:.2f}", f"{found.sensitivity:.2f}", str(found.images)])
    said = (
        "Mined from reports. What radiologists found in some of the same images (the labels that Google published, "
        "Majkowska et al., Radiology 2020, against NIH's; the images may be an enriched sample, so there are no "
        "intervals for all of NIH's):"
    )
    return f"{others}{said}\n\n{table(['any of', 'read as', 'PPV of the labels', 'their sensitivity', 'images'], rows)}"


def _data(card: Card) -> str:
    known = "Patients are known, and none is on two sides." if card.patients_known else f"{PATIENTS_UNKNOWN}."
    parts = [known[0].upper() + known[1:], f"**{RECALIBRATED}**" if card.recalibrated else "", _sides(card)]
    rows = [[plain(name), plain(drawn)] for name, drawn in card.test_draws.items()]
    parts.append(table(["batch", "test patients drawn by"], rows) if rows else "")
    rows = []
    for title, status, each in zip(card.titles, card.status, card.evidence, strict=False):
        counts = (each.train.present, each.train.absent, each.validation.present, each.validation.absent)
        rows.append([plain(title), status, *map(str, counts)])
    header = ["finding", "status", "patients with, training", "without", "with, validation", "without"]
    parts.append(table(header, rows) if rows else "")
    digests = f"SHA-256 of the training data {card.data_sha256}, of `model.onnx` {card.model_sha256}."
    return "\n\n".join(part for part in (*parts, digests) if part)


def _sides(card: Card) -> str:
    """Tabulate the sides of the split by batch, and in all where there are several or it is not known which."""
    rows = []
    for side, facts in card.splits.items():
        for name, each in facts.batches.items():
            rows.append([side, plain(name), KINDS[each.synthetic], plain(each.table), *_counts(each)])
        if len(facts.batches) != 1:
            kind = KINDS[card.synthetic] if not facts.batches else NONE
            rows.append([side, "all", kind, NONE, *_counts(facts)])
    header = ["side", "batch", "images are", "kind of table", "images", "patients", "SHA-256 of labels and pixels"]
    return table(header, rows) if rows else f"Trained on {KINDS[card.synthetic]}."


def _counts(facts: ImageFacts) -> tuple[str, str, str]:
    return str(facts.images), str(facts.patients), facts.sha256


def _points(card: Card) -> str:
    said = (
        f"Chosen on validation, measured on test. The first, `{card.operating_point}`, decides unless another is "
        f"asked for. {BY_PATIENT} {NO_NPV_INTERVAL} The service gives predictive values for any prevalence."
    )
    return f"{said}\n\n{figures.point_table(card)}"


def _bands(card: Card) -> str:
    if not card.uncertain:
        return NOT_MEASURED
    said = "Between two probabilities a finding is shown neither to be present nor to be absent: a person should look."
    return f"{said}\n\n{figures.band_table(card)}"


def _places(card: Card) -> str:
    found = figures.place_table(card)
    if not found:
        return f"{NOT_MEASURED} No test image that it was tried on has a box."
    said = (
        "Against boxes of test images, beside the finding's mean box in other patients. `shown` is a finding whose "
        "gain of pixel AUROC is shown to be above nothing; every other one is `unproven`."
    )
    return f"{said}\n\n{found}"


def _groups(card: Card) -> str:
    found = figures.subgroup_table(card)
    if not found:
        return NOT_MEASURED
    said = (
        "On the test images. p is that of a difference to the mean of the attribute's other groups, corrected for the "
        "groups (Holm)."
    )
    return f"{said}\n\n{found}"


def _gate(card: Card) -> str:
    found = figures.gate_table(card)
    return f"What it refuses of the test images, and of what was made of them:\n\n{found}" if found else NOT_MEASURED


def _training(card: Card) -> str:
    """List the params that made the model."""
    params = {key: value for key, value in card.params.items() if key != "batches"}
    rows = [[f"`{name.replace('`', '')}`", plain(_text(value))] for name, value in _flat(params)]
    said = "MobileNetV2 with a linear head, then its deeper layers; `docs/architecture.md` says how. Its params:"
    return f"{said}\n\n{table(['param', 'value'], rows)}" if rows else ""


def _flat(params: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in params.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _guidelines() -> str:
    rows = [
        [f"{guideline} {item.number}", item.asks, item.answer]
        for guideline, items in GUIDELINES.items()
        for item in items
    ]
    said = "What a run can answer of CLAIM 2024, TRIPOD+AI and a predetermined change control plan (FDA PCCP):"
    return f"{said}\n\n{table(['item', 'asks for', 'answer'], rows)}"
