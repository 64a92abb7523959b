"""Runtimes beside plain PyTorch: the same logits, and what is not installed is said."""

import pytest

from scripts.speed import runtimes
from scripts.speed.timing import Comparison, Figure, measure

NAMES = ["PyTorch, fused", "OpenVINO", "ONNX Runtime"]


def test_every_runtime_is_compared():
    for package in ("onnx", "onnxruntime", "openvino"):
        pytest.importorskip(package, reason="make exports")
    found = []
    for comparison in runtimes.of_variant("nano", 96, goal=1.1):
        assert isinstance(comparison, Comparison) and comparison.part == "runtimes"
        measured = measure(comparison, rounds=2)
        # rounding makes some difference, for all of them compute in another order than the plain form
        assert measured.agrees and comparison.difference > 0
        assert measured.ratio > 0.1  # ten times as slow would be another mistake
        found.append((comparison.name, comparison.goal))
    goals = [None, 1.1, 1.1]
    assert found == [(f"{name}, nano, 96x96", goal) for name, goal in zip(NAMES, goals, strict=True)]


def test_what_is_not_installed_is_said(monkeypatch):
    monkeypatch.setattr(runtimes.importlib.util, "find_spec", lambda name: None)
    ours, *others = runtimes.of_variant("nano", 64)
    assert isinstance(ours, Comparison) and ours.difference < ours.allowed == 2e-5
    assert others == [
        Figure("runtimes", f"{name}, nano, 64x64", f"{packages} not installed; run `make exports`")
        for name, packages in (("OpenVINO", "onnx and openvino"), ("ONNX Runtime", "onnx and onnxruntime"))
    ]


def test_large_and_tiny_with_their_goals(monkeypatch):
    asked = []
    monkeypatch.setattr(runtimes, "of_variant", lambda *arguments: asked.append(arguments) or iter(()))
    assert list(runtimes.comparisons(quick=True)) == [] == asked
    assert list(runtimes.comparisons(quick=False)) == []
    assert asked == [("large", 352, 1.5), ("tiny", 352, 1.3)]  # the goals of docs/export.md
