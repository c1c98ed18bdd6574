"""Replicas on Ray answer as one service does, and find each other's heatmaps."""

import socket
from collections import Counter
from pathlib import Path

import pytest
import requests

from tests.chestxray.ray_cluster import logged, ray_cluster
from tests.serve.bundles import make_bundle
from tests.serve.files import PNG
from tests.serve.waiting import wait_until_ready


@pytest.mark.heavy
def test_two_replicas_answer_and_link_heatmaps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODEL_URI", str(make_bundle(tmp_path / "bundle")))
    monkeypatch.setenv("HEATMAP_FOLDER", str(tmp_path / "heatmaps"))
    monkeypatch.setenv("RAY_SERVE_THROUGHPUT_OPTIMIZED", "0")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with ray_cluster(nodes=2) as cluster:
        import ray  # noqa: PLC0415 # where there is none
        from ray import serve as ray_serve  # noqa: PLC0415 # the same

        from serve.ray_app import replicated  # noqa: PLC0415 # the same

        ray.init(log_to_driver=False)
        ray_serve.start(http_options={"host": "127.0.0.1", "port": port})
        ray_serve.run(replicated({"replicas": "2"}), blocking=False)
        try:
            url = f"http://127.0.0.1:{port}"
            wait_until_ready(url, 200)  # the proxy learns of the routes late
            asked = f"{url}/predict?heatmaps=link&heatmaps_for=all"
            answers = [requests.post(asked, files={"file": PNG}, timeout=60) for _ in range(20)]
            assert all(answer.status_code == 200 for answer in answers), answers[0].text
            findings = [answer.json()["findings"] for answer in answers]
            assert len({str([(f["name"], f["probability"], f["positive"]) for f in found]) for found in findings}) == 1
            kept = Counter(path.parent.name for path in (tmp_path / "heatmaps").glob("*/*.png"))
            assert len(kept) == 2 and sum(kept.values()) == sum(len(found) for found in findings)
            for found in findings:
                linked = found[0]["heatmap"]["url"]
                pngs = {requests.get(f"{url}{linked}", timeout=60).content for _ in range(4)}
                assert len(pngs) == 1 and next(iter(pngs)).startswith(b"\x89PNG")
            assert requests.post(f"{url}/predict", files={"file": b"no image"}, timeout=60).status_code == 415
            said = logged(cluster)
            assert b"POST /predict" in said and b'"route": "/predict"' in said
            assert not [found for found in findings if found[0]["heatmap"]["url"].encode() in said]  # a secret
        finally:
            ray_serve.shutdown()
