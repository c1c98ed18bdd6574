"""Write the parts of the page that are HTML: its style, the table of findings and the legend of the colours."""

import re
from collections.abc import Iterable
from html import escape

import numpy as np

from chestxray.inference.heatmap import overlay
from chestxray.inference.predictions import Finding
from chestxray.inference.status import NUMBERS
from serve.ui_answers import Answered

STYLE = """<style>
.stMainBlockContainer { padding: 1rem 2rem 2rem; max-width: 2000px }
h1 { font-size: 1.6rem!important; padding: 0!important } h2 { font-size: 1.35rem!important; padding: 0!important }
.findings, .files { width: 100%; border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums }
.findings th, .findings td, .files th, .files td {
  padding: .22rem .4rem; border: 0; text-align: left; font-weight: 400; line-height: 1.2 }
.findings thead th, .files thead th { color: light-dark(#56606c, #b4bfcc); vertical-align: bottom }
.findings .detected th, .findings .detected td { font-weight: 600; color: light-dark(#8a4b00, #ffc46b) }
.findings .bar { width: 26% } .findings td:last-child { min-width: 5.5rem }
.track { position: relative; height: .8rem; background: light-dark(#dfe4ea, #2a323d) }
.track > div { height: 100%; background: light-dark(#7b8794, #8492a3) }
.detected .track > div { background: light-dark(#d07a00, #f0a030) }
.findings .unsure th, .findings .unsure td { color: light-dark(#5f6b78, #9aa7b5) }
.unsure .track > div { background: light-dark(#b3bcc6, #56606c) }
.track > i { position: absolute; top: -.2rem; height: 1.2rem; width: 3px; margin-left: -1px;
  background: light-dark(#000, #fff) }
.files { table-layout: fixed } .files th, .files td { overflow-wrap: anywhere; vertical-align: top }
.files .shown th { font-weight: 600 } .files th:first-child { width: 30% }
.files th:nth-child(2), .files td:nth-child(2) { width: 6rem }
.legend { display: flex; gap: .6rem; align-items: center; font-size: .9rem } .legend > div { flex: 1; height: .8rem }
[data-testid=stFileUploaderDropzone] { max-height: 4.6rem; overflow-y: auto }
.st-key-result { display: grid; grid-template-columns: minmax(0, 1fr); gap: 1rem }
.st-key-pictures img { max-height: max(18rem, calc(100vh - 19rem)); object-fit: contain }
[data-testid=stFullScreenFrame]:has([aria-label="Close fullscreen"]) img { max-height: 100vh }
@media (min-width: 1000px) {
  .st-key-result { column-gap: 1.5rem; grid: "left verdict" auto "left controls" 1fr / minmax(0, 1fr) 26rem }
  .st-key-result > :has(> .st-key-verdict) { grid-area: verdict }
  .st-key-result > :has(> .st-key-left) { grid-area: left }
  .st-key-result > :has(> .st-key-controls) { grid-area: controls }
}
@media (max-width: 999px) {
  .st-key-result > :has(> .st-key-left), .st-key-left { display: contents }
  .st-key-left > :has(> .st-key-files) { order: 1 }
}
@media (max-width: 640px) {
  .stMainBlockContainer { padding: .75rem 1rem } .findings, .files { font-size: .8rem }
  .st-key-pictures img { max-height: none } [data-testid=stFileUploaderDropzone] { max-height: 8rem }
}
</style>"""
"""On a wide screen the pictures, and the table of files, stand left of the rest, and the pictures fit its height; on a
phone the pictures follow the verdict, and the table of files is last."""


SCORE_ONLY = "score only"
NOT_LEARNED = "not learned"
UNDECIDED = "not decided"


def result(finding: Finding) -> str:
    """Say in a word or two what is decided on a finding, or why nothing is."""
    if finding.status not in NUMBERS:
        return NOT_LEARNED
    if finding.positive is None:
        return SCORE_ONLY if NUMBERS[finding.status] == "score" else UNDECIDED
    return ("detected" if finding.positive else "not detected") + (", uncertain" if finding.uncertain else "")


def plain(text: str) -> str:
    """Return Markdown that shows a text as it is: titles may come from a stranger's bundle."""
    return re.sub(r"([\\`*_\[\]<>$:#~|!])", r"\\\1", text)


def legend(finding: Finding, hottest: float, least: float, opacity: float) -> str:
    """Show what the colours mean, on mid-grey and under the same sliders as the picture.

    Args:
        finding: that is explained.
        hottest: heat of the brightest colour.
        least: share of the hottest below which heat is hidden, 0–1.
        opacity: of the hottest places, 0–1.

    Returns:
        HTML.
    """
    heat = np.linspace(0.0, 1.0, 41, dtype=np.float32)[None]
    colours = overlay(np.full((1, 41), 128, np.uint8), heat, 1.0, opacity, least)[0]
    stops = ",".join(f"rgb({red},{green},{blue})" for red, green, blue in colours)
    bar = f"<div style='background:linear-gradient(to right,{stops})'></div>"
    return f"<div class=legend>Speaks for {escape(finding.title)}: 0 {bar} +{hottest:.2g} in the logit</div>"


def findings_table(findings: list[Finding]) -> str:
    """Return all findings as HTML: a bar, a mark at the operating point, both in figures, and the result in words."""
    heads = (
        "Finding",
        "Bar; mark: operating point",
        "Proba&shy;bility or score",
        "Operating point",
        "Result",
    )
    titles = "".join(f"<th scope=col>{head}</th>" for head in heads)
    rows = "".join(map(_row, findings))
    return f"<table class=findings><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"


def files_table(answers: Iterable[Answered], shown: Answered) -> str:
    """Return all files as HTML, with what the checks said of each and which findings are detected.

    Args:
        answers: to list.
        shown: the one that the page shows.
    """
    rows = "".join(
        f"<tr{' class=shown' if answer is shown else ''}><th scope=row>{escape(answer.name)}</th>"
        f"<td>{answer.quality.verdict if answer.quality else '–'}</td><td>{escape(_said_of(answer))}</td></tr>"
        for answer in answers
    )
    titles = "".join(f"<th scope=col>{title}</th>" for title in ("File", "Checks", "Detected"))
    return f"<table class=files><thead><tr>{titles}</tr></thead><tbody>{rows}</tbody></table>"


def _said_of(answer: Answered) -> str:
    if answer.problem:
        return f"{answer.problem.heading}: {answer.problem}"
    return ", ".join(finding.title for finding in answer.detected) or "nothing"


def _row(finding: Finding) -> str:
    kind = "unsure" if finding.positive is None else "detected" if finding.positive else ""
    bar = ""
    if finding.number is not None:
        mark = "" if finding.threshold is None else f"<i style='left:{finding.threshold:.1%}'></i>"
        bar = f"<div class=track><div style='width:{finding.number:.1%}'></div>{mark}</div>"
    number, threshold = ("–" if value is None else f"{value:.2f}" for value in (finding.number, finding.threshold))
    return (
        f"<tr class='{kind}'><th scope=row>{escape(finding.title)}</th><td class=bar>{bar}</td>"
        f"<td>{number}</td><td>{threshold}</td><td>{result(finding)}</td></tr>"
    )
