"""What an operator sees: request ids, JSON logs and metrics. No file name, tag or pixel is in any of them."""

import hmac
import json
import logging
import re
import time
import uuid
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve.pool import Pool
from serve.problems import KINDS, ProblemError
from serve.settings import Settings

OPEN = frozenset({"/", "/livez", "/readyz", "/docs", "/openapi.json"})
"""Answered without the key, as linked heatmaps are: their names are secrets, and `<img>` sends no header."""
HEATMAPS = "/static/gradcam/"
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
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


class Metrics:
    """Prometheus metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Answers by route and status", ["route", "status"], registry=self.registry)
        self.seconds = Histogram(
            "request_seconds", "Time to answer", ["route"], buckets=BUCKETS, registry=self.registry
        )
        self.stages = Histogram(
            "stage_seconds", "Time of a prediction by stage", ["stage"], buckets=BUCKETS, registry=self.registry
        )
        self.refusals = Counter("refusals", "Problems by type", ["type"], registry=self.registry)
        self.load = Gauge("images_in_work", "Images worked on or waiting", registry=self.registry)
        self.model_problem = Gauge("model_problem", "1 if the model asked for is refused", registry=self.registry)
        self.model = Info("model", "Model being served", registry=self.registry)
        for type in KINDS:
            self.refusals.labels(type)


class Observed:
    """Middleware: gives every request its id, refuses early what would be refused anyway, counts and logs answers.

    Args:
        app: the application behind.
        metrics: to count in.
        pool: a POST is refused before its body is read when this is full.
        settings: the key, and the largest body that is worth reading.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics, pool: Pool, settings: Settings) -> None:
        self.app, self.metrics, self.pool, self.settings = app, metrics, pool, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, status, headers = time.perf_counter(), 500, Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def observe(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                given_out = MutableHeaders(scope=message)
                given_out["X-Request-ID"] = request_id
                for name, value in SECURITY.items():
                    given_out.setdefault(name, value)
            await send(message)

        try:
            self._check(scope, headers)
            await self.app(scope, receive, observe)
        except ProblemError as problem:
            self.metrics.refusals.labels(problem.type).inc()
            await problem.response(request_id)(scope, receive, observe)
        finally:
            self._record(scope, request_id, status, time.perf_counter() - start)

    def _check(self, scope: Scope, headers: Headers) -> None:
        key, path = self.settings.api_key, scope["path"]
        if key and path not in OPEN and not path.startswith(HEATMAPS):
            given = headers.get("x-api-key", "").encode("latin-1")
            if not hmac.compare_digest(given, key.get_secret_value().encode()):
                raise ProblemError("unauthorized", "The header X-API-Key lacks or is not the key of this service.")
        length, limit = headers.get("content-length", "0"), self.settings.max_body_bytes
        if length.isdecimal() and int(length) > limit:
            raise ProblemError("body-too-large", f"The request is larger than {limit:,} bytes.")
        if scope["method"] == "POST":
            self.pool.check()

    def _record(self, scope: Scope, request_id: str, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "none")
        self.metrics.requests.labels(route, str(status)).inc()
        self.metrics.seconds.labels(route).observe(seconds)
        fields = {"request_id": request_id, "route": route, "status": status, "ms": round(1000 * seconds, 2)}
        log.info("answered", extra=fields)
