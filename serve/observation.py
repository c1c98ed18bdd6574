"""What an operator sees: JSON logs and metrics. No file name, tag or pixel is in any of them."""

import json
import logging
import traceback
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info

from serve.problems import KINDS

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
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


class Metrics:
    """Prometheus metrics of one application."""

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("requests", "Answers by route and status", ["route", "status"], registry=registry)
        self.seconds = Histogram("request_seconds", "Time to answer", ["route"], buckets=BUCKETS, registry=registry)
        stage = "Time of a prediction by stage"
        self.stages = Histogram("stage_seconds", stage, ["stage"], buckets=BUCKETS, registry=registry)
        self.refusals = Counter("refusals", "Problems by type", ["type"], registry=registry)
        self.load = Gauge("images_in_work", "Images worked on or waiting", registry=registry)
        self.model_problem = Gauge("model_problem", "1 if the model asked for is refused", registry=registry)
        self.model = Info("model", "Model being served", registry=registry)
        for type in KINDS:
            self.refusals.labels(type)
