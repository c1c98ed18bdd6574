"""The service as a process of its own."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx2
import numpy as np
import pytest
from pydicom.data import get_testdata_file

from benchmarks.client import FORM, Client, form
from benchmarks.process import DEADLINE, free_port, serving
from chestxray.findings import RESEARCH_USE_ONLY
from tests.repository import TOP
from tests.serve.files import PNG, encoded
from tests.serve.waiting import get, post, until, wait_until_ready

pytestmark = pytest.mark.slow


@contextmanager
def started_with(**settings: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    port = free_port()
    environment = {**os.environ, **settings, "PORT": str(port)}
    command = [sys.executable, "-m", "serve"]
    with subprocess.Popen(
        command, cwd=TOP, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        try:
            yield started, f"http://127.0.0.1:{port}"
        finally:
            started.kill()


@pytest.fixture
def process(bundle: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    with started_with(MODEL_URI=str(bundle), QUEUE_LENGTH="64", DRAIN_SECONDS="5", SHUTDOWN_SECONDS="180") as started:
        yield started


def test_a_store_that_never_answers_delays_no_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        store = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with started_with(MODEL_URI="models:/chest-xray@champion", MLFLOW_TRACKING_URI=store) as (server, url):
            wait_until_ready(url, 503)
            asking, _ = silent.accept()
            asking.settimeout(DEADLINE)
            server.send_signal(signal.SIGTERM)
            assert server.wait(DEADLINE) == 0
        while asking.recv(4096):  # until the process that asked has ended too
            pass
        asking.close()


def test_sigterm_loses_no_request(process: tuple[subprocess.Popen[str], str]) -> None:
    server, url = process
    assert wait_until_ready(url, 200).json()["ready"] is True

    def ask(_: int) -> int:
        answer = post(f"{url}/predict?heatmaps=inline&heatmaps_for=all")
        return answer.status_code

    with ThreadPoolExecutor(16) as clients:
        answers = [clients.submit(ask, number) for number in range(16)]
        server.send_signal(signal.SIGTERM)
        draining = wait_until_ready(url, 503).json()
        assert draining["ready"] is False and draining["model"]
        assert [answer.result() for answer in answers] == [200] * 16
    said, logs = server.communicate(timeout=DEADLINE)
    assert server.returncode == 0
    assert re.fullmatch(rf"{url} serves bundle, sha256 [0-9a-f]{{12}}\. Trained on synthetic .*\n", said), said
    assert RESEARCH_USE_ONLY in said
    assert all(json.loads(line)["level"] == "info" for line in logs.splitlines())


def test_the_command_line_answers_like_the_service(url: str, bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "good.png").write_bytes(PNG)
    (tmp_path / "bad.png").write_bytes(b"garbage")
    command = [sys.executable, "-m", "chestxray", "predict", str(tmp_path / "good.png"), str(tmp_path / "bad.png")]
    environment = {**os.environ, "MODEL_URI": str(bundle)}
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
    good, bad = (json.loads(line) for line in done.stdout.splitlines())
    answer = post(f"{url}/predict").json()
    assert {key: good[key] for key in ("model", "image", "disclaimer", "predicted_labels")} == {
        key: answer[key] for key in ("model", "image", "disclaimer", "predicted_labels")
    }
    assert [f["probability"] for f in good["findings"]] == pytest.approx([f["probability"] for f in answer["findings"]])
    assert (bad["type"], done.returncode) == ("unsupported-format", 1)


def test_the_command_line_says_what_refuses_an_image_and_answers_anyway(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "uniform.png").write_bytes(encoded(np.full((100, 100), 9, np.uint8)))
    command = [sys.executable, "-m", "chestxray", "predict", "--model", str(bundle), str(tmp_path / "uniform.png")]
    for more, code in ((), 1), (("--accept-anyway",), 0):
        done = subprocess.run([*command, *more], cwd=TOP, capture_output=True, text=True, check=False)
        answer = json.loads(done.stdout)
        assert (done.returncode, "findings" in answer) == (code, code == 0)
        assert answer["quality"]["verdict"] == "refused" and answer["quality"]["checks"][0]["name"] == "blank"


def test_the_command_line_reads_dicom_of_a_real_device(bundle: Path) -> None:
    command = [sys.executable, "-m", "chestxray", "predict", str(get_testdata_file("RG1_UNCR.dcm"))]
    environment = {**os.environ, "MODEL_URI": str(bundle)}
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=True)
    answer = json.loads(done.stdout)
    assert (answer["image"]["width"], answer["image"]["height"]) == (1841, 1955)
    assert answer["image"]["format"] == "DICOM" and len(answer["findings"]) == 14


def test_a_wrong_setting_stops_the_start_and_is_named() -> None:
    environment = {**os.environ, "QUEUE_LENGTH": "-1"}
    command = [sys.executable, "-m", "serve"]
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "QUEUE_LENGTH" in done.stderr and len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_an_address_that_is_no_good_is_named_at_the_start(bundle: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        for host in ("nope.invalid", "127.0.0.1", "a..b"):
            environment = {**os.environ, "MODEL_URI": str(bundle), "HOST": host, "PORT": str(port)}
            command = [sys.executable, "-m", "serve"]
            done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 2
            (line,) = done.stderr.splitlines()
            assert line.startswith(f"can't listen on HOST={host} PORT={port}: ")


def test_a_bad_heatmap_folder_is_named_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    environment = {**os.environ, "HEATMAP_FOLDER": str(tmp_path / "file" / "folder")}
    command = [sys.executable, "-m", "serve"]
    done = subprocess.run(command, cwd=TOP, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert str(tmp_path / "file") in done.stderr and "Traceback" not in done.stderr


@contextmanager
def stalled(url: str) -> Iterator[socket.socket]:
    """A client that begins to send a file and then says no more."""
    head = b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99\r\n\r\n--b\r\n"
    with socket.create_connection(("127.0.0.1", httpx2.URL(url).port or 0), DEADLINE) as client:
        client.sendall(b"POST /predict HTTP/1.1\r\nHost: x\r\n" + head)
        yield client


def test_an_upload_that_stalls_is_answered(bundle: Path) -> None:
    with started_with(MODEL_URI=str(bundle), TRANSFER_SECONDS="0.5") as (_, url):
        wait_until_ready(url, 200)
        with stalled(url) as client:
            answer = b"".join(iter(lambda: client.recv(4096), b""))  # until the server closes
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"too-slow"' in answer


def test_an_upload_that_stalls_does_not_hold_up_the_end(bundle: Path) -> None:
    settings = {"MODEL_URI": str(bundle), "DRAIN_SECONDS": "0", "SHUTDOWN_SECONDS": "1"}
    with started_with(**settings) as (server, url):
        wait_until_ready(url, 200)
        with stalled(url) as client:
            until(lambda: get(f"{url}/livez"), 200)
            server.send_signal(signal.SIGTERM)
            answer = b"".join(iter(lambda: client.recv(4096), b""))
            assert answer.startswith(b"HTTP/1.1 503 ") and b'"overloaded"' in answer
            assert server.wait(DEADLINE) == 0


def test_who_does_not_read_the_answer_gives_up_the_place(bundle: Path) -> None:
    settings = {"MODEL_URI": str(bundle), "MAX_UPLOADS": "1", "TRANSFER_SECONDS": "5"}  # enough to send the files
    body = form(*[encoded(np.random.default_rng(0).integers(256, size=(600, 600), dtype=np.uint8))] * 4)
    with started_with(**settings) as (_, url), socket.socket() as client:
        wait_until_ready(url, 200)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.connect(("127.0.0.1", httpx2.URL(url).port))
        head = f"Content-Type: {FORM['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n"
        path = "/predict/batch?heatmaps=inline&heatmaps_for=all"
        client.sendall(f"POST {path} HTTP/1.1\r\nHost: x\r\n{head}".encode() + body)
        until(lambda: post(f"{url}/predict"), 503)
        until(lambda: post(f"{url}/predict"), 200)


def test_slow_clients_leave_a_place_for_who_has_sent_all(bundle: Path) -> None:
    with started_with(MODEL_URI=str(bundle), MAX_UPLOADS="4") as (server, url), ExitStack() as slow:
        wait_until_ready(url, 200)
        for _ in range(4):
            slow.enter_context(stalled(url))
        assert post(f"{url}/predict").status_code == 200
        assert get(f"{url}/livez").status_code == get(f"{url}/readyz").status_code == 200
        assert server.poll() is None


def test_where_nothing_can_be_stored_findings_are_answered_all_the_same(bundle: Path, tmp_path: Path) -> None:
    small_files = ("sh", "-c", 'ulimit -f 100 && exec "$@"', "sh")
    rng = np.random.default_rng(0)
    # JPEG, since the process for codecs, which PNG needs, could not share its memory: the limit holds for that too
    noise = encoded(rng.integers(256, size=(150, 150), dtype=np.uint8), "JPEG")
    large = encoded(rng.integers(256, size=(900, 900), dtype=np.uint8), "JPEG")
    with serving(tmp_path, bundle, *small_files) as server, Client(server.port) as client:
        answer = client.post("/predict?heatmaps=link&heatmaps_for=all", form(noise)).json()
        assert len(answer["findings"]) == 14 and not any(finding["heatmap"] for finding in answer["findings"])
        assert "could not store the heatmaps" in answer["image"]["warnings"][-1]
        refused = client.post("/predict", form(large))
        assert (refused.status, refused.json()["type"]) == (507, "disk-full")
        inline = client.post("/predict?heatmaps=inline&heatmaps_for=all", form(noise)).json()
        assert all(finding["heatmap"] for finding in inline["findings"])
        assert not list((tmp_path / "tmp").rglob("*.png"))
        lines = [json.loads(line) for line in server.log.read_text().splitlines() if line.startswith("{")]
    assert [line["event"] for line in lines if line["level"] == "error"] == ["heatmaps not stored", "failed"]
