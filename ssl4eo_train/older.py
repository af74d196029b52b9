"""Checkpoints of older versions, so that their runs go on as they were."""

from typing import Any

OPTIONS: dict[str, dict[str, Any]] = {
    "moco_v2": {"splits": 0},
    "seco": {"splits": 0},
    "dino": {"published_positions": False},
}
"""What was done before there was an option, by method. An option that is no longer there refuses
such a run, as one does whose name is wrong."""


def updated(content: dict[str, Any]) -> dict[str, Any]:
    """A checkpoint of format 1 as format 2 would have written it; others as they are."""
    if content["format"] != 1 or "run" not in content:
        return content
    run, config = content["run"], content["config"]
    options = {**OPTIONS.get(run["method"], {}), **run["options"]}
    if "warmup" in options:
        # It never took more than a tenth of the schedule.
        options["warmup"] = min(options["warmup"], config["epochs"] / 10)
    return {**content, "run": {**run, "options": options}}
