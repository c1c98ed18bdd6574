"""Serve the application in replicas on a Ray cluster: `serve run serve.ray_app:replicated replicas=2`.

Settings are environment variables of the nodes, see `serve.settings`; HOST, PORT and what concerns connections are
Ray's. Ray keeps what a replica logs, which names no patient. See docs/scale.md.
"""

import asyncio
import logging
import warnings
from typing import Any

import cv2
from fastapi import FastAPI
from ray import serve as ray_serve

from serve.api import create_app
from serve.json_log import JSONLines
from serve.service import Service
from serve.settings import Settings

MODEL_WITHIN = 300.0
"""Seconds that a replica may take to find a model; then Ray starts another."""


def application() -> FastAPI:
    """Make the application of a replica.

    Raises:
        ValidationError: a variable of the node has a wrong value.
        OSError: the folder for linked heatmaps can't be made, or the process may open too few files.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(JSONLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    warnings.simplefilter("ignore")  # those of libraries may quote a file
    cv2.setNumThreads(1)  # overlays are drawn in threads of ours: see docs/decisions/thread-pool.md
    return create_app(Settings())


class Replica:
    """A process with the application; Ray gives it `app`, and sends it requests once it is healthy."""

    app: FastAPI

    async def check_health(self) -> None:
        """Wait for the first model.

        Raises:
            RuntimeError: there is none.
        """
        service: Service = self.app.state.service
        if not await asyncio.to_thread(service.has_model.wait, MODEL_WITHIN):
            raise RuntimeError(f"no model: {service.holder.problem}")


def replicated(arguments: dict[str, str]) -> Any:
    """Describe the application to `serve run`.

    Args:
        arguments: `replicas`, how many, 2 by default.
    """
    settings = Settings()  # says what is wrong before any replica begins
    deployment = ray_serve.deployment(
        ray_serve.ingress(application)(Replica),
        name="chest-xray",
        num_replicas=int(arguments.get("replicas", 2)),
        max_ongoing_requests=settings.max_uploads,
        health_check_timeout_s=MODEL_WITHIN + 10,
    )
    return deployment.bind()
