"""Write heatmaps of scored files under names that no two share and every system can store."""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from chestxray.imaging.radiograph import fit
from chestxray.inference.answer import OPACITY, OVERLAY_SIZE
from chestxray.inference.card import Card
from chestxray.inference.heatmap import draw_overlay, full_scale_of
from chestxray.inference.predict import FilePrediction
from chestxray.inference.status import has_number
from chestxray.system.files import atomic_write

FILES_PER_FOLDER = 1000
UNSAFE = re.compile(r"[^A-Za-z0-9]+")
NAME_LETTERS = 40
"""Of a finding's name in that of a file."""


@dataclass(frozen=True)
class HeatmapFiles:
    """A folder of heatmaps.

    Attributes:
        folder: as it was given; the paths in the table begin with it.
        run: names the folder below it that this run's heatmaps go to, so that runs don't mix.
        of_all: whether all findings get one that have a number, or the positive ones.
    """

    folder: str
    run: str
    of_all: bool = False

    def draw(self, index: int, prediction: FilePrediction, card: Card) -> dict[int, str]:
        """Draw the heatmaps of a file, one colour scale for all of them.

        Returns:
            Their paths, by the place of the finding.

        Raises:
            OSError: one can't be written.
        """
        wanted = has_number(card.status) if self.of_all else prediction.decisions
        places = [int(place) for place in np.flatnonzero(wanted)]
        pixels = fit(prediction.radiograph.pixels, OVERLAY_SIZE)
        full_scale = full_scale_of(prediction.maps[..., places])
        paths: dict[int, str] = {}
        for place in places:
            png = draw_overlay(pixels, prediction.maps[..., place], card.covered, full_scale, OPACITY)
            paths[place] = self._write(index, place, card.findings[place], png)
        return paths

    def _write(self, index: int, place: int, finding: str, png: bytes) -> str:
        name = UNSAFE.sub("-", finding)[:NAME_LETTERS].strip("-")
        folder = Path(self.folder, self.run, f"{index // FILES_PER_FOLDER:06d}")
        path = folder / f"{index:09d}-{place + 1:03d}-{name}.png"
        with atomic_write(path) as partial:
            partial.write_bytes(png)
        return str(path)
