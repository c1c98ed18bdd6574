"""Write batches of empty image files, for tests of their tables."""

from pathlib import Path

from chestxray.batch_layout import HEADER, TABLE
from chestxray.datasets.batch import Batch

BOX_HEADER = "Image Index,Finding Label,Bbox [x,y,w,h],,,"


def row(
    image: str, findings: str = "No Finding", patient: str = "1", *, age: str = "57", sex: str = "M", view: str = "PA"
) -> str:
    return f"{image},{findings},0,{patient},{age},{sex},{view},2682,2749,0.143,0.143"


def batch(root: Path, *rows: str, images: tuple[str, ...] | None = None, folder: str = "images") -> Path:
    """Write a batch of empty image files; by default the files that the rows name."""
    (root / folder).mkdir(parents=True, exist_ok=True)
    (root / TABLE).write_text("\n".join([HEADER, *rows]) + "\n")
    for image in [line.split(",")[0] for line in rows] if images is None else images:
        (root / folder / image).touch()
    return root


def rejections(read: Batch) -> list[tuple[str, str]]:
    """Image, and the kind of reason."""
    kinds = [reason.partition(": ")[0] for reason in read.rejected["reason"]]
    return list(zip(read.rejected["image"], kinds, strict=True))
