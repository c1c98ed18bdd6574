"""Fine-tune MobileNetV2 the plain way, as tutorials do: the recipe that ours is measured against.

Keras `fit` through the frozen network (Adam 1e-3, full class weights, 5 epochs), then Adam 1e-5 from layer 100 of
Keras's graph on, which lies in block 11 (5 epochs). Images are decoded from their files in every epoch, resized
whole, and seen in no other view. The ImageNet weights are the same as ours.
"""

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from chestxray.models.keras_model import backbone, set_weights
from chestxray.models.mobilenet_v2 import LayerWeights
from chestxray.models.pretrained_config import PretrainedConfig
from chestxray.params import ClassWeightingParams
from chestxray.training.class_weights import class_weights, weight_array

EPOCHS = 5
BATCH = 32
FIRST_TRAINED = "block_11_depthwise"
"""Layer 100 of Keras's graph is the activation before it, `block_11_expand_relu`, which has no weights."""


class Plain:
    """The plain classifier.

    Args:
        weights: of the backbone.
        config: of these weights.
        findings: what it learns, k names.
    """

    def __init__(self, weights: LayerWeights, config: PretrainedConfig, findings: Sequence[str]) -> None:
        keras.utils.set_random_seed(0)
        self._size = config.input_size
        self._findings = findings
        self._body = backbone(config)
        set_weights(self._body, weights)
        pooled = keras.layers.GlobalAveragePooling2D()(self._body.output)
        self._model = keras.Model(self._body.input, keras.layers.Dense(len(findings))(pooled))

    def fit(self, files: Sequence[Path], labels: npt.NDArray[np.int8]) -> None:
        """Train the head, then the deeper layers.

        Args:
            files: N images.
            labels: int8, N × k.
        """
        full = ClassWeightingParams(power=1.0, cap=1e6)
        weights = weight_array(class_weights(labels, self._findings, full), self._findings)
        positive_weight = tf.constant(weights, tf.float32)

        def loss(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
            return tf.nn.weighted_cross_entropy_with_logits(tf.cast(labels, tf.float32), logits, positive_weight)

        data = self._images(files, labels, shuffled=True).batch(BATCH).prefetch(tf.data.AUTOTUNE)
        first = [layer.name for layer in self._body.layers].index(FIRST_TRAINED)
        for learning_rate, frozen in ((1e-3, len(self._body.layers)), (1e-5, first)):
            for place, layer in enumerate(self._body.layers):
                layer.trainable = place >= frozen
            self._model.compile(keras.optimizers.Adam(learning_rate), loss)
            self._model.fit(data, epochs=EPOCHS, verbose=2)

    def logits(self, files: Sequence[Path]) -> npt.NDArray[np.float32]:
        """Compute the logits of N files, float32 N × k."""
        blank = np.zeros((len(files), len(self._findings)), np.int8)
        return np.asarray(self._model.predict(self._images(files, blank, shuffled=False).batch(BATCH), verbose=0))

    def _images(self, files: Sequence[Path], labels: npt.NDArray[np.int8], shuffled: bool) -> tf.data.Dataset:
        def load(file: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            pixels = tf.io.decode_png(tf.io.read_file(file), channels=1)
            return tf.image.resize(pixels, (self._size, self._size), antialias=True), labels

        data = tf.data.Dataset.from_tensor_slices(([str(file) for file in files], labels))
        if shuffled:
            data = data.shuffle(len(files), seed=0)
        return data.map(load, num_parallel_calls=tf.data.AUTOTUNE)
