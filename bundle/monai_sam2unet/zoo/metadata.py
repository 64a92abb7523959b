"""Rules on ``configs/metadata.json``: the schema of 2024-07-25, versions and packages.

The rules of the schema are written down here, since its file has to be downloaded: which keys there must be,
and of which type. To them come what MONAI's own tools read, and what the zoo's tests look at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from monai_sam2unet.zoo.findings import METADATA, Finding, read_table

__all__ = ["check_installed", "check_online", "check_schema", "check_versions", "packages"]

SCHEMA = "meta_schema_20240725.json"

TYPES: Mapping[str, type] = {
    "schema": str,
    "version": str,
    "changelog": dict,
    "monai_version": str,
    "pytorch_version": str,
    "numpy_version": str,
    "required_packages_version": dict,
    "optional_packages_version": dict,
    "supported_apps": dict,
    "name": str,
    "task": str,
    "description": str,
    "authors": str,
    "copyright": str,
    "data_source": str,
    "data_type": str,
    "image_classes": str,
    "label_classes": str,
    "pred_classes": str,
    "eval_metrics": dict,
    "intended_use": str,
    "references": list,
    "network_data_format": dict,
}
REQUIRED = (
    "schema",
    "version",
    "changelog",  # by the zoo's tests
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "required_packages_version",
    "name",  # by the zoo's rules: it is shown in the list of models
    "task",
    "description",
    "authors",
    "copyright",
    "network_data_format",
)
TENSOR: Mapping[str, type] = {
    "type": str,
    "format": str,
    "modality": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
    "is_patch_data": bool,
    "channel_def": dict,
}
TENSOR_REQUIRED = ("type", "format", "num_channels", "spatial_shape", "dtype", "value_range")

WORDS = {str: "a text", dict: "an object {...}", list: "a list", int: "a whole number", bool: "true or false"}

READ_BY_MONAI = {"inputs": "image", "outputs": "pred"}
"""Names of the tensors that ``verify_net_in_out`` looks at."""

EXACT = re.compile(r"\d+(\.\d+)*((a|b|rc)\d+)?(\.post\d+)?")
NUMBERS = re.compile(r"\d+(\.\d+){0,2}")
"""What the zoo can raise by one, to take release candidates of MONAI, too."""


def check_schema(folder: Path) -> Iterator[Finding]:
    """Keys that are missing or of a wrong type."""
    meta = read_table(folder / METADATA)
    if meta is None:
        return
    schema = meta.get("schema")
    if isinstance(schema, str) and not schema.endswith(f"/{SCHEMA}"):
        wanted = f"an address that ends in /{SCHEMA}, whose rules are checked here"
        yield Finding(METADATA, f"schema is {schema!r}", wanted, "give it")
    yield from _keys("", meta, TYPES, REQUIRED)
    for reference in _items(meta.get("references")):
        if not isinstance(reference, str):
            yield _wrong_type("references", reference, str)
    for name, value in meta.items():
        if re.fullmatch(r"[A-Za-z0-9_]+_data_format", name) and isinstance(value, dict):
            yield from _network(name, value)


def check_versions(folder: Path, known: Mapping[str, Any] | None = None) -> Iterator[Finding]:
    """The version, the changelog, and whether packages are named by exact versions.

    Args:
        folder: the entry.
        known: content of the zoo's ``models/model_info.json``, whose keys are NAME_vVERSION.
    """
    meta = read_table(folder / METADATA)
    if meta is None:
        return
    version, changelog = meta.get("version"), meta.get("changelog")
    if isinstance(changelog, dict) and version not in changelog:
        yield Finding(
            METADATA, f"version {version!r} is not in changelog", "a line on this version", "add it there"
        )
    elif isinstance(changelog, dict) and version != next(iter(changelog)):
        yield Finding(METADATA, f"version {version!r} is not first in changelog", "newest first", "order it")
    if known is not None and f"{folder.name}_v{version}" in known:
        yield Finding(
            METADATA, f"the zoo has {folder.name} in version {version}", "a new version", "raise version"
        )
    for package, named in packages(meta).items():
        pattern = NUMBERS if package == "monai" else EXACT
        if not isinstance(named, str) or not pattern.fullmatch(named):
            yield Finding(METADATA, f"{package} {named!r}", "one exact version, such as 1.6.1", "name it")


def check_installed(folder: Path) -> Iterator[Finding]:
    """Packages that are not installed in the version which the metadata names, so that it is untested."""
    for package, named in packages(read_table(folder / METADATA) or {}).items():
        try:
            installed = metadata.version(package).split("+")[0]
        except metadata.PackageNotFoundError:
            installed = "not installed"
        if installed != named:
            yield Finding(
                METADATA,
                f"{package} {named}, here {installed}",
                "the versions that the bundle is tested with",
                "run make setup, or name the version that is installed",
            )


def check_online(folder: Path, available: Callable[[str], list[str]]) -> Iterator[Finding]:
    """Versions that the package index does not have for this Python.

    Args:
        folder: the entry.
        available: gives the versions of a package that can be installed.
    """
    for package, named in packages(read_table(folder / METADATA) or {}).items():
        versions = available(package)
        if named not in versions:
            there = ", ".join(versions[:3]) or "none for this Python"
            wanted = f"a version of the package index, which has {there}"
            yield Finding(METADATA, f"{package} {named} cannot be installed", wanted, "name one of them")


def packages(meta: Mapping[str, Any]) -> dict[str, Any]:
    """What the zoo installs for an entry: versions by package."""
    main = {"monai": "monai_version", "torch": "pytorch_version", "numpy": "numpy_version"}
    found = {package: meta[key] for package, key in main.items() if key in meta}
    for key in ("required_packages_version", "optional_packages_version"):
        if isinstance(meta.get(key), dict):
            found |= meta[key]
    return found


def _keys(
    prefix: str, table: Mapping[str, Any], types: Mapping[str, type], required: tuple[str, ...]
) -> Iterator[Finding]:
    """Missing keys, and values of a wrong type, of one object."""
    for key in required:
        if key not in table:
            yield Finding(METADATA, f"no {prefix}{key}", WORDS[types[key]], "add it")
        elif table[key] in ("", {}) and key != "required_packages_version":
            yield Finding(METADATA, f"{prefix}{key} is empty", WORDS[types[key]], "fill it")
    for key, kind in types.items():
        if key in table and not _is(table[key], kind):
            yield _wrong_type(f"{prefix}{key}", table[key], kind)


def _network(name: str, formats: Mapping[str, Any]) -> Iterator[Finding]:
    """Inputs and outputs of one network."""
    for direction, tensor in READ_BY_MONAI.items():
        described = formats.get(direction)
        if not isinstance(described, dict):
            yield _wrong_type(f"{name}#{direction}", described, dict)
            continue
        if name == "network_data_format" and tensor not in described:
            wanted = f"{tensor}, which verify_net_in_out reads"
            yield Finding(METADATA, f"no {name}#{direction}#{tensor}", wanted, "name the tensor so")
        for key, value in described.items():
            if isinstance(value, dict):
                yield from _tensor(f"{name}#{direction}#{key}", value)
            elif not isinstance(value, (str, int, float)):
                yield _wrong_type(f"{name}#{direction}#{key}", value, dict)


def _tensor(name: str, tensor: Mapping[str, Any]) -> Iterator[Finding]:
    """The description of one tensor."""
    yield from _keys(f"{name}#", tensor, TENSOR, TENSOR_REQUIRED)
    for size in _items(tensor.get("spatial_shape")):
        if not _is(size, int) and not _is(size, str):
            yield _wrong_type(f"{name}#spatial_shape", size, int)
    limits = _items(tensor.get("value_range"))
    if len(limits) not in (0, 2) or not all(_is(x, int) or isinstance(x, float) for x in limits):
        yield Finding(METADATA, f"{name}#value_range is {limits}", "[lowest, highest] or []", "correct it")
    channels = tensor.get("channel_def")
    number: Any = tensor.get("num_channels")
    # MONAI Label takes the numbers for values of the mask, so one channel may have its two values named
    counts = (1, 2) if number == 1 else (number,)
    if isinstance(channels, dict) and _is(number, int) and [*channels] not in map(_numbers, counts):
        wanted = f"a word on each of {number} channels, counted from 0, or on the two values of the only one"
        yield Finding(METADATA, f"{name}#channel_def has {[*channels]}", wanted, "correct it")


def _numbers(count: int) -> list[str]:
    """The first whole numbers in words."""
    return [str(i) for i in range(count)]


def _items(value: Any) -> list[Any]:
    """Items of a list; none where it is something else, which is reported on its own."""
    return value if isinstance(value, list) else []


def _is(value: Any, kind: type) -> bool:
    """Whether a value of JSON has a type; true is not a number there."""
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _wrong_type(name: str, value: Any, kind: type) -> Finding:
    """A value of a wrong type."""
    return Finding(METADATA, f"{name} is {value!r}", WORDS[kind], "correct it")
