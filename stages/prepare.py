"""Join the table of one batch with its decoded images and split it by patient: `python -m stages.prepare <batch>`."""

from pathlib import Path

from chestxray.datasets.dataset import BatchFolders, load_dataset
from chestxray.datasets.prepare import BatchError, prepare_batch
from chestxray.errors import UserError
from chestxray.params import load_params
from chestxray.system.files import write_csv
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage

REJECTED = Path("reports/rejected.csv")


def main(batch: str) -> None:
    params = load_params()
    reading = params.batch(batch)
    folders = BatchFolders(batch)
    with stage_run("prepare", params, batch) as run:
        try:
            rejected = prepare_batch(Path(reading.root), folders, params.prepare, params.vocabulary, reading)
        except BatchError as error:
            write_csv(REJECTED, error.rejected)
            raise UserError(f"batch {batch}: {error}. The list: {REJECTED}") from error
        run.log_metrics({"prepare": {"rejected": len(rejected)}})
        run.log_tags({"data_sha256": load_dataset([folders]).digest})


if __name__ == "__main__":
    run_stage(main)
