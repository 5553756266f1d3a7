"""Figures hold every fact once, in the right place, and read no markup from a file."""

import math

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from oneway.report.figures import bars, forward_against_reverse, logit, picture


@given(st.floats(1e-6, 1 - 1e-6))
def test_logit_is_that_of_the_probability(p) -> None:
    assert logit(math.log(p)) == pytest.approx(math.log(p / (1 - p)), rel=1e-6, abs=1e-6)


def test_certainty_is_drawn_at_the_edge() -> None:
    assert math.isfinite(logit(0.0))
    assert logit(0.0) > logit(math.log(0.999999))


def test_every_fact_is_one_point_at_its_mean_over_templates(make_audit) -> None:
    audit = make_audit(parents=60, athletes=40, templates=2)
    figure = forward_against_reverse(audit.rows)
    assert sum(len(trace.x) for trace in figure.data) == 100
    means = audit.rows.group_by("fact", "direction").agg(pl.col("logprob_per_token").mean())
    expected = {
        (round(logit(x), 9), round(logit(y), 9))
        for x, y in means.pivot("direction", index="fact").select("forward", "reverse").iter_rows()
    }
    drawn = {
        (round(x, 9), round(y, 9)) for trace in figure.data for x, y in zip(trace.x, trace.y, strict=True)
    }
    assert drawn == expected


def test_a_fact_that_was_asked_one_way_is_not_drawn(make_audit) -> None:
    rows = make_audit(parents=10, athletes=0).rows
    kept = rows.filter((pl.col("fact") != 3) | (pl.col("direction") == "forward"))
    assert sum(len(trace.x) for trace in forward_against_reverse(kept).data) == 9


def test_hover_texts_hold_no_markup_of_a_file(make_audit) -> None:
    rows = make_audit(parents=0, athletes=0, hostile=("<b>&amp;</b><a href='x'>",)).rows
    (trace,) = forward_against_reverse(rows).data
    (text,) = trace.text
    assert "<b>&lt;b&gt;&amp;amp;&lt;/b&gt;&lt;a href='x'&gt;</b>" in text


def test_bars_stand_at_the_summary(make_audit) -> None:
    audit = make_audit(parents=60, athletes=40)
    axes = bars(audit.record.summary).axes[0]
    widths = sorted(patch.get_width() for patch in axes.patches)
    expected = sorted(s["exact_match"]["mean"] for s in audit.record.summary if s["split"] == "")
    assert widths == pytest.approx(expected)
    with pytest.raises(ValueError, match="no exact matches of split 'x'"):
        bars(audit.record.summary, "x")


def test_a_name_with_dollars_is_drawn_as_it_is_and_equal_figures_are_equal_files(make_audit) -> None:
    summary = [{**s, "relation": "$x_$"} for s in make_audit(parents=8, athletes=0).record.summary[:3]]
    for kind in ("svg", "png"):
        assert picture(bars(summary), kind) == picture(bars(summary), kind)
