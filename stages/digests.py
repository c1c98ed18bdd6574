"""Write the digests of what the listed batches have: `python -m stages.digests prepared`, or `features`."""

from chestxray.datasets.dataset import DATA
from chestxray.datasets.digests import DIGESTED, batch_digests
from chestxray.errors import UserError
from chestxray.params import load_params
from chestxray.system.files import write_json
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage


def main(what: str) -> None:
    if what not in DIGESTED:
        raise UserError(f"nothing is called {what!r}; name one of {', '.join(DIGESTED)}")
    params = load_params()
    with stage_run("digests", params, what):
        write_json(DATA / f"{what}.json", batch_digests(what, params.batches))


if __name__ == "__main__":
    run_stage(main)
