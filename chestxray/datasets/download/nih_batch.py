"""Download NIH ChestX-ray14, or whole patients of it, as a batch.

One archive at a time is downloaded, verified, unpacked as far as its images were chosen, and deleted. The batch changes
only at the end, when all is there. Whatever stops the command, the next run goes on from what is there.
"""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from chestxray.batch_layout import TABLE
from chestxray.datasets.download.catalog import NIH, Release
from chestxray.datasets.download.http import RemoteFile, back_off, download, is_intact
from chestxray.datasets.download.unpack import ArchiveError, unpack
from chestxray.datasets.tables.label_names import LabelNames
from chestxray.datasets.tables.patients import canonical_patient
from chestxray.datasets.tables.shapes import find_table
from chestxray.datasets.tables.text_table import read_columns
from chestxray.errors import UserError
from chestxray.findings import NIH_VOCABULARY
from chestxray.system.files import atomic_write

WORK = ".download"
"""Folder inside the batch for downloads in progress and the official tables; `read_batch` does not look there."""
MARGIN = 1.05
"""Factor on the disk space that is needed: sizes of images vary."""


def choose_images(patients: Mapping[str, str], images: int | None, seed: int) -> frozenset[str]:
    """Choose whole patients, in an order drawn by a hash of `seed` and patient, until `images` is reached.

    The choice for a greater number therefore contains those for smaller ones.

    Args:
        patients: the patient of each image.
        images: how many at least; None for all.
        seed: another seed, another order.

    Returns:
        The chosen images.
    """
    by_patient: dict[str, list[str]] = {}
    for image, patient in patients.items():
        by_patient.setdefault(patient, []).append(image)
    chosen: list[str] = []
    for patient in sorted(by_patient, key=lambda patient: hashlib.sha256(f"nih:{seed}:{patient}".encode()).digest()):
        if images is not None and len(chosen) >= images:
            break
        chosen += by_patient[patient]
    return frozenset(chosen)


def bring_nih(
    root: Path,
    images: int | None,
    *,
    seed: int = 0,
    release: Release = NIH,
    tables: Path | None = None,
    pause: Callable[[int], None] = back_off,
) -> None:
    """Make `root` a batch of the chosen patients of `release`; ask the server only for what is missing.

    Args:
        root: the folder of the batch, new or of an earlier run.
        images: how many at least; None for all.
        seed: of the choice of patients.
        release: what to download.
        tables: a folder with official tables that were downloaded by hand; the others are looked for in `root`, then
            downloaded.
        pause: see `chestxray.datasets.download.http.download`.

    Raises:
        UserError: `images` below 1, too little disk space, or `root` or `tables` holds something else.
        DownloadError: a file could not be downloaded.
        ArchiveError: an archive holds what it should not, or lacks what it should hold.
    """
    if images is not None and images < 1:
        raise UserError(f"number of images: expected at least 1, or all; given {images}.")
    work = root / WORK
    _refuse_other_batch(root, release.tables[0])
    work.mkdir(parents=True, exist_ok=True)
    for table in release.tables:
        _bring_table(table, root, tables, pause)
    patients = _read_patients(work)
    chosen = choose_images(patients, images, seed)
    _refuse_other_images(root, chosen)
    _bring_images(root, chosen, len(patients), release.archives, pause)
    _publish(root, chosen, release)


def _read_patients(work: Path) -> dict[str, str]:
    """Return the patient of each image of the official table."""
    columns = find_table(work, TABLE, LabelNames(NIH_VOCABULARY)).columns
    rows, _ = read_columns(columns.header, columns.roles("image", "patient"))
    return dict(zip(rows["image"], rows["patient"].map(canonical_patient), strict=True))


def _refuse_other_batch(root: Path, table: RemoteFile) -> None:
    """Refuse to overwrite a batch of another origin, or to download an unpacked copy once more."""
    if (root / WORK).is_dir():
        return
    if (root / TABLE).exists() and not is_intact(root / TABLE, table):
        raise UserError(f"{root} holds another batch: its {TABLE} is not NIH's. Give another --root.")
    if any(root.glob("images_*/images")):
        raise UserError(f"{root} holds an unpacked copy. Use it as it is, or give another --root.")


def _refuse_other_images(root: Path, chosen: frozenset[str]) -> None:
    """Refuse to mix the chosen images with others that are there."""
    strays = _names(root / "images") - chosen
    if strays:
        raise UserError(
            f"{root / 'images'} holds {len(strays):,} images that are not among the {len(chosen):,} chosen, such as "
            f"{min(strays)!a}. Ask for as many as before, or all, with the same seed, or give another --root."
        )


def _bring_table(table: RemoteFile, root: Path, tables: Path | None, pause: Callable[[int], None]) -> None:
    """Copy an official table into `root/.download` from `tables` or `root`, or download it."""
    path = root / WORK / table.name
    if is_intact(path, table):
        return
    if tables is not None and (tables / table.name).exists() and not is_intact(tables / table.name, table):
        raise UserError(f"{tables / table.name} is not NIH's: expected {' or '.join(table.digests)}.")
    for folder in (tables, root):
        if folder is not None and is_intact(folder / table.name, table):
            _write(path, (folder / table.name).read_bytes())
            return
    download(table, path, pause)


def _bring_images(
    root: Path, chosen: frozenset[str], total: int, archives: Sequence[RemoteFile], pause: Callable[[int], None]
) -> None:
    """Fill `root/.download/images` with the chosen images that `root/images` lacks."""
    work = root / WORK
    ready = work / "images"
    missing = chosen - _names(root / "images") - _names(ready)
    pending = [archive for archive in archives if missing and _may_hold(work, archive, missing)]
    _check_disk(work, len(missing) / total * sum(archive.size for archive in archives), pending)
    for archive in pending:
        path = work / archive.name
        download(archive, path, pause)
        names = unpack(path, missing, ready)
        _write(_contents_list(work, archive), "".join(f"{name}\n" for name in sorted(names)).encode())
        path.unlink()
        missing -= names
    if missing:
        raise ArchiveError(f"{len(missing):,} chosen images are in none of the archives, such as {min(missing)}.")


def _contents_list(work: Path, archive: RemoteFile) -> Path:
    """Return the file that lists the images of an archive once it was unpacked."""
    return work / f"{archive.name}.contents"


def _may_hold(work: Path, archive: RemoteFile, missing: frozenset[str]) -> bool:
    contents = _contents_list(work, archive)
    return not contents.exists() or not missing.isdisjoint(contents.read_text().split())


def _check_disk(work: Path, image_bytes: float, pending: Sequence[RemoteFile]) -> None:
    """Print what will be transferred and needed, and stop when the disk has too little."""
    if not pending:
        return
    here = {archive.name: sum(file.stat().st_size for file in work.glob(f"{archive.name}*")) for archive in pending}
    to_come = {archive.name: max(0, archive.size - here[archive.name]) for archive in pending}
    need = int(MARGIN * (image_bytes + max(to_come.values())))
    free = shutil.disk_usage(work).free
    print(
        f"{sum(to_come.values()) / 1e9:,.1f} GB to transfer in {len(pending)} archives, one at a time. "
        f"Disk: {need / 1e9:,.1f} GB needed, of which {image_bytes / 1e9:,.1f} GB stay; {free / 1e9:,.1f} GB free.",
        flush=True,
    )
    if need > free:
        raise UserError(
            f"too little disk at {work}: {need / 1e9:,.1f} GB needed, {free / 1e9:,.1f} GB free. Free some, ask for "
            "fewer images, or give a --root on another disk."
        )


def _publish(root: Path, chosen: frozenset[str], release: Release) -> None:
    """Move the images and write the tables as published; the main one last, cut to the chosen images."""
    work = root / WORK
    images = root / "images"
    images.mkdir(exist_ok=True)
    for name in _names(work / "images") & chosen:
        (work / "images" / name).replace(images / name)
    for table in release.tables[1:]:
        _write(root / table.name, (work / table.name).read_bytes())
    header, *lines = (work / TABLE).read_bytes().splitlines(keepends=True)
    kept = [line for line in lines if line.split(b",", 1)[0].decode() in chosen]
    _write(root / TABLE, b"".join([header, *kept]))


def _names(folder: Path) -> frozenset[str]:
    return frozenset(file.name for file in folder.glob("*.png"))


def _write(path: Path, content: bytes) -> None:
    """Write a file whole or not at all; leave one alone that has this content."""
    if path.is_file() and path.read_bytes() == content:
        return
    with atomic_write(path) as partial:
        partial.write_bytes(content)
