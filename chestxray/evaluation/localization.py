"""Measure whether heatmaps point at the true places, against boxes, and beside what costs no looking at the image.

A map is compared with a random place, with the mean box of the finding in other patients, and with the map of the same
network with shuffled weights. One that does not beat the mean box says no more about an image than where the finding
usually is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import pandas as pd

from chestxray.datasets.dataset import Dataset
from chestxray.inference.located import Compared, Explanation, Located
from chestxray.inference.onnx_model import OnnxModel, Single
from chestxray.metrics.ranking import DECIMALS
from chestxray.metrics.shares import Shares, measure_differences, measure_means, measure_shares
from chestxray.tracking.progress import progress

OVERLAPS = (0.1, 0.25, 0.5)
"""Of a region with the box, from which on it counts as found (Wang et al., CVPR 2017, table 4)."""
MEASURES = ("pointing_game", "pixel_auroc", *(f"{name}_{share}" for name in ("iou", "iobb") for share in OVERLAPS))
DECIDES = "pixel_auroc"
"""The measure by which a map is shown to beat the mean box: it uses all of the map, so it needs the fewest boxes."""
METHODS = ("map", "random place", "mean box", "shuffled network")
GAIN = "map - mean box"
ALL = "all findings"
COLUMNS = ("finding", "method", "measure", "value", "ci_low", "ci_high", "n", "patients")
Mask = npt.NDArray[np.bool_]


class Place(NamedTuple):
    """The true place of a finding in an image.

    Attributes:
        row: of the image among the test images.
        finding: its column.
        patient: id.
        boxes: `(b, 4)` left, top, right, bottom in pixels of the square that the network sees, cut at its edges.
    """

    row: int
    finding: int
    patient: str
    boxes: npt.NDArray[np.intp]

    def mask(self, side: int) -> Mask:
        """Return which pixels of the square, side × side, lie in a box."""
        mask = np.zeros((side, side), bool)
        for left, top, right, bottom in self.boxes:
            mask[top:bottom, left:right] = True
        return mask


def true_places(test: Dataset, boxes: pd.DataFrame, size: int, input_size: int) -> list[Place]:
    """Find the boxes of test images, as far as they lie in the square that the network sees.

    Args:
        test: the test images.
        boxes: `batch`, `image`, `finding`, `x`, `y`, `w`, `h` in pixels of the prepared images.
        size: side of the prepared image in pixels.
        input_size: side of its central square.
    """
    inset = (size - input_size) // 2
    columns = {finding: place for place, finding in enumerate(test.findings)}
    rows = {key: row for row, key in enumerate(zip(test.studies["batch"], test.studies["image"], strict=True))}
    places = []
    for (batch, image, finding), group in boxes.groupby(["batch", "image", "finding"], sort=True):
        row = rows.get((batch, image))
        if row is None or finding not in columns:
            continue
        x, y, w, h = (group[name].to_numpy(float) for name in "xywh")
        corners = np.rint(np.stack([x, y, x + w, y + h], axis=1)).astype(np.intp) - inset
        corners = np.clip(corners, 0, input_size)
        corners = corners[(corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])]
        if len(corners):
            places.append(Place(row, columns[finding], str(test.patients[row]), corners))
    return places


def score_heat(heat: npt.NDArray[np.floating[Any]], mask: Mask) -> dict[str, float]:
    """Say how well heat finds a place.

    The region is as large as the place: the hottest pixels, so that no threshold has to be chosen. `iobb` is the share
    of the region that lies in the place (Wang et al. 2017), `pointing_game` whether the hottest pixel does (Zhang et
    al., ECCV 2016), `pixel_auroc` how well heat ranks the pixels of the place above others. Of pixels that are equally
    hot each is taken in part, so that nothing hangs on which way up the image is.

    Args:
        heat: side × side.
        mask: side × side, of which some pixels are true and some are not.

    Returns:
        Measure → value in 0..1, all of `MEASURES`.
    """
    flat, inside = np.asarray(heat, float).ravel(), mask.ravel()
    area = int(inside.sum())
    ordered = np.sort(flat)
    below, not_above = (np.searchsorted(ordered, flat[inside], side) for side in ("left", "right"))
    ranks = (below + not_above + 1).sum() / 2 - area * (area + 1) / 2
    hottest, least = flat == ordered[-1], ordered[-area]
    above, level = flat > least, flat == least
    shared = inside[above].sum() + (area - above.sum()) * inside[level].mean()
    found = {
        "pointing_game": float(inside[hottest].mean()),
        "pixel_auroc": float(ranks / (area * (len(flat) - area))),
    }
    return found | _overlaps(np.array([shared]), area, area)


def _overlaps(shared: npt.NDArray[Any], region: int, area: int) -> dict[str, float]:
    """Return how many of some regions, each so large, overlap a place enough."""
    values = {"iou": shared / (region + area - shared), "iobb": shared / region}
    return {
        f"{name}_{share}": float(np.mean(overlap >= share)) for name, overlap in values.items() for share in OVERLAPS
    }


def score_random_place(mask: Mask) -> dict[str, float]:
    """Say how well a rectangle of the place's shape and size does at a random position: the mean over all positions."""
    side = len(mask)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    height, width = rows[-1] - rows[0] + 1, columns[-1] - columns[0] + 1
    area = int(mask.sum())
    scale = np.sqrt(area / (height * width))
    height, width = (int(np.clip(round(length * scale), 1, side)) for length in (height, width))
    sums = cv2.integral(mask.astype(np.uint8))
    shared = sums[height:, width:] - sums[:-height, width:] - sums[height:, :-width] + sums[:-height, :-width]
    chance = {"pointing_game": area / mask.size, "pixel_auroc": 0.5}
    return chance | _overlaps(shared.ravel(), height * width, area)


def mean_boxes(places: Sequence[Place], side: int) -> Iterator[Single | None]:
    """Yield for each place the mean of the finding's places in other patients, side × side; None if there are none."""
    totals: dict[int, npt.NDArray[np.float32]] = {}
    own: dict[tuple[int, str], list[Place]] = {}
    for place in places:
        totals.setdefault(place.finding, np.zeros((side, side), np.float32))
        totals[place.finding] += place.mask(side)
        own.setdefault((place.finding, place.patient), []).append(place)
    counts = {finding: sum(place.finding == finding for place in places) for finding in totals}
    for place in places:
        mine = own[place.finding, place.patient]
        others = counts[place.finding] - len(mine)
        total: Single = totals[place.finding] - np.sum([other.mask(side) for other in mine], axis=0, dtype=np.float32)
        yield np.asarray(total / others, np.float32) if others else None


@dataclass(frozen=True, eq=False)
class Localization:
    """How well maps, and what they are compared with, find m places.

    Attributes:
        findings: names of the k findings.
        places: `(m,)`.
        scores: method → measure → `(m,)`; NaN where a method has nothing to say.
        min_patients: that an interval needs.
    """

    findings: tuple[str, ...]
    places: list[Place]
    scores: Mapping[str, Mapping[str, npt.NDArray[np.float64]]]
    min_patients: int

    @cached_property
    def table(self) -> pd.DataFrame:
        """Tabulate a row a finding, method and measure, with n and interval; `map - mean box` is their difference.

        Returns:
            Columns `finding, method, measure, value, ci_low, ci_high, n, patients`; findings with places alone, then
            all places together.
        """
        parts = [
            self._rows(method, measure, values, _mean_of(method, measure))
            for method, measures in self.scores.items()
            for measure, values in measures.items()
        ]
        parts += [self._rows(GAIN, measure, values, measure_differences) for measure, values in self._gain().items()]
        order = {name: place for place, name in enumerate((*self.findings, ALL))}
        table = pd.concat(parts, ignore_index=True).round(DECIMALS)
        return table.sort_values("finding", key=lambda names: names.map(order), kind="stable", ignore_index=True)

    def explanations(self) -> tuple[Explanation, ...]:
        """Say of each finding whether its maps are shown to beat its mean box, by `DECIDES`; empty without any box."""
        if not self.places:
            return ()
        table = self.table
        gains = table[(table["method"] == GAIN) & (table["measure"] == DECIDES)].set_index("finding")
        shown = set(gains.index[gains["ci_low"] > 0])
        return tuple("shown" if finding in shown else "unproven" for finding in self.findings)

    def by_finding(self) -> tuple[Located | None, ...]:
        """Return of each finding what a bundle says of its maps; None of one without boxes."""
        rows = {(row["finding"], row["method"], row["measure"]): row for row in self.table.to_dict("records")}
        return tuple(
            Located(
                pixel_auroc=_compared(rows, finding, "pixel_auroc"),
                pointing_game=_compared(rows, finding, "pointing_game"),
            )
            if (finding, "map", "pixel_auroc") in rows
            else None
            for finding in self.findings
        )

    def _gain(self) -> dict[str, npt.NDArray[np.float64]]:
        return {name: self.scores["map"][name] - self.scores["mean box"][name] for name in MEASURES}

    def _rows(
        self, method: str, measure: str, values: npt.NDArray[np.float64], mean: Callable[..., Shares]
    ) -> pd.DataFrame:
        """Tabulate one figure of each finding that has places, and of all."""
        finding = np.array([place.finding for place in self.places], np.intp)
        patients = np.array([place.patient for place in self.places], str)
        known = np.isfinite(values)
        present = np.unique(finding[known]).tolist()
        if len(np.unique(patients[known])) < 2:
            return pd.DataFrame(columns=list(COLUMNS))
        cases = np.column_stack([*(known & (finding == place) for place in present), known])
        found = mean(values[:, None], cases, patients, self.min_patients)
        people = [len(np.unique(patients[column])) for column in cases.T]
        names = [*(self.findings[place] for place in present), ALL]
        columns = (names, method, measure, found.value, found.low, found.high, found.n, people)
        return pd.DataFrame(dict(zip(COLUMNS, columns, strict=True)))


def _mean_of(method: str, measure: str) -> Callable[..., Shares]:
    """Return what measures a figure: hits and misses are shares, areas and chances are means; ties count in part."""
    return measure_means if measure == "pixel_auroc" or method == "random place" else measure_shares


def _compared(rows: Mapping[tuple[str, str, str], Mapping[Any, Any]], finding: str, measure: str) -> Compared:
    """Put together the rows of one measure, which are by finding, method and measure."""

    def numbers(method: str) -> dict[str, Any] | None:
        """Return the figure of a method, None where it has nothing to say."""
        row = rows.get((finding, method, measure))
        if row is None:
            return None
        ends = {end: float(row[f"ci_{end}"]) for end in ("low", "high")}
        known = {end: value if np.isfinite(value) else None for end, value in ends.items()}
        return {"value": float(row["value"]), **known, "n": int(row["n"])}

    return Compared.model_validate({"map": numbers("map"), "mean_box": numbers("mean box"), "gain": numbers(GAIN)})


def localize(
    model: OnnxModel, shuffled: OnnxModel, test: Dataset, boxes: pd.DataFrame, min_patients: int
) -> Localization:
    """Measure how well the maps of a model find the places of findings in the test images that have boxes.

    Args:
        model: whose maps are measured.
        shuffled: the same network with shuffled weights.
        test: the test images.
        boxes: `batch`, `image`, `finding`, `x`, `y`, `w`, `h` in pixels of the prepared images.
        min_patients: with boxes, that an interval needs.
    """
    places = true_places(test, boxes, model.size, model.input_size)
    side = model.input_size
    scores: dict[str, list[dict[str, float]]] = {method: [] for method in METHODS}
    maps: tuple[int, Single, Single] = (-1, np.zeros(0, np.float32), np.zeros(0, np.float32))
    for place, mean in progress(
        zip(places, mean_boxes(places, side), strict=True), "finding boxes", len(places), "place"
    ):
        if maps[0] != place.row:
            pixels = np.asarray(test.pixels(place.row))[None, ..., None]
            maps = place.row, model.outputs(pixels).maps[0], shuffled.outputs(pixels).maps[0]
        mask = place.mask(side)
        heats = [enlarge(each[..., place.finding], side) for each in maps[1:]]
        nothing = dict.fromkeys(MEASURES, np.nan)
        whole = mask.all()
        scores["map"].append(nothing if whole else score_heat(heats[0], mask))
        scores["random place"].append(nothing if whole else score_random_place(mask))
        scores["mean box"].append(nothing if whole or mean is None else score_heat(mean, mask))
        scores["shuffled network"].append(nothing if whole else score_heat(heats[1], mask))
    by_measure = {
        method: {name: np.array([each[name] for each in found], float) for name in MEASURES}
        for method, found in scores.items()
    }
    return Localization(test.findings, places, by_measure, min_patients)


def enlarge(values: Single, side: int) -> Single:
    """Bring a map, h × w, to the size of the square that it covers; what speaks against the finding stays."""
    return np.asarray(cv2.resize(values, (side, side), interpolation=cv2.INTER_LINEAR))
