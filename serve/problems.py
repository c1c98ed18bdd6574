"""What can go wrong for a client: RFC 9457 problem details with stable types."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from chestxray.imaging.radiograph import RadiographError
from serve.schemas import ProblemDetails

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """HTTP status and what it is called, for a person."""

    status: int
    title: str


KINDS = {
    "invalid-request": Kind(422, "The request is not as the documentation says"),
    "unauthorized": Kind(401, "The service wants its key in the header X-API-Key"),
    "not-found": Kind(404, "There is nothing here"),
    "method-not-allowed": Kind(405, "This address does not take that method"),
    "body-too-large": Kind(413, "The request is too large"),
    "too-slow": Kind(408, "The request took too long to arrive"),
    "image-too-large": Kind(413, "The image has too many pixels"),
    "unsupported-format": Kind(415, "The file is neither PNG nor JPEG nor DICOM"),
    "unreadable-image": Kind(422, "The image is truncated or damaged"),
    "not-a-radiograph": Kind(422, "The image can't be a radiograph"),
    "overloaded": Kind(503, "The service is busy"),
    "model-unavailable": Kind(503, "No model is being served yet"),
    "internal-error": Kind(500, "The service failed"),
}
OF_FRAMEWORK = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}
"""Statuses that FastAPI refuses with by itself; any other one means that it could not read the request."""
HEADERS = {401: {"WWW-Authenticate": "X-API-Key"}, 503: {"Retry-After": "1"}}


class ProblemError(HTTPException):
    """An answer that is not a result.

    Args:
        type: one of `KINDS`.
        detail: a sentence that a person understands; it quotes nothing of the file.
        headers: to answer with.
    """

    def __init__(self, type: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        self.type, self.kind = type, KINDS[type]
        super().__init__(self.kind.status, detail, {**HEADERS.get(self.kind.status, {}), **(headers or {})})

    def details(self, request_id: str) -> ProblemDetails:
        """The body."""
        return ProblemDetails(type=self.type, **self.kind._asdict(), detail=self.detail, request_id=request_id)

    def response(self, request_id: str) -> JSONResponse:
        """The answer."""
        return JSONResponse(self.details(request_id).model_dump(), self.status_code, self.headers, MEDIA_TYPE)


def to_problem(error: Exception) -> ProblemError:
    """What an error is for a client; what was given is left out: it may be a file."""
    match error:
        case ProblemError():
            return error
        case RadiographError():
            return ProblemError(error.kind, f"The file can't be used: {error}.")
        case RequestValidationError():
            said = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
            return ProblemError("invalid-request", said)
        case HTTPException():
            type = OF_FRAMEWORK.get(error.status_code, "invalid-request")
            return ProblemError(type, error.detail, error.headers)  # a 405 must name what is allowed
    return ProblemError("internal-error", "The log has more under the request id.")


def documented(*types: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for problems, with an example for each."""
    found: dict[int | str, dict[str, Any]] = {}
    for name in types:
        example = ProblemError(name, KINDS[name].title + ".").details("4bf92f3577b34da6a3ce929d0e0e4736").model_dump()
        # Not `model`, which FastAPI would list as application/json.
        schema = {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}
        answer = found.setdefault(KINDS[name].status, {"content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}})
        answer["description"] = " or ".join(filter(None, [answer.get("description"), KINDS[name].title]))
        answer["content"][MEDIA_TYPE]["examples"][name] = {"value": example}
    return found
