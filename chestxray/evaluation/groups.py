"""Divide images into the groups between which a model should not differ: by sex, age, view and batch."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import pandas as pd

from chestxray.labels import Booleans

UNKNOWN = "unknown"
AGES = (18, 40, 60, 80)
"""Years at which a band begins; the first begins at 0."""
AGE_BANDS = ("0–17", "18–39", "40–59", "60–79", "80+")
ATTRIBUTES = ("sex", "age", "view", "batch")


class Group(NamedTuple):
    """Images that are alike in an attribute.

    Attributes:
        attribute: sex, age, view or batch (which stands for the site).
        name: of the group; `unknown` where the tables don't say, or say what can't be read.
        images: `(n,)`.
    """

    attribute: str
    name: str
    images: Booleans

    @property
    def known(self) -> bool:
        """Whether its images are known to be alike; the unknown are measured, and compared with nobody."""
        return self.name != UNKNOWN


def study_groups(studies: pd.DataFrame) -> Iterator[Group]:
    """Yield the groups that have images, attribute by attribute; every image is in one group of each.

    Args:
        studies: with `sex`, `age`, `view` and `batch`, as `Dataset.studies`.
    """
    ages = pd.cut(studies["age"].astype("Float64"), [0, *AGES, np.inf], right=False, labels=list(AGE_BANDS))
    for attribute in ATTRIBUTES:
        column = ages if attribute == "age" else studies[attribute]
        names = column.astype("str").where(column.notna(), UNKNOWN)
        listed = {"age": AGE_BANDS, "batch": tuple(dict.fromkeys(names))}.get(attribute, tuple(sorted(set(names))))
        for name in (*(each for each in listed if each != UNKNOWN), UNKNOWN):
            images = (names == name).to_numpy(bool)
            if images.any():
                yield Group(attribute, name, images)
