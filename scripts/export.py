"""Write a trained model for other runtimes, and compare each file with PyTorch.

python -m scripts.export --format onnx                       models/model.pt -> models/model.onnx
python -m scripts.export --format onnx --size dynamic        the same for pictures of any size, slower
python -m scripts.export --format all --check --data DIR     all formats, and a table on DIR's test pictures
"""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from scripts._run import run

if TYPE_CHECKING:  # loaded after the arguments are read, so that --help answers at once
    from monai_sam2unet.export import Case, Comparison, PackedNetwork
    from monai_sam2unet.networks import SAM2UNet

MODELS = Path(__file__).resolve().parent.parent / "models"
KINDS = ("torchscript", "pt2", "onnx", "onnx-int8", "openvino")
CALIBRATION = 32
SYNTHETIC = 8
"""Synthetic pictures that are compared on where there are no others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Read the arguments and export.

    Args:
        arguments: those of the command line if None.

    Returns:
        Exit status.
    """
    args = _parser().parse_args(arguments)
    return run(lambda: _export(args))


def _parser() -> argparse.ArgumentParser:
    """The arguments."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.export",
        description="Write a trained model for other runtimes, and compare each file with PyTorch.",
    )
    add = parser.add_argument
    add("--checkpoint", type=Path, help="default: models/model.pt, else the one in the box")
    add("--pretrained_dir", type=Path, default=MODELS / "pretrained", help="where base files lie")
    add("--format", required=True, choices=(*KINDS, "all"))
    add("--output", type=Path, metavar="DIR", help="default: the folder of the model")
    add(
        "--size", type=_size, default="model", metavar="PIXELS",
        help="side of the only input, or dynamic for any multiple of 32, slower; default: the model's own",
    )  # fmt: skip
    add("--with_pre_post", action="store_true", help="take RGB pixels, give probabilities")
    add("--data", type=Path, metavar="DIR", help="data set: calibrates int8 on its training pictures")
    add(
        "--check", nargs="*", type=Path, metavar="PICTURES",
        help="compare with PyTorch, on these pictures or folders, else the test pictures of --data, else "
        f"{SYNTHETIC} synthetic ones",
    )  # fmt: skip
    add("--pictures", type=_at_least_one, default=50, help="at most so many are compared; default: 50")
    add("--calibration", type=_at_least_one, default=CALIBRATION, help=f"of int8; default: {CALIBRATION}")
    return parser


def _at_least_one(text: str) -> int:
    """A number of the command line."""
    if (number := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1, got {number}")
    return number


def _size(text: str) -> int | str:
    """A side in pixels; or ``dynamic`` for any, ``model`` for the one that the model was trained at."""
    if text in ("dynamic", "model"):
        return text
    if not text.isdecimal() or int(text) < 32 or int(text) % 32:
        raise argparse.ArgumentTypeError(f"must be a multiple of 32, dynamic or model, got {text}")
    return int(text)


def _export(args: argparse.Namespace) -> None:
    """Write the files, and compare them if asked to."""
    from monai_sam2unet.errors import InputError
    from monai_sam2unet.export import FORMATS, PackedNetwork, export
    from monai_sam2unet.export.formats import check_packages
    from monai_sam2unet.files import make_folder
    from monai_sam2unet.networks.weights import model_to_use

    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    kinds = KINDS if args.format == "all" else (args.format,)
    check_packages(kinds)
    args.checkpoint = args.checkpoint or Path(model_to_use(MODELS, MODELS.parent))
    trained, settings = _load(args)
    if args.with_pre_post and (reason := _not_packed(settings)):
        raise InputError(f"{args.checkpoint}: {reason}")
    network = PackedNetwork(trained) if args.with_pre_post else trained
    size = _fixed(args.size, settings)
    side = size or _side(settings)
    folder = make_folder(args.output or args.checkpoint.parent)
    cases = None if args.check is None else list(_cases(args))
    files = {}
    for kind in kinds:
        inputs = _calibration(args, side) if kind == "onnx-int8" else ()
        files[kind] = export(
            network,
            folder / FORMATS[kind].file,
            kind,
            size=size,
            calibration=inputs,
            threshold=settings["threshold"],
        )
        print(f"written: {files[kind]}, for {_taken(kind, size)}")
    if cases is not None:
        _check(network, files, cases, size, settings)


def _load(args: argparse.Namespace) -> tuple[SAM2UNet, dict[str, Any]]:
    """The model, and the settings it was trained with."""
    from monai_sam2unet.errors import InputError
    from monai_sam2unet.handlers import model_settings
    from monai_sam2unet.networks.weights import load_network

    path = args.checkpoint
    if not path.is_file():
        raise InputError(f"no model at {path}: train one first, or give another by --checkpoint FILE")
    network = load_network(args.checkpoint, args.pretrained_dir)
    defaults = {"input_size": 352, "threshold": 0.5, "activation": "sigmoid", "contrast": "none", "tile": 0}
    return network, model_settings(args.checkpoint, **defaults)


def _not_packed(settings: Mapping[str, Any]) -> str:
    """Why the steps before and behind this network are not those that a file can hold; "" if they are."""
    if settings["activation"] == "softmax":
        return (
            "its classes exclude each other (softmax), and --with_pre_post puts a sigmoid behind the "
            "network; export without it, and take the softmax of the logits"
        )
    if "plane" in settings:
        return (
            "is a model of volumes, and --with_pre_post normalises colour pictures; export without it, and "
            "normalise slices as docs/volumes.md says"
        )
    if settings["contrast"] != "none":
        return (
            f"was trained with contrast {settings['contrast']!r}, which --with_pre_post cannot put before "
            "the network; export without it, and do so before normalising"
        )
    return ""


def _side(settings: Mapping[str, Any]) -> int:
    """Side of what the network sees, pixels: of the tile or of the picture, made a multiple of 32."""
    pixels = settings["input_size"]
    longest = max(pixels) if isinstance(pixels, (list, tuple)) else pixels
    return int(settings["tile"]) or -(-int(longest) // 32) * 32


def _fixed(size: int | str, settings: Mapping[str, Any]) -> int | None:
    """The one side that files are made for; None for any."""
    if isinstance(size, int):
        return size
    pixels = settings["input_size"]
    square = not isinstance(pixels, (list, tuple)) or len(set(pixels)) == 1
    return _side(settings) if size == "model" and (square or settings["tile"]) else None


def _taken(kind: str, size: int | None) -> str:
    """Which pictures a file takes."""
    from monai_sam2unet.export import FORMATS

    return f"{size}x{size}" if size and FORMATS[kind].fixed else "any size"


def _cases(args: argparse.Namespace) -> Iterator[Case]:
    """What to compare on."""
    from monai_sam2unet.data import draw_case
    from monai_sam2unet.data.listing import pictures_in
    from monai_sam2unet.export import Case

    if args.check:
        found = [file for path in args.check for file in (pictures_in(path) if path.is_dir() else [path])]
        yield from (Case(file) for file in found[: args.pictures])
    elif args.data:
        lists = _lists(args)
        yield from _listed(lists.test or lists.validation, args.pictures)
    else:
        for index in range(SYNTHETIC):
            yield Case(*draw_case(index, seed=1))


def _calibration(args: argparse.Namespace, side: int) -> Iterator[Any]:
    """Inputs that int8 finds its ranges with."""
    from monai_sam2unet.data import draw_case
    from monai_sam2unet.export import Case, network_pixels, normalised

    if args.data:
        cases = _listed(_lists(args).train, args.calibration)
    else:
        logging.warning("int8 is calibrated on synthetic pictures; give --data DIR for a model of real ones")
        cases = (Case(draw_case(index)[0]) for index in range(args.calibration))
    for case in cases:
        pixels = network_pixels(case.pixels(), (side, side))
        yield pixels if args.with_pre_post else normalised(pixels)


def _lists(args: argparse.Namespace) -> Any:
    """The parts of the data set."""
    from monai_sam2unet.data import load_datalists

    return load_datalists(args.data)


def _listed(items: Sequence[Any], number: int) -> Iterator[Case]:
    """That many cases of a list, evenly spread over it."""
    from monai_sam2unet.data.naming import label_files
    from monai_sam2unet.export import Case

    chosen = [items[i * len(items) // number] for i in range(number)] if len(items) > number else items
    return (Case(item["image"], [str(file) for file in label_files(item)]) for item in chosen)


def _check(
    network: SAM2UNet | PackedNetwork,
    files: dict[str, Path],
    cases: list[Case],
    size: int | None,
    settings: dict[str, Any],
) -> None:
    """Compare and print the table."""
    from monai_sam2unet.errors import InputError
    from monai_sam2unet.export import PackedNetwork, compare, runner

    if not cases:
        raise InputError("nothing to compare on: no pictures there; give others to --check")
    channels = 3 if isinstance(network, PackedNetwork) else network.in_channels
    if channels != 3:
        raise InputError(f"--check compares on RGB pictures, the network takes {channels} channels")
    runners = {kind: runner(file, kind) for kind, file in files.items()}
    side = size or _side(settings)
    found = compare(network, runners, cases, (side, side), settings["threshold"])
    _show(found, files, size, f"{len(cases)} pictures at {side}x{side}")


def _show(found: dict[str, Comparison], files: dict[str, Path], size: int | None, title: str) -> None:
    """Print the table."""
    from rich.console import Console
    from rich.table import Table

    eager = next(iter(found.values()))
    columns = ["made for", "MB", "largest difference", "Dice with PyTorch", "lowest", "time / PyTorch"]
    if eager.reference:
        columns.append("Dice with reference")
    table = Table(title=title)
    table.add_column("format", no_wrap=True)
    for column in columns:
        table.add_column(column)
    for name, row in found.items():
        cells = [
            name,
            _taken(name, size) if name in files else "",
            f"{_bytes(files[name]) / 1e6:.1f}" if name in files else "",
            f"{row.difference:.1e}",
            f"{row.dice:.6f}",
            f"{min(row.dices):.4f}",
            f"{row.seconds / eager.seconds:.2f}",
        ]
        table.add_row(*cells, *([f"{row.reference_dice:.4f}"] if eager.reference else []))
    Console(soft_wrap=True).print(table, highlight=False)


def _bytes(file: Path) -> int:
    """Size of a file; of OpenVINO's two files together."""
    weights = file.with_suffix(".bin")
    return file.stat().st_size + (weights.stat().st_size if file.suffix == ".xml" else 0)


if __name__ == "__main__":
    sys.exit(main())
