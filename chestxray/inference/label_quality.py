"""Say what labels are worth that a model was trained on, where radiologists have read some of the same images.

Source: the labels that Google published for images of NIH ChestX-ray14 (Majkowska et al., "Chest Radiograph
Interpretation with Deep Learning Models: Assessment with Radiologist-adjudicated Reference Standards and
Population-adjusted Evaluation", Radiology 294, 2020), against NIH's own, which were mined from reports.
"""

from collections.abc import Mapping, Sequence

from pydantic import BaseModel, ConfigDict

from chestxray.inference.numbers import Count, Probability

NIH_TABLES = ("NIH ChestX-ray14", "Kaggle sample")
"""Kinds of tables whose labels are NIH's."""
IMAGES = 4376
OPACITY = ("Atelectasis", "Consolidation", "Infiltration", "Pneumonia")
"""NIH's findings that the radiologists read as one, airspace opacity."""


class LabelQuality(BaseModel):
    """How the labels of findings compare with what radiologists saw in the same images.

    Attributes:
        findings: whose labels they are; of several, an image counts that has any.
        read_as: what the radiologists called it.
        ppv: share of the images with the label in which they saw it.
        sensitivity: share of the images in which they saw it that have the label.
        images: that both have judged; they may have been chosen so that findings are frequent.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    findings: tuple[str, ...]
    read_as: str
    ppv: Probability
    sensitivity: Probability
    images: Count

    def __str__(self) -> str:
        """Say it in a sentence."""
        return (
            f"Its training labels were mined from reports: of {self.images} images that radiologists read, "
            f"{self.ppv:.2f} of those so labelled show {self.read_as}, and {self.sensitivity:.2f} of those that show "
            "it are so labelled (the images may be an enriched sample)."
        )


NIH_QUALITY = (
    LabelQuality(findings=("Pneumothorax",), read_as="pneumothorax", ppv=0.46, sensitivity=0.46, images=IMAGES),
    LabelQuality(findings=("Mass", "Nodule"), read_as="a nodule or mass", ppv=0.56, sensitivity=0.42, images=IMAGES),
    LabelQuality(findings=OPACITY, read_as="an airspace opacity", ppv=0.76, sensitivity=0.44, images=IMAGES),
)


def known_quality(tables: Mapping[str, str], findings: Sequence[str]) -> tuple[LabelQuality, ...]:
    """Return what is known of the labels of a training set.

    Args:
        tables: by batch of radiographs, the kind of its table; those of phantoms are right, whatever the kind.
        findings: of the model.

    Returns:
        Those of `NIH_QUALITY` with a finding of the model, if a batch has NIH's labels.

    Example:
        >>> [each.read_as for each in known_quality({"nih": "NIH ChestX-ray14"}, ["Nodule", "Hernia"])]
        ['a nodule or mass']
    """
    if not set(NIH_TABLES).intersection(tables.values()):
        return ()
    return tuple(each for each in NIH_QUALITY if set(each.findings).intersection(findings))
