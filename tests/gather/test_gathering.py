"""Locations into shards: the same bytes whoever works, in whatever order, killed at any moment."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fastload.cli.interrupts import polite
from fastload.gather.fetch import manifest
from fastload.gather.fetch.again import Again
from fastload.gather.fetch.gathering import Fetched, Options, gather
from fastload.gather.fetch.location import Planned
from fastload.gather.patch import LEFT_OUT
from fastload.storage.errors import DataError
from fastload.storage.lock import alone
from tests.gather.makers import MODALITIES, WINDOWS, Archive, Places, first_fit

pytestmark = pytest.mark.timeout(280)
FORK = get_context("fork")
COUNT, EACH = 23, 5
ABSENT = [i for i in range(COUNT) if first_fit(i) is None]
TOLD = {"plan": "some", "service": {"name": "made"}}


def fetched(
    out: Path, archive: Archive, planned: Planned | None = None, say: Any = str, **options: Any
) -> Fetched:
    options = {"per_shard": EACH, "workers": 2, **options}
    planned = planned or Places(COUNT)
    return gather(planned, archive, out, MODALITIES, TOLD, Options(**options), say)


def tars(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.tar"))}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What one worker writes that nobody disturbs."""
    root = tmp_path_factory.mktemp("whole")
    done = fetched(root / "out", Archive(root), workers=1)
    assert done.counts.whole == COUNT - len(ABSENT)
    return tars(root / "out")


@pytest.fixture
def archive(tmp_path: Path) -> Archive:
    (tmp_path / "archive").mkdir()
    return Archive(tmp_path / "archive")


def test_shards_are_ranges_of_locations(whole: dict[str, bytes]) -> None:
    """All modalities have the same keys, those of whole locations, in order."""
    import io
    import tarfile

    for name in MODALITIES:
        for shard in range(-(-COUNT // EACH)):
            data = whole[f"train/{name}/ssl4eos12_shard_{shard + 1:06d}.tar"]
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                keys = [int(member.split(".")[0]) for member in tar.getnames()]
                first = tar.extractfile(tar.getmembers()[0])
                assert first is not None
                assert first.read() == Archive(Path()).sample(name, keys[0])
            numbers = range(shard * EACH, min(COUNT, (shard + 1) * EACH))
            assert keys == [i for i in numbers if i not in ABSENT]


@pytest.mark.parametrize(
    ("executor", "workers"),
    [("threads", 4), pytest.param("processes", 2, marks=pytest.mark.slow)],
)
def test_whoever_works_writes_the_same(
    executor: str, workers: int, tmp_path: Path, archive: Archive, whole: dict[str, bytes]
) -> None:
    fetched(tmp_path / "out", archive, executor=executor, workers=workers)
    assert tars(tmp_path / "out") == whole


@pytest.mark.slow
def test_a_dask_cluster_writes_the_same(
    tmp_path: Path, archive: Archive, whole: dict[str, bytes]
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=2, processes=True, dashboard_address=None,
        host="127.0.0.1", silence_logs=50,
    ) as cluster:  # fmt: skip
        fetched(tmp_path / "out", archive, executor=cluster.scheduler_address)
    assert tars(tmp_path / "out") == whole


def test_a_second_run_asks_for_nothing(tmp_path: Path, archive: Archive) -> None:
    out = tmp_path / "out"
    first = fetched(out, archive)
    before, log = {p: p.stat().st_mtime_ns for p in out.rglob("*") if p.is_file()}, archive.log()
    again = fetched(out, archive)
    assert (again.log.requests, again.log.decided, again.log.written) == (0, 0, 0)
    assert (again.counts, again.sizes, again.shards) == (first.counts, first.sizes, first.shards)
    assert archive.log() == log
    assert {p: p.stat().st_mtime_ns for p in before} == before
    assert not list((out / ".gather/parts").glob("*"))


# --- candidates ---


def test_the_next_candidate_is_tried_after_an_unfit_one(tmp_path: Path, archive: Archive) -> None:
    """Each of its own sequence; where none fits the location is absent, with the reasons."""
    done = fetched(tmp_path, archive)
    found = manifest.read(tmp_path)
    assert [o.location for o in found] == list(range(COUNT))
    for o in found:
        k = first_fit(o.location)
        assert o.attempt == (None if k is None else 2 * k)
        assert [f["attempt"] for f in o.failed] == [0, 2, 4][: 3 if k is None else k]
        assert [f["reason"] for f in o.failed] == ["no scene", "cloud", "cloud"][: len(o.failed)]
        searches = Counter(line.split()[0] for line in archive.log() if f" {o.location} " in line)
        assert searches == ({"search": 3} if k is None else {"search": k + 1, "read": 1})
    assert done.counts.absent == len(ABSENT)
    assert done.counts.reasons == {"no scene": len(ABSENT), "cloud": 2 * len(ABSENT)}


def test_the_manifest_says_what_was_taken(tmp_path: Path, archive: Archive) -> None:
    """Outcomes come back as they were; the file is GeoParquet."""
    import hashlib

    from pyarrow import parquet

    fetched(tmp_path, archive)
    one = manifest.read(tmp_path)[1]
    assert (one.attempt, one.lon, one.lat) == (4, 1 / 7 - 20, 50 - 1 / 9)
    assert (one.requests, one.bytes_read) == (3 + 4, 2 * archive.size)
    sample = archive.sample("S1RTC", 1)
    digest = hashlib.sha256(sample).hexdigest()
    assert one.sizes["S1RTC"] == {"bytes": len(sample), "sha256": digest}
    first, second = one.scenes["S2L2A"]
    assert first["time"] == "2021-03-10T10:20:30.250000000"
    assert first["hrefs"]["B02"] == "https://archive/S2L2A/1/0/B02.tif"
    assert (first["cloud"], second["cloud"], second["offset"]) == (None, 0.25, 1000)
    assert (first["crs"], first["cloud_patch"]) == (32633, 0.25)
    assert first["properties"] == {"tile": "33UTP", "sequence": None}
    table = parquet.read_table(tmp_path / manifest.FILE)
    assert json.loads(table.schema.metadata[b"geo"])["primary_column"] == "geometry"
    row = table.slice(1, 1).to_pylist()[0]
    assert np.frombuffer(row["geometry"][5:], "<f8").tolist() == [one.lon, one.lat]
    assert [w["start"].isoformat() for w in row["windows"]] == [str(w.start) for w in WINDOWS]
    assert row["state"] == "whole"


# --- trouble ---


def test_trouble_is_named_and_tried_again(
    tmp_path: Path, archive: Archive, whole: dict[str, bytes]
) -> None:
    """It is never taken for an unfit candidate; all else is done, and nothing of it twice."""
    archive.in_trouble(6, 20)
    done = fetched(tmp_path, archive)
    assert set(done.log.unfinished) == {6, 20}
    assert "https://archive/6.tif" in done.log.unfinished[6]
    assert "HTTP 503" in done.log.unfinished[6]
    assert (done.counts.open, done.shards) == (2, (3, 5))
    assert tars(tmp_path).items() <= whole.items()
    assert {o.location for o in manifest.read(tmp_path)} == {*range(COUNT)} - {6, 20}
    archive.in_trouble()
    before = len(archive.log())
    assert fetched(tmp_path, archive).counts.open == 0
    assert {int(line.split()[1]) for line in archive.log()[before:]} == {6, 20}
    assert tars(tmp_path) == whole


def test_an_archive_that_is_down_ends_it(tmp_path: Path, archive: Archive) -> None:
    archive.in_trouble(*range(3, 400))
    with pytest.raises(ConnectionError, match=r"locations in a row could not be fetched, the last"):
        fetched(tmp_path, archive, Places(400))
    assert len(archive.log()) < 100
    assert [o.location for o in manifest.read(tmp_path)] == [0, 1, 2]


def test_many_damaged_files_do_not_end_it(tmp_path: Path, archive: Archive) -> None:
    """They are each location's own affair, and all are named."""
    archive.in_trouble(*range(3, 80), kind="damaged")
    done = fetched(tmp_path, archive, Places(80))
    assert set(done.log.unfinished) == {*range(3, 80)}
    assert "3.tif at byte 7: a block cannot be decoded" in done.log.unfinished[3]


def test_locations_may_be_given_up(
    tmp_path: Path, archive: Archive, whole: dict[str, bytes]
) -> None:
    archive.in_trouble(6)
    assert fetched(tmp_path, archive).counts.open == 1
    done = fetched(tmp_path, archive, leave_out=[6, 7])
    assert (done.counts.open, done.counts.absent) == (0, len(ABSENT) + 1)  # 7 was there
    assert manifest.read(tmp_path)[6].failed[0]["reason"] == LEFT_OUT
    differ = [name for name, data in tars(tmp_path).items() if data != whole[name]]
    assert differ == [f"train/{name}/ssl4eos12_shard_000002.tar" for name in sorted(MODALITIES)]
    with pytest.raises(ValueError, match="leave_out: locations are 0 to 22, got 23"):
        fetched(tmp_path, archive, leave_out=[23])


# --- killed ---


def slowly(root: Path) -> None:
    fetched(root / "out", Archive(root, seconds=0.01), workers=3)


def test_killed_at_any_moment_it_goes_on(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """kill -9, again and again; what is there is whole each time, and in the end every byte is that
    of a run that nobody killed. What was decided is not fetched again."""
    rng, out = random.Random(5), tmp_path / "out"
    for _ in range(6):
        child = FORK.Process(target=slowly, args=(tmp_path,))
        child.start()
        time.sleep(rng.uniform(0.03, 0.12))
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        child.join()
        assert tars(out).items() <= whole.items()
    slowly(tmp_path)
    assert tars(out) == whole
    reads = Counter(line for line in Archive(tmp_path).log() if line.startswith("read"))
    assert set(reads) == {f"read {i} {first_fit(i)}" for i in range(COUNT) if i not in ABSENT}
    assert sum(reads.values()) - len(reads) <= 6 * 3  # what was in flight at each kill
    assert not [p for p in out.rglob("*") if p.name.endswith(".part")]


def politely(root: Path) -> None:
    """As the command does it."""
    try:
        with polite():
            slowly(root)
    except KeyboardInterrupt:
        sys.exit(130)


def test_an_interrupt_finishes_what_is_in_flight(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """Ctrl-C and SIGTERM; the next run goes on, and nothing is read twice."""
    for number in (signal.SIGINT, signal.SIGTERM):
        before = len(Archive(tmp_path).log())
        child = FORK.Process(target=politely, args=(tmp_path,))
        child.start()
        while len(Archive(tmp_path).log()) < before + 4:
            time.sleep(0.005)
        assert child.pid is not None
        os.kill(child.pid, number)
        child.join(30)
        assert child.exitcode == 130
        assert len(manifest.read(tmp_path / "out")) < COUNT
    slowly(tmp_path)
    reads = Counter(line for line in Archive(tmp_path).log() if line.startswith("read"))
    assert set(reads.values()) == {1}
    assert tars(tmp_path / "out") == whole


# --- what lies in the folder ---


def test_other_settings_are_refused(tmp_path: Path, archive: Archive) -> None:
    fetched(tmp_path, archive)
    before = tars(tmp_path)
    said = r"is gathered otherwise: locations_per_shard is 5, asked for 6\. Choose another folder"
    with pytest.raises(FileExistsError, match=said):
        fetched(tmp_path, archive, per_shard=6)
    with pytest.raises(FileExistsError, match="plan is 'some', asked for 'other'"):
        gather(Places(COUNT), archive, tmp_path, MODALITIES, TOLD | {"plan": "other"},
               Options(per_shard=EACH), str)  # fmt: skip
    (tmp_path / "gather.json").unlink()
    with pytest.raises(FileExistsError, match=r"ssl4eos12_shard_000001.tar exists, but no"):
        fetched(tmp_path, archive)
    assert tars(tmp_path) == before


def test_other_libraries_are_told(tmp_path: Path, archive: Archive) -> None:
    fetched(tmp_path, archive)
    path, said = tmp_path / "gather.json", list[str]()
    told = json.loads(path.read_text())
    told["versions"][0]["numpy"] = "1.0"
    path.write_text(json.dumps(told))
    fetched(tmp_path, archive, say=said.append)
    assert "was begun with other libraries: numpy is '1.0'" in said[0]
    assert len(json.loads(path.read_text())["versions"]) == 2
    fetched(tmp_path, archive, say=said.append)
    assert len(said) == 1


def test_another_process_in_the_folder_is_refused(tmp_path: Path, archive: Archive) -> None:
    (tmp_path / ".gather").mkdir()
    with (
        alone(tmp_path / ".gather/lock", "gathers"),
        pytest.raises(FileExistsError, match="another process gathers here"),
    ):
        fetched(tmp_path, archive)
    assert archive.log() == []


def test_a_tar_that_is_gone_is_fetched_again(
    tmp_path: Path, archive: Archive, whole: dict[str, bytes]
) -> None:
    fetched(tmp_path, archive)
    (tmp_path / "train/S1RTC/ssl4eos12_shard_000002.tar").unlink()
    before, said = len(archive.log()), list[str]()
    fetched(tmp_path, archive, say=said.append)
    assert "shard_000002.tar is not what was written; its shard is fetched again" in said[0]
    assert {int(line.split()[1]) for line in archive.log()[before:]} == {*range(5, 10)}
    assert tars(tmp_path) == whole


def test_a_kept_sample_that_was_damaged_is_fetched_again(
    tmp_path: Path, archive: Archive, whole: dict[str, bytes]
) -> None:
    archive.in_trouble(2)
    fetched(tmp_path, archive)
    archive.in_trouble()
    path = tmp_path / ".gather/parts/000001/0000001.zip"
    data = bytearray(path.read_bytes())
    data[-2000] ^= 1
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"0000001.zip: was damaged since it was kept"):
        fetched(tmp_path, archive)
    assert fetched(tmp_path, archive).counts.open == 0
    assert tars(tmp_path) == whole


def test_a_shard_without_samples_has_no_tar(tmp_path: Path, archive: Archive) -> None:
    done = fetched(tmp_path, archive, Places(5), per_shard=1)
    assert len(tars(tmp_path)) == 4 * len(MODALITIES)
    assert done.shards == (5, 5)
    before = archive.log()
    fetched(tmp_path, archive, Places(5), per_shard=1)
    assert archive.log() == before


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 100 kB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100k", "tmpfs", str(folder)],
                          capture_output=True, check=False)  # fmt: skip
    if done.returncode:
        pytest.skip("needs the right to mount a small file system")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_is_a_sentence(
    small_disk: Path, archive: Archive, whole: dict[str, bytes]
) -> None:
    with pytest.raises(OSError, match=r"the disk is full; \d+ of 23 locations are done and stay"):
        fetched(small_disk, archive)
    assert tars(small_disk).items() <= whole.items()
    subprocess.run(["mount", "-o", "remount,size=4m", str(small_disk)], check=True)
    fetched(small_disk, archive)
    assert tars(small_disk) == whole


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"workers": 0}, "workers must be 1 or more, got 0"),
        ({"per_shard": 0}, "per_shard must be 1 or more, got 0"),
        ({"split": "../up"}, "split must be a plain folder name"),
        ({"executor": "fibres"}, "executor must be 'processes', 'threads' or the address"),
    ],
)
def test_options_that_make_no_sense(
    options: dict[str, Any], sentence: str, tmp_path: Path, archive: Archive
) -> None:
    with pytest.raises(ValueError, match=sentence):
        fetched(tmp_path, archive, **options)


# --- again ---


def test_a_manifest_is_fetched_again_without_a_search(
    tmp_path: Path, archive: Archive, whole: dict[str, bytes]
) -> None:
    fetched(tmp_path / "first", archive)
    before = len(archive.log())
    again = Again(tmp_path / "first")
    fetched(tmp_path / "second", archive, again, executor="threads")
    assert {line.split()[0] for line in archive.log()[before:]} == {"read"}
    assert tars(tmp_path / "second") == whole
    first, second = (manifest.read(tmp_path / name) for name in ("first", "second"))
    assert [o.failed for o in first] == [o.failed for o in second]
    assert [o.scenes for o in first] == [o.scenes for o in second]
    assert [o.sizes for o in first] == [o.sizes for o in second]


def test_what_is_no_whole_manifest_is_refused(tmp_path: Path, archive: Archive) -> None:
    with pytest.raises(FileNotFoundError):
        Again(tmp_path / "nothing.parquet")
    (tmp_path / "x.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"x.parquet: expected a manifest that `fetch` wrote"):
        Again(tmp_path / "x.parquet")
    archive.in_trouble(1)
    fetched(tmp_path / "out", archive)
    with pytest.raises(ValueError, match="1 locations are open; expected all to be decided"):
        Again(tmp_path / "out")
