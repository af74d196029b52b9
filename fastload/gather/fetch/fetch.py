"""Fetching what a plan asks for, into shards."""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from fastload.gather.fetch.again import Again
from fastload.gather.fetch.gathering import Fetched, Options, Say, gather
from fastload.gather.fetch.maker import ServiceMaker
from fastload.gather.fetch.state import FOLDER
from fastload.gather.plan.plan import Plan
from fastload.gather.search.rule import Rule
from fastload.gather.search.services import Service

TRIES = 6
"""Requests for a range or a page at most, by default."""


def fetch(
    plan: Plan | Again,
    target: str | os.PathLike[str],
    service: Service,
    modalities: Sequence[str],
    options: Options | None = None,
    *,
    rule: Rule | None = None,
    max_missing: float = 0.0,
    offset: int | None = None,
    tries: int = TRIES,
    rate: float = 0.0,
    say: Say = print,
    **remote: Any,
) -> Fetched:
    """Fetch the samples of a plan into shards as `fastload.SSL4EOS12` opens them.

    Writes ``{target}/{split}/{modality}/ssl4eos12_shard_{number:06d}.tar``, ``gather.json``, which
    says how, and ``manifest.parquet``, which says what of which scenes. A shard is a range of
    locations; those without a sample are left out of it. The bytes of the tars are a function of
    plan, settings and archive. After an interruption of any kind the same call goes on; where
    nothing is left it asks for nothing.

    Args:
        plan: where and when; or a manifest, of whose scenes the same samples are made once more.
        target: root of the data set, a local folder; made if missing.
        service: whose catalogue is asked; signs addresses.
        modalities: of each sample, such as S2L2A, S1RTC and DEM.
        options: see there; of a manifest split and shards are as they were.
        rule: which scenes are taken; a manifest has them.
        max_missing: share of a patch's pixels that may be without data, 0 to 1; of a manifest it is
            as it was.
        offset: DN of zero reflectance of all optical scenes, 0 or 1000; None: each item tells; a
            manifest has it.
        tries: requests for a range of a file, or a page of the catalogue, at most.
        rate: requests a second, all workers of a machine together; 0: as they come.
        say: receives sentences.
        remote: further options of `fastload.Remote`, such as `timeout`.

    Raises:
        ValueError: says what does not fit.
        FileExistsError: where the folder holds something else, or another process works there.
        OSError: such as a full disk, or an archive that is down. What is done stays.
    """
    names, folder = _names(modalities, service, plan), _folder(target)
    if not rate >= 0:
        raise ValueError(f"rate must be 0 or more requests a second, got {rate!r}")
    if isinstance(plan, Again):
        max_missing, offset, rule = plan.told["max_missing"], plan.told["offset"], None
    elif rule is None:
        rule = Rule()
    maker = ServiceMaker(
        service, names, rule, max_missing, offset,
        {"attempts": tries, "requests_per_s": rate, **remote}, str(folder / FOLDER) if rate else "",
    )  # fmt: skip
    told = {
        "plan": identity(plan),
        "service": service.describe(),
        "rule": rule and asdict(rule),
        "max_missing": max_missing,
        "offset": offset,
        "modalities": list(names),
    }
    return gather(plan, maker, folder, names, told, options or Options(), say)


def identity(plan: Plan | Again) -> dict[str, Any]:
    """What tells a plan from others."""
    if isinstance(plan, Again):
        return {"manifest": hashlib.sha256(plan.path.read_bytes()).hexdigest()}
    digest = hashlib.sha256()
    for array in (plan.attempt, plan.lon7, plan.lat7, plan.days):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {**plan.describe(), "locations": len(plan), "sha256": digest.hexdigest()}


def _names(modalities: Sequence[str], service: Service, plan: Plan | Again) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(modalities))
    if not names:
        raise ValueError("modalities: expected one at least, such as S2L2A")
    for name in names:
        if not isinstance(plan, Again):
            service.served(name)
        elif name not in plan.told["modalities"]:
            raise ValueError(
                f"{plan.path} has no scenes of {name}, expected some of "
                f"{', '.join(plan.told['modalities'])}"
            )
    return names


def _folder(target: str | os.PathLike[str]) -> Path:
    if "://" in str(target):
        raise ValueError(f"target {str(target)!r}: shards are written to a folder of this machine")
    return Path(target).expanduser().resolve()
