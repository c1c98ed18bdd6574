"""The page: `python -m streamlit run serve/ui.py`. It talks to the service that SERVICE_URL names."""

import csv
import os
from pathlib import Path
from typing import Any

import altair as alt
import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd
import requests
import streamlit as st

from chestxray.cam import heat_of, overlay
from chestxray.findings import NO_FINDING, RESEARCH_USE_ONLY
from chestxray.nih import TABLE
from chestxray.radiograph import decode
from serve.schemas import Finding, ModelInfo, Prediction, RawHeatmap

SERVICE = os.environ.get("SERVICE_URL", "http://127.0.0.1:8000").rstrip("/")
PHANTOMS = Path(__file__).resolve().parents[1] / "data" / "raw" / "phantom"
SIDE = 900  # pixels, longer side of the radiograph on the page
SECONDS = 60
HEADLINES = {
    "mean_auroc": "Mean AUROC",
    "mean_average_precision": "Mean average precision",
    "macro_f1": "Macro F1",
    "micro_f1": "Micro F1",
}

Pixels = npt.NDArray[np.uint8]


class ServiceError(Exception):
    """The service is down or refuses; the message is for the person at the page."""


def ask(method: str, path: str, **arguments: Any) -> Any:
    """One request to the service.

    Raises:
        ServiceError: it does not answer, or refuses.
    """
    try:
        answer = requests.request(method, f"{SERVICE}{path}", timeout=SECONDS, **arguments)
        content = answer.json()
    except requests.RequestException as error:
        raise ServiceError(f"The service at {SERVICE} does not answer. Start it with `make serve`.") from error
    if not answer.ok:
        raise ServiceError(f"{content['detail']} (request {content['request_id']})")
    return content


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


@st.cache_data
def examples() -> dict[str, str]:
    """One phantom of each finding that stands alone, and one of none: what to call it, and its file."""
    files = {path.name: str(path) for path in (PHANTOMS / "images").glob("*.png")}
    if not files or not (PHANTOMS / TABLE).is_file():
        return {}
    with (PHANTOMS / TABLE).open(newline="", encoding="utf-8") as table:
        rows = [(row["Finding Labels"], row["Image Index"]) for row in csv.DictReader(table)]
    alone = {labels: files[name] for labels, name in reversed(rows) if "|" not in labels and name in files}
    order = sorted(alone, key=lambda labels: (labels != NO_FINDING, labels))
    return {f"Synthetic phantom drawn with: {labels.replace('_', ' ').lower()}": alone[labels] for labels in order}


def choose() -> bytes | None:
    """The file to look at: uploaded, or an example."""
    left, right = st.columns(2)
    uploaded = left.file_uploader("Upload a frontal chest radiograph (PNG, JPEG or DICOM)", key="upload")
    shipped = examples()
    picked = right.selectbox(
        "or pick an example", list(shipped), index=None, key="example", disabled=not shipped, placeholder="none picked"
    )
    if not shipped:
        right.caption("`make reproduce` draws the examples.")
    if uploaded is not None:
        return bytes(uploaded.getvalue())
    return Path(shipped[picked]).read_bytes() if picked else None


@st.cache_data(max_entries=4)
def radiograph(data: bytes) -> Pixels:
    """The radiograph as large as the page shows it, uint8 H × W."""
    pixels = decode(data).pixels
    height, width = (round(side * SIDE / max(pixels.shape)) for side in pixels.shape)
    return np.asarray(cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


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
        square = heat_of(maps, SIDE, round(SIDE * finding.heatmap.covers.width))[..., 0]
        heat = np.asarray(cv2.resize(square, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)
    return overlay(pixels, np.where(heat >= least * hottest, heat, 0.0).astype(np.float32), hottest, opacity)


def show_explanation(data: bytes, answer: Prediction) -> None:
    """The radiograph, the finding picker and the sliders."""
    names = [finding.name for finding in answer.findings]
    picture = st.container()
    name = st.selectbox("Explain which finding?", names, key="finding", format_func=lambda n: n.replace("_", " "))
    left, right = st.columns(2)
    least = left.slider("Hide heat below (% of the hottest place)", 0, 100, 20, key="least") / 100
    opacity = right.slider("Opacity of the heat (%)", 0, 100, 45, key="opacity") / 100
    finding = answer.findings[names.index(name)]
    compared = [f.heatmap for f in answer.findings if f.positive or f is finding]
    hottest = max(float(np.max(heatmap.values)) for heatmap in compared if isinstance(heatmap, RawHeatmap))
    shown = explained(radiograph(data), finding, max(hottest, 1e-6), least, opacity)
    state = "detected" if finding.positive else "not detected"
    caption = f"Grad-CAM of {name.replace('_', ' ')} ({state}): the brighter, the more a place speaks for it; "
    picture.image(shown, caption=f"{caption}one scale for all detected findings. {answer.disclaimer}", width="stretch")


def show_findings(answer: Prediction) -> None:
    """Detected labels, and all findings with their operating points."""
    st.subheader("Detected")
    if answer.predicted_labels:
        st.markdown(", ".join(f"**{name.replace('_', ' ')}**" for name in answer.predicted_labels))
    else:
        st.markdown(
            "None of the 14 findings reaches its operating point. That does not mean that the chest is healthy."
        )
    for warning in answer.image.warnings:
        st.warning(f"The image is {warning}.")
    table = pd.DataFrame(
        {
            "Finding": finding.name.replace("_", " "),
            "Probability": finding.probability,
            "Operating point": finding.threshold,
            "Result": "detected" if finding.positive else "not detected",
        }
        for finding in answer.findings
    )
    st.subheader("Probabilities")
    st.altair_chart(_bars(table), width="stretch")
    with st.expander("The same as a table"):
        st.dataframe(table.round(3), hide_index=True)


def _bars(table: pd.DataFrame) -> alt.LayerChart | alt.FacetChart:
    """A bar per finding, the operating point as a tick, and both as text."""
    said = table["Probability"].map("{:.2f}".format) + " / " + table["Operating point"].map("{:.2f}".format)
    table = table.assign(text=said + np.where(table["Result"] == "detected", "  detected", ""))
    base = alt.Chart(table).encode(y=alt.Y("Finding", sort=None, title=None))
    axis = alt.X("Probability", scale=alt.Scale(domain=[0, 1.45]), title="probability / operating point (black mark)")
    axis = axis.axis(values=[0, 0.25, 0.5, 0.75, 1], format=".2f", titleAnchor="start")
    colours = alt.Scale(domain=["detected", "not detected"], range=["#c2410c", "#94a3b8"])
    bars = base.mark_bar().encode(x=axis, color=alt.Color("Result", scale=colours, legend=None))
    ticks = base.mark_tick(color="black", thickness=3).encode(x="Operating point")
    text = base.mark_text(align="left", dx=6).encode(x=alt.X("end:Q"), text="text")
    text = text.transform_calculate(end="max(datum.Probability, datum['Operating point'])")
    return alt.layer(bars, ticks, text).properties(height=420)


def show_model(info: ModelInfo, card: dict[str, Any]) -> None:
    """Version, data and test metrics."""
    test = card["metrics"]["test"]
    with st.expander(f"Model: {_version(info)}, and its test metrics"):
        for column, (key, title) in zip(st.columns(len(HEADLINES)), HEADLINES.items(), strict=True):
            low, high = test[f"{key}_ci_low"], test[f"{key}_ci_high"]
            column.metric(title, f"{test[key]:.3f}")
            column.caption(f"95 % interval {low:.3f} – {high:.3f}")
        kind = "synthetic phantoms" if info.synthetic else "radiographs"
        st.markdown(f"Measured on {test['n']} {kind} of {test['patients']} patients that it never saw in training.")
        st.markdown(f"{card['intended_use']}  \nSHA-256 of the bundle: `{info.sha256}`")


def _version(info: ModelInfo) -> str:
    version = f" version {info.version}" if info.version else ""
    return f"{info.name}{version}{f' ({info.alias})' if info.alias else ''}"


def main() -> None:
    """Draws the page."""
    st.set_page_config("Chest X-ray findings", layout="wide")
    st.title("Chest X-ray findings")
    st.warning(f"**{RESEARCH_USE_ONLY}** Don't upload images that show who the patient is.")
    try:
        content = ask("GET", "/v1/model")
        info = ModelInfo.model_validate(content)
        if info.synthetic:
            st.info("This model was trained on synthetic phantoms. What it says of real radiographs means nothing.")
        data = choose()
        if data is None:
            st.markdown("Upload a radiograph or pick an example to see its findings.")
        else:
            answer = predict(data, info.sha256)
            left, right = st.columns([3, 2], gap="large")
            with left:
                show_explanation(data, answer)
            with right:
                show_findings(answer)
        show_model(info, content["card"])
    except ServiceError as error:
        st.error(str(error))


if __name__ == "__main__":
    main()
