"""Brings the weights of MobileNetV2."""

from pathlib import Path

from chestxray.backbone import load_weights
from chestxray.params import load_params
from chestxray.tracking import stage_run
from chestxray.weights_file import write_weights


def main() -> None:
    params = load_params()
    with stage_run("backbone", params):
        write_weights(load_weights(params.backbone), Path("models/backbone.weights.h5"))


if __name__ == "__main__":
    main()
