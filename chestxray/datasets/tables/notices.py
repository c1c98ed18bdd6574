"""Read the lists that lie beside a table: findings that a batch does not label, and names of images."""

import os
from pathlib import Path

from chestxray.batch_layout import SYNTHETIC_NOTICE, UNLABELLED_NOTICE
from chestxray.datasets.tables.image_files import check_inside
from chestxray.datasets.tables.text_table import MAX_TABLE_BYTES, encoding_of
from chestxray.errors import UserError
from chestxray.findings import FINDINGS

MAX_NOTICE_BYTES = 4096


def is_synthetic(root: Path, follow_links: bool = False) -> bool:
    """Return whether a batch says that its images are drawn.

    Raises:
        UserError: what says so is no regular file in the batch.
    """
    path = root / SYNTHETIC_NOTICE
    if not os.path.lexists(path):
        return False
    check_inside(root, path, "the notice that images are drawn", follow_links)
    return True


def read_unlabelled(root: Path, findings: tuple[str, ...], follow_links: bool = False) -> tuple[str, ...]:
    """Return the findings that a batch does not label, in their order; none without the file that lists them.

    It may name others of NIH's too, which are not asked for here.

    Raises:
        UserError: the file names an unknown finding, all or none of them, or is no list.
    """
    path = root / UNLABELLED_NOTICE
    if not os.path.lexists(path):
        return ()
    check_inside(root, path, "the list of findings that are not labelled", follow_links)
    with path.open("rb") as file:
        content = file.read(MAX_NOTICE_BYTES + 1)
    try:
        names = _parse_unlabelled(content, findings)
    except ValueError as error:  # not UTF-8 is one too
        mend = f"Name the findings that the batch does not label, one a line: some of {', '.join(findings)}"
        raise UserError(f"{path}: {error}. {mend}") from error
    return tuple(finding for finding in findings if finding in names)


def _parse_unlabelled(content: bytes, findings: tuple[str, ...]) -> set[str]:
    if len(content) > MAX_NOTICE_BYTES:
        raise ValueError(f"longer than {MAX_NOTICE_BYTES} bytes")
    names = {line.strip() for line in content.decode("utf-8-sig").splitlines()} - {""}
    unknown = sorted(names.difference(findings, FINDINGS))
    if unknown:
        raise ValueError(f"unknown finding {unknown[0][:100]!a}")
    if names.issuperset(findings):
        raise ValueError(f"it names all {len(findings)} findings, so the batch has no labels at all")
    if not names:
        raise ValueError("it names no finding; delete it where all are labelled")
    return names


def read_image_list(root: Path, name: str, follow_links: bool = False) -> tuple[str, ...]:
    """Read the lines of a list of images, each once, in their order.

    Args:
        root: the batch.
        name: of the list within it.
        follow_links: whether it may be a link that leads out of the batch.

    Raises:
        UserError: there is no such file in the batch, or it is no text.
    """
    path = root / name
    check_inside(root, path, "a list of images, one a line", follow_links)
    if path.stat().st_size > MAX_TABLE_BYTES:
        raise UserError(f"{path} is larger than {MAX_TABLE_BYTES:,} bytes: it lists images, one a line")
    lines = path.read_text(encoding=encoding_of(path), errors="replace").split("\n")
    return tuple(dict.fromkeys(line for text in lines if (line := text.strip())))
