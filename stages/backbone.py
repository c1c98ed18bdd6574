"""Fetch the pre-trained weights of MobileNetV2."""

from pathlib import Path

from chestxray.models.pretrained import load_weights
from chestxray.models.weights import write_weights
from chestxray.params import load_params
from chestxray.tracking.mlflow_runs import stage_run
from stages import run_stage


def main() -> None:
    params = load_params()
    with stage_run("backbone", params):
        write_weights(load_weights(params.backbone), Path("models/backbone.weights.h5"))


if __name__ == "__main__":
    run_stage(main)
