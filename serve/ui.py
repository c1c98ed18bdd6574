"""The page: `python -m streamlit run serve/ui.py`. It talks to the service that SERVICE_URL names."""

import csv
import os
from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import requests
import streamlit as st
from pydantic import ValidationError

from chestxray.batch_layout import TABLE
from chestxray.findings import NO_FINDING, RESEARCH_USE_ONLY
from chestxray.imaging.decode import decode
from chestxray.inference.heatmap import overlay, upscale_maps
from chestxray.inference.predictions import Finding, ModelInfo, Prediction, RawHeatmap
from serve.schemas import ProblemDetails

SERVICE = os.environ.get("SERVICE_URL", "http://127.0.0.1:8000").rstrip("/")
KEY = os.environ.get("SERVICE_API_KEY")
PHANTOMS = Path(__file__).resolve().parents[1] / "data" / "raw" / "phantom"
SIDE = 1024  # pixels, longer side of the radiograph on the page
SECONDS = 60
HEADLINES = {"mean_auroc": "Mean AUROC", "mean_average_precision": "Mean average precision"}
HEADLINES |= {"macro_f1": "Macro F1", "micro_f1": "Micro F1"}
REFUSED = "The file is refused"
WELCOME = """Upload a radiograph or pick an example. You will see

- which of the 14 findings are **detected**: those whose probability reaches their operating point;
- **where** the model saw each of them, as a Grad-CAM heatmap on the radiograph, with sliders for threshold and opacity;
- all probabilities beside their operating points."""
STYLE = """<style>
.stMainBlockContainer { padding: 1.25rem 2rem 2rem; max-width: 1500px }
h1 { font-size: 1.7rem!important; padding: .6rem 0!important } h2 { font-size: 1.35rem!important; padding: 0!important }
.findings { width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
.findings th, .findings td { padding: .22rem .4rem; border: 0; text-align: left; font-weight: 400; line-height: 1.2 }
.findings thead th { color: #b4bfcc; vertical-align: bottom }
.findings .detected th, .findings .detected td { font-weight: 600; color: #ffc46b }
.findings .bar { width: 26% } .findings td:last-child { white-space: nowrap }
.track { position: relative; height: .8rem; background: #2a323d }
.track > div { height: 100%; background: #8492a3 } .detected .track > div { background: #f0a030 }
.track > i { position: absolute; top: -.2rem; height: 1.2rem; width: 3px; margin-left: -1px; background: #fff }
.legend { display: flex; gap: .6rem; align-items: center; font-size: .9rem } .legend > div { flex: 1; height: .8rem }
@media (max-width: 640px) { .stMainBlockContainer { padding: .75rem 1rem } .findings { font-size: .8rem } }
</style>"""
Pixels = npt.NDArray[np.uint8]


class ServiceError(Exception):
    """The service is down or refuses.

    Attributes:
        heading: what happened, in a few words.
    """

    def __init__(self, heading: str, detail: str) -> None:
        super().__init__(detail)
        self.heading = heading


def ask(method: str, path: str, **arguments: Any) -> Any:
    """One request to the service.

    Raises:
        ServiceError: it does not answer, or refuses.
    """
    headers = {"X-API-Key": KEY} if KEY else {}
    try:
        answer = requests.request(method, f"{SERVICE}{path}", timeout=SECONDS, headers=headers, **arguments)
        content = answer.json()
        if answer.ok:
            return content
        problem = ProblemDetails.model_validate(content)
    except (requests.RequestException, ValidationError) as error:
        detail = f"No answer from {SERVICE}. Start it with `make serve`, then try again."
        raise ServiceError("The service is down", detail) from error
    heading = REFUSED if problem.status in {413, 415, 422} else problem.title
    raise ServiceError(heading, f"{problem.detail} (Request {problem.request_id})")


@st.cache_data(max_entries=16, show_spinner="Looking at the radiograph …")
def predict(data: bytes, model: str) -> Prediction:
    """The service's answer with all maps as numbers, so that sliders need no new inference.

    Args:
        data: the file.
        model: digest of the model, so that another model is asked again.
    """
    options = {"heatmaps": "raw", "heatmaps_for": "all"}
    # The file's name stays here: it may name a patient.
    return Prediction.model_validate(ask("POST", "/predict", params=options, files={"file": ("image", data)}))


@st.cache_data(ttl=60, show_spinner=False)
def examples() -> dict[str, str]:
    """One phantom of each finding that stands alone, and one of none: what to call it, and its file."""
    files = {path.name: str(path) for path in (PHANTOMS / "images").glob("*.png")}
    if not files or not (PHANTOMS / TABLE).is_file():
        return {}
    with (PHANTOMS / TABLE).open(newline="", encoding="utf-8") as table:
        rows = [(row["Finding Labels"], row["Image Index"]) for row in csv.DictReader(table)]
    alone = {labels: files[name] for labels, name in reversed(rows) if "|" not in labels and name in files}
    order = sorted(alone, key=lambda labels: (labels != NO_FINDING, labels))
    return {f"Synthetic phantom labelled: {said(labels).lower()}": alone[labels] for labels in order}


def said(name: str) -> str:
    """A finding as a person writes it."""
    return name.replace("_", " ")


def with_result(finding: Finding) -> str:
    """A finding and whether it is detected."""
    return f"{said(finding.name)} ({'detected' if finding.positive else 'not detected'})"


def choose() -> bytes | None:
    """The file to look at: uploaded, or an example."""
    left, right = st.columns(2)
    uploaded = left.file_uploader("Upload a frontal chest radiograph: PNG, JPEG or DICOM", key="upload")
    shipped = examples()
    picked = right.selectbox(
        "or pick an example, drawn by a program",
        list(shipped),
        index=None,
        key="example",
        disabled=not shipped or uploaded is not None,
        placeholder="Pick a synthetic phantom" if shipped else "No examples yet",
    )
    if not shipped:
        right.caption("`make reproduce` draws the examples.")
    if uploaded is not None:
        right.caption("Remove the uploaded file to pick an example.")
        return bytes(uploaded.getvalue())
    return Path(shipped[picked]).read_bytes() if picked else None


@st.cache_data(max_entries=4, show_spinner=False)
def radiograph(data: bytes) -> Pixels:
    """The radiograph as large as the page shows it, uint8 H × W."""
    pixels = decode(data).pixels
    height, width = (max(1, round(side * SIDE / max(pixels.shape))) for side in pixels.shape)
    way = cv2.INTER_AREA if max(pixels.shape) > SIDE else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=way), np.uint8)


def explained(pixels: Pixels, finding: Finding, hottest: float, least: float, opacity: float) -> Pixels:
    """The radiograph with the heat of a finding.

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
    """The radiograph beside what was found; the controls redraw this part only and ask the service nothing."""
    picture, panel = st.columns([13, 10], gap="medium")
    with panel:
        show_detected(answer)
        finding, shown = show_controls(data, answer, test)
        st.html(findings_table(answer.findings))
    _, png = cv2.imencode(".png", cv2.cvtColor(shown, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    label = f"Radiograph with the Grad-CAM heat of {with_result(finding)}"
    scale = "The colours of this and of the detected findings have one scale."
    caption = f"{label}. {scale} {answer.disclaimer}"
    picture.image(png.tobytes(), caption, width="stretch", output_format="PNG", alt=label)


def show_detected(answer: Prediction) -> None:
    """The labels that are detected, in words."""
    count = len(answer.predicted_labels)
    st.header(f"Detected: {count} of {len(answer.findings)} findings" if count else "Nothing detected", anchor=False)
    if count:
        st.markdown(", ".join(f"**{said(name)}**" for name in answer.predicted_labels))
    else:
        st.markdown("No finding reaches its operating point. That does **not** mean that the chest is healthy.")
    for warning in answer.image.warnings:
        st.warning(f"The image is {warning}.")


def show_controls(data: bytes, answer: Prediction, test: dict[str, Any]) -> tuple[Finding, Pixels]:
    """Picker and sliders.

    Returns:
        The finding to explain, and the radiograph with its heat.
    """
    detected_first = sorted(answer.findings, key=lambda finding: not finding.positive)
    # Another image begins with its own first finding again.
    key = f"finding {answer.image.sha256}"
    finding = st.selectbox("Explain the finding", detected_first, key=key, format_func=with_result)
    left, right = st.columns(2)
    least = left.slider("Hide heat below, % of the hottest", 0, 100, 20, key="least") / 100
    opacity = right.slider("Opacity of the heat, %", 0, 100, 60, key="opacity") / 100
    compared = [f.heatmap for f in answer.findings if f.positive or f.name == finding.name]
    hottest = max(float(np.max(heatmap.values)) for heatmap in compared if isinstance(heatmap, RawHeatmap))
    st.html(legend(finding, least, opacity))
    if finding.name in test.get("auroc", {}):
        low, high = test["auroc_ci_low"][finding.name], test["auroc_ci_high"][finding.name]
        auroc, positives = test["auroc"][finding.name], test["positives"][finding.name]
        st.caption(
            f"{said(finding.name)} on the test set: AUROC {auroc:.2f} (95 % interval {low:.2f}–{high:.2f}), "
            f"{positives} of {test['n']} images have it."
        )
    return finding, explained(radiograph(data), finding, max(hottest, 1e-6), least, opacity)


def legend(finding: Finding, least: float, opacity: float) -> str:
    """What the colours mean, on mid-grey and under the same sliders as the picture, as HTML."""
    levels = np.linspace(0.0, 1.0, 21)
    heat = np.where(levels >= least, levels, 0.0).astype(np.float32)[None]
    colours = overlay(np.full((1, 21), 128, np.uint8), heat, 1.0, opacity)[0]
    stops = ",".join(f"rgb({red},{green},{blue})" for red, green, blue in colours)
    bar = f"<div style='background:linear-gradient(to right,{stops})'></div>"
    return f"<div class=legend>Speaks for {escape(said(finding.name))}: little {bar} much</div>"


def findings_table(findings: list[Finding]) -> str:
    """All findings with their operating points, as HTML: a bar, a mark, and both in figures and words."""
    rows = "".join(
        f"<tr class='{'detected' if finding.positive else ''}'><th scope=row>{escape(said(finding.name))}</th>"
        f"<td class=bar><div class=track><div style='width:{finding.probability:.1%}'></div>"
        f"<i style='left:{finding.threshold:.1%}'></i></div></td>"
        f"<td>{finding.probability:.2f}</td><td>{finding.threshold:.2f}</td>"
        f"<td>{'detected' if finding.positive else 'not detected'}</td></tr>"
        for finding in findings
    )
    heads = (
        "Finding",
        "Bar: probability; white mark: operating point",
        "Proba&shy;bility",
        "Operating point",
        "Result",
    )
    titles = "".join(f"<th scope=col>{head}</th>" for head in heads)
    return f"<table class=findings><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"


def show_model(info: ModelInfo, card: dict[str, Any], expanded: bool) -> None:
    """Version, data and test metrics."""
    test, kind = card["metrics"]["test"], "synthetic phantoms" if info.synthetic else "radiographs"
    version = (
        f"{info.name}{f' version {info.version}' if info.version else ''}{f' ({info.alias})' if info.alias else ''}"
    )
    with st.expander(f"Model {version}: mean AUROC {test['mean_auroc']:.3f} on {test['n']} {kind}", expanded=expanded):
        for column, (key, title) in zip(st.columns(len(HEADLINES)), HEADLINES.items(), strict=True):
            low, high = test[f"{key}_ci_low"], test[f"{key}_ci_high"]
            column.metric(title, f"{test[key]:.3f}")
            column.caption(f"95 % interval {low:.3f}–{high:.3f}")
        st.markdown(f"Measured on {test['n']} {kind} of {test['patients']} patients that it never saw in training.")
        st.markdown(f"{card['intended_use']}  \nSHA-256 of the bundle: `{info.sha256}`")


def main() -> None:
    """Draws the page."""
    st.set_page_config("Chest X-ray findings", layout="wide")
    st.html(STYLE)
    left, right = st.columns([2, 5], vertical_alignment="center")
    left.title("Chest X-ray findings", anchor=False)
    notice = right.empty()
    warning = f"**{RESEARCH_USE_ONLY}** Don't upload images that show who the patient is."
    notice.warning(warning)
    data = choose()
    try:
        content = ask("GET", "/v1/model")
        info = ModelInfo.model_validate(content)
        if info.synthetic:
            notice.warning(f"{warning} This model was trained on synthetic phantoms: it says nothing about patients.")
        if data is not None:
            show_result(data, predict(data, info.sha256), content["card"]["metrics"]["test"])
        else:
            st.markdown(WELCOME)
        show_model(info, content["card"], expanded=data is None)
    except ServiceError as error:
        st.error(f"**{error.heading}.** {error}")
        if error.heading != REFUSED:
            st.button("Try again")


if __name__ == "__main__":
    main()
