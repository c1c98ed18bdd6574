"""What the service's process keeps and needs at most, held against other memory of the same run."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient

from benchmarks.footprint import Footprint, measure_footprint
from benchmarks.process import serving
from chestxray.inference.card import CARD, bundle_digest
from chestxray.registry.registered_version import DIGEST
from chestxray.registry.versions import CHAMPION
from tests.repository import TOP

pytestmark = [pytest.mark.slow, pytest.mark.heavy]


@pytest.fixture(scope="module")
def footprint(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Footprint]:
    """Of a service that follows a registry, with the repository's bundle, or a small one where it was not made."""
    folder, made = tmp_path_factory.mktemp("memory"), TOP / "models" / "bundle"
    served, store = made if (made / CARD).is_file() else bundle, f"sqlite:///{folder / 'mlflow.db'}"
    registry = MlflowClient(store)
    registry.create_registered_model("chest-xray")
    registry.create_model_version("chest-xray", served.resolve().as_uri(), tags={DIGEST: bundle_digest(served)})
    registry.set_registered_model_alias("chest-xray", CHAMPION, "1")
    with serving(folder, f"models:/chest-xray@{CHAMPION}", mlflow_tracking_uri=store) as server:
        yield measure_footprint(server, served, predictions=100)


def test_a_hundred_predictions_leave_nothing_behind(footprint: Footprint) -> None:
    assert footprint.later < 1.1 * footprint.warm


def test_the_service_needs_little_beside_its_libraries_and_its_model(footprint: Footprint) -> None:
    """MLflow or pandas in it would double its process."""
    assert footprint.later < 2 * footprint.bare


def test_uploads_wait_on_disk(footprint: Footprint) -> None:
    """One at a time is in memory, as a file and as pixels."""
    assert footprint.uploads < footprint.sent / 2
    assert footprint.batches < footprint.sent / 2


def test_answers_of_a_batch_leave_as_they_are_made(footprint: Footprint) -> None:
    assert footprint.long_batch < footprint.short_batch + footprint.long_answer / 2


def test_the_process_for_codecs_is_small_and_gives_back_what_a_film_took(footprint: Footprint) -> None:
    assert footprint.codecs < footprint.bare / 2
    assert footprint.films < 12 * footprint.film
