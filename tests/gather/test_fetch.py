"""The command on a stand of real servers: COGs behind nginx, a catalogue, and what goes wrong."""

import json
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from fastload import SSL4EOS12
from fastload.cli import main
from fastload.gather.fetch import manifest
from fastload.gather.plan import plan_file
from tests.gather import archive as made
from tests.gather.archive import S1, S2, Archive, Shot, Tile
from tests.gather.stac import Api, rustac
from tests.remote import servers
from tests.remote.servers import Faulty

pytestmark = pytest.mark.timeout(280)
TILE = Tile("33UVP", 32633, 15.0, 48.0, 420)
SHOTS = [Shot("2021-03-20T10:10:31"), Shot("2021-06-20T10:10:31", number=1, baseline="05.00")]
PLACES = [(15.0, 48.0), (15.004, 48.001), (15.5, 48.0), (14.996, 47.999)]
"""Of which the third lies far from the tile."""
MODALITIES = ("S2L2A", "S1RTC")


class Stand(NamedTuple):
    """What is fetched, and how."""

    archive: Archive
    plan: Path
    folder: Path

    def service(self, catalogue: str, **more: Any) -> str:
        """A file that describes the service."""
        bands = {band: name for band, (name, _) in made.ASSETS.items()} | {"SCL": "scl"}
        told = {
            "name": "made", "url": catalogue,
            "modalities": {
                "S2L2A": {"collection": S2, "bands": bands},
                "S1RTC": {"collection": S1, "bands": {"vv": "vv", "vh": "vh"}},
            },
            **more,
        }  # fmt: skip
        path = self.folder / "service.json"
        path.write_text(json.dumps(told))
        return str(path)

    def items(self, base: str) -> list[dict[str, Any]]:
        """All items, their files below another address."""
        text = json.dumps([item for some in self.archive.items.values() for item in some])
        found: list[dict[str, Any]] = json.loads(text.replace(self.archive.base, base))
        return found


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Stand:
    folder = tmp_path_factory.mktemp("stand")
    archive = made.make(folder / "cogs", tiles=[TILE], shots=SHOTS, collections=[S2, S1])
    places = folder / "places.csv"
    places.write_text("lon,lat\n" + "".join(f"{lon},{lat}\n" for lon, lat in PLACES))
    plan = folder / "plan.parquet"
    words = ["--law", "csv", "--places", str(places), "--dates", "generalised", "--quiet"]
    assert main(["gather", "plan", str(plan), *words]) == 0
    return Stand(archive, _two_dates(plan), folder)


def _two_dates(path: Path) -> Path:
    """The plan with its first two windows alone, so that there is less to make."""
    plan = plan_file.read(path)
    plan_file.write(replace(plan, days=plan.days[:, :, :2]), path)
    return path


@pytest.fixture(scope="module")
def files(stand: Stand, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The URL of nginx over the COGs, and its log."""
    scratch = tmp_path_factory.mktemp("nginx")
    with servers.nginx(stand.archive.folder, scratch) as url:
        yield url, scratch / "access"


@pytest.fixture(scope="module")
def catalogue(stand: Stand, files: tuple[str, Path]) -> Iterator[Api]:
    with Api(stand.items(files[0]), ()) as api:
        yield api


def fetch(stand: Stand, out: Path, url: str, *more: str) -> int:
    line = ["gather", "fetch", str(stand.plan), str(out), "--service", stand.service(url)]
    return main([*line, "--modalities", *MODALITIES, "--quiet", "--workers", "2", *more])


def tars(out: Path) -> dict[str, bytes]:
    return {str(p.relative_to(out)): p.read_bytes() for p in sorted(out.rglob("*.tar"))}


@pytest.fixture(scope="module")
def whole(stand: Stand, catalogue: Api, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the command writes where nothing goes wrong."""
    out = tmp_path_factory.mktemp("whole")
    assert fetch(stand, out, catalogue.url) == 0
    return out


def test_pixels_are_the_archives(whole: Path, stand: Stand) -> None:
    """By the loader's class: native pixels of each date, zero reflectance at 0, keys joined."""
    dataset = SSL4EOS12(whole, modalities=MODALITIES, progress=False)
    assert dataset.keys.tolist() == ["0000000", "0000001", "0000003"]
    outcomes = manifest.read(whole)
    assert [o.failed[0]["reason"] for o in outcomes if o.attempt is None] == ["no scene"]
    for row, i in enumerate((0, 1, 3)):
        told = outcomes[i].scenes["S2L2A"]
        assert [t["time"][:10] for t in told] == ["2021-03-20", "2021-06-20"]
        assert [t["offset"] for t in told] == [0, 1000]
        x, y = made.corners(told[0]["transform"][2], told[0]["transform"][5])
        pixels = dataset.read("S2L2A", row)
        for band, name in enumerate(made.ASSETS):
            for t in (0, 1):
                expected = made.truth(name, x, y, t)
                np.testing.assert_array_equal(pixels[t, band], expected, err_msg=name)


def test_the_report_of_it(whole: Path, stand: Stand, tmp_path: Path) -> None:
    """Three of four places, which share ground, and one without a scene."""
    page = tmp_path / "report.html"
    words = [str(whole), "--plan", str(stand.plan), "--html", str(page)]
    assert main(["gather", "report", *words]) == 0
    found = json.loads(page.with_suffix(".json").read_text())
    about, pixels = found["gathered"], found["pixels"]["modalities"]
    assert [about[name] for name in ("asked", "whole", "absent", "open")] == [4, 3, 1, 0]
    assert about["failures"]["reasons"] == {"no scene": 1}
    assert about["overlaps"]["pairs"] == 3
    scenes = [s for s in about["scenes"] if s["modality"] == "S2L2A"]
    assert sorted((s["offset"], s["scenes"]) for s in scenes) == [(0, 3), (1000, 3)]
    assert about["dates"]["S2L2A"]["months"]["2021-06"] == 3
    dataset = SSL4EOS12(whole, modalities=["S2L2A"], progress=False)
    values = np.stack([dataset.read("S2L2A", i) for i in range(3)])[:, :, 3]
    assert pixels["S2L2A"]["bands"][3]["mean"] == pytest.approx(values[values != 0].mean())
    assert set(pixels) == set(MODALITIES)
    assert page.read_text().count("<img") == 6


def test_a_second_run_makes_no_request(
    whole: Path, stand: Stand, catalogue: Api, files: tuple[str, Path], capsys: Any
) -> None:
    before, log = len(catalogue.asked), files[1].read_bytes()
    assert fetch(stand, whole, catalogue.url) == 0
    assert len(catalogue.asked) == before
    assert files[1].read_bytes() == log
    assert "this run: 0 locations" in (out := capsys.readouterr().out)
    assert "3 locations are whole, 1 absent (candidates: 1 no scene), 0 open" in out


def test_it_is_fetched_again_without_the_catalogue(
    whole: Path, stand: Stand, catalogue: Api, tmp_path: Path
) -> None:
    before = len(catalogue.asked)
    line = ["gather", "fetch", "--again", str(whole / "manifest.parquet"), str(tmp_path / "out")]
    assert main([*line, "--service", stand.service(catalogue.url), "--quiet"]) == 0
    assert len(catalogue.asked) == before
    assert tars(tmp_path / "out") == tars(whole)


def test_files_in_a_bucket_are_read_as_the_service_says(
    whole: Path, stand: Stand, files: tuple[str, Path], tmp_path: Path
) -> None:
    """Of an endpoint of its own, without keys: nginx is asked for a bucket that is a folder."""
    options = {"endpoint": files[0].rstrip("/"), "anonymous": True, "region": "default"}
    folders = {path.name for path in stand.archive.folder.iterdir() if path.is_dir()}
    with Api(stand.items("s3:/"), ()) as api:
        hrefs = [a["href"] for item in stand.items("s3:/") for a in item["assets"].values()]
        assert {href.split("/")[2] for href in hrefs} <= folders
        service = stand.service(api.url, options=options)
        line = ["gather", "fetch", str(stand.plan), str(tmp_path), "--service", service, "--quiet"]
        assert main([*line, "--modalities", *MODALITIES]) == 0
    assert tars(tmp_path) == tars(whole)


# --- on the wire ---

Harm = Callable[[Faulty, socket.socket, str, dict[str, str]], None]


def busy(server: Faulty, wire: socket.socket, path: str, headers: dict[str, str]) -> None:
    server.say(wire, 503, b"", "Retry-After: 0\r\n")


def reset(server: Faulty, wire: socket.socket, path: str, headers: dict[str, str]) -> None:
    wire.shutdown(socket.SHUT_RDWR)


def short(server: Faulty, wire: socket.socket, path: str, headers: dict[str, str]) -> None:
    server.serve(wire, path, headers, cut=100)


def other(server: Faulty, wire: socket.socket, path: str, headers: dict[str, str]) -> None:
    server.serve(wire, path, headers, span="bytes 7-106/100000")


HARMS: dict[str, tuple[Harm, str]] = {
    "busy": (busy, "the server answers HTTP 503"),
    "reset": (reset, "the connection failed|the answer ended"),
    "short": (short, "the answer ended after"),
    "other": (other, "asked for bytes .* the server sends bytes 7-106"),
}


@pytest.fixture
def harmful(stand: Stand) -> Iterator[Callable[[Any], Faulty]]:
    """Makes servers of the COGs that misbehave."""
    paths = list(stand.archive.folder.rglob("*.tif"))
    content = {p.relative_to(stand.archive.folder).as_posix(): p.read_bytes() for p in paths}
    started: list[Faulty] = []

    def start(behave: Any) -> Faulty:
        started.append(Faulty(content, behave))
        return started[-1]

    yield start
    for server in started:
        server.close()


def test_faults_of_all_kinds_are_asked_again(
    stand: Stand, whole: Path, harmful: Callable[[Any], Faulty], tmp_path: Path
) -> None:
    """The first request for each of four bands in turn; the bytes are those of a calm day."""
    seen = Counter[str]()
    victims = dict(zip(("B02.tif", "B03.tif", "vv.tif", "SCL.tif"), HARMS.values(), strict=True))

    def behave(server: Faulty, wire: Any, path: str, headers: Any, number: int) -> bool:
        name = Path(path).name
        seen[path] += 1
        if name not in victims or seen[path] > 1:
            return False
        victims[name][0](server, wire, path, headers)
        return True

    server = harmful(behave)
    with Api(stand.items(server.url), ()) as api:
        assert fetch(stand, tmp_path, api.url) == 0
    assert tars(tmp_path) == tars(whole)


def test_faults_that_last_are_named(
    stand: Stand, whole: Path, harmful: Callable[[Any], Faulty], tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """They are no reason for another candidate, and leave all locations open but the absent one."""
    harms: list[Harm] = []

    def behave(server: Faulty, wire: Any, path: str, headers: Any, number: int) -> bool:
        if harms and path.endswith("B8A.tif"):
            harms[0](server, wire, path, headers)
            return True
        return False

    with Api(stand.items(harmful(behave).url), ()) as api:
        for harm, sentence in HARMS.values():
            harms[:] = [harm]
            assert fetch(stand, tmp_path, api.url, "--tries", "2") == 1
            said = capsys.readouterr()
            assert "0 locations are whole, 1 absent (candidates: 1 no scene), 3 open" in said.out
            assert "3 locations could not be fetched; the same command tries them again" in said.err
            assert "B8A.tif" in said.err
            assert re.search(sentence, said.err)
            assert "asked 2 times" in said.err
            assert not tars(tmp_path)
        harms.clear()
        searched = len(api.asked)
        assert fetch(stand, tmp_path, api.url) == 0
        assert len(api.asked) - searched <= 2 + 3 * 4  # the absent one is not looked for again
    assert tars(tmp_path) == tars(whole)


def test_a_catalogue_that_is_down_is_named(
    stand: Stand, catalogue: Api, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not even the absent location is absent then."""
    down = servers.free_port()
    words = ("--tries", "1")
    assert fetch(stand, tmp_path, f"http://127.0.0.1:{down}", *words) == 1
    said = capsys.readouterr()
    assert "0 locations are whole, 0 absent, 4 open" in said.out
    assert f"http://127.0.0.1:{down}" in said.err


# --- the command ---


def test_the_rate_is_kept(stand: Stand, catalogue: Api, tmp_path: Path) -> None:
    """By catalogue and files together."""
    plan = plan_file.read(stand.plan)
    one = {name: getattr(plan, name)[:1] for name in ("attempt", "lon7", "lat7", "city", "days")}
    plan_file.write(replace(plan, **one), tmp_path / "plan.parquet")
    start, less = time.monotonic(), stand._replace(plan=tmp_path / "plan.parquet")
    assert fetch(less, tmp_path / "out", catalogue.url, "--rate", "60") == 0
    took, [outcome] = time.monotonic() - start, manifest.read(tmp_path / "out")
    assert outcome.requests > 40
    assert took >= (outcome.requests - 1) / 60


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--modalities", "S2L1C"), "made has no S2L1C, expected one of S2L2A, S1RTC"),
        (("--rate", "-1"), "rate must be 0 or more requests a second, got -1.0"),
        (("--max-cloud", "20"), "cloud must be above 0 and at most 1, got 20.0"),
        (("--service", "nowhere"), "service 'nowhere': expected one of"),
        (("--workers", "0"), "workers must be 1 or more, got 0"),
    ],
)
def test_arguments_that_make_no_sense(
    words: tuple[str, ...], sentence: str, stand: Stand, tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    assert fetch(stand, tmp_path, "http://127.0.0.1:9", *words) == 1
    assert sentence in capsys.readouterr().err
    assert not tars(tmp_path)


def test_a_manifest_is_no_plan(
    whole: Path, stand: Stand, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(whole / "manifest.parquet", tmp_path / "plan.parquet")
    other = stand._replace(plan=tmp_path / "plan.parquet")
    assert fetch(other, tmp_path / "out", "http://127.0.0.1:9") == 1
    assert "--again" in capsys.readouterr().err


# --- from nothing to training ---


@pytest.mark.slow
def test_plan_fetch_and_train(
    stand: Stand, files: tuple[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twelve locations of a polygon that the archive covers in part, by `rustac serve`."""
    from ssl4eo_train.__main__ import main as train
    from tests.ssl4eo_train.runs import losses, words

    ring = [[14.99, 47.995], [15.03, 47.995], [15.03, 48.005], [14.99, 48.005], [14.99, 47.995]]
    area = tmp_path / "area.geojson"
    area.write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    plan, out = tmp_path / "plan.parquet", tmp_path / "out"
    asked = ["--law", "polygons", "--places", str(area), "--locations", "12", "--candidates", "3"]
    asked += ["--no-apart", "--dates", "generalised", "--seed", "1", "--quiet"]
    assert main(["gather", "plan", str(plan), *asked]) == 0
    _two_dates(plan)
    with rustac(stand.items(files[0]), tmp_path) as url:
        assert fetch(stand._replace(plan=plan), out, url, "--locations-per-shard", "5") == 0
    outcomes = manifest.read(out)
    fit = [o for o in outcomes if o.attempt is not None]
    assert len(outcomes) == 12
    assert any(o.failed for o in fit), "some location takes a later candidate"
    more = ("--steps", "5", "--image-size", "32", "--modality", "S2L2A", "--batch-size", "2")
    assert train(words(tmp_path / "run", *more, data=out)) == 0
    assert [step for step, loss in losses(tmp_path / "run") if np.isfinite(loss)] == [1, 2, 3, 4, 5]
