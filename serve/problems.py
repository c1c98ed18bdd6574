"""Tell clients what went wrong: RFC 9457 problem details with stable types."""

import errno
from collections.abc import Mapping
from typing import Any, NamedTuple

from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from chestxray.imaging.radiograph import RadiographError
from chestxray.inference.card import OptionsError
from chestxray.inference.predictions import Quality
from serve.schemas import ProblemDetails

MEDIA_TYPE = "application/problem+json"


class Kind(NamedTuple):
    """A kind of problem: its HTTP status, and its title for a person."""

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
    "unsupported-format": Kind(415, "The format of the file is not supported"),
    "unreadable-image": Kind(422, "The image is truncated or damaged"),
    "not-a-radiograph": Kind(422, "The image is no frontal chest radiograph"),
    "overloaded": Kind(503, "The service is busy"),
    "disk-full": Kind(507, "The service has no room to store the request"),
    "model-unavailable": Kind(503, "No model is being served yet"),
    "internal-error": Kind(500, "The service failed"),
}
KINDS_BY_STATUS = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}
"""Kinds of what FastAPI refuses by itself; any other status means that it could not read the request."""
KINDS_BY_ERROR = dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), "disk-full") | dict.fromkeys(
    (errno.EMFILE, errno.ENFILE), "overloaded"
)
"""Kinds of what the system refuses; any other of its errors means that the service failed."""
PLACE_LENGTH = 80
"""Letters of the name of a field that are told; a client may send any name."""
AS_TEXT = "send the radiograph as a file, not as text"
"""What is said of a field that FastAPI wants to be an `UploadFile`."""
LOGGED = "The log has more under the request id."
HEADERS_BY_STATUS = {401: {"WWW-Authenticate": "X-API-Key"}, 503: {"Retry-After": "1"}}


class ProblemError(HTTPException):
    """A request that is answered with a problem instead of a result.

    Args:
        type: one of `KINDS`.
        detail: a sentence that a person understands; it quotes nothing of the file.
        headers: to answer with.
        quality: what the checks found in the file, where they refuse it.
    """

    def __init__(
        self, type: str, detail: str, headers: Mapping[str, str] | None = None, quality: Quality | None = None
    ) -> None:
        self.type = type
        self.quality = quality
        self.kind = KINDS[type]
        always = HEADERS_BY_STATUS.get(self.kind.status, {})
        super().__init__(self.kind.status, detail, {**always, **(headers or {})})

    def details(self, request_id: str) -> ProblemDetails:
        """Return the body of the answer."""
        return ProblemDetails(
            type=self.type, **self.kind._asdict(), detail=self.detail, request_id=request_id, quality=self.quality
        )

    def response(self, request_id: str) -> JSONResponse:
        """Return the answer."""
        return JSONResponse(self.details(request_id).model_dump(), self.status_code, self.headers, MEDIA_TYPE)


def to_problem(error: Exception) -> ProblemError:
    """Turn an error into what a client is told, without what was given: it may be a file."""
    match error:
        case ProblemError():
            return error
        case RadiographError():
            quality = Quality.of(error.checks) if error.checks else None
            return ProblemError(error.kind, f"The file can't be used: {str(error).removesuffix('.')}.", quality=quality)
        case OptionsError() | RequestValidationError():
            said = str(error) if isinstance(error, OptionsError) else "; ".join(map(_complaint, error.errors()))
            return ProblemError("invalid-request", said)
        case OSError() | HTTPException(__cause__=OSError()):  # FastAPI takes what storing a form meets for a bad form
            cause = error if isinstance(error, OSError) else error.__cause__
            type = KINDS_BY_ERROR.get(getattr(cause, "errno", None) or 0, "internal-error")
            return ProblemError(type, LOGGED)
        case HTTPException():
            type = KINDS_BY_STATUS.get(error.status_code, "invalid-request")
            return ProblemError(type, error.detail, error.headers)  # a 405 must name what is allowed
    return ProblemError("internal-error", LOGGED)


def _complaint(error: dict[str, Any]) -> str:
    """Say where a request is wrong and what is wrong there, as pydantic found it."""
    place = ".".join(map(str, error["loc"]))[:PLACE_LENGTH]
    return f"{place}: {AS_TEXT if 'Expected UploadFile' in error['msg'] else error['msg']}"


def problem_responses(*types: str) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for types of problems, with an example for each."""
    responses: dict[int | str, dict[str, Any]] = {}
    for name in types:
        example = ProblemError(name, KINDS[name].title + ".").details("4bf92f3577b34da6a3ce929d0e0e4736").model_dump()
        # Not `model`, which FastAPI would list as application/json.
        schema = {"$ref": f"#/components/schemas/{ProblemDetails.__name__}"}
        answer = responses.setdefault(KINDS[name].status, {"content": {MEDIA_TYPE: {"schema": schema, "examples": {}}}})
        answer["description"] = " or ".join(filter(None, [answer.get("description"), KINDS[name].title]))
        answer["content"][MEDIA_TYPE]["examples"][name] = {"value": example}
    return responses
