"""Read the settings of the service: environment variables of the same names in capitals, such as MODEL_URI."""

import tempfile
from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from chestxray.imaging.radiograph import MAX_PIXELS

MEBIBYTE = 1024 * 1024

Count = Annotated[int, Field(ge=1)]
Seconds = Annotated[float, Field(gt=0)]


def _repository_store() -> str:
    """Return the address of the MLflow store beside the package `serve`."""
    return f"sqlite:///{Path(__file__).resolve().parents[1] / '.mlflow' / 'mlflow.db'}"


def _temporary_folder() -> Path:
    return Path(tempfile.gettempdir())


class Settings(BaseSettings):
    """Everything that an operator can set. A wrong value stops the start and names the variable."""

    model_config = SettingsConfigDict(
        frozen=True,
        use_attribute_docstrings=True,
        hide_input_in_errors=True,  # one of them is a secret
    )

    model_uri: Annotated[str, Field(min_length=1)] = "models:/chest-xray@champion"
    """`models:/<name>@<alias>`, `models:/<name>/<version>`, or the folder of a bundle."""
    mlflow_tracking_uri: str = Field(default_factory=_repository_store)
    """Store of registered models; by default the repository's own."""
    model_poll_seconds: Seconds = 15.0
    """How often to look whether MODEL_URI means another model."""
    host: str = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8000
    """Port to listen on."""
    drain_seconds: Annotated[float, Field(ge=0)] = 1.0
    """After SIGTERM: how long `/readyz` says 503 and requests are still taken, before those in flight finish."""
    shutdown_seconds: Count = 20
    """How long requests in flight may take then; what is left is answered 503."""
    max_connections: Count = 1024
    """Connections at a time, fewer where the process may open few files; who waits the longest for nothing goes."""
    trusted_proxies: tuple[str, ...] = ()
    """Addresses of proxies, as JSON: `["10.0.0.1"]`; any other may have half of the connections."""
    head_seconds: Seconds = 10.0
    """How long a new connection may take to send the head of a request; then it is cut."""
    max_uploads: Count = 32
    """POST requests at a time, from their first bytes until they are answered; one more waits for a moment."""
    transfer_seconds: Seconds = 30.0
    """How long a request may take to arrive (else it is answered 408), and its answer to be taken."""
    max_pixels: Annotated[int, Field(ge=1, le=MAX_PIXELS)] = MAX_PIXELS
    """Largest image."""
    max_body_bytes: Count | None = None
    """Largest request; by default what an uncompressed image of MAX_PIXELS takes, see `body_limit`."""
    max_batch_files: Count = 32
    """Most files of one `/predict/batch`."""
    inference_threads: Annotated[int, Field(ge=0)] = 0
    """Threads of one inference; 0 takes all cores."""
    concurrency: Count = 1
    """Images worked on at the same time."""
    queue_length: Annotated[int, Field(ge=0)] = 16
    """Images that may wait; one more is answered 503."""
    heatmap_folder: Path = Field(default_factory=_temporary_folder)
    """Where a folder for linked heatmaps is made, which goes when the service ends; services of one user with the same
    heatmap folder find each other's, so that replicas share one."""
    heatmap_seconds: Seconds = 600.0
    """How long a linked heatmap can be fetched; services with the same heatmap folder must agree on it."""
    heatmap_bytes: Annotated[int, Field(ge=MEBIBYTE)] = 128 * MEBIBYTE
    """Disk for linked heatmaps; those that were not fetched the longest go first."""
    heatmap_count: Count = 1024
    """Most linked heatmaps at a time."""
    api_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    """What clients send as X-API-Key; without it the service is open to whoever reaches it."""
    cors_origins: tuple[str, ...] = ()
    """Web sites whose scripts may call, as JSON: `["https://radiology.example"]`."""

    @property
    def body_limit(self) -> int:
        """Bytes of the largest request: MAX_BODY_BYTES, or two bytes a pixel and 1 MiB for all else in a file."""
        return self.max_body_bytes or 2 * self.max_pixels + MEBIBYTE
