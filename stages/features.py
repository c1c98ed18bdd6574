"""Compute the features of one batch with the frozen part of the network: `python -m stages.features <batch>`."""

from pathlib import Path

from chestxray.datasets.dataset import BatchFolders, load_images
from chestxray.models.onnx_graph import features_graph
from chestxray.models.pretrained_config import pretrained_config
from chestxray.models.weights import read_weights
from chestxray.params import load_params
from chestxray.tracking.mlflow_runs import stage_run
from chestxray.training.features import write_features
from stages import run_stage


def main(batch: str) -> None:
    params = load_params()
    params.batch(batch)
    folders = BatchFolders(batch)
    with stage_run("features", params, batch):
        config = pretrained_config(params.backbone, params.head)
        weights = read_weights(Path("models/backbone.weights.h5"), config.alpha)
        start = params.fine_tune.from_layer
        cached = params.features.cache_activations and start != "input"
        graph = features_graph(weights, config, start if cached else None)
        write_features(
            load_images(folders),
            graph.SerializeToString(deterministic=True),
            config.input_size,
            params.features,
            out=folders.features,
            scratch=Path(".cache/features"),
        )


if __name__ == "__main__":
    run_stage(main)
