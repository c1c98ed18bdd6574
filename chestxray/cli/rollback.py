"""Give the champion's place back to the version before it."""

import argparse

from chestxray.params import load_params
from chestxray.registry.versions import PREVIOUS, Registry
from chestxray.tracking.mlflow_runs import one_at_a_time, open_store


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


def run(options: argparse.Namespace) -> int:
    """Swap the aliases champion and previous; a second time takes that back."""
    name = load_params().register_.model
    store = open_store()
    with one_at_a_time(store.tracking_uri, "registry"):
        before, now = Registry(store, name).rollback()
    print(f"{now.name}: champion is version {now.number} again, version {before.number} is {PREVIOUS}")
    return 0
