"""Real pixels that lie beside the repository, for tests that need some."""

from pathlib import Path


def shared_data(name: str) -> Path:
    """A folder of them, which need not be there: looked for in `shared/data` of every folder above
    this one."""
    places = [folder / "shared" / "data" / name for folder in Path(__file__).resolve().parents]
    return next((place for place in places if place.is_dir()), places[2])
