"""SAM 2's published weight files: where they come from, what they must be, and their download."""

from __future__ import annotations

import hashlib
import logging
import re
from dataclasses import dataclass
from pathlib import Path

from monai_sam2unet.errors import InputError
from monai_sam2unet.files import check_space, make_folder

__all__ = ["PRETRAINED", "PretrainedFile", "download", "pretrained_file", "sha256_of"]

logger = logging.getLogger(__name__)

SAM2 = "https://dl.fbaipublicfiles.com/segment_anything_2/072824/"
SAM21 = "https://dl.fbaipublicfiles.com/segment_anything_2/092824/"
"""Meta's folders, linked by https://github.com/facebookresearch/sam2."""


@dataclass(frozen=True)
class PretrainedFile:
    """One published file.

    Args:
        name: the file's name, which it keeps here.
        url: its published address.
        sha256: of its content, hexadecimal, lower case.
        size: bytes.
    """

    name: str
    url: str
    sha256: str
    size: int


def _published(folder: str, name: str, size: int, sha256: str) -> PretrainedFile:
    """An entry of the table below."""
    return PretrainedFile(name, folder + name, sha256, size)


# Meta's page names no checksums: sizes and checksums are those that several independent projects recorded
# for these addresses.
# fmt: off
PRETRAINED = {
    ("2", "tiny"): _published(
        SAM2, "sam2_hiera_tiny.pt", 155_906_050,
        "65b50056e05bcb13694174f51bb6da89c894b57b75ccdf0ba6352c597c5d1125"),
    ("2", "small"): _published(
        SAM2, "sam2_hiera_small.pt", 184_309_650,
        "95949964d4e548409021d47b22712d5f1abf2564cc0c3c765ba599a24ac7dce3"),
    ("2", "base_plus"): _published(
        SAM2, "sam2_hiera_base_plus.pt", 323_493_298,
        "d0bb7f236400a49669ffdd1be617959a8b1d1065081789d7bbff88eded3a8071"),
    ("2", "large"): _published(
        SAM2, "sam2_hiera_large.pt", 897_952_466,
        "7442e4e9b732a508f80e141e7c2913437a3610ee0c77381a66658c3a445df87b"),
    ("2.1", "tiny"): _published(
        SAM21, "sam2.1_hiera_tiny.pt", 156_008_466,
        "7402e0d864fa82708a20fbd15bc84245c2f26dff0eb43a4b5b93452deb34be69"),
    ("2.1", "small"): _published(
        SAM21, "sam2.1_hiera_small.pt", 184_416_285,
        "6d1aa6f30de5c92224f8172114de081d104bbd23dd9dc5c58996f0cad5dc4d38"),
    ("2.1", "base_plus"): _published(
        SAM21, "sam2.1_hiera_base_plus.pt", 323_606_802,
        "a2345aede8715ab1d5d31b4a509fb160c5a4af1970f199d9054ccfb746c004c5"),
    ("2.1", "large"): _published(
        SAM21, "sam2.1_hiera_large.pt", 898_083_611,
        "2647878d5dfa5098f2f8649825738a9345572bae2d4350a2468587ece47dd318"),
}
# fmt: on
"""The published files by generation of SAM 2 and variant."""

BLOCK = 2**20
"""Bytes read at a time."""


def pretrained_file(sam: str, variant: str) -> PretrainedFile:
    """SAM 2's published file for a variant.

    Args:
        sam: generation, ``2`` or ``2.1``.
        variant: size of the encoder, as in `monai_sam2unet.networks.VARIANTS`.

    Returns:
        Its entry in `PRETRAINED`.

    Raises:
        InputError: if there is none; the message names those that exist.
    """
    if (sam, variant) in PRETRAINED:
        return PRETRAINED[sam, variant]
    generations = list(dict.fromkeys(s for s, _ in PRETRAINED))
    if sam not in generations:
        raise InputError(f"no generation {sam!r} of SAM 2; there are: {', '.join(generations)}")
    variants = ", ".join(v for s, v in PRETRAINED if s == sam)
    raise InputError(
        f"variant {variant!r} has no weights of SAM {sam} (there are: {variants}); "
        "train it from scratch: --pretrained none"
    )


def sha256_of(path: str | Path) -> str:
    """SHA-256 of a file's content.

    Args:
        path: the file; it is read block by block, so its size does not matter.

    Returns:
        64 hexadecimal digits, lower case.
    """
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def download(
    file: PretrainedFile,
    folder: str | Path,
    source: str | None = None,
    progress: bool = True,
    force: bool = False,
) -> Path:
    """Download a published file, unless it is there, and check it.

    What has arrived when a download ends early is kept as ``NAME.part``, and the next call goes on from
    there. The file has its name only once it is complete and its checksum is right.

    Args:
        file: which one.
        folder: where to; made if missing.
        source: address of another folder that holds the file; None for the published address.
        progress: show a bar, where the error stream is a terminal.
        force: replace a file of this name that is not the published one.

    Returns:
        The file's absolute path.

    Raises:
        InputError: if the file cannot be had or written, is not the published one, or another is in its
            place; the message says what to do.
    """
    from monai_sam2unet import transfer  # training needs none of its packages

    path = Path(folder).resolve() / file.name
    url = _address(file, source)
    if _in_place(file, path, force):
        return path
    make_folder(path.parent)
    check_space(path.parent, file.size - transfer.arrived(path), f"SAM 2's weights ({file.name})")
    otherwise = (
        f"Another source is named by --source; or download {file.url} on another machine and put it into "
        f"{path.parent} under the name {file.name} (sha256 {file.sha256})"
    )
    transfer.retrieve(url, path, file.size, file.sha256, progress, otherwise)
    return path


def _address(file: PretrainedFile, source: str | None) -> str:
    """Where a file is asked for."""
    if source is None:
        return file.url
    if not re.match(r"https?://[^/]", source):
        raise InputError(
            f"source {source!r}: expected the address of a folder, such as https://example.org/sam2/; "
            "a file that is on this machine already needs only be copied"
        )
    return f"{source.removesuffix(file.name).rstrip('/')}/{file.name}"


def _in_place(file: PretrainedFile, path: Path, force: bool) -> bool:
    """Whether the file is there; another one under its name is an error unless it may be replaced."""
    if not path.exists():
        return False
    try:
        got = sha256_of(path)
    except OSError as e:
        raise InputError(f"{path}: cannot be read ({e.strerror}); move it away") from e
    if got == file.sha256:
        logger.info("%s is there already, and its checksum is right", path)
    elif not force:
        raise InputError(
            f"{path} is not the published file: its sha256 is {got}, expected {file.sha256}; "
            "delete it, or have it replaced: --force"
        )
    return got == file.sha256
