"""Groups of patients and images: their figures are those of their images alone, and differences are rarely false."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from chestxray.evaluation.evaluate import Evaluation, evaluate_model
from chestxray.evaluation.figures import Panel, subgroups_figure
from chestxray.evaluation.groups import study_groups
from chestxray.evaluation.subgroups import card_subgroups, subgroup_table
from chestxray.findings import FINDINGS
from chestxray.inference.bundle import Bundle
from chestxray.inference.card import Card
from chestxray.inference.subgroup import ANY, MAX_SUBGROUPS
from chestxray.metrics.group_measures import measure_groups
from chestxray.metrics.holm import holm
from chestxray.metrics.table import Predictions
from tests.chestxray.conftest import EVALUATE
from tests.chestxray.sample import masks

FOUR = FINDINGS[:4]


def people(generator, patients=150, images=2):
    """A table of studies: two images a patient, of both views, at two sites."""
    rows = patients * images
    return pd.DataFrame({
        "patient": np.arange(patients).repeat(images).astype(str),
        "sex": generator.choice(["F", "M"], patients).repeat(images),
        "age": pd.Series(generator.integers(20, 79, patients).repeat(images), dtype="Int16"),
        "view": np.tile(["PA", "AP"], rows // 2),
        "batch": generator.choice(["here", "there", "elsewhere"], patients).repeat(images),
    })  # fmt: skip


def images(seed, studies, worse=None, ranked_only=()):
    """Labels and predictions; in the images `worse`, predictions know nothing."""
    generator = np.random.default_rng(seed)
    labels = generator.random((len(studies), 4)) < [0.5, 0.4, 0.3, 0.3]
    own = generator.normal(size=(len(studies), 4)) + generator.normal(size=(len(studies) // 2, 4)).repeat(2, axis=0)
    known = np.ones(len(studies), bool) if worse is None else ~worse
    probabilities = 1 / (1 + np.exp(-(own / 1.4 + 2 * labels * known[:, None] - 1)))
    return masks(labels), Predictions(FOUR, probabilities, probabilities > 0.5, ranked_only)


def rows(table, **where):
    for name, value in where.items():
        table = table[table[name] == value]
    return table


def test_figures_of_a_group_are_those_of_its_images() -> None:
    studies = people(np.random.default_rng(0))
    labels, predictions = images(1, studies)
    table = subgroup_table(labels, predictions, studies, studies["patient"], 10)
    women = (studies["sex"] == "F").to_numpy()
    called, scores = np.asarray(predictions.decisions), np.asarray(predictions.probabilities)
    for place, finding in enumerate(FOUR):
        (row,) = rows(table, group="F", finding=finding).to_dict("records")
        present = labels.present[women, place]
        assert row["auroc"] == pytest.approx(roc_auc_score(present, scores[women, place]), abs=1e-6)
        assert row["sensitivity"] == pytest.approx(called[women, place][present].mean(), abs=1e-6)
        assert row["specificity"] == pytest.approx((~called[women, place][~present]).mean(), abs=1e-6)
        assert row["auroc_ci_low"] < row["auroc"] < row["auroc_ci_high"] and np.isnan(row["underdiagnosis"])
        assert (row["images"], row["positives"]) == (women.sum(), present.sum())
        other = rows(table, group="M", finding=finding)["sensitivity"].item()
        assert row["sensitivity_difference"] == pytest.approx(row["sensitivity"] - other, abs=2e-6)
    (row,) = rows(table, group="F", finding=ANY).to_dict("records")
    ill = labels.present.any(axis=1) & women
    assert row["underdiagnosis"] == pytest.approx((~called[ill].any(axis=1)).mean(), abs=1e-6)
    assert row["underdiagnosis_ci_low"] <= row["underdiagnosis"] <= row["underdiagnosis_ci_high"]
    healthy = labels.absent.all(axis=1) & women
    assert row["specificity"] == pytest.approx((~called[healthy].any(axis=1)).mean(), abs=1e-6)


def test_a_group_in_which_the_model_knows_nothing_is_found_and_the_others_are_not() -> None:
    studies = people(np.random.default_rng(2), 300)
    labels, predictions = images(3, studies, worse=(studies["batch"] == "there").to_numpy())
    table = subgroup_table(labels, predictions, studies, studies["patient"], 10)
    there = rows(table, attribute="batch", group="there")
    assert (there["auroc_p"].dropna() < 0.05).all() and (there["auroc_difference"].dropna() < -0.1).all()
    assert (rows(table, group="there", finding=ANY)["underdiagnosis_p"] < 0.05).all()
    assert rows(table, group="there", finding=ANY)["underdiagnosis_difference"].item() > 0.1
    assert (rows(table, attribute="view")["auroc_p"].dropna() > 0.05).all()


def test_differences_are_rarely_false_over_the_groups_of_a_finding() -> None:
    false = {"auroc": 0, "sensitivity": 0, "specificity": 0}
    for seed in range(50):
        generator = np.random.default_rng(seed)
        studies = people(generator, 120)
        labels, predictions = images(seed + 1000, studies)
        groups = {group.name: group.images for group in study_groups(studies) if group.attribute == "batch"}
        found = measure_groups(
            labels,
            np.asarray(predictions.probabilities),
            np.asarray(predictions.decisions),
            studies["patient"],
            groups,
            np.ones(3, bool),
            10,
        )
        for name in false:
            false[name] += int((found[name].p < 0.05).any(axis=0).sum())
    # 5 % of 200 are 10; three standard deviations more are 19.
    assert max(false.values()) <= 19, false


def test_what_too_few_patients_show_is_left_out_and_named() -> None:
    studies = people(np.random.default_rng(4))
    studies.loc[studies["patient"].astype(int) < 4, "sex"] = None
    labels, predictions = images(5, studies, ranked_only=FOUR[1:2])
    table = subgroup_table(labels, predictions, studies, studies["patient"], 10)
    unknown = rows(table, attribute="sex", group="unknown")
    assert (unknown["patients"] == 4).all() and unknown[["auroc", "sensitivity", "calibration_error"]].isna().all(
        axis=None
    )
    said = unknown.set_index("finding")["suppressed"]
    assert said[FOUR[0]] == "auroc sensitivity specificity calibration_error"
    assert said[FOUR[1]] == "auroc" and said[ANY] == "specificity underdiagnosis"
    known = rows(table, group="F")
    assert known["auroc"].notna().sum() == 4 and known["sensitivity"].notna().sum() == 3
    assert (known["suppressed"] == "").all()


def test_the_unknown_are_compared_with_nobody() -> None:
    studies = people(np.random.default_rng(6))
    labels, predictions = images(7, studies)
    before = rows(subgroup_table(labels, predictions, studies, studies["patient"], 10), attribute="sex", group="F")
    some = studies["patient"].astype(int) % 3 == 0
    known = ~some.to_numpy()
    studies.loc[some, "sex"] = None
    table = subgroup_table(labels, predictions, studies, studies["patient"], 10)
    unknown = rows(table, attribute="sex", group="unknown")
    assert unknown["auroc"].notna().sum() == 4 and unknown["auroc_p"].isna().all()
    alone = subgroup_table(
        labels.at(known), predictions.at(known), studies[known].reset_index(), studies["patient"][known], 10
    )
    pair = [rows(each, attribute="sex", group="F")["auroc_difference"] for each in (table, alone)]
    np.testing.assert_allclose(*pair)
    assert not np.allclose(pair[0].dropna(), before["auroc_difference"].dropna())


def test_ages_fall_into_bands_and_every_image_into_one_group() -> None:
    ages = pd.Series([0, 17, 18, 39, 40, 80, 120, None], dtype="Int16")
    studies = pd.DataFrame({"age": ages, "sex": "F", "view": None, "batch": "b"})
    groups = list(study_groups(studies))
    bands = {group.name: np.flatnonzero(group.images).tolist() for group in groups if group.attribute == "age"}
    assert bands == {"0–17": [0, 1], "18–39": [2, 3], "40–59": [4], "80+": [5, 6], "unknown": [7]}
    for attribute in ("sex", "age", "view", "batch"):
        assert (np.sum([each.images for each in groups if each.attribute == attribute], axis=0) == 1).all()


def test_holm_corrects_by_steps() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).tolist() == [1.0, 1.0] and holm([]).tolist() == []


def test_a_bundle_has_its_groups_and_an_older_one_none(bundle_folder) -> None:
    card = Bundle(bundle_folder).card
    assert {row.attribute for row in card.subgroups} == {"sex", "age", "view", "batch"}
    content = card.model_dump()
    del content["subgroups"]
    assert Card.model_validate(content).subgroups == ()
    for wrong in ({"finding": "Tuberculosis"}, {"auroc": 1.5}, {"images": -1}, {"attribute": "income"}, {"more": 1}):
        row = card.subgroups[1].model_dump() | wrong
        with pytest.raises(ValueError, match="validation error"):
            Card.model_validate(card.model_dump() | {"subgroups": [row]})


def test_a_card_has_the_rows_of_any_finding_alone_where_there_are_too_many(dataset, bundle_folder) -> None:
    studies = people(np.random.default_rng(0), 20)
    labels, predictions = images(1, studies)
    table = subgroup_table(labels, predictions, studies, studies["patient"], 2)
    many = pd.concat([table] * (MAX_SUBGROUPS // len(table) + 1))
    assert {row.finding for row in card_subgroups(many)} == {ANY}
    assert len(card_subgroups(table)) == len(table)


@pytest.mark.parametrize("findings", [1, 4])
def test_the_figure_says_what_it_tests_and_shows_the_largest_groups(findings) -> None:
    studies = people(np.random.default_rng(8))
    studies["batch"] = [f"site{int(patient) % 9}" for patient in studies["patient"]]
    labels, predictions = images(9, studies)
    few = FOUR[:findings]
    table = subgroup_table(labels.of(few), predictions.of(few), studies, studies["patient"], 10)
    panels = {name: Panel(name, "learned") for name in few}
    figure = subgroups_figure(table, 10, panels, "synthetic phantoms")
    said = [axes.get_title() for axes in figure.axes]
    assert said[:4] == ["sex", "age", "view", "batch (largest of 9)"]
    assert table["auroc"].min() > figure.axes[0].get_xlim()[0] == 0.3
    low = subgroups_figure(table.assign(auroc=table["auroc"] - 0.6), 10, panels, "synthetic phantoms")
    assert low.axes[0].get_xlim()[0] < table["auroc"].min() - 0.6 < 0.3
    assert "Holm" in figure.get_supxlabel() and "from 10 patients on" in figure.get_suptitle()


def test_evaluation_tabulates_the_groups_of_the_test_images(evaluated: Evaluation) -> None:
    table = evaluated.subgroups
    assert len(table) == 4 * 15 and set(table["group"]) == {"F", "40–59", "PA", "b"}
    test = evaluated.metrics["test"]
    for row in rows(table, attribute="batch").to_dict("records"):
        if row["finding"] != ANY and not row["suppressed"]:
            assert row["auroc"] == test["auroc"][row["finding"]]
            assert row["auroc_ci_low"] == pytest.approx(test["auroc_ci_low"][row["finding"]], abs=1e-6)


@pytest.fixture(scope="module")
def evaluated(bundle_folder, dataset) -> Evaluation:
    return evaluate_model(Bundle(bundle_folder).model, dataset, ("b",), EVALUATE.model_copy(update={"min_n": 5}))
