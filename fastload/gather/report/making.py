"""A report on a plan, or on a folder that was gathered: a page, and its figures as JSON."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastload.gather.fetch.manifest import FILE
from fastload.gather.plan import plan_file
from fastload.gather.plan.plan import Plan
from fastload.gather.report.figures import FORMAT, of_gathered, of_plan, told
from fastload.gather.report.licences import of_sources
from fastload.gather.report.locations import located
from fastload.gather.report.look import Look
from fastload.gather.report.manifest import collected
from fastload.gather.report.page import html as page_of
from fastload.gather.report.pixels import Example, pixels
from fastload.gather.report.plan_of import lies_there, plan_of
from fastload.storage.whole import write_whole


@dataclass(frozen=True)
class Gathered:
    """What lies in a folder.

    Attributes:
        folder: of the splits.
        manifest: the file.
        run: settings and versions of the fetching.
    """

    folder: Path
    manifest: Path
    run: Mapping[str, Any]


def report(
    place: Path | str,
    *,
    plan: Path | None = None,
    html: Path | None = None,
    look: Look | None = None,
) -> Path:
    """Write a page on a folder or a plan, and its figures beside it as ``.json``.

    Args:
        place: folder that `fetch` wrote, or a plan's file.
        plan: of the folder; else it is made again, as ``gather.json`` says.
        html: path of the page; ``report.html`` in the folder, ``.report.html`` beside the plan.
        look: how much is looked at.

    Returns:
        The page's path.

    Raises:
        FileNotFoundError: where the folder was not gathered.
        ValueError: where a file is not what it should be, or plan and folder do not belong
            together.
        DataError: names a shard or a sample that cannot be read.
        ImportError: where an optional library is not installed.
    """
    place = Path(place).expanduser()
    if place.is_dir():
        told = lies_there(place)
        gathered = Gathered(place, place / FILE, {k: v for k, v in told.items() if k != "plan"})
        found, path = plan_of(place, told, plan), html or place / "report.html"
    elif plan is not None:
        raise ValueError(f"{place}: expected a folder that `fetch` wrote beside a plan, found none")
    else:
        gathered, found = None, plan_file.read(place)
        path = html or place.with_suffix(".report.html")
    write(path, *made(str(place), found, gathered, look))
    return path


def made(
    title: str,
    plan: Plan,
    gathered: Gathered | None = None,
    look: Look | None = None,
) -> tuple[dict[str, Any], str]:
    """All figures, and the page.

    Args:
        title: of the page.
        plan: the locations.
        gathered: what came of it; None for the plan alone.
        look: how much is looked at.

    Raises:
        ValueError: where manifest and plan do not belong together.
        DataError: names a shard or a sample that cannot be read.
        ImportError: where an optional library is not installed.
    """
    look, examples = look or Look(), list[Example]()
    about = plan.describe()
    settings, sources = about["settings"], about["sources"]
    side = float(settings["side"])
    figures: dict[str, Any] = {
        "format": FORMAT,
        "settings": settings,
        "sources": sources,
        "run": dict(gathered.run) if gathered else {},
        "plan": of_plan(plan, side),
        "licences": list(of_sources(sources)),
    }
    found = located(plan) if gathered is None else collected(plan, gathered.manifest)
    if gathered is not None:
        figures["gathered"] = of_gathered(plan, found, side)
        figures["pixels"], examples = pixels(
            gathered.folder, look.samples, look.seed, look.examples
        )
        figures["licences"] = told(figures["gathered"], sources)
    return figures, page_of(title, figures, found, examples)


def write(path: Path, figures: Mapping[str, Any], page: str) -> None:
    """Put a page at a path and its figures beside it as ``.json``, each whole or not at all."""
    write_whole(path.with_suffix(".json"), json.dumps(figures, indent=1, allow_nan=False) + "\n")
    write_whole(path, page)
