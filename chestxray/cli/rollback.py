"""Give the champion's place back to the version before it."""

import argparse

from chestxray.params import load_params
from chestxray.registry.versions import PREVIOUS, Registry
from chestxray.tracking.store import open_store, server_errors, store_lock


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments: none."""


def run(options: argparse.Namespace) -> int:
    """Swap the aliases champion and previous; a second time does nothing but say so."""
    name = load_params().register_.model
    store = open_store()
    with server_errors(store.tracking_uri), store_lock(store.tracking_uri, "registry"):
        before, now = Registry(store, name).rollback()
    print(f"{now.name}: champion is version {now.number} again, version {before.number} is rolled back ({PREVIOUS})")
    return 0
