"""The page, against a real service on the loopback."""

from pathlib import Path

import httpx2
import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from serve.settings import REPOSITORY
from tests.serve.files import PNG

SECONDS = 60


@pytest.fixture
def page(url: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    st.cache_data.clear()
    monkeypatch.setenv("SERVICE_URL", url)
    return AppTest.from_file(str(Path(REPOSITORY, "serve", "ui.py")), default_timeout=SECONDS).run()


def upload(page: AppTest, data: bytes) -> AppTest:
    page.file_uploader(key="upload").set_value(("CANARY-NAME.png", data, "image/png"))
    return page.run()


def words(page: AppTest) -> str:
    return " ".join(
        element.value for kind in (page.markdown, page.caption, page.warning, page.info) for element in kind
    )


def test_the_disclaimer_and_the_model_are_there_before_any_file(page: AppTest) -> None:
    assert not page.exception
    assert RESEARCH_USE_ONLY in words(page)
    assert "synthetic phantoms" in words(page)
    assert page.metric[0].label == "Mean AUROC"


def test_a_radiograph_gets_its_findings(page: AppTest) -> None:
    upload(page, PNG)
    assert not page.exception and not page.error
    assert [heading.value for heading in page.subheader] == ["Detected", "Probabilities"]
    table = page.dataframe[0].value
    assert set(table["Finding"]) == {name.replace("_", " ") for name in FINDINGS}
    assert table["Probability"].is_monotonic_decreasing
    assert ((table["Probability"] >= table["Operating point"]) == (table["Result"] == "detected")).all()
    for name in table.loc[table["Result"] == "detected", "Finding"]:
        assert f"**{name}**" in words(page)


def test_sliders_and_picker_need_no_new_inference(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(page, PNG)
    monkeypatch.setattr("requests.request", only_the_card)
    page.slider(key="least").set_value(60)
    page.slider(key="opacity").set_value(10)
    page.selectbox(key="finding").select(FINDINGS[3]).run()
    assert not page.exception and not page.error
    assert len(page.subheader) == 2


def only_the_card(method: str, url: str, **_: object) -> object:
    assert (method, url.endswith("/v1/model")) == ("GET", True), "a new inference"
    answer = httpx2.get(url)
    answer.ok = answer.is_success  # type: ignore[attr-defined] # as requests calls it
    return answer


def test_a_refused_file_gets_the_reason(page: AppTest) -> None:
    upload(page, b"garbage")
    assert not page.exception
    assert "neither PNG nor JPEG" in page.error[0].value


def test_a_service_that_is_down_is_named(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_URL", "http://127.0.0.1:9")
    page.run()
    assert not page.exception
    assert "make serve" in page.error[0].value
