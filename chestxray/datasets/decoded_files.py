"""Keep what decoding found out about the files of a batch, beside their pixels."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from chestxray.errors import UserError

FILES = "files.parquet"
REFUSED_FILES = "refused.parquet"
NO_ROW = -1
"""The row of a file that can't be used."""
UNREADABLE = "unreadable image"
"""The kind of reason of a file that holds no image, or a damaged one."""


class DecodedFiles(NamedTuple):
    """What the files of a batch are, by their paths within it.

    Attributes:
        files: sorted by `path`: `row`, its place in the array of images, which is the earlier one's where two files
            have the same pixels; `reason` why it can't be used, and then `row` is -1, else empty; `not_frontal`, what
            its header says of another view, or empty; `content_hash` (SHA-256 of the decoded pixels), `width` and
            `height` (pixels of the image), `turned`, whether it was turned or mirrored to be upright.
        refused: `path`, `check`, `value`, `limit` of files that the service would refuse by their pixels.
    """

    files: pd.DataFrame
    refused: pd.DataFrame

    def write(self, folder: Path) -> None:
        """Write both tables into a folder."""
        self.files.to_parquet(folder / FILES, index=False)
        self.refused.to_parquet(folder / REFUSED_FILES, index=False)


def read_decoded(folder: Path) -> DecodedFiles:
    """Read what `decode_batch` wrote, but for the images.

    Raises:
        UserError: nothing is there.
    """
    if not (folder / FILES).is_file():
        raise UserError(f"batch {folder.name} is not decoded, there is no {folder / FILES}: run dvc repro")
    return DecodedFiles(pd.read_parquet(folder / FILES), pd.read_parquet(folder / REFUSED_FILES))
