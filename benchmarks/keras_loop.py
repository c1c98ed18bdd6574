"""Score a folder of PNG files with `keras.Model.predict` over `image_dataset_from_directory`, one view of each image.

`python -m benchmarks.keras_loop NETWORK.npz FOLDER OUT.csv`, or without the last two to print how far the logits are
from those of the bundle that the network was taken from. It can't read DICOM.
"""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.pyfunc_loop import BATCH, write_scores
from chestxray.models.keras_model import backbone, set_weights
from chestxray.models.mobilenet_v2 import LayerWeights, kernels
from chestxray.models.pretrained_config import TORCHVISION
from chestxray.models.tensorflow import keras
from chestxray.models.weights import HEAD

Arrays = dict[str, npt.NDArray[Any]]


def network(arrays: Arrays) -> keras.Model:
    """Build what `benchmarks.single_view` took out of a bundle: grey pixels N × S × S × 1 to logits N × k."""
    weights: LayerWeights = {HEAD: [arrays["head_kernel"], arrays["head_bias"]]}
    convolutions = [convolution for convolution, _ in kernels(TORCHVISION.alpha)]
    for place, convolution in enumerate(convolutions):
        kernel, bias = arrays[f"kernel_{place}"], arrays[f"bias_{place}"]
        ones = np.ones_like(bias)
        weights[convolution.name] = [kernel.transpose((2, 3, 0, 1) if convolution.depthwise else (2, 3, 1, 0))]
        weights[convolution.batch_norm] = [ones, bias, 0 * ones, ones - np.float32(TORCHVISION.epsilon)]
    taps = tuple(f"{convolutions[place].name}_relu" for place in arrays["taps"])
    body = backbone(replace(TORCHVISION, input_size=int(arrays["sides"][1])))
    averages = [keras.layers.GlobalAveragePooling2D()(body.get_layer(tap).output) for tap in taps]
    features = keras.ops.concatenate(averages, axis=-1)
    model = keras.Model(body.input, keras.layers.Dense(len(arrays["head_bias"]), name=HEAD)(features))
    set_weights(model, weights)
    return model


def main() -> None:
    """Score a folder into a table, or print the difference."""
    with np.load(sys.argv[1]) as file:
        arrays = dict(file)
    model = network(arrays)
    size, input_size = arrays["sides"].tolist()
    centre = slice((size - input_size) // 2, (size + input_size) // 2)
    if len(sys.argv) == 2:
        logits = model.predict(arrays["images"][:, centre, centre, None], verbose=0)
        print(np.abs(logits - arrays["logits"]).max())
        return
    images = keras.utils.image_dataset_from_directory(
        sys.argv[2],
        labels=None,
        color_mode="grayscale",
        batch_size=BATCH,
        image_size=(size, size),
        shuffle=False,
        verbose=False,
    )
    logits = model.predict(images.map(lambda batch: batch[:, centre, centre]), verbose=0)
    write_scores(Path(sys.argv[3]), [Path(name) for name in images.file_paths], logits)


if __name__ == "__main__":
    main()
