"""Figures: they say what they must, are 1600 pixels wide, and are the same bytes for the same numbers."""

import io
import struct

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from chestxray.evaluation.calibration import fit_platt
from chestxray.evaluation.figures import (
    Panel,
    confusion_matrix_figure,
    findings_figure,
    head_figure,
    precision_recall_figure,
    reliability_figure,
    roc_figure,
    save,
    training_curves_figure,
)
from chestxray.findings import FINDINGS, RESEARCH_USE_ONLY
from chestxray.inference.platt import Platt
from chestxray.metrics.confusion import confusion_matrices
from chestxray.metrics.ranking import curves
from chestxray.metrics.report import evaluate
from tests.chestxray.sample import masks, names, sample

PANELS = {finding: Panel(finding.replace("_", " "), "learned") for finding in FINDINGS}
NOTE = "synthetic phantoms, thresholds by f1"
EPOCHS = pd.DataFrame({
    "epoch": [1, 2, 3], "loss": [0.9, 0.5, 0.4], "validation_loss": [0.8, 0.6, 0.7],
    "validation_mean_auroc": [0.7, 0.8, 0.75], "kept": [0, 1, 0],
})  # fmt: skip


@pytest.fixture(scope="module")
def drawn():
    """One of each figure, of a sample in which Hernia never occurs."""
    generator = np.random.default_rng(0)
    labels = generator.random((200, 14)) < np.linspace(0.3, 0.05, 14)
    labels[:, 13] = False
    logits = generator.normal(size=(200, 14)) + 2 * labels
    before, after = (
        Platt.identity(FINDINGS).probabilities(logits),
        fit_platt(logits, masks(labels)).probabilities(logits),
    )
    decisions = after > 0.3
    metrics = evaluate(masks(labels), after, decisions, np.arange(200) // 2, min_positives=2)
    roc, precision_recall = curves(masks(labels), after)
    counts = confusion_matrices(masks(labels), decisions)
    return {
        "confusion": confusion_matrix_figure(counts, 200, PANELS, NOTE),
        "roc": roc_figure(roc, metrics, PANELS, NOTE),
        "precision_recall": precision_recall_figure(precision_recall, metrics, PANELS, NOTE),
        "reliability": reliability_figure(masks(labels), before, after, PANELS, NOTE),
        "training": training_curves_figure(EPOCHS, NOTE),
    }, (labels, decisions, metrics)


def texts(axes):
    return "\n".join([axes.get_title(), *(text.get_text() for text in axes.texts)])


def panels(figure):
    return {axes.get_title(): axes for axes in figure.axes if axes.get_title()}


@pytest.fixture(scope="module")
def partly_labelled():
    """One of each figure of a test side, of a sample in which half of the images label Edema and none labels Hernia."""
    generator = np.random.default_rng(1)
    labels = (generator.random((200, 14)) < 0.3).astype(np.int8)
    labels[:100, 9], labels[:, 13] = -1, -1
    probabilities = 1 / (1 + np.exp(1 - 2 * labels - generator.normal(size=(200, 14))))
    decisions = probabilities > 0.4
    metrics = evaluate(masks(labels), probabilities, decisions, np.arange(200), min_positives=2)
    (roc, precision_recall), counts = curves(masks(labels), probabilities), confusion_matrices(masks(labels), decisions)
    return {
        "confusion": confusion_matrix_figure(counts, 200, PANELS, NOTE),
        "roc": roc_figure(roc, metrics, PANELS, NOTE),
        "precision_recall": precision_recall_figure(precision_recall, metrics, PANELS, NOTE),
        "reliability": reliability_figure(masks(labels), probabilities, probabilities, PANELS, NOTE),
    }, metrics


def test_figures_say_what_is_not_labelled(partly_labelled, tmp_path):
    figures, metrics = partly_labelled
    edema = panels(figures["confusion"])["Edema"]
    assert edema.get_xlabel() == "prediction (100 images have a label)"
    assert panels(figures["confusion"])["Mass"].get_xlabel() == "prediction"
    chance = metrics["positives"]["Edema"] / 100
    assert any(np.allclose(line.get_ydata(), chance) for line in panels(figures["precision_recall"])["Edema"].lines)
    for name in ("roc", "precision_recall", "reliability"):
        assert "no image labels it" in texts(panels(figures[name])["Hernia"])
    for name, figure in figures.items():
        save(figure, tmp_path / f"{name}.png")
        assert not overlaps([axes.get_tightbbox() for axes in panels(figure).values()]), name


def test_every_figure_says_what_it_is_of_and_what_it_is_not_for(drawn):
    for name, figure in drawn[0].items():
        title = figure.get_suptitle()
        assert NOTE in title, name
        assert RESEARCH_USE_ONLY in title, name
        if name != "training":
            assert "n = 200" in title, name
            assert set(panels(figure)) == {finding.replace("_", " ") for finding in FINDINGS}, name


def test_every_figure_is_1600_pixels_wide_and_fully_within_the_picture(drawn, tmp_path):
    for name, figure in drawn[0].items():
        save(figure, tmp_path / f"{name}.png")
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert picture.width == 1600, name
            pixels = np.asarray(picture.convert("L"))
        edges = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
        assert (edges == 255).all(), f"{name} is cut off"


def overlaps(boxes):
    """Pairs of boxes that share more than a pixel."""
    return [
        (a, b)
        for first, a in enumerate(boxes)
        for b in boxes[:first]
        if min(a.x1, b.x1) - max(a.x0, b.x0) > 1 and min(a.y1, b.y1) - max(a.y0, b.y0) > 1
    ]


def test_no_panel_runs_into_another_and_no_text_into_another(drawn):
    for name, figure in drawn[0].items():
        figure.canvas.draw()
        assert not overlaps([axes.get_tightbbox() for axes in panels(figure).values()]), name
        for finding, axes in panels(figure).items():
            assert not overlaps([text.get_window_extent() for text in (axes.title, *axes.texts)]), (name, finding)


LONG = "A finding whose title for people is as long as a title may be and has a $ in it, of the lower left lobe"


def of_findings(count):
    """One of each figure of a test side, of so many findings: every third insufficient, every fourth not learned."""
    labels, probabilities, decisions, people = sample(2, n=60, patients=60, findings=count)
    status = ["not learned" if p % 4 == 3 else "insufficient" if p % 3 == 2 else "learned" for p in range(count)]
    titles = {name: Panel(LONG if p % 5 == 1 else name, status[p]) for p, name in enumerate(names(count))}
    ranked_only = tuple(name for name, panel in titles.items() if panel.status == "insufficient")
    numbered = [name for name, panel in titles.items() if panel.status != "not learned"]
    places = [names(count).index(name) for name in numbered]
    known = masks(labels).of(numbered)
    metrics = evaluate(
        known, probabilities[:, places], decisions[:, places], people, min_positives=2, ranked_only=ranked_only
    )
    roc, precision_recall = curves(known, probabilities[:, places])
    counts = confusion_matrices(masks(labels), decisions)[[each == "learned" for each in status]]
    return titles, {
        "confusion": confusion_matrix_figure(counts, 60, titles, NOTE),
        "roc": roc_figure(roc, metrics, titles, NOTE),
        "precision_recall": precision_recall_figure(precision_recall, metrics, titles, NOTE),
        "reliability": reliability_figure(masks(labels), probabilities, probabilities, titles, NOTE),
    }


@pytest.mark.parametrize("count", [1, 5, 20, pytest.param(200, marks=pytest.mark.heavy)])
def test_any_number_of_findings_has_its_panels_and_none_is_drawn_over(count, tmp_path):
    shown, figures = of_findings(count)
    for name, figure in figures.items():
        save(figure, tmp_path / f"{name}.png")
        named = [axes for axes in figure.axes if axes.get_title()]
        assert len(named) == count, name
        keys = [axes for axes in figure.axes if axes.get_legend()]
        assert not overlaps([axes.get_tightbbox() for axes in (*named, *keys)]), name
        width = figure.get_figwidth() * figure.dpi
        assert width == 1600 and all(b.x0 >= 0 and b.x1 <= width for b in (a.get_tightbbox() for a in named)), name
        for axes, panel in zip(named, shown.values(), strict=True):
            assert not overlaps([text.get_window_extent() for text in (axes.title, *axes.texts)]), (name, panel)
            assert (texts(axes).endswith("\nnot learned")) == (panel.status == "not learned"), (name, panel)
            assert ("insufficient" in texts(axes)) == (panel.status == "insufficient"), (name, panel)
            assert panel.status != "not learned" or not axes.lines


def test_confusion_panels_hold_counts_row_fractions_and_named_axes(drawn):
    figures, (labels, decisions, _) = drawn
    axes = panels(figures["confusion"])["Mass"]
    y, called = labels[:, 4], decisions[:, 4]
    hits, positives = np.count_nonzero(y & called), np.count_nonzero(y)
    cells = [text.get_text() for text in axes.texts]
    assert cells[3] == f"{hits}\n{hits / positives:.1%}"
    assert cells[0].startswith(f"{np.count_nonzero(~y & ~called)}\n")
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "truth")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["absent", "present"]
    assert "no images" in texts(panels(figures["confusion"])["Hernia"])


def test_curve_panels_hold_their_numbers_and_a_missing_class_is_said(drawn):
    figures, (_, _, metrics) = drawn
    low, high = metrics["auroc_ci_low"]["Edema"], metrics["auroc_ci_high"]["Edema"]
    assert f"AUROC {metrics['auroc']['Edema']:.3f} ({low:.3f} to {high:.3f})" in texts(panels(figures["roc"])["Edema"])
    edema = panels(figures["precision_recall"])["Edema"]
    assert f"AP {metrics['average_precision']['Edema']:.3f}" in texts(edema)
    assert any(np.allclose(line.get_ydata(), metrics["positives"]["Edema"] / 200) for line in edema.lines)
    for name in ("roc", "precision_recall", "reliability"):
        assert "not scored" in texts(panels(figures[name])["Hernia"])
        assert not panels(figures[name])["Hernia"].lines


def test_the_epoch_that_was_kept_is_marked(drawn):
    def said(figure):
        return [text.get_text() for text in figure.axes[1].get_legend().get_texts()]

    assert "kept: 0.800, epoch 2" in said(drawn[0]["training"])
    head = EPOCHS.assign(epoch=[0, 1, 2], kept=[1, 0, 0])
    assert "kept: 0.700, the head" in said(training_curves_figure(head, NOTE))


def test_one_epoch_is_enough_and_none_is_refused(tmp_path):
    save(training_curves_figure(EPOCHS.iloc[:1], NOTE), tmp_path / "one.png")
    with pytest.raises(ValueError, match="0 rows"):
        training_curves_figure(EPOCHS.iloc[:0], NOTE)
    with pytest.raises(ValueError, match="validation_loss"):
        training_curves_figure(EPOCHS.drop(columns="validation_loss"), NOTE)


def test_metrics_by_finding_are_drawn_where_they_were_measured(drawn):
    metrics = drawn[1][2]
    by_finding = pd.DataFrame(
        {name: metrics[name] for name in ("auroc", "average_precision", "f1", "auroc_ci_low", "auroc_ci_high")}
    )
    figure = findings_figure(by_finding.rename_axis("finding").reset_index(), PANELS, NOTE)
    auroc = figure.axes[0]
    (points, *_), *_ = auroc.containers
    assert np.allclose(points.get_xdata()[:13], [metrics["auroc"][finding] for finding in FINDINGS[:13]])
    assert [axes.get_title() for axes in figure.axes] == ["AUROC", "average precision", "F1"]
    assert [text.get_text() for text in auroc.texts] == ["not measured"], "Hernia never occurs"


def test_a_head_that_a_warm_start_brought_has_no_curves(tmp_path):
    folds, curve = (
        pd.DataFrame({"l2": [10.0, 0.3], "mean_auroc": [0.8, 0.9]}),
        pd.DataFrame({"iteration": [1, 2], "loss": [0.5, 0.4]}),
    )
    figure = head_figure(folds, curve, NOTE)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1] and not any(axes.texts for axes in figure.axes)
    empty = head_figure(folds.iloc[:0], curve.iloc[:0], NOTE)
    save(empty, tmp_path / "empty.png")
    assert all("warm start" in axes.texts[0].get_text() for axes in empty.axes)


def test_a_note_is_text_not_mathematics(tmp_path):
    save(training_curves_figure(EPOCHS, r"my $\frac$ batch_1"), tmp_path / "note.png")


def test_counts_that_do_not_add_up_are_refused(drawn):
    labels, decisions, _ = drawn[1]
    counts = confusion_matrices(masks(labels), decisions)
    with pytest.raises(ValueError, match="at most 199"):
        confusion_matrix_figure(counts, 199, PANELS, NOTE)
    with pytest.raises(ValueError, match="14 findings with decisions"):
        confusion_matrix_figure(counts.iloc[1:], 200, PANELS, NOTE)


def test_the_same_numbers_give_the_same_bytes_without_dates_or_versions(tmp_path):
    for name in ("a", "b"):
        save(training_curves_figure(EPOCHS, NOTE), tmp_path / f"{name}.png")
    data = (tmp_path / "a.png").read_bytes()
    assert data == (tmp_path / "b.png").read_bytes()
    stream, chunks = io.BytesIO(data[8:]), set()
    while header := stream.read(8):
        length, kind = struct.unpack(">I4s", header)
        stream.seek(length + 4, io.SEEK_CUR)
        chunks.add(kind)
    assert not chunks & {b"tEXt", b"iTXt", b"zTXt", b"tIME"}


def test_a_failed_save_leaves_the_old_picture_and_nothing_half_written(tmp_path, monkeypatch):
    path = tmp_path / "reports" / "figure.png"
    figure = training_curves_figure(EPOCHS, NOTE)
    save(figure, path)
    old = path.read_bytes()

    def fail(file, **_):
        file.write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(figure, "savefig", fail)
    with pytest.raises(OSError, match="disk full"):
        save(figure, path)
    assert path.read_bytes() == old
    assert [entry.name for entry in path.parent.iterdir()] == ["figure.png"]


def test_only_png_is_written(tmp_path):
    with pytest.raises(ValueError, match=r"figure\.svg"):
        save(training_curves_figure(EPOCHS, NOTE), tmp_path / "figure.svg")
