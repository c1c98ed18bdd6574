"""Logs for programs: a line of JSON for each record, which quotes no exception, since that may quote a file."""

import json
import logging
import traceback
from datetime import UTC, datetime

PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonLines(logging.Formatter):
    """A log record as one line of JSON, with whatever was given as `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """One line."""
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "event": record.getMessage(),
            **{key: value for key, value in vars(record).items() if key not in PLAIN},
        }
        if record.exc_info and (error := record.exc_info[1]):
            # What it was and where, but not what it says, which may quote a file.
            line |= {"error": type(error).__name__, "traceback": traceback.format_tb(error.__traceback__)}
        return json.dumps(line, ensure_ascii=False)
