"""Document the API for people: a page at `/docs` that needs no internet, and what its document says beside routes."""

from collections.abc import AsyncIterator
from importlib import resources
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from chestxray.findings import RESEARCH_USE_ONLY
from serve.schemas import ProblemDetails

DESCRIPTION = f"""Which findings a chest radiograph shows, how probable each of them is, and where the model saw it.

**{RESEARCH_USE_ONLY}** No finding above its operating point does not mean that the chest is healthy. Errors are problem
details (RFC 9457, `application/problem+json`); their `type` never changes its meaning."""
PREDICTIONS, MODEL, OPERATION = "Predictions", "Model", "Operation"
TAGS = [
    {"name": PREDICTIONS, "description": "Radiographs in; findings, and heatmaps where they are wanted, out."},
    {"name": MODEL, "description": "What answers: which findings it knows, and how well."},
    {"name": OPERATION, "description": "For whoever runs the service."},
]

PAGE_PATH = "/docs"
STARTER = """SwaggerUIBundle({url: "openapi.json", dom_id: "#page", deepLinking: true, tryItOutEnabled: true,
  presets: [SwaggerUIBundle.presets.apis], validatorUrl: null});
"""
MEDIA_TYPES = {"swagger-ui.css": "text/css", "swagger-ui-bundle.js": "text/javascript", "start.js": "text/javascript"}
"""Of the parts of the page. Their addresses are relative, so that a proxy may put the service under any path."""
PAGE = f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Chest X-ray findings: the API</title><link rel="icon" href="data:,">
<link rel="stylesheet" href=".{PAGE_PATH}/swagger-ui.css"></head>
<body><div id="page"></div><noscript>Without JavaScript there is <a href="openapi.json">the document</a>.</noscript>
<script src=".{PAGE_PATH}/swagger-ui-bundle.js"></script><script src=".{PAGE_PATH}/start.js"></script></body></html>
"""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What the page may load: nothing of other sites. Swagger UI writes styles; the overlays that it shows are blobs."""
KEPT_SECONDS = 3600
PIECE = 64 * 1024
"""Bytes that are handed on at once, so that a client that reads nothing costs no more memory than that."""


def operation_id(route: APIRoute) -> str:
    """Name an operation as its function is called: generated clients name theirs by it."""
    return route.name


class DocumentedAPI(FastAPI):
    """An application whose document defines problems too: FastAPI does not look for models in `problem+json`."""

    def openapi(self) -> dict[str, Any]:
        """Return the document."""
        document = super().openapi()
        problem = ProblemDetails.model_json_schema(ref_template="#/components/schemas/{model}")
        document["components"]["schemas"][ProblemDetails.__name__] = {
            key: value for key, value in problem.items() if key != "$defs"
        }
        return document


def add_page(app: FastAPI) -> None:
    """Add the page and its parts, which a package holds."""
    package = resources.files("fastapi_offline") / "static"
    parts = {name: (package / name).read_bytes() for name in MEDIA_TYPES if name != "start.js"}
    parts["start.js"] = STARTER.encode()

    async def page(_: Request) -> Response:
        return HTMLResponse(PAGE, headers={"Content-Security-Policy": POLICY})

    async def part(request: Request) -> Response:
        name = request.url.path.rpartition("/")[2]
        headers = {"Cache-Control": f"max-age={KEPT_SECONDS}", "Content-Length": str(len(parts[name]))}
        return StreamingResponse(_in_pieces(parts[name]), headers=headers, media_type=MEDIA_TYPES[name])

    app.add_route(PAGE_PATH, page, include_in_schema=False)
    for name in parts:
        app.add_route(f"{PAGE_PATH}/{name}", part, include_in_schema=False)


async def _in_pieces(content: bytes) -> AsyncIterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]


CHECKED = {"name": "chest-xray", "version": "3", "alias": "champion", "sha256": "5ed1bd0c…", "synthetic": False}
DETECTED = {
    "name": "Cardiomegaly", "title": "Cardiomegaly", "status": "learned", "probability": 0.71, "score": None,
    "threshold": 0.19, "positive": True,
    "undecided_because": None, "uncertain": False, "explanation": "shown", "label_quality": None,
    "performance": {
        "sensitivity": {"value": 0.87, "low": 0.52, "high": 0.97, "n": 15},
        "specificity": {"value": 0.95, "low": 0.91, "high": 0.97, "n": 273}, "prevalence": 0.05,
        "ppv": {"value": 0.46, "low": 0.28, "high": 0.65, "n": 28},
        "npv": {"value": 0.99, "low": 0.98, "high": 1.0, "n": 260},
    },
    "heatmap": {"kind": "link", "url": "/static/gradcam/0672ec63….png", "expires_in_seconds": 600.0, "full_scale": 3.2},
}  # fmt: skip
BATCH_EXAMPLE: dict[str, Any] = {
    "answers": [
        {
            "index": 0,
            "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "model": CHECKED,
            "image": {
                "sha256": "bb18419c…", "format": "DICOM", "width": 2021, "height": 2500, "bit_depth": 12,
                "view_position": "PA", "patient_orientation": "L\\F", "warnings": [],
            },
            "quality": {"verdict": "accepted", "checks": []},
            "operating_point": "f1",
            "findings": [DETECTED],
            "predicted_labels": ["Cardiomegaly"],
            "timing_ms": {"queue": 0.08, "decode": 31.5, "inference": 47.02, "heatmaps": 57.07},
            "disclaimer": RESEARCH_USE_ONLY,
        },
        {
            "index": 1,
            "request_id": "4bf92f3577b34da6a3ce929d0e0e4736",
            "type": "unreadable-image",
            "title": "The image is truncated or damaged",
            "status": 422,
            "detail": "The file can't be used: it ends too early.",
            "quality": None,
        },
    ]
}  # fmt: skip
"""One file that was answered (thirteen findings left out), and one that could not be; FastAPI leaves out nulls."""
