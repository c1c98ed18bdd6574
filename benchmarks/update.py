"""What an update costs against a full rebuild: `python -m benchmarks.update`.

Works in scratch copies of the repository with the params as they are. The batch `update` (about 10 % of the data)
arrives once cold and once with a warm start; a full rebuild makes everything from nothing with both batches listed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.table import Row, publish

TOP = Path(__file__).parents[1]
ADD = ("python", "-m", "chestxray.arrival", "update", "data/raw/update")


def run(top: Path, *command: str) -> float:
    """Runs a command in a copy of the repository; returns its seconds.

    Raises:
        RuntimeError: it failed; the message ends with what it said last.
    """
    started = time.monotonic()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "DVC_", "GIT_"))}
    environment = kept | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(command, cwd=top, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    print(f"{' '.join(command)}: {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return time.monotonic() - started


def clone(top: Path) -> Path:
    """A copy of what is committed, with an empty DVC cache and no store."""
    run(TOP, "git", "clone", "-q", str(TOP), str(top))
    return top


def measure(folder: Path) -> dict[str, float]:
    """Seconds of `dvc repro`: "first", "cold update", "warm update", "full rebuild"."""
    cold = clone(folder / "cold")
    seconds = {"first": run(cold, "dvc", "repro")}
    warm = folder / "warm"
    run(folder, "cp", "-a", str(cold), str(warm))
    # The copy has a store of its own, in which artifacts lie where the first one wrote them.
    run(cold, *ADD)
    seconds["cold update"] = run(cold, "dvc", "repro")
    run(warm, *ADD, "--warm-start", "@champion")
    seconds["warm update"] = run(warm, "dvc", "repro")
    rebuilt = clone(folder / "rebuilt")
    (rebuilt / "params.yaml").write_bytes((cold / "params.yaml").read_bytes())
    seconds["full rebuild"] = run(rebuilt, "dvc", "repro")
    return seconds


def main() -> None:
    """Prints the table, or writes it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, help="a folder for update.md and update.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        seconds = measure(Path(folder))
    full = seconds["full rebuild"]
    rows: list[Row] = [
        {"dvc repro": what, "seconds": f"{spent:.0f}", "share of a full rebuild": f"{spent / full:.0%}"}
        for what, spent in seconds.items()
    ]
    publish("update", f"Updates, synthetic phantoms; {machine()}", rows, {"seconds": seconds}, options.out)


if __name__ == "__main__":
    main()
