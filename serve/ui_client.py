"""Ask the service that SERVICE_URL names, for the page."""

import os
from typing import Any

import requests
from pydantic import ValidationError

from chestxray.inference.predictions import Quality
from serve.schemas import ProblemDetails

TIMEOUT_SECONDS = 60
REFUSED = "The file is refused"
"""Heading of an error that asking again does not mend."""


class ServiceError(Exception):
    """The service is down or refuses.

    Attributes:
        heading: what happened, in a few words.
        type: of the problem, as the service names it; empty where it did not answer.
        quality: what the service's checks found in the file, where they refuse it.
    """

    def __init__(self, heading: str, detail: str, type: str = "", quality: Quality | None = None) -> None:
        super().__init__(detail)
        self.heading = heading
        self.type = type
        self.quality = quality


def ask(method: str, path: str, **arguments: Any) -> Any:
    """Send one request, and return the JSON of its answer.

    Args:
        method: of HTTP.
        path: of a route, with a slash in front.
        arguments: as `requests.request` takes them.

    Raises:
        ServiceError: the service does not answer, or refuses.
    """
    url = os.environ.get("SERVICE_URL", "http://127.0.0.1:8000").rstrip("/")
    key = os.environ.get("SERVICE_API_KEY")
    headers = {"X-API-Key": key} if key else {}
    try:
        answer = requests.request(method, f"{url}{path}", timeout=TIMEOUT_SECONDS, headers=headers, **arguments)
        content = answer.json()
        if answer.ok:
            return content
        problem = ProblemDetails.model_validate(content)
    except (requests.RequestException, ValidationError) as error:
        detail = f"No answer from {url}. Start it with `make serve`, then try again."
        raise ServiceError("The service is down", detail) from error
    heading = REFUSED if problem.status in {413, 415, 422} else problem.title
    raise ServiceError(heading, f"{problem.detail} (Request {problem.request_id})", problem.type, problem.quality)
