"""Passes one batch through the frozen part of the network: `python -m stages.features <batch>`."""

import sys
from pathlib import Path

from chestxray.dataset import load_dataset
from chestxray.features import write_features
from chestxray.mobilenet import convention_of
from chestxray.onnx_graph import features_graph
from chestxray.params import load_params
from chestxray.tracking import stage_run
from chestxray.weights_file import read_weights


def main(batch: str) -> None:
    params = load_params()
    with stage_run("features", params, batch):
        weights = read_weights(Path("models/backbone.weights.h5"), params.backbone)
        start = params.fine_tune.from_layer
        graph = features_graph(
            weights,
            params.backbone.alpha,
            convention_of(params.backbone.weights),
            params.backbone.input_size,
            None if start == "input" else start,
        )
        write_features(
            load_dataset([Path("data/prepared", batch)]),
            graph.SerializeToString(deterministic=True),
            params.backbone.input_size,
            params.features,
            out=Path("data/features", batch),
            scratch=Path(".cache/features"),
        )


if __name__ == "__main__":
    main(sys.argv[1])
