"""Figures of merit, one module per protocol family."""

from monai_sam2unet.metrics.bootstrap import Difference, Interval, bootstrap_interval, paired_bootstrap
from monai_sam2unet.metrics.counts import Confusion, confusion, rates
from monai_sam2unet.metrics.cumulative import (
    ClassDiceMetric,
    EMeasureMetric,
    FMeasureMetric,
    MapErrorMetric,
    ProtocolMetric,
    SMeasureMetric,
    ThresholdDiceMetric,
    ThresholdIoUMetric,
    WeightedFMetric,
)
from monai_sam2unet.metrics.fixed import OVERLAP_NAMES, Overlap, overlap
from monai_sam2unet.metrics.lesions import FOUND_FROM, SIZES, Lesions, find_lesions, size_of
from monai_sam2unet.metrics.protocols import PROTOCOLS, score
from monai_sam2unet.metrics.saliency import (
    CaseCurves,
    Dynamic,
    curves,
    e_measure,
    f_measure,
    mae,
    threshold_dice,
    threshold_iou,
)
from monai_sam2unet.metrics.structure import s_measure
from monai_sam2unet.metrics.summary import (
    CASE_COLUMNS,
    case_figures,
    set_figures,
    summarize,
    summarize_classes,
)
from monai_sam2unet.metrics.surface import SURFACE_NAMES, Surface, surface
from monai_sam2unet.metrics.volumes import (
    VOLUME_COLUMNS,
    VOLUME_FIGURES,
    summarize_volumes,
    volume_figures,
    volume_set_figures,
)
from monai_sam2unet.metrics.weighted import weighted_f

__all__ = [
    "CASE_COLUMNS",
    "FOUND_FROM",
    "OVERLAP_NAMES",
    "PROTOCOLS",
    "SIZES",
    "SURFACE_NAMES",
    "VOLUME_COLUMNS",
    "VOLUME_FIGURES",
    "CaseCurves",
    "ClassDiceMetric",
    "Confusion",
    "Difference",
    "Dynamic",
    "EMeasureMetric",
    "FMeasureMetric",
    "Interval",
    "Lesions",
    "MapErrorMetric",
    "Overlap",
    "ProtocolMetric",
    "SMeasureMetric",
    "Surface",
    "ThresholdDiceMetric",
    "ThresholdIoUMetric",
    "WeightedFMetric",
    "bootstrap_interval",
    "case_figures",
    "confusion",
    "curves",
    "e_measure",
    "f_measure",
    "find_lesions",
    "mae",
    "overlap",
    "paired_bootstrap",
    "rates",
    "s_measure",
    "score",
    "set_figures",
    "size_of",
    "summarize",
    "summarize_classes",
    "summarize_volumes",
    "surface",
    "threshold_dice",
    "threshold_iou",
    "volume_figures",
    "volume_set_figures",
    "weighted_f",
]
