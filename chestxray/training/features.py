"""Compute the outputs of the frozen part of the network once for each view of each image, and read them back.

Kept are pooled features, from which the head is trained, and, unless `features.cache_activations` is false, the
activations where fine-tuning starts. Test images have none: only the finished model sees them. See
docs/decisions/feature-cache.md.
"""

import hashlib
import math
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnxruntime as ort
import pandas as pd

from chestxray.datasets.dataset import Images, findings_of
from chestxray.datasets.split import Split
from chestxray.errors import UserError
from chestxray.findings import STUDY_COLUMNS
from chestxray.params import FeaturesParams
from chestxray.system.engine import engine_map
from chestxray.system.npy import ArrayFile
from chestxray.tracking.progress import progress
from chestxray.training.views import PREDICTION_VIEWS, views

IMAGES_IN_FLIGHT = 16
VIEWS_AT_ONCE = 2
"""Activations of two views fit the processor's cache; all 8 at once took 7 % longer, for the same bits."""
Half = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Features:
    """Features of the images of one split, over one or more batches.

    Attributes:
        pooled: averages of the taps, in the order of the network, per batch, float16 n × V × F, memory-mapped.
        activations: per batch, float16 n × V × h × w × c, memory-mapped; empty where none are cached.
        places: per batch, ascending, which of its n images belong to the data set; the others are in an earlier batch.
        studies: the rows of these images, N in all, in the order of the batches.
    """

    pooled: list[Half]
    activations: list[Half]
    places: list[npt.NDArray[np.intp]]
    studies: pd.DataFrame

    @property
    def findings(self) -> tuple[str, ...]:
        """Names of the k columns of the labels."""
        return findings_of(self.studies)

    @property
    def labels(self) -> npt.NDArray[np.int8]:
        """The labels, int8, N × k, as `Dataset.labels` has them."""
        return self.studies[list(self.findings)].to_numpy(np.int8)

    def of(self, findings: Sequence[str]) -> "Features":
        """Return the same features with the labels of some of the findings, in the order given.

        Raises:
            KeyError: one is not among them.
        """
        facts = [column for column in self.studies.columns if column in STUDY_COLUMNS]
        return replace(self, studies=self.studies[[*facts, *findings]])

    @property
    def patients(self) -> npt.NDArray[np.str_]:
        """The patient of each image, N."""
        return self.studies["patient"].to_numpy(np.str_)

    def pooled_chunks(self, size: int) -> Iterator[Half]:
        """Yield the pooled features in order, float16, at most `size` images at a time: m × V × F."""
        for array, places in zip(self.pooled, self.places, strict=True):
            for start in range(0, len(places), size):
                chosen = places[start : start + size]
                without_gaps = chosen[-1] - chosen[0] + 1 == len(chosen)
                yield array[chosen[0] : chosen[-1] + 1] if without_gaps else array[chosen]  # the first makes no copy

    def view_activations(self, indices: npt.NDArray[np.intp], chosen: npt.NDArray[np.intp]) -> Half:
        """Return the activations of one view per image.

        Args:
            indices: m images, 0 to N − 1.
            chosen: the view of each, m.

        Returns:
            float16 m × h × w × c.
        """
        return self._of_views(self.activations, indices, chosen)

    def view_averages(self, indices: npt.NDArray[np.intp], chosen: npt.NDArray[np.intp]) -> Half:
        """Return the averages of the taps of one view per image, float16 m × F; the arguments as above."""
        return self._of_views(self.pooled, indices, chosen)

    def _of_views(self, arrays: list[Half], indices: npt.NDArray[np.intp], chosen: npt.NDArray[np.intp]) -> Half:
        starts = np.cumsum([0, *map(len, self.places)])
        batch = np.searchsorted(starts, indices, side="right") - 1
        triples = zip(batch, indices, chosen, strict=True)
        return np.stack([arrays[b][self.places[b][i - starts[b]], v] for b, i, v in triples])


def write_features(
    images: Images, graph: bytes, input_size: int, params: FeaturesParams, out: Path, scratch: Path
) -> None:
    """Compute the features of a batch's training and validation images into the folder `out`.

    The room that they need is said, and has to be there, before anything is computed. Training images get all views,
    validation images the two whose mean is the prediction. After a kill the next run continues: finished rows wait in
    `scratch`, in a folder named by the digest of everything that they depend on.

    Args:
        images: of one prepared batch.
        graph: the ONNX model of `onnx_graph.features_graph`.
        input_size: side of a view in pixels.
        params: the views.
        out: the folder to make, with `<split>.pooled.npy`, `<split>.activations.npy` if the graph outputs them, and
            `<split>.content_hash.npy`, the images that they belong to.
        scratch: a folder outside of every DVC out, on the disk of `out`.

    Raises:
        UserError: there is less room on the disk than they need, or `scratch` is on another one.
    """
    digest = _input_digest(images, graph, params)
    for stale in scratch.glob(f"{out.name}-{'?' * len(digest)}"):  # "nih-…", not "nih-2-…"
        if stale.name != f"{out.name}-{digest}":
            shutil.rmtree(stale)
    partial = scratch / f"{out.name}-{digest}"
    partial.mkdir(parents=True, exist_ok=True)
    splits: tuple[tuple[Split, int], ...] = (("train", params.views), ("validation", PREDICTION_VIEWS))
    parts = [
        (images.split(split), FrozenPart(graph, input_size, count, params), partial / split) for split, count in splits
    ]
    _check_same_disk(partial, out.parent)
    _check_room(partial, [(len(part.studies), frozen.row_shapes()) for part, frozen, _ in parts])
    for part, frozen, stem in parts:
        _write_split(part, frozen, stem)
    shutil.rmtree(out, ignore_errors=True)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial.replace(out)


def _input_digest(images: Images, graph: bytes, params: FeaturesParams) -> str:
    """Return the SHA-256 of everything that the features depend on, except the code."""
    digest = hashlib.sha256(graph + params.model_dump_json().encode())
    for row, (name, split) in enumerate(zip(images.studies["content_hash"], images.studies["split"], strict=True)):
        if split != "test":
            digest.update(f"{name}{split}".encode() + images.pixels(row).tobytes())
    return digest.hexdigest()


def one_thread_session(graph: bytes) -> ort.InferenceSession:
    """Open an ONNX model for many threads that each look at one image: a little faster than all cores on one."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])


@dataclass(frozen=True)
class FrozenPart:
    """The frozen part of the network, and which views of an image it is shown.

    Attributes:
        graph: the ONNX model, opened where it is first needed and not pickled as such.
        input_size: side of a view in pixels.
        count: how many views.
        params: of the views.
    """

    graph: bytes
    input_size: int
    count: int
    params: FeaturesParams

    @cached_property
    def _session(self) -> ort.InferenceSession:
        return one_thread_session(self.graph)

    def __reduce__(self) -> tuple[type["FrozenPart"], tuple[bytes, int, int, FeaturesParams]]:
        return type(self), (self.graph, self.input_size, self.count, self.params)

    def row_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of the rows of each output, by its name."""
        probe = self._session.run(None, {"view": np.zeros((1, self.input_size, self.input_size, 1), np.uint8)})
        names = [output.name for output in self._session.get_outputs()]
        return {name: (self.count, *array.shape[1:]) for name, array in zip(names, probe, strict=True)}

    def __call__(self, image: tuple[npt.NDArray[np.uint8], str]) -> list[npt.NDArray[np.generic]]:
        """Compute the rows of an image, S × S, with its content hash."""
        shown = views(image[0], self.input_size, self.count, self.params, image[1])
        parts = [shown[start : start + VIEWS_AT_ONCE] for start in range(0, self.count, VIEWS_AT_ONCE)]
        outputs = [self._session.run(None, {"view": part}) for part in parts]
        return [np.concatenate(arrays) for arrays in zip(*outputs, strict=True)]


def _check_same_disk(partial: Path, folder: Path) -> None:
    """Raise if finished files can't be moved into the folder, before they are computed."""
    folder.mkdir(parents=True, exist_ok=True)
    if partial.stat().st_dev != folder.stat().st_dev:
        raise UserError(
            f"{partial.parent} and {folder} are on different disks, and finished features are moved from one to the "
            "other: put both on one (mount the folder above them, or make one a link to a folder on the other's disk)"
        )


def _check_room(partial: Path, parts: Sequence[tuple[int, Mapping[str, tuple[int, ...]]]]) -> None:
    """Say how much room so many images with rows of these shapes need, and raise if the disk has less."""
    need = dict.fromkeys(parts[0][1], 0)
    for images, shapes in parts:
        for name, shape in shapes.items():
            need[name] += images * math.prod(shape) * np.dtype(np.float16).itemsize
    free = shutil.disk_usage(partial).free + sum(file.stat().st_size for file in partial.iterdir())
    said = f"the features of {sum(images for images, _ in parts)} images need {_megabytes(sum(need.values()))}"
    print(f"{said}; {_megabytes(free)} are free", file=sys.stderr, flush=True)
    if sum(need.values()) > free:
        without = f", or set features.cache_activations: false ({_megabytes(need['pooled'])})" if len(need) > 1 else ""
        raise UserError(
            f"{said}, but {_megabytes(free)} are free. Free some space; or, in params.yaml, lower "
            f"features.views{without}"
        )


def _megabytes(count: float) -> str:
    return f"{count / 1e6:,.1f} MB"


def _write_split(images: Images, frozen: FrozenPart, stem: Path) -> None:
    """Append to the files `<stem>.<output>.npy` what they lack, and write `<stem>.content_hash.npy`."""
    with ExitStack() as stack:
        files = [
            stack.enter_context(ArrayFile(stem.with_name(f"{stem.name}.{name}.npy"), shape, np.float16))
            for name, shape in frozen.row_shapes().items()
        ]
        done = min(file.rows for file in files)
        for file in files:
            file.truncate(done)
        hashes = images.studies["content_hash"]
        left = ((images.pixels(row), hashes.iloc[row]) for row in range(done, len(hashes)))
        outputs = engine_map(frozen, left, IMAGES_IN_FLIGHT)
        for arrays in progress(outputs, f"features, {stem.name}", len(hashes) - done):
            for file, array in zip(files, arrays, strict=True):
                file.append(array[None])
    np.save(stem.with_name(f"{stem.name}.content_hash.npy"), hashes.to_numpy("S64"))


def load_features(folders: list[Path], studies: pd.DataFrame, split: Split) -> Features:
    """Open the features of one split over several batches.

    Args:
        folders: as `write_features` made them, in the order of the batches.
        studies: of the split, in the same order; no image twice. Features of other images are ignored.
        split: "train" or "validation".

    Raises:
        ValueError: studies of another split.
        UserError: a study has no features here, or they are in another order.
    """
    if not (studies["split"] == split).all():
        raise ValueError(f"studies of other splits than {split}")
    pooled = [np.load(folder / f"{split}.pooled.npy", mmap_mode="r") for folder in folders]
    files = [folder / f"{split}.activations.npy" for folder in folders]
    activations = [np.load(file, mmap_mode="r") for file in files if file.exists()]
    if 0 < len(activations) < len(files):
        raise UserError(f"activations of {len(activations)} of {len(files)} batches: run dvc repro")
    places = _places_of(
        [np.load(folder / f"{split}.content_hash.npy", mmap_mode="r") for folder in folders], studies["content_hash"]
    )
    found = sum(map(len, places))
    if found < len(studies):
        raise UserError(
            f"of {len(studies)} {split} images, the one after the first {found} has no features here, or not in this "
            "order: run dvc repro"
        )
    return Features(pooled, activations, places, studies)


def _places_of(computed: list[npt.NDArray[np.bytes_]], wanted: Iterable[str]) -> list[npt.NDArray[np.intp]]:
    """Return, per array, where the wanted content hashes are, as far as they follow each other as the arrays do."""
    left = (name.encode() for name in wanted)
    name = next(left, None)
    places = []
    for hashes in computed:
        chosen = []
        for place, there in enumerate(hashes):
            if there == name:
                chosen.append(place)
                name = next(left, None)
        places.append(np.array(chosen, np.intp))
    return places
