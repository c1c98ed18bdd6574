"""Draws the embedded synthetic data set: `data/raw/phantom`, in NIH layout."""

from pathlib import Path

from chestxray.params import PHANTOM_ROOT, load_params
from chestxray.phantom import write_batch
from chestxray.tracking import stage_run


def main() -> None:
    params = load_params()
    with stage_run("phantom", params):
        write_batch(Path(PHANTOM_ROOT), params.phantom)


if __name__ == "__main__":
    main()
