"""Which data set lies at a place: those that are read, by name, and what others look like."""

import re
from importlib import import_module

from fastload.storage.store import Store

MOST = 12
"""Folders of a kind that are looked into."""

LAYOUTS = {
    "copernicus": "fastload.datasets.copernicus:CopernicusPretrain",
    "terramesh": "fastload.datasets.terramesh:TerraMesh",
    "bigearthnet": "fastload.datasets.bigearthnet:BigEarthNet",
    "eurosat": "fastload.datasets.eurosat:EuroSAT",
    "ssl4eo_zarr": "fastload.datasets.ssl4eo_zarr:SSL4EOS12Zarr",
    "ssl4eo_s12": "fastload.datasets.ssl4eo_s12:SSL4EOS12",
    "ssl4eo_v10": "fastload.datasets.ssl4eo_v10:SSL4EOS12V10",
    "seco": "fastload.datasets.seco:SeCo",
    "geotiffs": "fastload.datasets.geotiffs:GeoTIFFs",
}
"""By name, as ``module:class``, the most particular first. A class has `looks_right`, which says
whether its layout lies at a store: by names alone, of few folders, without reading a file."""


def layout(name: str) -> type:
    """The class of a layout by its name."""
    module, _, attribute = LAYOUTS[name].partition(":")
    found: type = getattr(import_module(module), attribute)
    return found


def recognised(root: Store) -> str | None:
    """The name of the layout that lies at a place; None where it is of no known kind."""
    fits = (name for name in LAYOUTS if layout(name).looks_right(root))  # type: ignore[attr-defined]
    return next(fits, None)


def looks_like(root: Store, but: str = "") -> str | None:
    """A sentence on what lies at a place, or in a folder there, as far as it is known, and is of
    another layout than one."""
    for place in (root, *(root.below(name) for name in root.folders()[:MOST])):
        name = recognised(place)
        if name is not None and name != but:
            kind = layout(name)
            what = (kind.__doc__ or name).partition(",")[0].partition("\n")[0].rstrip(".")
            return (
                f"{place.place} looks like {what}: fastload.open({place.place!r}) opens it, or "
                f"{kind.__module__}.{kind.__name__}"
            )
    return unsupported(root)


def unsupported(root: Store) -> str | None:
    """A sentence on a data set that is not supported."""
    inside = root.folders()[:MOST]
    for place in (root, *(root.below(name) for name in inside)):
        deeper = [place.below(name) for name in place.folders()[:MOST]]
        if any(folder.filenames(".parquet", 1) for folder in (place, *deeper)):
            return f"{place.place} looks like Major TOM Core (parquet files): not supported"
        there = place.filenames("", 1000)
        for pattern, what in _FILES.items():
            if any(re.search(pattern, f"{place.place}/{name}") for name in there):
                return f"{place.place} looks like {what}: not supported"
    return None


_FILES = {
    r"(?i)mmearth.*\.(h5|hdf5)$": "MMEarth (one HDF5 file)",
    r"\.(h5|hdf5)$": "a data set in HDF5, as OlmoEarth",
    r"\.(npz)$": "a data set in npz, as Clay",
    r"\.(lmdb|mdb)$": "an LMDB",
}
"""What files, and their folders, tell of data sets that cannot be read."""
