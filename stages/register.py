"""Completes the pipeline's MLflow run and makes the bundle a version of the registered model."""

from pathlib import Path

from chestxray.bundle import bundle_digest
from chestxray.params import load_params
from chestxray.registry import register
from chestxray.reports import read_json, write_json
from chestxray.tracking import log_pipeline, open_store, pipeline_run, stage_run

BUNDLE = Path("models/bundle")
MARKER = Path(".mlflow/registered.json")


def main() -> None:
    params = load_params()
    with stage_run("register", params):
        pipeline = pipeline_run(open_store(), params)
        log_pipeline(pipeline, params, Path("reports"), read_json(BUNDLE / "bundle.json"))
        digest = bundle_digest(BUNDLE)
        version = register(pipeline, BUNDLE, params.register_.model, digest)
        print(f"{version.name} version {version.version}: bundle {digest[:12]}")
        write_json(MARKER, {"model": params.register_.model, "bundle_sha256": digest})


if __name__ == "__main__":
    main()
