"""Decoding, features and scores are the same bytes on a cluster of Ray, whatever dies in it."""

import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import chdir
from pathlib import Path
from typing import Any

import pytest

from chestxray.cli.main import main
from chestxray.datasets import decode
from chestxray.datasets.dataset import Dataset
from chestxray.datasets.decode import decode_batch
from chestxray.errors import UserError
from chestxray.scoring import run
from chestxray.system.engine import engine_map
from chestxray.training import features
from chestxray.training.features import write_features
from tests.chestxray.conftest import TINY, VIEWS
from tests.chestxray.ray_cluster import LEAST_STORE, add_node, kill_worker, logged, ray_cluster
from tests.chestxray.scoring.ward import radiographs
from tests.dicom_files import dicom
from tests.repository import TOP
from tests.serve.files import GREY


def files_of(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def work(folder: Path, out: Path, dataset: Dataset, graph: bytes, bundle: Path, size: int = 64) -> dict[str, bytes]:
    """Decode a folder, score it, and compute the features of the data set; returns what was written."""
    out.mkdir()
    decode_batch(folder, out / "decoded", size)
    write_features(dataset, graph, TINY.input_size, VIEWS, out / "features", out / "scratch")
    with chdir(out):  # workers know relative paths too
        main(["predict", str(folder), "--model", str(bundle), "--output", "scores.csv", "--heatmaps", "maps"])
    return files_of(out)


def double(item: int) -> int:
    if item == 30:
        raise OSError(28, "No space left on device")
    return 2 * item


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """A folder of images, one of them damaged."""
    folder = tmp_path / "films"
    radiographs(folder, 24)
    (folder / "a.dcm").write_bytes(dicom(GREY))
    (folder / "damaged.png").write_bytes(b"damaged")
    return folder


@pytest.mark.slow
def test_the_same_bytes_as_with_threads(
    tmp_path: Path,
    films: Path,
    dataset: Dataset,
    graph: bytes,
    small_bundle: Path,
) -> None:
    with ray_cluster(nodes=1) as cluster:
        with_ray = work(films, tmp_path / "ray", dataset, graph, small_bundle)
        assert logged(cluster) and b"damaged.png" not in logged(cluster)  # which may be a patient's name
        results = engine_map(double, range(100), in_flight=8)
        assert [next(results) for _ in range(30)] == [2 * item for item in range(30)]
        with pytest.raises(OSError, match="No space left on device"):
            next(results)
    with_threads = work(films, tmp_path / "threads", dataset, graph, small_bundle)
    assert list(with_ray) == list(with_threads) and with_ray == with_threads


class Killed(BaseException):
    """What a run is stopped by."""


@pytest.mark.heavy
def test_nothing_is_lost_and_nothing_doubled_when_workers_and_nodes_die(
    tmp_path: Path,
    dataset: Dataset,
    graph: bytes,
    small_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    films = tmp_path / "films"
    radiographs(films, 300)
    died: list[str] = []

    def shaken(items: Iterable[Any], *_: Any, **__: Any) -> Iterator[Any]:
        """A worker dies soon after the beginning, and a node a little later."""
        node = add_node(cluster)
        for place, item in enumerate(items):
            if place == 4:
                died.append(f"worker {kill_worker()}")
            if place == 9:
                cluster.remove_node(node, allow_graceful=False)
                died.append("node")
            yield item

    def stopped(items: Iterable[Any], *_: Any, **__: Any) -> Iterator[Any]:
        for place, item in enumerate(items):
            if place == 50:
                raise Killed
            yield item

    with_threads = work(films, tmp_path / "threads", dataset, graph, small_bundle, size=1024)
    with ray_cluster(nodes=1) as cluster:
        for module in (decode, features, run):
            monkeypatch.setattr(module, "progress", shaken)
        with_ray = work(films, tmp_path / "ray", dataset, graph, small_bundle, size=1024)
        assert len(died) == 8, died  # features have two splits
        monkeypatch.setattr(run, "progress", stopped)
        with chdir(tmp_path / "ray"), pytest.raises(Killed):
            main(["predict", str(films), "--model", str(small_bundle), "--output", "again.csv"])
    monkeypatch.setattr(run, "progress", lambda items, *_, **__: items)
    with chdir(tmp_path / "ray"):
        assert len(next(Path().glob(".again.csv.*/rows.jsonl")).read_bytes().splitlines()) == 50
        main(["predict", str(films), "--model", str(small_bundle), "--output", "again.csv"])
    assert sum(map(len, with_threads.values())) > 3 * LEAST_STORE
    assert list(with_ray) == list(with_threads) and with_ray == with_threads
    with chdir(tmp_path / "ray"):
        main(["predict", str(films), "--model", str(small_bundle), "--output", "at_once.csv"])
        assert Path("again.csv").read_bytes() == Path("at_once.csv").read_bytes()


@pytest.mark.heavy
def test_objects_of_s3_score_as_files_do_with_both_engines(
    tmp_path: Path,
    films: Path,
    small_bundle: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    s3fs = pytest.importorskip("s3fs", reason="s3fs is not installed")
    moto = pytest.importorskip("moto.server", reason="moto's S3 server is not installed", exc_type=ImportError)
    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "testing")
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
        storage = s3fs.S3FileSystem()
        storage.mkdir("archive")
        storage.put(str(films), "archive/films", recursive=True)
        words = ["--model", str(small_bundle), "--output"]
        with ray_cluster(nodes=1):
            assert main(["predict", "s3://archive/films", *words, str(tmp_path / "ray.csv")]) == 1  # one is damaged
        assert main(["predict", "s3://archive/films", *words, str(tmp_path / "threads.csv")]) == 1
        assert main(["predict", str(films), *words, str(tmp_path / "files.csv")]) == 1
    finally:
        server.stop()
    with_ray, with_threads, of_files = ((tmp_path / f"{name}.csv").read_text() for name in ("ray", "threads", "files"))
    assert with_ray == with_threads and with_ray == of_files.replace(str(films), "s3://archive/films")


def test_a_cluster_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(UserError, match=r"no Ray cluster answers at '127\.0\.0\.1:1'.*ray start"):
        next(engine_map(double, [1], 4))
    monkeypatch.setenv("RAY_ADDRESS", "nonsense")
    with pytest.raises(UserError, match=r"can't be used at 'nonsense'.*ray start"):
        next(engine_map(double, [1], 4))


def test_ray_is_asked_for_and_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "chestxray.system.ray_tasks", raising=False)
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    with pytest.raises(UserError, match=r"Ray is not installed: pip install '\.\[ray\]'"):
        engine_map(double, [1], 4)


def test_ray_is_not_imported_unless_it_is_asked_for() -> None:
    program = (
        "import sys, chestxray.cli.predict, chestxray.training.features; from chestxray.system.engine import "
        "engine_map; assert list(engine_map(abs, [-1], 4)) == [1]; sys.exit('ray' in sys.modules)"
    )
    environment = {"PATH": "", "PYTHONPATH": str(TOP)}
    subprocess.run([sys.executable, "-c", program], env=environment, cwd=TOP, check=True, timeout=60)
