"""Format log records as lines of JSON: no credentials of URIs, no messages of exceptions, which may quote a file."""

import json
import logging
import traceback
from datetime import UTC, datetime

from chestxray.errors import masked

STANDARD_FIELDS = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}
"""Attributes that every record has; all others were given as `extra`."""


class JSONLines(logging.Formatter):
    """Format a log record as one line of JSON, with whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line; of an exception it has the type and the traceback."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in STANDARD_FIELDS},
        }
        if record.exc_info and (error := record.exc_info[1]):
            line |= {"error": type(error).__name__, "traceback": traceback.format_tb(error.__traceback__)}
        hidden = {key: masked(value) if isinstance(value, str) else value for key, value in line.items()}
        return json.dumps(hidden, ensure_ascii=False)
