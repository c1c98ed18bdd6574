"""Write the parts of the page that are HTML: its style, the table of findings and the legend of the colours."""

from html import escape

import numpy as np

from chestxray.inference.heatmap import overlay
from chestxray.inference.predictions import Finding

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


def display_name(name: str) -> str:
    """Return the name of a finding as a person writes it."""
    return name.replace("_", " ")


def legend(finding: Finding, least: float, opacity: float) -> str:
    """Show what the colours mean, on mid-grey and under the same sliders as the picture.

    Args:
        finding: that is explained.
        least: share of the hottest below which heat is hidden, 0–1.
        opacity: of the hottest places, 0–1.

    Returns:
        HTML.
    """
    levels = np.linspace(0.0, 1.0, 21)
    heat = np.where(levels >= least, levels, 0.0).astype(np.float32)[None]
    colours = overlay(np.full((1, 21), 128, np.uint8), heat, 1.0, opacity)[0]
    stops = ",".join(f"rgb({red},{green},{blue})" for red, green, blue in colours)
    bar = f"<div style='background:linear-gradient(to right,{stops})'></div>"
    return f"<div class=legend>Speaks for {escape(display_name(finding.name))}: little {bar} much</div>"


def findings_table(findings: list[Finding]) -> str:
    """Return all findings with their operating points as HTML: a bar, a mark, and both in figures and words."""
    rows = "".join(
        f"<tr class='{'detected' if finding.positive else ''}'><th scope=row>{escape(display_name(finding.name))}</th>"
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
