"""Time an update, cold and warm, against a full rebuild: `python -m benchmarks.update`.

Works in scratch copies of the repository with unchanged params, except for the number of studies. The batch `update`
(about 10 % of the data) is added once cold and once with a warm start; a full rebuild makes everything from nothing
with both batches listed. The fixed cost of a stage (starting Python and TensorFlow, comparing the export with Keras,
figures) matters less the more studies there are.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML

from benchmarks.machine import machine
from benchmarks.table import Row, publish

TOP = Path(__file__).parents[1]
ADD = ("python", "-m", "chestxray", "add-batch", "update", "data/raw/update")


def run(top: Path, *command: str) -> float:
    """Run a command in a copy of the repository, and return its seconds.

    Raises:
        RuntimeError: it failed; the message ends with its last output.
    """
    started = time.monotonic()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
    environment = kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    print(f"{' '.join(command)}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return time.monotonic() - started


def clone(top: Path, studies: int) -> Path:
    """Clone what is committed, with an empty DVC cache and no store, and set the number of phantoms."""
    run(TOP, "git", "clone", "-q", str(TOP), str(top))
    yaml = YAML()
    path = top / "params.yaml"
    params: dict[str, Any] = yaml.load(path)
    phantom = params["phantom"]
    factor = studies / phantom["studies"]
    for part, names in ((phantom, ("studies", "patients")), (phantom["update"], ("studies", "patients", "returning"))):
        part |= {name: round(part[name] * factor) for name in names}
    yaml.dump(params, path)
    return top


def measure(folder: Path, studies: int) -> dict[str, float]:
    """Measure the seconds of `dvc repro`: "first", "cold update", "warm update", "full rebuild"."""
    top = clone(folder / "clone", studies)
    kept = folder / "kept"
    seconds = {"first": run(top, "dvc", "repro")}
    run(folder, "cp", "-a", str(top), str(kept))
    run(top, *ADD)
    listed = (top / "params.yaml").read_bytes()
    seconds["cold update"] = run(top, "dvc", "repro")
    # To the same place: an MLflow store knows its files by their absolute paths.
    shutil.rmtree(top)
    kept.rename(top)
    run(top, *ADD, "--warm-start", "@champion")
    seconds["warm update"] = run(top, "dvc", "repro")
    shutil.rmtree(top)
    (clone(top, studies) / "params.yaml").write_bytes(listed)
    seconds["full rebuild"] = run(top, "dvc", "repro")
    return seconds


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=4800, help="of the first batch")
    parser.add_argument("--out", type=Path, help="a folder for update.md and update.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder), options.studies)
    full = seconds["full rebuild"]
    rows: list[Row] = [
        {"dvc repro": what, "seconds": f"{spent:.0f}", "share of a full rebuild": f"{spent / full:.0%}"}
        for what, spent in seconds.items()
    ]
    heading = f"An update of 10 % on {options.studies:,} studies, synthetic phantoms; {machine()}"
    publish("update", heading, rows, {"seconds": seconds, "studies": options.studies}, options.out)


if __name__ == "__main__":
    main()
