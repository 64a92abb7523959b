"""Evaluation on the benchmarks' sets: networks or ready-made maps, beside the figures of the paper."""

from monai_sam2unet.benchmark.evaluation import evaluate_maps, evaluate_network
from monai_sam2unet.benchmark.published import PAPER, Published, published
from monai_sam2unet.benchmark.rows import Row, rows_of
from monai_sam2unet.benchmark.scoring import NOT_MEANS, Run
from monai_sam2unet.benchmark.sets import PROTOCOL_CHOICES, EvaluationSet, load_sets, protocols_for
from monai_sam2unet.benchmark.table import write_cases, write_tables

__all__ = [
    "NOT_MEANS",
    "PAPER",
    "PROTOCOL_CHOICES",
    "EvaluationSet",
    "Published",
    "Row",
    "Run",
    "evaluate_maps",
    "evaluate_network",
    "load_sets",
    "protocols_for",
    "published",
    "rows_of",
    "write_cases",
    "write_tables",
]
