"""Measure the gate's error rates and power on simulated retrainings whose true difference is known.

Predictions are binormal: a finding adds d to a normal variable of variance 1, so the true AUROC is Φ(d / √2). Images of
a patient, findings of an image and both models on an image are correlated. The challenger's AUROC differs from the
champion's by the same at every finding, so this is also the true difference of the mean, whichever findings vote, and
of every group: two sexes, four ages and two sites of patients, two views of images.
"""

import argparse
import io
import math
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import redirect_stderr
from itertools import product
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import ndtr, ndtri

from benchmarks.machine import machine
from benchmarks.table import Row, publish
from chestxray.findings import FINDINGS
from chestxray.labels import Booleans, LabelMasks, label_masks
from chestxray.metrics.comparison import compare
from chestxray.metrics.proportion import estimate_share
from chestxray.metrics.table import COMPARED, Predictions
from chestxray.params import GateParams, Params, load_params
from chestxray.phantom.site import PREVALENCE
from chestxray.registry.gate import compare_groups, reach_verdict

IMAGES = (300, 1200)
DIFFERENCES = (-0.02, -0.01, 0.0, 0.01, 0.02, 0.03)
LEVELS = (0.04, 0.05)
IMAGES_OF_A_PATIENT = (0.5, 0.25, 0.15, 0.1)
"""Share of patients with 1, 2, 3, 4 images."""
CHAMPION = np.linspace(0.70, 0.90, len(FINDINGS))
"""True AUROC of the champion by finding."""
SAME_PATIENT = 0.4
"""Correlation of the images of a patient."""
SAME_IMAGE = 0.2
"""Correlation of the findings of an image."""
SAME_MODEL = 0.9
"""Correlation of champion and challenger."""
GROUPS = {"sex": 2, "age": 4, "site": 2, "view": 2}
"""How many each image, or for all but the view each patient, is in one of."""
RUNS_AT_ONCE = 20


class Rule(NamedTuple):
    """A policy, and the patients that a finding needs to vote."""

    policy: GateParams
    min_positives: int


class Cell(NamedTuple):
    """Runs of one size and true difference, judged by each of `rules`."""

    images: int
    difference: float
    rules: tuple[Rule, ...]
    first: int
    runs: int


def noise(generator: np.random.Generator, people: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Draw standard normal values `(n, 14)`, correlated within images and within patients."""

    def draw(rows: int) -> npt.NDArray[np.float64]:
        shared = generator.normal(size=(rows, 1))
        own = generator.normal(size=(rows, len(FINDINGS)))
        return math.sqrt(SAME_IMAGE) * shared + math.sqrt(1 - SAME_IMAGE) * own

    return math.sqrt(SAME_PATIENT) * draw(people.max() + 1)[people] + math.sqrt(1 - SAME_PATIENT) * draw(len(people))


def retraining(
    seed: int, images: int, difference: float
) -> tuple[LabelMasks, Predictions, Predictions, npt.NDArray[np.intp]]:
    """Simulate the labels of `images` images, the predictions of champion and challenger, and the patients."""
    generator = np.random.default_rng([seed, images])
    counts = generator.choice(np.arange(1, 5), size=images, p=IMAGES_OF_A_PATIENT)
    people = np.arange(images).repeat(counts)[:images]
    labels = noise(generator, people) < ndtri([PREVALENCE[name] for name in FINDINGS])
    shared = math.sqrt(SAME_MODEL) * noise(generator, people)
    models = []
    for area in (CHAMPION, CHAMPION + difference):
        latent = math.sqrt(2) * ndtri(area) * labels + shared + math.sqrt(1 - SAME_MODEL) * noise(generator, people)
        probabilities = ndtr(latent - 2)
        models.append(Predictions(FINDINGS, probabilities, probabilities > 0.5))
    return label_masks(labels, FINDINGS), models[0], models[1], people


def draw_groups(seed: int, people: npt.NDArray[np.intp]) -> dict[str, Booleans]:
    """Draw the groups of images, by name."""
    generator = np.random.default_rng([seed, len(people), 1])
    drawn: dict[str, Booleans] = {}
    for attribute, count in GROUPS.items():
        images = generator.integers(count, size=len(people))
        member = images if attribute == "view" else images[people]
        drawn |= {f"{attribute} {place}": member == place for place in range(count)}
    return drawn


def simulate(cell: Cell) -> npt.NDArray[np.intp]:
    """Count by rule, `(rules, 6)`: promoted, kept, underpowered; runs with a finding's veto, with a group's; votes."""
    counts = np.zeros((len(cell.rules), 6), np.intp)
    for seed in range(cell.first, cell.first + cell.runs):
        simulated = retraining(seed, cell.images, cell.difference)
        with redirect_stderr(io.StringIO()):  # thousands of jackknives, each with a line of progress
            sampled = compare(*simulated, metrics=COMPARED[:2])
            groups = compare_groups(*simulated, draw_groups(seed, simulated[3]))
        for place, rule in enumerate(cell.rules):
            verdict = reach_verdict(sampled, rule.policy, rule.min_positives, groups)
            decisions = [verdict.decision == name for name in ("promote", "keep", "underpowered")]
            voters = len(FINDINGS) - verdict.standings.count("does not vote")
            by_group = any(group.standing == "veto" for group in verdict.groups.values())
            counts[place] += [*decisions, "veto" in verdict.standings, by_group, voters]
    return counts


def share(count: int, runs: int) -> str:
    """Format a percentage with its 95 % Monte-Carlo interval (Wilson)."""
    value, low, high = estimate_share(count, runs)
    return f"{100 * value:.1f} ({100 * low:.1f}–{100 * high:.1f})"


def gate_rules(params: Params) -> tuple[Rule, ...]:
    """Return non-inferiority and superiority at each level."""
    policy = params.register_.gate
    return tuple(
        Rule(policy.model_copy(update={"level": level, "superiority": superiority}), params.evaluate.min_positives)
        for level, superiority in product(LEVELS, (False, True))
    )


def table_rows(
    images: int, difference: float, rules: tuple[Rule, ...], counts: npt.NDArray[np.intp], runs: int
) -> Iterator[Row]:
    """Yield the rows of the table for one size and true difference."""
    for rule, (promoted, _, underpowered, vetoed, by_group, voters) in zip(rules, counts.tolist(), strict=True):
        yield {
            "test images": str(images),
            "true difference": f"{difference:+.2f}",
            "policy": "superiority" if rule.policy.superiority else "non-inferiority",
            "level": f"{rule.policy.level:g}",
            "voting findings": f"{voters / runs:.1f}",
            "promoted %": share(promoted, runs),
            "underpowered %": share(underpowered, runs),
            "a finding's veto %": share(vetoed, runs),
            "a group's veto %": share(by_group, runs),
        }


def main() -> None:
    """Simulate, and print or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000, help="of each size and true difference")
    parser.add_argument("--out", type=Path, help="folder for gate.md and gate.json; printed without")
    args = parser.parse_args()
    rules = gate_rules(load_params())
    starts = range(0, args.runs, RUNS_AT_ONCE)
    setups = list(product(IMAGES, DIFFERENCES))
    cells = [
        Cell(images, difference, rules, first, min(RUNS_AT_ONCE, args.runs - first))
        for images, difference in setups
        for first in starts
    ]
    with ProcessPoolExecutor() as pool:
        counts = np.stack(list(pool.map(simulate, cells))).reshape(len(setups), len(starts), len(rules), 6).sum(1)
    rows = [
        row for setup, count in zip(setups, counts, strict=True) for row in table_rows(*setup, rules, count, args.runs)
    ]
    heading = (
        f"The gate on simulated retrainings: {args.runs} runs a line, 95 % Monte-Carlo "
        f" intervals; policy otherwise that of params.yaml. {machine()}"
    )
    publish("gate", heading, rows, {"runs": args.runs}, args.out)


if __name__ == "__main__":
    main()
