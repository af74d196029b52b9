"""``verify``: each kind of damage is found where it is, and sound data has none."""

import errno
import json
import os
import signal
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr

import fastload
from fastload.cli import main
from fastload.ground import _apart, boxes, overlaps, radii
from fastload.statistics import statistics
from fastload.storage.store import Local
from fastload.synth import synth
from fastload.verify import Report, verify
from fastload.verify.state import State
from tests import nursery
from tests.conformance import toys
from tests.conformance.toy import Memory, npy
from tests.fastload import shardmaker as make
from tests.fastload.slow_store import Slow

BOTH = ("S2L2A", "S1GRD")
NAMED = statistics("v1.1-webdataset")


def sample(
    number: int,
    modality: str,
    change: Callable[[Any], None] | None = None,
    bands: Any = None,
    **options: Any,
) -> bytes:
    """A sound sample at a place of its own, changed."""
    floats = modality == "S1GRD"
    pixels = make.pixels(f"{modality} {number}") if bands is None else bands
    if floats and bands is None:
        pixels = (pixels / 100 - 30).astype(np.float16)
    given = {"number": number, "lon": 10.0 + number, "lat": 50.0, "cloud": None} | options
    store = make.group(pixels, **given)
    if change:
        change(zarr.open_group(store, mode="r+"))
    return make.zipped({name: bytes(value) for name, value in store.items()})


def write(root: Path, wrong: dict[tuple[str, int], Callable[[], bytes]] | None = None) -> Path:
    """Six samples of two modalities, some of them as told."""
    wrong = wrong or {}

    def one(number: int, modality: str) -> bytes:
        return wrong.get((modality, number), lambda: sample(number, modality))()

    return make.write(root, BOTH, make=one)


def opened(root: Any) -> dict[str, Any]:
    out = {}
    for name in BOTH:
        out |= fastload.open(root, modalities=[name], progress=False).sources
    return out


def found(sources: Any, **options: Any) -> Report:
    return verify(sources, options.pop("statistics", NAMED), **options)


def only(report: Report, kind: str, modality: str, number: int) -> Any:
    """The finding of a kind, where there is one and no other."""
    assert report.counts == {kind: 1}, [str(f) for f in report.findings]
    [finding] = report.findings
    assert finding.modality == modality
    assert Path(finding.shard).name == f"ssl4eos12_shard_{number // 3 + 1:06d}.tar"
    assert f"{number:07d}" in finding.member
    return finding


def test_sound_data_has_no_findings(tmp_path: Path) -> None:
    report = found(opened(write(tmp_path)))
    assert report.findings == []
    assert set(report.checks.values()) == {"done"}
    facts = report.facts["S2L2A"]
    assert facts["samples"] == facts["looked_at"] == 6
    pixels = np.stack([make.pixels(f"S2L2A {i}") for i in range(6)]).astype(np.float64)
    np.testing.assert_allclose(facts["pixels"]["mean"], pixels.mean((0, 1, 3, 4)))
    assert facts["pixels"]["pixels"] == [pixels[:, :, 0].size] * 3
    assert facts["seasons"]["one_date_in_each"] == 1.0
    assert facts["clouds"] is None


def test_made_data_is_sound(tmp_path: Path) -> None:
    root = synth(tmp_path / "s", 6, modalities=("S2L1C", "S2L2A", "S1GRD"), size=32, workers=2)
    assert main(["verify", str(root), "--quiet", "--workers", "2"]) == 0


def test_real_data(real: Path, tmp_path: Path) -> None:
    """Of one place: all patches overlap, and nothing else is wrong."""
    for folder in ("S2L2A", "S2RGB", "NDVI"):
        (tmp_path / "train" / folder).mkdir(parents=True)
        for tar in (real / "train" / folder).glob("*.tar"):
            (tmp_path / "train" / folder / tar.name).symlink_to(tar)
    command = ["verify", str(tmp_path), "--quiet", "--workers", "2"]
    assert main([*command, "--iou", "1", "--json", str(tmp_path / "r.json")]) in (0, 1)
    kinds = json.loads((tmp_path / "r.json").read_text())["counts"]
    assert set(kinds) <= {"no_data", "dates"}, kinds
    assert main([*command, "--quick", "2"]) == 1


# --- chunks


def test_a_flipped_byte(tmp_path: Path) -> None:
    sources = opened(write(tmp_path))
    source = sources["S2L2A"]
    rows = source.chunks(np.array([4]), np.ones((1, 4), bool)).rows
    path = make.shard(tmp_path, "S2L2A", 2)
    content = bytearray(path.read_bytes())
    content[int(rows[2]["offset"]) + 30] ^= 1
    path.write_bytes(content)
    finding = only(found(sources), "crc", "S2L2A", 4)
    assert finding.field == "bands/2.0.0.0"
    assert finding.offset == int(rows[2]["offset"])


def test_every_damaged_chunk_is_told(tmp_path: Path) -> None:
    sources = opened(write(tmp_path))
    rows = sources["S1GRD"].chunks(np.array([0]), np.ones((1, 4), bool)).rows
    path = make.shard(tmp_path, "S1GRD", 1)
    content = bytearray(path.read_bytes())
    for t in (0, 3):
        content[int(rows[t]["offset"]) + 30] ^= 1
    path.write_bytes(content)
    fields = [f.field for f in found(sources).findings]
    assert fields == ["bands/0.0.0.0", "bands/3.0.0.0"]


def test_a_chunk_that_does_not_decode_though_its_crc_is_right(tmp_path: Path) -> None:
    def broken() -> bytes:
        store = make.group(make.pixels("x"), number=1, lon=11.0)
        chunk = bytearray(store["bands/1.0.0.0"])
        chunk[20:60] = b"\xff" * 40
        return make.zipped(store | {"bands/1.0.0.0": bytes(chunk)})

    report = found(opened(write(tmp_path, {("S2L2A", 1): broken})))
    assert only(report, "chunk", "S2L2A", 1).field == "bands/1.0.0.0"


def test_another_array_of_a_sample(tmp_path: Path) -> None:
    """Cloud masks are looked at, too, though nobody asked for them."""
    cloud = np.zeros((4, 24, 24), np.uint8)
    masked = {("S2L2A", n): (lambda n=n: sample(n, "S2L2A", cloud=cloud)) for n in range(6)}
    sources = opened(write(tmp_path, masked))
    path = make.shard(tmp_path, "S2L2A", 1)
    content = path.read_bytes()
    archive = zipfile.ZipFile(path)  # the last zip in the tar
    info = archive.getinfo("cloud_mask/1.0.0")
    at = info.header_offset + 30 + len(info.filename)
    path.write_bytes(content[: at + 20] + bytes([content[at + 20] ^ 1]) + content[at + 21 :])
    report = found(sources)
    assert report.counts == {"crc": 2}  # by the scan of headers, and by the array's pixels
    assert {f.field for f in report.findings} == {"cloud_mask/1.0.0"}
    assert {f.modality for f in report.findings} == {"S2L2A", "S2L2A/cloud_mask"}


def test_a_storage_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = opened(write(tmp_path))
    source, read = sources["S1GRD"], Local.read
    rows = source.chunks(np.array([5]), np.ones((1, 4), bool)).rows

    class Failing(Local):
        def fetch(self, name: str, size: int, offset: int, *args: Any, **options: Any) -> None:
            self.bad = offset == int(rows[1]["offset"]) and "000002" in name
            super(Local, self).fetch(name, size, offset, *args, **options)

        def read(self, name: str, offset: int, out: memoryview) -> int:
            if getattr(self, "bad", False):
                raise OSError(errno.EIO, "input/output error")
            return read(self, name, offset, out)

    monkeypatch.setattr("fastload.storage.store.RETRIES_S", (0.0,))
    source.store = Failing(make.shard(tmp_path, "S1GRD").parent)
    assert only(found(sources), "storage", "S1GRD", 5).field == "bands/1.0.0.0"


# --- shards, keys, index


@pytest.mark.parametrize("damage", ["cut", "page"])
def test_shards_that_are_none(tmp_path: Path, damage: str) -> None:
    path = make.shard(write(tmp_path), "S1GRD", 2)
    if damage == "cut":
        os.truncate(path, 3000)
    else:
        path.write_bytes(b"<!DOCTYPE html><html>not found</html>")
    report = tmp_path / "r.json"
    assert main(["verify", str(tmp_path), "--quiet", "--json", str(report)]) == 1
    findings = json.loads(report.read_text())["findings"]
    [broken] = [f for f in findings if f["kind"] == "structure"]
    assert broken["shard"] == str(path)
    assert ("3000" if damage == "cut" else "page") in broken["found"]
    lacking = [f for f in findings if f["kind"] == "keys"]
    assert [f["member"] for f in lacking] == [f"{n:07d}" for n in (3, 4, 5)]
    assert len(findings) == 4


def test_nothing_can_be_opened(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = make.write(tmp_path, ["S2L2A"], per_shard=6)
    os.truncate(make.shard(root, "S2L2A"), 3000)
    assert main(["verify", str(root), "--quiet", "--json", str(tmp_path / "r.json")]) == 1
    assert "structure: S2L2A" in capsys.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["sound"] is False


def test_a_key_that_a_modality_lacks(tmp_path: Path) -> None:
    write(tmp_path)
    kept = {f"{n:07d}": sample(n, "S1GRD") for n in (3, 5)}
    make.write_tar(make.shard(tmp_path, "S1GRD", 2), kept)
    finding = only(found(opened(tmp_path)), "keys", "S1GRD", 4)
    assert finding.expected == "a sample in S1GRD"


def test_an_index_that_is_not_the_shards(tmp_path: Path) -> None:
    """The shard was written again behind an index that is in use."""
    sources = opened(write(tmp_path))
    moved = {f"{n:07d}": sample(n, "S1GRD", lon=10.0 + n + (n == 1)) for n in range(3)}
    make.write_tar(make.shard(tmp_path, "S1GRD", 1), moved)
    assert only(found(sources), "index", "S1GRD", 1).field == "lon"


# --- dates


def test_dates_that_do_not_ascend(tmp_path: Path) -> None:
    def swap(group: Any) -> None:
        group["time"][...] = group["time"][...][[1, 0, 2, 3]]

    root = write(tmp_path, {("S1GRD", 2): lambda: sample(2, "S1GRD", swap)})
    report = found(opened(root))
    assert report.counts == {"dates": 1, "agreement": 1}
    dates = next(f for f in report.findings if f.kind == "dates")
    assert dates.member == "0000002"
    assert "2020-04-07, 2020-01-07" in dates.found


def test_dates_that_disagree(tmp_path: Path) -> None:
    def later(group: Any) -> None:
        group["time"][...] = group["time"][...] + 60 * make.DAY

    root = write(tmp_path, {("S1GRD", 2): lambda: sample(2, "S1GRD", later)})
    finding = only(found(opened(root)), "agreement", "S1GRD", 2)
    assert "60 days" in finding.found


def test_unknown_dates(tmp_path: Path) -> None:
    def forget(group: Any) -> None:
        group["time"][2] = 0

    root = write(tmp_path, {("S2L2A", 2): lambda: sample(2, "S2L2A", forget)})
    assert only(found(opened(root)), "dates", "S2L2A", 2).expected == "a date for each timestamp"


def test_places_that_disagree(tmp_path: Path) -> None:
    root = write(tmp_path, {("S1GRD", 2): lambda: sample(2, "S1GRD", lat=50.5)})
    assert only(found(opened(root)), "agreement", "S1GRD", 2).field == "lon, lat"


def test_seasons_and_clouds(tmp_path: Path) -> None:
    def twice(group: Any) -> None:
        group["time"][1] = group["time"][0] + make.DAY

    cloud = np.zeros((4, 24, 24), np.uint8)
    cloud[3, :12] = 4
    wrong = {("S2L2A", n): (lambda n=n: sample(n, "S2L2A", cloud=cloud)) for n in range(1, 6)}
    wrong["S2L2A", 0] = lambda: sample(0, "S2L2A", twice, cloud=cloud)
    report = found({"S2L2A": opened(write(tmp_path, wrong))["S2L2A"]})
    facts = report.facts["S2L2A"]
    assert facts["seasons"]["one_date_in_each"] == pytest.approx(5 / 6)
    assert facts["seasons"]["dates"] == {"winter": 7, "spring": 5, "summer": 6, "autumn": 6}
    assert facts["clouds"]["mean"] == pytest.approx(0.5 / 4)


# --- pixels


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none(tmp_path: Path, value: float) -> None:
    bands = (make.pixels("x") / 100 - 30).astype(np.float16)
    bands[1, 2, 3, :5] = value
    report = found(opened(write(tmp_path, {("S1GRD", 3): lambda: sample(3, "S1GRD", bands=bands)})))
    finding = only(report, "not_finite", "S1GRD", 3)
    assert finding.found == ("5 NaN, 0 infinite" if np.isnan(value) else "0 NaN, 5 infinite")
    name = "nan" if np.isnan(value) else "infinite"
    assert report.facts["S1GRD"]["pixels"][name] == [0, 0, 5]


def test_a_date_without_data(tmp_path: Path) -> None:
    bands = make.pixels("x")
    bands[2] = 0
    bands[0, 0, 0, 0] = 0
    report = found(opened(write(tmp_path, {("S2L2A", 3): lambda: sample(3, "S2L2A", bands=bands)})))
    assert only(report, "no_data", "S2L2A", 3).field == "bands[2]"
    assert report.facts["S2L2A"]["pixels"]["no_data"] == [577, 576, 576]


@pytest.mark.parametrize(
    ("dn_offset", "named", "is_wrong"),
    [
        (0, "v1.1-webdataset", False),
        (1000, "v1.1-webdataset", True),
        (1000, "v1.1-zarr", False),
        (0, "v1.1-zarr", True),
    ],
)
def test_an_offset(tmp_path: Path, dn_offset: int, named: str, is_wrong: bool) -> None:
    root = synth(tmp_path, 3, modalities=["S2L2A"], size=32, dn_offset=dn_offset, workers=2)
    sources = fastload.open(root, modalities=["S2L2A"], progress=False).sources
    report = found(sources, statistics=statistics(named))
    assert report.counts == ({"offset": 1} if is_wrong else {})
    if is_wrong:
        text = str(report.findings[0])
        assert f"zero reflectance at {1000 - dn_offset} DN as statistics '{named}'" in text
        assert ("1000 DN were added" if dn_offset else "nothing were added") in text


# --- places


def test_overlapping_places(tmp_path: Path) -> None:
    """240 m a side, 120 m apart east: an IoU of a third."""
    east = float(np.degrees(120 / (radii(np.array([50.0]))[1][0] * np.cos(np.radians(50.0)))))
    near = {(m, 3): (lambda m=m: sample(3, m, lon=12.0 + east)) for m in BOTH}
    report = found(opened(write(tmp_path, near)))
    finding = only(report, "overlap", "S2L2A", 3)
    assert finding.expected == "a patch apart from 0000002"
    assert finding.found == "IoU 0.333"
    assert report.facts["S2L2A"]["overlap"]["pairs"] == 1
    far = found(opened(tmp_path), patch_metres=100)
    assert far.findings == []


@pytest.mark.parametrize("lat", [0.0, 47.0, -47.0, 80.0, 89.0])
@pytest.mark.parametrize("lon", [0.0, 180.0, -180.0, 179.9995])
@pytest.mark.parametrize("share", [0.25, 0.75])
def test_iou(lat: float, lon: float, share: float) -> None:
    """A step east along the parallel, by the radius of the parallel; on both sides of the
    antimeridian."""
    _, across = radii(np.array([lat]))
    step = np.degrees(share * 2640 / (across[0] * np.cos(np.radians(lat))))
    lons = (np.array([lon - step / 2, lon + step / 2]) + 180) % 360 - 180
    pairs = overlaps(lons, np.array([lat, lat]), 2640, 2640, 0.01)
    assert list(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == [(0, 1)]
    assert pairs.iou[0] == pytest.approx((1 - share) / (1 + share), abs=2e-3)


def test_iou_over_the_pole() -> None:
    """660 m on either side: a quarter of a patch apart from each other, seen along a meridian."""
    meridian, _ = radii(np.array([90.0]))
    lat = 90 - np.degrees(660 / meridian[0])
    pairs = overlaps(np.array([30.0, -150.0]), np.array([lat, lat]), 2640, 2640, 0.01)
    assert len(pairs.iou) == 1
    shared = max(0, 2640 - 1320 * np.sin(np.radians(30))) * (2640 - 1320 * np.cos(np.radians(30)))
    turned = max(0, 2640 - 1320) * 2640  # whichever way the plane's axes look
    assert min(shared, turned) / (2 * 2640**2) < pairs.iou[0] < 1


def test_pairs_are_all_pairs() -> None:
    """As each pair computed by itself, around places where degrees are odd."""
    rng = np.random.default_rng(0)
    centres = [(0.0, 0.0), (179.99, 10.0), (-179.99, -70.0), (20.0, 89.98)]
    lon = np.concatenate([c + rng.normal(0, 0.02, 40) * 90 / (90.01 - abs(d)) for c, d in centres])
    lat = np.concatenate([d + rng.normal(0, 0.01, 40) for _, d in centres])
    lon, lat = (lon + 180) % 360 - 180, np.clip(lat, -90, 90)
    pairs = overlaps(lon, lat, 2640, 1320, 0.0)
    found = set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True))
    a, b = np.triu_indices(len(lon), 1)
    dx, dy = _apart(lon, lat, a, b)
    near = (np.abs(dx) < 1320) & (np.abs(dy) < 2640) & (np.abs(lat[a] - lat[b]) < 1)
    assert found == set(zip(a[near].tolist(), b[near].tolist(), strict=True))
    assert len(found) > 50


def test_boxes_hold_their_patches() -> None:
    west, south, east, north = boxes(np.array([179.99]), np.array([60.0]), 2000.0, 4000.0)[0]
    meridian, across = radii(np.array([60.0]))
    assert np.radians(north - south) * meridian[0] == pytest.approx(2000)
    width = np.radians(east - west) * across[0] * np.cos(np.radians(60.0))
    assert 4000 <= width < 4020
    assert east > 180
    polar = boxes(np.array([0.0]), np.array([89.999]), 2640.0, 2640.0)[0]
    assert polar[[0, 2]].tolist() == [-180, 180]


def test_places_that_nobody_knows(tmp_path: Path) -> None:
    nowhere = {(m, n): (lambda m=m, n=n: sample(n, m, lon=np.nan, lat=np.nan))
               for m in BOTH for n in range(6)}  # fmt: skip
    report = found(opened(write(tmp_path, nowhere)))
    assert report.findings == []
    assert report.checks["overlap"] == "skipped: no place is known"


# --- workers, resuming, the command


@pytest.mark.slow
def test_processes_find_the_same(tmp_path: Path) -> None:
    bands = (make.pixels("x") / 100 - 30).astype(np.float16)
    bands[1, 2, 3, 4] = np.nan
    root = write(tmp_path, {("S1GRD", 3): lambda: sample(3, "S1GRD", bands=bands)})
    alone = found(opened(root))
    together = found(opened(root), workers=2, processes=True)
    assert alone.findings == together.findings
    assert json.dumps(alone.plain()) == json.dumps(together.plain())


def test_some_samples(tmp_path: Path) -> None:
    report = found(opened(write(tmp_path)), quick=2)
    assert [f["looked_at"] for f in report.facts.values()] == [2, 2]
    assert report.findings == []


SLOWLY = """
import sys
import fastload
from fastload.statistics import statistics
from fastload.verify import verify
from pathlib import Path
from tests.fastload.slow_store import Slow
sources = fastload.open(Slow(sys.argv[1], 0.02), modalities=["S2L2A"], progress=False).sources
verify(sources, statistics("v1.1-webdataset"), state=Path(sys.argv[2]))
"""


@pytest.mark.slow
def test_goes_on_after_a_kill(tmp_path: Path) -> None:
    keys = [f"{n:07d}" for n in range(96)]
    bands = make.pixels("x")
    bands[2] = 0

    def one(n: int, m: str) -> bytes:
        return sample(n, m, lat=0.3 * n - 40, bands=bands if n in (2, 90) else None)

    root, state = make.write(tmp_path / "d", ["S2L2A"], keys, 24, one), tmp_path / "state"
    child = nursery.python("-c", SLOWLY, root, state)
    give_up = time.monotonic() + 60
    while time.monotonic() < give_up and not _done(state) and child.poll() is None:
        time.sleep(0.01)
    child.send_signal(signal.SIGKILL)
    child.wait()
    done = _done(state)
    assert 0 < done < 4 + 6
    with state.open("a") as file:
        file.write('{"unit": "pixels/S2L2A/80", "resu')  # as a kill tears a line
    sources = fastload.open(root, modalities=["S2L2A"], progress=False).sources
    # Another way to the same files: what is verified is the same.
    sources["S2L2A"].store = Slow(make.shard(root, "S2L2A").parent, 0)
    report = found(sources, state=state)
    assert report.resumed >= done
    assert not state.exists()
    whole = found(sources)
    assert whole.resumed == 0
    assert report.findings == whole.findings
    assert report.facts == whole.facts
    assert report.counts == {"no_data": 2}


def _done(state: Path) -> int:
    return len(state.read_text().splitlines()) - 1 if state.exists() else 0


def test_a_state_of_something_else_is_begun_anew(tmp_path: Path) -> None:
    sources = opened(write(tmp_path / "d"))
    state = tmp_path / "state"
    state.write_text('{"digest": "other"}\n{"unit": "pixels/S2L2A/0", "result": {}}\n')
    assert found(sources, state=state).resumed == 0


def test_a_state_that_cannot_be_kept(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.warns(UserWarning, match="what is done cannot be kept"):
        report = found(opened(write(tmp_path / "d")), state=tmp_path / "file" / "state")
    assert report.findings == []


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")
    state = State(tmp_path / "state", "digest")
    state._file = full.open("w")
    with pytest.warns(UserWarning, match="No space left"):
        state.finished("a", {})
    state.finished("b", {})
    state.close(complete=True)
    assert set(state.done) == {"a", "b"}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write(tmp_path / "d")
    assert main(["verify", str(root), "--quiet", "--json", str(tmp_path / "r.json")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "sound: no findings"
    assert json.loads((tmp_path / "r.json").read_text())["sound"] is True


@pytest.mark.parametrize(
    "arguments",
    [["--quick", "0"], ["--workers", "0"], ["--statistics", "v9"], ["--layout", "tape"],
     ["--modality", "S9"]],
)  # fmt: skip
def test_arguments_that_do_not_fit(
    tmp_path: Path, arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    root = write(tmp_path)
    assert main(["verify", str(root), "--quiet", *arguments]) == 2
    assert capsys.readouterr().err.startswith("fastload verify: ")


def test_an_empty_place(tmp_path: Path) -> None:
    assert main(["verify", str(tmp_path), "--quiet"]) == 2


def test_sources_without_chunks() -> None:
    """What a layout outside of the package gives: no shards, no chunks, no known ground."""
    files = toys.arrays()
    source = npy(Memory("toy", files)).sources["toy"]
    report = found({"toy": source}, workers=2)
    assert report.findings == []
    assert report.checks["overlap"].startswith("skipped: the patches' size is unknown")
    files["004.npy"] = files["004.npy"][:-100]
    finding = found({"toy": source}, quick=9).findings[0]
    assert (finding.kind, finding.shard) == ("chunk", "memory://toy/004.npy")
    assert [f["looked_at"] for f in report.facts.values()] == [9]
