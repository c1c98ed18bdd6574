"""Decodes one batch: `python -m stages.prepare <batch>`."""

import sys
from pathlib import Path

from chestxray.params import load_params
from chestxray.preparation import BatchError, prepare_batch
from chestxray.tracking import stage_run

REJECTED = Path("reports/rejected.csv")


def main(batch: str) -> None:
    params = load_params()
    with stage_run("prepare", params, batch) as run:
        try:
            rejected = prepare_batch(Path(params.batches[batch].root), Path("data/prepared", batch), params.prepare)
        except BatchError as error:
            REJECTED.parent.mkdir(exist_ok=True)
            error.rejected.to_csv(REJECTED, index=False)
            raise SystemExit(f"batch {batch}: {error}. The list: {REJECTED}") from error
        run.log_metrics({"rejected": len(rejected)})


if __name__ == "__main__":
    main(sys.argv[1])
