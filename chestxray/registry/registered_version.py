"""Keep what belongs to a version of the model in MLflow: its bundle, its weights, its logits, and the verdict on it."""

import hashlib
import logging
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from chestxray.errors import UserError
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import CARD, Card, bundle_digest, read_card
from chestxray.models.weights import read_weights
from chestxray.registry.network_digest import network_digest
from chestxray.system.files import read_json
from chestxray.tracking.mlflow_runs import Run

DIGEST = "chestxray.bundle_sha256"
WEIGHTS_DIGEST = "chestxray.weights_sha256"
NETWORK_DIGEST = "chestxray.network_sha256"
LOGITS_DIGEST = "chestxray.opinions_sha256"  # the older name, which stored versions keep
VERDICT = "chestxray.verdict"
"""Tags of a version."""
ROLLED_BACK = "rolled back"
"""Value of the tag `VERDICT` after a rollback."""

MODEL_FOLDER = "model"
WEIGHTS_FOLDER = "weights"
LOGITS_FILE = "opinions/logits.parquet"  # so here
VERDICT_FOLDER = "verdict"
"""Where a version's files lie, below `artifact_path`."""
VERDICT_FILE = "promotion.json"
FLIPS_FILE = "flips.csv"


class RegistryError(UserError):
    """The registry has no such version or alias, or its files are gone; the message says what to do."""


def artifact_path(digest: str, what: str) -> str:
    """Return the folder of a version's files among the artifacts of its run, which may have made several bundles."""
    return f"versions/{digest[:16]}/{what}"


def same_weights(verdict: dict[str, Any]) -> str:
    """Return " (same weights as version 1, recalibrated)" where a verdict finds it so, else nothing."""
    original = verdict.get("same_weights_as")  # older verdicts don't say
    return f" (same weights as version {original}, recalibrated)" if original else ""


class RegisteredVersion:
    """A version of the registered model, with its files.

    Args:
        client: of the MLflow store.
        entity: as MLflow has it, tagged with the digest of its bundle.

    Attributes:
        name: of the registered model.
        number: of the version.
        digest: SHA-256 of its `bundle.json`.
        verdict_tag: what was decided on it, in short; None if nothing was yet.
    """

    def __init__(self, client: MlflowClient, entity: ModelVersion) -> None:
        self._client = client
        self._tags = dict(entity.tags)
        self._run = Run(client, entity.run_id)
        self.name = str(entity.name)
        self.number = int(entity.version)
        self.digest = str(entity.tags[DIGEST])
        self.verdict_tag: str | None = self._tags.get(VERDICT)

    def tag(self, name: str, value: str) -> None:
        """Set a tag."""
        self._client.set_model_version_tag(self.name, str(self.number), name, value)
        self._tags[name] = value

    def bundle(self, folder: str) -> Bundle:
        """Fetch the bundle into a folder and open it.

        Raises:
            RegistryError: its files are gone, or not those registered.
            BundleError: they are damaged.
        """
        mend = f"delete version {self.number} of {self.name} from the registry"
        try:
            path = self._fetch(MODEL_FOLDER, folder)
            same = bundle_digest(path) == self.digest
        except (MlflowException, OSError) as error:
            raise RegistryError(f"the files of version {self.number} are gone ({error}): {mend}") from error
        if not same:
            raise RegistryError(f"the files of version {self.number} are not those registered: {mend}")
        return Bundle(path)

    def card(self, folder: str) -> Card:
        """Fetch the card alone.

        Raises:
            MlflowException, OSError, BundleError: it is gone or damaged.
        """
        return read_card(self._fetch(f"{MODEL_FOLDER}/{CARD}", folder))

    def weights(self, folder: str) -> Path:
        """Fetch the `.weights.h5` file from which a warm start goes on.

        Raises:
            MlflowException, OSError, ValueError: it is gone, or not the one registered.
        """
        (file,) = self._fetch(WEIGHTS_FOLDER, folder).iterdir()
        if hashlib.sha256(file.read_bytes()).hexdigest() != self._tags.get(WEIGHTS_DIGEST):
            raise ValueError("the weights are not those registered")
        return file

    def network_digest(self) -> str | None:
        """Return `network_digest` of its weights, kept as a tag once computed; None, which is logged, without them."""
        if NETWORK_DIGEST not in self._tags:
            try:
                with tempfile.TemporaryDirectory() as folder:
                    card = self.card(folder)
                    alpha = card.param("backbone.alpha")
                    weights = read_weights(self.weights(folder), alpha, len(card.findings), card.taps)
            except (MlflowException, OSError, ValueError) as error:
                message = "whether version %s is the network of another one can't be told: %s"
                logging.getLogger(__name__).warning(message, self.number, error)
                return None
            self.tag(NETWORK_DIGEST, network_digest(weights, card.findings))
        return str(self._tags[NETWORK_DIGEST])

    @property
    def has_logits(self) -> bool:
        """Whether logits were kept with it."""
        return LOGITS_DIGEST in self._tags

    def logits(self, findings: Sequence[str]) -> pd.DataFrame:
        """Return the logits that were kept: index the content hash of an image, columns its `findings`, float32.

        Without rows if there are none, or the file is lost or not what was written.
        """
        with tempfile.TemporaryDirectory() as folder, suppress(MlflowException, OSError):
            if self.has_logits:
                content = self._fetch(LOGITS_FILE, folder).read_bytes()
                if hashlib.sha256(content).hexdigest() == self._tags[LOGITS_DIGEST]:
                    return pd.read_parquet(BytesIO(content))
        return pd.DataFrame(columns=list(findings), dtype=np.float32)

    def keep_logits(self, logits: pd.DataFrame) -> None:
        """Keep logits, as `logits` returns them; where that fails, they are computed again another time.

        The digest comes last: until then, and if another process writes at the same time, the file does not count.
        """
        folder, name = LOGITS_FILE.split("/")
        try:
            with tempfile.TemporaryDirectory() as temporary:
                file = Path(temporary, name)
                logits.to_parquet(file)
                self._run.log_artifact(file, artifact_path(self.digest, folder))
                self.tag(LOGITS_DIGEST, hashlib.sha256(file.read_bytes()).hexdigest())
        except (MlflowException, OSError) as error:
            message = "logits of version %s can't be kept, they will be computed again: %s"
            logging.getLogger(__name__).warning(message, self.number, error)

    def verdict(self) -> tuple[dict[str, Any], pd.DataFrame] | None:
        """Return the verdict and the flips that were kept; None if there are none."""
        with tempfile.TemporaryDirectory() as folder, suppress(MlflowException, OSError):
            files = self._fetch(VERDICT_FOLDER, folder)
            return read_json(files / VERDICT_FILE), pd.read_csv(files / FLIPS_FILE, dtype={"patient": str})
        return None

    def keep_verdict(self, verdict: dict[str, Any], reports: Path) -> None:
        """Keep the verdict and its flips, files of the folder `reports`, and tag the version with it.

        The tag of a version that was rolled back stays.
        """
        for name in (VERDICT_FILE, FLIPS_FILE):
            self._run.log_artifact(reports / name, artifact_path(self.digest, VERDICT_FOLDER))
        if self.verdict_tag != ROLLED_BACK:
            against = f" against version {verdict['champion']}" if verdict["champion"] else ""
            self.tag(VERDICT, f"{verdict['decision']}{against}{same_weights(verdict)}")

    def _fetch(self, what: str, folder: str) -> Path:
        path = artifact_path(self.digest, what)
        return Path(self._client.download_artifacts(self._run.run_id, path, folder))
