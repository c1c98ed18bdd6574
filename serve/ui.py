"""Draw the page: `python -m streamlit run serve/ui.py`. It talks to the service that SERVICE_URL names."""

import csv
import hashlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import streamlit as st

from chestxray.batch_layout import TABLE
from chestxray.findings import NO_FINDING, RESEARCH_USE_ONLY
from chestxray.imaging.decode import decode
from chestxray.inference.headlines import headlines
from chestxray.inference.heatmap import overlay, upscale_maps
from chestxray.inference.predictions import Finding, ModelInfo, Prediction, Quality, RawHeatmap
from serve.ui_client import REFUSED, ServiceError, ask
from serve.ui_html import NOT_LEARNED, SCORE_ONLY, STYLE, findings_table, legend, plain, result

PHANTOMS = Path(__file__).resolve().parents[1] / "data" / "raw" / "phantom"
"""The batch that `make reproduce` draws."""
LISTED = 6
"""Findings that are named in a line about those without a result; the table has all."""
SIDE = 1024
"""Longer side of the radiograph on the page, in pixels."""
WELCOME = """Upload a radiograph or pick an example. You will see

- which findings are **detected**: those whose probability reaches their operating point;
- **where** the model saw each of them, as a Grad-CAM heatmap on the radiograph, with sliders for threshold and opacity;
- all probabilities beside their operating points."""
Pixels = npt.NDArray[np.uint8]


@st.cache_data(max_entries=16, show_spinner="Looking at the radiograph …")
def predict(data: bytes, model: str, accept_anyway: bool) -> Prediction:
    """Ask the service for all findings and maps as numbers, so that sliders need no new inference.

    Args:
        data: the file.
        model: digest of the model, so that another model is asked again.
        accept_anyway: answer even if the checks refuse the image.
    """
    options = {"heatmaps": "raw", "heatmaps_for": "all", "accept_anyway": accept_anyway}
    # The file's name stays here: it may name a patient.
    return Prediction.model_validate(ask("POST", "/predict", params=options, files={"file": ("image", data)}))


@st.cache_data(ttl=60, show_spinner=False)
def example_files() -> dict[str, str]:
    """Choose one phantom of each finding that stands alone, and one of none.

    Returns:
        Its file, by what to call it.
    """
    files = {path.name: str(path) for path in (PHANTOMS / "images").glob("*.png")}
    if not files or not (PHANTOMS / TABLE).is_file():
        return {}
    with (PHANTOMS / TABLE).open(newline="", encoding="utf-8") as table:
        rows = [(row["Finding Labels"], row["Image Index"]) for row in csv.DictReader(table)]
    alone = {labels: files[name] for labels, name in reversed(rows) if "|" not in labels and name in files}
    order = sorted(alone, key=lambda labels: (labels != NO_FINDING, labels))
    return {f"Synthetic phantom labelled: {labels.replace('_', ' ').lower()}": alone[labels] for labels in order}


def title_with_result(finding: Finding) -> str:
    """Return the title of a finding and whether it is detected."""
    return f"{finding.title} ({result(finding)})"


def choose_file() -> bytes | None:
    """Let the reader upload a file or pick an example, and return it."""
    left, right = st.columns(2)
    uploaded = left.file_uploader(
        "Upload a frontal chest radiograph: PNG, JPEG, TIFF, JPEG 2000 or DICOM",
        key="upload",
    )
    files = example_files()
    picked = right.selectbox(
        "or pick an example, drawn by a program",
        list(files),
        index=None,
        key="example",
        disabled=not files or uploaded is not None,
        placeholder="Pick a synthetic phantom" if files else "No examples yet",
    )
    if not files:
        right.caption("`make reproduce` draws the examples.")
    if uploaded is not None:
        right.caption("Remove the uploaded file to pick an example.")
        return bytes(uploaded.getvalue())
    return Path(files[picked]).read_bytes() if picked else None


@st.cache_data(max_entries=4, show_spinner=False)
def shown_pixels(data: bytes) -> Pixels:
    """Decode a file and return its pixels as large as the page shows them, uint8 H × W."""
    pixels = decode(data).pixels
    height, width = (max(1, round(side * SIDE / max(pixels.shape))) for side in pixels.shape)
    interpolation = cv2.INTER_AREA if max(pixels.shape) > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=interpolation), np.uint8)


def add_heat(pixels: Pixels, finding: Finding, hottest: float, least: float, opacity: float) -> Pixels:
    """Draw the heat of a finding on a radiograph.

    Args:
        pixels: uint8 H × W.
        finding: with its raw map.
        hottest: heat of the brightest colour.
        least: share of the hottest below which heat is hidden, 0–1.
        opacity: of the hottest places, 0–1.

    Returns:
        uint8 H × W × 3, RGB.
    """
    height, width = pixels.shape
    heat = np.zeros((height, width), np.float32)
    if isinstance(finding.heatmap, RawHeatmap):
        maps = np.array(finding.heatmap.values, np.float32)[..., None]
        square = upscale_maps(maps, SIDE, round(SIDE * finding.heatmap.covers.width))[..., 0]
        heat = np.asarray(cv2.resize(square, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return overlay(pixels, np.where(heat >= least * hottest, heat, 0.0).astype(np.float32), hottest, opacity)


@st.fragment
def show_result(data: bytes, answer: Prediction, test: dict[str, Any]) -> None:
    """Show the radiograph beside what was found; the controls redraw this part only and ask the service nothing."""
    picture, panel = st.columns([13, 10], gap="medium")
    with panel:
        show_quality(answer.quality)
        if answer.quality.verdict == "refused":
            offer_anyway(data)
        show_detected(answer)
        finding, shown = show_controls(data, answer, test)
        st.html(findings_table(answer.findings))
        explain_missing_results(answer.findings)
    _, png = cv2.imencode(".png", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    label = f"Radiograph with the Grad-CAM heat of {title_with_result(finding)}"
    scale = "The colours of this and of the detected findings have one scale."
    caption = f"{plain(label)}. {scale} {answer.disclaimer}"
    picture.image(png.tobytes(), caption, width="stretch", output_format="PNG", alt=label)


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
        st.markdown("No finding was learned from enough patients. That does **not** mean that the chest is healthy.")


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


def show_quality(quality: Quality) -> None:
    """Say what the checks found in the image; how far each is from its limit is in the answer of the service."""
    if quality.verdict == "accepted":
        st.caption("Image checks: accepted; nothing was found that makes the answer doubtful.")
    refused, warned = (
        [f"- {check.message}" for check in quality.checks if check.verdict == verdict]
        for verdict in ("refused", "warned")
    )
    if refused:
        st.error("\n".join(["The checks refuse this image; the answer may mean nothing:", "", *refused]))
    if warned:
        st.warning("\n".join(warned))


def anyway_key(data: bytes) -> str:
    """Return where the page keeps whether to answer about a file that the checks refuse."""
    return f"anyway {hashlib.sha256(data).hexdigest()}"


def offer_anyway(data: bytes) -> None:
    """Let the reader ask about a file that the checks refuse."""
    st.checkbox("Answer about this image all the same; the answer may mean nothing", key=anyway_key(data))


def show_controls(data: bytes, answer: Prediction, test: dict[str, Any]) -> tuple[Finding, Pixels]:
    """Show the picker of findings and the sliders of its heat.

    Returns:
        The finding to explain, and the radiograph with its heat.
    """
    explained = [finding for finding in answer.findings if finding.heatmap is not None]
    detected_first = sorted(explained, key=lambda finding: not finding.positive)
    # Another image begins with its own first finding again.
    key = f"finding {answer.image.sha256}"
    finding = st.selectbox("Explain the finding", detected_first, key=key, format_func=title_with_result)
    left, right = st.columns(2)
    least = left.slider("Hide heat below, % of the hottest", 0, 100, 20, key="least") / 100
    opacity = right.slider("Opacity of the heat, %", 0, 100, 60, key="opacity") / 100
    compared = [f.heatmap for f in answer.findings if f.positive or f.name == finding.name]
    hottest = max(float(np.max(heatmap.values)) for heatmap in compared if isinstance(heatmap, RawHeatmap))
    st.html(legend(finding, least, opacity))
    if finding.name in test.get("auroc", {}):
        st.caption(test_result(finding, test))
    return finding, add_heat(shown_pixels(data), finding, max(hottest, 1e-6), least, opacity)


def test_result(finding: Finding, test: dict[str, Any]) -> str:
    """Say how well a finding is ranked on the test set."""
    name = finding.name
    labelled = test.get("labelled", {}).get(name, test["n"])
    auroc = test["auroc"][name]
    low, high = (test[f"auroc_ci_{end}"].get(name) for end in ("low", "high"))
    said = "too few patients for an interval" if low is None else f"95 % interval {low:.2f}–{high:.2f}"
    return (
        f"{plain(finding.title)} on the test set: AUROC {auroc:.2f} ({said}), "
        f"{test['positives'][name]} of {labelled} images have it."
    )


def show_model(info: ModelInfo, card: dict[str, Any], expanded: bool) -> None:
    """Show which model answers, what it was trained on, and its metrics on the test set."""
    test = card["metrics"]["test"]
    kind = "synthetic phantoms" if info.synthetic else "radiographs"
    version = f" version {info.version}" if info.version else ""
    alias = f" ({info.alias})" if info.alias else ""
    shown = headlines(test, card.get("headlines", {}))
    first = next((f"{each.title} {each.value:.3f}" for each in shown if each.value is not None), "measured")
    title = f"Model {info.name}{version}{alias}: {first} on {test['n']} {kind}"
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


def main() -> None:
    """Draw the page."""
    st.set_page_config("Chest X-ray findings", layout="wide")
    st.html(STYLE)
    left, right = st.columns([2, 5], vertical_alignment="center")
    left.title("Chest X-ray findings", anchor=False)
    notice = right.empty()
    warning = f"**{RESEARCH_USE_ONLY}** Don't upload images that show who the patient is."
    notice.warning(warning)
    data = choose_file()
    try:
        content = ask("GET", "/v1/model")
        info = ModelInfo.model_validate(content)
        if info.synthetic:
            notice.warning(f"{warning} This model was trained on synthetic phantoms: it says nothing about patients.")
        if data is not None:
            anyway = bool(st.session_state.get(anyway_key(data)))
            show_result(data, predict(data, info.sha256, anyway), content["card"]["metrics"]["test"])
        else:
            st.markdown(WELCOME)
        show_model(info, content["card"], expanded=data is None)
    except ServiceError as error:
        st.error(f"**{error.heading}.** {error}")
        if error.quality is not None and data is not None:
            offer_anyway(data)
        elif error.heading != REFUSED:
            st.button("Try again")


if __name__ == "__main__":
    main()
