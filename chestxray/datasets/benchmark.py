"""Select the benchmark, the fixed test images on which all versions are compared, and check that it is unchanged."""

from typing import Any

from chestxray.datasets.dataset import Dataset
from chestxray.errors import UserError
from chestxray.params import Params


class BenchmarkError(UserError):
    """The benchmark is not the one that `params.yaml` names."""


def benchmark_batches(params: Params) -> tuple[str, ...]:
    """Return the batches whose test patients are the benchmark: those in `evaluate.benchmark`, else the first."""
    return params.evaluate.benchmark or (next(iter(params.batches)),)


def benchmark_images(dataset: Dataset, batches: tuple[str, ...]) -> Dataset:
    """Return the test images of some batches."""
    studies = dataset.studies
    of_benchmark = (studies["split"] == "test") & studies["batch"].isin(batches)
    return Dataset(studies[of_benchmark].reset_index(drop=True), dataset.images)


def check_benchmark(benchmark: Dataset, expected: str | None) -> dict[str, Any]:
    """Describe the benchmark, and check its digest.

    Args:
        benchmark: its images.
        expected: SHA-256 of its findings, labels and pixels; None accepts any.

    Returns:
        `n` (images), `patients` (how many) and `sha256`.

    Raises:
        BenchmarkError: another digest.
    """
    digest = benchmark.digest
    if expected not in (None, digest):
        raise BenchmarkError(
            f"the benchmark's images, findings or labels changed: their SHA-256 is {digest}, "
            f"evaluate.benchmark_sha256 says {expected}; its {len(benchmark.findings)} findings are "
            f"{', '.join(benchmark.findings)}. "
            "Bring back the batches and the findings as they were; or, if the change is wanted, set "
            "evaluate.benchmark_sha256 to the new digest or to null: metrics before and after can't be compared then"
        )
    return {"n": len(benchmark.studies), "patients": len(set(benchmark.patients)), "sha256": digest}
