"""Measure what 8-bit integers cost and save: `python -m benchmarks.int8 --data ROOT`.

The model of each fold of patients, two taps with the head alone, is quantised by ONNX Runtime: static, per channel,
calibrated on training images. Both are then held against each other on the patients that neither has seen.
"""

import argparse
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process
from scipy.stats import rankdata

from benchmarks.laboratory import FINE, LAST, Deal, Laboratory, deals
from benchmarks.machine import machine
from benchmarks.quality import difference
from benchmarks.table import publish
from benchmarks.variants import head
from chestxray.findings import RESEARCH_USE_ONLY
from chestxray.inference.onnx_model import OnnxModel
from chestxray.labels import label_masks
from chestxray.params import load_params

CALIBRATED_ON = 64
"""Training images."""
ROUNDS = 60
"""Inferences of one image that are timed, of both models in turn."""
IMAGES_AT_ONCE = 16


class _Images(CalibrationDataReader):  # type: ignore[misc] # ONNX Runtime has no types
    """Give images to the calibration, one at a time."""

    def __init__(self, images: npt.NDArray[np.uint8]) -> None:
        self._inputs = iter([{"image": image[None]} for image in images])

    def get_next(self) -> dict[str, npt.NDArray[np.uint8]] | None:
        """Return the next image, None behind the last."""
        return next(self._inputs, None)


def quantise(model: onnx.ModelProto, images: npt.NDArray[np.uint8], folder: Path) -> OnnxModel:
    """Return the model with convolutions in 8-bit integers, those of the head in floats.

    Args:
        model: the classifier.
        images: uint8 n × S × S × 1, by which the ranges of the activations are found.
        folder: for the files that ONNX Runtime wants.
    """
    plain, inferred, quantised = (folder / f"{name}.onnx" for name in ("plain", "inferred", "quantised"))
    onnx.save(model, plain)
    quant_pre_process(plain, inferred, skip_symbolic_shape=True)
    heads = [node.name for node in onnx.load(inferred).graph.node if node.name.endswith("_maps")]
    quantize_static(
        inferred,
        quantised,
        _Images(images),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=["Conv", "Add"],
        per_channel=True,
        reduce_range=not _has_vnni(),
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
        nodes_to_exclude=heads,
    )
    return OnnxModel(quantised)


def _has_vnni() -> bool:
    """Return whether the processor multiplies 8-bit integers without the risk of an overflow at 16 bits."""
    return "vnni" in Path("/proc/cpuinfo").read_text()


def predict(model: OnnxModel, lab: Laboratory, rows: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.float32], Any]:
    """Return logits, m × k, and maps, m × h × w × k, of some images."""
    parts = [
        model.outputs(lab.pixels(rows[start : start + IMAGES_AT_ONCE])) for start in range(0, len(rows), IMAGES_AT_ONCE)
    ]
    return np.concatenate([part.logits for part in parts]), np.concatenate([part.maps for part in parts])


def map_correlations(ours: npt.NDArray[np.float32], theirs: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return Pearson's correlation of the cells of each image's and finding's two maps, n × k."""
    flat = [maps.reshape(len(maps), -1, maps.shape[-1]).astype(np.float64) for maps in (ours, theirs)]
    a, b = (maps - maps.mean(axis=1, keepdims=True) for maps in flat)
    return np.asarray((a * b).sum(axis=1) / np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1)))


def milliseconds(models: list[OnnxModel], image: npt.NDArray[np.uint8]) -> list[float]:
    """Return the median time of one inference, the models in turn."""
    times = np.zeros((ROUNDS, len(models)))
    for round_ in range(-5, ROUNDS):  # the first ones warm up
        for place, model in enumerate(models):
            started = time.perf_counter()
            model.outputs(image)
            times[round_, place] = 1000 * (time.perf_counter() - started)
    return [float(value) for value in np.median(times, axis=0)]


def main() -> None:
    """Print the table, or write it to a folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("data/raw/phantom"), help="a batch in NIH layout")
    parser.add_argument("--folds", type=int, default=3)
    parser.add_argument("--out", type=Path, help="a folder for int8.md and int8.json")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        lab = Laboratory(options.data, load_params(), Path(folder))
        dealt = deals(lab, 1, options.folds, opened=False)[0]
        ranks = np.full((2, 1, *lab.dataset.labels.shape), np.nan)
        correlations = []
        for deal in dealt:
            models = _models(lab, deal, Path(folder))
            found = [predict(model, lab, deal.test) for model in models]
            for place, (logits, _) in enumerate(found):
                ranks[place, 0, deal.test] = rankdata(logits, axis=0) / len(deal.test)
            correlations.append(map_correlations(found[0][1], found[1][1]))
        tested = np.sort(np.concatenate([deal.test for deal in dealt]))
        labels = label_masks(lab.dataset.labels[tested], lab.dataset.findings)
        gain = difference(labels, ranks[1][:, tested], ranks[0][:, tested], lab.dataset.patients[tested])
        together = np.concatenate(correlations)
        times = milliseconds(models, lab.pixels(dealt[0].test[:1]))
        row = {
            "mean AUROC, 8 bits against 32 (95 %)": f"{gain.value:+.4f} ({gain.low:+.4f} to {gain.high:+.4f})",
            "correlation of maps, median": f"{np.median(together):.3f}",
            "of maps, 5th percentile": f"{np.percentile(together, 5):.3f}",
            "inference, 32 bits": f"{times[0]:.1f} ms",
            "inference, 8 bits": f"{times[1]:.1f} ms",
            "ratio": f"{times[0] / times[1]:.2f}",
        }
    people = len(set(lab.dataset.patients[tested]))
    kind = "synthetic phantoms" if lab.dataset.synthetic else "radiographs"
    heading = f"{len(tested)} {kind} of {people} patients, {options.folds} folds; {machine()}. {RESEARCH_USE_ONLY}"
    publish("int8", heading, [row], {"milliseconds": times}, options.out)


def _models(lab: Laboratory, deal: Deal, folder: Path) -> list[OnnxModel]:
    """Train on a fold; return the model in floats and in integers."""
    network = head((FINE, LAST))(lab, deal, 0)
    graph = lab.graph(network)
    return [OnnxModel(graph.SerializeToString()), quantise(graph, lab.pixels(deal.train[:CALIBRATED_ON]), folder)]


if __name__ == "__main__":
    main()
