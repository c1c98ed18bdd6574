"""What clients of the service can rely on."""

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.imaging.decode import decode
from chestxray.imaging.radiograph import resize
from chestxray.inference.bundle import Bundle
from chestxray.inference.label_quality import known_quality
from tests.dicom_files import dicom
from tests.serve.bundles import INPUT_SIZE, METRICS, SIZE, TESTED, make_bundle
from tests.serve.clients import Service, ask
from tests.serve.conftest import ready_app
from tests.serve.files import GREY, JPEG, PNG, REFUSED, USABLE, encoded

DICOM = dicom(GREY)


def test_answers_what_the_bundle_says(client: TestClient, bundle: Path) -> None:
    opened = Bundle(bundle)
    (expected,), _ = opened.predict(resize(decode(PNG).pixels, SIZE)[None, ..., None])
    answer = ask(client)
    given = {finding["name"]: finding for finding in answer["findings"]}
    assert [given[name]["probability"] for name in FINDINGS] == pytest.approx(expected, abs=1e-6)
    assert [given[name]["threshold"] for name in FINDINGS] == list(opened.card.thresholds())
    probabilities = [finding["probability"] for finding in answer["findings"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert all(f["positive"] == (f["probability"] >= f["threshold"]) for f in answer["findings"])
    assert answer["predicted_labels"] == [f["name"] for f in answer["findings"] if f["positive"]]
    assert RESEARCH_USE_ONLY in answer["disclaimer"] and "synthetic" in answer["disclaimer"]
    assert (answer["image"]["width"], answer["image"]["height"], answer["image"]["format"]) == (100, 120, "PNG")


def test_a_threshold_overrides_every_operating_point(client: TestClient) -> None:
    assert ask(client, threshold=1)["predicted_labels"] == []
    assert len(ask(client, threshold=0)["predicted_labels"]) == 14


def test_raw_maps_add_up_to_the_probability(client: TestClient, bundle: Path) -> None:
    """mean(map) + bias = logit, and Platt's curve on it is the probability."""
    card = Bundle(bundle).card
    answer = ask(client, heatmaps="raw", heatmaps_for="all")
    for finding in answer["findings"]:
        place, curve = FINDINGS.index(finding["name"]), card.calibration[finding["name"]]
        logit = np.mean(finding["heatmap"]["values"]) + card.bias[place]
        assert 1 / (1 + np.exp(-curve["slope"] * logit - curve["intercept"])) == pytest.approx(
            finding["probability"], abs=1e-3
        )
        assert finding["heatmap"]["covers"]["width"] == INPUT_SIZE / SIZE
        assert finding["heatmap"]["covers"]["left"] == (SIZE - INPUT_SIZE) / 2 / SIZE


def test_heatmaps_are_for_positive_findings_unless_all_are_wanted(client: TestClient) -> None:
    answer = ask(client, heatmaps="inline", threshold=0.5)
    assert 0 < len(answer["predicted_labels"]) < 14
    for finding in answer["findings"]:
        assert (finding["heatmap"] is not None) == finding["positive"]
    assert all(f["heatmap"] is None for f in ask(client)["findings"])


def test_inline_and_linked_overlays_are_the_same_picture(client: TestClient) -> None:
    inline = ask(client, heatmaps="inline", heatmaps_for="all")["findings"][0]["heatmap"]
    linked = ask(client, heatmaps="link", heatmaps_for="all")["findings"][0]["heatmap"]
    fetched = client.get(linked["url"])
    assert fetched.headers["cache-control"] == "no-store"
    assert fetched.content == base64.b64decode(inline["png"])
    assert Image.open(io.BytesIO(fetched.content)).size == (round(512 * 100 / 120), 512)  # as GREY is


def test_a_jpeg_is_the_same_picture_in_fewer_bytes(client: TestClient) -> None:
    files = [
        base64.b64decode(ask(client, heatmaps=kind, heatmaps_for="all")["findings"][0]["heatmap"][field])
        for kind, field in (("inline", "png"), ("jpeg", "jpeg"))
    ]
    png, jpeg = (Image.open(io.BytesIO(file)) for file in files)
    assert (png.format, jpeg.format) == ("PNG", "JPEG") and png.size == jpeg.size
    difference = np.abs(np.asarray(png, float) - np.asarray(jpeg, float))
    assert difference.mean() < 4 and len(files[1]) < len(files[0]) / 2


def test_the_scale_of_overlays_is_the_hottest_cell(client: TestClient) -> None:
    def heatmaps(kind: str) -> list[Any]:
        return [finding["heatmap"] for finding in ask(client, heatmaps=kind, heatmaps_for="all")["findings"]]

    hottest = max(np.max(heatmap["values"]) for heatmap in heatmaps("raw"))
    for kind in ("inline", "jpeg", "link"):
        assert [heatmap["full_scale"] for heatmap in heatmaps(kind)] == [pytest.approx(hottest, abs=1e-4)] * 14


@pytest.mark.parametrize("name", USABLE)
def test_odd_but_usable_files_are_answered(client: TestClient, name: str) -> None:
    assert len(ask(client, USABLE[name])["findings"]) == 14


@pytest.mark.parametrize("name", REFUSED)
def test_other_files_are_refused_with_a_reason(client: TestClient, name: str) -> None:
    data, status = REFUSED[name]
    answer = client.post("/predict", files={"file": ("radiograph.png", data, "image/png")})
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), problem
    assert (
        problem["status"] == status
        and problem["detail"]
        and problem["type"]
        in (
            {413: ["image-too-large"], 415: ["unsupported-format"], 422: ["unreadable-image", "not-a-radiograph"]}[
                status
            ]
        )
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from([PNG, JPEG, DICOM]), st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 255)), min_size=1)
)
def test_no_damage_gives_a_500(client: TestClient, source: bytes, edits: list[tuple[int, int]]) -> None:
    data = bytearray(source)
    for place, value in edits:
        data[place % len(data)] = value
    assert client.post("/predict", files={"file": bytes(data)}).status_code in (200, 413, 415, 422)


def test_sixteen_bits_and_eight_give_the_same(client: TestClient) -> None:
    deep = ask(client, encoded(GREY.astype(np.uint16) * 257))
    assert deep["image"]["bit_depth"] == 16
    assert deep["findings"] == ask(client)["findings"]


UNIFORM = encoded(np.full((100, 100), 9, np.uint8))


def test_the_quality_of_an_image_is_told_and_its_sentences_stand_beside_it(client: TestClient) -> None:
    quality = ask(client, data=encoded(np.tile(np.arange(256, dtype=np.uint8), (256, 1))))["quality"]
    assert quality == {"verdict": "accepted", "checks": []}
    small = ask(client, data=encoded(GREY[: SIZE - 1, : SIZE - 1]))
    (check,) = small["quality"]["checks"]
    assert (small["quality"]["verdict"], check["name"], check["value"], check["limit"]) == (
        "warned", "image-size", SIZE - 1, SIZE
    )  # fmt: skip
    assert small["image"]["warnings"] == [check["message"]]


def test_what_the_checks_refuse_says_which_and_is_answered_anyway_when_asked(client: TestClient) -> None:
    refused = client.post("/predict", files={"file": UNIFORM})
    assert (refused.status_code, refused.json()["type"]) == (422, "not-a-radiograph")
    (check,) = refused.json()["quality"]["checks"]
    assert (check["name"], check["verdict"]) == ("blank", "refused") and check["message"] in refused.json()["detail"]
    answer = client.post("/predict?accept_anyway=true", files={"file": UNIFORM}).json()
    assert answer["quality"] == refused.json()["quality"] and answer["image"]["warnings"] == [check["message"]]
    assert len(answer["findings"]) == len(FINDINGS)


def test_a_batch_refuses_or_answers_each_file_alike(client: TestClient) -> None:
    files = [("file", UNIFORM), ("file", PNG)]
    refused, good = client.post("/predict/batch", files=files).json()["answers"]
    assert (refused["type"], refused["quality"]["verdict"]) == ("not-a-radiograph", "refused") and good["findings"]
    anyway, _ = client.post("/predict/batch?accept_anyway=true", files=files).json()["answers"]
    assert anyway["quality"]["verdict"] == "refused" and anyway["findings"]


def test_answers_of_a_batch_carry_the_place_of_their_file_also_those_that_failed(client: TestClient) -> None:
    files = [("file", data) for data in (PNG, b"no image", JPEG, UNIFORM)]
    answers = client.post("/predict/batch", files=files).json()["answers"]
    assert [answer["index"] for answer in answers] == [0, 1, 2, 3]
    assert ["findings" in answer for answer in answers] == [True, False, True, False]


def test_damage_is_refused_whatever_is_asked(client: TestClient) -> None:
    damaged = client.post("/predict?accept_anyway=true", files={"file": PNG[: len(PNG) // 2]})
    assert (damaged.status_code, damaged.json()["type"], damaged.json()["quality"]) == (422, "unreadable-image", None)


@pytest.mark.parametrize("threshold", ["nan", "inf", "-0.1", "1.01", "1e400", "high"])
def test_thresholds_outside_0_to_1_are_refused(client: TestClient, threshold: str) -> None:
    answer = client.post("/predict", files={"file": PNG}, params={"threshold": threshold})
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")


def test_requests_without_a_file_are_refused_without_quoting_them(client: TestClient) -> None:
    for content in (
        b"CANARY",
        b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nCANARY\r\n--b--\r\n',
        b"--b\r\n",
    ):
        answer = client.post("/predict", content=content, headers={"content-type": "multipart/form-data; boundary=b"})
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert "CANARY" not in answer.text


def test_a_form_has_no_other_fields(client: TestClient) -> None:
    for path in ("/predict", "/predict/batch"):
        answer = client.post(path, files={"file": PNG}, data={"W" * 500: "CANARY"})
        assert answer.status_code == 422 and "Extra inputs are not permitted" in answer.json()["detail"]
        assert "CANARY" not in answer.text and len(answer.json()["detail"]) < 150


def test_the_card_has_an_etag(client: TestClient) -> None:
    answer = client.get("/v1/model")
    assert answer.json()["card"]["findings"] == list(FINDINGS)
    assert client.get("/v1/model", headers={"If-None-Match": answer.headers["etag"]}).status_code == 304


def test_the_documentation_shows_every_error(client: TestClient) -> None:
    assert client.get("/", follow_redirects=False).headers["location"] == "/docs"
    responses = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["responses"]
    assert set(responses) == {"200", "401", "408", "413", "415", "422", "500", "503", "507"}
    examples = responses["503"]["content"]["application/problem+json"]["examples"]
    assert set(examples) == {"overloaded", "model-unavailable"}


def test_the_document_says_which_files_are_taken(client: TestClient) -> None:
    for path in ("/predict", "/predict/batch"):
        body = client.get("/openapi.json").json()["paths"][path]["post"]["requestBody"]["content"]
        kinds = body["multipart/form-data"]["encoding"]["file"]["contentType"]
        assert kinds == "image/png, image/jpeg, image/tiff, image/jp2, application/dicom"


def test_every_answer_and_error_has_an_example(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    shown = {"examples", "const", "enum", "default", "$ref", "anyOf", "items", "format"}
    for schema in document["components"]["schemas"].values():
        for name, field in schema.get("properties", {}).items():
            assert shown & set(field) or field["type"] == "boolean", name
    for path, operation in document["paths"].items():
        for status, answer in next(iter(operation.values()))["responses"].items():
            content = answer.get("content", {})
            if int(status) >= 400 and path != "/readyz":
                assert content["application/problem+json"]["examples"], (path, status)
            elif "image/png" not in content:
                assert any({"example", "$ref"} & {*kind, *kind.get("schema", {})} for kind in content.values()), path


def test_the_key_is_documented_where_it_is_asked_for(service: Service) -> None:
    document = service(api_key="a key of this test alone").get("/openapi.json").json()
    (scheme,) = document["components"]["securitySchemes"].values()
    assert (scheme["in"], scheme["name"]) == ("header", "X-API-Key")
    guarded = {path for path, operation in document["paths"].items() if "security" in next(iter(operation.values()))}
    assert guarded == {"/predict", "/predict/batch", "/v1/model", "/v1/model/card", "/metrics"}
    assert "securitySchemes" not in service().get("/openapi.json").json()["components"]


def test_other_sites_may_call_only_if_named(service: Service) -> None:
    origin = {"Origin": "https://radiology.example"}
    assert "access-control-allow-origin" not in service().get("/livez", headers=origin).headers
    allowed = service(cors_origins=("https://radiology.example",), api_key="a key of this test alone")
    asking = {**origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "X-API-Key"}
    preflight = allowed.options("/predict", headers=asking)
    assert preflight.status_code == 200
    exposed = allowed.get("/livez", headers=origin).headers["access-control-expose-headers"]
    assert {"X-Request-ID", "Retry-After"} <= set(exposed.split(", "))
    assert allowed.get("/v1/model", headers=origin).status_code == 401
    assert allowed.get("/v1/model", headers=origin).headers["access-control-allow-origin"] == origin["Origin"]
    stranger = {"Origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in allowed.get("/livez", headers=stranger).headers


def test_nothing_is_redirected_to_another_scheme(client: TestClient) -> None:
    for method, path in (("POST", "/predict/"), ("POST", "/predict/batch/"), ("GET", "/livez/"), ("GET", "/v1/model/")):
        answer = client.request(method, path, headers={"Host": "example.org"}, follow_redirects=False)
        assert (answer.status_code, answer.json()["type"]) == (404, "not-found")


def test_two_files_are_too_many_for_one_prediction(client: TestClient) -> None:
    answer = client.post("/predict", files=[("file", PNG), ("file", PNG)])
    assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")
    assert "Maximum number of files is 1" in answer.json()["detail"]


def test_an_answer_is_by_the_operating_point_asked_for_and_says_what_its_decisions_are_worth(
    client: TestClient,
) -> None:
    usual, other = (ask(client, **asked) for asked in ({}, {"operating_point": TESTED}))
    assert (usual["operating_point"], other["operating_point"]) == ("f1", TESTED)
    by_name = {finding["name"]: finding for finding in other["findings"]}
    last = by_name.pop(FINDINGS[-1])
    assert (last["threshold"], last["positive"], last["undecided_because"]) == (None, None, "it needs 29 patients")
    assert last["performance"] is None and last["probability"] is not None
    for finding in by_name.values():
        assert finding["threshold"] == 0.1 and finding["positive"] == (finding["probability"] >= 0.1)
        worth = finding["performance"]
        assert worth["sensitivity"] == {"value": 0.9, "low": 0.8, "high": 0.95, "n": 50} and worth["prevalence"] == 0.1
        assert worth["ppv"] == {"value": 45 / 135, "low": 0.2, "high": 0.5, "n": 135} and worth["npv"]["low"] is None
    assert all(finding["performance"] is None for finding in usual["findings"])  # nobody tested that one


def test_what_is_uncertain_and_what_heatmaps_are_worth_is_in_the_answer(client: TestClient) -> None:
    by_name = {finding["name"]: finding for finding in ask(client)["findings"]}
    assert by_name[FINDINGS[-1]]["uncertain"] is None
    inside = [by_name[name]["uncertain"] for name in FINDINGS[:-1]]
    assert inside == [0.4 <= by_name[name]["probability"] <= 0.6 for name in FINDINGS[:-1]] and any(inside)
    assert [by_name[name]["explanation"] for name in FINDINGS] == ["shown", *["unproven"] * 13]


def test_the_model_card_is_markdown_and_a_figure_that_the_bundle_lacks_is_named(
    client: TestClient, tmp_path: Path
) -> None:
    lacking = client.get("/v1/model/card")
    assert lacking.status_code == 404 and lacking.json()["type"] == "not-found"
    assert "no metrics.test.findings_scored, which the model card needs" in lacking.json()["detail"]
    counts = {"findings_averaged": 0, "findings_scored": 0}
    whole = make_bundle(tmp_path / "whole", metrics={"test": METRICS | counts})
    with TestClient(ready_app(whole)) as other:
        answer = other.get("/v1/model/card")
        assert answer.status_code == 200 and answer.headers["content-type"] == "text/markdown; charset=utf-8"
        assert (
            answer.text.startswith("---\nlicense: apache-2.0\n")
            and "| `sensitivity@0.9` | Mass | 0.100 |" in answer.text
        )
        again = other.get("/v1/model/card", headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304 and not again.content


def test_what_radiologists_found_of_the_labels_is_said_of_their_findings(tmp_path: Path) -> None:
    labels = known_quality({"nih": "NIH ChestX-ray14"}, FINDINGS)
    with TestClient(ready_app(make_bundle(tmp_path / "nih", label_quality=labels))) as client:
        said = {finding["name"]: finding["label_quality"] for finding in ask(client)["findings"]}
    assert "0.46 of those so labelled show pneumothorax" in said["Pneumothorax"]
    assert said["Mass"] == said["Nodule"] and "4376 images" in said["Mass"] and said["Hernia"] is None


def test_predictive_values_are_given_for_another_prevalence(client: TestClient) -> None:
    answer = ask(client, operating_point=TESTED, prevalence=0.01)
    worth = answer["findings"][0]["performance"] or answer["findings"][1]["performance"]
    assert worth["prevalence"] == 0.01
    assert worth["ppv"]["value"] == pytest.approx(0.9 * 0.01 / (0.9 * 0.01 + 0.2 * 0.99))
    assert worth["npv"]["value"] == pytest.approx(0.8 * 0.99 / (0.8 * 0.99 + 0.1 * 0.01))
    assert worth["ppv"]["low"] < worth["ppv"]["value"] and worth["npv"]["low"] < worth["npv"]["value"]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"operating_point": "best"}, "this model has f1, sensitivity@0.9, and no other"),
        ({"operating_point": TESTED, "threshold": 0.5}, "not both"),
        ({"prevalence": 0}, "prevalence"),
        ({"prevalence": 5e-324}, "prevalence"),
        ({"prevalence": 1}, "prevalence"),
        ({"operating_point": "x" * 41}, "operating_point"),
    ],
)
def test_an_operating_point_that_the_model_lacks_is_refused_with_those_that_it_has(
    client: TestClient, asked: dict[str, object], said: str
) -> None:
    for path, field in (("/predict", "file"), ("/predict/batch", "file")):
        answer = client.post(path, files={field: PNG}, params=asked)
        assert answer.status_code == 422 and answer.json()["type"] == "invalid-request"
        assert said in answer.json()["detail"]


def test_a_field_of_text_is_no_file(client: TestClient) -> None:
    for path in ("/predict", "/predict/batch"):
        answer = client.post(path, data={"file": "text"}, files={"other": b""})
        assert answer.status_code == 422 and "send the radiograph as a file, not as text" in answer.json()["detail"]
    both = client.post("/predict", data={"file": "text"}, files={"file": PNG})
    assert (both.status_code, both.json()["detail"][:24]) == (422, "body.file: given 2 times")


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("prevalence=0.1&prevalence=0.2", "query.prevalence: given 2 times"),
        ("operating_point=a&operating_point=b", "query.operating_point: given 2 times"),
        ("operating_point=", "query.operating_point: empty"),
    ],
)
def test_options_that_would_be_dropped_are_refused(client: TestClient, query: str, said: str) -> None:
    for path in ("/predict", "/predict/batch"):
        answer = client.post(f"{path}?{query}", files={"file": PNG})
        assert (answer.status_code, answer.json()["type"]) == (422, "invalid-request")
        assert answer.json()["detail"].startswith(said)
