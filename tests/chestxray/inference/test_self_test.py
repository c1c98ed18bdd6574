"""A model serves with the findings that it was trained on, however many; a card that contradicts it does not."""

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from chestxray.inference.answer import Model, answer
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import CARD, BundleError, write_card
from chestxray.inference.predictions import ModelInfo, Options
from chestxray.inference.self_test import open_tested
from chestxray.system.files import write_json
from tests.chestxray.other_findings import with_findings
from tests.serve.bundles import operating_points


@pytest.mark.parametrize("count", [1, 5, 20])
def test_a_model_of_any_findings_answers_with_them(count: int, bundle_folder: Path, tmp_path: Path) -> None:
    columns = {f"Sign {place}": place % 14 for place in range(count)}
    bundle = open_tested(with_findings(bundle_folder, columns, tmp_path / "bundle"), threads=1)
    file = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(256, size=(90, 80), dtype=np.uint8)).save(file, "PNG")
    model = Model(ModelInfo(name="m", sha256="0" * 64, synthetic=True), bundle)
    options = Options(heatmaps="raw", heatmaps_for="all", accept_anyway=True)
    given = {finding.name: finding for finding in answer(model, file.getvalue(), options, 10_000, "1").findings}
    assert given.keys() == columns.keys()
    was = Bundle(bundle_folder, 1)
    whole = {f.name: f for f in answer(model._replace(bundle=was), file.getvalue(), options, 10_000, "1").findings}
    for name, place in columns.items():
        same = whole[was.card.findings[place]]
        assert given[name].probability == pytest.approx(same.probability, abs=1e-6)
        assert given[name].threshold == same.threshold and given[name].positive == same.positive


def points(*thresholds: float) -> dict[str, list[dict[str, float]]]:
    return {"f1": [{"threshold": threshold} for threshold in thresholds]}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"findings": ("B", "A", "C")}, "disagree about the names or the order of the findings"),
        ({"findings": ("A", "B", "D")}, "calibration must name the 3 findings of the model"),
        ({"findings": ("A", "B")}, "titles must be one for each of the 2 findings, got 3"),
        ({"operating_points": points(0.5, 0.5)}, r"operating_points\.f1 must be one for each of the 3 findings, got 2"),
        ({"bias": (0.0,)}, "bias must be one for each of the 3 findings, got 1"),
        ({"operating_points": points(0.5, 0.5, 2.0)}, r"operating_points.*: Input should be less than or equal to 1"),
        ({"findings": ("A", "B", "A")}, "finding 3 of 3 has the name of an earlier one"),
        ({"findings": ()}, "1 to 200 findings, got 0"),
        ({"findings": ("A", "B", "C" * 101)}, "finding 3 of 3 must be 1 to 100 printable characters"),
    ],
)
def test_a_card_that_contradicts_itself_or_its_model_is_refused(
    changes: dict[str, Any], message: str, bundle_folder: Path, tmp_path: Path
) -> None:
    folder = with_findings(bundle_folder, {"A": 0, "B": 3, "C": 7}, tmp_path / "bundle")
    write_json(folder / CARD, Bundle(folder).card.model_dump() | changes)
    with pytest.raises(BundleError, match=message):
        open_tested(folder, threads=1)


def test_a_model_of_another_width_is_refused(bundle_folder: Path, tmp_path: Path) -> None:
    narrow = with_findings(bundle_folder, {"A": 0, "B": 3}, tmp_path / "narrow")
    card = Bundle(narrow).card
    calibration = card.calibration | {"C": card.calibration["A"]}
    wide = {"findings": ("A", "B", "C"), "titles": ("A", "B", "C"), "status": (*card.status, "learned"), "evidence": ()}
    wide |= {"bias": (*card.bias, 0.0), "calibration": calibration, "uncertain": (), "explanation": ()}
    wide |= {"operating_points": operating_points((*card.thresholds(), 0.5))}
    write_card(card.model_copy(update=wide), narrow)
    with pytest.raises(BundleError, match="disagree about the names or the order of the findings"):
        open_tested(narrow, threads=1)
