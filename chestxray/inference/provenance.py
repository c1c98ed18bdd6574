"""Say which images a model was trained and measured on: how many, of how many patients, and by which digest."""

from pydantic import BaseModel, ConfigDict, StrictBool

from chestxray.inference.numbers import Count, Digest, Text


class ImageFacts(BaseModel):
    """Some images.

    Attributes:
        images: how many.
        patients: how many; as many as images where patients are not known.
        sha256: of the labels and decoded pixels.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    images: Count
    patients: Count
    sha256: Digest


class BatchFacts(ImageFacts):
    """The images of one batch on one side of the split.

    Attributes:
        table: the kind of its table, such as "CheXpert".
        synthetic: whether they are phantoms.
    """

    table: Text
    synthetic: StrictBool


class SplitFacts(ImageFacts):
    """One side of the split.

    Attributes:
        batches: by name, those that have images on it; empty in older bundles.
    """

    batches: dict[Text, BatchFacts] = {}

    @property
    def tables(self) -> dict[str, str]:
        """The kind of the table of each batch."""
        return {name: batch.table for name, batch in self.batches.items()}
