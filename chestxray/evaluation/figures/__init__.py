"""Draw the figures of an evaluation and of a training, 1600 pixels wide, the same bytes for the same numbers.

Every figure takes a `note` for its title: what the images are ("synthetic phantoms, test side"), and which thresholds.
Those with a panel for each finding take the `panels`, any number of them: what each is called, and its status.
Figures are made as objects, without pyplot: nothing global, no display, safe in any thread.
"""

from chestxray.evaluation.figures.abstention import abstention_figure
from chestxray.evaluation.figures.confusion import confusion_matrix_figure
from chestxray.evaluation.figures.decision_curves import decision_curves_figure
from chestxray.evaluation.figures.examples import ExamplePicture, examples_figure
from chestxray.evaluation.figures.findings import findings_figure
from chestxray.evaluation.figures.history import history_figure
from chestxray.evaluation.figures.input_gate import input_gate_figure
from chestxray.evaluation.figures.localization import localization_figure
from chestxray.evaluation.figures.ranking import precision_recall_figure, roc_figure
from chestxray.evaluation.figures.reliability import reliability_figure
from chestxray.evaluation.figures.style import Panel, Panels, panels_of, save
from chestxray.evaluation.figures.subgroups import subgroups_figure
from chestxray.evaluation.figures.sweep import sweep_figure
from chestxray.evaluation.figures.training import head_figure, training_curves_figure

__all__ = [
    "ExamplePicture",
    "Panel",
    "Panels",
    "abstention_figure",
    "confusion_matrix_figure",
    "decision_curves_figure",
    "examples_figure",
    "findings_figure",
    "head_figure",
    "history_figure",
    "input_gate_figure",
    "localization_figure",
    "panels_of",
    "precision_recall_figure",
    "reliability_figure",
    "roc_figure",
    "save",
    "subgroups_figure",
    "sweep_figure",
    "training_curves_figure",
]
