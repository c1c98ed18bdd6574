"""Hold what the routes share: the model, the queue, the linked heatmaps and the metrics."""

import logging
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence

from fastapi import Request, Response, UploadFile

from chestxray.inference.answer import Model, answer
from chestxray.inference.decisions import choose_thresholds
from chestxray.inference.predictions import LinkedHeatmap, Options, Prediction
from serve.descriptors import share_descriptors
from serve.heatmap_store import HeatmapStore
from serve.metrics import Metrics
from serve.model_holder import ModelHolder
from serve.pool import Pool
from serve.problems import ProblemError, to_problem
from serve.schemas import IndexedPrediction, IndexedProblem, Readiness
from serve.settings import Settings

HEATMAP_PATH = "/static/gradcam/"
"""Where linked heatmaps are fetched."""
NOT_STORED = "The service could not store the heatmaps; inline ones need no storing."

log = logging.getLogger("serve.service")


class HeatmapsNotStoredError(Exception):
    """Overlays could not be kept for clients to fetch."""


class Service:
    """Predict with the model being served, and tell operators how it goes.

    Args:
        settings: of the service.
        holder: of the model.

    Attributes:
        pool: where predictions are made.
        heatmaps: that clients fetch later.
        descriptors: how many connections and files of uploads may be open.
        max_batch_files: most files of one `/predict/batch`, fewer than set where the process may open few.
        metrics: of this service alone.
        draining: the process was told to end and takes requests for a little while only.
        has_model: set when the first model was taken up.
        stopped: set when no newer model need be looked for.

    Raises:
        OSError: the folder for linked heatmaps can't be made, or the process may open too few files.
    """

    def __init__(self, settings: Settings, holder: ModelHolder) -> None:
        self.settings = settings
        self.holder = holder
        self.descriptors = share_descriptors(settings.max_connections)
        self.max_batch_files = min(settings.max_batch_files, self.descriptors.files)
        self.pool = Pool(settings.concurrency, settings.queue_length)
        self.heatmaps = HeatmapStore(
            settings.heatmap_folder, settings.heatmap_seconds, settings.heatmap_bytes, settings.heatmap_count
        )
        self.metrics = Metrics()
        self.metrics.load.set_function(lambda: self.pool.load)
        self.draining = False
        self.has_model = threading.Event()
        self.stopped = threading.Event()

    def follow(self) -> None:
        """Load the model that MODEL_URI names, and again whenever that changes, until `stopped` is set."""
        while True:
            self.holder.refresh()
            self.metrics.model_problem.set(self.holder.problem is not None)
            if self.holder.model is not None:
                info = self.holder.model.info
                self.metrics.model.info({"name": info.name, "version": info.version or "", "sha256": info.sha256})
                self.has_model.set()
            self.heatmaps.sweep()
            if self.stopped.wait(self.settings.model_poll_seconds):
                return

    def close(self) -> None:
        """Stop following, and leave no heatmap behind."""
        self.stopped.set()
        self.heatmaps.close()

    def readiness(self) -> Readiness:
        """Return whether predictions are answered, and by which model."""
        model = self.holder.model
        ready = model is not None and not self.draining
        problem = self.holder.problem
        return Readiness(ready=ready, model=model and model.info, problem=str(problem) if problem else None)

    async def predict(self, file: UploadFile, options: Options, request_id: str) -> Prediction:
        """Predict the findings of one file, if there is room in the queue.

        Raises:
            OptionsError: the model has no such operating point, or a threshold is given too.
            ProblemError: there is no model, or no room.
            RadiographError: the file can't be used.
        """
        self._check(options)
        return await self._predict(file, options, request_id)

    def predict_batch(
        self, files: Sequence[UploadFile], options: Options, request_id: str
    ) -> AsyncIterator[IndexedPrediction | IndexedProblem]:
        """Predict the findings of several files, each when its turn has come, if there is room in the queue now.

        Returns:
            For each file, in order, its answer, or what was wrong with it, with its place in the request.

        Raises:
            OptionsError: the model has no such operating point, or a threshold is given too.
            ProblemError: there is no model, or no room.
        """
        self._check(options)
        return self._predict_each(files, options, request_id)

    async def _predict_each(
        self, files: Sequence[UploadFile], options: Options, request_id: str
    ) -> AsyncIterator[IndexedPrediction | IndexedProblem]:
        for index, file in enumerate(files):
            try:
                prediction = await self._predict(file, options, request_id)
                yield IndexedPrediction(index=index, **dict(prediction))
            except Exception as error:  # the others get their answers whatever happens to this one
                problem = self._problem(error, request_id).details(request_id)
                yield IndexedProblem(index=index, **dict(problem))

    async def _predict(self, file: UploadFile, options: Options, request_id: str) -> Prediction:
        model = self.holder.serving()

        def work() -> Prediction:
            return self._answer(model, file.file.read(), options, request_id)

        waited, prediction = await self.pool.run(work)
        prediction.timing_ms.queue = round(1000 * waited, 2)
        for stage, milliseconds in prediction.timing_ms:
            self.metrics.stages.labels(stage).observe(milliseconds / 1000)
        return prediction

    def _answer(self, model: Model, data: bytes, options: Options, request_id: str) -> Prediction:
        """Answer about a file, without heatmaps if they can't be stored."""
        try:
            return answer(model, data, options, self.settings.max_pixels, request_id, self._publish)
        except HeatmapsNotStoredError as error:
            log.error("heatmaps not stored", exc_info=error, extra={"request_id": request_id})
            without = options.model_copy(update={"heatmaps": "none"})
            prediction = answer(model, data, without, self.settings.max_pixels, request_id)
            prediction.image.warnings.append(NOT_STORED)
            return prediction

    def _publish(self, pngs: Iterable[bytes], full_scale: float) -> Iterator[LinkedHeatmap]:
        """Keep overlays for a while, and say where they can be fetched and what their brightest colour stands for.

        Raises:
            HeatmapsNotStoredError: the system refuses to store one.
        """
        try:
            names = self.heatmaps.add(pngs)
        except OSError as error:
            raise HeatmapsNotStoredError from error
        for name in names:
            url = f"{HEATMAP_PATH}{name}"
            yield LinkedHeatmap(url=url, expires_in_seconds=self.heatmaps.seconds, full_scale=full_scale)

    def _check(self, options: Options) -> None:
        """Make sure that there is a model, that it can do what is asked, and that there is room in the queue."""
        choose_thresholds(self.holder.serving().bundle.card, options.operating_point, options.threshold)
        self.pool.check()

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Answer an error as a problem."""
        request_id: str = request.state.request_id
        return self._problem(error, request_id).response(request_id)

    def _problem(self, error: Exception, request_id: str) -> ProblemError:
        """Turn an error into what a client is told, count it, and log it if nobody expected it."""
        problem = to_problem(error)
        self.metrics.refusals.labels(problem.type).inc()
        if problem.status_code >= 500 and not isinstance(error, ProblemError):
            log.error("failed", exc_info=error, extra={"request_id": request_id, "type": problem.type})
        return problem
