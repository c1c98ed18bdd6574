"""What an operator sees: request ids, JSON logs and metrics. No file name, tag or pixel is in any of them."""

import json
import logging
import re
import time
import traceback
import uuid
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.problems import KINDS

SECURITY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "X-Frame-Options": "DENY",
}
"""On every answer that does not say otherwise."""
REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
PLAIN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}

log = logging.getLogger("serve.requests")


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
        self.stages = Histogram(
            "stage_seconds", "Time of a prediction by stage", ["stage"], buckets=BUCKETS, registry=registry
        )
        self.refusals = Counter("refusals", "Problems by type", ["type"], registry=registry)
        self.load = Gauge("images_in_work", "Images worked on or waiting", registry=registry)
        self.model_problem = Gauge("model_problem", "1 if the model asked for is refused", registry=registry)
        self.model = Info("model", "Model being served", registry=registry)
        for type in KINDS:
            self.refusals.labels(type)


class Observed:
    """Middleware around all others: every answer has its request's id and safe headers, is counted and logged.

    Args:
        app: the application behind.
        metrics: to count in.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app, self.metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status = time.perf_counter(), 500
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status, headers = message["status"], MutableHeaders(scope=message)
                for name, value in {**SECURITY, "X-Request-ID": request_id}.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            await self.app(scope, receive, observe)
        finally:
            seconds, route = time.perf_counter() - start, getattr(scope.get("route"), "path", "none")
            self.metrics.requests.labels(route, str(status)).inc()
            self.metrics.seconds.labels(route).observe(seconds)
            fields = {"request_id": request_id, "route": route, "status": status, "ms": round(1000 * seconds, 2)}
            log.info("answered", extra=fields)
