"""Say in words on the page what was detected, what the checks found, and how well the model does."""

from typing import Any

import streamlit as st

from chestxray.inference.headlines import headlines
from chestxray.inference.located import Compared, Located
from chestxray.inference.operating_point import Rate
from chestxray.inference.predictions import Finding, ModelInfo, Prediction
from serve.ui_answers import Answered
from serve.ui_html import NOT_LEARNED, SCORE_ONLY, UNDECIDED, plain, result

LISTED = 6
"""Findings that are named in a line about those without a result; the table has all."""


def show_verdict(shown: Answered) -> None:
    """Say what the checks found, and what is detected."""
    if shown.problem is not None:
        st.error(f"**{shown.problem.heading}.** {shown.problem}")
    if shown.prediction is not None:
        refused = shown.prediction.quality.verdict == "refused"
        # What may mean nothing is not read before it is said to.
        for show in (show_quality, show_detected) if refused else (show_detected, show_quality):
            show(shown.prediction)


def show_detected(answer: Prediction) -> None:
    """Say in words what is detected, of the findings that are decided on."""
    detected = [finding for finding in answer.findings if finding.positive]
    decided = sum(finding.positive is not None for finding in answer.findings)
    findings = "finding" if decided == 1 else "findings"
    if detected:
        st.header(f"Detected: {len(detected)} of {decided} {findings}", anchor=False)
        st.markdown(", ".join(f"**{plain(finding.title)}**" for finding in detected))
    elif decided:
        st.header("Nothing detected", anchor=False)
        reached = f"None of {decided} findings reaches" if decided > 1 else "The one finding does not reach"
        st.markdown(f"{reached} its operating point. That does **not** mean that the chest is healthy.")
    else:
        st.header("Nothing is decided", anchor=False)
        learned = any(finding.status == "learned" for finding in answer.findings)
        why = "None has a threshold at this operating point" if learned else "None was learned from enough patients"
        st.markdown(f"{why}. That does **not** mean that the chest is healthy.")


def show_quality(answer: Prediction) -> None:
    """Say what the checks found in the image; how far each is from its limit is in the answer of the service."""
    quality = answer.quality
    if quality.verdict == "accepted":
        st.caption("Image checks: accepted; nothing was found that makes the answer doubtful.")
    refused, warned = (
        [check.message for check in quality.checks if check.verdict == verdict] for verdict in ("refused", "warned")
    )
    if refused:
        lines = [f"- {message}" for message in refused]
        st.error("\n".join(["The checks refuse this image; the answer may mean nothing:", "", *lines]))
    if warned:
        st.warning("\n".join(f"- {message}" for message in warned) if len(warned) > 1 else warned[0])


def test_result(finding: Finding, test: dict[str, Any], operating_point: str) -> str:
    """Say how well a finding is ranked on the test set, what its decisions are worth there, and what is doubtful.

    Args:
        finding: of the answer.
        test: metrics of the model on its test images.
        operating_point: by which it was decided.
    """
    name = finding.name
    said = []
    if name in test.get("auroc", {}):
        labelled = test.get("labelled", {}).get(name, test["n"])
        low, high = (test[f"auroc_ci_{end}"].get(name) for end in ("low", "high"))
        said.append(
            f"{plain(finding.title)} on the test set: AUROC {_with_interval(test['auroc'][name], low, high)}, "
            f"{test['positives'][name]} of {labelled} images have it."
        )
    if (known := finding.performance) is not None:
        worth = [
            f"{title} {_rate(rate)}" for title, rate in (("sensitivity", known.sensitivity), ("precision", known.ppv))
        ]
        at = f"at a prevalence of {known.prevalence:.1%}"
        said.append(f"By the operating point {plain(operating_point)}: {', '.join(worth)} {at}.")
    if finding.uncertain:
        said.append("**Uncertain**: its probability shows neither presence nor absence; a person should look.")
    if finding.label_quality:
        said.append(plain(finding.label_quality))
    return " ".join(said)


def doubt_heatmaps(finding: Finding, card: dict[str, Any]) -> str:
    """Say why the heatmaps of a finding are unproven: not shown to point at it, in plain text; empty if they are shown.

    Args:
        finding: of the answer.
        card: of the model, which has what was measured on test images with boxes.
    """
    if finding.explanation == "shown":
        return ""
    measured = dict(zip(card["findings"], card.get("localization", ()), strict=False))
    located = measured.get(finding.name)
    if finding.explanation is None:
        why = "nobody has measured it, as far as the model's bundle says"
    elif finding.name not in measured:
        why = "boxes of test images do not show it"
    elif located is None:
        why = "nobody has measured it, since no test image has a box of it"
    else:
        why = _shortfall(Located.model_validate(located).pixel_auroc)
    return f"Heatmaps of {finding.title} are unproven, that is, not shown to point at it: {why}."


def _shortfall(found: Compared) -> str:
    """Say how far heat falls short of ranking the pixels of boxes better than the finding's usual place does."""
    gain, usual = found.gain, found.mean_box
    images = "1 test image with a box is" if found.map.n == 1 else f"{found.map.n} test images with boxes are"
    if gain is None or gain.low is None or gain.high is None or usual is None:
        return f"{images} too few to tell"
    return (
        f"on {found.map.n} test images with boxes, heat ranks the pixels of the box above others with an AUROC of "
        f"{found.map.value:.2f}, the place where the finding usually is with {usual.value:.2f}; the difference is "
        f"{gain.value:+.2f} (95 % interval {gain.low:+.2f} to {gain.high:+.2f})"
    )


def describe_overlay(finding: Finding, answer: Prediction, doubt: str, drawn: str) -> list[str]:
    """Describe the heat of a finding on a radiograph, in lines that go with the picture.

    Args:
        finding: whose heat it is.
        answer: that it is of.
        doubt: why its heatmaps are unproven; empty if they are not.
        drawn: how it is drawn.
    """
    number = "" if finding.number is None else f", {finding.number:.2f}"
    point = "" if finding.threshold is None else f" (operating point {finding.threshold:.2f})"
    return [
        f"{finding.title}: {result(finding)}{number}{point}",
        *([doubt] if doubt else []),
        f"Grad-CAM: what speaks for it; {drawn}",
        f"Image checks: {answer.quality.verdict}",
    ]


def _rate(rate: Rate | None) -> str:
    return "not measured" if rate is None else _with_interval(rate.value, rate.low, rate.high)


def _with_interval(value: float, low: float | None, high: float | None) -> str:
    said = "too few patients for an interval" if low is None else f"95 % interval {low:.2f}–{high:.2f}"
    return f"{value:.2f} ({said})"


def explain_missing_results(findings: list[Finding]) -> None:
    """Say under the table why some findings have a score only, or nothing."""
    for word, why in (
        (SCORE_ONLY, "too few patients to learn it or to check it, therefore no probability and no decision"),
        (NOT_LEARNED, "the model never saw images both with and without it"),
    ):
        titles = [plain(finding.title) for finding in findings if result(finding) == word]
        if titles:
            listed = ", ".join(titles[:LISTED]) + (f" and {len(titles) - LISTED} more" if len(titles) > LISTED else "")
            st.caption(f"{word[0].upper()}{word[1:]} – {why}: {listed}.")
    for finding in [finding for finding in findings if result(finding) == UNDECIDED][:LISTED]:
        st.caption(f"{plain(finding.title)} – {UNDECIDED}: {plain(finding.undecided_because or 'no threshold')}.")


def show_model(info: ModelInfo, card: dict[str, Any], expanded: bool) -> None:
    """Show which model answers, what it was trained on, and its metrics on the test set."""
    test = card["metrics"]["test"]
    kind = "synthetic phantoms" if info.synthetic else "radiographs"
    shown = headlines(test, card.get("headlines", {}))
    first = next((f"{each.title} {each.value:.3f}" for each in shown if each.value is not None), "measured")
    title = f"Model {info.in_words()}: {first} on {test['n']} {kind}"
    with st.expander(title, expanded=expanded):
        for column, (name, value, said) in zip(st.columns(max(1, len(shown))), shown, strict=False):
            column.metric(f"{name[0].upper()}{name[1:]}", "–" if value is None else f"{value:.3f}")
            column.caption(said)
        st.markdown(measured_on(test, kind, card["patients_known"]))
        st.markdown(f"{card['intended_use']}  \nSHA-256 of the bundle: `{info.sha256}`")


def measured_on(test: dict[str, Any], kind: str, patients_known: bool) -> str:
    """Say what the test set is, and whether its patients are apart from those of training."""
    if patients_known:
        return f"Measured on {test['n']} {kind} of {test['patients']} patients that it never saw in training."
    return (
        f"Measured on {test['n']} {kind} that it never saw in training. **Patients are unknown**: each image counted "
        "as one, so it may have seen other images of the same people, and be worse with those of others."
    )
