"""Measure how far the stages are from what the machine can do: `python -m benchmarks.limits --data ROOT`.

A stage that decodes is held against inflating the same files, and stages that compute against the machine's rate of
matrix products in 32-bit floats, both on all cores. Only multiplications and additions of convolutions and of the head
are counted, so reading, activations and normalisation weigh on a stage's share.
"""

import argparse
import math
import tempfile
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
from PIL import Image

from benchmarks.laboratory import FINE, LAST, Deal, Laboratory
from benchmarks.machine import machine
from benchmarks.table import Row, publish
from benchmarks.variants import head
from chestxray.datasets.batch import read_batch
from chestxray.datasets.decode import decode_batch
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.models.onnx_graph import classifier_graph, features_graph, prefix_graph
from chestxray.params import load_params
from chestxray.system.parallel import parallel_map
from chestxray.training.features import write_features
from chestxray.training.fine_tuning import fine_tune
from chestxray.training.images import cached_images
from chestxray.training.linear_head import fit_head

PASSES = 3
"""Over a network that is trained: its outputs, and the gradients by inputs and by weights."""
PRODUCT = 1536
"""Side of the matrices that the machine's rate is measured with."""
EPOCHS = (1, 3)
"""Whose difference in seconds is that of epochs alone."""


@dataclass(frozen=True)
class Limit:
    """A stage, and what limits it.

    Attributes:
        stage: its name.
        unit: what is counted.
        rate: of the stage, units a second.
        limit: what it is held against.
        most: that many units a second.
    """

    stage: str
    unit: str
    rate: float
    limit: str
    most: float

    def row(self) -> Row:
        """Return the line of the table."""
        return {
            "stage": self.stage,
            "a second": f"{self.rate:,.1f} {self.unit}",
            "limit": f"{self.most:,.1f} by {self.limit}",
            "share of the limit": f"{100 * self.rate / self.most:.0f} %",
        }


def seconds(work: Callable[[], object], rounds: int = 1) -> float:
    """Return the least time that some work takes."""
    times = []
    for _ in range(rounds):
        started = time.monotonic()
        work()
        times.append(time.monotonic() - started)
    return min(times)


def gigaflop(model: onnx.ModelProto) -> float:
    """Count the multiplications and additions of the convolutions for one image, in 10⁹."""
    fixed = onnx.ModelProto()
    fixed.CopyFrom(model)
    fixed.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    inferred = onnx.shape_inference.infer_shapes(fixed, data_prop=True)
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in inferred.graph.value_info
    }
    kernels = {constant.name: constant.dims for constant in fixed.graph.initializer}
    convolutions = [node for node in fixed.graph.node if node.op_type == "Conv"]
    counts: list[int] = [
        2 * math.prod(shapes[node.output[0]]) * math.prod(kernels[node.input[1]][1:]) for node in convolutions
    ]
    return sum(counts) / 1e9


def product_rate() -> float:
    """Measure the machine's rate of matrix products, 10⁹ operations a second."""
    a, b = np.random.default_rng(0).normal(size=(2, PRODUCT, PRODUCT)).astype(np.float32)
    return 2 * PRODUCT**3 / seconds(lambda: a @ b, rounds=20) / 1e9


def compressed(file: Path) -> bytes:
    """Return the compressed pixels of a PNG file."""
    content = file.read_bytes()
    found, at = [], 8
    while at < len(content):
        length = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == b"IDAT":
            found.append(content[at + 8 : at + 8 + length])
        at += length + 12
    return b"".join(found)


def measure_decoding(root: Path, lab: Laboratory, scratch: Path) -> Limit:
    """Hold `decode` against inflating the PNG files of a batch."""
    files = [file for file in read_batch(root, lab.params.vocabulary).paths.values() if file.suffix == ".png"]
    pixels = [compressed(file) for file in files]
    ours = seconds(lambda: decode_batch(root, scratch / "decoded", lab.params.prepare.size), rounds=3)
    least = seconds(lambda: list(parallel_map(lambda part: len(zlib.decompress(part)), pixels, 64)), rounds=3)
    side = "×".join(map(str, Image.open(files[0]).size))
    return Limit("decode", f"images of {side}", len(files) / ours, "zlib's inflate alone", len(files) / least)


def measure_features(lab: Laboratory, rate: float, scratch: Path) -> Limit:
    """Hold `features` against the machine's rate."""
    graph = features_graph(lab.pretrained, lab.config((FINE, LAST)), lab.params.fine_tune.from_layer)
    params, size = lab.params.features, lab.params.backbone.input_size
    content = graph.SerializeToString()
    took = seconds(lambda: write_features(lab.dataset, content, size, params, scratch / "f", scratch / "partial"))
    views = len(lab.dataset.studies) * params.views
    return Limit("features", "views", views / took, "matrix products", rate / gigaflop(graph))


def measure_head(lab: Laboratory, rate: float) -> Limit:
    """Hold the passes of `train` over the features against the machine's rate."""
    rows = np.arange(len(lab.dataset.studies))
    features = lab.features(rows, (FINE, LAST), lab.params.features.views)
    params = lab.params.train.model_copy(update={"l2": 3.0})
    weights = lab.class_weights(rows)
    started = time.monotonic()
    fitted = fit_head(features, weights, params)
    took = time.monotonic() - started
    columns = (params.folds + 1) * int((weights > 0).sum())
    views = len(rows) * lab.params.features.views * (len(fitted.curve) + 1)
    one = 2 * 2 * features.pooled[0].shape[-1] * columns / 1e9  # products with the features and with their transpose
    return Limit("train", "views a pass", views / took, "matrix products", rate / one)


def measure_fine_tuning(lab: Laboratory, rate: float) -> list[Limit]:
    """Hold an epoch of `fine_tune` against the machine's rate, and against reading the activations."""
    taps = (FINE, LAST)
    every = np.arange(len(lab.dataset.studies))
    few, train = every[:16], every[16:]
    start = head(taps)(lab, _all_train(lab, train), 0)
    layer = lab.params.fine_tune.from_layer
    images, chosen_by = (
        cached_images(lab.features(rows, taps, lab.params.features.views), start.config, layer) for rows in (train, few)
    )
    weights = lab.class_weights(train)

    def tune(epochs: int) -> float:
        params = lab.params.fine_tune.model_copy(update={"epochs": epochs})
        return seconds(lambda: fine_tune(images, chosen_by, start.weights, weights, start.config, params))

    times = [tune(epochs) for epochs in EPOCHS]
    per_second = len(train) * (EPOCHS[1] - EPOCHS[0]) / (times[1] - times[0])
    whole = classifier_graph(start.weights, start.config, lab.params.prepare.size, lab.dataset.findings)
    trained = gigaflop(whole) / 2 - gigaflop(prefix_graph(start.weights, start.config, layer))
    read = seconds(lambda: [images.load(part, part % 2) for part in np.array_split(np.arange(len(train)), 32)])
    return [
        Limit("fine_tune", "images", per_second, "matrix products", rate / (PASSES * trained)),
        Limit("fine_tune", "images", per_second, "reading the activations", len(train) / read),
    ]


def _all_train(lab: Laboratory, rows: npt.NDArray[np.intp]) -> Deal:
    return Deal(rows, rows[:0], rows[:0])


def measure_prediction(lab: Laboratory, rate: float) -> Limit:
    """Hold the model's outputs, of both views of an image, against the machine's rate."""
    rows = np.arange(min(200, len(lab.dataset.studies)))
    network = head((FINE, LAST))(lab, _all_train(lab, rows), 0)
    model = lab.model(network, rows)
    images = np.array_split(rows, max(1, len(rows) // 16))
    took = seconds(lambda: [model.outputs(lab.pixels(part)) for part in images], rounds=2)
    return Limit("evaluate", "images", len(rows) / took, "matrix products", rate / gigaflop(lab.graph(network)))


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw/phantom"), help="a batch in NIH layout")
    parser.add_argument("--decode", type=Path, help="a batch of PNG files to decode; default: the same")
    parser.add_argument("--out", type=Path, help="a folder for limits.md and limits.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        lab = Laboratory(options.data, load_params(), scratch / "laboratory")
        rate = product_rate()
        limits = [
            measure_decoding(options.decode or options.data, lab, scratch),
            measure_features(lab, rate, scratch),
            measure_head(lab, rate),
            *measure_fine_tuning(lab, rate),
            measure_prediction(lab, rate),
        ]
    heading = f"{machine()}; matrix products at {rate:.0f} GFLOP/s. {RESEARCH_USE_ONLY}"
    publish("limits", heading, [limit.row() for limit in limits], {"products": rate}, options.out)


if __name__ == "__main__":
    main()
