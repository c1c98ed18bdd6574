"""Answer the items of reporting guidelines and of a change-control plan, as far as the pipeline can.

Sources: Tejani et al., "Checklist for Artificial Intelligence in Medical Imaging (CLAIM): 2024 Update", Radiology:
Artificial Intelligence 6, 2024; Collins et al., "TRIPOD+AI statement", BMJ 385, 2024; FDA, "Marketing Submission
Recommendations for a Predetermined Change Control Plan for Artificial Intelligence-Enabled Device Software Functions",
2024. The items are named in our own words.
"""

from typing import NamedTuple

PERSON = "**for a person**"
"""Of an item that no file of a run can answer."""


class Item(NamedTuple):
    """An item of a guideline: its number there, what it asks for, and where the answer is."""

    number: str
    asks: str
    answer: str = PERSON


DATA, LABELS, TRAINING, RESULTS = "section Data", "section Labels", "section Training", "section Results"
POINTS, PLACES, GROUPS, LIMITS = (
    "section Operating points",
    "section Where heatmaps point",
    "section Subgroups",
    "section Limits",
)
USE = "section Use"
SPLIT = "`docs/decisions/split.md`"
INTERVALS = "`docs/decisions/intervals.md`"

CLAIM = (
    Item("1", "name the kind of AI in the title", "this card's title and head"),
    Item("2", "structured abstract"),
    Item("3", "background, use and role", USE),
    Item("4", "aims and hypotheses"),
    Item("5", "prospective or retrospective", "retrospective: images that a folder holds"),
    Item("6", "goal of the study", USE),
    Item("7", "sources of data", DATA),
    Item("8", "who is included and excluded", f"views and refusals of the tables: {DATA}; of the patients {PERSON}"),
    Item("9", "preprocessing", "`docs/decisions/prepare.md`"),
    Item("10", "choice of subsets of data", DATA),
    Item("11", "de-identification"),
    Item("12", "missing data", "a label that is missing counts for nothing: `docs/your-data.md`"),
    Item("13", "image acquisition"),
    Item("14", "how the reference standard was obtained", LABELS),
    Item("15", "why that reference standard"),
    Item("16", "who annotated it", f"kind of table: {DATA}; the readers {PERSON}"),
    Item("17", "annotation of the test set", LABELS),
    Item("18", "agreement among and within readers", f"where known: {LABELS}; else {PERSON}"),
    Item("19", "how images are assigned to partitions", SPLIT),
    Item("20", "level at which partitions are apart", f"patient: {SPLIT}; whether patients are known: {DATA}"),
    Item("21", "intended sample size"),
    Item("22", "the model, its inputs and outputs", "`docs/architecture.md`, `docs/serving.md`"),
    Item("23", "software", "`requirements.txt`"),
    Item("24", "initial weights", TRAINING),
    Item("25", "training", TRAINING),
    Item("26", "choice of the final model", "`docs/decisions/fine-tuning.md`"),
    Item("27", "ensembles", "two views of one network: `docs/decisions/two-views.md`"),
    Item("28", "metrics", RESULTS),
    Item("29", "uncertainty of the metrics", INTERVALS),
    Item("30", "robustness", "sections Subgroups and Input gate, by batch in section Results"),
    Item("31", "explanations", PLACES),
    Item("32", "evaluation on internal data", RESULTS),
    Item("33", "evaluation on external data", f"`chestxray evaluate`: the data {PERSON}"),
    Item("34", "registration of a trial"),
    Item("35", "numbers included and excluded", f"{DATA}; excluded: `reports/rejected.csv`"),
    Item("36", "characteristics of the patients by partition", f"labels: {DATA}; clinical ones {PERSON}"),
    Item("37", "performance with its uncertainty", RESULTS),
    Item("38", "diagnostic performance and precision", f"{RESULTS}, {POINTS}"),
    Item("39", "analysis of failures", "`reports/gradcam/`, `reports/predictions.csv`; why they fail " + PERSON),
    Item("40", "limitations", LIMITS),
    Item("41", "consequences for practice"),
    Item("42", "full protocol", "`dvc.yaml`, `params.yaml`, `docs/`"),
    Item("43", "availability of code, model and data", "the repository and its registry; the data " + PERSON),
    Item("44", "funding"),
)

TRIPOD = (
    Item("1", "title", "this card's title"),
    Item("2", "abstract"),
    Item("3a", "medical context"),
    Item("3b", "target population and users", f"{USE}; the population {PERSON}"),
    Item("3c", "known inequalities between groups"),
    Item("4", "objectives"),
    Item("5a", "sources of data", DATA),
    Item("5b", "dates of the data"),
    Item("6a", "setting and centres", f"batches: {DATA}; the setting {PERSON}"),
    Item("6b", "who is eligible"),
    Item("6c", "treatments"),
    Item("7", "preparation of the data", "`docs/decisions/prepare.md`"),
    Item("8a", "outcome", LABELS),
    Item("8b", "who judged the outcome"),
    Item("8c", "blinding of that judgement"),
    Item("9a", "choice of predictors", "the image alone"),
    Item("9b", "definition of predictors", "the pixels: `docs/decisions/prepare.md`"),
    Item("9c", "who judged predictors", "nobody: the image alone"),
    Item("10", "sample size", f"{DATA}; why so many {PERSON}"),
    Item("11", "missing data", "`docs/your-data.md`"),
    Item("12a", "how data are used", SPLIT),
    Item("12b", "how predictors are handled", "`docs/decisions/prepare.md`"),
    Item("12c", "building of the model", TRAINING),
    Item("12d", "differences between clusters", "by batch in section Results"),
    Item("12e", "measures of performance", "`docs/evaluation.md`"),
    Item("12f", "updating of the model", "`docs/updates.md`"),
    Item("12g", "how predictions are computed", "`docs/serving.md`"),
    Item("13", "imbalance of classes", "`docs/decisions/linear-head.md`, then calibrated"),
    Item("14", "fairness", GROUPS),
    Item("15", "output, and how it is decided", POINTS),
    Item("16", "differences between development and evaluation", f"by batch in section Results; else {PERSON}"),
    Item("17", "ethical approval"),
    Item("18a", "funding"),
    Item("18b", "conflicts of interest"),
    Item("18c", "protocol", "`dvc.yaml`, `params.yaml`"),
    Item("18d", "registration"),
    Item("18e", "availability of data"),
    Item("18f", "availability of code", "the repository"),
    Item("19", "involvement of patients and the public"),
    Item("20a", "flow of participants", f"{DATA}; `reports/rejected.csv`"),
    Item("20b", "characteristics of participants", f"labels: {DATA}; clinical ones {PERSON}"),
    Item("20c", "comparison with the development data"),
    Item("21", "numbers in each analysis", f"n beside each figure: {RESULTS}"),
    Item("22", "the model itself", "`model.onnx`, by its digest in section Data"),
    Item("23a", "performance with intervals, by group", f"{RESULTS}, {GROUPS}"),
    Item("23b", "heterogeneity between clusters", "by batch in section Results"),
    Item("24", "results of updating", "`reports/updates.csv`"),
    Item("25", "interpretation"),
    Item("26", "limitations", LIMITS),
    Item("27a", "poor or missing input when it is used", "section Input gate, `docs/serving.md`"),
    Item("27b", "what users must do and know", f"{USE}; training of users {PERSON}"),
    Item("27c", "next steps"),
)

PCCP = (
    Item(
        "description of modifications",
        "what may change",
        "weights, calibration and operating points, by training again on more batches; the inputs, the findings "
        f"and the use do not: `docs/updates.md`. Whether a device may so change: {PERSON}",
    ),
    Item(
        "modification protocol",
        "how a change is tested and accepted",
        "the gate's policy, section `register.gate` of `params.yaml`, on a fixed benchmark: `docs/decisions/gate.md`; "
        "the verdict: `reports/promotion.json`; the way back: `make rollback`",
    ),
    Item(
        "impact assessment",
        "benefits and risks of a change",
        "figures before and after: `reports/updates.csv`, decisions that changed: `reports/flips.csv`; what they mean "
        f"for patients: {PERSON}",
    ),
)

GUIDELINES = {"CLAIM 2024": CLAIM, "TRIPOD+AI": TRIPOD, "FDA PCCP": PCCP}
