"""Compare how a registered version was made with how this run is made."""

from typing import Any

import pandas as pd

from chestxray.datasets.split import split_fingerprint
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import Card
from chestxray.params import Params


def shared_facts(card: Card, params: Params, test: pd.DataFrame) -> dict[str, tuple[Any, Any]]:
    """Return what a version and this run must have in common: by name, the version's value and this run's.

    The split decides which patients are test: a version made with another one may have been trained on them.

    Args:
        card: of the version.
        params: of this run.
        test: the test studies of this run.

    Raises:
        BundleError: the card does not say.
    """
    facts: dict[str, tuple[Any, Any]] = {}
    for key in ("test", "validation", "salt"):
        facts[f"prepare.{key}"] = (card.param(f"prepare.{key}"), getattr(params.prepare, key))
    for batch, drawn in split_fingerprint(test, params.prepare).items():
        if batch in card.test_draws:
            facts[f"test patients of batch {batch}"] = (card.test_draws[batch], drawn)
    facts["prepare.size"] = (card.param("prepare.size"), params.prepare.size)
    facts["findings"] = (card.findings, FINDINGS)
    return facts
