"""Keep the service under load for a long time with probes on, and measure what grows."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import linregress

from benchmarks.client import PREDICT, Client, form
from benchmarks.crowd import Crowd, probing
from benchmarks.process import DEADLINE, Server, serving

HEATMAP_SECONDS = 2.0
SAMPLES = 200
WARM_UP = 0.25
"""Share of the time that the slope leaves out, in which allocators and caches fill up."""
OPTIONS = (*[""] * 9, "?heatmaps=link&heatmaps_for=all", "?heatmaps=inline", "?heatmaps=raw")
"""Mostly the cheapest: a slope needs many requests to stand out from the noise of allocators."""
EXPECTED = {200, 415, 422}
"""Status of the answers to good and to damaged files."""


@dataclass
class Course:
    """What was seen while the soak ran.

    Attributes:
        counted: answers so far, at each sample.
        resident: MiB, at each sample.
        links: to the latest heatmaps.
        unexpected: answers of another status than `EXPECTED`.
    """

    counted: list[int]
    resident: list[float]
    links: list[str]
    unexpected: int

    def fit(self) -> Any:
        """Fit a line to MiB by 10,000 answers after the warm-up; its `slope` and `stderr`."""
        first = int(WARM_UP * SAMPLES)
        return linregress(np.array(self.counted[first:]) / 10_000, self.resident[first:])


def soak(folder: Path, bundle: Path, files: list[bytes], seconds: float) -> dict[str, float]:
    """Have two clients send requests of all kinds in turn, damaged files among them, with probes on.

    Args:
        folder: for log and temporary files.
        bundle: the model to serve.
        files: radiographs.
        seconds: how long.
    """
    bodies = [*map(form, files), form(files[0][: len(files[0]) // 2]), form(b"garbage")]
    requests = [(PREDICT + option, body) for body in bodies for option in OPTIONS]
    with serving(folder, bundle, heatmap_seconds=HEATMAP_SECONDS, model_poll_seconds=HEATMAP_SECONDS) as server:
        with Crowd(server.port, requests, 2).asking() as warm:
            warm.wait_for(len(requests))
        descriptors = server.descriptors()
        course = Course([0], [server.resident()], [], 0)
        with (
            probing(server.port, ["/livez", "/readyz", "/metrics"], 0.5) as probes,
            Crowd(server.port, requests, 2).asking() as crowd,
        ):
            _observe(server, crowd, seconds, course)
        time.sleep(HEATMAP_SECONDS)  # they expire
        _wait_until_removed(folder / "tmp")
        fit = course.fit()
        with Client(server.port) as client:
            left = sum(client.get(link).status != 404 for link in course.links)
        return {
            "seconds": seconds,
            "requests": course.counted[-1],
            "unexpected answers": course.unexpected + len(crowd.errors) + sum(probe.status != 200 for probe in probes),
            "probes": len(probes),
            "MiB before": course.resident[0],
            "MiB after": server.resident(),
            "MiB per 10,000 requests": float(fit.slope),
            "standard error of that": float(fit.stderr),
            "file descriptors before": descriptors,
            "file descriptors after": server.descriptors(),
            "heatmaps asked for after they expired": len(course.links),
            "heatmaps left behind": left,
            "temporary files left behind": _files_in(folder / "tmp"),
        }


def _observe(server: Server, crowd: Crowd, seconds: float, course: Course) -> None:
    """Add samples of answers and memory to `course` while the crowd asks."""
    for _ in range(SAMPLES):
        crowd.leave.wait(seconds / SAMPLES)
        fresh = crowd.answers[: len(crowd.answers)]
        del crowd.answers[: len(fresh)]  # the clients' own memory must not grow either
        course.unexpected += sum(answer.status not in EXPECTED for answer in fresh)
        course.links = [*course.links, *_links([answer.body for answer in fresh[-8:]])][-500:]
        course.counted.append(course.counted[-1] + len(fresh))
        course.resident.append(server.resident())


def _wait_until_removed(folder: Path) -> None:
    """Wait until the next look at the model removes the files of expired heatmaps, or give up."""
    end = time.monotonic() + DEADLINE
    while _files_in(folder) and time.monotonic() < end:
        time.sleep(HEATMAP_SECONDS / 10)


def _files_in(folder: Path) -> int:
    return sum(path.is_file() for path in folder.rglob("*"))


def _links(bodies: list[bytes]) -> list[str]:
    """Return the addresses of the overlays that answers link to."""
    return [part.split('"')[0] for body in bodies for part in body.decode().split('"url":"')[1:]]
