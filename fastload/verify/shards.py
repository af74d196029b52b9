"""What is wrong with tars beside their pixels: they are scanned again, and compared with the
index."""

import numpy as np
from numpy.typing import NDArray

from fastload.datasets.zarrs.zarr_source import ZarrSource
from fastload.storage.errors import DataError
from fastload.storage.group import specs_of
from fastload.storage.index import part
from fastload.storage.scan import scan
from fastload.storage.store import Stat
from fastload.verify.finding import Finding, of_error


def check_shard(name: str, source: ZarrSource, number: int) -> list[Finding]:
    """Read all headers and small arrays of a tar, whose CRCs are compared, and its index anew.

    Args:
        name: of the modality.
        source: its.
        number: of the tar.
    """
    index, store = source.index, source.store
    shard = index.shards[number]
    try:
        samples = scan(store, shard.name, shard.size)
    except DataError as error:
        return [of_error(name, error, "structure")]
    found = part(shard.name, Stat(shard.size, shard.version), samples)
    rows = np.flatnonzero(index.shard == number)
    path = store.path(shard.name)
    if len(rows) != len(found) or (index.key[rows] != found.key).any():
        return [Finding("index", name, path, "", "key", f"{len(rows)} samples as indexed",
                        f"{len(found)}, or others")]  # fmt: skip
    wrong = []
    for column in ("lon", "lat", "time"):
        mine, theirs = getattr(index, column)[rows], getattr(found, column)
        mine = mine[:, : theirs.shape[1]] if mine.ndim == 2 else mine
        differs = ~_equal(mine, theirs).reshape(len(rows), -1).all(axis=1)
        for row in rows[differs].tolist():
            member = index.key[row].decode("utf-8", "replace")
            wrong.append(Finding("index", name, path, member, column, "what the shard holds",
                                 "another value in the index"))  # fmt: skip
    return wrong


def _equal(a: NDArray[np.generic], b: NDArray[np.generic]) -> NDArray[np.bool_]:
    """Where two agree; NaN is NaN."""
    return np.asarray((a == b) | ((a != a) & (b != b)))


def others(name: str, source: ZarrSource) -> tuple[dict[str, ZarrSource], list[Finding]]:
    """Sources of the further arrays of a modality's samples, such as its cloud masks."""
    out, findings = dict[str, ZarrSource](), list[Finding]()
    arrays = {a for layout in source.index.layouts for a in specs_of(layout)} - {source.array}
    for array in sorted(arrays):
        try:
            out[f"{name}/{array}"] = ZarrSource(name, source.store, source.index, True, array)
        except DataError as error:
            findings.append(of_error(name, error, "structure"))
    return out, findings
