"""The figures of protocol `paper` by PySODMetrics, which the published evaluation program calls.

It is no requirement of ours: `make oracles` installs it.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]


def installed() -> bool:
    """Whether it can be imported."""
    return importlib.util.find_spec("py_sod_metrics") is not None


def figures(pairs: Sequence[tuple[Bytes, Bytes]], weighted: bool = True) -> dict[str, float]:
    """The figures of a set of maps and masks, as tests/plain/scoring.py names them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of its own class for F
        parts = _parts(weighted)
    results: dict[str, Any] = {}
    for part in parts:
        for levels, mask in pairs:
            part.step(levels, mask)
        results |= part.get_results()
    made = {"Smeasure": float(results["sm"]), "MAE": float(results["mae"])}
    if weighted:
        made["wFmeasure"] = float(results["wfm"])
    curves = {name: results[key]["curve"] for name, key in (("Fm", "fm"), ("Em", "em"))}
    made |= {f"adp{name}": float(results[key]["adp"]) for name, key in (("Fm", "fm"), ("Em", "em"))}
    curves |= {name: results[name]["dynamic"] for name in ("dice", "iou")}
    for name, curve in curves.items():
        made |= {f"mean{name}": float(curve.mean()), f"max{name}": float(curve.max())}
    return made


def _parts(weighted: bool) -> list[Any]:
    import py_sod_metrics as sod

    curve = {"with_dynamic": True, "with_adaptive": False}
    handlers = {"dice": sod.DICEHandler(**curve), "iou": sod.IOUHandler(**curve)}
    parts = [sod.Smeasure(), sod.MAE(), sod.Fmeasure(), sod.Emeasure(), sod.FmeasureV2(handlers)]
    return [*parts, sod.WeightedFmeasure()] if weighted else parts
