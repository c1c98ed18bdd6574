"""Draw the embedded synthetic data: `data/raw/phantom` and, from another site, `data/raw/update`, in NIH layout."""

from pathlib import Path

from chestxray.batch_layout import PHANTOM_ROOT, UPDATE_ROOT
from chestxray.params import load_params
from chestxray.phantom.batch import write_batch, write_update
from chestxray.system.files import atomic_write, read_json
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage


def main() -> None:
    params = load_params()
    with stage_run("phantom", params):
        if read_json(Path("data/phantom_listed.json"))["listed"]:
            write_batch(Path(PHANTOM_ROOT), params.phantom)
            write_update(Path(UPDATE_ROOT), params.phantom)
            return
        print(f"nothing is drawn: params.yaml lists neither {PHANTOM_ROOT} nor {UPDATE_ROOT}; both are empty")
        for root in (PHANTOM_ROOT, UPDATE_ROOT):
            with atomic_write(Path(root)) as folder:
                folder.mkdir()


if __name__ == "__main__":
    run_stage(main)
