"""Make prepared data of any size from those of a few studies: copies with noise and patients of their own.

What stages read is made at the size of a whole archive without computing it: decoded images, the tables of studies and
boxes, splits, and the pooled features of training and validation images. Patients are as many as NIH ChestX-ray14 has
for so many images, and have as unequal numbers of them.
"""

import hashlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from benchmarks.scratch import copied_pixels
from chestxray.datasets.dataset import BOXES, IMAGES, ROWS_AT_ONCE, STUDIES, BatchFolders, read_studies, write_split
from chestxray.datasets.split import SPLITS, Split, patient_split
from chestxray.params import PrepareParams
from chestxray.system.files import atomic_write
from chestxray.system.npy import ArrayFile
from chestxray.tracking.progress import progress

ARCHIVE = 112_120
"""Images of NIH ChestX-ray14; of 30,805 patients, and with boxes on 880 test images."""
PATIENTS = 30_805 / ARCHIVE
BOXED = 880 / ARCHIVE
UNEQUAL = 1.5
"""Standard deviation of the logarithm of a patient's share of the images: few have very many."""
SEED = 112_120
FEATURE_NOISE = 0.1
"""Of a feature, either way."""
IMAGES_AT_ONCE = 64


def draw_patients(studies: int) -> npt.NDArray[np.intp]:
    """Draw the number of the patient of each of `studies` images, ascending: each patient has at least one."""
    rng = np.random.default_rng(SEED)
    shares = rng.lognormal(sigma=UNEQUAL, size=max(1, round(studies * PATIENTS)))
    images = 1 + rng.multinomial(studies - len(shares), shares / shares.sum())
    return np.repeat(np.arange(len(shares)), images)


def tile_studies(drawn: pd.DataFrame, studies: int, params: PrepareParams) -> tuple[pd.DataFrame, npt.NDArray[np.intp]]:
    """Repeat a table of studies, so that each copy has an image, a row and a patient of its own.

    Args:
        drawn: the table of a prepared batch, with images in each split.
        studies: how many there shall be.
        params: of the split, which is that of the new patients; an image repeats one of the same split.

    Returns:
        The table, still with the content hashes of the images repeated, and the rows of `drawn` that it repeats.
    """
    patients = pd.Series([f"p{number:06d}" for number in draw_patients(studies)])
    splits = patients.map({patient: patient_split(patient, params, None) for patient in patients.unique()})
    source = np.empty(studies, np.intp)
    for split in SPLITS:
        places = np.flatnonzero(splits == split)
        source[places] = np.resize(np.flatnonzero(drawn["split"] == split), len(places))
    images = [f"{number:08d}.png" for number in range(studies)]
    tiled = drawn.iloc[source].reset_index(drop=True)
    return tiled.assign(image=images, patient=patients.astype("str"), row=np.arange(studies)), source


def tile_batch(folders: BatchFolders, studies: int, params: PrepareParams) -> None:
    """Replace what the stages made of a batch, up to its features, by that of a batch of `studies` that repeats it."""
    drawn = read_studies(folders)
    tiled, source = tile_studies(drawn, studies, params)
    boxes = _tile_boxes(pd.read_parquet(folders.prepared / BOXES), drawn, tiled, source)
    tiled["content_hash"] = _tile_images(folders.decoded / IMAGES, drawn["row"].to_numpy()[source])
    tiled.to_parquet(folders.prepared / STUDIES, index=False, row_group_size=ROWS_AT_ONCE)
    boxes.to_parquet(folders.prepared / BOXES, index=False)
    write_split(tiled, folders)
    for split in SPLITS[:2]:
        chosen = (tiled["split"] == split).to_numpy()
        repeated = drawn["content_hash"].to_numpy()[source[chosen]]
        _tile_features(folders.features, split, repeated, tiled.loc[chosen, "content_hash"])


def _tile_boxes(
    boxes: pd.DataFrame, drawn: pd.DataFrame, tiled: pd.DataFrame, source: npt.NDArray[np.intp]
) -> pd.DataFrame:
    """Give boxes to as large a share of images as in the archive: the first test images that repeat one with boxes."""
    repeated = drawn["image"].to_numpy()[source]
    test = (tiled["split"] == "test").to_numpy() & np.isin(repeated, boxes["image"].to_numpy())
    boxed = np.flatnonzero(test)[: max(1, round(len(tiled) * BOXED))]
    names = pd.DataFrame({"image": repeated[boxed], "copy": tiled["image"].to_numpy()[boxed]})
    return names.merge(boxes, on="image").drop(columns="image").rename(columns={"copy": "image"})


def _tile_images(file: Path, rows: npt.NDArray[np.intp]) -> list[str]:
    """Replace an array of images by copies of these rows; return the digest of each."""
    images = np.load(file)
    digests = []
    with atomic_write(file) as partial, ArrayFile(partial, images.shape[1:], images.dtype) as array:
        for number, row in enumerate(progress(rows, "copying images", len(rows))):
            pixels = copied_pixels(images[row], number)
            array.append(pixels[None])
            digests.append(hashlib.sha256(pixels.data).hexdigest())
    return digests


def _tile_features(folder: Path, split: Split, repeated: npt.NDArray[np.object_], hashes: "pd.Series[str]") -> None:
    """Replace the pooled features of a split by those of the images repeated, with noise; activations are dropped."""
    known = np.load(folder / f"{split}.content_hash.npy").astype(str)
    places = pd.Index(known).get_indexer(pd.Index(repeated))
    pooled = np.load(folder / f"{split}.pooled.npy")
    rng = np.random.default_rng(SEED)
    with (
        atomic_write(folder / f"{split}.pooled.npy") as partial,
        ArrayFile(partial, pooled.shape[1:], pooled.dtype) as array,
    ):
        for start in range(0, len(places), IMAGES_AT_ONCE):
            chunk = pooled[places[start : start + IMAGES_AT_ONCE]].astype(np.float32)
            array.append(chunk * (1 + FEATURE_NOISE * (2 * rng.random(chunk.shape, np.float32) - 1)))
    np.save(folder / f"{split}.content_hash.npy", hashes.to_numpy("S64"))
    (folder / f"{split}.activations.npy").unlink(missing_ok=True)
