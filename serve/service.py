"""What the routes share: the model, the queue, the linked heatmaps and the metrics."""

import logging
import threading
from collections.abc import Iterable, Iterator

from fastapi import Request, Response, UploadFile

from chestxray.inference.answer import answer
from chestxray.inference.predictions import LinkedHeatmap, Options, Prediction
from serve.heatmap_store import HeatmapStore
from serve.metrics import Metrics
from serve.model_holder import ModelHolder
from serve.pool import Pool
from serve.problems import ProblemError, to_problem
from serve.schemas import ProblemDetails
from serve.settings import Settings

HEATMAPS = "/static/gradcam/"
"""Where linked heatmaps are fetched."""

log = logging.getLogger("serve.service")


class Service:
    """One service.

    Attributes:
        draining: the process was told to end and takes requests for a little while only.
    """

    def __init__(self, settings: Settings, holder: ModelHolder) -> None:
        self.settings, self.holder = settings, holder
        self.pool = Pool(settings.concurrency, settings.queue_length)
        bounds = settings.heatmap_seconds, settings.heatmap_bytes, settings.heatmap_count
        self.overlays = HeatmapStore(settings.heatmap_folder, *bounds)
        self.metrics = Metrics()
        self.draining, self.stopped = False, threading.Event()

    def follow(self) -> None:
        """Takes up the model, then every model that MODEL_URI comes to mean, until it is `stopped`."""
        while True:
            self.holder.refresh()
            self.metrics.model_problem.set(self.holder.problem is not None)
            if self.holder.model is not None:
                info = self.holder.model.info
                self.metrics.model.info({"name": info.name, "version": info.version or "", "sha256": info.sha256})
            self.overlays.sweep()
            if self.stopped.wait(self.settings.model_poll_seconds):
                return

    def close(self) -> None:
        """Stops following, and leaves no heatmap behind."""
        self.stopped.set()
        self.overlays.close()

    def problem(self, error: Exception, request_id: str) -> ProblemError:
        """What an error is for a client, counted, and logged if nobody expected it."""
        problem = to_problem(error)
        self.metrics.refusals.labels(problem.type).inc()
        if problem.type == "internal-error":
            log.error("failed", exc_info=error, extra={"request_id": request_id})
        return problem

    async def refuse(self, request: Request, error: Exception) -> Response:
        """Every error leaves as a problem."""
        return self.problem(error, request.state.request_id).response(request.state.request_id)

    async def answer(self, file: UploadFile, options: Options, request_id: str) -> Prediction | ProblemDetails:
        """One file of several to one answer, or to what was wrong with it."""
        try:
            return await self.predict(file, options, request_id)
        except Exception as error:  # the others get their answers whatever happens to this one
            return self.problem(error, request_id).details(request_id)

    def check(self) -> None:
        """Makes sure that there is a model and room in the queue.

        Raises:
            ProblemError: there is not.
        """
        self.holder.serving()
        self.pool.check()

    async def predict(self, file: UploadFile, options: Options, request_id: str) -> Prediction:
        """One file to one answer, when its turn has come.

        Raises:
            ProblemError: there is no model.
            RadiographError: the file can't be used.
        """
        model, max_pixels = self.holder.serving(), self.settings.max_pixels

        def work() -> Prediction:
            return answer(model, file.file.read(), options, max_pixels, request_id, self.publish)

        waited, prediction = await self.pool.run(work)
        prediction.timing_ms.queue = round(1000 * waited, 2)
        for stage, milliseconds in prediction.timing_ms:
            self.metrics.stages.labels(stage).observe(milliseconds / 1000)
        return prediction

    def publish(self, pngs: Iterable[bytes]) -> Iterator[LinkedHeatmap]:
        """Keeps overlays for a while and says where they can be fetched."""
        for name in self.overlays.add(pngs):
            yield LinkedHeatmap(url=f"{HEATMAPS}{name}", expires_in_seconds=self.overlays.seconds)
