"""Write the digests of what the listed batches have: `python -m stages.digests prepared`, or `features`."""

from chestxray.datasets.dataset import DATA
from chestxray.datasets.digests import DIGESTED, batch_digests
from chestxray.errors import UserError
from chestxray.params import load_params
from chestxray.system.files import write_json
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage


def main(what: str) -> None:
    params = load_params()
    for known in DIGESTED:
        if known == what:
            with stage_run("digests", params, known):
                write_json(DATA / f"{known}.json", batch_digests(known, params.batches))
            return
    raise UserError(f"nothing is called {what!r}; name one of {', '.join(DIGESTED)}")


if __name__ == "__main__":
    run_stage(main)
