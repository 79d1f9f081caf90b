"""The report of an export, and where a restored slice agrees with its neighbours."""

from __future__ import annotations

import math
import re
from datetime import datetime
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from qtpy.QtGui import QDesktopServices
from scipy.ndimage import rotate

from sff_napari.evaluation.local_agreement import LocalAgreement, local_agreement
from sff_napari.evaluation.verdict import is_alarming, plain_verdict
from sff_napari.evaluation.without_truth import NeighbourScores
from sff_napari.napari_plugin.layers.shapes_style import WIDTH
from sff_napari.napari_plugin.widgets.agreement_map import map_colours
from sff_napari.napari_plugin.widgets.export_dialog import start_export
from sff_napari.napari_plugin.workers import tasks
from sff_napari.sessions.neighbours import Neighbours

DAMAGED = 2
LINE = [(0.0, 96.0), (223.0, 130.0)]
SCORES = NeighbourScores(0.1, 0.4, 0.5, 0.5, 0.5, 0.9)


def agreement(before: float, after: float, low: float = 0.3) -> LocalAgreement:
    """Places of which some agree well near the fold: shares before and after."""
    values = [np.where(np.arange(20) < share * 20, 0.6, 0.0) for share in (before, after)]
    near = np.ones((4, 5), dtype=bool)
    return LocalAgreement(*(v.reshape(4, 5) for v in values), near, (low, 0.5, 0.7))


def test_agreement_is_found_where_the_slices_agree():
    rng = np.random.default_rng(0)
    neighbour = rng.normal(100, 20, (240, 200))
    other = rng.normal(100, 20, (240, 200))
    damaged = neighbour.copy()
    damaged[:120] = other[:120]
    flow = np.zeros((2, 240, 200))
    flow[:, :120] = 9.0
    made = np.zeros((240, 200))
    made[:, 150:] = 1.0
    pairs = [(neighbour, neighbour + rng.normal(0, 5, (240, 200)))]
    found = local_agreement(damaged, neighbour, made, flow, [neighbour], pairs)
    assert found.before.shape == (10, 9)
    assert np.abs(found.before[:4]).max() < 0.5
    assert found.before[6:].min() > 0.99
    assert found.after[:, :6].min() > 0.99
    assert np.isnan(found.after[:, 7:]).all(), "what is made up is not compared"
    assert found.near[:5].all()
    assert not found.near[5:].any()
    assert found.near_share(found.before) == 0
    assert found.near_share(found.after) == 1
    again = LocalAgreement.from_dict(found.to_dict())
    np.testing.assert_allclose(again.before, found.before, atol=0.006)
    np.testing.assert_array_equal(np.isnan(again.after), np.isnan(found.after))
    assert LocalAgreement.from_dict({"before": 3}) is None
    assert LocalAgreement.from_dict(None) is None
    colours = map_colours(found.before, found.clean)
    assert (colours[8, 3, :3] != colours[1, 3, :3]).any()


@pytest.mark.parametrize(
    ("before", "after", "says", "alarm"),
    [
        (0.1, 0.9, "fits about as well", False),
        (0.1, 0.5, "does not fit as well", False),
        (0.5, 0.5, "no better than before", True),
        (0.9, 0.9, "fits about as well", False),
    ],
)
def test_words_agree_with_the_numbers(before, after, says, alarm):
    local = agreement(before, after)
    text = plain_verdict(SCORES, local)
    assert says in text
    assert f"{after:.0%} of the places" in text
    assert f"before it were {before:.0%}" in text
    assert is_alarming(SCORES, local) is alarm


def test_where_clean_slices_are_hardly_alike_the_words_say_so():
    good = plain_verdict(SCORES, agreement(0.1, 0.9, low=0.05))
    assert "hardly resemble each other" in good
    assert "Judge by eye" in good
    assert "no better than before" in plain_verdict(SCORES, agreement(0.5, 0.5, low=0.05))


def test_without_clean_slices_the_words_are_about_the_correlation():
    local = agreement(0.1, 0.9, low=math.nan)
    assert "0.10 to 0.40" in plain_verdict(SCORES, local)


def test_a_restored_slice_shows_a_map_and_its_notes(panel, draw, finish, until, monkeypatch):
    shown = []
    monkeypatch.setattr(
        "sff_napari.napari_plugin.controller.restoration_actions.show_note", shown.append
    )
    c = panel.controller
    layer = panel.viewer.layers["stack"]
    data = np.array(layer.data)
    for z in (3, 4):  # not aligned to the damaged slice
        data[z] = rotate(data[z], 12, reshape=False, mode="reflect")
    layer.data = data
    until(lambda: c.layer_queue.is_idle)
    draw(c, LINE)
    c.restore_here()
    finish(c)
    result = c.store.get((DAMAGED,))
    assert any("moved onto it" in note for note in result.notes)
    assert shown == result.notes
    assert shown[0] in panel.judge.notes.text()
    assert panel.judge.map.isVisibleTo(panel)
    assert panel.judge.plot.clean == result.local.clean
    panel.judge.map.resize(240, panel.judge.map.height())
    picture = panel.judge.map.grab().toImage()
    colours = {picture.pixelColor(x, y).name() for x in range(0, 240, 6) for y in range(20, 110, 6)}
    assert len(colours) > 4
    c.go_to((0,))
    until(lambda: not panel.judge.map.isVisibleTo(panel))


def test_the_judge_compares_with_neighbours_as_they_were_moved(clean_stack, folded_stack):
    turned = rotate(clean_stack[3], 12, reshape=False, mode="reflect")
    beside = {"previous": clean_stack[1], "following": turned}
    request = SimpleNamespace(
        read=None, pairs=(), index=(DAMAGED,), neighbours=Neighbours((1,), (3,))
    )
    used, notes = tasks._aligned(request, folded_stack[DAMAGED], beside)
    assert notes[0].startswith(f"Slice 3 is not aligned to slice {DAMAGED}")
    result = SimpleNamespace(
        restored=folded_stack[DAMAGED],
        synthesised=np.zeros((224, 224)),
        flow=np.zeros((2, 224, 224)),
    )
    scores = {
        moved: tasks._scored(request, folded_stack[DAMAGED], [images["following"]], result)
        for moved, images in ((True, used), (False, beside))
    }
    assert scores[True][0].away_before > scores[False][0].away_before + 0.15
    middle = [np.nanmedian(scores[moved][1].before) for moved in (True, False)]
    assert middle[0] > middle[1] + 0.15


def test_an_export_has_a_report_to_read(panel, draw, give_result, finish, tmp_path, monkeypatch):
    c = panel.controller
    draw(c, LINE)
    give_result(c)
    result = c.store.get((DAMAGED,))
    made = "2024-03-01T12:00:00+00:00"
    scores = {**SCORES.to_dict(), "local": agreement(0.1, 0.9).to_dict()}
    versions = {"report": {"unfolding": "law", "notes": ["The <following> slice was moved."]}}
    c.apply_results(
        {
            (DAMAGED,): result.with_record(
                time=made,
                scores=scores,
                versions=versions,
                neighbours={"previous": [1], "following": [3]},
            )
        }
    )
    c.accept_slice()
    folder = tmp_path / "out"
    start_export(c, folder, "tiff", ["stack"])
    finish(c)
    assert (folder / "report.json").exists()
    text = (folder / "report.html").read_text()
    assert text.count("data:image/png;base64,") == 3
    assert "<h2>Slice 2: accepted</h2>" in text
    assert "fitted law of the fold" in text
    assert "1 and 3" in text
    assert "0.10 before, 0.40 after" in text
    assert "90% of the places" in text
    assert "The &lt;following&gt; slice was moved." in text
    assert f"{datetime.fromisoformat(made).astimezone():%Y-%m-%d %H:%M}" in text
    row = re.search(r"Pixels.*?</tr>", text)[0]
    assert [float(share) for share in re.findall(r"([\d.]+)%", row)] == [50.0, 50.0, 0.0], (
        "half of the flow of this result moves"
    )
    opened = []
    monkeypatch.setattr(QDesktopServices, "openUrl", lambda url: opened.append(url.toLocalFile()))
    for button in (panel.open_folder, panel.open_report):
        assert button.isVisibleTo(panel)
        button.click()
    assert [Path(path) for path in opened] == [folder, folder / "report.html"]


def test_every_width_that_is_shown_is_the_full_one(panel, draw):
    c = panel.controller
    draw(c, LINE)
    c.set_half_width(8.1)
    assert panel.line_tools.width.value() == pytest.approx(16.2)
    assert list(c.lines.layer.features[WIDTH]) == [pytest.approx(16.2)]
    assert c.lines.layer.edge_width == [pytest.approx(16.2)]
    assert "half" not in " ".join(c.lines.layer.features.columns)
