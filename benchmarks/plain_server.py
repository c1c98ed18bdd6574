"""Serve the plain way: FastAPI around `keras.Model.predict`, and a gradient tape for each heatmap (Grad-CAM).

Run by `benchmarks.serving`. The weights are random, since only shapes matter for speed. It sees one view of the image,
ours two.
"""

import base64
import os

import cv2
import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import uvicorn
from fastapi import FastAPI, UploadFile

from chestxray.findings import FINDINGS
from chestxray.models.keras_model import backbone
from chestxray.models.pretrained_config import TORCHVISION

SIZE = 256

app = FastAPI()
body = backbone(TORCHVISION)
pooled = keras.layers.GlobalAveragePooling2D()(body.output)
scores = keras.layers.Dense(len(FINDINGS), activation="sigmoid")(pooled)
model = keras.Model(body.input, scores)
explained = keras.Model(body.input, [body.output, scores])


@app.get("/readyz")
def readyz() -> dict[str, bool]:
    """Answer: the server is ready as soon as it answers."""
    return {"ready": True}


@app.post("/predict")
def predict(file: UploadFile, heatmaps: str = "none") -> dict[str, object]:
    """Return probabilities, and all 14 overlays as base64 PNG unless `heatmaps` is none."""
    grey = np.asarray(cv2.imdecode(np.frombuffer(file.file.read(), np.uint8), cv2.IMREAD_GRAYSCALE))
    small = cv2.resize(grey, (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    offset = (SIZE - TORCHVISION.input_size) // 2
    image = small[None, offset:-offset, offset:-offset, None].astype(np.float32)
    (probabilities,) = model.predict(image, verbose=0)
    overlays = [] if heatmaps == "none" else [_overlay(grey, image, place) for place in range(len(FINDINGS))]
    return {"probabilities": probabilities.tolist(), "heatmaps": overlays}


def _overlay(grey: npt.NDArray[np.uint8], image: npt.NDArray[np.float32], place: int) -> str:
    with tf.GradientTape() as tape:
        activations, predictions = explained(image)
        score = predictions[:, place]
    weights = tf.reduce_mean(tape.gradient(score, activations), axis=(1, 2))
    heat = tf.nn.relu(tf.reduce_sum(activations * weights[:, None, None, :], axis=-1))[0].numpy()
    heat = cv2.resize(np.uint8(255 * heat / max(heat.max(), 1e-9)), (512, 512))
    large = cv2.cvtColor(cv2.resize(grey, (512, 512)), cv2.COLOR_GRAY2BGR)
    picture = cv2.addWeighted(large, 0.55, cv2.applyColorMap(heat, cv2.COLORMAP_INFERNO), 0.45, 0)
    return base64.b64encode(cv2.imencode(".png", picture)[1].tobytes()).decode()


if __name__ == "__main__":
    uvicorn.run(app, port=int(os.environ["PORT"]), log_level="warning")
