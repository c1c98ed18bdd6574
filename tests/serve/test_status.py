"""What is answered about a finding goes by its status: a result only if it was learned."""

import itertools
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from chestxray.inference.status import Status
from tests.serve.bundles import make_bundle
from tests.serve.clients import ask
from tests.serve.conftest import ready_app

NAMES = ("Lost", "Tuberculosis", "Rare sign", "Effusion", "Rare_as_well")
STATUS: tuple[Status, ...] = ("not learned", "learned", "insufficient", "learned", "insufficient")
BY_STATUS = dict(zip(NAMES, STATUS, strict=True))
HEATMAPS = ("none", "inline", "link", "raw")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> TestClient:
    titles = ("Lost", "Tuberculosis of the lung", "Rare sign", "Pleural effusion", "Rare as well")
    folder = make_bundle(tmp_path_factory.mktemp("mixed"), findings=NAMES, status=STATUS, titles=titles)
    return TestClient(ready_app(folder))


def by_name(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {finding["name"]: finding for finding in answer["findings"]}


@pytest.mark.parametrize(
    ("threshold", "heatmaps", "heatmaps_for"),
    list(itertools.product((None, 0.0, 0.5, 1.0), HEATMAPS, ("positive", "all"))),
)
def test_whatever_is_asked_a_finding_says_no_more_than_its_status_allows(
    mixed: TestClient, threshold: float | None, heatmaps: str, heatmaps_for: str
) -> None:
    asked: dict[str, Any] = {} if threshold is None else {"threshold": threshold}
    answer = ask(mixed, heatmaps=heatmaps, heatmaps_for=heatmaps_for, **asked)
    found = by_name(answer)
    assert {name: finding["status"] for name, finding in found.items()} == BY_STATUS
    for finding in answer["findings"]:
        number = {"learned": finding["probability"], "insufficient": finding["score"]}.get(finding["status"])
        assert [finding["probability"], finding["score"]].count(None) == (1 if number is not None else 2)
        decided = finding["status"] == "learned" or (finding["status"] == "insufficient" and threshold is not None)
        if decided:
            assert finding["positive"] == (number >= finding["threshold"])
            assert threshold is None or finding["threshold"] == threshold
        else:
            assert finding["positive"] is None and finding["threshold"] is None
        explained = finding["positive"] or (heatmaps_for == "all" and finding["status"] != "not learned")
        assert (finding["heatmap"] is not None) == bool(explained and heatmaps != "none")
    assert answer["predicted_labels"] == [f["name"] for f in answer["findings"] if f["positive"]]
    assert "Lost" not in answer["predicted_labels"]


def test_learned_ones_come_first_and_what_is_not_learned_last(mixed: TestClient) -> None:
    findings = ask(mixed)["findings"]
    assert [finding["status"] for finding in findings] == ["learned"] * 2 + ["insufficient"] * 2 + ["not learned"]
    for status, number in (("learned", "probability"), ("insufficient", "score")):
        numbers = [finding[number] for finding in findings if finding["status"] == status]
        assert numbers == sorted(numbers, reverse=True)
    assert by_name({"findings": findings})["Effusion"]["title"] == "Pleural effusion"


def test_the_status_of_one_finding_changes_nothing_of_another(mixed: TestClient, tmp_path: Path) -> None:
    everything = TestClient(ready_app(make_bundle(tmp_path, findings=NAMES)))
    learned, some = by_name(ask(everything, threshold=0.3)), by_name(ask(mixed, threshold=0.3))
    for name, status in BY_STATUS.items():
        number = {"learned": "probability", "insufficient": "score"}.get(status)
        if number:
            assert some[name][number] == learned[name]["probability"]
            assert some[name]["positive"] == learned[name]["positive"]


def test_the_card_in_the_answer_of_the_model_says_titles_and_status(mixed: TestClient) -> None:
    card = mixed.get("/v1/model").json()["card"]
    assert card["status"] == list(STATUS) and card["titles"][1] == "Tuberculosis of the lung"


@pytest.mark.parametrize("count", [1, 5, 20, 200])
def test_any_number_of_findings_is_answered(count: int, tmp_path: Path) -> None:
    names = tuple(f"Sign {place}" for place in range(count))
    answer = ask(TestClient(ready_app(make_bundle(tmp_path, findings=names))), heatmaps="raw", heatmaps_for="all")
    assert len(answer["findings"]) == count
