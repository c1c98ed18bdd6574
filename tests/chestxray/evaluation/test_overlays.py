"""Overlays of images whose names are paths, and of findings of any name."""

import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.overlays import Pixels, choose_studies, write_overlays
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import Bundle
from chestxray.inference.caption import captioned
from chestxray.inference.card import write_card
from tests.chestxray.conftest import PARAMS
from tests.chestxray.other_findings import with_findings

BOXES = pd.DataFrame(columns=["batch", "image", "finding", "x", "y", "w", "h"])
NAMES = ("Edema (alveolär) / ../../x", "Edema [alveolär] / ../../x", "肺炎", "x" * 100)
"""Two differ in brackets only; all are names that a bundle may have."""
IMAGES = (
    "patient1/study1/view1.jpg",
    "patient2/study1/view1.jpg",
    "patient2/study1/view1.png",
    "../../etc\x1b/a\nb.png",
)


def test_no_overlay_takes_the_name_of_another_or_leaves_its_folder(
    dataset: Dataset, bundle_folder: Path, tmp_path: Path
) -> None:
    bundle = Bundle(with_findings(bundle_folder, dict(zip(NAMES, range(4), strict=True)), tmp_path / "bundle"))
    bundle.thresholds[:] = 0.0
    four = dataset.split("test").studies[:4].assign(image=IMAGES)
    studies = four.drop(columns=list(dataset.findings)).join(pd.DataFrame(1, four.index, list(NAMES)))
    index = write_overlays(
        bundle, Dataset(studies, dataset.images), [0, 1, 2, 3], BOXES, PARAMS.gradcam, tmp_path / "a" / "overlays"
    )
    assert set(zip(index["image"], index["finding"], strict=True)) == {(i, f) for i in IMAGES for f in NAMES}
    files = {path.name for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert len(index) == len(files) == 16 and set(index["file"]) == files
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{1,90}\.png", name) for name in files)
    assert "patient1_study1_view1_jpg" in index["file"][0]


def test_overlays_are_of_what_the_status_lets_be_decided_and_named_by_their_titles(
    dataset: Dataset, bundle_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(bundle_folder, tmp_path / "bundle"))
    status = ("insufficient", "not learned", *["learned"] * 12)
    titles = tuple(f"Title {place}" for place in range(14))
    write_card(Bundle(folder).card.model_copy(update={"status": status, "titles": titles}), folder)
    bundle = Bundle(folder)
    bundle.thresholds[:] = 0.0
    lines: list[str] = []

    def remember(picture: Pixels, said: list[str], *arguments: object, **named: object) -> Pixels:
        lines.append(said[0])
        return picture

    monkeypatch.setattr("chestxray.evaluation.overlays.captioned", remember)
    index = write_overlays(bundle, dataset.split("test"), [0], BOXES, PARAMS.gradcam, tmp_path / "overlays")
    assert set(index["finding"]) == set(FINDINGS[2:])
    assert {line.partition("  p = ")[0] for line in lines} == set(titles[2:])


def test_the_peak_is_the_centre_of_the_hottest_cell(dataset: Dataset, bundle_folder: Path, tmp_path: Path) -> None:
    bundle = Bundle(bundle_folder)
    bundle.thresholds[:] = 0.0
    test = dataset.split("test")
    index = write_overlays(bundle, test, [0], BOXES, PARAMS.gradcam, tmp_path / "overlays").set_index("finding")
    [maps] = bundle.predict(np.asarray(test.pixels(0))[None, ..., None])[1]
    card = bundle.card
    side = card.input_size / len(maps)
    for place, finding in enumerate(card.findings):
        y, x = np.unravel_index(int(maps[..., place].argmax()), maps.shape[:2])
        for found, cell in ((index["peak_x"][finding], x), (index["peak_y"][finding], y)):
            assert abs(found + 0.5 - (card.size - card.input_size) / 2 - (cell + 0.5) * side) <= 1


def test_a_caption_is_broken_where_it_is_too_long() -> None:
    picture = np.zeros((540, 540, 3), np.uint8)
    assert captioned(picture, ["short"]).shape == (540 + 28 + 20, 540, 3)
    long = captioned(picture, ["W" * 100, "a\x1b[31m\nb"])
    lines, rest = divmod(long.shape[0] - 540 - 20, 28)
    assert (lines >= 4 and rest <= 3) and long.shape[1] == 540
    assert (long[: 20 + 28 * lines, -5:] == 255).all()  # nothing runs over the edge


def test_every_finding_gets_its_turn() -> None:
    for k in (1, 5, 20, 200):
        decisions = np.zeros((40, k), bool)
        decisions[np.arange(40), np.arange(40) % k] = True
        shown = decisions[choose_studies(decisions, 24, seed=0)].any(axis=0)
        assert shown.sum() == min(k, 24)
