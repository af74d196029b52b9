"""What lies beside packed shards: how they came about, and which are complete."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from fastload.datasets.zarrs.packed import FILE, FORMAT
from fastload.pack.job import Job
from fastload.pack.layer import Layer
from fastload.pack.shard import Written
from fastload.statistics import Statistics
from fastload.storage.whole import write_whole

JOURNAL = "fastload.pack.shards.jsonl"
"""A line for each complete shard."""
SKIPPED = "fastload.pack.skipped.jsonl"
"""A line for each damaged sample that was left out; not there where there is none."""
_LAYOUT = 1  # raise it when the same samples and options make other bytes
_ELSEWHERE = "place"
"""Of the source; the same samples may lie elsewhere when packing goes on."""


def describe(job: Job) -> dict[str, Any]:
    """All that the bytes depend on, as JSON has it."""
    dataset = job.dataset
    where = {source.store.place for source in dataset.sources.values() if hasattr(source, "store")}
    content = {
        "format": FORMAT,
        "layout": _LAYOUT,
        "source": {
            "class": type(dataset).__name__,
            _ELSEWHERE: sorted(where),
            "samples": len(dataset),
            "keys": dataset.fingerprint,
        },
        "options": asdict(job.options),
        "same_ground": dataset.same_ground,
        "statistics": _statistics(job),
        "modalities": {layer.name: _modality(layer) for layer in job.layers},
        "lossless": not job.told,
        "told": list(job.told),
    }
    found: dict[str, Any] = json.loads(json.dumps(content))
    return found


def _modality(layer: Layer) -> dict[str, Any]:
    m, box = layer.source.modality, layer.box
    height, width = (m.height, m.width) if box is None else (box.height, box.width)
    ground = m.ground and [m.ground[0] * height / m.height, m.ground[1] * width / m.width]
    return {
        "shape": [m.timestamps, m.bands, height, width],
        "dtype": m.dtype.str if layer.scale is None else "|u1",
        "bands": list(m.shown.names),
        "fill_value": None if m.fill_value is None else repr(float(m.fill_value)),
        "ground": ground,
        "beside": sorted(layer.beside),
        "columns": sorted({*layer.extra, *layer.own}),
        "kinds": None if layer.source.kinds is None else list(layer.source.kinds.names),
        **layer.notes,
    }


def _statistics(job: Job) -> dict[str, Any]:
    """The set that the samples obey, of what is shown of the packed modalities."""
    ours, found = job.dataset.statistics, {}
    for layer in job.layers:
        m, kinds = layer.source.modality, layer.source.kinds
        names = {"bands": list(m.shown.names)} if m.shown.names else {}
        for name in (layer.name, *(kinds.names if kinds else ())):
            if name in ours.mean:
                mean, std = _moments(ours, name, layer)
                found[name] = {**names, "mean": mean.tolist(), "std": std.tolist()}
    scale = {"dn_offset": ours.dn_offset, "dn_scale": ours.dn_scale}
    return {"name": ours.name, **scale, "modalities": found}


def _moments(ours: Statistics, name: str, layer: Layer) -> tuple[Any, Any]:
    mean, std = ours.of(name, layer.source.modality.shown)
    return (mean, std) if layer.scale is None else layer.scale.moments(mean, std)


def claim(job: Job) -> None:
    """Write the manifest, or compare with the one that lies there.

    Raises:
        FileExistsError: where the folder holds other shards; nothing has been changed then.
    """
    path, wanted = job.folder / FILE, describe(job)
    if path.exists():
        _compare(path, wanted)
        return
    for layer in job.layers:
        strangers = sorted((job.folder / layer.name).glob("*.tar"))
        if strangers:
            raise FileExistsError(
                f"{strangers[0]} exists, but no {FILE} says that it was packed here; choose "
                "another folder, since existing shards are never overwritten"
            )
    job.folder.mkdir(parents=True, exist_ok=True)
    write_whole(path, json.dumps(wanted, indent=1) + "\n")


def _compare(path: Path, wanted: Mapping[str, Any]) -> None:
    try:
        found = json.loads(path.read_text())
    except ValueError as error:
        raise FileExistsError(f"{path} is not JSON ({error}); choose another folder") from error
    differ = differences(wanted, found, (f"source.{_ELSEWHERE}",))
    if differ:
        raise FileExistsError(
            f"{path.parent} holds shards that were packed otherwise: {differ}. Choose another "
            "folder, or delete that one"
        )


def differences(wanted: Any, found: Any, without: Sequence[str] = ()) -> str:
    """What differs between two descriptions, the first three fields; empty where nothing does.

    Args:
        wanted: values as JSON has them.
        found: those of a file.
        without: fields that do not matter, such as ``source.place``.
    """
    mine, theirs = dict(_flat(wanted)), dict(_flat(found))
    differ = [
        f"{name} is {theirs.get(name)!r}, asked for {mine.get(name)!r}"
        for name in sorted({*mine, *theirs} - {*without})
        if mine.get(name) != theirs.get(name)
    ]
    more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
    return "; ".join(differ[:3]) + more


def _flat(value: Any, path: str = "") -> list[tuple[str, Any]]:
    if not isinstance(value, dict):
        return [(path, value)]
    parts = (_flat(part, f"{path}.{name}" if path else name) for name, part in value.items())
    return [pair for part in parts for pair in part]


class Journal:
    """Which shards are complete. A line is added when a shard's tars have their names."""

    def __init__(self, job: Job) -> None:
        self._job, self._path = job, job.folder / JOURNAL
        self.done = {w.shard: w for w in self._read() if self._is_there(w)}

    def _read(self) -> list[Written]:
        if not self._path.exists():
            return []
        found = []
        for line in self._path.read_text().splitlines():
            try:
                found.append(Written(**json.loads(line)))
            except (ValueError, TypeError):
                continue  # cut off when the process was killed: that shard is written again
        return found

    def _is_there(self, written: Written) -> bool:
        """Whether the tars have the sizes that they had."""
        if not 0 <= written.shard < self._job.shards:
            return False
        for name, size in written.sizes.items():
            path = self._job.tar(name, written.shard)
            if not path.is_file() or path.stat().st_size != size:
                return False
        return True

    def add(self, written: Written) -> None:
        """Remember a shard whose tars have their names.

        Raises:
            FileNotFoundError: where they are not there, as on another machine's disk.
        """
        if not self._is_there(written):
            raise FileNotFoundError(
                f"{self._job.tar(self._job.layers[0].name, written.shard)}: a worker wrote it, but "
                "it is not there; all workers must see the folder under the same path"
            )
        self.done[written.shard] = written
        with self._path.open("ab") as file:
            if file.tell() and not self._ends_well():
                file.write(b"\n")
            file.write(_line(written))

    def _ends_well(self) -> bool:
        with self._path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"

    def close(self) -> None:
        """Put the lines in order, and write the list of samples that were left out."""
        lines = [self.done[shard] for shard in sorted(self.done)]
        write_whole(self._path, b"".join(map(_line, lines)).decode())
        skipped = [json.dumps(one) + "\n" for written in lines for one in written.skipped]
        if skipped:
            write_whole(self._job.folder / SKIPPED, "".join(skipped))


def _line(written: Written) -> bytes:
    return json.dumps(written._asdict(), sort_keys=True).encode() + b"\n"
