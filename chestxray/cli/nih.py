"""Bring NIH ChestX-ray14, or whole patients of it, as a batch."""

import argparse
import sys
from pathlib import Path

from chestxray.datasets.batch import read_batch
from chestxray.datasets.download.catalog import NIH, SITE, TERMS
from chestxray.datasets.download.nih_batch import bring_nih
from chestxray.findings import NIH_VOCABULARY, RESEARCH_USE_ONLY


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--images", type=number_or_all, default=8000, help="how many at least, or all (default: 8000)")
    parser.add_argument("--root", type=Path, default=Path("data/raw/nih"), help="the batch (default: data/raw/nih)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other patients (default: 0)")
    parser.add_argument("--tables", type=Path, help=f"folder with tables brought by hand from {SITE}")
    parser.add_argument("--base-url", help="a mirror that has all files in one folder, under NIH's names")


def number_or_all(text: str) -> int | None:
    """Read `--images`; None for all."""
    return None if text == "all" else int(text)


def run(options: argparse.Namespace) -> int:
    """Download what is missing, then say what the batch holds and how to use it."""
    release = NIH.mirrored(options.base_url) if options.base_url else NIH
    try:
        bring_nih(options.root, options.images, seed=options.seed, release=release, tables=options.tables)
    except KeyboardInterrupt:
        print("chestxray nih: the same command goes on from here", file=sys.stderr)
        raise
    batch = read_batch(options.root, NIH_VOCABULARY)
    patients = batch.studies["patient"]
    test = patients[patients.isin(batch.official_test or ())].nunique()
    print(
        f"{options.root}: {len(patients):,} images of {patients.nunique():,} patients, {test:,} of them official test."
    )
    print(f"{TERMS}\n{RESEARCH_USE_ONLY}\nTo use it, edit params.yaml and run `make reproduce`:\n")
    print(f"batches:\n  nih:\n    root: {options.root}")
    if not options.root.is_absolute():  # what lies in the repository is missing in clones and in DVC's temporary copies
        print(f"\nTo share it, or to queue experiments: dvc add {options.root}")
    return 0
