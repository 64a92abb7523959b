"""What a file is, by its content and not by its name."""

from __future__ import annotations

import gzip
import os
import zlib
from enum import Enum
from pathlib import Path

from PIL import Image

from monai_sam2unet.errors import InputError
from monai_sam2unet.pictures import PICTURE_FORMATS

__all__ = ["DICOM_SUFFIXES", "VIDEO_SUFFIXES", "Kind", "is_dicom", "kind_of"]

DICOM_SUFFIXES = (".dcm", ".dicom", ".ima")  # a convention; many files have none

VIDEO_SUFFIXES = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg", ".ts", ".mts", ".wmv")
"""By which videos are found in folders; what a file is, its content says."""

_HEAD = 544  # bytes: the longest of the headers looked at, NIfTI-2, with its four bytes of extensions
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # classic and BigTIFF, both byte orders
# A file without preamble begins with a group that stands at the start of every data set (PS3.10, 7.1).
_FIRST_GROUPS = (b"\x02\0", b"\x08\0")
# Matroska and WebM, MPEG program and elementary streams, ASF (WMV), Flash
_VIDEO_STARTS = (b"\x1aE\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"0&\xb2u\x8ef\xcf\x11", b"FLV\x01")
_STILL_BRANDS = (b"heic", b"heix", b"hevc", b"mif1", b"msf1", b"avif", b"avis")  # pictures in MP4's container
_DICOMDIR = b"1.2.840.10008.1.3.10"  # Media Storage Directory Storage


class Kind(Enum):
    """What a path leads to, in words for a message."""

    PICTURE = "a picture"
    TIFF_STACK = "a TIFF of several pages"
    DICOM = "a DICOM file"
    DICOMDIR = "a DICOMDIR (the index of a DICOM medium)"
    NIFTI = "a NIfTI volume"
    NRRD = "an NRRD volume"
    VIDEO = "a video"
    FOLDER = "a folder"
    UNKNOWN = "of no known kind"


def kind_of(path: str | os.PathLike[str]) -> Kind:
    """Find out what lies at a path.

    Only the beginning of the file is read. DICOM is known by its preamble, or, where that is missing, by its
    first elements.

    Args:
        path: a file or folder of any name.

    Returns:
        Its kind; ``Kind.UNKNOWN`` for what nothing here reads, an empty file among them.

    Raises:
        InputError: If nothing is there, or it may not be read.
    """
    path = Path(path)
    if path.is_dir():
        return Kind.FOLDER
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as err:
        raise InputError(f"{path}: cannot be read ({err.strerror}); give a file or folder") from err
    if head[128:132] == b"DICM":
        return Kind.DICOMDIR if _DICOMDIR in head[132:] else Kind.DICOM
    if is_nifti(_unzipped(path, head)):
        return Kind.NIFTI
    if head.startswith(b"NRRD000"):
        return Kind.NRRD
    if is_video(head):
        return Kind.VIDEO
    return _kind_of_picture(path, head) or (Kind.DICOM if _begins_as_dicom(head) else Kind.UNKNOWN)


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file is DICOM by its content, an index of a medium not; False for what cannot be opened.

    It decodes nothing, and so costs less than `kind_of` for a folder of many files.
    """
    try:
        with Path(path).open("rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return False
    if head[128:132] == b"DICM":
        return _DICOMDIR not in head[132:]
    return _begins_as_dicom(head)


def is_video(head: bytes) -> bool:
    """Whether bytes begin a file of MP4, QuickTime, AVI, Matroska, WebM, MPEG, ASF or Flash video."""
    if head[4:8] == b"ftyp":
        return head[8:12] not in _STILL_BRANDS
    transport = head[:1] == b"G" and head[188:189] == b"G" and head[376:377] == b"G"  # packets of 188 bytes
    avi = head[:4] == b"RIFF" and head[8:12] == b"AVI "
    quicktime = head[4:8] in (b"moov", b"mdat", b"wide")
    return avi or quicktime or transport or head.startswith(_VIDEO_STARTS)


def is_nifti(head: bytes) -> bool:
    """Whether bytes begin a single-file NIfTI-1 or NIfTI-2 volume, of either byte order."""
    return nifti_version(head) > 0


def nifti_version(head: bytes) -> int:
    """1 or 2 for the beginning of a single-file NIfTI volume, unpacked, else 0."""
    if head[344:348] == b"n+1\0":
        return 1
    return 2 if head[4:8] == b"n+2\0" else 0


def _unzipped(path: Path, head: bytes) -> bytes:
    """The beginning of what is packed, or the beginning itself if nothing is."""
    if not head.startswith(b"\x1f\x8b"):
        return head
    try:
        with gzip.open(path) as file:
            return file.read(_HEAD)
    except (OSError, EOFError, zlib.error):  # damaged: of no known kind
        return b""


def _kind_of_picture(path: Path, head: bytes) -> Kind | None:
    """Picture or TIFF stack, if Pillow knows it."""
    Image.init()
    try:
        with Image.open(path, formats=[name for name in PICTURE_FORMATS if name in Image.OPEN]) as image:
            several = head.startswith(_TIFF) and getattr(image, "n_frames", 1) > 1
    except Exception:  # Pillow's plug-ins raise anything; whatever it is, it is not known
        return None
    return Kind.TIFF_STACK if several else Kind.PICTURE


def _begins_as_dicom(head: bytes) -> bool:
    """Whether the first element is one that a data set without preamble begins with, little endian."""
    if len(head) < 16 or head[:2] not in _FIRST_GROUPS or head[3] != 0 or head[2] > 0x18:
        return False
    explicit = head[4:6].isalpha() and head[4:6].isupper()
    return explicit or int.from_bytes(head[4:8], "little") <= 128  # bytes of such an element's value
