"""Compare our training with the plain way on the same images in one run: `python -m benchmarks.training`.

What is measured, and how to read it: benchmarks/README.md.
"""

import argparse
import tempfile
from pathlib import Path

import pandas as pd

from benchmarks.decoding import compare_decoding, write_originals
from benchmarks.machine import machine
from benchmarks.prefix import compare_prefix
from benchmarks.recipes import Bench, Scores, Stopwatch, compare_recipes, deal, sample
from benchmarks.table import Row, publish
from chestxray.datasets.batch import read_batch
from chestxray.datasets.dataset import BatchFolders, Dataset, load_dataset
from chestxray.datasets.decode import decode_batch
from chestxray.datasets.prepare import prepare_batch
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.labels import label_masks
from chestxray.metrics.comparison import compare_mean_auroc
from chestxray.metrics.ranking import mean_auroc
from chestxray.models.pretrained import load_weights
from chestxray.params import load_params

ORIGINALS = 192
WAYS = {"two views": "two views, head alone", "default": "default recipe"}


def recipe_rows(seconds: dict[str, float], ranks: dict[str, Scores], tested: Dataset) -> list[Row]:
    """Return a row for each of our ways: wall time and ranking against the plain way.

    Args:
        seconds: of every part; `prepare` counts for each of ours.
        ranks: by way, N × 14.
        tested: the N images.
    """
    plain = seconds["plain"]
    labels = label_masks(tested.labels, tested.findings)
    rows = []
    for way, name in WAYS.items():
        ours = seconds["prepare"] + sum(spent for what, spent in seconds.items() if what.startswith(way))
        gain = compare_mean_auroc(labels, ranks[way], ranks["plain"], tested.patients)
        scores = [f"{mean_auroc(labels, ranks[which]):.3f}" for which in (way, "plain")]
        rows.append(
            {
                "measured": f"{name}, against plain",
                "n": str(len(labels)),
                "ours": f"{ours:.1f} s",
                "against": f"{plain:.1f} s",
                "ratio": f"{plain / ours:.2f}",
                "mean AUROC": " against ".join(scores),
                "difference (95 %)": f"{gain.value:+.3f} ({gain.low:+.3f} to {gain.high:+.3f})",
            }
        )
    return rows


def ratio_row(what: str, n: float, ours: float, against: float, unit: str) -> Row:
    """Return a row that compares two times."""
    return {
        "measured": what,
        "n": f"{n:.0f}",
        "ours": f"{ours:.2f} {unit}",
        "against": f"{against:.2f} {unit}",
        "ratio": f"{against / ours:.2f}",
    }


def decoding_rows(name: str, ms: dict[str, float]) -> list[Row]:
    """Return a row for each comparison of `compare_decoding`."""
    against = {"one": "one core", "a bare OpenCV loop on one": "bare"}
    return [
        ratio_row(f"prepare, {name}: all cores against {what}", ms["images"], ms["all cores"], ms[key], "ms")
        for what, key in against.items()
    ]


def measure(options: argparse.Namespace, scratch: Path) -> None:
    """Measure everything, and print or write the table."""
    params = load_params()
    watch = Stopwatch()
    if params.fine_tune.from_layer == "input":
        raise SystemExit("fine_tune.from_layer is input: nothing is cached that could be compared; name a block")
    with watch("prepare"):
        folders = BatchFolders("batch", scratch)
        decode_batch(options.data, folders.decoded, params.prepare.size)
        prepare_batch(options.data, folders, params.prepare, params.vocabulary)
    whole = load_dataset([folders])
    dataset = sample(whole, options.studies)
    watch.seconds["prepare"] *= len(dataset.studies) / len(whole.studies)
    bench = Bench(
        params, load_weights(params.backbone), read_batch(options.data, params.vocabulary).paths, scratch, watch
    )
    folds = [deal(dataset, fold, options.folds) for fold in range(options.folds)]
    ranks = compare_recipes(bench, folds)
    tested = Dataset(pd.concat([fold.split("test").studies for fold in folds], ignore_index=True), whole.images)
    prefix = compare_prefix(bench, folds[0])
    write_originals(options.originals or options.data, scratch / "originals", ORIGINALS)
    decoding = {
        "1024 × 1024": compare_decoding(scratch / "originals", params.prepare, scratch),
        "the batch's files": compare_decoding(options.data, params.prepare, scratch),
    }
    trained = len(folds[0].split("train").studies)
    name = "an epoch of fine-tuning, from cached activations against a recomputed prefix"
    rows = [
        *recipe_rows(watch.seconds, ranks, tested),
        ratio_row(name, trained, prefix["cached"], prefix["recomputed"], "s"),
        *(row for what, ms in decoding.items() for row in decoding_rows(what, ms)),
    ]
    kind = "synthetic phantoms" if dataset.synthetic else "radiographs"
    heading = (
        f"{len(dataset.studies)} {kind} of {len(set(dataset.patients))} patients in {options.folds} folds, "
        f"{params.features.views} views; {machine()}. {RESEARCH_USE_ONLY}"
    )
    record = {"seconds": watch.seconds, "prefix_seconds_per_epoch": prefix, "decoding_ms_per_image": decoding}
    publish("training", heading, rows, record, options.out)


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw/phantom"), help="a batch in NIH layout")
    parser.add_argument("--originals", type=Path, help="a batch of 1024 × 1024 images; default: --data, enlarged")
    parser.add_argument("--studies", type=int, default=950, help="whole patients are drawn until there are so many")
    parser.add_argument("--folds", type=int, default=2, help="patient-grouped; each is tested once")
    parser.add_argument("--out", type=Path, help="a folder for training.md and training.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        measure(options, Path(folder))


if __name__ == "__main__":
    main()
