"""Show the runs and the registered model on MLflow's page."""

import argparse
import os
import socket
import sys
from contextlib import closing

from chestxray.errors import UserError, masked
from chestxray.tracking.store import experiment_id, open_store

VIEW = "workflowType=machine_learning"
"""MLflow's page opens in a view for traces of language models unless the address says otherwise."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("--port", type=_port, default=5000, help="of the page on 127.0.0.1 (5000)")


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return int(text)


def run(options: argparse.Namespace) -> int:
    """Print the address of the runs, then become MLflow's server; a store on a server has its page already."""
    client = open_store()
    page = f"#/experiments/{experiment_id(client)}/runs?{VIEW}"
    if client.tracking_uri.startswith(("http:", "https:")):
        print(f"runs: {masked(client.tracking_uri).rstrip('/')}/{page}")
        return 0
    with closing(socket.socket()) as probe:
        if probe.connect_ex(("127.0.0.1", options.port)) == 0:
            raise UserError(f"port {options.port} is taken: name another one, MLFLOW_PORT=5001 make mlflow")
    print(f"runs: http://127.0.0.1:{options.port}/{page}", flush=True)
    os.environ["MLFLOW_BACKEND_STORE_URI"] = client.tracking_uri  # not on the command line: it may have a password
    os.environ.setdefault("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # five processes for what is not used here
    server = ["-m", "mlflow", "ui", "--host", "127.0.0.1", "--port", str(options.port), "--workers", "1"]
    os.execv(sys.executable, [sys.executable, *server])  # noqa: S606 # no shell, and no process of ours in between
    return 0
