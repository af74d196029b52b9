"""How a remote store is read: what each setting is, and the environment's word for it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, get_args

PREFIX = "FASTLOAD_REMOTE_"


@dataclass(frozen=True)
class Settings:
    """Settings of a remote store. `FASTLOAD_REMOTE_TIMEOUT` and so on give them from outside.

    Attributes:
        timeout: seconds without a byte after which a request has failed.
        request_timeout: seconds after which a request has failed however it goes.
        patience: seconds that a range is asked for, all attempts together.
        attempts: requests for a range at most.
        backoff: seconds before the second attempt; each later wait is twice as long, and chance
            takes up to a half of it.
        longest_wait: seconds of a wait at most, unless the server asks for more.
        concurrency: requests in flight at a time.
        gap: bytes between two ranges of a file that are read along rather than asked for apart.
        largest: bytes of a request at most; a longer range is read in parts.
        bytes_per_s, requests_per_s: a throttle for this process, all stores of a host together;
            0: none.
        throttle_file: file through which all processes of this machine that name it share the
            throttle, all hosts together; None: none.
        cache: folder of a block cache; None: none.
        cache_bytes: what the folder may hold.
    """

    timeout: float = 20.0
    request_timeout: float = 120.0
    patience: float = 120.0
    attempts: int = 6
    backoff: float = 0.1
    longest_wait: float = 20.0
    concurrency: int = 32
    gap: int = 256 * 2**10
    largest: int = 8 * 2**20
    bytes_per_s: float = 0.0
    requests_per_s: float = 0.0
    throttle_file: str | None = None
    cache: str | None = None
    cache_bytes: int = 20 * 2**30

    def __post_init__(self) -> None:
        for name in ("timeout", "request_timeout", "patience", "attempts", "concurrency",
                     "largest", "cache_bytes"):  # fmt: skip
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be above 0, got {getattr(self, name)!r}")
        for name in ("backoff", "longest_wait", "gap", "bytes_per_s", "requests_per_s"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)!r}")


def settings(given: Mapping[str, Any]) -> Settings:
    """Settings as they were given, else as the environment has them, else as they are.

    Raises:
        ValueError: names the setting, or the variable.
    """
    known = {field.name: field for field in fields(Settings)}
    if strange := sorted(set(given) - set(known)):
        raise ValueError(f"unknown setting {strange[0]!r}, expected one of {list(known)}")
    values = _of_environment(known)
    values.update({name: value for name, value in given.items() if value is not None})
    if values.get("cache") is not None:
        values["cache"] = str(Path(values["cache"]).expanduser())
    return Settings(**values)


def _of_environment(known: Mapping[str, Any]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    variables = {PREFIX + name.upper(): name for name in known if not name.startswith("cache")}
    variables |= {"FASTLOAD_BLOCK_CACHE": "cache", "FASTLOAD_BLOCK_CACHE_BYTES": "cache_bytes"}
    for variable, name in variables.items():
        text = os.environ.get(variable, "")
        if not text:
            continue
        kind = (*get_args(known[name].type), known[name].type)[0]
        try:
            values[name] = text if kind is str else int(text) if kind is int else float(text)
        except ValueError as error:
            raise ValueError(f"{variable} must be a number, got {text!r}") from error
    return values
