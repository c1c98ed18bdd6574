"""Brings the weights of MobileNetV2."""

from pathlib import Path

from chestxray.backbone import load_weights
from chestxray.network import write_weights
from chestxray.params import load_params
from chestxray.tracking import stage_run


def main() -> None:
    params = load_params()
    with stage_run("backbone", params):
        write_weights(load_weights(params.backbone), Path("models/backbone.weights.h5"), params.backbone)


if __name__ == "__main__":
    main()
