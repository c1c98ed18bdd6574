"""The service: HTTP around the predictor."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, File, Query, Request, Response, Security, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, PlainTextResponse, RedirectResponse
from fastapi.security import APIKeyHeader
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.exceptions import HTTPException

from chestxray.findings import RESEARCH_USE_ONLY
from serve.analysis import analyse
from serve.observation import Metrics, Observed
from serve.overlays import Overlays
from serve.pool import Pool
from serve.predictor import Predictor
from serve.problems import ProblemError, documented
from serve.schemas import BatchPrediction, Options, Prediction, ProblemDetails, Readiness
from serve.settings import Settings

FILE_PROBLEMS = ("image-too-large", "unsupported-format", "unreadable-image", "not-a-radiograph")
REFUSALS = documented(
    "invalid-request", "body-too-large", "overloaded", "model-unavailable", "internal-error", *FILE_PROBLEMS
)
CARD_EXAMPLE: dict[str, Any] = {"content": {"application/json": {"example": {"name": "chest-xray", "card": {}}}}}
METRICS_EXAMPLE: dict[str, Any] = {
    "content": {"text/plain": {"example": 'requests_total{route="/predict",status="200"} 1.0\n'}}
}
PROBLEMS = {404: "not-found", 405: "method-not-allowed", 413: "body-too-large"}


class Service:
    """What the routes share.

    Attributes:
        draining: the process was told to end and takes requests for a little while only.
    """

    def __init__(self, settings: Settings, predictor: Predictor) -> None:
        self.settings, self.predictor = settings, predictor
        self.pool = Pool(settings.concurrency, settings.queue_length)
        self.overlays = Overlays(settings.heatmap_seconds, settings.heatmap_bytes, settings.heatmap_count)
        self.metrics = Metrics()
        self.draining = False

    async def follow(self) -> None:
        """Takes up the model, then every model that MODEL_URI comes to mean."""
        while True:
            await asyncio.to_thread(self.predictor.refresh)
            self.metrics.model_problem.set(self.predictor.problem is not None)
            if self.predictor.model is not None:
                info = self.predictor.model.info
                self.metrics.model.info({"name": info.name, "version": info.version or "", "sha256": info.sha256})
            await asyncio.sleep(self.settings.model_poll_seconds)

    async def predict(self, file: UploadFile, options: Options, request_id: str) -> Prediction:
        """One file to one answer.

        Raises:
            ProblemError: no model, a full queue, or a file that can't be used.
        """
        model, max_pixels = self.predictor.serving(), self.settings.max_pixels

        def work() -> Prediction:
            return analyse(model, file.file.read(), options, self.overlays, max_pixels, request_id)

        answer, waited = await self.pool.run(work)
        answer.timing_ms.queue = round(1000 * waited, 2)
        for stage, milliseconds in answer.timing_ms:
            self.metrics.stages.labels(stage).observe(milliseconds / 1000)
        return answer


def _service(request: Request) -> Service:
    service: Service = request.app.state.service
    return service


Shared = Annotated[Service, Depends(_service)]
open_to_all, operations = APIRouter(), APIRouter(responses=documented("internal-error"))


@open_to_all.get("/", include_in_schema=False)
async def root() -> RedirectResponse:
    """To the documentation."""
    return RedirectResponse("/docs")


@open_to_all.get("/livez", responses={200: {"content": {"application/json": {"example": {"status": "alive"}}}}})
async def livez() -> dict[str, str]:
    """The process answers; never touches the model."""
    return {"status": "alive"}


@open_to_all.get("/readyz", response_model=Readiness, responses={503: {"model": Readiness}})
async def readyz(service: Shared) -> JSONResponse:
    """Whether predictions are answered, by which model, and why a newer one is not."""
    model = service.predictor.model
    ready = model is not None and not service.draining
    info = None if model is None else model.info
    answer = Readiness(ready=ready, model=info, problem=service.predictor.problem)
    return JSONResponse(answer.model_dump(), 200 if ready else 503)


@operations.get("/v1/model", responses={200: CARD_EXAMPLE, **documented("model-unavailable")})
async def model_card(request: Request, service: Shared) -> Response:
    """The bundle's card: findings, operating points, calibration, test metrics, intended use; ETag is its digest."""
    model = service.predictor.serving()
    etag = f'"{model.info.sha256}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache"}
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    card = model.bundle.card.model_dump(mode="json")
    return JSONResponse({**model.info.model_dump(), "card": card}, headers=headers)


@operations.get("/metrics", response_class=PlainTextResponse, responses={200: METRICS_EXAMPLE})
async def metrics(service: Shared) -> Response:
    """For Prometheus."""
    service.metrics.load.set(service.pool.load)
    return Response(generate_latest(service.metrics.registry), media_type=CONTENT_TYPE_LATEST)


@open_to_all.get(
    "/static/gradcam/{name}.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}}, **documented("not-found", "invalid-request")},
)
async def gradcam(name: str, service: Shared) -> Response:
    """A linked overlay, until it expires."""
    png = service.overlays.get(name)
    if png is None:
        raise ProblemError("not-found", "There is no such heatmap, or it expired.")
    return Response(png, media_type="image/png")


def _predictions(max_body_bytes: int, max_batch_files: int) -> APIRouter:
    router = APIRouter(responses=REFUSALS, max_body_size=max_body_bytes)

    @router.post("/predict", response_model=Prediction)
    async def predict(
        request: Request, service: Shared, options: Annotated[Options, Query()], file: Annotated[UploadFile, File()]
    ) -> Any:
        """The 14 findings of a radiograph (PNG, JPEG or DICOM, recognised by content)."""
        return await service.predict(file, options, request.state.request_id)

    @router.post("/predict/batch", response_model=BatchPrediction)
    async def predict_batch(
        request: Request,
        service: Shared,
        options: Annotated[Options, Query()],
        files: Annotated[list[UploadFile], File(alias="file", min_length=1, max_length=max_batch_files)],
    ) -> Any:
        """Several files, all under the field name `file`: an answer or a problem each, in order."""
        answers: list[Prediction | ProblemDetails] = []
        for file in files:
            try:
                answers.append(await service.predict(file, options, request.state.request_id))
            except ProblemError as problem:
                service.metrics.refusals.labels(problem.type).inc()
                answers.append(problem.details(request.state.request_id))
        return BatchPrediction(answers=answers)

    return router


def _answer_errors(app: FastAPI, metrics: Metrics) -> None:
    """Every error leaves as a problem."""

    @app.exception_handler(ProblemError)
    async def problem(request: Request, error: ProblemError) -> Response:
        metrics.refusals.labels(error.type).inc()
        return error.response(request.state.request_id)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # What was given is left out: it may be a file.
        said = "; ".join(f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors())
        return await problem(request, ProblemError("invalid-request", said))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        type = PROBLEMS.get(error.status_code, "invalid-request")
        return await problem(
            request, ProblemError(type, error.detail, error.headers)
        )  # a 405 must name what is allowed

    @app.exception_handler(Exception)
    async def crash(request: Request, error: Exception) -> Response:
        return await problem(request, ProblemError("internal-error", "The log has more under the request id."))


def create_app(settings: Settings, predictor: Predictor | None = None) -> FastAPI:
    """The application.

    Args:
        settings: of the service.
        predictor: by default one that begins without a model.
    """
    service = Service(settings, predictor or Predictor(settings))

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        following = asyncio.create_task(service.follow())
        yield
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        service.pool.close()

    app = FastAPI(title="Chest X-ray findings", description=RESEARCH_USE_ONLY, version="1", lifespan=lifespan)
    app.state.service = service
    app.include_router(open_to_all)
    # `Observed` asks for the key; this documents it.
    guard = [Security(APIKeyHeader(name="X-API-Key", auto_error=False))] if settings.api_key else []
    for router in (operations, _predictions(settings.max_body_bytes, settings.max_batch_files)):
        app.include_router(router, dependencies=guard, responses=documented("unauthorized"))
    app.add_middleware(Observed, metrics=service.metrics, pool=service.pool, settings=settings)
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["*"], allow_headers=["X-API-Key"]
        )
    _answer_errors(app, service.metrics)
    return app
