"""The stages of the pipeline: each reads files, calls the library, writes files."""

import inspect
import os
import signal
import sys
from collections.abc import Callable

from chestxray.errors import INTERRUPTED, UserError, no_room, one_line, was_interrupted
from chestxray.system.encoding import require_utf8
from chestxray.system.telemetry import forbid_telemetry

forbid_telemetry()  # before a stage imports ONNX Runtime or MLflow
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's own keeps the memory of tables that were read


def run_stage(main: Callable[..., None]) -> None:
    """Run a stage with the words of the command line; what a person can mend ends it with one line and exit 1."""
    given = sys.argv[1:]
    wanted = list(inspect.signature(main).parameters)
    if len(given) != len(wanted):
        print(f"usage: python -m {main.__globals__['__spec__'].name} {' '.join(f'<{name}>' for name in wanted)}")
        sys.exit(2)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as Ctrl-C does, and its run in MLflow says so
    try:
        require_utf8()
        main(*given)
    except (KeyboardInterrupt, Exception) as error:
        if was_interrupted(error):
            sys.exit(INTERRUPTED)
        told = no_room(error) or error
        if not isinstance(told, UserError | OSError):
            raise
        sys.exit(one_line(told))
