"""The comparisons of evaluation and metrics agree, each called once on small pictures."""

import pytest

from scripts.speed import evaluation, metrics
from tests.plain import library


def test_metrics(monkeypatch):
    monkeypatch.setattr(metrics, "SMALL", (64, 48))
    monkeypatch.setattr(metrics, "LARGE", (96, 80))
    found = list(metrics.comparisons(quick=False))
    assert len(found) == (8 if library.installed() else 4)
    for one in found:
        assert one.part == "metrics" and one.difference <= one.allowed, one.name
        plain, ours = one.plain(), one.ours()
        assert ("wFmeasure" in plain) == ("all figures" in one.name)
        assert metrics.farthest(plain, ours) <= one.allowed
        assert plain["Smeasure"] > 0.3, "a map of nothing would prove nothing"


def test_quick_metrics_are_what_is_guarded():
    (one,) = metrics.comparisons(quick=True)
    assert one.guard == 5 and "352x352" in one.name and one.difference <= one.allowed


def test_evaluation(monkeypatch):
    monkeypatch.setattr(evaluation, "SIZE", (96, 80))
    monkeypatch.setattr(evaluation, "PICTURES", 2)
    monkeypatch.setattr(evaluation, "PICTURES_AHEAD", 3)
    names = []
    for one in evaluation.comparisons(quick=False):
        names.append(one.name)
        assert one.part == "evaluation" and one.difference <= one.allowed, one.name
        plain, ours = one.plain(), one.ours()
        assert metrics.farthest(plain, ours) <= one.allowed
    assert len(names) == len(set(names)) == (8 if library.installed() else 4)
    assert not list(evaluation.comparisons(quick=True))


def test_a_wrong_figure_is_seen(monkeypatch):
    monkeypatch.setattr(evaluation, "SIZE", (96, 80))
    monkeypatch.setattr(evaluation, "PICTURES", 2)
    monkeypatch.setattr(evaluation, "PICTURES_AHEAD", 2)
    real = evaluation.paper_from_counts
    monkeypatch.setattr(evaluation, "paper_from_counts", lambda pair: {**real(pair), "MAE": 0.5})
    by_counts = [one for one in evaluation.comparisons(quick=False) if "but weighted F" in one.name]
    assert all(one.difference > 0.01 for one in by_counts)
    # by hand: what the plain way does not give has no part in it
    assert metrics.farthest({"MAE": 0.1}, {"MAE": 0.3, "Smeasure": 0.9}) == pytest.approx(0.2)
