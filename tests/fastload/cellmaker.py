"""Tiny tars in the layout of Copernicus-Pretrain, as its published writer makes them, by torch."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

FULL = {"s1_grd": 4, "s2_toa": 4, "s3_olci": 8, "s5p_co": 12, "dem": 1}
"""Dates that a modality is filled up to."""
SIZES = {"s1_grd": (2, 24, 24), "s2_toa": (13, 24, 24), "s3_olci": (21, 16, 16),
         "s5p_co": (1, 12, 12), "dem": (1, 40, 40)}  # fmt: skip
DTYPES = {"s2_toa": torch.int16}
LOCAL = ("s1_grd", "s2_toa")


class Cell(NamedTuple):
    """What a cell has."""

    key: str
    patches: int = 2
    dates: int = 4
    """Of each patch, before it is filled up."""
    modalities: tuple[str, ...] = tuple(FULL)


CELLS = (
    Cell("0772176", 2), Cell("0772177", 3), Cell("0906994", 1, 3), Cell("0000012", 2, 2),
    Cell("0300001", 1), Cell("0300002", 2),
)  # fmt: skip
"""Those of `write`, two in each shard."""


def place(key: str, step: float = 0.0) -> str:
    """Number, longitude and latitude, as paths have them."""
    number = int(key)
    return f"{key}_{number % 360 - 180 + step:.2f}_{number % 160 - 80 + step:.2f}"


def patch(key: str, p: int) -> str:
    """What a patch is called."""
    return place(f"{int(key) % 1000:05d}{p:02d}", 0.25)


def day(name: str, t: int) -> str:
    """The date of an image: three months apart, S1 a week after S2, others once a month."""
    if name in LOCAL:
        return f"2021{3 * t + 1:02d}{10 if name == 's1_grd' else 3:02d}"
    return f"2021{t + 1:02d}01"


def values(key: str, name: str, shape: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """Pixels that tell images apart."""
    rng = np.random.default_rng(list(f"{key}{name}".encode()))
    found = rng.integers(200, 4000, shape)
    if dtype.is_floating_point:
        return (torch.from_numpy(found) / 100).to(dtype)
    return torch.from_numpy(found).to(dtype)


def tensor(cell: Cell, name: str) -> torch.Tensor:
    """A modality of a cell, filled up by its first dates."""
    dates = min(cell.dates, FULL[name])
    shape: tuple[int, ...] = (dates, *SIZES[name])
    if name in LOCAL:
        shape = (cell.patches, *shape)
    found = values(cell.key, name, shape, DTYPES.get(name, torch.float32))
    axis = len(shape) - 4
    order = torch.tensor([t if t < dates else t % dates for t in range(FULL[name])])
    found = found.index_select(axis, order)
    return found[0, 0] if name == "dem" else found


def paths(cell: Cell, name: str) -> Any:
    """What the json says of a modality: each path in a list, as torch's collation leaves it."""
    if name == "dem":
        return [[place(cell.key)]]
    dates = min(cell.dates, FULL[name])
    days = [day(name, t % dates) for t in range(FULL[name])]
    if name not in LOCAL:
        return [[f"{place(cell.key)}/{d}"] for d in days]
    return [
        [[f"{place(cell.key)}/{patch(cell.key, p)}/{d}"] for d in days] for p in range(cell.patches)
    ]


def pth(value: Any, **options: Any) -> bytes:
    """What `torch.save` writes."""
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


Save = Callable[[str, str, torch.Tensor], bytes]


def members(
    cell: Cell,
    save: Save | None = None,
    more: Mapping[str, Any] | None = None,
    replaced: Mapping[str, Any] | None = None,
) -> dict[str, bytes]:
    """The files of a cell."""
    out = {}
    for name in cell.modalities:
        made = tensor(cell, name)
        out[f"{cell.key}.{name}.pth"] = save(cell.key, name, made) if save else pth(made)
    text = {name: paths(cell, name) for name in cell.modalities}
    text |= dict(more or {}) | dict(replaced or {})
    out[f"{cell.key}.json"] = json.dumps(text).encode()
    return out


def write_tar(path: Path, files: Iterable[tuple[str, bytes]]) -> None:
    """A tar of members in an order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        put(file, files)


def put(out: Any, files: Iterable[tuple[str, bytes]]) -> None:
    """As `write_tar`, into a file that is open."""
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def write(root: Path, cells: Sequence[Cell] = CELLS, a_shard: int = 2, **options: Any) -> Path:
    """Tars of some cells each."""
    for i in range(0, len(cells), a_shard):
        files = {}
        for cell in cells[i : i + a_shard]:
            files |= members(cell, **options)
        write_tar(root / f"example-{i // a_shard:06d}.tar", files.items())
    return root


def loaded(root: Path) -> dict[str, dict[str, Any]]:
    """All of it, by torch: ``[cell][modality or json]``."""
    out: dict[str, dict[str, Any]] = {}
    for path in sorted(root.glob("*.tar")):
        with tarfile.open(path) as tar:
            for info in tar:
                file = tar.extractfile(info)
                assert file is not None
                key, _, rest = info.name.partition(".")
                data = file.read()
                out.setdefault(key, {})[rest.removesuffix(".pth")] = (
                    json.loads(data) if rest == "json"
                    else torch.load(io.BytesIO(data), weights_only=True)
                )  # fmt: skip
    return out


def numpy(value: torch.Tensor) -> NDArray[Any]:
    """Values as NumPy has them, bfloat16 as float32."""
    value = value.detach()
    return np.asarray((value.float() if value.dtype == torch.bfloat16 else value).numpy())


def repacked(data: bytes, change: Callable[[str, bytes], bytes | None], method: int = 0) -> bytes:
    """A zip with its members changed, or left out where None is given; sound again."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(out, "w", method) as new:
        for name in old.namelist():
            changed = change(name, old.read(name))
            if changed is not None:
                new.writestr(name, changed)
    return out.getvalue()


def big_endian(value: torch.Tensor) -> bytes:
    """What torch writes on a machine whose highest byte comes first."""
    size = value.element_size()

    def change(name: str, data: bytes) -> bytes:
        if name.endswith("/byteorder"):
            return b"big"
        if "/data/" in name:
            return np.frombuffer(data, f"u{size}").byteswap().tobytes()
        return data

    return repacked(pth(value), change)


def without_checksums(value: torch.Tensor) -> bytes:
    """What torch writes where it is told to leave checksums out."""
    torch.serialization.set_crc32_options(False)
    try:
        return pth(value)
    finally:
        torch.serialization.set_crc32_options(True)
