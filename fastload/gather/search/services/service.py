"""What a service is: an address, and how it holds each modality."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fastload.gather.search.services.signing import signed
from fastload.storage.remote.host import shown

_10, _20, _60 = ("B02", "B03", "B04", "B08"), ("B05", "B06", "B07", "B8A", "B11", "B12"), (
    "B01", "B09")  # fmt: skip
MODALITIES: Mapping[str, tuple[str, ...]] = {
    "S2L2A": (*_10, *_20, *_60, "SCL"),
    "S2L1C": (*_10, *_20, *_60, "B10"),
    "S1RTC": ("vv", "vh"),
    "S1GRD": ("vv", "vh"),
    "DEM": ("DEM",),
}
"""What can be gathered, and the names that its files may have here."""
OPTIONS: Mapping[str, type] = {"endpoint": str, "region": str, "anonymous": bool}
OPTICAL = ("S2L2A", "S2L1C")
RADAR = ("S1RTC", "S1GRD")
PROPERTIES: Mapping[str, tuple[str, ...]] = {
    "cloud": ("eo:cloud_cover",),
    "baseline": ("s2:processing_baseline", "processing:version"),
    "offset_applied": ("earthsearch:boa_offset_applied",),
    "product": ("s2:product_uri", "s2:granule_id"),
    "datatake": ("s2:datatake_id", "eopf:datatake_id"),
    "tile": ("grid:code", "s2:mgrs_tile"),
    "sequence": ("s2:sequence",),
    "processed": ("s2:generation_time", "processing:datetime", "updated", "created"),
}
"""Where items say what is asked of them; the first that an item has is taken. The names are those
of Earth Search, Planetary Computer and Copernicus Data Space."""


@dataclass(frozen=True)
class Served:
    """How a service holds a modality.

    Attributes:
        modality: a key of `MODALITIES`.
        collection: of the catalogue.
        bands: key of the asset of each band, by the names in `MODALITIES`.
        dated: False for what has no dates, such as elevation.
        properties: where items say what `PROPERTIES` lists, where it is somewhere else.
        offset: DN of zero reflectance in all files, 0 or 1000; None: each item tells.
        geocoded: whether the pixels lie on a grid of a projection.
        requester_pays: whether reading costs the reader.
    """

    modality: str
    collection: str
    bands: Mapping[str, str]
    dated: bool = True
    properties: Mapping[str, str] = field(default_factory=dict)
    offset: int | None = None
    geocoded: bool = True
    requester_pays: bool = False

    def names(self, what: str) -> tuple[str, ...]:
        """The properties that tell something, a key of `PROPERTIES`."""
        own = self.properties.get(what)
        return PROPERTIES[what] if own is None else (own,)

    def value(self, properties: Mapping[str, Any], what: str) -> Any:
        """What an item says of it; None where it says nothing."""
        said = (properties.get(name) for name in self.names(what))
        return next((value for value in said if value is not None), None)


@dataclass(frozen=True)
class Service:
    """A catalogue, and the files that it names. It holds no connection and no secret, and pickles.

    Attributes:
        name: a word for it.
        url: of the STAC API's landing page.
        modalities: those it has, also those that cannot be used (see `served`).
        token: URL at which tokens for Azure's storage are had; empty where files need none.
        headers: for requests to the catalogue: a header's name, and the environment variable that
            holds what it says. Headers whose variable is not set are not sent.
        options: arguments of `fastload.Remote` that its files need: those of `OPTIONS`.
    """

    name: str
    url: str
    modalities: Mapping[str, Served]
    token: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    options: Mapping[str, str | bool] = field(default_factory=dict)

    def served(self, modality: str) -> Served:
        """How it holds a modality.

        Raises:
            ValueError: where it does not, or not so that patches can be read; says why.
        """
        if modality not in self.modalities:
            raise ValueError(
                f"{self.name} has no {modality}, expected one of {', '.join(self.modalities)}"
            )
        found = self.modalities[modality]
        if found.requester_pays:
            raise ValueError(
                f"{self.name} has {modality} where whoever reads it pays for it, which is not done "
                "unasked: choose another service; or, to pay, set AWS_REQUEST_PAYER=requester and "
                "give a description of the service without requester_pays"
            )
        if not found.geocoded:
            raise ValueError(
                f"{self.name} has {modality} in the sensor's own geometry, on no map grid, and "
                "patches are cut from grids: choose S1RTC, or a service whose description says "
                "that it is geocoded"
            )
        return found

    def sign(self, href: str) -> str:
        """A href with what it needs to be read now; others as they are. Ask again each time: what
        it adds expires, and it is a secret that belongs in no file.

        Raises:
            OSError: where no token is to be had.
        """
        return signed(href, self.token, self.secrets()) if self.token else href

    def secrets(self) -> dict[str, str]:
        """Headers for requests to the service, from the environment."""
        found = {name: os.environ.get(variable, "") for name, variable in self.headers.items()}
        return {name: value for name, value in found.items() if value}

    def describe(self) -> dict[str, Any]:
        """Name, address and collections, for the record; no secrets."""
        used = {name: served.collection for name, served in self.modalities.items()}
        return {"name": self.name, "url": shown(self.url), "collections": used}
