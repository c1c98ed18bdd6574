"""Keep the metrics that an operator sees. No file name, tag or pixel is in any of them."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest

from serve.problems import KINDS

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
"""Upper ends in seconds."""


class Metrics:
    """Prometheus metrics of one application.

    Attributes:
        requests: answers by route and status.
        seconds: time to answer, by route.
        stages: time of a prediction, by stage.
        refusals: problems by type.
        connections_cut: connections that were cut, by reason.
        load: images worked on or waiting.
        model_problem: 1 if the model asked for is refused.
        model: which model is served.
    """

    def __init__(self) -> None:
        self.registry = registry = CollectorRegistry()
        self.requests = Counter("requests", "Answers by route and status", ["route", "status"], registry=registry)
        self.seconds = Histogram("request_seconds", "Time to answer", ["route"], buckets=BUCKETS, registry=registry)
        stage = "Time of a prediction by stage"
        self.stages = Histogram("stage_seconds", stage, ["stage"], buckets=BUCKETS, registry=registry)
        self.refusals = Counter("refusals", "Problems by type", ["type"], registry=registry)
        self.connections_cut = Counter("connections_cut", "Connections cut by reason", ["reason"], registry=registry)
        self.load = Gauge("images_in_work", "Images worked on or waiting", registry=registry)
        self.model_problem = Gauge("model_problem", "1 if the model asked for is refused", registry=registry)
        self.model = Info("model", "Model being served", registry=registry)
        for type in KINDS:
            self.refusals.labels(type)

    def to_text(self) -> bytes:
        """Return all of them as Prometheus reads them."""
        return generate_latest(self.registry)
