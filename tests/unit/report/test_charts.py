"""Plots of the gates' facts: deterministic, passive, accessible, and only where there is a claim."""

import math
import re

import matplotlib as mpl
import matplotlib.figure
import pytest

from flame_fl.report import charts, plots
from flame_fl.report.svg import check_svg


def all_charts(facts):
    drawn = charts.privacy_chart(facts)
    return [*charts.round_charts(facts), *([drawn] if drawn else [])]


def test_the_same_facts_draw_the_same_bytes(facts):
    """No date, no random id: two drawings are equal in both themes."""
    assert all_charts(facts) == all_charts(facts)


def test_drawing_leaves_matplotlibs_settings_alone(facts):
    """A program that draws its own plots finds its settings unchanged."""
    before = dict(mpl.rcParams)
    all_charts(facts)
    assert dict(mpl.rcParams) == before


def test_hostile_names_stay_text_in_the_picture(hostile, recwarn):
    """Markup, formulae, control and bidirectional characters in names leave each picture well-formed and passive."""
    drawn = all_charts(hostile)
    assert drawn
    for chart in drawn:
        for svg in (chart.light, chart.dark):
            check_svg(svg.encode())
            assert "\u202e" not in svg
    assert not recwarn.list


@pytest.mark.parametrize("name", ["$x^2$", r"$\frac$", "_hidden"])
def test_names_are_never_formulae(make_facts, make_node, name):
    """A name between dollar signs is drawn as it stands, and one that matplotlib would hide is shown."""
    drawn = charts.privacy_chart(make_facts(nodes=(make_node(1, name=name),)))
    assert drawn is not None
    assert f"{name}</text>" in drawn.light


def test_the_dark_drawing_differs_in_colours_only(make_facts, make_node):
    """Exchanging colours touches no label, not even one that spells a colour."""
    drawn = charts.privacy_chart(make_facts(nodes=(make_node(1, name="#0072b2 fill:#e3e8ec"),)))
    assert drawn is not None
    assert drawn.light != drawn.dark
    assert "#0072b2 fill:#e3e8ec</text>" in drawn.light
    assert "#0072b2 fill:#e3e8ec</text>" in drawn.dark
    colour = re.compile("#[0-9a-f]{6}")
    assert colour.sub("", drawn.light) == colour.sub("", drawn.dark)


def test_end_labels_never_cover_each_other():
    """Lines that end near each other are labelled once; lines that end apart are all labelled."""

    def labels(*ends):
        axes = mpl.figure.Figure().add_subplot()
        plots.lines(axes, [(str(i), [1, 2], [0.0, end]) for i, end in enumerate(ends)], from_zero=True)
        return [text.get_text() for text in axes.texts]

    assert labels(100.0, 99.0, 98.5) == ["100"]
    assert labels(100.0, 50.0, 1.0) == ["100", "50", "1"]


def test_every_chart_has_a_text_alternative_with_figures(facts):
    """Who cannot see a plot reads its main numbers."""
    for chart in all_charts(facts):
        assert any(character.isdigit() for character in chart.alt)


def test_epsilon_is_drawn_for_claims_only(make_facts, make_node, facts):
    """A node without a claim has no bar; a run without any has no plot."""
    drawn = charts.privacy_chart(facts)
    assert drawn is not None
    assert "DIZ-1: 5.67 of 8" in drawn.alt
    assert "DIZ-3" not in drawn.alt + drawn.light
    assert charts.privacy_chart(make_facts(noise_seeded=True)) is None


def test_no_rounds_no_plots(make_facts):
    """There is nothing to draw of a run that never began."""
    assert charts.round_charts(make_facts(rounds=())) == ()


def test_a_metric_that_diverged_is_left_out_of_its_line(make_facts, facts):
    """NaN, infinity and 1e308 are no points; a metric with nothing else gets no plot."""
    first, *rest = facts.rounds[::2]
    diverged = first.model_copy(update={"metrics": {"train_loss": math.nan, "only_nan": math.inf, "huge": -1e308}})
    run = make_facts(rounds=(diverged, *rest))
    assert charts.metric_names(run) == ["train_loss"]
    assert "in round 1 " not in charts.round_charts(run)[-1].alt


def test_many_metrics_are_capped(make_facts, facts):
    """An app with a hundred metrics does not make a hundred plots."""
    crowded = facts.rounds[0].model_copy(update={"metrics": {f"m{i}": 1.0 for i in range(100)}})
    assert len(charts.round_charts(make_facts(rounds=(crowded,)))) == 3 + charts.MAX_METRICS
