"""The cohort: how many studies, which findings together, who returns to another site."""

import numpy as np
import pytest

from chestxray.findings import FINDINGS
from chestxray.phantom.cohort import Patient, sample_cohort, sample_update
from chestxray.phantom.site import FIRST_SITE, PREVALENCE, other_site
from tests.chestxray.phantom.drawing import UPDATE


@pytest.fixture(scope="module")
def cohort() -> list[Patient]:
    return sample_cohort(1200, 800, seed=5)


@pytest.fixture(scope="module")
def both(cohort: list[Patient]) -> tuple[list[Patient], list[Patient]]:
    return cohort, sample_update(cohort, 300, 200, 80, other_site(UPDATE), seed=5)


class TestCohort:
    def test_exactly_as_many_studies_and_patients(self, cohort: list[Patient]) -> None:
        assert [patient.number for patient in cohort] == list(range(1, 801))
        visits = [len(patient.studies) for patient in cohort]
        assert sum(visits) == 1200
        assert set(visits) == {1, 2, 3, 4}

    @pytest.mark.parametrize(("studies", "patients"), [(3, 4), (17, 4), (0, 0)])
    def test_studies_that_cannot_be_shared_out(self, studies: int, patients: int) -> None:
        with pytest.raises(ValueError, match="a patient has 1 to 4 studies"):
            sample_cohort(studies, patients, seed=0)

    @pytest.mark.parametrize("seed", range(3))
    def test_prevalences_fall_in_the_order_of_nih(self, seed: int) -> None:
        studies = [study for patient in sample_cohort(1200, 800, seed) for study in patient.studies]
        counts = [sum(name in study.findings for study in studies) for name in PREVALENCE]
        assert counts == sorted(counts, reverse=True)
        assert counts[-1] >= 25
        assert 0.45 < np.mean([not study.findings for study in studies]) < 0.6

    @pytest.mark.parametrize(
        "pair", [("Effusion", "Atelectasis"), ("Edema", "Cardiomegaly"), ("Pneumonia", "Consolidation")]
    )
    def test_findings_that_belong_together_meet_more_often(self, pair: tuple[str, str]) -> None:
        patients = [patient for seed in range(5) for patient in sample_cohort(1200, 800, seed)]
        ill = [study.findings for patient in patients for study in patient.studies if study.findings]
        first, second = (np.array([name in findings for findings in ill]) for name in pair)
        assert second[first].mean() > 1.3 * second[~first].mean()

    def test_findings_change_between_followups(self, cohort: list[Patient]) -> None:
        several = [patient for patient in cohort if len(patient.studies) > 1]
        changing = [len({study.findings for study in patient.studies}) > 1 for patient in several]
        assert 0.1 < np.mean(changing) < 0.9


class TestUpdate:
    """The second batch, from another site."""

    def test_those_who_return_are_the_same_and_their_followups_go_on(
        self, both: tuple[list[Patient], list[Patient]]
    ) -> None:
        first, update = {patient.number: patient for patient in both[0]}, both[1]
        back = [patient for patient in update if patient.number in first]
        assert (len(update), len(back), sum(len(patient.studies) for patient in update)) == (200, 80, 300)
        assert [p.number for p in update if p.number not in first] == list(range(801, 921))
        for patient in back:
            known = first[patient.number]
            assert (patient.sex, patient.age) == (known.sex, known.age)
            assert patient.studies[0].followup == len(known.studies)
            assert patient.studies[0].age >= known.studies[-1].age

    def test_more_lie_in_bed_and_are_acutely_ill(self, both: tuple[list[Patient], list[Patient]]) -> None:
        ap, acute, mass = (
            [np.mean([test(study) for patient in batch for study in patient.studies]) for batch in both]
            for test in (
                lambda study: study.view == "AP",
                lambda study: "Effusion" in study.findings,
                lambda study: "Mass" in study.findings,
            )
        )
        assert ap[1] > ap[0] + 0.2 and acute[1] > 1.3 * acute[0] and mass[1] < 0.8 * mass[0]

    def test_a_patient_who_had_a_finding_has_it_more_often_than_others(
        self, both: tuple[list[Patient], list[Patient]]
    ) -> None:
        had = {p.number: {f for study in p.studies for f in study.findings} for p in both[0]}
        now = [(f in study.findings, f in had[p.number])
               for p in both[1] if p.number in had for study in p.studies for f in FINDINGS]  # fmt: skip
        again = np.mean([seen for seen, before in now if before])
        assert again > 2 * np.mean([seen for seen, before in now if not before])

    def test_more_patients_than_there_are_can_not_return(self, cohort: list[Patient]) -> None:
        with pytest.raises(ValueError, match="20 returning of 10 patients"):
            sample_update(cohort, 10, 10, 20, FIRST_SITE, seed=0)
