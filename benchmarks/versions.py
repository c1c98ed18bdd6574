"""Move an alias between two registered versions under load, and check every answer against its version."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from mlflow import MlflowClient

from benchmarks.client import PREDICT, form
from benchmarks.crowd import Crowd
from benchmarks.process import serving
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import resize
from chestxray.inference.bundle import MODEL, Bundle
from chestxray.inference.card import bundle_digest, write_card
from chestxray.registry.registered_version import DIGEST
from chestxray.registry.versions import CHAMPION

NAME = "chest-xray"


def change_aliases(folder: Path, bundles: tuple[Path, Path], file: bytes, times: int) -> dict[str, float]:
    """Move the alias while two clients ask, and compare every answer's numbers with the version that it names.

    Args:
        folder: for the store.
        bundles: version 1 and version 2; their predictions must differ.
        file: a radiograph.
        times: how often to move it.
    """
    store = f"sqlite:///{folder / 'mlflow.db'}"
    registry = MlflowClient(store)
    registry.create_registered_model(NAME)
    expected = {}
    for bundle in bundles:
        tags = {DIGEST: bundle_digest(bundle)}
        version = registry.create_model_version(NAME, bundle.resolve().as_uri(), tags=tags).version
        expected[str(version)] = _probabilities(bundle, file)
    registry.set_registered_model_alias(NAME, CHAMPION, "1")
    settings = {"mlflow_tracking_uri": store, "model_poll_seconds": 0.05}
    with (
        serving(folder, f"models:/{NAME}@{CHAMPION}", **settings) as server,
        Crowd(server.port, [(PREDICT, form(file))], 2).asking() as crowd,
    ):
        for change in range(times):
            version = "12"[(change + 1) % 2]
            registry.set_registered_model_alias(NAME, CHAMPION, version)
            server.wait_for("/readyz", said=f'"version":"{version}"'.encode())
    answers = [answer.json() for answer in crowd.answers if answer.status == 200]
    wrong = sum(not _agrees(answer, expected) for answer in answers)
    versions = [answer["model"]["version"] for answer in answers]
    return {
        "changes": times,
        "requests": len(crowd.answers) + len(crowd.errors),
        "errors": len(crowd.errors) + len(crowd.answers) - len(answers),
        "answers of version 1": versions.count("1"),
        "answers of version 2": versions.count("2"),
        "answers whose numbers are another version's": wrong,
    }


def other_bundle(bundle: Path, folder: Path) -> Path:
    """Make a bundle that differs in the head: its kernels are halved, its bias kept."""
    folder.mkdir(parents=True)
    model = onnx.load(bundle / MODEL)
    for head in (tensor for tensor in model.graph.initializer if tensor.name.startswith("head_")):
        head.CopyFrom(onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(head) / 2, head.name))
    content = model.SerializeToString()
    (folder / MODEL).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    write_card(Bundle(bundle).card.model_copy(update={"model_sha256": digest}), folder)
    return folder


def _probabilities(bundle: Path, file: bytes) -> dict[str, float]:
    opened = Bundle(bundle)
    (probabilities,), _ = opened.predict(resize(decode(file).pixels, opened.card.size)[None, ..., None])
    return dict(zip(opened.card.findings, probabilities.tolist(), strict=True))


def _agrees(answer: dict[str, Any], expected: dict[str, dict[str, float]]) -> bool:
    wanted = expected[answer["model"]["version"]]
    numbers = {f["name"]: f["score"] if f["probability"] is None else f["probability"] for f in answer["findings"]}
    return all(np.isclose(number, wanted[name], atol=1e-5) for name, number in numbers.items() if number is not None)
