"""The command line ``monai-sam2unet``: its arguments, read before anything is loaded that takes seconds.

It stands beside the package, not in it, for importing a module of the package loads all of it.
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from monai_sam2unet.prediction import Segmenter
    from monai_sam2unet.segment import Found, Outcome
    from monai_sam2unet.volume_prediction import VolumeSegmenter

__all__ = ["main"]

FORMATS = ("png", "nifti", "nrrd", "dicomseg")
PLANES = ("axial", "coronal", "sagittal")
FALLBACKS = ("error", "frames", "secondary-capture")
SEGMENTATION_TYPES = ("binary", "labelmap")

EPILOG = """exit status:
  0    every input has its result
  1    some inputs failed, others have their results
  2    wrong arguments, or there is no result at all
  130  interrupted by Ctrl-C
"""


def main(arguments: Sequence[str] | None = None, program: str = "monai-sam2unet") -> int:
    """Read the arguments and do what they say.

    Args:
        arguments: those of the command line if None.
        program: the command's name in messages.

    Returns:
        Exit status, as the help says.
    """
    args = _parser(program).parse_args(arguments)
    try:
        return _segment(args)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    except ModuleNotFoundError as err:
        print(f"Error: {err} (for {sys.executable}); run `make setup`, then activate .venv", file=sys.stderr)
        return 2


def _parser(program: str) -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(prog=program, description="SAM2-UNet for medical pictures.")
    made = parser.add_subparsers(required=True, metavar="COMMAND").add_parser(
        "segment",
        help="segment files, folders, DICOM series, volumes and videos",
        description="Segment files, folders, DICOM series, volumes and videos.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = made.add_argument
    add("inputs", metavar="INPUT", nargs="+", help="file, folder, or pattern in quotes such as 'in/**/*.dcm'")
    add("-o", "--output", type=Path, required=True, metavar="DIR", help="folder of the results")
    _add_results(made)
    _add_model(made)
    add("--json", action="store_true", help="print one JSON document on the standard output, no table")
    return parser


def _add_results(made: argparse.ArgumentParser) -> None:
    """Arguments on what is written."""
    add = made.add_argument_group("results").add_argument
    add(
        "--format", choices=FORMATS,
        help="default: nifti of volumes, dicomseg of DICOM (if highdicom is installed), png of pictures",
    )  # fmt: skip
    add("--overlays", action="store_true", help="write the frames with the outlines as PNG, too")
    add("--names", type=_listed, default=(), metavar="A,B", help="what the classes are called in results")
    add("--segmentation_type", choices=SEGMENTATION_TYPES, default="binary", help="of DICOM Segmentations")
    add(
        "--fallback", choices=FALLBACKS, default="error",
        help="for DICOM that no Segmentation object can hold, such as cines; default: error",
    )  # fmt: skip
    add("--anonymise", action="store_true", help="remove what identifies the patient; numbers as file names")
    add("--overwrite", action="store_true", help="replace results that are there, whatever they are made of")


def _add_model(made: argparse.ArgumentParser) -> None:
    """Arguments on what is computed."""
    add = made.add_argument_group("model and reading").add_argument
    add("--model", type=Path, metavar="FILE", help="default: models/model.pt, else the one in the box")
    add("--pretrained_dir", type=Path, metavar="DIR", help="where base files lie; default: models/pretrained")
    add("--bundle", type=Path, metavar="DIR", help="the bundle's folder, where it is not the current one")
    add("--device", default="auto", help="auto, cpu, cuda or cuda:N; default: auto")
    add("--threshold", type=float, help="probability from which a pixel counts; default: the model's")
    add("--batch", type=int, help="pictures computed at once; default: 1")
    add(
        "--tile",
        type=int,
        metavar="PIXELS",
        help="side of windows at full resolution, 0: none; default: the model's",
    )
    add("--overlap", type=float, default=0.25, help="of windows, 0 to 0.9; default: 0.25")
    add("--window", type=_window, metavar="NAME|C,W", help="grey levels, such as lung, or 40,400")
    add("--plane", choices=PLANES, default="axial", help="which way volumes are sliced; default: axial")


def _listed(text: str) -> tuple[str, ...]:
    """Names with commas between them."""
    return tuple(name.strip() for name in text.split(","))


def _window(text: str) -> str | tuple[float, float]:
    """The name of a window, or centre and width."""
    if "," not in text:
        return text
    try:
        centre, width = (float(part) for part in text.split(","))
    except ValueError as err:
        raise argparse.ArgumentTypeError(f"must be a name, or C,W such as 40,400, got {text!r}") from err
    return centre, width


def _segment(args: argparse.Namespace) -> int:
    """Segment the inputs, and tell what became of them."""
    from rich.console import Console

    console = Console(stderr=True)
    _log_to(console)
    from monai_sam2unet.errors import InputError

    try:
        outcomes, model = _outcomes(args, console)
    except InputError as err:
        print(f"Error: {err}", file=sys.stderr)
        return 2
    _tell(args, outcomes, model)
    done = sum(one.status == "done" for one in outcomes)
    failed = sum(one.status == "failed" for one in outcomes)
    return 2 if not done else int(failed > 0)


def _outcomes(args: argparse.Namespace, console: Console) -> tuple[list[Outcome], dict[str, Any]]:
    """What became of all inputs, and what is told of the model."""
    from monai_sam2unet import __version__
    from monai_sam2unet.io import find_window
    from monai_sam2unet.io.identity import Algorithm
    from monai_sam2unet.networks.weights.pretrained import sha256_of
    from monai_sam2unet.segment import Options, Outcome, find_units, segment

    if args.window is not None:
        find_window(args.window)  # a name that is not known is no fault of the first file
    found = find_units(args.inputs, args.output)
    segmenter = _segmenter(args)
    algorithm = Algorithm(segmenter.model.name, sha256_of(segmenter.model), __version__)
    options = Options(
        output=args.output,
        form=args.format,
        window=args.window,
        plane=args.plane,
        names=args.names,
        segmentation_type=args.segmentation_type,
        fallback=args.fallback,
        overlays=args.overlays,
        anonymise=args.anonymise,
        overwrite=args.overwrite,
    )
    outcomes = [Outcome(path, "passed over", reason=reason) for path, reason in found.passed_over.items()]
    outcomes += [Outcome(path, "failed", reason=reason) for path, reason in found.failed.items()]
    outcomes += _shown(found, lambda told: segment(found.units, segmenter, algorithm, options, told), console)
    told = {
        "version": __version__,
        "model": algorithm.model,
        "sha256": algorithm.sha256,
        "threshold": segmenter.threshold,
        "device": str(segmenter.device),
    }
    return outcomes, told


def _segmenter(args: argparse.Namespace) -> Segmenter | VolumeSegmenter:
    """The model; which kind it is, its settings say."""
    from monai_sam2unet.errors import InputError
    from monai_sam2unet.networks.weights import model_to_use
    from monai_sam2unet.prediction import Segmenter, VolumeModelError, find_bundle
    from monai_sam2unet.volume_prediction import VolumeSegmenter

    root = args.bundle or find_bundle()
    model = args.model or model_to_use(root / "models", root)
    given = (model, args.device, root, args.pretrained_dir)
    both = {"batch_size": args.batch, "threshold": args.threshold}
    try:
        return Segmenter(*given, tile=args.tile, overlap=args.overlap, **both)
    except VolumeModelError:
        if args.tile:
            raise InputError(f"{model} is a model of volumes, which has no tiles; leave out --tile") from None
        return VolumeSegmenter(*given, **both)


def _shown(found: Found, work: Any, console: Console) -> list[Outcome]:
    """Do the work under a progress bar on the standard error output."""
    from rich.progress import Progress, TimeRemainingColumn

    with Progress(*Progress.get_default_columns()[:-1], TimeRemainingColumn(), console=console) as bar:
        inputs = bar.add_task("inputs", total=len(found.units))
        frames = bar.add_task("frames", visible=False)
        outcomes = []

        def told(_: Any, done: int, total: int) -> None:
            bar.update(frames, completed=done, total=total, visible=total > 1)

        for outcome in work(told):
            outcomes.append(outcome)
            bar.advance(inputs)
        return outcomes


def _tell(args: argparse.Namespace, outcomes: list[Outcome], model: dict[str, Any]) -> None:
    """Print the table, or the document for programs."""
    import json

    from rich.console import Console

    from monai_sam2unet.segment import document, summary

    if args.json:
        print(json.dumps(document(model, outcomes), indent=1, ensure_ascii=False, allow_nan=False))
    else:
        for part in summary(outcomes, args.output):
            Console().print(part, highlight=False, markup=False, soft_wrap=isinstance(part, str))


def _log_to(console: Console) -> None:
    """Let warnings appear above the progress bar, each in one line."""

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            console.print(self.format(record), soft_wrap=True, markup=False, highlight=False)

    form = "%(levelname)s: %(message)s"
    logging.basicConfig(level=logging.WARNING, format=form, handlers=[Lines()], force=True)
    # each decoder that it tries in vain leaves a traceback there; what fails in the end is named by us
    logging.getLogger("pydicom").setLevel(logging.CRITICAL)


if __name__ == "__main__":
    sys.exit(main())
