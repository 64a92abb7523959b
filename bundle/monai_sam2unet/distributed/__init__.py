"""Training and evaluation in several processes, one for each GPU, as ``torchrun`` starts them.

Without ``torchrun`` everything here is that of one process. Rank and number of the processes come from
`ignite.distributed`, which MONAI's metrics use as well.
"""

from monai_sam2unet.distributed.ending import LOSS, ProcessLostError, is_loss, leave, may_say
from monai_sam2unet.distributed.group import agree, check_started, from_first, start, stop
from monai_sam2unet.distributed.ranks import is_first, launched, local_rank, processes, rank
from monai_sam2unet.distributed.sharing import gathered, parallel, shares

__all__ = [
    "LOSS",
    "ProcessLostError",
    "agree",
    "check_started",
    "from_first",
    "gathered",
    "is_first",
    "is_loss",
    "launched",
    "leave",
    "local_rank",
    "may_say",
    "parallel",
    "processes",
    "rank",
    "shares",
    "start",
    "stop",
]
