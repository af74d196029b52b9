"""Patches as shards: what v1.1 has, to the bit, for every reader of v1.1."""

import io
import json
import tarfile
import threading
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from rasterio.transform import Affine
from rasterio.warp import transform

from fastload import SSL4EOS12, DataLoader
from fastload.bands import PUBLISHED
from fastload.cli import main
from fastload.gather.candidate import Candidate
from fastload.gather.patch import Patch
from fastload.gather.pixels import shards
from fastload.gather.pixels.clouds import cloud_share
from fastload.gather.pixels.grid import Grid, grid_of
from fastload.gather.pixels.sample import sample_bytes
from fastload.gather.scene import Scene
from tests.shared_data import shared_data

GRID = grid_of(32633, 15.0, 48.0)
PLACE = Candidate(17, 3, 15.0, 48.0, ())
MODALITIES = ("S2L2A", "S1RTC", "DEM")
Patches = dict[str, list[Patch]]


def patch(modality: str, date: str, seed: int, grid: Grid = GRID) -> Patch:
    """Smooth pixels of a date, so that they compress as real ones do."""
    rng = np.random.default_rng(seed)
    names = PUBLISHED.get(modality, (modality,))
    wave = np.add.outer(np.arange(264), np.arange(264) * rng.uniform(0.5, 2)) * rng.uniform(1, 5)
    bands = np.stack([wave + 100 + k for k in range(len(names))])
    kinds = {"S1RTC": np.float32, "DEM": np.float32}
    bands = -bands / 100 if modality == "S1RTC" else bands
    mask = rng.integers(0, 7, (264, 264), np.uint8) if modality == "S2L2A" else None
    scene = Scene(
        modality, f"{modality}_{date}", "c", np.datetime64(date, "ns"), 0.25, {}, grid.crs, {},
        1000 * (seed % 2), "made so",
    )  # fmt: skip
    return Patch(
        scene, bands.astype(kinds.get(modality, np.int16)), names, grid.crs, grid.transform, mask
    )


def location(seed: int, grid: Grid = GRID) -> Patches:
    """A location's patches, their dates in no order."""
    dates = ["2020-09-21T10:10:31.5", "2020-03-20T10:10:31", "2020-12-21T10:10:31",
             "2020-06-20T10:10:31"]  # fmt: skip
    found = {
        name: [patch(name, date, 10 * seed + t, grid) for t, date in enumerate(dates)]
        for name in ("S2L2A", "S1RTC")
    }
    return found | {"DEM": [patch("DEM", "2021-04-22", seed, grid)]}


def ascending(patches: list[Patch]) -> list[Patch]:
    return sorted(patches, key=lambda p: p.scene.time)


def group(content: bytes) -> Any:
    """As the published reading code opens a sample."""
    import fsspec

    files = fsspec.filesystem("zip", fo=io.BytesIO(content))
    return zarr.open_consolidated(files.get_mapper(""), mode="r")


def test_the_published_way_reads_what_was_put_in() -> None:
    patches = location(1)
    made = sample_bytes(patches, PLACE, "0000017")
    assert [*made] == [*MODALITIES]
    types = {"S2L2A": "<i2", "S1RTC": "<f2", "DEM": "<f4"}
    for name, content in made.items():
        found, told = group(content), ascending(patches[name])
        bands = np.stack([p.bands for p in told])
        assert found["bands"].dtype.str == types[name]
        assert (found["bands"][...] == bands.astype(types[name])).all()
        assert found["band"][...].tolist() == list(told[0].names)
        assert int(found["crs"][()]) == 32633
        assert found["file_id"][...].tolist() == [p.scene.id for p in told]
        assert (found["transform"][...] == [p.transform for p in told]).all()
        assert (int(found["location"][()]), int(found["attempt"][()])) == (17, 3)
        assert ("cloud_mask" in found) == (name == "S2L2A")
    optical, told = group(made["S2L2A"]), ascending(patches["S2L2A"])
    masks = np.stack([p.cloud_mask for p in told])
    assert (optical["cloud_mask"][...] == masks).all()
    assert optical["cloud_share"][...].tolist() == [cloud_share(mask) for mask in masks]
    assert optical["offset"][...].tolist() == [p.scene.offset for p in told]
    assert optical["scene_cloud"][...].tolist() == [0.25] * 4
    times = optical["time"][...].view("datetime64[ns]")
    assert times.tolist() == [p.scene.time.astype(int) for p in told]
    assert (np.diff(times) > np.timedelta64(0)).all()
    assert group(made["DEM"])["time"][...].tolist() == [0]


def test_crs_and_transform_lead_back_to_the_place() -> None:
    """To a hundredth of a pixel: the middle of the grid is what `center_lon` and so on say."""
    made = sample_bytes(location(2), PLACE, "0000017")
    for content in made.values():
        found = group(content)
        centre = [float(found[name][()]) for name in ("center_lon", "center_lat")]
        [x], [y] = transform("EPSG:4326", f"EPSG:{found['crs'][()]}", *([v] for v in centre))
        for row in found["transform"][...]:
            assert np.abs(np.array(~Affine(*row) @ (x, y)) - 132).max() < 0.01
        metres = np.hypot(*(np.array(centre) - (15, 48)) * (74_600, 111_200))
        assert metres < np.hypot(30, 30) * 1.01


def test_headers_are_those_of_the_real_thing() -> None:
    """What v1.1 has, ours has by the same header; what it has not stands beside it."""
    folder = shared_data("ssl4eo_v11_real") / "train" / "S2L2A"
    if not folder.is_dir():
        pytest.skip(f"needs real samples in {folder}")
    with tarfile.open(folder / "ssl4eos12_shard_000001.tar") as tar:
        real = tar.extractfile(tar.getmembers()[0])
        assert real is not None
        theirs = headers(real.read())
    ours = headers(sample_bytes(location(3), PLACE, "0000017")["S2L2A"])
    assert {name: ours.get(name) for name in theirs} == theirs
    beside = {name.partition("/")[0] for name in set(ours) - set(theirs)}
    assert beside == {"transform", "file_id", "offset", "cloud_share", "scene_cloud", "location",
                      "attempt"}  # fmt: skip
    # Headers are those of all samples, so that they are read once.
    assert headers(sample_bytes(location(4), PLACE, "0000018")["S2L2A"]) == ours


def headers(content: bytes) -> dict[str, Any]:
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        found: dict[str, Any] = json.loads(archive.read(".zmetadata"))["metadata"]
        return found


def test_bytes_are_a_function_of_the_patches() -> None:
    patches = location(5)
    made = sample_bytes(patches, PLACE, "0000017")
    turned = {name: some[::-1] for name, some in patches.items()}
    others: list[dict[str, bytes]] = []
    thread = threading.Thread(target=lambda: others.append(sample_bytes(turned, PLACE, "0000017")))
    thread.start()
    thread.join()
    assert others == [made]


def test_masks_of_l1c_are_those_of_the_same_acquisition() -> None:
    """Where some date has none there is no mask."""
    l2a = location(6)["S2L2A"]
    names = PUBLISHED["S2L1C"]
    bands = np.ones((13, 264, 264), np.int16)

    def l1c(p: Patch, seconds: int) -> Patch:
        time = p.scene.time + np.timedelta64(seconds, "s")
        scene = replace(p.scene, modality="S2L1C", time=time)
        return replace(p, scene=scene, bands=bands, names=names, cloud_mask=None)

    same = sample_bytes({"S2L1C": [l1c(p, 7) for p in l2a], "S2L2A": l2a}, PLACE, "k")
    found = group(same["S2L1C"])["cloud_mask"][...]
    assert (found == np.stack([p.cloud_mask for p in ascending(l2a)])).all()
    other = sample_bytes(
        {"S2L1C": [l1c(p, 7 + 86400 * (i == 2)) for i, p in enumerate(l2a)], "S2L2A": l2a},
        PLACE, "k",
    )  # fmt: skip
    assert "cloud_mask" not in group(other["S2L1C"])


def test_what_is_no_sample_is_refused() -> None:
    far = [patch("S1RTC", "2020-01-01", 0, GRID._replace(left=GRID.left + 10))]
    zone = [patch("S1RTC", "2020-01-01", 0, GRID._replace(crs=32632))]
    for name, patches, message in (
        ("S1RTC", far, "S1RTC S1RTC_2020-01-01: on EPSG:32633 .* expected one grid"),
        ("S1RTC", zone, "on EPSG:32632 .* expected one grid"),
        ("S1RTC", [], "S1RTC: expected a patch at least"),
        ("S2RGB", zone, "modality 'S2RGB': expected one of"),
    ):
        with pytest.raises(ValueError, match=message):
            sample_bytes({"S2L2A": location(1)["S2L2A"], name: patches}, PLACE, "k")
    with pytest.raises(ValueError, match="expected patches of a modality at least"):
        sample_bytes({}, PLACE, "k")


KEYS = [f"{i:07d}" for i in (3, 5, 8)]


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Patches]]:
    """Two shards of three samples, far from each other."""
    root, patches = tmp_path_factory.mktemp("out"), {}
    for i, key in enumerate(KEYS):
        patches[key] = location(i, grid_of(32633, 15.0 + i / 10, 48.0))
    made = [(key, sample_bytes(some, PLACE, key)) for key, some in patches.items()]
    for number, some in ((1, made[:2]), (2, made[2:])):
        shards.write(root / "train", shards.NAME, number, some, MODALITIES)
    return root, patches


def test_shards_are_where_published_and_hold_the_same_keys(
    written: tuple[Path, dict[str, Patches]],
) -> None:
    root, _ = written
    for number, keys in ((1, KEYS[:2]), (2, KEYS[2:])):
        for name in MODALITIES:
            path = root / "train" / name / f"ssl4eos12_shard_{number:06d}.tar"
            with tarfile.open(path) as tar:
                assert tar.getnames() == [f"{key}.zarr.zip" for key in keys]
    assert not [*root.rglob("*.part")]


def test_the_loader_gives_the_same_bits(written: tuple[Path, dict[str, Patches]]) -> None:
    root, patches = written
    data = SSL4EOS12(
        root, "train", [*MODALITIES, "cloud_mask"], columns=("file_id", "offset", "crs")
    )
    assert data.keys.tolist() == KEYS
    types = {"S2L2A": np.int16, "S1RTC": np.float16, "DEM": np.float32}
    for i, key in enumerate(KEYS):
        for name, dtype in types.items():
            told = np.stack([p.bands for p in ascending(patches[key][name])]).astype(dtype)
            assert data.read(name, i).tobytes() == told.tobytes()
        masks = np.stack([p.cloud_mask for p in ascending(patches[key]["S2L2A"])])
        assert (data.read("cloud_mask", i)[:, 0] == masks).all()
        ids = [p.scene.id.encode() for p in ascending(patches[key]["S2L2A"])]
        assert data.extras["file_id"][i].tolist() == ids
        assert data.extras["offset"][i].tolist() == [
            p.scene.offset for p in ascending(patches[key]["S2L2A"])
        ]
        assert data.extras["crs"][i] == 32633
    batch = next(iter(DataLoader(data, 3, engine="threads", num_workers=1)))
    assert batch["S2L2A"].shape == (3, 4, 12, 264, 264)


def test_they_pass_verify(written: tuple[Path, dict[str, Patches]], tmp_path: Path) -> None:
    """Places, dates and pixels of all modalities, as of the published layout."""
    root, _ = written
    report = tmp_path / "report.json"
    (root / "gather.json").write_text("{}")
    assert main(["verify", str(root), "--json", str(report), "--fresh"]) == 0
    found = json.loads(report.read_text())
    assert found["findings"] == []


def test_a_shard_is_all_of_its_modalities_or_none(tmp_path: Path) -> None:
    made = sample_bytes(location(1), PLACE, "a")
    lacking = {name: made[name] for name in ("S2L2A", "S1RTC")}
    cases: list[tuple[Any, str]] = [
        ([("a", made), ("b", lacking)], "sample b has no DEM; expected each key once"),
        ([("a", made), ("a", made)], "sample a stands there twice"),
    ]
    for samples, message in cases:
        with pytest.raises(ValueError, match=message):
            shards.write(tmp_path, "s", 1, samples, MODALITIES)
        assert not [path for path in tmp_path.rglob("*") if path.is_file()]
    assert shards.write(tmp_path, "s", 1, [], MODALITIES) == {}
    sizes = shards.write(tmp_path, "s", 1, [("a", made)], MODALITIES)
    paths = shards.paths(tmp_path, "s", 1, MODALITIES)
    assert sizes == {p.parent.name: p.stat().st_size for p in paths}
    before = [path.read_bytes() for path in paths]
    shards.write(tmp_path, "s", 1, iter([("a", made)]), MODALITIES)
    assert [path.read_bytes() for path in paths] == before
