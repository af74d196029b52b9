"""Options of tasks as the published programs have them."""

from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "published"
"""Settings of these programs, ``{task}.yaml``; `task`, for all or by method, has those of tasks."""


def task_options(task: str, method: str | None) -> dict[str, Any]:
    """Options of a task; none where nothing was published of it.

    Args:
        task: its name.
        method: that made the backbone.
    """
    import yaml

    path = FOLDER / f"{task}.yaml"
    if not path.exists():
        return {}
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    run = content["runs"].get(method, {})
    return {**content["common"].get("task", {}), **run.get("task", {})}
