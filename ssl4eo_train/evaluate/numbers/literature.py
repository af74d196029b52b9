"""Figures that others published, to stand beside ours: ``literature.yaml``, where each says what it
is a figure of, and whether it was read in its source."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from fastload.bands import plain
from ssl4eo_train.evaluate.inputs import SAME

Status = Literal["read", "secondary", "unverified"]


@dataclass(frozen=True, kw_only=True)
class Quoted:
    """A published figure; see the head of ``literature.yaml``."""

    number: float
    metric: str
    task: str
    protocol: str
    method: str
    arch: str
    split: str
    input: str
    source: str
    status: Status
    fraction: float = 1.0
    doubt: str = ""

    @property
    def remark(self) -> str:
        """Where it is from, and what is not sure of it."""
        kind = {"read": "", "secondary": "; at second hand", "unverified": "; not verified"}
        doubt = f"; {self.doubt}" if self.doubt else ""
        return f"{self.source}; split: {self.split}{kind[self.status]}{doubt}"


@cache
def quoted() -> tuple[Quoted, ...]:
    """All of them."""
    import yaml

    text = (
        files("ssl4eo_train.evaluate.numbers")
        .joinpath("literature.yaml")
        .read_text(encoding="utf-8")
    )
    return tuple(Quoted(**row) for row in yaml.safe_load(text)["figures"])


def protocols_of(result: Mapping[str, Any]) -> set[str]:
    """The protocols whose figures may stand beside a result's: its own, or where a published run is
    done again the mode of that, or segmentation and change."""
    if result["protocol"] != "published":
        return {result["protocol"]}
    return {result["settings"].get("mode") or result["kind"]}


def beside(result: Mapping[str, Any], unverified: bool = False) -> list[Quoted]:
    """Those of a result's task, protocol and share of labels; what was read in its source alone,
    unless asked for more."""
    protocols = protocols_of(result)
    return [
        row
        for row in quoted()
        if row.task == result["task"]
        and row.protocol in protocols
        and row.fraction == result["fraction"]
        and (unverified or row.status == "read")
    ]


def same(row: Quoted, result: Mapping[str, Any]) -> bool:
    """Whether a figure is of a result's method and architecture."""
    checkpoint = result["checkpoint"]
    arch: str = checkpoint[
        "arch"
    ]  # data2vec's transformer is a BEiT with other numbers than its name.
    alike: bool = row.method == checkpoint["method"]
    return alike and arch.startswith((row.arch, "beit_"))


def method_of(result: Mapping[str, Any]) -> str:
    """How a result's backbone was trained, in a word or two."""
    checkpoint = result["checkpoint"]
    method: str | None = checkpoint["method"]
    return method or ("unknown method" if checkpoint["sha256"] else "untrained")


def input_of(result: Mapping[str, Any]) -> str:
    """What a result's backbone sees, in a word or two."""
    names = [plain(channel["band"]) for channel in result["checkpoint"]["channels"]]
    if sorted(SAME.get(name, name) for name in names) == ["b2", "b3", "b4"]:
        return "RGB"
    return "1 band" if len(names) == 1 else f"{len(names)} bands"
