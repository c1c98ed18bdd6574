"""Decodes one batch: `python -m stages.prepare <batch>`."""

import sys
from pathlib import Path

from chestxray.dataset import load_dataset
from chestxray.params import load_params
from chestxray.preparation import BatchError, prepare_batch
from chestxray.reports import write_csv
from chestxray.tracking import stage_run

REJECTED = Path("reports/rejected.csv")


def main(batch: str) -> None:
    params, out = load_params(), Path("data/prepared", batch)
    with stage_run("prepare", params, batch) as run:
        try:
            rejected = prepare_batch(Path(params.batches[batch].root), out, params.prepare)
        except BatchError as error:
            write_csv(REJECTED, error.rejected)
            raise SystemExit(f"batch {batch}: {error}. The list: {REJECTED}") from error
        run.log_metrics({"rejected": len(rejected)})
        run.log_tags({"data_sha256": load_dataset([out]).digest})


if __name__ == "__main__":
    main(sys.argv[1])
