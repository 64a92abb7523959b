"""Rules on names, presence, sizes and privacy of an entry's files; ``large_files.yml``."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from monai.bundle import ConfigParser

from monai_sam2unet.zoo.entry import MODEL, SETTINGS
from monai_sam2unet.zoo.findings import METADATA, Finding, read_table

__all__ = ["REQUIRED", "check_large_files", "check_names", "check_private", "check_required", "check_sizes"]

REQUIRED = {
    "LICENSE": "the licence of the bundle",
    METADATA: "what the bundle is",
    "configs/inference.json": "how it is run on pictures",
    "configs/train.json": "how it is trained",
    "configs/evaluate.json": "how it is evaluated",
    "docs/README.md": "the model card",
    "docs/data_license.txt": "the terms of the data",
    MODEL: "the trained weights",
    SETTINGS: "the settings of the training that made the weights",
}
"""The first three and the weights are asked for by the zoo's tests, the licence of the data by its rules."""

LARGEST = 25_000_000
"""Bytes of a file in the zoo's repository; it says 25 MB, here the smaller reading of it."""

LARGE_FILES = ("large_files.yml", "large_files.yaml", "large_files.json")
DIGITS = {"md5": 32, "sha1": 40, "sha256": 64, "sha512": 128}
"""Hexadecimal digits of each kind of hash that the zoo takes."""

TEXTS = (".json", ".conf", ".md", ".txt", ".yml", ".yaml", ".cff", ".ipynb")
PERSONAL = re.compile(r"(?:/home/|/Users/|/root/|\b[A-Za-z]:\\+Users\\+)[\w.-]+")
"""Paths that tell a person or a machine."""

ABSOLUTE = re.compile(r"(?:/|~|[A-Za-z]:[\\/])")


def check_required(folder: Path) -> Iterator[Finding]:
    """Files that are missing, empty or no JSON."""
    elsewhere = {item.get("path") for item in _listed(folder) if isinstance(item, dict)}
    for name, what in REQUIRED.items():
        path = folder / name
        if not path.is_file() and name not in elsewhere:
            yield Finding(name, "it is missing", what, "add it")
        elif path.is_file() and path.stat().st_size == 0:
            yield Finding(name, "it is empty", what, "write it")
    for path in sorted([*folder.glob("configs/*.json"), *folder.glob(SETTINGS)]):
        if path.stat().st_size and read_table(path) is None:
            name = path.relative_to(folder).as_posix()
            yield Finding(name, "it cannot be read as JSON", "an object {...} in UTF-8", "correct it")


def check_names(folder: Path) -> Iterator[Finding]:
    """The folder's name, and files that do not belong into an entry."""
    if not re.fullmatch(r"[A-Za-z]\w*", folder.name) or re.search(r"_v\d", folder.name):
        yield Finding(
            folder.name,
            "the folder cannot be called so",
            "letters, digits and _, without _v and a digit, by which the zoo splits name and version",
            "rename it, such as sam2unet_polyp_segmentation",
        )
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        if path.is_symlink():
            yield Finding(name.as_posix(), "it is a link", "a file", "put a copy in its place")
        elif name.parts[0] == "scripts" and len(name.parts) == 1:
            yield Finding(
                "scripts",
                "a package of this name is taken by another one in MONAI Label's threads",
                "the code in the package monai_sam2unet",
                "leave the folder out",
            )
        elif path.is_file() and _stray(name):
            yield Finding(name.as_posix(), "it does not belong into an entry", "no such file", "leave it out")


def check_sizes(folder: Path) -> Iterator[Finding]:
    """Files that the zoo's repository does not take and ``large_files.yml`` does not list."""
    listed = {item.get("path") for item in _listed(folder) if isinstance(item, dict)}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and path.stat().st_size > LARGEST and name not in listed:
            yield Finding(
                name,
                f"it has {path.stat().st_size / 1e6:.1f} MB",
                f"at most {LARGEST / 1e6:.0f} MB in one file",
                "upload it to a public place and list it in large_files.yml (docs/zoo.md), or pack a "
                "smaller model",
            )


def check_private(folder: Path) -> Iterator[Finding]:
    """Paths of a person's machine in texts, and absolute ones among the values of JSON files."""
    for path in sorted(folder.rglob("*")):
        if path.suffix not in TEXTS or not path.is_file():
            continue
        name = path.relative_to(folder).as_posix()
        text = path.read_text(encoding="utf-8", errors="replace")
        found = set(PERSONAL.findall(text))
        if path.suffix == ".json" and name not in LARGE_FILES:  # whose paths have a rule of their own
            found |= {value for value in _texts(read_table(path)) if ABSOLUTE.match(value)}
        for value in sorted(found):
            yield Finding(
                name,
                f"it names the path {value}",
                "no path of a person's machine",
                "write it relative to bundle_root, or as DIR",
            )


def check_large_files(folder: Path) -> Iterator[Finding]:
    """The list of files that are kept elsewhere."""
    names = [name for name in LARGE_FILES if (folder / name).is_file()]
    if len(names) > 1:
        yield Finding(names[0], f"there is also {names[1]}", "one of them", "delete the other")
    for name in names:
        try:
            content = _parse(folder / name)
        except ValueError as e:
            yield Finding(name, f"it cannot be read ({e})", "YAML or JSON", "correct it")
            continue
        listed = content.get("large_files") if isinstance(content, dict) else None
        if not isinstance(listed, list) or not listed:
            yield Finding(name, "no list large_files", "large_files: [{path, url, ...}, ...]", "write it")
            continue
        for number, item in enumerate(listed, 1):
            yield from _check_item(folder, name, f"file {number}", item)


def _check_item(folder: Path, name: str, which: str, item: Any) -> Iterator[Finding]:
    """One of the files that are kept elsewhere."""
    if not isinstance(item, dict):
        yield Finding(name, f"{which} is {item!r}", "path: ..., url: ...", "write both keys")
        return
    unknown = sorted(item.keys() - {"path", "url", "hash_val", "hash_type"})
    if unknown:
        keys = "path, url, hash_val, hash_type"
        yield Finding(name, f"{which} has the keys {unknown}", keys, "correct or delete them")
    path: Any = item.get("path")
    url = item.get("url")
    if not _inside(path):
        yield Finding(name, f"{which} has the path {path!r}", "a path within the bundle", "correct it")
    if not re.match(r"https?://\S+$", str(url)):
        yield Finding(name, f"{which} has the url {url!r}", "http:// or https://", "give its address")
    kind: Any = item.get("hash_type") or None
    digest = item.get("hash_val") or None
    if kind is None and digest is None:
        return
    if kind not in DIGITS or not re.fullmatch(rf"[0-9a-f]{{{DIGITS[kind]}}}", str(digest)):
        wanted = "both, hash_type one of md5, sha1, sha256, sha512 and hash_val its digits; or neither"
        yield Finding(name, f"{which}: hash_type {kind!r}, hash_val {digest!r}", wanted, "correct them")
    elif _inside(path) and (folder / path).is_file():
        actual = hashlib.new(kind, (folder / path).read_bytes()).hexdigest()
        if actual != digest:
            yield Finding(name, f"{which}: {kind} {digest}", f"{actual} of {path}", "list that")


def _listed(folder: Path) -> list[Any]:
    """The files that are kept elsewhere; none where the list is wrong, which is reported on its own."""
    for name in LARGE_FILES:
        if (folder / name).is_file():
            try:
                content = _parse(folder / name)
            except ValueError:
                return []
            listed = content.get("large_files") if isinstance(content, dict) else None
            return listed if isinstance(listed, list) else []
    return []


def _parse(path: Path) -> Any:
    """Content of a JSON or YAML file.

    Raises:
        ValueError: if it is neither, or is YAML and PyYAML is not installed.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))  # is YAML, too, and needs no further package
    except ValueError:
        try:
            return ConfigParser.load_config_file(str(path))
        except ImportError as e:
            raise ValueError("PyYAML is needed: pip install pyyaml, or write JSON") from e
        except Exception as e:  # of JSON or PyYAML, which is not imported here
            raise ValueError(" ".join(str(e).split())) from e


def _inside(path: Any) -> bool:
    """Whether a path leads to a place within the bundle."""
    if not isinstance(path, str) or not path or ABSOLUTE.match(path) or "\\" in path:
        return False
    return ".." not in PurePosixPath(path).parts


def _stray(name: Path) -> bool:
    """Whether a file is one of a tool's, a leftover, or would be taken for the model."""
    if any(part.startswith(".") or part == "__pycache__" for part in name.parts):
        return True
    other_model = name.parts[0] == "models" and name.suffix == ".pt" and name.as_posix() != MODEL
    return other_model or name.suffix in (".pyc", ".tmp")


def _texts(value: Any) -> Iterator[str]:
    """All texts in a JSON value."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item)
