"""Names of files by a pattern, which says where a sample's key, date and band stand in them."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, NamedTuple, Union

from fastload.datasets.rasters.scenes import BAND
from fastload.storage.dates import NO_TIME

Pattern = Union[str, "re.Pattern[str]"]
NAMES = ("key", "date", "band")
_DIRECTIVES = {
    "Y": r"\d{4}", "y": r"\d{2}", "m": r"\d{2}", "d": r"\d{2}", "j": r"\d{3}", "H": r"\d{2}",
    "M": r"\d{2}", "S": r"\d{2}", "b": r"[A-Za-z]{3}", "f": r"\d{1,6}", "%": "%",
}  # fmt: skip
"""What each part of a date's format stands for, of those of `datetime.strptime`."""
_DATE = r"\d{4}-?\d{2}-?\d{2}(?:[T_-]?\d{2}[:-]?\d{2}[:-]?\d{2})?"
_DAY, _SECOND = "%Y%m%d", "%Y%m%d%H%M%S"
_DEEPEST = 8
_FIELD = re.compile(r"\{(\w+)(?::([^{}]*))?\}|(\*\*/|\*|\?)")
_WILD = {"**/": "(?:[^/]+/)*", "*": "[^/]*", "?": "[^/]"}


class Named(NamedTuple):
    """What a file's name says.

    Attributes:
        key: of the sample.
        time: ns since 1970; `NO_TIME` if the pattern has no date.
        band: the file's own part; "" if the pattern has none.
        path: of the scene's files, `BAND` standing for that part.
    """

    key: str
    time: int
    band: str
    path: str


@dataclass(frozen=True)
class Names:
    """A pattern, ready to be used.

    Attributes:
        text: a regular expression, which a file's whole path must match, with groups of `NAMES`.
        date: how dates are written, as `datetime.strptime` has it; "" for ISO 8601.
        any_depth: whether the pattern does not say how many folders deep files lie.
    """

    text: str
    date: str = ""
    any_depth: bool = False

    @cached_property
    def _compiled(self) -> "re.Pattern[str]":
        return re.compile(self.text)

    @property
    def has_band(self) -> bool:
        """Whether each band has a file."""
        return "band" in self._compiled.groupindex

    @property
    def has_date(self) -> bool:
        """Whether names tell dates."""
        return "date" in self._compiled.groupindex

    @property
    def depth(self) -> int:
        """How many folders deep files may lie; no more are looked into, so that links that form a
        loop end somewhere."""
        plain = self.text.replace("[^/]", "")
        return _DEEPEST if self.any_depth else plain.count("/")

    def named(self, path: str) -> Named | None:
        """What the path of a file says; None where it does not fit."""
        found = self._compiled.fullmatch(path)
        if found is None or BAND in path or not is_text(path):
            return None
        parts = found.groupdict()
        key, band, date = (parts.get(name) or "" for name in ("key", "band", "date"))
        time = _time(date, self.date) if date else NO_TIME
        if time is None or not key:
            return None
        return Named(key, time, band, self._without_band(path, found) if band else path)

    def _without_band(self, path: str, found: "re.Match[str]") -> str:
        """A path with `BAND` wherever the band stands, also where the pattern names it again."""
        spans = [found.span(n) for n in found.re.groupindex if n.rstrip("_") == "band"]
        for start, end in sorted(spans, reverse=True):
            path = path[:start] + BAND + path[end:]
        return path

    def __reduce__(self) -> Any:
        return Names, (self.text, self.date, self.any_depth)


def names(pattern: Pattern) -> Names:
    """A pattern of paths below a folder.

    Args:
        pattern: a regular expression (compiled) with groups `key` and, as far as there are such
            things, `date` (ISO 8601, as 2020-01-13, 20200113 or 20200113T101031) and `band`; or
            text such as ``{key}/{date}/{band}.tif`` or ``{key}_{date:%Y%m%d}.tif``, in which ``*``
            stands for anything but a slash, ``**/`` for any folders, ``?`` for one character, and
            a field that comes again for the same text.

    Raises:
        ValueError: says what is wrong with it.
    """
    if isinstance(pattern, re.Pattern):
        return _checked(Names(pattern.pattern, any_depth=True), pattern.pattern)
    if not isinstance(pattern, str) or not pattern:
        raise ValueError(f"pattern must be text or a compiled regular expression, got {pattern!r}")
    text, date, at, seen = "", "", 0, dict[str, int]()
    for field in _FIELD.finditer(pattern):
        text += re.escape(pattern[at : field.start()])
        at = field.end()
        name, form, wild = field.groups()
        if wild:
            text += _WILD[wild]
            continue
        if name not in NAMES or (form and name != "date"):
            raise ValueError(f"pattern {pattern!r}: {field[0]} is none of {_fields()}")
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            text += f"(?P<{name}{'_' * (seen[name] - 1)}>(?P={name}))"
            continue
        date = form or date
        text += f"(?P<{name}>{_expression(pattern, name, form)})"
    found = Names(text + re.escape(pattern[at:]), date, "**/" in pattern)
    return _checked(found, pattern)


def _fields() -> str:
    return "{key}, {band}, {date} and such as {date:%Y%m%d}"


def _checked(found: Names, pattern: str) -> Names:
    try:
        groups = re.compile(found.text).groupindex
    except re.error as error:
        raise ValueError(f"pattern {pattern!r} is no regular expression ({error})") from error
    if "key" not in groups:
        raise ValueError(f"pattern {pattern!r} has no key; expected fields of {_fields()}")
    return found


def _expression(pattern: str, name: str, form: str | None) -> str:
    """What a field may hold."""
    if name != "date":
        return r"[^/]+?"
    if not form:
        return _DATE
    found, at = "", 0
    for directive in re.finditer(r"%(.?)", form):
        if directive[1] not in _DIRECTIVES:
            known = ", ".join(f"%{d}" for d in _DIRECTIVES)
            raise ValueError(f"pattern {pattern!r}: {directive[0]!r} is none of {known}")
        found += re.escape(form[at : directive.start()]) + _DIRECTIVES[directive[1]]
        at = directive.end()
    return found + re.escape(form[at:])


def _time(date: str, form: str) -> int | None:
    """A date in ns since 1970, UTC; None where it is none."""
    if not form:
        date = re.sub(r"\D", "", date)
        form = _DAY if len(date) == 8 else _SECOND
    try:
        found = datetime.strptime(date, form).replace(tzinfo=UTC)
    except ValueError:
        return None
    return round(found.timestamp()) * 10**9


def is_text(name: str) -> bool:
    """Whether a name is text, which bytes on disk need not be."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def in_order(text: str) -> list[tuple[int, int, str]]:
    """A key to sort by in which numbers count as such: B2 before B10, B8 before B8A."""
    parts = re.split(r"(\d+)", text)
    return [(0, int(p), "") if p.isdigit() else (1, 0, p) for p in parts if p]
