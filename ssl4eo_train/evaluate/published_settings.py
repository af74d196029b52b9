"""Settings of the papers' programs: ``published/{task}.yaml``, by the method of the backbone."""

from pathlib import Path
from typing import Any

from ssl4eo_train.errors import SetupError

FOLDER = Path(__file__).parent / "published"


def of_task(task: str) -> dict[str, Any]:
    """What the file of a task holds.

    Raises:
        SetupError: where nothing was published of it.
    """
    import yaml

    path = FOLDER / f"{task}.yaml"
    if not path.exists():
        known = ", ".join(sorted(p.stem for p in FOLDER.glob("*.yaml")))
        raise SetupError(f"--protocol published knows {known}, and not the task {task}")
    content: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return content


def of_method(content: dict[str, Any], task: str, method: str | None) -> dict[str, Any]:
    """What a task's file, as `of_task` gives it, holds of one method.

    Raises:
        SetupError: where the task was not published with it.
    """
    runs = content["runs"]
    if method not in runs:
        raise SetupError(
            f"{task} was published with {', '.join(runs)}, and not with {method or 'no method'}; "
            "--set method=NAME takes another's settings"
        )
    run: dict[str, Any] = runs[method]
    return run


def task_options(task: str, method: str | None) -> dict[str, Any]:
    """Options of a task; none where nothing was published of it.

    Args:
        task: its name.
        method: that made the backbone.
    """
    if not (FOLDER / f"{task}.yaml").exists():
        return {}
    content = of_task(task)
    run = content["runs"].get(method, {})
    return {**content["common"].get("task", {}), **run.get("task", {})}
