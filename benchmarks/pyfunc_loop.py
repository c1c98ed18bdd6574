"""Score a folder with `mlflow.pyfunc` as one who has its address does: decode, fill a batch, predict.

`python -m benchmarks.pyfunc_loop MODEL_URI FOLDER OUT.csv`; MLFLOW_TRACKING_URI names the store.
"""

import csv
import sys
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

BATCH = 32
THRESHOLD = 0.5

Pixels = npt.NDArray[np.uint8]


def decoded(path: Path, size: int) -> Pixels:
    """Decode a PNG or DICOM file and resize it to a square, uint8 S × S × 1."""
    if path.suffix == ".dcm":
        import pydicom  # noqa: PLC0415 # where there are such files

        dataset = pydicom.dcmread(path)
        grey = dataset.pixel_array >> (dataset.BitsStored - 8)
        image = Image.fromarray(grey.astype(np.uint8))
    else:
        image = Image.open(path).convert("L")
    return np.asarray(image.resize((size, size), Image.Resampling.BILINEAR))[..., None]


def batches(files: Iterable[Path], size: int) -> Iterator[Pixels]:
    """Yield decoded files, uint8 N × S × S × 1."""
    remaining = iter(files)
    while some := list(islice(remaining, BATCH)):
        yield np.stack([decoded(file, size) for file in some])


def write_scores(out: Path, files: Iterable[Path], logits: Iterable[npt.NDArray[np.float32]]) -> None:
    """Write a row for each file: probabilities and decisions of its logits, k."""
    with out.open("w", newline="") as file:
        writer = csv.writer(file)
        for place, (path, row) in enumerate(zip(files, logits, strict=True)):
            if place == 0:
                writer.writerow(["path", *range(2 * len(row))])
            probabilities = 1 / (1 + np.exp(-row))
            writer.writerow([path, *probabilities, *(probabilities > THRESHOLD)])


def main() -> None:
    """Score a folder into a table."""
    import mlflow.pyfunc  # noqa: PLC0415 # dear, and `benchmarks.keras_loop` needs none

    model = mlflow.pyfunc.load_model(sys.argv[1])
    size = model.metadata.get_input_schema().inputs[0].shape[1]
    files = sorted(path for path in Path(sys.argv[2]).iterdir() if path.suffix in (".png", ".dcm"))
    logits = (row for batch in batches(files, size) for row in model.predict(batch)["logits"])
    write_scores(Path(sys.argv[3]), files, logits)


if __name__ == "__main__":
    main()
