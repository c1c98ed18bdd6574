"""Compare recipes for the model on the same patients: `python -m benchmarks.quality --data ROOT`.

A third of the patients, drawn by a hash, is set aside and opened with `--open` only. The others are dealt to folds,
each tested once by models that saw the others, as often as there are seeds. What is measured: benchmarks/README.md.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.stats import rankdata

from benchmarks.laboratory import LAST, Deal, Laboratory, Rows, deals
from benchmarks.machine import machine
from benchmarks.plain import Plain
from benchmarks.recipes import Scores
from benchmarks.table import Row, publish
from benchmarks.variants import Recipe, recipes
from chestxray.evaluation.localization import enlarge, mean_boxes, score_heat
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.labels import Floats, LabelMasks, Weights, label_masks
from chestxray.metrics.interval import student
from chestxray.metrics.jackknife import jackknife
from chestxray.metrics.proportion import Estimate
from chestxray.metrics.ranking import average_precision, mean_auroc, mean_over_findings, rank_findings, ranking_scores
from chestxray.metrics.shares import measure_means
from chestxray.params import load_params

PLAIN = "plain"


@dataclass(frozen=True)
class Result:
    """What a recipe reached.

    Attributes:
        ranks: of the tested images within their fold, by seed, S × N × k.
        pixel_auroc: of the boxes, mean over the seeds, M.
        seconds: of training, a fold and seed.
    """

    ranks: npt.NDArray[np.float64]
    pixel_auroc: npt.NDArray[np.float64]
    seconds: float


def measure(lab: Laboratory, name: str, recipe: Recipe, deals: list[list[Deal]]) -> Result:
    """Train and test a recipe on the folds of every seed."""
    ranks = np.full((len(deals), *lab.dataset.labels.shape), np.nan)
    areas = np.full((len(deals), len(lab.places)), np.nan)
    for seed, folds in enumerate(deals):
        for deal in folds:
            with lab.watch(name):
                network = recipe(lab, deal, seed)
            model = lab.model(network, deal.train)
            for start in range(0, len(deal.test), 16):
                rows = deal.test[start : start + 16]
                logits, maps, _ = model.outputs(lab.pixels(rows))
                ranks[seed, rows] = (logits + model.logits(lab.whole(rows))) / 2 if network.whole else logits
                for place, which in enumerate(lab.places):
                    if which.row in rows:
                        heat = enlarge(maps[rows.tolist().index(which.row)][..., which.finding], model.input_size)
                        areas[seed, place] = score_heat(heat, which.mask(model.input_size))["pixel_auroc"]
            ranks[seed, deal.test] = rankdata(ranks[seed, deal.test], axis=0) / len(deal.test)
        print(f"{name}, seed {seed}: done", file=sys.stderr, flush=True)
    trained = sum(len(folds) for folds in deals)
    return Result(ranks, areas.mean(axis=0), lab.watch.seconds[name] / trained)


def measure_plain(lab: Laboratory, deals: list[list[Deal]]) -> Result:
    """Train the plain way on the folds of the first seed; its maps are not measured."""
    ranks = np.full((1, *lab.dataset.labels.shape), np.nan)
    for deal in deals[0]:
        plain = Plain(lab.pretrained, lab.config((LAST,)), lab.dataset.findings)
        with lab.watch(PLAIN):
            plain.fit(lab.paths(deal.train), lab.dataset.labels[deal.train])
        logits = plain.logits(lab.paths(deal.test))
        ranks[0, deal.test] = rankdata(logits, axis=0) / len(logits)
    return Result(ranks, np.full(len(lab.places), np.nan), lab.watch.seconds[PLAIN] / len(deals[0]))


def mean_over_seeds(labels: LabelMasks, ranks: Scores, score: Callable[[LabelMasks, Scores], float]) -> float:
    """Average a score of the tested images over the seeds."""
    return float(np.mean([score(labels, each) for each in ranks]))


def difference(labels: LabelMasks, ours: Scores, theirs: Scores, patients: npt.NDArray[np.str_]) -> Estimate:
    """Compare the mean AUROC of two recipes, mean over the seeds of each, paired, by a jackknife over patients."""
    rankings = [[rank_findings(labels, each) for each in ranks] for ranks in (ours, theirs)]

    def statistic(weights: Weights) -> dict[str, Floats]:
        """Compute the gain under each row of weights."""
        means = [
            np.mean([mean_over_findings(ranking_scores(each, weights)[0]) for each in recipe], axis=0)
            for recipe in rankings
        ]
        return {"gain": means[0] - means[1]}

    found = jackknife(statistic, patients)["gain"]
    reach = float(student(found.freedom) * found.error)
    return Estimate(float(found.value), float(found.value) - reach, float(found.value) + reach)


def rows_of(lab: Laboratory, results: Mapping[str, Result], tested: Rows) -> list[Row]:
    """Return a row a recipe."""
    labels = label_masks(lab.dataset.labels[tested], lab.dataset.findings)
    patients = lab.dataset.patients[tested]
    first = next(iter(results))
    rows = []
    for name, result in results.items():
        ranks = result.ranks[:, tested]
        row = {
            "recipe": name,
            "mean AUROC": f"{mean_over_seeds(labels, ranks, mean_auroc):.4f}",
            "mean average precision": f"{mean_over_seeds(labels, ranks, _mean_precision):.4f}",
            "seconds": f"{result.seconds:.1f}",
        }
        for other in (first, PLAIN):
            if other in results and other != name:
                gain = difference(labels, ranks, results[other].ranks[:, tested], patients)
                row[f"against {other} (95 %)"] = f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})"
        if np.isfinite(result.pixel_auroc).any():
            row["pixel AUROC of boxes (95 %)"] = _pixel_auroc(lab, result.pixel_auroc)
        rows.append(row)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    return [{column: row.get(column, "") for column in columns} for row in rows]


def _mean_precision(labels: LabelMasks, scores: Scores) -> float:
    return float(np.nanmean(average_precision(labels, scores)))


def _pixel_auroc(lab: Laboratory, areas: npt.NDArray[np.float64]) -> str:
    known = np.isfinite(areas)
    patients = np.array([place.patient for place in lab.places])[known]
    found = measure_means(areas[known][:, None], np.ones((int(known.sum()), 1), bool), patients, 2)
    return f"{found.value[0]:.3f} ({found.low[0]:.3f} to {found.high[0]:.3f})"


def mean_box_row(lab: Laboratory, tested: Rows) -> Row:
    """Return the row of what maps have to beat: the mean box of the finding in other patients."""
    size = lab.params.backbone.input_size
    areas = np.array(
        [
            np.nan if mean is None or place.row not in tested else score_heat(mean, place.mask(size))["pixel_auroc"]
            for place, mean in zip(lab.places, mean_boxes(lab.places, size), strict=True)
        ]
    )
    return {"recipe": "mean box", "pixel AUROC of boxes (95 %)": _pixel_auroc(lab, areas)}


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw/phantom"), help="a batch in NIH layout")
    parser.add_argument("--seeds", type=int, default=3, help="each deals the patients anew")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--only", nargs="*", choices=recipes(), metavar="RECIPE", help="default: all; the first always")
    parser.add_argument("--plain", action="store_true", help="also the plain way, on the folds of the first seed")
    parser.add_argument("--open", action="store_true", help="test on the third of the patients that is set aside")
    parser.add_argument("--out", type=Path, help="a folder for quality.md and quality.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = Laboratory(options.data, load_params(), Path(folder))
        dealt = deals(lab, options.seeds, options.folds, options.open)
        tested = np.sort(np.concatenate([deal.test for deal in dealt[0]]))
        known = recipes()
        chosen = [name for place, name in enumerate(known) if not options.only or place == 0 or name in options.only]
        # Plain first: fine-tuning switches TensorFlow to deterministic operators, with which plain takes twice as long.
        results = {PLAIN: measure_plain(lab, dealt)} if options.plain else {}
        results = {name: measure(lab, name, known[name], dealt) for name in chosen} | results
        rows = rows_of(lab, results, tested)
        rows += [mean_box_row(lab, tested)] if lab.places else []
        kind = "synthetic phantoms" if lab.dataset.synthetic else "radiographs"
        how = "the third set aside" if options.open else f"{options.folds} folds, {options.seeds} seeds"
        people = len(set(lab.dataset.patients[tested]))
        heading = f"{len(tested)} {kind} of {people} patients, {how}; {machine()}. {RESEARCH_USE_ONLY}"
        publish("quality", heading, rows, {"seconds": lab.watch.seconds}, options.out)


if __name__ == "__main__":
    main()
