"""Statistics as a JSON file: its fields by name, and what each may be."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from fastload.storage.whole import write_whole

FORMAT = "fastload statistics 1"
OWN = (
    "give numbers of your own by Radiometry.standardise(mean=..., std=...), or measure the data by "
    "python -m fastload stats and give statistics='FILE.json'"
)
"""What to do where a set does not fit."""
FIELDS = ("format", "name", "dn_offset", "modalities")
DETAILS = ("min", "max", "quantiles", "pixels", "left_out")
"""Of a modality, beside `bands`, `mean` and `std`; kept, but not needed."""


def check(
    name: Any,
    dn_offset: Any,
    dn_scale: Any,
    mean: Mapping[str, Sequence[float]],
    std: Mapping[str, Sequence[float]],
    bands: Mapping[str, Sequence[str]],
) -> None:
    """Check the fields of a set. Raises ValueError: names the modality and the field."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"name must be a text, got {name!r}")
    _numbers("dn_offset", [dn_offset])
    _numbers("dn_scale", [dn_scale])
    if dn_scale <= 0:
        raise ValueError(f"dn_scale must be positive, got {dn_scale}")
    if set(mean) != set(std):
        raise ValueError(f"mean is of {sorted(mean)}, std of {sorted(std)}; expected the same")
    for modality, values in mean.items():
        _numbers(f"mean of {modality}", values)
        _numbers(f"std of {modality}", std[modality])
        if len(values) != len(std[modality]):
            raise ValueError(
                f"{modality} has {len(values)} mean and {len(std[modality])} std; expected one "
                "of each a band"
            )
        if min(std[modality]) < 0:
            raise ValueError(f"std of {modality} must not be negative, got {list(std[modality])}")
    for modality, names in bands.items():
        count = len(mean.get(modality, ()))
        if isinstance(names, str) or len(names) != count or not _texts(names):
            raise ValueError(f"bands of {modality} must be {count} different names, got {names!r}")


def _texts(names: Sequence[Any]) -> bool:
    return all(isinstance(n, str) for n in names) and len(set(names)) == len(names)


def _numbers(what: str, values: Any) -> None:
    if isinstance(values, str | Mapping) or not hasattr(values, "__len__") or not len(values):
        raise ValueError(f"{what} must be a list of numbers, got {values!r}")
    for x in values:
        if isinstance(x, bool | str) or not hasattr(x, "__float__") or not math.isfinite(x):
            raise ValueError(f"{what} must be finite numbers, got {x!r}")


def write(
    path: Path,
    name: str,
    dn_offset: float,
    dn_scale: float,
    modalities: Mapping[str, Mapping[str, Any]],
) -> None:
    """Write a set, whole or not at all."""
    content = {"format": FORMAT, "name": name, "dn_offset": dn_offset}
    content |= {"dn_scale": dn_scale, "modalities": modalities}
    write_whole(path, json.dumps(content, indent=1, default=float) + "\n")


def read(path: Path) -> dict[str, Any]:
    """The fields of `Statistics` in a file. Raises ValueError: names the field."""
    try:
        content = json.loads(path.read_text())
    except ValueError as error:
        raise ValueError(f"is not JSON ({error})") from error
    fields = _fields("the file", content, FIELDS, ("dn_scale",))
    if fields["format"] != FORMAT:
        raise ValueError(f"format must be {FORMAT!r}, got {fields['format']!r}")
    found = {name: fields[name] for name in ("name", "dn_offset", "dn_scale") if name in fields}
    columns: dict[str, dict[str, Any]] = {n: {} for n in ("mean", "std", "bands", "details")}
    if not isinstance(fields["modalities"], dict):
        raise ValueError(f"modalities must be an object, got {fields['modalities']!r}")
    for modality, values in fields["modalities"].items():
        part = _fields(f"modality {modality}", values, ("mean", "std"), ("bands", *DETAILS))
        for name in ("mean", "std", "bands"):
            if name in part:
                value = part[name]
                columns[name][modality] = tuple(value) if isinstance(value, list) else value
        details = {name: part[name] for name in DETAILS if name in part}
        if details:
            columns["details"][modality] = details
    return found | columns


def _fields(
    what: str, content: Any, needed: Sequence[str], others: Sequence[str]
) -> dict[str, Any]:
    """An object with all fields that are needed and none that is unknown."""
    if not isinstance(content, dict):
        raise ValueError(f"{what} must be an object with {list(needed)}, got {content!r:.60}")
    lacking = [name for name in needed if name not in content]
    unknown = [name for name in content if name not in (*needed, *others)]
    if lacking or unknown:
        wrong = f"lacks {lacking}" if lacking else f"has unknown fields {unknown}"
        raise ValueError(f"{what} {wrong}; expected {[*needed, *others]}")
    return content
