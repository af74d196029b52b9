"""What is read of scenes: the files' own pixels, on the asked ground, on one scale."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from rasterio.transform import Affine
from rasterio.warp import transform
from rasterio.windows import Window

from fastload.bands import PUBLISHED
from fastload.gather.candidate import Candidate
from fastload.gather.patch import Patch, Unfit
from fastload.gather.pixels.clouds import CLASSES, cloud_mask, cloud_share
from fastload.gather.pixels.grid import Grid, grid_of
from fastload.gather.pixels.optical import without_offset
from fastload.gather.pixels.read import read_patch, read_sample, read_scenes, read_scl
from fastload.gather.scene import Scene
from fastload.storage.errors import DataError, StorageError
from tests.gather import archive as made
from tests.gather.archive import ASSETS, DEM, S1, S2, SHOTS, TILES, Archive, Shot, Tile

BASELINES = [
    Shot("2021-01-01T10:00:00", baseline="02.14"),
    Shot("2022-06-01T10:00:00", baseline="04.00"),
    Shot("2023-01-01T10:00:00", baseline="05.10", applied=False),
    Shot("2023-06-01T10:00:00", baseline="05.10", applied=True),
]
"""All of one number, and so of one truth."""
PLACES = [TILES[0], TILES[1], TILES[3]]
"""Of three zones."""
SMALL = Tile("33UWP", 32633, 15.0, 48.0, 300)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return made.make(tmp_path_factory.mktemp("archive"), tiles=PLACES, shots=SHOTS[1:3])


def at(tile: Tile, east: float = 0, north: float = 0) -> Candidate:
    """A place so many metres from the middle of a tile."""
    x, y = tile.corner[0] + 5 * tile.px + east, tile.corner[1] - 5 * tile.px + north
    [lon], [lat] = transform(f"EPSG:{tile.epsg}", "EPSG:4326", [x], [y])
    return Candidate(0, 0, lon, lat, ())


def scene(archive: Archive, tile: Tile, shot: Shot, collection: str = S2) -> Scene:
    time = shot.time[:10]
    if collection == S1:
        time = str(np.datetime64(time) + 1)
    return made.scene(archive.item(tile.name, time, collection), shot)


def corners(patch: Patch) -> tuple[NDArray[Any], NDArray[Any]]:
    return made.corners(patch.transform[2], patch.transform[5])


@pytest.mark.parametrize("tile", PLACES, ids=lambda tile: tile.name)
@pytest.mark.parametrize("shot", SHOTS[1:3], ids=lambda shot: shot.baseline)
def test_pixels_are_the_files_own(archive: Archive, tile: Tile, shot: Shot) -> None:
    """Whole pixels of 10, 20 and 60 m; what the made ground is, and what GDAL reads by itself."""
    found = scene(archive, tile, shot)
    patch = read_patch(found, at(tile, 217, -333))
    assert (patch.crs, patch.names) == (tile.epsg, tuple(ASSETS))
    assert (patch.bands.dtype, patch.bands.shape) == (np.int16, (12, 264, 264))
    x, y = corners(patch)
    for band, pixels in zip(patch.names, patch.bands, strict=True):
        assert (pixels == made.truth(band, x, y, shot.number)).all(), band
        size = ASSETS[band][1]
        with rasterio.open(found.hrefs[band]) as file:
            column, row = ~file.transform @ (patch.transform[2], patch.transform[5])
            assert (column, row) == (round(column), round(row))
            native = file.read(1, window=Window(column, row, 2640 // size, 2640 // size))
        times = size // 10
        expected = native.repeat(times, 0).repeat(times, 1).astype(int) - shot.offset
        assert (pixels == expected).all()
    mask = cloud_mask(made.classes(x, y, shot.number, shot.clouds))
    assert patch.cloud_mask is not None
    assert (patch.cloud_mask == mask).all()
    scl = read_scl(found, at(tile, 217, -333))
    assert scl.shape == (132, 132)
    assert (cloud_mask(scl).repeat(2, 0).repeat(2, 1) == mask).all()


@pytest.mark.parametrize("tile", PLACES, ids=lambda tile: tile.name)
def test_the_middle_is_half_a_pixel_of_60_m_away_at_most(tile: Tile) -> None:
    rng = np.random.default_rng(0)
    gaps = []
    for lon, lat in rng.uniform((-3, -30), (3, 30), (30, 2)) + np.array([tile.lon, tile.lat]):
        grid = grid_of(tile.epsg, lon, lat)
        assert (grid.left % 60, grid.top % 60) == (0, 0)
        crs = f"EPSG:{tile.epsg}"
        wanted = transform("EPSG:4326", crs, [lon], [lat])
        middle = transform("EPSG:4326", crs, *([x] for x in grid.centre))
        gaps += [abs(a[0] - b[0]) for a, b in zip(wanted, middle, strict=True)]
        # What is written, `center_lon` and so on, says the same ground to a hundredth of a pixel.
        column, row = ~Affine(*grid.transform) @ [x for [x] in middle]
        assert abs(column - 132) < 0.01
        assert abs(row - 132) < 0.01
    assert max(gaps) < 30.001
    assert np.mean(gaps) > 10


def test_all_baselines_come_out_on_one_scale(tmp_path: Path) -> None:
    archive = made.make(tmp_path, tiles=[SMALL], shots=BASELINES, collections=[S2])
    found = [read_patch(scene(archive, SMALL, shot), at(SMALL)) for shot in BASELINES]
    stored = [rasterio.open(patch.scene.hrefs["B02"]).read(1) for patch in found]
    assert (stored[1] == stored[0].astype(int) + 1000).all()
    for patch in found[1:]:
        assert (patch.bands == found[0].bands).all()


def test_no_data_stays_and_data_stay_data() -> None:
    dn = np.array([0, 1, 999, 1000, 1001, 1002, 11000, 33767, 33768, 65535], np.uint16)
    shifted = without_offset(dn, 1000)
    assert shifted.tolist() == [0, 1, 1, 1, 1, 2, 10000, 32767, 32767, 32767]
    assert without_offset(dn, 0).tolist() == [0, 1, 999, 1000, 1001, 1002, 11000, *[32767] * 3]
    assert shifted.dtype == np.int16


def test_a_patch_without_all_of_its_pixels_is_unfit(archive: Archive, tmp_path: Path) -> None:
    """Beyond the tile, or beyond the swath; what is allowed of it is 0, and said in the mask."""
    tile, shot = TILES[0], SHOTS[1]
    place = at(tile, 1500, 0)
    with pytest.raises(Unfit, match=r"no data: .*% of the patch in S2A_32UQU_20200620"):
        read_patch(scene(archive, tile, shot), place)
    patch = read_patch(scene(archive, tile, shot), place, max_missing=1)
    x, y = corners(patch)
    outside = np.broadcast_to(x >= tile.corner[0] + 10 * tile.px, (264, 264))
    assert 0 < outside.mean() < 0.3
    truth = np.stack([made.truth(b, x, y, shot.number) for b in patch.names])
    assert (patch.bands == np.where(outside, 0, truth)).all()
    assert patch.cloud_mask is not None
    assert ((patch.cloud_mask == 6) == outside).all()
    with pytest.raises(Unfit, match="no data"):
        read_patch(scene(archive, tile, shot), place, max_missing=outside.mean() - 1e-9)
    assert read_patch(scene(archive, tile, shot), place, max_missing=outside.mean())
    swath = Shot("2020-06-20T10:10:31", cut=0.5)
    half = made.make(tmp_path, tiles=[SMALL], shots=[swath], collections=[S2, S1])
    for collection, share in ((S2, r"50\.00%"), (S1, r"50\.76%")):  # radar's grid begins elsewhere
        with pytest.raises(Unfit, match=f"no data: {share}"):
            read_patch(scene(half, SMALL, swath, collection), at(SMALL))


def test_far_from_the_scene_nothing_is_read_but_headers(archive: Archive) -> None:
    with pytest.raises(Unfit, match=r"no data: 100\.00%"):
        read_patch(scene(archive, TILES[0], SHOTS[1]), at(TILES[0], 90_000))


def test_a_patch_of_another_zone_is_unfit(archive: Archive) -> None:
    west, east = TILES[:2]
    grid = grid_of(east.epsg, 12.0, 48.0)
    with pytest.raises(Unfit, match="lies in EPSG:32632, the sample in EPSG:32633") as caught:
        read_patch(scene(archive, west, SHOTS[1]), at(east), grid=grid)
    assert caught.value.reason == "grids"


def test_a_scene_that_does_not_say_its_zone_is_asked(archive: Archive) -> None:
    found = scene(archive, TILES[3], SHOTS[1])
    place = at(TILES[3])
    mute = read_patch(replace(found, crs=None), place)
    assert (mute.bands == read_patch(found, place).bands).all()


def test_radar_is_in_decibels_on_its_own_pixels(archive: Archive) -> None:
    tile, shot = TILES[1], SHOTS[1]
    patch = read_patch(scene(archive, tile, shot, S1), at(tile, 33, 41))
    assert (patch.names, patch.bands.dtype) == (("VV", "VH"), np.float32)
    x, y = corners(patch)
    for name, pixels in zip(patch.names, patch.bands, strict=True):
        np.testing.assert_allclose(pixels, made.decibels(name, x, y, shot.number), atol=1e-5)
    # On the ground of Sentinel-2, though its files begin elsewhere.
    assert patch.transform == read_patch(scene(archive, tile, shot), at(tile, 33, 41)).transform


def test_radar_without_power_is_no_data() -> None:
    from fastload.gather.pixels.radar import decibels

    power = np.array([1, 0.01, 0, -1, -32768, np.nan, np.inf, 7], np.float32)
    found = decibels(power, 7)
    np.testing.assert_allclose(found[:2], [0, -20], atol=1e-5)
    assert np.isnan(found[2:]).all()
    as_it_is = decibels(np.array([-20, 0, -32768], np.float32), None, is_db=True)
    assert as_it_is[:2].tolist() == [-20, 0]
    assert np.isnan(as_it_is[2])


def dem_scenes(archive: Archive) -> list[Scene]:
    return [made.scene(item) for item in archive.items[DEM]]


def assert_height(patch: Patch, side: float = 0) -> None:
    """It is the made ground's at each pixel's middle."""
    x, y = corners(patch)
    x, y = np.broadcast_arrays(x + 5, y - 5)
    lon, lat = transform(f"EPSG:{patch.crs}", "EPSG:4326", x.ravel(), y.ravel())
    lon = (np.array(lon) - side) % 360 + side
    expected = made.height(lon, lat).reshape(264, 264)
    np.testing.assert_allclose(patch.bands[0], expected, atol=1e-3)


def test_elevation_is_bilinear_across_tiles(archive: Archive) -> None:
    """At 12 E, 48 N, where four tiles meet."""
    scenes = dem_scenes(archive)
    assert len(scenes) > 4
    place = Candidate(0, 0, 12.0, 48.0, ())
    four = [s for s in scenes if any(c in s.id for c in ("E011", "E012"))]
    [patch] = read_scenes(four, place, grid=grid_of(32633, 12.0, 48.0))
    assert (patch.bands.dtype, patch.bands.shape) == (np.float32, (1, 264, 264))
    assert_height(patch)
    [same] = read_scenes(four[::-1], place, grid=grid_of(32633, 12.0, 48.0))
    assert (same.bands == patch.bands).all()
    hrefs = {f"DEM {n}": s.hrefs["DEM"] for n, s in enumerate(four)}
    one = replace(four[0], id="+".join(s.id for s in four), hrefs=hrefs)
    joint = read_patch(one, place, grid=grid_of(32633, 12.0, 48.0))
    assert (joint.bands == patch.bands).all()
    assert joint.scene.id.count("+") == 3


def test_elevation_lacks_where_there_is_no_tile(archive: Archive) -> None:
    place = Candidate(0, 0, 12.0, 48.0, ())
    east = [s for s in dem_scenes(archive) if "E012" in s.id]
    with pytest.raises(Unfit, match="no data"):
        read_scenes(east, place)
    [patch] = read_scenes(east, place, max_missing=0.6)
    assert 0.3 < (patch.bands == 0).mean() < 0.6


def test_elevation_across_the_antimeridian(tmp_path: Path) -> None:
    archive = Archive(tmp_path, tmp_path.as_uri())
    items = [made.degree(archive, lon, -17) for lon in (179, -180)]
    place = Candidate(0, 0, 179.9999, -16.5, ())
    scenes = [made.scene(item) for item in items]
    [patch] = read_scenes(scenes, place)
    assert patch.crs == 32760
    x, y = corners(patch)
    x, y = np.broadcast_arrays(x + 5, y - 5)
    lon, lat = (np.array(v) for v in transform("EPSG:32760", "EPSG:4326", x.ravel(), y.ravel()))
    # The ground is linear on each side, and between the last pixel of one and the first of other.
    step = 1 / made.DEM_PX
    apart = np.abs(np.abs(lon) - 180) > 1.01 * step
    found = patch.bands[0].ravel()
    np.testing.assert_allclose(found[apart], made.height(lon, lat)[apart], atol=1e-3)
    low, high = made.height(-180, lat).min(), made.height(180, lat).max()
    assert ((found >= low) & (found <= high)).all()
    assert {bool(v) for v in lon > 0} == {True, False}


def test_elevation_across_a_change_of_columns(tmp_path: Path) -> None:
    """North of 50 degrees the real grid has fewer columns."""
    archive = Archive(tmp_path, tmp_path.as_uri())
    items = [made.degree(archive, 12, 49), made.degree(archive, 12, 50, columns=240)]
    [patch] = read_scenes([made.scene(item) for item in items], Candidate(0, 0, 12.5, 50.0, ()))
    x, y = corners(patch)
    x, y = np.broadcast_arrays(x + 5, y - 5)
    lon, lat = (np.array(v) for v in transform("EPSG:32633", "EPSG:4326", x.ravel(), y.ravel()))
    found, expected = patch.bands[0].ravel(), made.height(lon, lat)
    # Within half a row of the border the nearer tile's last row counts.
    step = 1 / made.DEM_PX
    border = (lat > 50) & (lat < 50 + step)
    np.testing.assert_allclose(found[~border], expected[~border], atol=1e-3)
    np.testing.assert_allclose(found[border], expected[border], atol=11 * step)


def test_a_sample_is_of_one_ground(archive: Archive) -> None:
    """Radar and elevation take the grid of Sentinel-2, whatever the order they are asked in."""
    tile, place = TILES[0], at(TILES[0], 100, 100)
    scenes = {
        "DEM": [s for s in dem_scenes(archive) if "N4" in s.id],
        "S1RTC": [scene(archive, tile, shot, S1) for shot in SHOTS[1:3]],
        "S2L2A": [scene(archive, tile, shot) for shot in SHOTS[1:3]],
    }
    found = read_sample(scenes, place)
    assert [(name, len(patches)) for name, patches in found.items()] == [
        ("DEM", 1), ("S1RTC", 2), ("S2L2A", 2),
    ]  # fmt: skip
    grids = {(p.crs, p.transform) for patches in found.values() for p in patches}
    assert grids == {(32632, grid_of(32632, place.lon, place.lat).transform)}
    assert_height(found["DEM"][0])
    assert all(p.requests > 1 < p.bytes_read for patches in found.values() for p in patches)


def tif(path: Path, pixels: NDArray[Any], at_: Any = None, **options: Any) -> str:
    """A file as it should not be."""
    C, H, W = pixels.shape
    place = {"crs": "EPSG:32633", "transform": at_ or Affine(10, 0, 600000, 0, -10, 5400000)}
    options = {"driver": "GTiff"} | place | options
    with rasterio.open(
        path, "w", count=C, height=H, width=W, dtype=pixels.dtype, **options
    ) as file:
        file.write(pixels)
    return str(path)


def of_file(href: str, modality: str = "S2L2A") -> Scene:
    names = PUBLISHED[modality]
    time = np.datetime64("2020-01-01T00:00:00", "ns")
    return Scene(modality, "it", "c", time, None, {}, 32633, dict.fromkeys(names, href))


GRID = Grid(32633, 600000, 5400000)
DN = np.full((1, 300, 300), 7, np.uint16)


@pytest.mark.parametrize(
    ("pixels", "options", "message"),
    [
        (DN.astype(np.float32), {}, "holds float32 pixels, expected uint16 of B01"),
        (np.concatenate([DN] * 3), {}, "has 3 bands, expected one"),
        (
            DN,
            {"at_": Affine(15, 0, 600000, 0, -15, 5400000)},
            "pixels of 15 x 15 m, expected squares of 10 or 20",
        ),
        (DN, {"at_": Affine(10, 0, 600000, 0, 10, 5400000)}, "expected rows that run eastward"),
        (DN, {"at_": Affine(10, 0, 600004, 0, -10, 5400000)}, "of which none begins at"),
        (DN, {"at_": Affine(10, 0, 600000, 0, -20, 5400000)}, "expected squares of 10"),
        (DN, {"crs": None}, "is not geocoded"),
    ],
)
def test_files_that_are_not_as_expected_are_named(
    tmp_path: Path, pixels: NDArray[Any], options: dict[str, Any], message: str
) -> None:
    href = tif(tmp_path / "odd.tif", pixels, **options)
    with pytest.raises(DataError, match=message) as caught:
        read_patch(of_file(href), Candidate(0, 0, 16.3, 48.7, ()), grid=GRID)
    assert not isinstance(caught.value, StorageError)
    assert caught.value.shard == href


def test_jpeg_2000_is_read_too(tmp_path: Path) -> None:
    """As Sentinel-2 L1C is served."""
    pixels = np.random.default_rng(0).integers(1, 4000, (1, 300, 300)).astype(np.uint16)
    how = {"QUALITY": 100, "REVERSIBLE": "YES", "BLOCKXSIZE": 128, "BLOCKYSIZE": 128}
    found = of_file(tif(tmp_path / "band.tif", pixels), "S2L1C")
    jp2 = tif(tmp_path / "band.jp2", pixels, driver="JP2OpenJPEG", **how)
    found = replace(found, hrefs=found.hrefs | {"B10": jp2})
    patch = read_patch(found, Candidate(0, 0, 16.3, 48.7, ()), grid=GRID)
    assert patch.names == PUBLISHED["S2L1C"]
    assert patch.cloud_mask is None
    assert (patch.bands == pixels[:, :264, :264]).all()


def test_radar_in_the_sensors_geometry_is_refused(tmp_path: Path) -> None:
    from rasterio.control import GroundControlPoint

    points = [GroundControlPoint(r, c, 16 + c / 1e4, 48 - r / 1e4)
              for r in (0, 299) for c in (0, 299)]  # fmt: skip
    href = tif(tmp_path / "grd.tif", DN.astype(np.float32), crs="EPSG:4326", gcps=points,
               transform=None)  # fmt: skip
    with pytest.raises(DataError, match=r"is not geocoded .* expected pixels of a map"):
        read_patch(of_file(href, "S1GRD"), Candidate(0, 0, 16.3, 48.7, ()), grid=GRID)


def test_damaged_files_are_named(archive: Archive, tmp_path: Path) -> None:
    """Never pixels, never unfit."""
    good = Path(scene(archive, TILES[1], SHOTS[1]).hrefs["B02"].removeprefix("file://"))
    content = good.read_bytes()
    cases = {
        "empty.tif": b"",
        "page.tif": b"<html>Service unavailable</html>",
        "cut.tif": content[: len(content) // 2],
        "flipped.tif": content[:3000] + bytes(b ^ 255 for b in content[3000:]),
    }
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        found = of_file(str(tmp_path / name))
        with pytest.raises(DataError, match=name):
            read_patch(found, at(TILES[1]))
    with pytest.raises(DataError, match=r"nowhere\.tif"):
        read_patch(of_file(str(tmp_path / "nowhere.tif")), at(TILES[1]))
    lacking = scene(archive, TILES[1], SHOTS[1])
    hrefs = {name: href for name, href in lacking.hrefs.items() if name != "B8A"}
    with pytest.raises(DataError, match="no file of B8A, it has B01, B02"):
        read_patch(replace(lacking, hrefs=hrefs), at(TILES[1]))
    with pytest.raises(ValueError, match="modality 'S3': expected one of"):
        read_patch(replace(lacking, modality="S3"), at(TILES[1]))


def test_classes_of_scenes_become_those_of_v11() -> None:
    every = np.arange(12, dtype=np.uint8)
    assert cloud_mask(every).tolist() == [6, 6, 0, 5, 0, 0, 1, 0, 4, 4, 3, 2]
    assert [*CLASSES] == every.tolist()
    assert cloud_share(cloud_mask(every)) == 3 / 12
    for bad, message in ((np.array([3, 12, 255], np.uint8), r"0 to 11, got \[12, 255\]"),
                         (np.array([3]), "must be uint8, got int64")):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            cloud_mask(bad)
