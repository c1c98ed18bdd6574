"""Define the routes of the service, and put the application together."""

import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Form, Query, Request, Response, Security, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse, StreamingResponse
from fastapi.routing import iter_route_contexts
from fastapi.security import APIKeyHeader
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser

from chestxray.imaging.radiograph import RadiographError
from chestxray.inference import model_card as cards
from chestxray.inference.answer import Model
from chestxray.inference.card import OptionsError
from chestxray.inference.card_figures import ModelCardError
from chestxray.inference.predictions import Options, Prediction
from serve import documentation
from serve.documentation import MODEL, OPERATION, PREDICTIONS, DocumentedAPI
from serve.middleware.access_log import AccessLog
from serve.middleware.api_key import APIKey
from serve.middleware.error_answers import ErrorAnswers
from serve.middleware.request_id import RequestID
from serve.middleware.request_limits import RequestLimits
from serve.middleware.security_headers import SecurityHeaders
from serve.middleware.transfer_time import TransferTime
from serve.model_holder import ModelHolder
from serve.problems import ProblemError, problem_responses
from serve.schemas import BatchPrediction, IndexedPrediction, IndexedProblem, Readiness
from serve.service import HEATMAP_PATH, Service
from serve.settings import Settings

PROBLEMS_OF_PREDICTIONS = problem_responses(
    "invalid-request", "body-too-large", "too-slow", "overloaded", "disk-full", "model-unavailable", "internal-error",
    "image-too-large", "unsupported-format", "unreadable-image", "not-a-radiograph",
)  # fmt: skip

SPOOLED_BYTES = 128 * 1024
"""An uploaded file with more bytes is on disk until its turn has come."""

ENCODING = {"encoding": {"file": {"contentType": "image/png, image/jpeg, image/tiff, image/jp2, application/dicom"}}}
RADIOGRAPHS = {"requestBody": {"content": {"multipart/form-data": ENCODING}}}
"""OpenAPI's way to say what kinds of files a form takes."""


def _example_response(media_type: str, example: object) -> dict[int | str, dict[str, Any]]:
    """Return OpenAPI's `responses` for an answer without a schema."""
    return {200: {"content": {media_type: {"example": example}}}}


async def _service(request: Request) -> Service:  # async, as all here that never waits: else FastAPI asks a thread
    service: Service = request.app.state.service
    return service


ServiceDependency = Annotated[Service, Depends(_service)]


async def _check_options_once(request: Request) -> None:
    """Refuse options that are given twice or without a value, which would be dropped in silence."""
    for name in Options.model_fields:
        values = request.query_params.getlist(name)
        if len(values) > 1:
            raise ProblemError("invalid-request", f"query.{name}: given {len(values)} times; give it once.")
        if values == [""]:
            raise ProblemError("invalid-request", f"query.{name}: empty; give a value, or leave it out.")


async def _check_one_file(request: Request) -> None:
    """Refuse more than one field `file`, also where one of them is text; FastAPI takes the last."""
    count = len((await request.form()).getlist("file"))  # which was parsed before
    if count > 1:
        raise ProblemError("invalid-request", f"body.file: given {count} times; send one, or use /predict/batch.")


OptionsQuery = Annotated[Options, Query()]
FILE = {"type": "string", "format": "binary"}
"""By its `format` generated clients know a file; FastAPI writes none."""
Radiograph = Annotated[UploadFile, WithJsonSchema(FILE)]
FORM = Form(media_type="multipart/form-data")
open_routes = APIRouter()
guarded_routes = APIRouter(responses=problem_responses("internal-error"))


@open_routes.get(
    "/livez",
    tags=[OPERATION],
    summary="Is the process alive?",
    responses=_example_response("application/json", {"status": "alive"}),
)
async def livez() -> dict[str, str]:
    """The process answers; never touches the model."""
    return {"status": "alive"}


@open_routes.get(
    "/readyz", tags=[OPERATION], summary="Are predictions answered?", responses={503: {"model": Readiness}}
)
async def readyz(service: ServiceDependency, response: Response) -> Readiness:
    """Whether predictions are answered, by which model, and why a newer one is not."""
    readiness = service.readiness()
    response.status_code = 200 if readiness.ready else 503
    return readiness


@guarded_routes.get(
    "/v1/model",
    tags=[MODEL],
    summary="Show the model's card",
    responses=_example_response("application/json", {"name": "chest-xray", "card": {}})
    | problem_responses("model-unavailable"),
)
async def model_card(request: Request, service: ServiceDependency) -> Response:
    """The bundle's card: findings, operating points, calibration, test metrics, intended use; ETag is its digest."""
    model = service.holder.serving()
    headers = _cache_headers(model)
    if _has(request, headers):
        return Response(status_code=304, headers=headers)
    card = model.bundle.card.model_dump(mode="json")
    return JSONResponse({**model.info.model_dump(), "card": card}, headers=headers)


@guarded_routes.get(
    "/v1/model/card",
    tags=[MODEL],
    summary="Show the model card for people",
    response_class=Response,
    responses=_example_response("text/markdown", "# Model card: Chest X-ray findings")
    | problem_responses("model-unavailable", "not-found"),
)
def model_card_for_people(request: Request, service: ServiceDependency) -> Response:
    """The card in Markdown: use, limits, figures with intervals, labels, data; an older bundle may lack some of it."""
    model = service.holder.serving()
    headers = _cache_headers(model)
    if _has(request, headers):
        return Response(status_code=304, headers=headers)
    try:
        return Response(cards.model_card(model.bundle.card), media_type="text/markdown", headers=headers)
    except ModelCardError as error:
        raise ProblemError("not-found", f"There is no model card: {error}.") from error


def _cache_headers(model: Model) -> dict[str, str]:
    """Return headers by which a client keeps what follows from the bundle alone."""
    return {"ETag": f'"{model.info.sha256}"', "Cache-Control": "no-cache"}


def _has(request: Request, headers: Mapping[str, str]) -> bool:
    """Say whether the client has what these headers describe."""
    return headers["ETag"] in request.headers.get("if-none-match", "")


@guarded_routes.get(
    "/metrics",
    tags=[OPERATION],
    summary="Show counts and times",
    response_class=PlainTextResponse,
    responses=_example_response("text/plain", 'requests_total{route="/predict",status="200"} 1.0\n'),
)
async def metrics(service: ServiceDependency) -> Response:
    """Requests, refusals, load and times, as Prometheus reads them."""
    return Response(service.metrics.to_text(), media_type=CONTENT_TYPE_LATEST)


@open_routes.get(
    f"{HEATMAP_PATH}{{name}}",
    tags=[PREDICTIONS],
    summary="Fetch a linked heatmap",
    response_class=Response,
    responses={200: {"content": {"image/png": {"schema": FILE}}}, **problem_responses("not-found", "invalid-request")},
)
def gradcam(name: str, service: ServiceDependency) -> Response:
    """An overlay that an answer links to, as PNG, until it expires."""
    png = service.heatmaps.get(name)
    if png is None:
        raise ProblemError("not-found", "There is no such heatmap, or it expired.")
    return Response(png, media_type="image/png")


class OneFile(BaseModel):
    """The form of a prediction."""

    model_config = ConfigDict(extra="forbid")

    file: Radiograph


def _prediction_routes(max_batch_files: int) -> APIRouter:
    router = APIRouter(
        tags=[PREDICTIONS],
        responses=PROBLEMS_OF_PREDICTIONS,
        form_limits={"max_fields": 8, "max_part_size": 1024},
        dependencies=[Depends(_check_options_once)],
    )

    class SeveralFiles(BaseModel):
        """The form of several predictions."""

        model_config = ConfigDict(extra="forbid")

        file: Annotated[list[Radiograph], Field(min_length=1, max_length=max_batch_files)]

    @router.post(
        "/predict",
        summary="Find in one radiograph",
        form_limits={"max_files": 1},
        openapi_extra=RADIOGRAPHS,
        dependencies=[Depends(_check_one_file)],
    )
    async def predict(
        request: Request, service: ServiceDependency, options: OptionsQuery, form: Annotated[OneFile, FORM]
    ) -> Prediction:
        """The findings of a radiograph (PNG, JPEG, TIFF, JPEG 2000 or DICOM, recognised by content)."""
        return await service.predict(form.file, options, request.state.request_id)

    @router.post(
        "/predict/batch",
        summary="Find in several radiographs",
        responses=_example_response("application/json", documentation.BATCH_EXAMPLE),
        form_limits={"max_files": max_batch_files},
        openapi_extra=RADIOGRAPHS,
        response_model=BatchPrediction,
    )
    async def predict_batch(
        request: Request,
        service: ServiceDependency,
        options: OptionsQuery,
        form: Annotated[SeveralFiles, FORM],
    ) -> StreamingResponse:
        """Several files, all under the field name `file`: an answer or a problem each, in order, sent as it is made."""
        answers = service.predict_batch(form.file, options, request.state.request_id)
        return StreamingResponse(_batch_json(answers), media_type="application/json")

    return router


async def _batch_json(answers: AsyncIterator[IndexedPrediction | IndexedProblem]) -> AsyncIterator[str]:
    """Write a `BatchPrediction` part by part, so that no more than one answer is in memory."""
    separator = '{"answers":['
    async for answer in answers:
        yield separator + answer.model_dump_json()
        separator = ","
    yield "]}"


def create_app(settings: Settings, holder: ModelHolder | None = None) -> FastAPI:
    """Put the application together.

    Args:
        settings: of the service.
        holder: of the model; by default one that begins without a model.

    Raises:
        OSError: the folder for linked heatmaps can't be made, or the process may open too few files.
    """
    MultiPartParser.spool_max_size = SPOOLED_BYTES
    service = Service(settings, holder or ModelHolder(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        # A daemon: at the end nobody waits for an MLflow that does not answer.
        threading.Thread(target=service.follow, daemon=True).start()
        yield
        service.close()

    app = DocumentedAPI(
        title="Chest X-ray findings",
        description=documentation.DESCRIPTION,
        openapi_tags=documentation.TAGS,
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        generate_unique_id_function=documentation.operation_id,
        redirect_slashes=False,
    )
    app.state.service = service
    _add_routes(app, service)
    for kind in (HTTPException, OptionsError, RadiographError, RequestValidationError):
        app.add_exception_handler(kind, service.refuse)
    _add_middleware(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    settings = service.settings
    app.add_route("/", lambda _: RedirectResponse(documentation.PAGE_PATH), include_in_schema=False)
    documentation.add_page(app)
    app.include_router(open_routes)
    # `APIKey` asks for the key; this documents it.
    key = [Security(APIKeyHeader(name="X-API-Key", auto_error=False))] if settings.api_key else []
    for router in (guarded_routes, _prediction_routes(service.max_batch_files)):
        app.include_router(router, dependencies=key, responses=problem_responses("unauthorized"))


def _add_middleware(app: FastAPI, service: Service) -> None:
    """Surround the routes, from the inside out: the last to be added sees a request first."""
    settings = service.settings
    app.add_middleware(
        RequestLimits,
        pool=service.pool,
        max_body_bytes=settings.body_limit,
        max_uploads=settings.max_uploads,
        trusted_proxies=settings.trusted_proxies,
        descriptors=service.descriptors,
        files={"/predict": 1, "/predict/batch": service.max_batch_files},
    )
    if settings.api_key:
        app.add_middleware(APIKey, key=settings.api_key.get_secret_value())
    app.add_middleware(ErrorAnswers, service=service)
    app.add_middleware(TransferTime, seconds=settings.transfer_seconds)
    paths = frozenset(route.path for route in iter_route_contexts(app.routes))
    app.add_middleware(AccessLog, metrics=service.metrics, paths=paths)
    app.add_middleware(SecurityHeaders)
    app.add_middleware(RequestID)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["*"],
            allow_headers=["X-API-Key", "X-Request-ID"],
            expose_headers=["X-Request-ID", "Retry-After", "ETag"],
        )
