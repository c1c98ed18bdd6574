"""Draw the page: `python -m streamlit run serve/ui.py`. It talks to the service that SERVICE_URL names."""

import csv
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from chestxray.batch_layout import TABLE
from chestxray.findings import NO_FINDING, RESEARCH_USE_ONLY
from chestxray.imaging.pictures import encode_png
from chestxray.inference.heatmap import say_scale
from chestxray.inference.predictions import Finding, ModelInfo, Prediction
from serve.ui_answers import MAX_BYTES, MAX_FILES, Answered, ChosenFile, Kept, ask_about, keep, table_of
from serve.ui_client import REFUSED, ServiceError, ask
from serve.ui_html import STYLE, files_table, findings_table, legend, plain, result
from serve.ui_picture import Pixels, add_heat, burnt, hottest_of
from serve.ui_words import (
    describe_overlay,
    doubt_heatmaps,
    explain_missing_results,
    show_model,
    show_verdict,
    test_result,
)

PHANTOMS = Path(__file__).resolve().parents[1] / "data" / "raw" / "phantom"
"""The batch that `make reproduce` draws."""
WELCOME = """Upload radiographs or pick an example. You will see

- which findings are **detected**: those whose probability reaches their operating point;
- **what speaks for** each of them, as a Grad-CAM heatmap beside the plain radiograph, with sliders for it; one that is
  not shown to point at its finding appears only if you ask for it;
- all probabilities beside their operating points, and a table of all files to download."""


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


def choose_files() -> list[ChosenFile]:
    """Let the reader upload files or pick an example, and return them, at most `MAX_FILES` and one."""
    left, right = st.columns(2)
    uploaded = left.file_uploader(
        f"Upload frontal chest radiographs: PNG, JPEG, TIFF, JPEG 2000 or DICOM, up to {MAX_FILES}",
        accept_multiple_files=True,
        key=f"upload {st.session_state.setdefault('uploads', 0)}",
    )
    files = example_files()
    picked = right.selectbox(
        "or pick an example, drawn by a program",
        list(files),
        index=None,
        key="example",
        disabled=not files,
        placeholder="Pick a synthetic phantom" if files else "make reproduce draws the examples",
    )
    if len(uploaded) > 1 and sum(file.size for file in uploaded) > MAX_BYTES:
        st.session_state["uploads"] += 1  # another uploader: the files of this one go
        st.error(
            f"The files have more than {MAX_BYTES >> 20} MiB together: none was looked at. Upload fewer at a time."
        )
        return []
    if len(uploaded) > MAX_FILES:
        st.warning(f"{len(uploaded)} files were uploaded; the first {MAX_FILES} are looked at.")
    chosen = [ChosenFile(file.file_id, file.name, file.getvalue) for file in uploaded[:MAX_FILES]]
    return chosen + ([ChosenFile(picked, picked, Path(files[picked]).read_bytes)] if picked else [])


def anyway_key(key: str) -> str:
    """Return where the page keeps whether to answer about a file that the checks refuse."""
    return f"anyway {key}"


def ask_about_all(files: list[ChosenFile], model: str) -> None:
    """Ask about the files that have no answer yet of this model, and show the first of them.

    Raises:
        ServiceError: the service is down or busy.
    """
    kept: Kept = st.session_state.setdefault("answers", {})
    unasked: list[tuple[ChosenFile, tuple[str, bool]]] = []
    asked: dict[str, tuple[str, bool]] = st.session_state.setdefault("asked", {})
    for file in files:
        asking = model, bool(st.session_state.get(anyway_key(file.key)))
        if file.key in kept and asked[file.key] == asking:
            keep(kept, file.key, kept[file.key])  # what is still chosen is not dropped
        else:
            unasked.append((file, asking))
    for place, (file, asking) in enumerate(unasked):
        with st.spinner(f"Looking at radiograph {place + 1} of {len(unasked)} …"):
            keep(kept, file.key, ask_about(file, accept_anyway=asking[1]))
        asked[file.key] = asking
        if place == 0:
            st.session_state["shown"] = file.key


@st.fragment
def show_result(card: dict[str, Any], chosen: frozenset[str]) -> None:
    """Show the answers; the controls redraw this part only and ask the service nothing.

    Args:
        card: of the model.
        chosen: keys of the files that can be asked about again.
    """
    kept: Kept = st.session_state["answers"]
    with st.container(key="result"):
        verdict, left, controls = (st.container(key=key) for key in ("verdict", "left", "controls"))
        pictures, files = left.container(key="pictures"), left.container(key="files")
        with verdict:
            key = choose_answer(kept)
            shown = kept[key]
            show_verdict(shown)
            if key in chosen and shown.quality is not None and shown.quality.verdict == "refused":
                offer_anyway(key)
        if shown.prediction is not None and shown.pixels is not None:
            with controls:
                finding, picture = show_controls(shown.prediction, shown.pixels, card)
                st.html(findings_table(shown.prediction.findings))
                explain_missing_results(shown.prediction.findings)
            with pictures:
                show_pictures(shown.prediction, shown.pixels, finding, picture)
        with files:
            show_files(kept, shown)


def choose_answer(kept: Kept) -> str:
    """Let the reader choose between the answers, if there are several, and return the key of one."""
    if st.session_state.get("shown") not in kept:
        st.session_state["shown"] = next(reversed(kept))
    if len(kept) > 1:
        keys = list(kept)
        # A key of its own: what a widget keeps goes when it is not drawn.
        picked = st.selectbox(
            "Radiograph", keys, keys.index(st.session_state["shown"]), lambda key: kept[key].name, key="radiograph"
        )
        st.session_state["shown"] = picked
    return str(st.session_state["shown"])


def offer_anyway(key: str) -> None:
    """Let the reader ask about a file that the checks refuse."""
    before = bool(st.session_state.get(anyway_key(key)))
    label = "Answer about this image all the same; the answer may mean nothing"
    if st.checkbox(label, before, key=f"box {key}") != before:
        st.session_state[anyway_key(key)] = not before
        st.rerun()


def show_controls(answer: Prediction, pixels: Pixels, card: dict[str, Any]) -> tuple[Finding, Pixels | None]:
    """Show the picker of findings, what is known of the one that is picked, and the controls of its heat.

    Returns:
        The finding to explain, and the radiograph with its heat; None of an unproven heatmap that nobody asked for.
    """
    explained = [finding for finding in answer.findings if finding.heatmap is not None]
    detected_first = sorted(explained, key=lambda finding: not finding.positive)
    # Another image begins with its own first finding again.
    key = f"finding {answer.image.sha256}"
    finding = st.selectbox("Explain the finding", detected_first, key=key, format_func=title_with_result)
    doubt = doubt_heatmaps(finding, card)
    # It is there for proven ones too: what a widget keeps goes when it is not drawn.
    asked = any(doubt_heatmaps(each, card) for each in explained) and st.toggle(
        "Show heatmaps that are not proven to point at the finding", key="unproven"
    )
    if doubt:
        st.caption(plain(doubt))
    picture = show_heat_controls(answer, pixels, finding, doubt, shown=asked or not doubt)
    if said := test_result(finding, card["metrics"]["test"], answer.operating_point):
        st.caption(said)
    return finding, picture


def show_heat_controls(answer: Prediction, pixels: Pixels, finding: Finding, doubt: str, shown: bool) -> Pixels | None:
    """Show the sliders of a finding's heat and, if it is shown, the legend, and offer the picture for download.

    Args:
        answer: about the radiograph.
        pixels: of it, uint8 H × W.
        finding: whose heat it is.
        doubt: why its heatmaps are unproven, which goes with the picture.
        shown: or the sliders can't be moved.

    Returns:
        The radiograph with its heat, uint8 H × W × 3, RGB; None if it is not shown.
    """
    left, right = st.columns(2)
    least = left.slider("Hide heat below, % of the hottest", 0, 100, 20, key="least", disabled=not shown)
    opacity = right.slider("Opacity of the heat, %", 0, 100, 60, key="opacity", disabled=not shown)
    if not shown:
        return None
    hottest = hottest_of(answer, finding)
    st.html(legend(finding, hottest, least / 100, opacity / 100))
    picture = add_heat(pixels, finding, hottest, least / 100, opacity / 100)
    drawn = f"heat below {least} % of the hottest is hidden, opacity {opacity} %; {say_scale(hottest)}"
    lines = describe_overlay(finding, answer, doubt, drawn)
    st.download_button(
        "Download this overlay (PNG)",
        partial(burnt, picture, answer, lines),
        f"overlay-{answer.image.sha256[:12]}.png",
        "image/png",
        on_click="ignore",
    )
    return picture


def show_pictures(answer: Prediction, pixels: Pixels, finding: Finding, picture: Pixels | None) -> None:
    """Show the radiograph plain and, unless nobody asked for it, with heat, side by side where there is room."""
    plain_side, heat_side = st.columns(2)
    plain_side.image(
        encode_png(pixels), "Plain radiograph", width="stretch", output_format="PNG", alt="Plain radiograph"
    )
    if picture is None:
        heat_side.info(f"No heatmap of {plain(finding.title)} is shown: it is unproven, and shown only on request.")
        return
    unproven = "" if finding.explanation == "shown" else "unproven "
    label = f"Radiograph with the {unproven}Grad-CAM heat of {title_with_result(finding)}"
    caption = f"{plain(label)}. The colours of this and of the detected findings have one scale. {answer.disclaimer}"
    heat_side.image(encode_png(picture), caption, width="stretch", output_format="PNG", alt=label)


def show_files(kept: Kept, shown: Answered) -> None:
    """Show the table of all files, and offer it for download."""
    st.html(files_table(kept.values(), shown))
    left, right = st.columns(2)
    left.download_button(
        "Download this table (CSV)",
        partial(table_of, list(kept.values())),
        "findings.csv",
        "text/csv",
        on_click="ignore",
        width="stretch",
    )
    if right.button("Forget all files", width="stretch"):
        st.session_state["uploads"] += 1
        for key in ("answers", "asked", "shown", "example"):
            st.session_state.pop(key, None)
        st.rerun()


def main() -> None:
    """Draw the page."""
    st.set_page_config("Chest X-ray findings", layout="wide")
    st.html(STYLE)
    left, right = st.columns([2, 5], vertical_alignment="center")
    left.title("Chest X-ray findings", anchor=False)
    notice = right.empty()
    warning = f"**{RESEARCH_USE_ONLY}** Don't upload images that show who the patient is."
    notice.warning(warning)
    files = choose_files()
    try:
        content = ask("GET", "/v1/model")
        info = ModelInfo.model_validate(content)
        if info.synthetic:
            notice.warning(f"{warning} This model was trained on synthetic phantoms: it says nothing about patients.")
        ask_about_all(files, info.sha256)
        kept = st.session_state["answers"]
        if kept:
            show_result(content["card"], frozenset(file.key for file in files))
        else:
            st.markdown(WELCOME)
        show_model(info, content["card"], expanded=not kept)
    except ServiceError as error:
        st.error(f"**{error.heading}.** {error}")
        if error.heading != REFUSED:
            st.button("Try again")


if __name__ == "__main__":
    main()
