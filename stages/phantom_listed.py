"""Say whether `batches` lists a folder that the stage `phantom` writes: with other batches alone nothing is drawn.

A stage of its own, since a batch more changes `batches`, and nothing must be drawn again for that.
"""

from collections.abc import Iterable
from pathlib import Path

from chestxray.batch_layout import PHANTOM_ROOT, UPDATE_ROOT
from chestxray.params import load_params
from chestxray.system.files import write_json
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage

DRAWN = (PHANTOM_ROOT, UPDATE_ROOT)


def lists_phantoms(roots: Iterable[str]) -> bool:
    """Return whether a root, relative to the repository or absolute, is a folder that is drawn, or lies in one."""
    drawn = [Path(folder).resolve() for folder in DRAWN]
    return any(Path(root).resolve().is_relative_to(folder) for root in roots for folder in drawn)


def main() -> None:
    params = load_params()
    with stage_run("phantom_listed", params):
        listed = lists_phantoms(batch.root for batch in params.batches.values())
        write_json(Path("data/phantom_listed.json"), {"listed": listed})


if __name__ == "__main__":
    run_stage(main)
