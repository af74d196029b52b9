"""The plan by which a folder was gathered."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastload.gather.fetch import claim
from fastload.gather.fetch.fetch import identity
from fastload.gather.plan import plan_file
from fastload.gather.plan.plan import Plan, make
from fastload.gather.plan.settings import Settings

_HELP = "--plan PLAN.parquet names it"


def lies_there(folder: Path) -> dict[str, Any]:
    """What ``gather.json`` says.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it is not one of ours.
    """
    path = folder / claim.FILE
    try:
        told: Any = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path}: expected a folder that `fetch` wrote") from error
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error})") from error
    sound = isinstance(told, dict) and isinstance(told.get("plan"), dict)
    if not sound or told.get("format") != claim.FORMAT:
        raise ValueError(f"{path}: expected format {claim.FORMAT!r} and a plan, found others")
    return dict(told)


def plan_of(folder: Path, told: Mapping[str, Any], path: Path | None) -> Plan:
    """The plan, from its file or made again from its settings.

    Args:
        folder: for messages.
        told: see `lies_there`.
        path: of the plan's file, where it is known.

    Raises:
        ValueError: where it is another plan, or cannot be made again.
    """
    wanted = told["plan"]
    if path is None and "settings" not in wanted:
        raise ValueError(f"{folder} was fetched by a manifest: {_HELP}, the plan of that one")
    found = plan_file.read(path) if path else make(Settings.of(wanted["settings"]))
    if "sha256" in wanted and identity(found)["sha256"] != wanted["sha256"]:
        what = f"{path} is not" if path else "its settings no longer make"
        raise ValueError(
            f"{folder}: {what} the plan that it was gathered by; {_HELP}, if the lists or files "
            "that it was drawn from have changed"
        )
    return found
