"""Look for shortcuts: what the model's features tell of view, sex and batch, and what says a finding without the image.

Where an attribute alone ranks a finding's images, and the features tell the attribute, a model can be right without
having seen the finding (Zech et al., PLoS Medicine 15, 2018; DeGrave et al., Nature Machine Intelligence 3, 2021).
"""

import hashlib
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.evaluation.groups import UNKNOWN, study_groups
from chestxray.evaluation.logits import one_by_one
from chestxray.labels import Booleans, Floats, LabelMasks, label_masks, patients_by_class
from chestxray.metrics.group_measures import measure_groups
from chestxray.metrics.logistic import fit_logistic, predict_across_folds, standardise
from chestxray.metrics.ranking import DECIMALS, place_within_folds
from chestxray.tracking.progress import progress

FEATURES = "pooled features"
TOLD = ("sex", "view", "batch")
FOLDS = 5
MAX_IMAGES = 1000
"""Of test, whose features are computed: whole patients, in the order of a hash."""
COMMON = 20
"""Values of an attribute at most that count as values of their own; the rarer ones are one."""
COLUMNS = ("source", "target", "auroc", "ci_low", "ci_high", "n", "positives", "patients")


def find_shortcuts(content: bytes, dataset: Dataset, min_patients: int) -> pd.DataFrame:
    """Measure both: features → attribute on test, and attribute → finding from training to test.

    Args:
        content: of `model.onnx`.
        dataset: with test images; without training images, as someone else's are, attributes tell findings of some test
            patients by others.
        min_patients: of either class on test, that a row needs.

    Returns:
        A row a source and target, columns `COLUMNS`; what has one value only is no source and no target.
    """
    test = dataset.split("test")
    some = _some_patients(test.patients)
    images = Dataset(test.studies[some].reset_index(drop=True), test.images)
    told = told_by_features(pooled_features(content, images), images.studies, images.patients, min_patients)
    return pd.concat([told, told_by_attributes(dataset.split("train"), test, min_patients)], ignore_index=True)


def _some_patients(patients: npt.NDArray[np.str_]) -> Booleans:
    """Choose whole patients in the order of a hash of their ids, until there are `MAX_IMAGES` images: `(n,)`."""
    ids, patient, sizes = np.unique(patients, return_inverse=True, return_counts=True)
    order = sorted(range(len(ids)), key=lambda place: hashlib.sha256(str(ids[place]).encode()).digest())
    kept = np.zeros(len(ids), bool)
    kept[np.array(order)[np.cumsum(sizes[order]) - sizes[order] < MAX_IMAGES]] = True
    return np.asarray(kept[patient])


def pooled_features(content: bytes, images: Dataset) -> npt.NDArray[np.float32]:
    """Compute what the head sees: the mean activations of an image and of its mirror image, `(n, c)`.

    Args:
        content: of `model.onnx`, which has the activations inside, before its heads, one a tap.
        images: n.
    """
    model = onnx.load_from_string(content)
    heads = [node for node in model.graph.node if node.op_type == "Conv" and node.input[1].startswith("head")]
    name = "probed_activations_mean"
    pools = [f"{name}_pool_{place}" for place in range(len(heads))]
    for head, pool in zip(heads, pools, strict=True):
        model.graph.node.append(onnx.helper.make_node("GlobalAveragePool", [head.input[0]], [pool]))
    model.graph.node.append(onnx.helper.make_node("Concat", pools, [f"{name}_pools"], axis=1))
    model.graph.node.append(onnx.helper.make_node("Flatten", [f"{name}_pools"], [name]))
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    parts = []
    for image in one_by_one(images, "probing features"):
        both = session.run([name], {"image": image})[0]  # the graph stacks the mirror image behind the image
        parts.append(both.mean(axis=0))
    return np.stack(parts)


def told_by_features(
    features: npt.ArrayLike, studies: pd.DataFrame, patients: npt.NDArray[np.str_], min_patients: int
) -> pd.DataFrame:
    """Measure how well a logistic regression on features tells each value of an attribute, over folds of patients.

    Args:
        features: `(n, f)`.
        studies: of the n images.
        patients: `(n,)`.
        min_patients: with the value, and without it, that a row needs.
    """
    values = np.asarray(features, float)
    fold = _folds(patients)
    rows = []
    groups = [group for group in study_groups(studies) if group.attribute in TOLD and group.known]
    for group in progress(groups, "probing: sex, view, batch", len(groups), "value"):
        known = studies[group.attribute].notna().to_numpy(bool)
        others = known & ~group.images
        labels = LabelMasks((f"{group.attribute} {group.name}",), group.images[:, None], others[:, None])
        if patients_by_class(labels, patients).min() < min_patients:
            continue
        scores = np.zeros(len(values))
        scores[known] = place_across_folds(values[known], group.images[known], fold[known])
        rows.append(_row(FEATURES, labels, scores, patients, min_patients))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def told_by_attributes(train: Dataset, test: Dataset, min_patients: int) -> pd.DataFrame:
    """Measure on test how well image size, view and batch, each alone, rank the images of each finding.

    Args:
        train: images that the regressions are fitted on, by their labels; where there are none, over folds of test
            patients.
        test: images that these rank.
        min_patients: of either class on test, that a row needs.
    """
    fitted_on = test if train.studies.empty else train
    labels, known = (label_masks(part.labels, part.findings) for part in (test, fitted_on))
    rarer = patients_by_class(labels, test.patients).min(axis=0)
    rows = []
    for source, columns in SOURCES.items():
        described, asked = (columns(part.studies, fitted_on.studies) for part in (fitted_on, test))
        if not np.ptp(described, axis=0).any():
            continue
        for place in np.flatnonzero(rarer >= min_patients):
            images, positive = known.labelled_rows(int(place))
            if not 0 < positive.sum() < len(positive):
                continue
            like = described[images]
            if fitted_on is test:
                scores = np.zeros(len(test.studies))
                scores[images] = place_across_folds(like, positive, _folds(test.patients)[images])
            else:
                scores = standardise(asked, like) @ fit_logistic(standardise(like, like), positive)
            rows.append(_row(source, labels.of([labels.findings[place]]), scores, test.patients, min_patients))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _one_of(values: "pd.Series[str]", known: "pd.Series[str]") -> Floats:
    """Return a column of 0 and 1 for each of the commonest `known` values."""
    common = known.value_counts().index[:COMMON]
    return np.column_stack([(values == value).to_numpy(float) for value in common])


def _sizes(studies: pd.DataFrame, known: pd.DataFrame) -> Floats:
    """Describe the size of the files' images, by its logarithms and by the commonest sizes."""
    named, of_known = (each["width"].astype("str") + "×" + each["height"].astype("str") for each in (studies, known))
    logs = np.log(studies[["width", "height"]].to_numpy(float))
    return np.column_stack([logs, _one_of(named, of_known)])


def _column(name: str) -> Callable[[pd.DataFrame, pd.DataFrame], Floats]:
    return lambda studies, known: _one_of(
        *(each[name].astype("str").where(each[name].notna(), UNKNOWN) for each in (studies, known))
    )


SOURCES: Mapping[str, Callable[[pd.DataFrame, pd.DataFrame], Floats]] = {
    "image size": _sizes,
    "view": _column("view"),
    "batch": _column("batch"),
}
"""What is known of an image without looking at it: numbers of some studies, `(n, f)`, in terms of those known."""


def _folds(patients: npt.NDArray[np.str_]) -> Floats:
    """Return the fold of each image by a hash of its patient."""
    ids, patient = np.unique(patients, return_inverse=True)
    order = np.argsort([hashlib.sha256(f"fold {each}".encode()).hexdigest() for each in ids])
    fold = np.empty(len(ids))
    fold[order] = np.arange(len(ids)) % FOLDS
    return np.asarray(fold[patient])


def place_across_folds(values: Floats, positive: Booleans, fold: Floats) -> Floats:
    """Score each image by a regression on the other folds, as `place_within_folds` makes scores of folds comparable.

    Args:
        values: `(n, f)`.
        positive: `(n,)`.
        fold: `(n,)` of each image.

    Returns:
        `(n,)` in 0..1.
    """
    return place_within_folds(predict_across_folds(values, positive, fold), positive, fold)


def _row(
    source: str, labels: LabelMasks, scores: Floats, patients: npt.NDArray[np.str_], min_patients: int
) -> tuple[str | float, ...]:
    """Measure the AUROC of scores for one target, with its interval."""
    known = labels.labelled[:, 0]
    part, people = labels.at(known), patients[known]
    everyone = {"": np.ones(len(part), bool)}
    ranks = scores[known, None]
    measured = measure_groups(part, ranks, ranks > 0, people, everyone, np.zeros(1, bool), min_patients)["auroc"]
    ends = (round(float(each[0, 0]), DECIMALS) for each in (measured.value, measured.low, measured.high))
    return (source, labels.findings[0], *ends, len(part), int(part.present.sum()), len(np.unique(people)))
