"""The service over HTTP: its routes."""

import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Query, Request, Response, Security, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.routing import iter_route_contexts
from fastapi.security import APIKeyHeader
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.imaging.radiograph import RadiographError
from chestxray.inference.predictions import Options, Prediction
from serve.middleware import Doorkeeper
from serve.model_holder import ModelHolder
from serve.problems import ProblemError, documented
from serve.schemas import BatchPrediction, Readiness
from serve.service import HEATMAPS, Service
from serve.settings import Settings

REFUSALS = documented(
    "invalid-request", "body-too-large", "too-slow", "overloaded", "model-unavailable", "internal-error",
    "image-too-large", "unsupported-format", "unreadable-image", "not-a-radiograph",
)  # fmt: skip

SPOOLED_BYTES = 128 * 1024
"""An uploaded file with more bytes is on disk until its turn has come."""

ENCODING = {"encoding": {"file": {"contentType": "image/png, image/jpeg, application/dicom"}}}
RADIOGRAPHS = {"requestBody": {"content": {"multipart/form-data": ENCODING}}}
"""OpenAPI's way to say what kinds of files a form takes."""


def _shown(media_type: str, example: object) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for an answer without a model."""
    return {200: {"content": {media_type: {"example": example}}}}


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Shared = Annotated[Service, Depends(_service)]
Asked = Annotated[Options, Query()]
open_to_all, operations = APIRouter(), APIRouter(responses=documented("internal-error"))


@open_to_all.get("/livez", responses=_shown("application/json", {"status": "alive"}))
async def livez() -> dict[str, str]:
    """The process answers; never touches the model."""
    return {"status": "alive"}


@open_to_all.get("/readyz", responses={503: {"model": Readiness}})
async def readyz(service: Shared, response: Response) -> Readiness:
    """Whether predictions are answered, by which model, and why a newer one is not."""
    model = service.holder.model
    ready = model is not None and not service.draining
    response.status_code = 200 if ready else 503
    return Readiness(ready=ready, model=model and model.info, problem=service.holder.problem)


@operations.get(
    "/v1/model",
    responses=_shown("application/json", {"name": "chest-xray", "card": {}}) | documented("model-unavailable"),
)
async def model_card(request: Request, service: Shared) -> Response:
    """The bundle's card: findings, operating points, calibration, test metrics, intended use; ETag is its digest."""
    model = service.holder.serving()
    headers = {"ETag": f'"{model.info.sha256}"', "Cache-Control": "no-cache"}
    if headers["ETag"] in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    card = model.bundle.card.model_dump(mode="json")
    return JSONResponse({**model.info.model_dump(), "card": card}, headers=headers)


@operations.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses=_shown("text/plain", 'requests_total{route="/predict",status="200"} 1.0\n'),
)
async def metrics(service: Shared) -> Response:
    """For Prometheus."""
    service.metrics.load.set(service.pool.load)
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@open_to_all.get(
    f"{HEATMAPS}{{name}}",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **documented("not-found", "invalid-request")},
)
def gradcam(name: str, service: Shared) -> Response:
    """A linked overlay, until it expires."""
    png = service.overlays.get(name)
    if png is None:
        raise ProblemError("not-found", "There is no such heatmap, or it expired.")
    return Response(png, media_type="image/png")


def _predictions(max_body_bytes: int, max_batch_files: int) -> APIRouter:
    router = APIRouter(
        responses=REFUSALS,
        max_body_size=max_body_bytes,
        form_limits={"max_files": max_batch_files, "max_fields": 8, "max_part_size": 1024},
    )
    several = File(alias="file", min_length=1, max_length=max_batch_files)

    @router.post("/predict", openapi_extra=RADIOGRAPHS)
    async def predict(
        request: Request, service: Shared, options: Asked, file: Annotated[UploadFile, File()]
    ) -> Prediction:
        """The 14 findings of a radiograph (PNG, JPEG or DICOM, recognised by content)."""
        service.check()
        return await service.predict(file, options, request.state.request_id)

    @router.post("/predict/batch", openapi_extra=RADIOGRAPHS, response_model=BatchPrediction)
    async def predict_batch(
        request: Request, service: Shared, options: Asked, files: Annotated[list[UploadFile], several]
    ) -> StreamingResponse:
        """Several files, all under the field name `file`: an answer or a problem each, in order, sent as it is made."""

        service.check()  # then each file waits for its turn

        async def answers() -> AsyncIterator[str]:
            before = '{"answers":['
            for file in files:
                answer = await service.answer(file, options, request.state.request_id)
                yield before + answer.model_dump_json()
                before = ","
            yield "]}"

        return StreamingResponse(answers(), media_type="application/json")

    return router


def create_app(settings: Settings, holder: ModelHolder | None = None) -> FastAPI:
    """The application.

    Args:
        settings: of the service.
        predictor: by default one that begins without a model.
    """
    MultiPartParser.spool_max_size = SPOOLED_BYTES
    service = Service(settings, holder or ModelHolder(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A daemon: at the end nobody waits for an MLflow that does not answer.
        threading.Thread(target=service.follow, daemon=True).start()
        yield
        service.close()

    app = FastAPI(title="Chest X-ray findings", description=RESEARCH_USE_ONLY, version="1", lifespan=lifespan)
    app.state.service = service
    app.add_route("/", lambda _: RedirectResponse("/docs"), include_in_schema=False)
    app.include_router(open_to_all)
    # `Doorkeeper` asks for the key; this documents it.
    key = [Security(APIKeyHeader(name="X-API-Key", auto_error=False))] if settings.api_key else []
    for router in (operations, _predictions(settings.max_body_bytes, settings.max_batch_files)):
        app.include_router(router, dependencies=key, responses=documented("unauthorized"))
    for kind in (HTTPException, RadiographError, RequestValidationError):
        app.add_exception_handler(kind, service.refuse)
    paths = frozenset(route.path for route in iter_route_contexts(app.routes))
    app.add_middleware(Doorkeeper, service=service, paths=paths)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After", "ETag"],
        )
    return app
