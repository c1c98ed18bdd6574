"""Features are the network's outputs for each view, also after kills and damage on the way to the file."""

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chestxray.datasets.dataset import Dataset
from chestxray.datasets.split import SPLITS
from chestxray.errors import UserError
from chestxray.system.npy import HEADER_BYTES
from chestxray.training import features as module
from chestxray.training.features import IMAGES_IN_FLIGHT, Features, load_features, write_features
from chestxray.training.views import views
from tests.chestxray.conftest import TINY, TINY_CONFIG, VIEWS

INPUT = TINY.input_size
IMAGES = 20 + 20
"""To train, and to validate."""


class Killed(BaseException):
    """What a killed run dies of."""


class CountedSession(ort.InferenceSession):
    """Counts the images that went through the network, and dies when there were too many."""

    images = 0
    limit = 10**6
    lock = threading.Lock()

    def run(self, names: Any, inputs: Any, options: Any = None) -> Any:
        if len(inputs["view"]) > 1:  # not the probe for the shapes
            with CountedSession.lock:
                if CountedSession.images == CountedSession.limit:
                    raise Killed
                CountedSession.images += 1
        return super().run(names, inputs, options)


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[CountedSession]]:
    monkeypatch.setattr(CountedSession, "images", 0)
    monkeypatch.setattr(CountedSession, "limit", 10**6)
    monkeypatch.setattr(module.ort, "InferenceSession", CountedSession)
    monkeypatch.setattr(module, "VIEWS_AT_ONCE", VIEWS.views)  # one call an image
    yield CountedSession


def killed_after(images: int, session: type[CountedSession], *arguments: Any) -> None:
    session.limit = images
    with pytest.raises(Killed):
        write_features(*arguments)
    session.limit = 10**6
    session.images = 0


def assert_same_files(one: Path, other: Path) -> None:
    assert sorted(file.name for file in one.iterdir()) == sorted(file.name for file in other.iterdir())
    for file in one.iterdir():
        assert (other / file.name).read_bytes() == file.read_bytes(), file.name


def splits(folder: Path, dataset: Dataset) -> tuple[Features, Features]:
    train, validation = (load_features([folder], dataset.split(side).studies, side) for side in SPLITS[:2])
    return train, validation


def test_features_are_what_the_network_says_of_each_view(dataset: Dataset, graph: bytes, features_folder: Path) -> None:
    plain = ort.InferenceSession(graph)
    count = {"train": 4, "validation": 2}
    for split, features in zip(("train", "validation"), splits(features_folder, dataset), strict=True):
        images = dataset.split(split)  # type: ignore[arg-type] - a literal, but for the type of a tuple
        assert features.pooled[0].shape == (20, count[split], sum(tap.channels for tap in TINY_CONFIG.taps))
        assert features.studies["image"].tolist() == images.studies["image"].tolist()
        for place in (0, 7, 19):
            seen = views(images.pixels(place), INPUT, count[split], VIEWS, images.studies["content_hash"][place])
            pooled, activations = plain.run(["pooled", "activations"], {"view": seen})
            np.testing.assert_array_equal(features.pooled[0][place], pooled.astype(np.float16))
            np.testing.assert_array_equal(features.activations[0][place], activations.astype(np.float16))


def test_test_images_have_no_features(features_folder: Path) -> None:
    assert sorted(file.name for file in features_folder.iterdir()) == [
        "train.activations.npy", "train.content_hash.npy", "train.pooled.npy",
        "validation.activations.npy", "validation.content_hash.npy", "validation.pooled.npy",
    ]  # fmt: skip


def test_rows_and_chunks_run_over_the_seams_between_batches(dataset: Dataset, features_folder: Path) -> None:
    whole, _ = splits(features_folder, dataset)
    parts = [slice(0, 7), slice(7, 7), slice(7, 20)]
    torn = Features(
        [whole.pooled[0][part] for part in parts],
        [whole.activations[0][part] for part in parts],
        [np.arange(7), np.arange(0), np.arange(13)],
        whole.studies,
    )
    indices = np.array([6, 7, 0, 19, 7])
    chosen = np.array([1, 0, 3, 2, 3])
    np.testing.assert_array_equal(torn.view_activations(indices, chosen), whole.activations[0][indices, chosen])
    chunks = list(torn.pooled_chunks(5))
    assert max(map(len, chunks)) == 5
    np.testing.assert_array_equal(np.concatenate(chunks), whole.pooled[0])


@pytest.mark.parametrize("images", [0, 12, 20, 33])
def test_a_killed_run_is_taken_up_where_it_stopped(
    images: int, dataset: Dataset, graph: bytes, features_folder: Path, tmp_path: Path, session: type[CountedSession]
) -> None:
    arguments = (dataset, graph, INPUT, VIEWS, tmp_path / "b", tmp_path / "scratch")
    killed_after(images, session, *arguments)
    assert not (tmp_path / "b").exists()
    write_features(*arguments)
    # What threads had done ahead of the slowest is lost.
    assert IMAGES - images <= session.images <= min(IMAGES, IMAGES - images + IMAGES_IN_FLIGHT)
    assert_same_files(tmp_path / "b", features_folder)
    assert list((tmp_path / "scratch").iterdir()) == []


@pytest.mark.parametrize("lost", [1, 1000, 5000])
def test_rows_that_did_not_reach_the_disk_are_computed_again(
    lost: int, dataset: Dataset, graph: bytes, features_folder: Path, tmp_path: Path, session: type[CountedSession]
) -> None:
    """A machine that loses power leaves files of any length, and not all of the same."""
    arguments = (dataset, graph, INPUT, VIEWS, tmp_path / "b", tmp_path / "scratch")
    killed_after(12, session, *arguments)
    (file,) = (tmp_path / "scratch").glob("b-*/train.activations.npy")
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - lost)
    write_features(*arguments)
    assert_same_files(tmp_path / "b", features_folder)


def test_a_changed_param_starts_anew_and_clears_what_is_stale(
    dataset: Dataset, graph: bytes, tmp_path: Path, session: type[CountedSession]
) -> None:
    killed_after(12, session, dataset, graph, INPUT, VIEWS, tmp_path / "b", tmp_path / "scratch")
    changed = VIEWS.model_copy(update={"rotation": 20.0})
    write_features(dataset, graph, INPUT, changed, tmp_path / "b", tmp_path / "scratch")
    assert session.images == IMAGES
    assert list((tmp_path / "scratch").iterdir()) == []


def test_changed_images_start_anew(
    dataset: Dataset, graph: bytes, tmp_path: Path, session: type[CountedSession]
) -> None:
    killed_after(12, session, dataset, graph, INPUT, VIEWS, tmp_path / "b", tmp_path / "scratch")
    other = Dataset(dataset.studies.iloc[::-1].reset_index(drop=True), dataset.images)
    write_features(other, graph, INPUT, VIEWS, tmp_path / "b", tmp_path / "scratch")
    assert session.images == IMAGES


def test_what_another_batch_has_done_is_left_alone(
    dataset: Dataset, graph: bytes, tmp_path: Path, session: type[CountedSession]
) -> None:
    """Also when its name starts alike."""
    killed_after(12, session, dataset, graph, INPUT, VIEWS, tmp_path / "b-2", tmp_path / "scratch")
    write_features(dataset, graph, INPUT, VIEWS, tmp_path / "b", tmp_path / "scratch")
    session.images = 0
    write_features(dataset, graph, INPUT, VIEWS, tmp_path / "b-2", tmp_path / "scratch")
    assert session.images < IMAGES
    assert_same_files(tmp_path / "b", tmp_path / "b-2")


def test_features_of_before_are_replaced_as_a_whole(dataset: Dataset, graph: bytes, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "old.npy").write_bytes(b"old")
    write_features(dataset, graph, INPUT, VIEWS, tmp_path / "b", tmp_path / "scratch")
    assert not (tmp_path / "b" / "old.npy").exists() and (tmp_path / "b" / "train.pooled.npy").exists()


def test_a_small_batch_may_lack_a_side(dataset: Dataset, graph: bytes, features_folder: Path, tmp_path: Path) -> None:
    only_train = dataset.studies[dataset.studies["split"] == "train"].head(5)
    write_features(Dataset(only_train, dataset.images), graph, INPUT, VIEWS, tmp_path / "c", tmp_path / "scratch")
    folders = [tmp_path / "c", features_folder]
    validation = load_features(folders, dataset.split("validation").studies, "validation")
    assert [len(part) for part in validation.pooled] == [0, 20]
    assert validation.view_activations(np.array([0]), np.array([1])).shape[0] == 1
    train = load_features(folders, dataset.split("train").studies, "train")
    assert [places.tolist() for places in train.places] == [list(range(5)), list(range(5, 20))]


def test_features_of_other_studies_are_refused(dataset: Dataset, features_folder: Path) -> None:
    studies = dataset.split("train").studies
    others = studies.assign(content_hash=studies["content_hash"].str[::-1])
    with pytest.raises(ValueError, match="of 20 train images, the one after the first 0 has no features here"):
        load_features([features_folder], others, "train")
    with pytest.raises(ValueError, match="the one after the first 1 has no features here, or not in this order"):
        load_features([features_folder], studies[::-1], "train")
    with pytest.raises(ValueError, match="studies of other splits than train"):
        load_features([features_folder], dataset.studies, "train")


def test_some_of_the_findings_come_in_the_order_given(dataset: Dataset, features_folder: Path) -> None:
    features = load_features([features_folder], dataset.split("train").studies, "train")
    last, first = features.findings[4], features.findings[1]
    some = features.of([last, first])
    assert some.findings == (last, first)
    np.testing.assert_array_equal(some.labels, features.labels[:, [4, 1]])
    np.testing.assert_array_equal(some.patients, features.patients)
    with pytest.raises(KeyError, match="Tubes"):
        features.of(["Tubes"])


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sets(st.integers(0, 19)), st.integers(1, 7))
def test_features_of_left_out_images_are_passed_over(
    dataset: Dataset, features_folder: Path, left_out: set[int], size: int
) -> None:
    """The second time the same folder stands for a batch of which every image is known."""
    stay = np.array([row for row in range(20) if row not in left_out], int)
    studies = dataset.split("train").studies.drop(index=list(left_out))
    some = load_features([features_folder, features_folder], studies, "train")
    whole = load_features([features_folder], dataset.split("train").studies, "train")
    chunks = list(some.pooled_chunks(size))
    assert all(len(chunk) <= size for chunk in chunks)
    np.testing.assert_array_equal(np.concatenate([whole.pooled[0][:0], *chunks]), whole.pooled[0][stay])
    assert some.studies["image"].tolist() == [f"{row}.png" for row in stay]
    if len(stay):
        indices = np.arange(len(stay))
        np.testing.assert_array_equal(
            some.view_activations(indices, indices % 4), whole.activations[0][stay, indices % 4]
        )


def test_the_room_that_features_need_is_there_before_they_are_computed(
    dataset: Dataset, graph: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def disk_with(free: int) -> None:
        monkeypatch.setattr(module.shutil, "disk_usage", lambda path: usage(10**9, 0, free))

    usage = type(module.shutil.disk_usage(tmp_path))
    arguments = (dataset, graph, INPUT, VIEWS, tmp_path / "b", tmp_path / "scratch")
    disk_with(0)
    with pytest.raises(UserError, match=r"features\.views, or set features\.cache_activations: false") as refused:
        write_features(*arguments)
    assert not (tmp_path / "b").exists()
    disk_with(10**9)
    write_features(*arguments)
    taken = sum(file.stat().st_size for file in (tmp_path / "b").glob("*.npy") if "content_hash" not in file.name)
    said = f"need {(taken - 4 * HEADER_BYTES) / 1e6:,.1f} MB"
    assert said in str(refused.value) and f"{said}; 1,000.0 MB are free" in capsys.readouterr().err
    disk_with(taken)
    write_features(*arguments[:4], tmp_path / "c", tmp_path / "scratch")


def test_two_disks_are_refused_before_anything_is_computed(
    dataset: Dataset, graph: bytes, tmp_path: Path, session: type[CountedSession]
) -> None:
    memory = Path("/dev/shm")  # noqa: S108 # a file system of its own on Linux
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second file system here")
    with (
        tempfile.TemporaryDirectory(dir=memory) as elsewhere,
        pytest.raises(UserError, match="are on different disks"),
    ):
        write_features(dataset, graph, INPUT, VIEWS, Path(elsewhere) / "b", tmp_path / "scratch")
    assert session.images == 0
