"""A service on a machine with half a gibibyte: what its process keeps, and what it needs at most."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mlflow import MlflowClient

from benchmarks.client import PREDICT, Client, form
from benchmarks.process import serving
from chestxray.inference.bundle import CARD, bundle_digest
from chestxray.registry.registered_version import DIGEST
from chestxray.registry.versions import CHAMPION
from serve.settings import REPOSITORY
from tests.serve.files import encoded

pytestmark = pytest.mark.slow
HEATMAPS = f"{PREDICT}?heatmaps=inline&heatmaps_for=all"


@pytest.fixture
def store(bundle: Path, tmp_path: Path) -> str:
    """A registry whose champion is the repository's bundle, or where that was not made yet the small one."""
    made = REPOSITORY / "models" / "bundle"
    served, address = made if (made / CARD).is_file() else bundle, f"sqlite:///{tmp_path / 'mlflow.db'}"
    registry = MlflowClient(address)
    registry.create_registered_model("chest-xray")
    registry.create_model_version("chest-xray", served.resolve().as_uri(), tags={DIGEST: bundle_digest(served)})
    registry.set_registered_model_alias("chest-xray", CHAMPION, "1")
    return address


def test_memory_stays_within_its_bounds(store: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    ordinary = form(encoded(rng.integers(256, size=(1024, 1024), dtype=np.uint8)))
    large = form(encoded(rng.integers(65536, size=(3160, 3160), dtype=np.uint16), compress_level=0))
    assert 18 * 2**20 < len(large) < 20 * 2**20
    with serving(tmp_path, f"models:/chest-xray@{CHAMPION}", mlflow_tracking_uri=store) as server:
        with Client(server.port) as client:
            assert all(client.post(HEATMAPS, ordinary).status == 200 for _ in range(100))
        assert server.resident() < 200

        def upload(_: int) -> int:
            with Client(server.port) as client:
                return client.post(HEATMAPS, large).status

        server.reset_peak()
        with ThreadPoolExecutor(8) as clients:
            assert list(clients.map(upload, range(8))) == [200] * 8
        assert server.peak() < 350
        assert server.resident() < 200


def test_batches_stay_within_the_bounds_too(store: str, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(256, size=(980, 980), dtype=np.uint8)
    with serving(tmp_path, f"models:/chest-xray@{CHAMPION}", mlflow_tracking_uri=store) as server:

        def upload(path: str, files: int) -> int:
            with Client(server.port) as client:
                answers = client.post(path, form(*[encoded(noise)] * files)).json()["answers"]
                return sum("findings" in answer for answer in answers)

        server.reset_peak()
        with ThreadPoolExecutor(8) as clients:
            assert list(clients.map(lambda _: upload("/predict/batch", 20), range(8))) == [20] * 8
        assert upload("/predict/batch?heatmaps=inline&heatmaps_for=all", 8) == 8
        assert server.peak() < 350
