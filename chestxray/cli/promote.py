"""Make a version the champion by hand, whatever the gate said of it."""

import argparse

from chestxray.params import load_params
from chestxray.registry.versions import PREVIOUS, Registry
from chestxray.tracking.store import open_store, server_errors, store_lock


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("version", type=int, metavar="VERSION", help="its number in the registry")


def run(options: argparse.Namespace) -> int:
    """Move the alias champion to the version; the one before becomes `previous`, to which a rollback goes back."""
    name = load_params().register_.model
    store = open_store()
    with server_errors(store.tracking_uri), store_lock(store.tracking_uri, "registry"):
        before = Registry(store, name).promote_by_hand(options.version)
    was = f", version {before.number} is {PREVIOUS}" if before else ""
    print(f"{name}: champion is version {options.version}, by hand{was}")
    return 0
