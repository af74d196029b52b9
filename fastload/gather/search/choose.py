"""One scene for each date and modality of a candidate."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastload.gather.candidate import Candidate, Window
from fastload.gather.patch import Unfit
from fastload.gather.scene import Scene
from fastload.gather.search.acquisitions import newest_first
from fastload.gather.search.footprint import MARGIN_M, centre, ground, near
from fastload.gather.search.grids import grids_in_order
from fastload.gather.search.offsets import ItemError
from fastload.gather.search.rule import Rule
from fastload.gather.search.services.service import MODALITIES, OPTICAL, RADAR

Find = Callable[[str, Window], Sequence[Scene]]
Look = Callable[[Scene], NDArray[Any]]
Fitting = Mapping[str, Sequence[Sequence[Scene]]]
"""By modality and window, the scenes that may be taken, the newest first."""
CLOUD = (8, 9, 10)
"""Classes of the scene classification (SCL) that are cloud: of medium and of high probability, and
thin cirrus. Source: Sentinel-2 L2A Algorithm Theoretical Basis Document, 4.1."""
NOTHING_SEEN = 0


def choose(
    find: Find, candidate: Candidate, modalities: Iterable[str], rule: Rule, look: Look
) -> dict[str, list[Scene]]:
    """Scenes of a candidate, one for each window, in the order of the windows.

    All dates of the optical modalities lie on one grid, as do those of radar: on that of the UTM
    zone of the centre where it has scenes for every window, else on the next. What has no dates,
    such as elevation, has one scene.

    Args:
        find: the scenes of a modality in a window, in any order, as `Catalogue.scenes` has them.
        candidate: where and when.
        modalities: keys of `MODALITIES`.
        rule: see there.
        look: the classification (SCL) of the patch in a scene, uint8 ``[H, W]``; asked for by the
            rule "clear" alone.

    Raises:
        Unfit: where the archive has no scene for one of them; says which.
        ValueError: where the rule needs what is not asked for.
        ItemError: where an item does not say what the rule needs.
    """
    wanted = list(modalities)
    if strange := [name for name in wanted if name not in MODALITIES]:
        raise ValueError(f"modality {strange[0]!r}: expected some of {', '.join(MODALITIES)}")
    optical = [name for name in OPTICAL if name in wanted]
    if rule.name == "clear" and optical and "S2L2A" not in optical:
        raise ValueError(
            "rule 'clear' looks for clouds in the classification that S2L2A has: ask for S2L2A "
            "too, or for the rule 'covering'"
        )
    # All searches go before the first look, which costs more.
    dated = [*optical, *(name for name in RADAR if name in wanted)]
    fitting = {name: _fitting(find, name, candidate, rule) for name in dated}
    chosen = {"DEM": [_undated(find, candidate)]} if "DEM" in wanted else {}
    first: int | None = None
    for group in filter(None, (optical, *([name] for name in dated if name in RADAR))):
        together = {name: fitting[name] for name in group}
        chosen |= _on_one_grid(together, candidate, rule, look, first)
        first = first or chosen[group[0]][0].crs
    return {name: chosen[name] for name in wanted}


def _fitting(find: Find, modality: str, candidate: Candidate, rule: Rule) -> list[list[Scene]]:
    """For each window the scenes that the rule allows."""
    where = centre(candidate) if rule.name == "newest" else ground(candidate, MARGIN_M)
    what = "has the centre" if rule.name == "newest" else "covers the patch"
    found = []
    for window in candidate.windows:
        when = f"{modality} from {window.start} to before {window.end}"
        scenes = find(modality, window)
        scenes = [s for s in scenes if near(s.footprint, candidate.lon).covers(where)]
        if not scenes:
            raise Unfit("no scene", f"none of {when} {what}")
        below = [scene for scene in scenes if _is_below(scene, rule.cloud)]
        if not below:
            least = min(scene.cloud or 0.0 for scene in scenes)
            raise Unfit("cloud", f"of {len(scenes)} of {when} the clearest has {least:.1%} cloud")
        found.append(newest_first(below))
    return found


def _is_below(scene: Scene, bound: float | None) -> bool:
    if bound is None or scene.modality not in OPTICAL:
        return True
    if scene.cloud is None:
        raise ItemError(f"item {scene.id}: no eo:cloud_cover is there, which the bound needs")
    # Below, not at, as `CLOUDY_PIXEL_PERCENTAGE` was filtered for SeCo and SSL4EO-S12.
    return scene.cloud < bound


def _on_one_grid(
    fitting: Fitting, candidate: Candidate, rule: Rule, look: Look, first: int | None
) -> dict[str, list[Scene]]:
    """Scenes of modalities that share a grid.

    SSL4EO-S12 takes each date from whatever grid its scene has; 2 of 100 locations of its second
    edition mix two zones. Here one array has one grid.
    """
    if rule.paired and len(fitting) > 1:
        fitting = _paired(fitting)
    failed: Unfit | None = None
    for grid in grids_in_order(fitting, candidate, first):
        there = {
            name: [[scene for scene in scenes if scene.crs == grid] for scenes in dates]
            for name, dates in fitting.items()
        }
        if not all(scenes for dates in there.values() for scenes in dates):
            continue
        try:
            return _taken(there, rule, look)
        except Unfit as unfit:
            failed = failed or unfit
    raise failed or Unfit("grids", f"no grid has {' and '.join(fitting)} for every date")


def _paired(fitting: Fitting) -> Fitting:
    """Of each window the scenes whose acquisition is there in all modalities."""
    kept: dict[str, list[list[Scene]]] = {name: [] for name in fitting}
    for dates in zip(*fitting.values(), strict=True):
        ids = [{scene.properties["acquisition"] for scene in scenes} for scenes in dates]
        both = set.intersection(*ids)
        if not both:
            raise Unfit("no scene", f"no acquisition of a date is there as {' and '.join(fitting)}")
        for name, scenes in zip(fitting, dates, strict=True):
            kept[name].append([s for s in scenes if s.properties["acquisition"] in both])
    return kept


def _taken(there: Fitting, rule: Rule, look: Look) -> dict[str, list[Scene]]:
    """The scene of each window, of those on one grid."""
    taken: dict[str, list[Scene]] = {}
    for name, dates in there.items():
        if rule.name == "clear" and name == "S2L2A":
            taken[name] = [_clearest(scenes, rule.patch_cloud, look) for scenes in dates]
        elif rule.paired and name == "S2L1C" and taken:
            of = [scene.properties["acquisition"] for scene in taken["S2L2A"]]
            pairs = zip(of, dates, strict=True)
            taken[name] = [
                next(scene for scene in scenes if scene.properties["acquisition"] == key)
                for key, scenes in pairs
            ]
        else:
            taken[name] = [scenes[0] for scenes in dates]
    return taken


def _clearest(scenes: Sequence[Scene], enough: float, look: Look) -> Scene:
    """The scene with the least cloud on the patch, the newest of several; the first with `enough`
    ends the search."""
    best: tuple[float, Scene] | None = None
    for scene in scenes:
        if "SCL" not in scene.hrefs:
            raise ItemError(f"item {scene.id}: has no SCL, which the rule 'clear' looks at")
        classes = look(scene)
        if (classes == NOTHING_SEEN).any():
            continue
        share = cloud_share(classes)
        if best is None or share < best[0]:
            best = share, scene
        if share <= enough:
            break
    if best is None:
        raise Unfit("no data", f"all {len(scenes)} scenes of a date have pixels without data")
    return best[1]


def cloud_share(classes: NDArray[Any]) -> float:
    """Share of the pixels under clouds, 0 to 1, of a classification ``[H, W]``."""
    return float(np.isin(classes, CLOUD).mean())


def _undated(find: Find, candidate: Candidate) -> Scene:
    scenes = find("DEM", candidate.windows[0])
    if not scenes:
        raise Unfit("no scene", "no DEM has the centre")
    return newest_first(scenes)[0]
