import argparse
import csv
import hashlib
import io
import json
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pytest
import zarr

from fastload.statistics import statistics
from fastload.synth import COVERS, Scene, draw_scene, synth
from fastload.synth.command import add_arguments, run
from fastload.synth.landscape import draw_landscape, hillshade
from fastload.synth.materials import MATERIALS, leaf_share
from fastload.synth.places import COVER, Place, draw_dates, draw_place
from fastload.synth.radar import LOOKS
from fastload.synth.sky import LAND, SHADOW, THICK_CLOUD
from fastload.synth.spectra import BANDS, OPTICAL, S2L1C, S2L2A, STEP

MODALITIES = tuple(BANDS)
REAL = Path(__file__).parents[3] / "shared" / "data" / "ssl4eo_v11_real" / "train"


@pytest.fixture(scope="module")
def scenes() -> list[Scene]:
    return [draw_scene(0, i, modalities=MODALITIES) for i in range(16)]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five locations in shards of two: the last one is short."""
    root = tmp_path_factory.mktemp("made")
    return synth(root, 5, size=36, samples_per_shard=2, seed=7, workers=2)


def members(tar: Path) -> dict[str, bytes]:
    with tarfile.open(tar) as t:
        return {m.name: t.extractfile(m).read() for m in t.getmembers()}


def digests(root: Path) -> dict[str, str]:
    files = sorted(p for p in root.rglob("*") if p.is_file())
    return {str(p.relative_to(root)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def neighbours(plane: np.ndarray) -> float:
    plane = plane.astype(float)
    across = np.corrcoef(plane[:, :-1].ravel(), plane[:, 1:].ravel())[0, 1]
    down = np.corrcoef(plane[:-1].ravel(), plane[1:].ravel())[0, 1]
    return min(across, down)


# --- what lies on disk ---


@pytest.mark.parametrize("modality", MODALITIES)
def test_zarr_reads_back_what_the_generator_returned(
    made: Path, tmp_path: Path, modality: str
) -> None:
    keys = []
    for tar in sorted((made / "train" / modality).glob("*.tar")):
        for name, content in members(tar).items():
            (tmp_path / name).write_bytes(content)
            group = zarr.open_consolidated(zarr.ZipStore(str(tmp_path / name), mode="r"))
            scene = draw_scene(7, int(name[:7]), modalities=MODALITIES, size=36)
            np.testing.assert_array_equal(group["bands"][...], scene.bands[modality])
            assert group["bands"].dtype == scene.bands[modality].dtype
            assert group["bands"].shape == (4, len(BANDS[modality]), 36, 36)
            assert tuple(group["band"][...]) == BANDS[modality]
            np.testing.assert_array_equal(group["time"][...], scene.time(modality))
            assert group["center_lon"][()] == scene.place.lon
            assert group["center_lat"][()] == scene.place.lat
            assert group["crs"][()] == scene.place.crs
            assert ("cloud_mask" in group) == (modality in OPTICAL)
            if modality in OPTICAL:
                np.testing.assert_array_equal(group["cloud_mask"][...], scene.cloud_mask)
            keys.append(name)
    assert keys == [f"{i:07d}.zarr.zip" for i in range(5)]


def test_modalities_hold_the_same_keys_at_the_same_places(made: Path) -> None:
    names = {
        m: [list(members(t)) for t in sorted((made / "train" / m).glob("*.tar"))]
        for m in MODALITIES
    }
    assert [len(shard) for shard in names["S2L1C"]] == [2, 2, 1]
    assert all(n == names["S2L1C"] for n in names.values())
    tars = sorted(p.name for p in (made / "train" / "S2L1C").iterdir())
    assert tars == [f"ssl4eos12_shard_{i:06d}.tar" for i in (1, 2, 3)]


@pytest.mark.parametrize("modality", ["S2L2A", "S2RGB"])
def test_structure_is_that_of_the_real_example(tmp_path: Path, modality: str) -> None:
    if not REAL.is_dir():
        pytest.skip(f"the real example is missing: {REAL}")
    real = next(iter(members(REAL / modality / "ssl4eos12_shard_000001.tar").items()))
    root = synth(tmp_path, 1, modalities=[modality])
    mine = next(iter(members(root / "train" / modality / "ssl4eos12_shard_000001.tar").items()))
    assert mine[0] == real[0]
    ours, theirs = (zipfile.ZipFile(io.BytesIO(x[1])) for x in (mine, real))
    assert ours.namelist() == list(dict.fromkeys(theirs.namelist()))
    assert {i.compress_type for i in ours.infolist()} == {zipfile.ZIP_STORED}
    for name in ours.namelist():
        if name.split("/")[-1].startswith("."):
            assert ours.read(name) == theirs.read(name), name
    names = [n for n in ours.namelist() if n == "band/0"]
    assert [ours.read(n) for n in names] == [theirs.read(n) for n in names]


def test_compresses_no_better_than_the_real_example(scenes: list[Scene], tmp_path: Path) -> None:
    if not REAL.is_dir():
        pytest.skip(f"the real example is missing: {REAL}")
    real = members(REAL / "S2L2A" / "ssl4eos12_shard_000001.tar").values()
    synth(tmp_path, len(scenes), modalities=["S2L2A"])
    mine = members(tmp_path / "train" / "S2L2A" / "ssl4eos12_shard_000001.tar").values()
    ratio = np.mean([len(x) for x in real]) / np.mean([len(x) for x in mine])
    assert 0.85 < ratio < 1.05


def test_labels(made: Path) -> None:
    with (made / "train" / "labels.csv").open() as f:
        rows = list(csv.DictReader(f))
    assert [r["key"] for r in rows] == [f"{i:07d}" for i in range(5)]
    for i, row in enumerate(rows):
        scene = draw_scene(7, i, modalities=("S1GRD",), size=36)
        shares = [np.mean(scene.land.cover == c) for c in range(len(COVERS))]
        np.testing.assert_allclose([float(row[c]) for c in COVERS], shares, atol=1e-4)
        assert row["label"] == COVERS[int(np.argmax(shares))]
        assert (float(row["lon"]), float(row["lat"])) == (scene.place.lon, scene.place.lat)


# --- determinism and care with files ---


def test_bytes_depend_on_the_configuration_alone(made: Path, tmp_path: Path) -> None:
    synth(tmp_path / "a", 5, size=36, samples_per_shard=2, seed=7, workers=1)
    assert digests(tmp_path / "a") == digests(made)
    synth(tmp_path / "b", 5, size=36, samples_per_shard=2, seed=8, workers=1)
    a, b = digests(tmp_path / "a"), digests(tmp_path / "b")
    assert all(a[name] != b[name] for name in a)


def test_full_size_chunks_are_the_same_bytes_on_each_run(tmp_path: Path) -> None:
    # Chunks of several Blosc blocks: with Blosc's own threads their order would vary.
    runs = [synth(tmp_path / str(k), 2, modalities=["S2L2A"], timestamps=2) for k in range(3)]
    assert digests(runs[0]) == digests(runs[1]) == digests(runs[2])


def test_a_location_depends_on_neither_number_nor_modalities() -> None:
    both = draw_scene(3, 4, modalities=MODALITIES, size=48)
    for modality in MODALITIES:
        alone = draw_scene(3, 4, modalities=(modality,), size=48)
        np.testing.assert_array_equal(alone.bands[modality], both.bands[modality])
    # (seed, location) = (4, 3) must not collide with (3, 4), nor one split with another.
    others = (
        draw_scene(4, 3, modalities=("S2L1C",), size=48),
        draw_scene(3, 4, modalities=("S2L1C",), size=48, split="val"),
    )
    assert all((o.bands["S2L1C"] != both.bands["S2L1C"]).mean() > 0.5 for o in others)


def test_same_configuration_is_left_as_is(made: Path) -> None:
    before = {p: p.stat().st_mtime_ns for p in made.rglob("*") if p.is_file()}
    synth(made, 5, size=36, samples_per_shard=2, seed=7)
    assert {p: p.stat().st_mtime_ns for p in made.rglob("*") if p.is_file()} == before


def test_another_configuration_is_refused(made: Path) -> None:
    before = digests(made)
    with pytest.raises(FileExistsError, match=r"seed=7, asked for 8.*another directory"):
        synth(made, 5, size=36, samples_per_shard=2, seed=8)
    assert digests(made) == before


def test_foreign_shards_are_never_overwritten(tmp_path: Path) -> None:
    shard = tmp_path / "train" / "S2L1C" / "ssl4eos12_shard_000001.tar"
    shard.parent.mkdir(parents=True)
    shard.write_bytes(b"published")
    with pytest.raises(FileExistsError, match=r"ssl4eos12_shard_000001\.tar exists"):
        synth(tmp_path, 1, size=32)
    assert shard.read_bytes() == b"published"


def test_an_interrupted_run_leaves_no_half_tar_and_goes_on(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from fastload.synth import writer

    def broken(config: object, location: int) -> object:
        if location == 3:
            raise KeyboardInterrupt
        return writer_make(config, location)

    writer_make = writer._make
    monkeypatch.setattr(writer, "_make", broken)
    with pytest.raises(KeyboardInterrupt):
        synth(tmp_path, 5, size=36, samples_per_shard=2, seed=7, workers=1)
    monkeypatch.undo()
    left = sorted(p.name for p in (tmp_path / "train" / "S2L1C").iterdir())
    assert left == ["ssl4eos12_shard_000001.tar"]
    synth(tmp_path, 5, size=36, samples_per_shard=2, seed=7, workers=1)
    assert digests(tmp_path) == digests(made)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"modalities": ["S2L1C", "S3"]}, r"modalities: expected some of .*S2L1C.*got .*S3"),
        ({"modalities": []}, "modalities: expected some of"),
        ({"modalities": ["S2RGB", "S2RGB"]}, "named once"),
        ({"locations": 0}, "locations: expected 1 or more, got 0"),
        ({"timestamps": 0}, "timestamps: expected 1 or more, got 0"),
        ({"size": 8}, "size: expected 16 or more, got 8"),
        ({"samples_per_shard": 0}, "samples_per_shard: expected 1 or more"),
        ({"seed": -1}, "seed: expected"),
        ({"dn_offset": -5}, "dn_offset: expected"),
        ({"split": "../x"}, "split: expected a plain folder name"),
        ({"workers": 0}, "workers: expected 1 or more"),
    ],
)
def test_bad_arguments_get_sentences(tmp_path: Path, wrong: dict, sentence: str) -> None:
    arguments = {"locations": 1, "size": 32} | wrong
    with pytest.raises(ValueError, match=sentence):
        synth(tmp_path / "x", **arguments)
    assert not (tmp_path / "x").exists()


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = [str(tmp_path), "--locations", "2", "--size", "32", "--modalities", "S1GRD", "--quiet"]
    assert run(parser.parse_args(line)) == 0
    assert json.loads((tmp_path / "train" / "synth.json").read_text())["locations"] == 2
    assert run(parser.parse_args([*line, "--seed", "5"])) == 2
    assert "asked for 5" in capsys.readouterr().err


# --- the world ---


def test_neighbouring_pixels_correlate(scenes: list[Scene]) -> None:
    for modality in ("S2L1C", "S2L2A"):
        bands = [b for b in BANDS[modality] if b != "B10"]
        found = np.array([
            [neighbours(s.bands[modality][0, BANDS[modality].index(b)]) for b in bands]
            for s in scenes
        ])  # fmt: skip
        assert found.min() > 0.8
        assert np.median(found) < 0.995  # nor is it painted


@pytest.mark.parametrize("modality", MODALITIES)
def test_statistics_are_of_the_published_order(scenes: list[Scene], modality: str) -> None:
    pixels = np.stack([s.bands[modality] for s in scenes]).astype(np.float64)
    mean, std = pixels.mean((0, 1, 3, 4)), pixels.std((0, 1, 3, 4))
    published = statistics("v1.1-webdataset").of(modality, len(BANDS[modality]))
    # B10 is dark but for high clouds, which few scenes have: only its order is checked.
    factor = np.array([4.0 if b == "B10" else 2.0 for b in BANDS[modality]])
    assert np.all(np.abs(np.log(mean / published[0])) < np.log(factor))
    assert np.all(np.abs(np.log(std / published[1])) < np.log(factor))


def test_native_pixels_are_repeated() -> None:
    scene = draw_scene(0, 1, modalities=("S2L1C",), size=50)
    for band, name in enumerate(S2L1C):
        plane, step = scene.bands["S2L1C"][0, band], STEP[name]
        for k in range(0, 50 - step, step):
            assert (plane[k : k + step] == plane[k]).all()
        assert (plane[0, :-1] != plane[0, 1:]).mean() > 0.3 / step


def test_clouds_are_brighter_and_shadows_darker_than_the_land() -> None:
    red = S2L2A.index("B04")
    clouds, shadows = [], []
    for i in range(40):
        scene = draw_scene(1, i, modalities=("S2L2A",), size=96)
        for plane, mask in zip(scene.bands["S2L2A"][:, red], scene.cloud_mask, strict=True):
            land = plane[mask == LAND]
            if land.size < 300:
                continue
            if (mask == THICK_CLOUD).sum() > 50:
                clouds.append(plane[mask == THICK_CLOUD].mean() / land.mean())
            if (mask == SHADOW).sum() > 50:
                shadows.append(plane[mask == SHADOW].mean() / land.mean())
    assert len(clouds) >= 10
    assert min(clouds) > 1.2
    assert len(shadows) >= 10
    assert np.median(shadows) < 0.85


def ndvi_of(name: str, lat: float, day: float) -> float:
    place = Place(10.0, lat, "temperate", np.full(len(COVERS), 0.1), 20.0)
    index = np.array([[m.name for m in MATERIALS].index(name)])
    return float(leaf_share(place, day, index, np.zeros(1), np.ones(1))[0])


def test_crops_follow_the_season_of_their_hemisphere() -> None:
    january, july = 15.0, 200.0
    assert ndvi_of("maize", 48, july) > 0.8 > 0.2 > ndvi_of("maize", 48, january)
    assert ndvi_of("maize", -40, january) > 0.8 > 0.2 > ndvi_of("maize", -40, july)
    # Winter cereals are ripe when maize is full.
    assert ndvi_of("cereal", 48, 130) > 0.8 > 0.4 > ndvi_of("cereal", 48, 225)


def test_fields_change_colour_over_the_year(scenes: list[Scene]) -> None:
    red, nir = S2L2A.index("B04"), S2L2A.index("B08")
    spans = []
    for i in range(150):
        scene = draw_scene(0, i, modalities=("S2L2A",), size=48)
        crop = scene.land.cover == COVER["crop"]
        if crop.mean() < 0.3 or scene.place.biome not in ("temperate", "continental"):
            continue
        bands = scene.bands["S2L2A"].astype(float)
        seen = (scene.cloud_mask == LAND) & crop
        ndvi = (bands[:, nir] - bands[:, red]) / (bands[:, nir] + bands[:, red])
        means = [x[m].mean() for x, m in zip(ndvi, seen, strict=True) if m.sum() > 100]
        spans.append(max(means) - min(means) if means else 0)
    assert len(spans) >= 3
    assert np.median(spans) > 0.15


def test_dominant_cover_varies_with_the_location() -> None:
    labels, shares = [], []
    for i in range(120):
        place = draw_place(0, "train", i)
        land = draw_landscape(0, "train", i, place, 32)
        fractions = land.fractions()
        labels.append(int(fractions.argmax()))
        shares.append(fractions.max())
    counts = np.bincount(labels, minlength=len(COVERS))
    assert (counts > 0).sum() >= 7
    assert counts.max() < 60
    assert np.median(shares) > 0.5  # and it does dominate


def test_speckle_has_the_looks_it_says() -> None:
    looks, means = [], []
    for i in range(60):
        scene = draw_scene(0, i, modalities=("S1GRD",), size=128, timestamps=1)
        water = scene.land.cover == COVER["water"]
        deep = water & (np.abs(scene.land.shade) < 0.15)
        if deep.sum() < 4000:
            continue
        decibel = scene.bands["S1GRD"][0].astype(np.float64)
        power = 10 ** ((decibel - 4 * scene.land.shade) / 10)[:, deep]
        looks.append(power.mean(1) ** 2 / power.var(1))
        means.append(decibel[:, water].mean(1) - decibel[:, ~water].mean(1))
    assert len(looks) >= 3
    np.testing.assert_allclose(np.mean(looks, 0), LOOKS, rtol=0.1)
    assert np.mean(means) < -5  # smooth water reflects the beam away


def test_dates_are_one_a_quarter_and_sorted() -> None:
    first = set()
    for i in range(30):
        dates = draw_dates(0, "train", i, 4, lon=170.0)
        month = dates.optical.astype("M8[ns]").astype("M8[M]").astype(int) % 12 + 1
        assert sorted(month % 12 // 3) == [0, 1, 2, 3]
        first.add(int(month[0] % 12 // 3))
        assert (np.diff(dates.optical) > 0).all()
        assert (np.diff(dates.radar) > 0).all()
        assert np.abs(dates.optical - dates.radar).max() < 4 * 86400 * 10**9
    assert first == {0, 1, 2, 3}  # the index does not tell the season


def test_places_lie_on_plausible_land_with_their_utm_zone() -> None:
    places = [draw_place(0, "train", i) for i in range(200)]
    lat = np.array([p.lat for p in places])
    assert lat.min() > -56
    assert lat.max() < 70
    assert (lat < 0).mean() > 0.1
    for p in places:
        zone, south = p.crs % 100, p.crs // 100 == 327
        assert south == (p.lat < 0)
        assert 6 * zone - 186 <= p.lon < 6 * zone - 180 + 1e-9


def test_offset_moves_all_but_missing_pixels() -> None:
    missing = 0
    for i in range(40):
        plain = draw_scene(0, i, modalities=("S2L1C",), size=32, timestamps=2)
        moved = draw_scene(0, i, modalities=("S2L1C",), size=32, timestamps=2, dn_offset=1000)
        a, b = (x.bands["S2L1C"].astype(int) for x in (plain, moved))
        nothing = np.broadcast_to((plain.cloud_mask == 6)[:, None], a.shape)
        missing += nothing.sum()
        assert (a[nothing] == 0).all()
        assert (b[nothing] == 0).all()
        assert (a[~nothing] > 0).all()
        assert np.median((b - a)[~nothing]) == 1000
    assert missing > 0


def test_slopes_facing_the_sun_are_brighter() -> None:
    # A plane that falls to the south-east: rows run south, columns east, 10 m a pixel, 1 m a step.
    south_east = -(np.arange(8.0)[:, None] + np.arange(8.0)[None, :]).astype(np.float32)
    zenith, azimuth = np.radians(50), np.radians(135)
    # cos(incidence) = n . s / |n| with n = (0.1, -0.1, 1) (east, north, up).
    expected = (1 + np.tan(zenith) * 0.1 * np.sqrt(2)) / np.sqrt(1.02)
    np.testing.assert_allclose(hillshade(south_east, zenith, azimuth), expected, rtol=1e-5)
    np.testing.assert_allclose(hillshade(south_east * 0, zenith, azimuth), 1, rtol=1e-6)


@pytest.mark.parametrize("timestamps", [1, 4, 5])
@pytest.mark.parametrize("size", [16, 35, 64])
def test_any_size_and_number_of_timestamps(tmp_path: Path, timestamps: int, size: int) -> None:
    root = synth(tmp_path, 2, timestamps=timestamps, size=size)
    for modality in MODALITIES:
        tar = members(root / "train" / modality / "ssl4eos12_shard_000001.tar")
        assert len(tar) == 2
        header = json.loads(
            zipfile.ZipFile(io.BytesIO(tar["0000001.zarr.zip"])).read("bands/.zarray")
        )
        assert header["shape"] == [timestamps, len(BANDS[modality]), size, size]
        assert header["chunks"] == [1, len(BANDS[modality]), size, size]
