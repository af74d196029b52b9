"""Several modalities in one tar (D)."""

import io
import json
import pickle
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fastload
from fastload import SSL4EOS12, DataError, DataLoader
from fastload.storage.index import FILE
from tests.fastload import shardmaker as make

NAMES = ("S2L2A", "S1GRD")
KEYS = ("a.1", "0000002", "0000003", "b", "long-key", "é")


def pixels(key: str, modality: str) -> np.ndarray[Any, Any]:
    return make.pixels(f"{key} {modality}", (4, 12 if modality == "S2L2A" else 2, 16, 16))


def zipped(key: str, modality: str) -> bytes:
    mask = np.full((4, 16, 16), 3, np.uint8) if modality == "S2L2A" else None
    return make.zipped(make.group(pixels(key, modality), number=KEYS.index(key), cloud=mask))


def write(folder: Path, members: dict[str, bytes], number: int = 1) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(folder / f"{number:06d}.tar", "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def members(keys: tuple[str, ...], names: tuple[str, ...] = NAMES) -> dict[str, bytes]:
    out = {}
    for key in keys:
        out |= {f"./{key}.{name}.zarr.zip": zipped(key, name) for name in names}
        out[f"./{key}.json"] = json.dumps({"caption": key}).encode()
    return out


def fill(folder: Path) -> None:
    write(folder, members(KEYS[:4]))
    write(folder, members(KEYS[4:]), 2)


@pytest.fixture(params=["", "multi"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """In the split's own folder, and in one there."""
    fill(tmp_path / "train" / request.param)
    return tmp_path


def opened(root: Path, *modalities: str, **options: Any) -> SSL4EOS12:
    return SSL4EOS12(root, modalities=modalities or NAMES, progress=False, **options)


def check(ds: SSL4EOS12, keys: tuple[str, ...] = KEYS) -> None:
    assert list(ds.keys) == list(keys)
    for i, key in enumerate(keys):
        for name in ds.modalities:
            assert make.same(ds.read(name, i), pixels(key, name))
        np.testing.assert_array_equal(ds.times(i), make.dates(KEYS.index(key), 4))


def test_each_modality_is_a_source(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ds = opened(root)
    assert capsys.readouterr().out.count("indexing") == 1
    assert ds.modalities["S1GRD"].bands == 2
    check(ds)
    check(opened(root))
    check(opened(root, "S1GRD"))
    assert capsys.readouterr().out == ""
    assert len(list(root.rglob(FILE))) == 1
    assert ds.cloud(0).tolist() == [1.0] * 4
    check(pickle.loads(pickle.dumps(ds)))


def test_they_are_recognised(tmp_path: Path) -> None:
    fill(tmp_path / "train")
    check(fastload.open(tmp_path, modalities=NAMES, progress=False))  # type: ignore[arg-type]


def test_the_cloud_mask(root: Path) -> None:
    for names in (("S2L2A", "cloud_mask"), ("S1GRD", "cloud_mask"), ("S2L2A/cloud_mask",)):
        ds = opened(root, *names)
        assert (ds.read(names[-1], 0) == 3).all()


@pytest.mark.parametrize("engine", ["threads", "dali"])
def test_engines_read_them(root: Path, engine: Any) -> None:
    if engine == "dali":
        pytest.importorskip("nvidia.dali")
    (batch,) = DataLoader(opened(root), batch_size=6, engine=engine, num_workers=2)
    for i, key in enumerate(KEYS):
        for name in NAMES:
            assert make.same(batch[name][i].numpy(), pixels(key, name))


def test_beside_folders_of_modalities(tmp_path: Path) -> None:
    """A modality with tars of its own is read from there, unless told otherwise."""
    fill(tmp_path / "train" / "multi")
    make.write(tmp_path, ["S2L2A"])
    assert list(opened(tmp_path, "S2L2A").keys) == list(make.KEYS)
    check(opened(tmp_path, "S2L2A", together="multi"))
    ds = opened(tmp_path, "S2L2A", "S1GRD", missing="drop")
    assert list(ds.keys) == ["0000002", "0000003"]


def test_several_folders_of_them(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "multi")
    write(tmp_path / "train", members(KEYS[:2]))
    with pytest.raises(ValueError, match=r"S2L2A lie in the tars of \['\.', 'multi'\]; choose one"):
        opened(tmp_path)
    check(opened(tmp_path, together="multi"))
    check(opened(tmp_path, together="."), KEYS[:2])


def test_a_modality_that_is_not_there(root: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such folder of shards"):
        opened(root, "S2L1C")
    folder = "multi" if (root / "train" / "multi").is_dir() else "."
    with pytest.raises(FileNotFoundError, match=r"\.S2L1C\.zarr\.zip; there are: S1GRD, S2L2A"):
        opened(root, "S2L1C", together=folder)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        opened(root, together="nowhere")


def test_the_folder_taken_for_a_modality(tmp_path: Path) -> None:
    fill(tmp_path / "train" / "multi")
    with pytest.raises(DataError, match=r"give modalities=\['S1GRD', 'S2L2A'\] and together='mul"):
        opened(tmp_path, "multi")


def test_partners_that_are_missing(tmp_path: Path) -> None:
    some = members(KEYS)
    del some["./b.S1GRD.zarr.zip"]
    write(tmp_path / "train", some)
    with pytest.raises(ValueError, match="S1GRD lacks 1 of 6 keys, such as b"):
        opened(tmp_path)
    check(opened(tmp_path, missing="drop"), tuple(k for k in KEYS if k != "b"))


def test_keys_that_stand_twice(tmp_path: Path) -> None:
    write(tmp_path / "train", members(KEYS[:3]))
    write(tmp_path / "train", members(KEYS[2:4], ("S2L2A",)), 2)
    with pytest.raises(DataError, match="stand more than once") as caught:
        opened(tmp_path)
    assert caught.value.member == "0000003.S2L2A"


def test_members_of_no_modality(tmp_path: Path) -> None:
    write(tmp_path / "train", members(KEYS[:3]) | {"b.zarr.zip": zipped("b", "S2L2A")})
    with pytest.raises(DataError, match=r"a name such as b\.S2L2A\.zarr\.zip.*1 of 7") as caught:
        opened(tmp_path)
    assert caught.value.member == "b.zarr.zip"
    assert caught.value.shard.endswith("000001.tar")


def test_members_that_nobody_asked_for(tmp_path: Path) -> None:
    """Of a further modality are passed over; what is no zip, too."""
    more = {"a.1.S1RTC.zarr.zip": zipped("a.1", "S1GRD"), "a.1.txt": b"hello", "x.npy": bytes(90)}
    write(tmp_path / "train", members(KEYS) | more)
    check(opened(tmp_path))


def test_an_error_names_the_member(root: Path) -> None:
    ds = opened(root)
    source: Any = ds.sources["S1GRD"]
    row = source.chunks(np.array([1]), np.ones((1, 4), bool)).rows[2]
    path = Path(source.store.path(source.files[row["file"]]))
    data = bytearray(path.read_bytes())
    data[row["offset"] + 40] ^= 4
    path.write_bytes(data)
    with pytest.raises(DataError) as caught:
        ds.read("S1GRD", 1)
    assert caught.value.member == "0000002.S1GRD.zarr.zip/bands/2.0.0.0"
    assert make.same(ds.read("S2L2A", 1), pixels("0000002", "S2L2A"))
