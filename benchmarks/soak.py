"""A long time under load with probes on: what grows."""

import time
from pathlib import Path

import numpy as np
from scipy.stats import linregress

from benchmarks.client import PREDICT, Client, form
from benchmarks.crowd import Crowd, probing
from benchmarks.process import serving

HEATMAP_SECONDS = 2.0
SAMPLES = 200
WARM_UP = 0.25
"""Share of the time that the slope leaves out: allocators and caches fill up."""
OPTIONS = (*[""] * 9, "?heatmaps=link&heatmaps_for=all", "?heatmaps=inline", "?heatmaps=raw")
"""Mostly the cheapest: a slope needs many requests to stand out from what allocators give and take."""


def soak(folder: Path, bundle: Path, files: list[bytes], seconds: float) -> dict[str, float]:
    """Two clients ask for everything in turn, damaged files among it, with probes on.

    Args:
        folder: for log and temporary files.
        bundle: what is served.
        files: radiographs.
        seconds: how long.
    """
    bodies = [*map(form, files), form(files[0][: len(files[0]) // 2]), form(b"garbage")]
    requests = [(PREDICT + option, body) for body in bodies for option in OPTIONS]
    with serving(folder, bundle, heatmap_seconds=HEATMAP_SECONDS, model_poll_seconds=HEATMAP_SECONDS) as server:
        with Crowd(server.port, requests, 2).asking() as warm:
            warm.wait_for(len(requests))
        descriptors, before = server.descriptors(), server.resident()
        counted, resident, expected, links, unexpected = [0], [before], {200, 415, 422}, list[str](), 0
        with (
            probing(server.port, ["/livez", "/readyz", "/metrics"], 0.5) as probes,
            Crowd(server.port, requests, 2).asking() as crowd,
        ):
            done = 0
            for _ in range(SAMPLES):
                crowd.leave.wait(seconds / SAMPLES)
                fresh = crowd.answers[: len(crowd.answers)]
                del crowd.answers[: len(fresh)]  # nothing of ours shall grow either
                done += len(fresh)
                unexpected += sum(answer.status not in expected for answer in fresh)
                links = [*links, *_links([answer.body for answer in fresh[-8:]])][-500:]
                counted.append(done)
                resident.append(server.resident())
        time.sleep(2 * HEATMAP_SECONDS)  # they expire, and the next look at the model removes their files
        first = int(WARM_UP * SAMPLES)
        fit = linregress(np.array(counted[first:]) / 10_000, resident[first:])
        with Client(server.port) as client:
            left = sum(client.get(link).status != 404 for link in links)
        return {
            "seconds": seconds,
            "requests": done,
            "unexpected answers": unexpected + len(crowd.errors) + sum(probe.status != 200 for probe in probes),
            "probes": len(probes),
            "MiB before": before,
            "MiB after": server.resident(),
            "MiB per 10,000 requests": float(fit.slope),
            "standard error of that": float(fit.stderr),
            "file descriptors before": descriptors,
            "file descriptors after": server.descriptors(),
            "heatmaps asked for after they expired": len(links),
            "heatmaps left behind": left,
            "temporary files left behind": sum(path.is_file() for path in (folder / "tmp").rglob("*")),
        }


def _links(bodies: list[bytes]) -> list[str]:
    """Addresses of the overlays that answers link to."""
    return [part.split('"')[0] for body in bodies for part in body.decode().split('"url":"')[1:]]
