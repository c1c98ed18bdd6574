"""Run the command `chestxray`: read the subcommand, load what it needs, and say errors in one line."""

import argparse
import contextlib
import importlib
import os
import signal
import sys
from collections.abc import Sequence
from typing import Protocol, cast

from chestxray.errors import INTERRUPTED, UserError, one_line, was_interrupted
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.system.encoding import require_utf8
from chestxray.system.telemetry import forbid_telemetry

NOBODY_READS = 141
"""Exit code of a program whose output was closed, as a shell gives it."""
COMMANDS = {
    "predict": "answer about files without a server",
    "summary": "show what the last run of the pipeline came to",
    "compare": "say how the figures of the last run compare with the committed ones",
    "evaluate": "measure a model on other radiographs, without training on them",
    "sweep": "train many heads and some fine-tunings, and propose the best",
    "check": "say what a folder of radiographs and its table would be read as",
    "add-batch": "check a new batch and list it in params.yaml",
    "rollback": "give the champion's place back to the version before",
    "promote": "make a version the champion by hand",
    "mlflow": "show the runs and the registered model on MLflow's page",
    "fetch-bundle": "bring the bundle of a registered version into a folder",
    "nih": "bring NIH ChestX-ray14, or whole patients of it, as a batch",
}
"""Each is a module of this package, in which `-` is `_`."""


class Command(Protocol):
    """What a subcommand's module has."""

    def configure(self, parser: argparse.ArgumentParser) -> None:
        """Declare the arguments."""

    def run(self, options: argparse.Namespace) -> int:
        """Do it; returns the exit code."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        arguments: words of the command line; by default those of this process.

    Returns:
        Exit code: 0, 1 if what was given can't be used, 130 if it was stopped, 141 if its output was closed; argparse
        exits with 2 if the words are wrong.
    """
    forbid_telemetry()
    given = sys.argv[1:] if arguments is None else list(arguments)
    heeded = arguments is None and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if heeded:
        signal.signal(signal.SIGTERM, _stop)
    try:
        return _run(given)
    except BrokenPipeError:  # who reads has seen enough, as head does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left to say goes nowhere
        return NOBODY_READS
    except (KeyboardInterrupt, Exception) as error:
        command = " ".join(["chestxray", *given[:1]])
        if was_interrupted(error):
            print(f"{command}: stopped", file=sys.stderr, flush=True)
            if arguments is None:
                with contextlib.suppress(OSError):
                    sys.stdout.flush()
                os._exit(INTERRUPTED)  # threads may wait for a storage that is silent
            return INTERRUPTED
        if not isinstance(error, UserError | OSError):
            raise
        print(f"{command}: {one_line(error)}", file=sys.stderr)
        return 1
    finally:
        if heeded:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left to undo, and exit waits for threads


def _stop(*_: object) -> None:
    """End as with Ctrl-C, whatever is sent next: so no fetched model stays behind."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise KeyboardInterrupt


def _run(given: list[str]) -> int:
    description = "Findings in frontal chest radiographs: predict, rebuild, update."
    parser = argparse.ArgumentParser("chestxray", description=description, epilog=RESEARCH_USE_ONLY)
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=summary, description=summary, epilog=RESEARCH_USE_ONLY)
        if given[:1] == [name]:
            command = _load(name)
            command.configure(subparser)
            subparser.set_defaults(run=command.run)
    options = parser.parse_args(given)
    require_utf8()
    return int(options.run(options))


def _load(name: str) -> Command:
    try:
        return cast(Command, importlib.import_module(f"chestxray.cli.{name.replace('-', '_')}"))
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("chestxray"):
            raise
        sys.exit(
            f"chestxray {name}: the package {error.name} is not installed: pip install '.[train]' in the repository"
        )
