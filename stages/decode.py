"""Decode the images of one batch: `python -m stages.decode <batch>`."""

from pathlib import Path

from chestxray.datasets.dataset import BatchFolders
from chestxray.datasets.decode import decode_batch
from chestxray.datasets.decoded_files import NO_ROW
from chestxray.params import load_params
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage


def main(batch: str) -> None:
    params = load_params()
    given = params.batch(batch)
    with stage_run("decode", params, batch) as run:
        folder = BatchFolders(batch).decoded
        files = decode_batch(Path(given.root), folder, params.prepare.size, given.follow_links).files
        run.log_metrics({"decode": {"files": len(files), "unreadable": int((files["row"] == NO_ROW).sum())}})


if __name__ == "__main__":
    run_stage(main)
