"""What the MONAI model zoo asks of a contribution: checked without a network, and packed.

An entry is a folder with what the zoo gets, staged from the repository. `files`, `metadata`, `config_keys`
and `model_card` read it, `running` does with it what the zoo's continuous integration does, `repository`
compares it with what stays at home; `archive` packs it.
"""

from monai_sam2unet.zoo.archive import write_archive
from monai_sam2unet.zoo.check import check_entry, check_files
from monai_sam2unet.zoo.entry import NAME, find_model, stage
from monai_sam2unet.zoo.findings import Finding
from monai_sam2unet.zoo.repository import check_repository, has_unreleased_changes

__all__ = [
    "NAME",
    "Finding",
    "check_entry",
    "check_files",
    "check_repository",
    "find_model",
    "has_unreleased_changes",
    "stage",
    "write_archive",
]
