"""Draw the embedded synthetic data: `data/raw/phantom` and, from another site, `data/raw/update`, in NIH layout."""

from pathlib import Path

from chestxray.batch_layout import PHANTOM_ROOT, UPDATE_ROOT
from chestxray.params import load_params
from chestxray.phantom.batch import write_batch, write_update
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage


def main() -> None:
    params = load_params()
    with stage_run("phantom", params):
        write_batch(Path(PHANTOM_ROOT), params.phantom)
        write_update(Path(UPDATE_ROOT), params.phantom)


if __name__ == "__main__":
    run_stage(main)
