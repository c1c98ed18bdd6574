"""How growth is fitted, and how a few prepared studies become as many as an archive has: of `benchmarks.scale`."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from benchmarks.scale import Growth, fit_growth
from benchmarks.scratch import copied_pixels
from benchmarks.tiling import ARCHIVE, draw_patients, tile_batch
from chestxray.datasets.dataset import BatchFolders, load_boxes, load_dataset, read_studies
from chestxray.params import load_params
from chestxray.system.npy import ArrayFile
from chestxray.training.features import load_features
from tests.nih_batch import noise, plain_batch
from tests.prepared_batch import prepare
from tests.repository import TOP

PARAMS = load_params(TOP / "params.yaml").prepare
VIEWS = 2
STUDIES = 300


@pytest.mark.parametrize("exponent", [1.0, 1.5, 2.0])
def test_a_power_law_is_fitted_and_followed(exponent: float) -> None:
    found = fit_growth({studies: 3.0 * studies**exponent for studies in (2000, 4000, 8000)})
    assert found == pytest.approx(Growth(exponent, 8000 ** (1 - exponent) / 3, 3.0 * ARCHIVE**exponent))


def test_a_fixed_cost_makes_no_promise_for_larger_data() -> None:
    found = fit_growth({studies: 60 + 0.01 * studies for studies in (2000, 4000, 8000)})
    assert found.exponent < 1
    assert found.extrapolated == pytest.approx((60 + 80) * ARCHIVE / 8000)


def test_patients_are_as_many_and_as_unequal_as_those_of_the_archive() -> None:
    images = Counter(draw_patients(ARCHIVE).tolist())
    assert len(images) == 30_805 and images.total() == ARCHIVE
    assert min(images.values()) == 1 and 100 < max(images.values()) < 1000


def test_copies_of_an_image_differ_a_little() -> None:
    image = noise(0)
    copies = [copied_pixels(image, number) for number in range(50)]
    assert len({copy.tobytes() for copy in copies}) == 50
    assert max(np.abs(copy.astype(int) - image).max() for copy in copies) == 2


def small_batch(data: Path) -> BatchFolders:
    """Prepare a small batch, and write features as the stage does, whose values are the place of the image."""
    folders = BatchFolders("small", data)
    prepare(plain_batch(data / "raw", 40), folders, PARAMS.model_copy(update={"size": 32}))
    studies = read_studies(folders)
    folders.features.mkdir(parents=True)
    for split in ("train", "validation"):
        rows = studies[studies["split"] == split]
        with ArrayFile(folders.features / f"{split}.pooled.npy", (VIEWS, 4), np.float16) as array:
            array.append(np.ones((len(rows), VIEWS, 4)) * rows["row"].to_numpy()[:, None, None])
        np.save(folders.features / f"{split}.content_hash.npy", rows["content_hash"].to_numpy("S64"))
    return folders


def test_a_tiled_batch_is_a_data_set_of_other_patients_and_images(tmp_path: Path) -> None:
    folders = small_batch(tmp_path)
    drawn = load_dataset([folders])
    tile_batch(folders, STUDIES, PARAMS)
    tiled = load_dataset([folders])  # checks the split
    assert len(tiled.studies) == STUDIES and tiled.known.empty
    assert len({tiled.pixels(row).tobytes() for row in range(STUDIES)}) == STUDIES
    assert not set(tiled.patients) & set(drawn.patients)
    assert len(set(tiled.patients)) == round(STUDIES * 30_805 / ARCHIVE)
    assert tiled.findings == drawn.findings and load_boxes([folders]).empty


def test_features_of_a_tiled_batch_are_those_of_the_images_that_it_repeats(tmp_path: Path) -> None:
    folders = small_batch(tmp_path)
    drawn = load_dataset([folders])
    originals = np.stack([drawn.pixels(row) for row in range(len(drawn.studies))]).astype(int)
    tile_batch(folders, STUDIES, PARAMS)
    tiled = load_dataset([folders])
    features = load_features([folders.features], tiled.split("train").studies, "train")
    train = tiled.split("train")
    values = np.concatenate(list(features.pooled_chunks(64)))[:, 0, 0].astype(float)
    assert len(values) == len(train.studies)
    for place, value in enumerate(values):
        source = int(np.abs(originals - train.pixels(place)).max(axis=(1, 2)).argmin())
        assert value == pytest.approx(drawn.studies["row"][source], rel=0.101)


def test_tiling_gives_the_same_bytes_again(tmp_path: Path) -> None:
    made = []
    for folder in ("first", "second"):
        folders = small_batch(tmp_path / folder)
        tile_batch(folders, STUDIES, PARAMS)
        written = [file for file in sorted((tmp_path / folder).rglob("*")) if file.is_file()]
        made.append({file.relative_to(tmp_path / folder): file.read_bytes() for file in written})
    assert made[0] == made[1]
