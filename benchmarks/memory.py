"""Measure the peak memory of every stage at several sizes of the data set: `python -m benchmarks.memory`.

Works in scratch copies of the repository (`scratch.py`). All params are those of `params.yaml`, but for the stage
`phantom`, which draws as many studies at 64 pixels a side.
"""

import argparse
import tempfile
from pathlib import Path

from benchmarks.machine import machine
from benchmarks.scratch import Peak, copy_repository, draw_phantoms, grow_batch, pipeline, run_stages, turn
from benchmarks.table import Row, publish
from chestxray.system.files import write_json

BEFORE = "phantom_listed"
"""The stage whose answer is replaced, since the batch is none that the next one draws."""


def measure(studies: int, stages: dict[str, str], drawn: Path, scratch: Path) -> dict[str, Peak]:
    """Run the stages in order on a batch of `studies`, in a copy of the repository, both in the folder `scratch`."""
    top = scratch / "repository"
    root = scratch / "batch"
    grow_batch(drawn, root, studies)
    copy_repository(top, root)
    turn(top, "phantom", studies=studies, patients=-(-studies * 2 // 3), size=64)
    said = f"{studies} studies"
    first = run_stages(top, {BEFORE: stages[BEFORE]}, said)
    write_json(top / "data/phantom_listed.json", {"listed": True})
    return first | run_stages(top, {name: command for name, command in stages.items() if name != BEFORE}, said)


def table_row(stage: str, peaks: dict[int, Peak]) -> Row:
    """Return the peaks of a stage by number of studies, and the ratio of the most studies to the fewest."""
    columns = {f"MiB at {studies:,}": f"{peak.mebibytes:.0f}" for studies, peak in peaks.items()}
    columns |= {f"s at {studies:,}": f"{peak.seconds:.0f}" for studies, peak in peaks.items()}
    ratio = peaks[max(peaks)].mebibytes / peaks[min(peaks)].mebibytes
    return {"stage": stage, **columns, "ratio of MiB": f"{ratio:.2f}"}


def main() -> None:
    """Print the table, or write it to a folder."""
    commands = pipeline()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, nargs="+", default=[8000, 16000], help="sizes of the data set")
    parser.add_argument("--until", choices=commands, default=list(commands)[-1], help="the last stage to run")
    parser.add_argument("--scratch", type=Path, help="a folder with room for 400 kB a study; default: a temporary one")
    parser.add_argument("--out", type=Path, help="a folder for memory.md and memory.json")
    options = parser.parse_args()
    stages = dict(list(commands.items())[: list(commands).index(options.until) + 1])
    with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
        drawn = Path(folder, "drawn")
        draw_phantoms(drawn)
        measured: dict[int, dict[str, Peak]] = {}
        for studies in options.studies:
            with tempfile.TemporaryDirectory(dir=folder) as scratch:
                measured[studies] = measure(studies, stages, drawn, Path(scratch))
    by_stage = {stage: {studies: peaks[stage] for studies, peaks in measured.items()} for stage in stages}
    rows = [table_row(stage, peaks) for stage, peaks in by_stage.items()]
    heading = f"Peak anonymous memory of each stage, synthetic phantoms; {machine()}"
    record = {"peaks": {stage: {n: peak._asdict() for n, peak in peaks.items()} for stage, peaks in by_stage.items()}}
    publish("memory", heading, rows, record, options.out)


if __name__ == "__main__":
    main()
