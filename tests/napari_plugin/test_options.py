"""Options: which weights, methods by names a person understands, tooltips."""

from __future__ import annotations

import pytest
from qtpy.QtCore import QEvent, QPoint
from qtpy.QtGui import QHelpEvent
from qtpy.QtWidgets import QApplication, QFormLayout, QToolTip, QWidget

from sff_napari.evaluation.method_names import DEFAULTS, NAMES
from sff_napari.napari_plugin.widgets.tooltips import WIDTH, narrow
from sff_napari.napari_plugin.widgets.weights_card import FREE, folder_of, weights_in_brief
from sff_napari.networks import weights as core
from sff_napari.restoration import FUSIONS, INTERPOLATIONS, UNFOLDINGS


def test_free_weights_are_those_of_the_core():
    assert FREE == core.FREE
    assert folder_of(FREE) == core.named(FREE)


def test_weights_are_bundled_free_or_a_folder(panel):
    options, c = panel.options, panel.controller
    box = options.weights_set
    assert box.currentText() == "bundled (default)"
    assert not options.folder.isVisibleTo(options)
    assert "non-commercial use only" in options.brief.text()
    for at, weights in ((1, "free"), (0, "")):
        box.setCurrentIndex(at)
        box.activated.emit(at)
        assert c.form.weights == weights
        assert options.brief.text() == weights_in_brief(weights)
    assert "weights" not in c.form.as_restore_arguments()
    box.setCurrentIndex(2)
    box.activated.emit(2)
    assert c.form.weights == "", "until a folder is named"
    assert options.folder.isVisibleTo(options)
    options.weights.setText("/nowhere")
    options.weights.editingFinished.emit()
    assert c.form.as_restore_arguments()["weights"] == "/nowhere"


def test_methods_have_names_and_the_default_is_marked(panel):
    every = {"interpolation": INTERPOLATIONS, "unfolding": UNFOLDINGS, "fusion": FUSIONS}
    for stage, names in every.items():
        box = panel.options.methods[stage]
        texts = [box.itemText(i) for i in range(box.count())]
        assert box.count() == len(names)
        assert texts[0] == f"{NAMES[DEFAULTS[stage]]} (default)"
        assert not set(texts) & set(names), "names of the core"


def test_every_field_and_its_label_have_the_tooltip(panel):
    form = panel.options.findChild(QFormLayout)
    labels = 0
    for row in range(form.rowCount()):
        label = form.itemAt(row, QFormLayout.ItemRole.LabelRole)
        if label is not None and label.widget() is not None:
            labels += 1
            assert label.widget().toolTip()
    assert labels >= 8


def test_tooltips_are_shown_in_short_lines(panel, qtbot):
    late = QWidget(panel)
    late.setToolTip("word " * 60)
    QApplication.processEvents()
    for widget in (panel.options.weights_set, panel.line_tools.width, late):
        assert len(widget.toolTip()) > WIDTH
        QToolTip.hideText()
        place = QPoint(3, 3)
        QApplication.sendEvent(widget, QHelpEvent(QEvent.Type.ToolTip, place, place))
        assert QToolTip.text() == narrow(widget.toolTip())
        assert max(map(len, QToolTip.text().splitlines())) <= WIDTH
    QToolTip.hideText()


@pytest.mark.parametrize("text", ["<b>rich</b> " * 20, "short"])
def test_rich_and_short_texts_stay(text):
    assert narrow(text) == text
