"""Packing: what goes in comes out, in files that others read, and what is lost is said."""

import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import webdataset
import zarr

from fastload import SSL4EOS12, DataLoader, Radiometry, Recipe, View
from fastload import open as open_any
from fastload.datasets.terramesh import TerraMesh
from fastload.engines.dali import has_dali
from fastload.pack import Options, pack
from fastload.pack.narrow import Scale
from fastload.pack.tar import TarWriter, member_of
from fastload.profile import Stages
from fastload.statistics import Statistics
from fastload.storage.errors import StorageError
from fastload.synth import synth
from tests.conformance.packing import assert_round_trip, bytes_of, packed, reopened
from tests.fastload import made, packable, shardmaker
from tests.fastload.made import assert_same
from tests.fastload.trees import terramesh

pytestmark = pytest.mark.timeout(120)
KEYS = ("a", "a.b", "folder/name", "Grünland", "", "%41", "x" * 90, "x" * 91, "..", "_", "a b")


def by_threads(dataset: Any, root: Path, **options: Any) -> Any:
    """Pack with two threads."""
    return pack(dataset, root, Options(**options), executor="threads", workers=2, say=str)


@pytest.fixture(scope="module")
def clouded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made data of three modalities, two of them with cloud masks."""
    names = ("S2L2A", "S1GRD", "S2RGB")
    root = tmp_path_factory.mktemp("clouded")
    return synth(root, 5, modalities=names, timestamps=2, size=32, samples_per_shard=3, workers=1)


# --- what goes in comes out ---


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"codec": "lz4", "level": 5, "shuffle": "byte", "block": 0},
        {"codec": "none"},
        {"codec": "zlib", "shuffle": "none", "block": 4096},
    ],
    ids=str,
)
def test_made_data_with_masks(clouded: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    """Modalities, cloud masks, shares, codes of coordinate systems."""
    dataset = open_any(clouded, modalities=["S2L2A", "S1GRD", "S2RGB"], progress=False)
    found = assert_round_trip(dataset, tmp_path, **options)
    assert list(found.sources["S2L2A"].beside()) == ["cloud_mask"]
    assert "crs" in found.sources["S1GRD"].columns.extra
    assert "cloud_share" not in json.dumps(shard_metadata(tmp_path / "train/S2L2A"))


def shard_metadata(folder: Path) -> dict[str, Any]:
    """The consolidated metadata of the first sample."""
    tar = sorted(folder.glob("*.tar"))[0]
    with tarfile.open(tar) as shard:
        member = shard.extractfile(shard.getmembers()[0])
        assert member is not None
        with zipfile.ZipFile(io.BytesIO(member.read())) as archive:
            found: dict[str, Any] = json.loads(archive.read(".zmetadata"))["metadata"]
    return found


def test_the_real_samples(real: Path, tmp_path: Path) -> None:
    """Members that stand twice and constant chunks, as the real library writes them."""
    dataset = open_any(real, modalities=["NDVI", "S2RGB"], progress=False).subset([0, 7])
    assert_round_trip(dataset, tmp_path)


def test_every_kind_of_column(tmp_path: Path) -> None:
    """Text, numbers, by sample and by date; shares of clouds without a mask; unknown places."""
    extras = {
        "split": np.array(["a", "bb", "", "ä", "e", "f"]),
        "good": np.array([True, False] * 3),
        "score": np.arange(6, dtype=np.float32),
        "classes": np.eye(6, 19, dtype=bool)[:, None],
        "embedding": np.arange(18.0).reshape(6, 1, 3),
    }
    assert_round_trip(packable.dataset(packable.everything(), extras=extras), tmp_path)


@pytest.mark.parametrize(
    "dtype", ["uint8", "int8", "uint16", "int32", "float16", "float32", "float64", "bool"]
)
def test_every_dtype(tmp_path: Path, dtype: str) -> None:
    values = packable.pixels(3).astype(dtype)
    if values.dtype.kind == "f":
        values[0, 0, 0, 0, :3] = np.nan, np.inf, -np.inf
    assert_round_trip(packable.dataset(packable.source(3, pixels=values)), tmp_path)


@pytest.mark.parametrize("fill", [None, 0.0, -7.0, np.nan], ids=str)
def test_what_a_pixel_holds_where_nothing_was_seen(tmp_path: Path, fill: float | None) -> None:
    values = packable.pixels(2, np.float32)
    source = packable.source(2, pixels=values, modality={"fill_value": fill})
    assert_round_trip(packable.dataset(source), tmp_path)


def test_one_date_one_band_no_names_and_its_ground(tmp_path: Path) -> None:
    values = packable.pixels(3, shape=(1, 1, 16, 20))
    fields = {"band_names": (), "ground": (480.0, 600.0), "name": "DEM"}
    source = packable.source(3, pixels=values, modality=fields)
    assert_round_trip(packable.dataset(source), tmp_path)


def test_modalities_on_other_grids_in_another_order(tmp_path: Path) -> None:
    """Rows are looked up by key; each modality keeps its own size, dates and columns."""
    keys = ["c", "a", "b"]
    one = packable.source(keys=keys)
    other = packable.source(
        keys=["a", "b", "c"],
        pixels=packable.pixels(3, np.float32, (1, 1, 8, 8)),
        modality={"name": "S3"},
    )
    rows = {"S2L1C": None, "S3": np.array([2, 0, 1])}
    dataset = packable.dataset({"S2L1C": one, "S3": other}, rows=rows)
    assert_round_trip(dataset, tmp_path)


def test_chosen_samples_and_bands(tmp_path: Path) -> None:
    """A subset in its own order, and two bands of thirteen, looked up by name afterwards."""
    whole = open_any(made.root(), bands=["B08", "B02"], progress=False)
    dataset = whole.subset([7, 3, 4, 20])
    found = assert_round_trip(dataset, tmp_path)
    assert found.keys.tolist() == [whole.keys[i] for i in (7, 3, 4, 20)]
    assert found.modalities["S2L1C"].band_names == ("B08", "B02")
    recipe = Recipe((View(size=16),), Radiometry.standardise())
    scalings = [d.with_recipe(recipe).scalings["S2L1C"] for d in (found, dataset)]
    assert str(scalings[0]) == str(scalings[1])


@pytest.mark.parametrize("key", KEYS)
def test_names_of_members_are_plain(key: str) -> None:
    """Whatever a key is, readers that stop at dots and slashes see one name of one folder."""
    name = member_of(key)
    assert 0 < len(name + ".zarr.zip") <= 100
    assert not set(name) & set("./ \\")
    assert name.isascii()


def test_keys_of_any_text(tmp_path: Path) -> None:
    keys = [key for key in KEYS if key]
    assert len({member_of(key) for key in KEYS}) == len(KEYS)
    dataset = packable.dataset(packable.source(keys=keys))
    assert_round_trip(dataset, tmp_path)
    [first, *_] = sorted((tmp_path / "train/S2L1C").glob("*.tar"))
    assert [s["__key__"] for s in webdataset.WebDataset(str(first), shardshuffle=False)] == [
        str(first.parent / "unused").replace("unused", member_of(key)).rpartition("/")[2]
        for key in keys[:4]
    ]


def test_a_batch_is_the_same(tmp_path: Path) -> None:
    """What every engine makes of packed samples is what it makes of the samples."""
    dataset = made.dataset()
    pack(dataset, tmp_path, Options(samples_per_shard=8), executor="threads", say=str)
    other = SSL4EOS12(tmp_path, progress=False)
    for engine in ("threads", "dali") if has_dali() else ("threads",):
        mine, theirs = (
            list(DataLoader(d, 7, shuffle=True, seed=3, engine=engine)) for d in (other, dataset)
        )
        assert_same(mine, theirs)


# --- who reads it ---


@pytest.fixture(scope="module")
def shard(clouded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A packed shard of five samples of S2L2A."""
    root = tmp_path_factory.mktemp("shard")
    by_threads(open_any(clouded, modalities=["S2L2A"], progress=False), root)
    return root / "train/S2L2A/packed_000001.tar"


def expected(clouded: Path) -> Any:
    return open_any(clouded, modalities=["S2L2A"], progress=False)


def by_zarr(content: bytes, folder: Path) -> Any:
    """As the published reading code opens a sample."""
    path = folder / "sample.zarr.zip"
    path.write_bytes(content)
    return zarr.open_consolidated(zarr.ZipStore(str(path), mode="r"), mode="r")


def check(content: bytes, dataset: Any, number: int, folder: Path) -> None:
    group = by_zarr(content, folder)
    np.testing.assert_array_equal(group["bands"][...], dataset.read("S2L2A", number))
    assert group["bands"].chunks == (1, 12, 32, 32)
    source = dataset.sources["S2L2A"]
    assert group["time"][...].tolist() == source.columns.time[number].tolist()
    assert float(group["center_lon"][...]) == source.columns.lon[number]
    assert group["cloud_mask"].shape == (2, 32, 32)
    assert group["band"][...].tolist() == list(source.modality.band_names)
    assert group["bands"].attrs["_ARRAY_DIMENSIONS"] == ["time", "band", "y", "x"]


def test_webdataset_reads_it(shard: Path, clouded: Path, tmp_path: Path) -> None:
    dataset = expected(clouded)
    samples = list(webdataset.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in samples] == dataset.keys.tolist()
    for number, sample in enumerate(samples):
        check(sample["zarr.zip"], dataset, number, tmp_path)


@pytest.mark.skipif(not has_dali(), reason="needs nvidia-dali")
def test_dalis_reader_reads_it(shard: Path, clouded: Path, tmp_path: Path) -> None:
    from nvidia.dali import fn, pipeline_def

    @pipeline_def(batch_size=5, num_threads=1, device_id=None)
    def read() -> Any:
        return fn.readers.webdataset(paths=[str(shard)], ext=["zarr.zip"])

    pipeline = read()
    pipeline.build()
    (batch,) = pipeline.run()
    dataset = expected(clouded)
    for number in range(len(dataset)):
        check(batch.at(number).tobytes(), dataset, number, tmp_path)


def test_it_is_what_webdataset_writes(shard: Path, tmp_path: Path) -> None:
    """Byte for byte, from the same members."""
    theirs = io.BytesIO()
    with webdataset.TarWriter(theirs, encoder=False, mtime=1771286400) as tar:
        for sample in webdataset.WebDataset(str(shard), shardshuffle=False):
            tar.write({"__key__": sample["__key__"], "zarr.zip": sample["zarr.zip"]})
    assert theirs.getvalue() == shard.read_bytes()
    ours = io.BytesIO()
    writer = TarWriter(ours)
    writer.add("1", b"content")
    writer.close()
    theirs = io.BytesIO()
    with webdataset.TarWriter(theirs, encoder=False, mtime=1771286400) as tar:
        tar.write({"__key__": "1", "zarr.zip": b"content"})
    assert ours.getvalue() == theirs.getvalue()


def test_members_are_stored_with_checksums(shard: Path) -> None:
    with tarfile.open(shard) as tar:
        for info in tar:
            assert (info.mtime, info.mode) == (1771286400, 0o444)
            member = tar.extractfile(info)
            assert member is not None
            with zipfile.ZipFile(io.BytesIO(member.read())) as archive:
                assert archive.testzip() is None
                assert {i.compress_type for i in archive.infolist()} == {zipfile.ZIP_STORED}
                assert all(i.CRC for i in archive.infolist())


def test_the_index_lies_beside(shard: Path) -> None:
    assert (shard.parent / "fastload.index").is_file()


# --- what is lost is said ---


def pixels_of(dataset: Any, name: str = "S2L1C") -> Any:
    return np.stack([dataset.read(name, i) for i in range(len(dataset))])


@pytest.mark.parametrize(
    ("crop", "box"), [("8", (4, 6, 8, 8)), ("8x10", (4, 5, 8, 10)), ("4x5+1+2", (1, 2, 4, 5))]
)
def test_a_crop_is_said(tmp_path: Path, crop: str, box: tuple[int, ...]) -> None:
    y, x, h, w = box
    source = packable.source(3, modality={"ground": (160.0, 200.0)})
    found = packed(packable.dataset(source), tmp_path, crop=crop)
    np.testing.assert_array_equal(pixels_of(found), source.pixels[..., y : y + h, x : x + w])
    assert found.modalities["S2L1C"].ground == (10.0 * h, 10.0 * w)
    says = json.loads((tmp_path / "train/fastload.pack.json").read_text())
    assert not says["lossless"]
    assert f"rows {y} to {y + h - 1} and columns {x} to {x + w - 1}" in says["told"][0]
    metadata = shard_metadata(tmp_path / "train/S2L1C")
    assert metadata[".zattrs"]["fastload"] == {"crop": {"y": y, "x": x, "of": [16, 20]}}


def test_a_crops_clouds_are_its_own(clouded: Path, tmp_path: Path) -> None:
    """The mask is cropped, too, and the share is of what is left of it."""
    dataset = open_any(clouded, modalities=["S2L2A"], progress=False)
    found = packed(dataset, tmp_path, crop="16")
    mask = dataset.sources["S2L2A"].beside()["cloud_mask"]
    for i in range(len(dataset)):
        out = np.empty(mask.modality.shape, np.uint8)
        mask.read(i, range(2), out, Stages())
        cut = out[:, 0, 8:24, 8:24]
        share = np.isin(cut, (3, 4)).reshape(2, -1).mean(axis=1)
        np.testing.assert_array_equal(found.cloud(i), share.astype(np.float32))


@pytest.mark.parametrize("crop", ["17", "0", "8x", "8x8+10+0", "-3", "a"])
def test_crops_that_make_no_sense(tmp_path: Path, crop: str) -> None:
    with pytest.raises(ValueError, match="crop"):
        by_threads(packable.dataset(packable.source(2)), tmp_path, crop=crop)
    assert not list(tmp_path.rglob("*.tar"))


def test_8_bits_go_by_limits(tmp_path: Path) -> None:
    source = packable.source(3, pixels=packable.pixels(3, np.float32))
    source.pixels[0, 0, 0, 0, 0] = np.nan
    found = packed(packable.dataset(source), tmp_path, uint8=True, limits=(-50.0, 50.0))
    x = np.nan_to_num(source.pixels.astype(np.float64), nan=-50.0)
    wanted = np.rint(np.clip((x + 50) * 2.55, 0, 255)).astype(np.uint8)
    np.testing.assert_array_equal(pixels_of(found), wanted)
    assert found.modalities["S2L1C"].dtype == np.uint8
    ours = shard_metadata(tmp_path / "train/S2L1C")[".zattrs"]["fastload"]["uint8"]
    assert ours == {"low": [-50.0, -50.0], "high": [50.0, 50.0], "of": "<f4"}


OWN = Statistics("mine", 100.0, {"S2L1C": (10.0, 20.0)}, {"S2L1C": (5.0, 4.0)})


def test_8_bits_go_by_the_statistics_and_bring_theirs(tmp_path: Path) -> None:
    """Standardised, 8 bits are what the samples were, but for steps and clipping."""
    source = packable.source(3)
    found = packed(packable.dataset(source, OWN), tmp_path, uint8=True)
    scale = Scale((0.0, 12.0), (20.0, 28.0))
    np.testing.assert_array_equal(pixels_of(found), scale.apply(source.pixels.reshape(
        -1, *source.pixels.shape[2:])).reshape(source.pixels.shape))  # fmt: skip
    assert found.statistics.name == "mine (uint8)"
    assert found.statistics.mean["S2L1C"] == (127.5, 127.5)
    np.testing.assert_allclose(found.statistics.std["S2L1C"], (63.75, 63.75))
    with pytest.raises(ValueError, match="8 bits, of which no reflectance is known"):
        SSL4EOS12(tmp_path, recipe=Recipe((View(size=8),), Radiometry.reflectance()))
    with pytest.warns(UserWarning, match=r"obey the statistics 'mine \(uint8\)'"):
        SSL4EOS12(tmp_path, statistics=OWN)


def test_8_bits_of_what_has_them_already(tmp_path: Path) -> None:
    source = packable.source(2, pixels=packable.pixels(2, np.uint8))
    found = packed(packable.dataset(source, OWN), tmp_path, uint8=True)
    np.testing.assert_array_equal(pixels_of(found), source.pixels)


def test_limits_are_of_one_modality(tmp_path: Path) -> None:
    both = {name: packable.source(2, modality={"name": name}) for name in ("S2L1C", "S1GRD")}
    with pytest.raises(ValueError, match="limits of uint8 are of one modality"):
        by_threads(packable.dataset(both), tmp_path, uint8=True, limits=(0.0, 1.0))


def test_statistics_go_with_the_shards(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    """What samples obey is known when they are opened, and a mismatch is told."""
    zarr_set = packable.dataset(packable.source(2), "v1.1-zarr")
    assert packed(zarr_set, tmp_path / "zarr").statistics is zarr_set.statistics
    own = packed(packable.dataset(packable.source(2), OWN), tmp_path / "own")
    assert (own.statistics.name, own.statistics.dn_offset) == ("mine", 100.0)
    assert own.statistics.mean["S2L1C"] == (10.0, 20.0)
    assert not [w for w in recwarn if "statistics" in str(w.message)]
    with pytest.warns(UserWarning, match="at 1000 DN, but 'v1.1-webdataset' are asked for"):
        SSL4EOS12(tmp_path / "zarr", statistics="v1.1-webdataset")


# --- again, and where something lies ---


def test_a_second_time_does_nothing(tmp_path: Path) -> None:
    dataset = packable.dataset(packable.source(6))
    first = by_threads(dataset, tmp_path, samples_per_shard=4)
    assert (first.samples, first.shards, first.written) == (6, 2, 2)
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    again = by_threads(dataset, tmp_path, samples_per_shard=4)
    assert again == first._replace(written=0)
    after = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*") if p.is_file()}
    assert {p.name for p in after if after[p] != before.get(p)} <= {".fastload.pack.lock"}


def test_a_shard_that_is_lost_or_cut_is_written_again(tmp_path: Path) -> None:
    dataset = packable.dataset(packable.source(6))
    by_threads(dataset, tmp_path, samples_per_shard=2)
    whole = bytes_of(tmp_path)
    folder = tmp_path / "train/S2L1C"
    (folder / "packed_000001.tar").unlink()
    (folder / "packed_000003.tar").write_bytes(b"cut")
    assert by_threads(dataset, tmp_path, samples_per_shard=2).written == 2
    assert bytes_of(tmp_path) == whole


CHANGES: dict[str, Callable[[Any], Any]] = {
    "options": lambda s: (packable.dataset(s), {"level": 7}),
    "samples": lambda s: (packable.dataset(s).subset([0, 1]), {}),
    "statistics": lambda s: (packable.dataset(s, "v1.1-zarr"), {}),
    "shards": lambda s: (packable.dataset(s), {"samples_per_shard": 3}),
}


@pytest.mark.parametrize("what", CHANGES)
def test_other_options_are_refused(tmp_path: Path, what: str) -> None:
    source = packable.source(4)
    by_threads(packable.dataset(source), tmp_path)
    before = bytes_of(tmp_path)
    dataset, options = CHANGES[what](source)
    with pytest.raises(FileExistsError, match=r"packed otherwise: .* asked for"):
        by_threads(dataset, tmp_path, **options)
    assert bytes_of(tmp_path) == before


def test_strangers_shards_are_never_overwritten(tiny: Path) -> None:
    before = bytes_of(tiny)
    with pytest.raises(FileExistsError, match=r"no fastload\.pack\.json says"):
        by_threads(packable.dataset(packable.source(2)), tiny)
    assert bytes_of(tiny) == before


def test_one_process_at_a_time(tmp_path: Path) -> None:
    from filelock import FileLock

    (tmp_path / "train").mkdir()
    with (
        FileLock(tmp_path / "train/.fastload.pack.lock"),
        pytest.raises(FileExistsError, match="another process packs here"),
    ):
        by_threads(packable.dataset(packable.source(2)), tmp_path)


def test_a_damaged_note_is_named(tmp_path: Path) -> None:
    by_threads(packable.dataset(packable.source(2)), tmp_path)
    note = tmp_path / "train/fastload.pack.json"
    for text in ("{", "{}", '{"format": "other"}', "[]", "7"):
        note.write_text(text)
        with pytest.raises(Exception, match=r"fastload\.pack\.json: is not what packing wrote"):
            SSL4EOS12(tmp_path)


def test_splits_lie_side_by_side(tmp_path: Path) -> None:
    for split, count in (("train", 4), ("val", 2)):
        dataset = packable.dataset(packable.source(count))
        pack(dataset, tmp_path, Options(), split=split, executor="threads", say=str)
    assert [len(SSL4EOS12(tmp_path, split)) for split in ("train", "val")] == [4, 2]


# --- order and size of shards ---


def test_the_order_is_a_seeds(tmp_path: Path) -> None:
    dataset = packable.dataset(packable.source(20))
    orders = []
    for number, seed in enumerate((1, 1, 2)):
        root = tmp_path / str(number)
        by_threads(dataset, root, order=seed, samples_per_shard=6)
        found = reopened(root, dataset)
        orders.append(found.keys.tolist())
        for i, key in enumerate(found.keys.tolist()):
            np.testing.assert_array_equal(
                found.read("S2L1C", i), dataset.read("S2L1C", dataset.index_of(key))
            )
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[2]) == dataset.keys.tolist() != orders[2]
    assert bytes_of(tmp_path / "0") == bytes_of(tmp_path / "1")


def test_shards_of_about_so_many_bytes(tmp_path: Path) -> None:
    dataset = packable.dataset(packable.source(30))
    by_threads(dataset, tmp_path, shard_bytes=50_000)
    sizes = [p.stat().st_size for p in sorted((tmp_path / "train/S2L1C").glob("*.tar"))]
    assert len(sizes) > 2
    assert all(35_000 < size < 70_000 for size in sizes[:-1])
    assert by_threads(dataset, tmp_path, shard_bytes=50_000).written == 0


# --- trouble ---


def test_damage_is_raised(tmp_path: Path) -> None:
    dataset = packable.dataset(packable.source(6, broken=packable.damage(4)))
    with pytest.raises(Exception, match=r"a byte is wrong; .* of 3 shards are complete and stay"):
        by_threads(dataset, tmp_path, samples_per_shard=2)
    assert not list(tmp_path.rglob("*.part"))


def test_damage_is_left_out_in_all_modalities(tmp_path: Path) -> None:
    """The whole sample, and a file lists it; a shard of which nothing is left is none."""
    broken = packable.damage(3) | packable.damage(4) | packable.damage(5)
    both = {
        "S2L1C": packable.source(7),
        "S1GRD": packable.source(7, broken=broken, modality={"name": "S1GRD"}),
    }
    done = by_threads(packable.dataset(both), tmp_path, samples_per_shard=2, on_error="skip")
    assert (done.samples, done.skipped, done.shards) == (4, 3, 4)
    found = SSL4EOS12(tmp_path, modalities=list(both))
    assert found.keys.tolist() == [f"{i:07d}" for i in (0, 1, 2, 6)]
    lines = (tmp_path / "train/fastload.pack.skipped.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [f"{i:07d}" for i in (3, 4, 5)]
    assert all("a byte is wrong" in line and "made.bin" in line for line in lines)
    assert by_threads(packable.dataset(both), tmp_path, samples_per_shard=2, on_error="skip") == (
        done._replace(written=0)
    )


def test_where_nothing_can_be_read(tmp_path: Path) -> None:
    broken = packable.damage(0) | packable.damage(1)
    dataset = packable.dataset(packable.source(2, broken=broken))
    with pytest.raises(Exception, match="a byte is wrong"):
        by_threads(dataset, tmp_path, on_error="skip")


def test_a_storage_that_fails_is_no_damage(tmp_path: Path) -> None:
    """Nothing is left out because a disk or network was away."""
    away = {2: StorageError("made.bin", "sample 2", 0, "cannot be read (EIO)")}
    dataset = packable.dataset(packable.source(4, broken=away))
    with pytest.raises(StorageError, match="EIO"):
        by_threads(dataset, tmp_path, on_error="skip")


def test_space_is_looked_for_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=30_000))
    dataset = packable.dataset(packable.source(30))
    with pytest.raises(OSError, match=r"about \d+ kB are needed for 30 samples, but 30 kB"):
        by_threads(dataset, tmp_path)
    assert not list(tmp_path.rglob("*.tar"))
    pack(dataset, tmp_path, Options(), executor="threads", check_free=False, say=str)


WRONG = {
    "codec": ("gzip", "codec must be one of"), "level": (10, "level must be"),
    "shuffle": ("bits", "shuffle must be one of"), "block": (-1, "block must be"),
    "samples_per_shard": (0, "samples_per_shard must be"), "shard_bytes": (0, "shard_bytes"),
    "order": (-1, "order must be"), "name": ("a/b", "name must be a plain file name"),
    "on_error": ("drop", "on_error must be one of"), "limits": ((0.0, 1.0), "limits are of uint8"),
}  # fmt: skip


@pytest.mark.parametrize("field", WRONG)
def test_options_that_make_no_sense(field: str) -> None:
    value, sentence = WRONG[field]
    with pytest.raises(ValueError, match=sentence):
        replace(Options(), **{field: value})


@pytest.mark.parametrize(
    ("target", "split", "executor", "workers", "sentence"),
    [
        ("s3://bucket/x", "train", "threads", 1, "folder of this machine"),
        ("x", "a/b", "threads", 1, "split must be a plain folder name"),
        ("x", "train", "dask", 1, "executor must be 'processes', 'threads' or the address"),
        ("x", "train", "threads", 0, "workers must be 1 or more"),
    ],
)
def test_calls_that_make_no_sense(
    tmp_path: Path, target: str, split: str, executor: str, workers: int, sentence: str
) -> None:
    place = target if "://" in target else tmp_path / target
    with pytest.raises(ValueError, match=sentence):
        pack(packable.dataset(packable.source(2)), place, split=split, executor=executor,
             workers=workers, say=str)  # fmt: skip


def test_names_that_cannot_be_kept(tmp_path: Path) -> None:
    extra = {"cloud_mask": np.zeros(2, np.int64)}
    dataset = packable.dataset(packable.source(2, columns={"extra": extra}))
    with pytest.raises(ValueError, match="a column may not be called 'cloud_mask'"):
        by_threads(dataset, tmp_path)
    mask = packable.dataset({"cloud_mask": packable.source(2)})
    with pytest.raises(ValueError, match="packed with the samples that it belongs to"):
        by_threads(mask, tmp_path)


def test_texts_too_long_for_an_index_are_said(tmp_path: Path) -> None:
    extra = {"note": np.array([b"x" * 5000, b"y"]), "short": np.array([b"a", b"b"])}
    told: list[str] = []
    dataset = packable.dataset(packable.source(2, columns={"extra": extra}))
    pack(dataset, tmp_path, executor="threads", workers=1, say=told.append)
    assert "column 'note' has texts beyond 4096 bytes: left out" in told[0]
    assert list(reopened(tmp_path, dataset).sources["S2L1C"].columns.extra) == ["short"]


def test_a_key_in_the_attributes_must_be_text(tmp_path: Path) -> None:
    """As anything that a header says, it is checked."""
    group = shardmaker.group(shardmaker.pixels("x"))
    metadata = json.loads(group[".zmetadata"])
    metadata["metadata"][".zattrs"] = {"fastload": {"key": 7}}
    group[".zmetadata"] = json.dumps(metadata).encode()
    shardmaker.write(tmp_path, make=lambda *_: shardmaker.zipped(group))
    with pytest.raises(Exception, match=r"the attribute fastload\.key must be a text, got 7"):
        SSL4EOS12(tmp_path, progress=False)


def test_keys_that_stand_twice_are_refused(tmp_path: Path) -> None:
    dataset = packable.dataset(packable.source(4)).subset([0, 1, 0])
    with pytest.raises(ValueError, match="1 keys stand more than once, such as '0000000'"):
        by_threads(dataset, tmp_path)


def test_what_is_packed_opens_by_itself(tmp_path: Path) -> None:
    """Also where its modalities are those of another data set."""
    for names in (["S1RTC", "S2L2A"], ["S2L1C"]):
        root = tmp_path / names[0]
        sources = {n: packable.source(2, modality={"name": n}) for n in names}
        by_threads(packable.dataset(sources, "v1.1-zarr"), root, name="majortom_shard")
        found = open_any(root, modalities=names, progress=False)
        assert type(found) is SSL4EOS12
        assert found.statistics.name == "v1.1-zarr"


def test_a_modality_of_two_kinds_keeps_its_statistics(tmp_path: Path) -> None:
    """TerraMesh's S1: each sample is still standardised by its own kind."""
    data = TerraMesh(terramesh.write(tmp_path / "data"), modalities=["S1", "S2L2A"])
    found = assert_round_trip(data, tmp_path / "packed")
    recipe = Recipe((View(size=8),), Radiometry.standardise())
    for i in range(len(data)):
        ours, theirs = (d.with_recipe(recipe).scaling_of("S1", i) for d in (found, data))
        assert str(ours) == str(theirs)
    assert found.statistics is data.statistics
    np.testing.assert_array_equal(found.extras["S1_kind"], data.extras["S1_kind"])
