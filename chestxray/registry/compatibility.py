"""Compare how a registered version was made with how this run is made, and which findings two versions share."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import pandas as pd

from chestxray.datasets.split import split_fingerprint
from chestxray.inference.card import Card
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
    return facts


class SharedFindings(NamedTuple):
    """The findings of two versions.

    Attributes:
        shared: those of both, in the champion's order.
        champion_only: those that the challenger does not know.
        challenger_only: those that the champion does not know.
    """

    shared: tuple[str, ...]
    champion_only: tuple[str, ...]
    challenger_only: tuple[str, ...]

    def sentence(self) -> str:
        """Say on what the two are compared; empty if their findings are the same."""
        sides = {"champion": self.champion_only, "challenger": self.challenger_only}
        alone = [f"only the {side} predicts {', '.join(names)}" for side, names in sides.items() if names]
        findings = "finding" if len(self.shared) == 1 else "findings"
        return "; ".join([f"Compared on the {len(self.shared)} {findings} of both", *alone]) + "." if alone else ""


def shared_findings(champion: Sequence[str], challenger: Sequence[str]) -> SharedFindings:
    """Compare the findings of two versions."""
    return SharedFindings(
        shared=tuple(name for name in champion if name in challenger),
        champion_only=tuple(name for name in champion if name not in challenger),
        challenger_only=tuple(name for name in challenger if name not in champion),
    )
