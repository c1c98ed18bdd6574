"""The page, against a real service on the loopback."""

import csv
import io
import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import requests
import streamlit as st
from PIL import Image
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Selectbox

from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.inference.predictions import Finding, Prediction
from serve.settings import Settings
from serve.ui_answers import MAX_FILES, MAX_KEPT, Answered, Kept, keep, table_of
from serve.ui_client import ServiceError
from serve.ui_picture import add_heat, burnt, hottest_of, shown_pixels
from serve.ui_words import describe_overlay, doubt_heatmaps
from tests.repository import TOP
from tests.serve.bundles import make_bundle, operating_points
from tests.serve.conftest import serving
from tests.serve.files import PNG, encoded

SECONDS = 60


@pytest.fixture
def page(url: str, monkeypatch: pytest.MonkeyPatch) -> AppTest:
    st.cache_data.clear()
    monkeypatch.setenv("SERVICE_URL", url)
    return AppTest.from_file(str(Path(TOP, "serve", "ui.py")), default_timeout=SECONDS).run()


def upload(page: AppTest, *files: bytes, name: str = "CANARY-NAME") -> AppTest:
    page.file_uploader[0].set_value([(f"{name}{place}.png", data, "image/png") for place, data in enumerate(files)])
    return page.run()


def picker(page: AppTest) -> Selectbox:
    """That of the finding to explain."""
    (found,) = (box for box in page.selectbox if box.label == "Explain the finding")
    return found


def words(page: AppTest) -> str:
    return " ".join(
        element.value for kind in (page.markdown, page.caption, page.warning, page.info) for element in kind
    )


def rows(page: AppTest) -> list[tuple[str, float, float, str]]:
    """Finding, probability, operating point and result, as the table says."""
    table = next(html.proto.body for html in page.get("html") if "<table class=findings" in html.proto.body)
    row = r"<th scope=row>([^<]+)</th>.*?<td>([\d.]+)</td><td>([\d.]+)</td><td>([^<]+)</td>"
    return [(name, float(p), float(point), result) for name, p, point, result in re.findall(row, table)]


def test_the_disclaimer_and_the_model_are_there_before_any_file(page: AppTest) -> None:
    assert not page.exception
    assert RESEARCH_USE_ONLY in page.warning[0].value
    assert "synthetic phantoms" in page.warning[0].value
    assert page.metric[0].label == "Mean AUROC"


def test_a_radiograph_gets_its_findings(page: AppTest) -> None:
    upload(page, PNG)
    assert not page.exception and not page.error
    table = rows(page)
    assert {name for name, *_ in table} == {name.replace("_", " ") for name in FINDINGS}
    assert [p for _, p, *_ in table] == sorted((p for _, p, *_ in table), reverse=True)
    assert all((p >= point) == (result == "detected") for _, p, point, result in table)
    detected = [name for name, *_, result in table if result == "detected"]
    assert page.header[0].value == f"Detected: {len(detected)} of 14 findings"
    assert all(f"**{name}**" in words(page) for name in detected)


def test_several_files_have_a_table_and_each_can_be_looked_at_again(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    upload(page, PNG, b"garbage", encoded(np.full((100, 100), 9, np.uint8)), name="=file")
    assert not page.exception
    files = next(html.proto.body for html in page.get("html") if "<table class=files" in html.proto.body)
    assert re.findall(r"<th scope=row>([^<]+)</th>", files) == ["=file0.png", "=file1.png", "=file2.png"]
    assert files.count("The file is refused") == 2
    first = rows(page)
    monkeypatch.setattr("requests.request", only_the_card)
    chooser = next(box for box in page.selectbox if box.label == "Radiograph")
    chooser.select_index(1).run()
    assert not page.exception and "**The file is refused.**" in page.error[0].value and "PNG" in page.error[0].value
    page.file_uploader[0].set_value(None).run()  # an answer stays when its file goes
    next(box for box in page.selectbox if box.label == "Radiograph").select_index(0).run()
    assert not page.exception and rows(page) == first
    next(button for button in page.button if button.label == "Forget all files").click().run()
    assert not page.exception and "class=files" not in str([html.proto.body for html in page.get("html")][1:])


def test_more_files_than_the_page_looks_at_are_counted(page: AppTest) -> None:
    upload(page, *[b"garbage"] * (MAX_FILES + 1))
    assert f"{MAX_FILES + 1} files were uploaded; the first {MAX_FILES} are looked at." in words(page)
    files = next(html.proto.body for html in page.get("html") if "<table class=files" in html.proto.body)
    assert files.count("<th scope=row>") == MAX_FILES


def test_files_that_are_too_large_together_are_let_go(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve.ui_answers.MAX_BYTES", 2**20)
    upload(page, bytes(2**19), bytes(2**19 + 1))
    assert "more than 1 MiB together" in page.error[0].value
    page.run()
    assert not page.error and not any("class=files" in html.proto.body for html in page.get("html")[1:])


def prediction_of(url: str, data: bytes) -> Prediction:
    options = {"heatmaps": "raw", "heatmaps_for": "all"}
    answer = httpx2.post(f"{url}/predict", files={"file": data}, params=options, timeout=SECONDS)
    return Prediction.model_validate_json(answer.content)


def test_the_table_is_that_of_the_command_line_and_runs_no_formula(url: str) -> None:
    problem = ServiceError("The file is refused", "=1", "unsupported-format")
    answers = [Answered("=cmd", problem=problem), Answered("b.png", prediction_of(url, PNG))]
    refused, good = csv.DictReader(io.StringIO(table_of(answers)))
    assert (refused["file"], refused["error"], refused["error_message"]) == ("'=cmd", "unsupported-format", "'=1")
    assert (good["quality"] == "warned" and good["checks"] == "image-size:warned") or good["quality"] == "accepted"
    for finding in answers[1].prediction.findings if answers[1].prediction else ():
        assert float(good[f"{finding.name}:probability"]) == pytest.approx(finding.probability, abs=1e-6)
        assert good[f"{finding.name}:positive"] == str(finding.positive).lower()
    assert RESEARCH_USE_ONLY in good["disclaimer"] and good["synthetic"] == "true"


def test_no_more_answers_are_kept_than_fit() -> None:
    kept: Kept = {}
    for number in range(MAX_KEPT + 3):
        keep(kept, str(number), Answered(str(number)))
        keep(kept, "0", Answered("0"))
    assert len(kept) == MAX_KEPT > MAX_FILES + 1 and list(kept)[-1] == "0" and "1" not in kept


def test_a_downloaded_overlay_carries_its_caption(url: str) -> None:
    answer, pixels = prediction_of(url, PNG), shown_pixels(PNG)
    finding = answer.findings[0]
    picture = add_heat(pixels, finding, hottest_of(answer, finding), 0.0, 0.6)
    whole = np.asarray(Image.open(io.BytesIO(burnt(picture, answer, ["what it shows"]))))
    height = len(picture)
    assert (whole[-height:] == picture).all() and whole.shape[0] > height + 60
    assert (whole[:-height] < 128).any() and (whole[:4] == 255).all()


def test_heat_fades_where_it_ends() -> None:
    values = [[0.0] * 3 + [4.0] * 4] * 7
    heatmap = {"kind": "raw", "values": values, "covers": {"left": 0.05, "top": 0.05, "width": 0.9, "height": 0.9}}
    finding = Finding.model_validate(
        {"name": "A", "title": "A", "status": "learned", "probability": 1, "threshold": 0, "positive": True}
        | {"heatmap": heatmap}
    )
    pixels = np.full((1024, 1024), 128, np.uint8)
    shown = add_heat(pixels, finding, 4.0, 0.5, 0.6).astype(int)
    assert np.abs(np.diff(shown, axis=0)).max() <= 8 and np.abs(np.diff(shown, axis=1)).max() <= 8, "a hard edge"
    assert (shown[:40] == 128).all() and (shown[500, 800] != 128).any()


def test_sliders_and_picker_need_no_new_inference(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    upload(page, PNG)
    monkeypatch.setattr("requests.request", only_the_card)
    page.toggle(key="unproven").set_value(True).run()
    page.slider(key="least").set_value(60)
    page.slider(key="opacity").set_value(10)
    picker(page).select_index(3).run()
    assert not page.exception and not page.error
    assert len(rows(page)) == 14


def place_measured(value: float, low: float | None, high: float | None, n: int = 21) -> dict[str, Any]:
    """What a card says of maps whose gain over a mean box of pixel AUROC 0.78 has this interval."""
    found = {
        "map": {"value": value, "low": None, "high": None, "n": n},
        "mean_box": {"value": 0.78, "low": None, "high": None, "n": n},
        "gain": {"value": value - 0.78, "low": low, "high": high, "n": n},
    }
    return {"pixel_auroc": found, "pointing_game": found}


@pytest.mark.parametrize(
    ("explanation", "located", "why"),
    [
        ("unproven", [place_measured(0.8, -0.17, 0.18)], "0.80, the place where the finding usually is with 0.78; the "
         "difference is +0.02 (95 % interval -0.17 to +0.18)."),
        ("unproven", [place_measured(0.9, None, None, 6)], "6 test images with boxes are too few to tell."),
        ("unproven", [place_measured(0.9, None, None, 1) ], "1 test image with a box is too few to tell."),
        ("unproven", [None], "nobody has measured it, since no test image has a box of it."),
        (None, [], "nobody has measured it, as far as the model's bundle says."),
        ("unproven", [], "boxes of test images do not show it."),
    ],
)  # fmt: skip
def test_why_a_heatmap_is_unproven_is_said_and_goes_with_the_picture(
    url: str, explanation: str | None, located: list[Any], why: str
) -> None:
    answer = prediction_of(url, PNG)
    finding = answer.findings[0].model_copy(update={"explanation": explanation})
    doubt = doubt_heatmaps(finding, {"findings": [finding.name], "localization": located})
    assert doubt.startswith(f"Heatmaps of {finding.title} are unproven, that is, not shown to point at it: ")
    assert doubt.endswith(why)
    assert doubt in describe_overlay(finding, answer, doubt, "opacity 60 %")
    shown = finding.model_copy(update={"explanation": "shown"})
    assert doubt_heatmaps(shown, {"findings": [finding.name], "localization": located}) == ""


@pytest.mark.parametrize("explanation", ["unproven", None])
def test_an_unproven_heatmap_is_shown_only_if_the_reader_asks(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, explanation: str | None
) -> None:
    real = requests.request

    def first_is_shown(*arguments: Any, **named: Any) -> requests.Response:
        answer = real(*arguments, **named)
        content = answer.json()
        for place, finding in enumerate(sorted(content.get("findings", []), key=lambda each: not each["positive"])):
            finding["explanation"] = explanation if place else "shown"
        answer._content = json.dumps(content).encode()
        return answer

    monkeypatch.setattr("requests.request", first_is_shown)
    upload(page, PNG)
    first, second = (re.sub(r" \(.*", "", option) for option in picker(page).options[:2])
    labels = [
        f"Radiograph with the Grad-CAM heat of {first} ",
        f"Radiograph with the unproven Grad-CAM heat of {second} ",
    ]
    assert [label in pictures(page) for label in labels] == [True, False]
    picker(page).select_index(1).run()
    assert not page.exception and "Radiograph with the" not in pictures(page)
    assert f"No heatmap of {second} is shown" in words(page) and "Download this overlay" not in pictures(page)
    assert f"Heatmaps of {second} are unproven" in words(page) and page.slider(key="least").disabled
    page.toggle(key="unproven").set_value(True).run()
    assert not page.exception and labels[1] in pictures(page) and "No heatmap of" not in words(page)
    assert f"Heatmaps of {second} are unproven" in words(page) and not page.slider(key="least").disabled
    picker(page).select_index(0).run()
    assert "are unproven" not in words(page) and page.toggle(key="unproven").value


def pictures(page: AppTest) -> str:
    """What the page says of its pictures and offers for download."""
    return " ".join(str(element.proto) for kind in ("image", "download_button") for element in page.get(kind))


def test_where_nothing_is_detected_the_page_says_so_and_still_explains(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = requests.request

    def none_detected(*arguments: Any, **named: Any) -> requests.Response:
        answer = real(*arguments, **named)
        content = answer.json()
        for finding in content.get("findings", []):
            finding["positive"], finding["threshold"] = False, 1.0
        answer._content = json.dumps({**content, "predicted_labels": []}).encode()
        return answer

    monkeypatch.setattr("requests.request", none_detected)
    upload(page, PNG).run()
    assert not page.exception and not page.error
    assert page.header[0].value == "Nothing detected"
    assert "not** mean that the chest is healthy" in words(page)
    assert {result.removesuffix(", uncertain") for *_, result in rows(page)} == {"not detected"}
    assert "sensitivity" not in words(page), "of a model whose card has none"


def test_the_page_says_what_decisions_are_worth_and_which_are_none(
    page: AppTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = requests.request
    rate = {"value": 0.58, "low": 0.38, "high": 0.76, "n": 31}
    worth = {"sensitivity": rate, "specificity": rate, "prevalence": 0.11, "ppv": rate | {"value": 0.41}, "npv": None}

    def judged(*arguments: Any, **named: Any) -> requests.Response:
        answer = real(*arguments, **named)
        content = answer.json()
        for finding in content.get("findings", []):
            finding |= {
                "performance": worth,
                "uncertain": True,
                "explanation": "unproven",
                "label_quality": "Labels *mined*.",
            }
        for finding in content.get("findings", [])[-1:]:
            finding |= {"positive": None, "threshold": None, "undecided_because": "no threshold is assured"}
        if "card" in content:
            content["card"]["metrics"]["test"] |= {
                "auroc": dict.fromkeys(FINDINGS, 0.84), "positives": dict.fromkeys(FINDINGS, 31),
                "auroc_ci_low": {}, "auroc_ci_high": {},
            }  # fmt: skip
        answer._content = json.dumps(content).encode()
        return answer

    monkeypatch.setattr("requests.request", judged)
    upload(page, PNG)
    assert not page.exception and not page.error
    assert "AUROC 0.84 (too few patients for an interval), 31 of 10 images have it" in words(page)
    assert "sensitivity 0.58 (95 % interval 0.38–0.76), precision 0.41 (95 % interval 0.38–0.76)" in words(page)
    assert "at a prevalence of 11.0%" in words(page) and "**Uncertain**" in words(page)
    assert "are unproven, that is, not shown to point at it\\: boxes of test images" in words(page)
    assert "Labels \\*mined\\*." in words(page)
    assert "– not decided: no threshold is assured." in words(page)


TITLES = ("Tuberculosis $x$", "*Rare* [sign](javascript:1)", "Lost <b>one</b>")


@pytest.fixture(scope="module")
def mixed_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a service whose three findings are learned, insufficient and not learned."""
    folder = make_bundle(
        tmp_path_factory.mktemp("mixed"),
        findings=("Tuberculosis", "Rare", "Lost"),
        status=("learned", "insufficient", "not learned"),
        titles=TITLES,
        operating_points=operating_points((0.0, None, None)),
        patients_known=False,
    )
    with serving(folder) as address:
        yield address


def test_the_page_shows_no_more_of_a_finding_than_its_status_allows(
    mixed_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.cache_data.clear()
    monkeypatch.setenv("SERVICE_URL", mixed_url)
    page = AppTest.from_file(str(Path(TOP, "serve", "ui.py")), default_timeout=SECONDS).run()
    assert "Patients are unknown" in words(page) and "patients that it never saw" not in words(page)
    upload(page, PNG)
    assert not page.exception and not page.error
    assert page.header[0].value == "Detected: 1 of 1 finding"
    table = next(html.proto.body for html in page.get("html") if "<table class=findings" in html.proto.body)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr class=.*?</tr>", table)]
    assert [(row[0], row[-1]) for row in cells] == [
        ("Tuberculosis $x$", "detected"),
        ("*Rare* [sign](javascript:1)", "score only"),
        ("Lost &lt;b&gt;one&lt;/b&gt;", "not learned"),
    ]
    assert [row[2] == "–" for row in cells] == [False, False, True], "a number where there is none"
    assert [row[3] == "–" for row in cells] == [False, True, True], "an operating point where there is none"
    assert ["track" in row[1] for row in cells] == [True, True, False]
    assert len(picker(page).options) == 2 and not any("Lost" in option for option in picker(page).options)
    for said in (r"**Tuberculosis \$x\$**", r"\*Rare\* \[sign\](javascript\:1).", r"Lost \<b\>one\</b\>."):
        assert said in words(page)


def test_where_nothing_is_learned_well_enough_nothing_is_decided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    st.cache_data.clear()
    metrics = {"test": {"n": 10, "patients": 5, "findings_averaged": 0, "mean_auroc_of_all": 0.75}}
    with serving(make_bundle(tmp_path, findings=("Rare",), status=("insufficient",), metrics=metrics)) as address:
        monkeypatch.setenv("SERVICE_URL", address)
        page = AppTest.from_file(str(Path(TOP, "serve", "ui.py")), default_timeout=SECONDS).run()
        upload(page, PNG)
    assert not page.exception and not page.error
    assert page.header[0].value == "Nothing is decided"
    assert (page.metric[0].label, page.metric[0].value) == ("Mean AUROC of all findings", "0.750")
    assert "no interval: too few patients" in words(page) and "no finding has decisions" in words(page)
    assert "not** mean that the chest is healthy" in words(page)


def only_the_card(method: str, url: str, **_: object) -> object:
    assert (method, url.endswith("/v1/model")) == ("GET", True), "a new inference"
    answer = httpx2.get(url, timeout=SECONDS)
    answer.ok = answer.is_success  # type: ignore[attr-defined] # as requests calls it
    return answer


def test_a_refused_file_gets_the_reason(page: AppTest) -> None:
    upload(page, b"garbage")
    assert not page.exception
    assert "**The file is refused.**" in page.error[0].value and "PNG" in page.error[0].value
    assert all(button.label != "Try again" for button in page.button), "the same file would be refused again"


def test_an_image_that_the_checks_refuse_is_answered_when_the_reader_asks_for_it(page: AppTest) -> None:
    upload(page, encoded(np.full((100, 100), 9, np.uint8)))
    assert not page.exception and "have the same grey: nothing can be seen" in page.error[0].value
    assert not any("class=findings" in html.proto.body for html in page.get("html")), "findings before they are wanted"
    page.checkbox[0].check().run()
    assert not page.exception and len(rows(page)) == 14
    assert any("the same grey: nothing can be seen." in error.value for error in page.error)
    page.toggle(key="unproven").set_value(True).run()
    assert len(rows(page)) == 14 and page.checkbox[0].value


def test_the_page_takes_files_as_large_as_the_service_does() -> None:
    mebibytes = tomllib.loads(Path(TOP, "serve", ".streamlit", "config.toml").read_text())["server"]["maxUploadSize"]
    assert 0 <= Settings().body_limit - mebibytes * 2**20 < 2**20


def test_the_checks_that_found_nothing_are_told(page: AppTest) -> None:
    upload(page, encoded(np.tile(np.arange(256, dtype=np.uint8), (256, 1))))
    assert "Image checks: accepted" in words(page)


@pytest.mark.parametrize(("status", "title"), [(503, "The service is busy"), (401, "The key is wrong")])
def test_a_service_that_refuses_is_quoted(
    page: AppTest, monkeypatch: pytest.MonkeyPatch, status: int, title: str
) -> None:
    sent = []

    def refuse(method: str, url: str, headers: dict[str, str], **_: object) -> requests.Response:
        sent.append(headers)
        problem = {"type": "any", "title": title, "status": status, "detail": "Why.", "request_id": "7"}
        answer = requests.Response()
        answer.status_code, answer._content = status, json.dumps(problem).encode()
        return answer

    monkeypatch.setenv("SERVICE_API_KEY", "secret")
    monkeypatch.setattr("requests.request", refuse)
    page.run()
    assert not page.exception
    assert page.error[0].value == f"**{title}.** Why. (Request 7)"
    assert page.button[0].label == "Try again"
    assert RESEARCH_USE_ONLY in page.warning[0].value
    assert sent == [{"X-API-Key": "secret"}]


def test_a_service_that_is_down_is_named(page: AppTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SERVICE_URL", "http://127.0.0.1:9")
    page.run()
    assert not page.exception
    assert "make serve" in page.error[0].value
