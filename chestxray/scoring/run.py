"""Score files into a table: with all cores, in flat memory, so that a run that was killed can go on."""

import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

from chestxray.errors import UserError, no_room
from chestxray.inference.decisions import decided
from chestxray.scoring.columns import Row, Value
from chestxray.scoring.inputs import InputFile
from chestxray.scoring.journal import Journal, State, file_state
from chestxray.scoring.score import Scorer, score_file
from chestxray.scoring.table import writer_of
from chestxray.scoring.tally import Tally
from chestxray.system.engine import check_missing, engine_map
from chestxray.system.malloc import keep_image_blocks
from chestxray.system.object_storage import is_address
from chestxray.system.sole_writer import sole_writer
from chestxray.tracking.progress import progress

IN_FLIGHT = 64
"""Files that may be in work, or wait for their turn to be written."""
THREADS_PER_CORE = 2
"""Each decodes and predicts one file, the model with one thread; a second one works while the first one waits."""
LAYOUT = 3
"""Changes with what rows hold."""


def run_digest(scorer: Scorer, files: Sequence[InputFile]) -> str:
    """Return what names a run: SHA-256 of its model, its options and its files, in hexadecimal."""
    heatmaps = scorer.heatmaps and (scorer.heatmaps.folder, scorer.heatmaps.of_all)
    own = scorer.thresholds.values.tolist() if scorer.thresholds.asked else None
    options = [scorer.thresholds.name, own, scorer.accept_anyway, scorer.identifiers, heatmaps]
    facts = [LAYOUT, scorer.model.info.sha256, *options]
    digest = hashlib.sha256(json.dumps(facts).encode())
    folder = os.getcwd()  # noqa: PTH109 # texts: a million paths
    for file in files:
        path = file.path if is_address(file.path) else os.path.join(folder, file.path)  # noqa: PTH118 # as above
        names = f"{file.given}\0{path}\0"
        digest.update(names.encode("utf-8", "surrogatepass"))
    return digest.hexdigest()


def score_to_table(scorer: Scorer, files: Sequence[InputFile], output: Path) -> Tally:
    """Score files into a table, which appears whole; what is there is replaced then.

    What is done is kept in a folder beside it until then, `.<name>.<digest>.partial`. The same call goes on there; one
    with another model, other options or other files does not.

    Args:
        scorer: the model, and what is asked of it.
        files: to score; their rows stand in this order.
        output: the table, `.csv` or `.parquet`.

    Returns:
        What became of the files.

    Raises:
        UserError: another suffix; another process makes this table; see also `chestxray.system.engine.engine_map`.
        OSError: something can't be written.
    """
    write = writer_of(output)
    digest = run_digest(scorer, files)
    if scorer.heatmaps:
        scorer = replace(scorer, heatmaps=replace(scorer.heatmaps, run=digest[:12]))
    keep_image_blocks()
    tally = Tally()
    folder = output.with_name(f".{output.name}.{digest[:16]}.partial")
    with sole_writer(output, "making this table"), _full_disk_named(output), Journal(folder) as journal:
        heatmaps = [place for place, column in enumerate(scorer.columns) if column.name.endswith(":heatmap")]

        def is_whole(row: Row) -> bool:
            return all(row[place] is None or _is_file(row[place]) for place in heatmaps)

        done = journal.resume(files, is_whole)
        scored = engine_map(partial(_score, scorer), islice(files, done, None), IN_FLIGHT, THREADS_PER_CORE)
        shown = progress(scored, "scoring", len(files), "file", before=done)
        for file, (state, row) in zip(islice(files, done, None), shown, strict=True):
            if state is None:
                check_missing(file.path)
            journal.append(state, row)
        if scorer.heatmaps and not all(map(is_whole, journal.rows())):
            raise UserError(
                f"--heatmaps: of what was drawn into {scorer.heatmaps.folder!a} some is gone: call again with the same "
                "arguments, and it is drawn anew"
            )
        whole = journal.folder / "whole"
        write(whole, scorer.columns, tally.count(journal.rows(), scorer.columns), _facts(scorer))
        _to_disk(whole)
        whole.replace(output)
        journal.remove()
    return tally


@contextmanager
def _full_disk_named(path: Path) -> Iterator[None]:
    """Name the file for which there is no room, where what writes it does not."""
    try:
        yield
    except OSError as error:
        if told := no_room(error, error.filename or str(path)):
            raise told from error
        raise


def unfinished_runs(output: Path) -> list[Path]:
    """Return the folders of runs into a table that were not finished."""
    start = f".{output.name}."
    names = (entry.name for entry in os.scandir(output.parent)) if output.parent.is_dir() else ()
    return sorted(output.with_name(name) for name in names if name.startswith(start) and name.endswith(".partial"))


def _score(scorer: Scorer, file: InputFile) -> tuple[State, Row]:
    return file_state(file.path), score_file(scorer, file)


def _facts(scorer: Scorer) -> dict[str, str]:
    """Return what a table should say of itself where it can."""
    card, thresholds = scorer.model.bundle.card, scorer.thresholds
    made = decided(thresholds.values, card.status, thresholds.asked)
    cuts = {name: float(cut) for name, cut, there in zip(card.findings, thresholds.values, made, strict=True) if there}
    return {
        "model": scorer.model.info.model_dump_json(),
        "operating_point": thresholds.name,
        "thresholds": json.dumps(cuts),
    }


def _is_file(path: Value) -> bool:
    """Say whether a picture is there, and not one of which a power cut left the name alone."""
    try:
        return os.path.getsize(str(path)) > 0  # noqa: PTH202 # a text
    except OSError:
        return False


def _to_disk(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())
