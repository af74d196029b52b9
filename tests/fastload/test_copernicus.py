"""Copernicus-Pretrain: cells and patches as samples, their dates, and what damage does."""

import json
import os
import tarfile
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch.utils.data import default_collate

import fastload
from fastload import SSL4EOS12, DataError, DataLoader, Radiometry, Recipe, View
from fastload.cli import main
from fastload.datasets.copernicus import CopernicusPretrain
from fastload.profile import Stages
from fastload.storage.dates import NO_TIME
from fastload.storage.index import FILE
from fastload.storage.store import Local, Ranges
from fastload.verify.pixels import check_block
from tests.fastload import cellmaker
from tests.fastload.cellmaker import CELLS, Cell
from tests.fastload.made import assert_like_torch

pytestmark = pytest.mark.timeout(300)
ALL = list(cellmaker.FULL)
SMALL = ("s2_toa", "dem")


def opened(root: Any, *args: Any, **options: Any) -> CopernicusPretrain:
    data = CopernicusPretrain(root, *args, progress=False, **options)
    data.set_epoch(0)
    return data


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The made cells; do not write there."""
    found = cellmaker.write(tmp_path_factory.mktemp("copernicus"))
    opened(found)
    return found


@pytest.fixture(scope="module")
def loaded(root: Path) -> dict[str, dict[str, Any]]:
    return cellmaker.loaded(root)


def days(time: NDArray[np.int64]) -> list[str]:
    """Dates as paths have them."""
    return [str(d).replace("-", "") for d in time.view("M8[ns]").astype("M8[D]")]


# --- samples and their dates ---


@pytest.mark.parametrize("name", ALL)
def test_a_cells_timestamps_are_all_images_of_all_patches(
    root: Path, loaded: dict[str, dict[str, Any]], name: str
) -> None:
    data = opened(root, None, name, columns=["cell"])
    assert data.keys.tolist() == [cell.key for cell in CELLS]
    for i, cell in enumerate(CELLS):
        pixels = cellmaker.numpy(loaded[cell.key][name])
        pixels = pixels.reshape(-1, cellmaker.FULL[name], *cellmaker.SIZES[name])
        real = min(cell.dates, cellmaker.FULL[name])
        count = pixels.shape[0] * real
        expected = pixels[:, :real].reshape(count, *pixels.shape[2:])
        assert data.all_dates[i] == count
        assert data.read(name, i)[:count].tobytes() == expected.tobytes()
        assert data.read(name, i, [count - 1]).tobytes() == expected[-1].tobytes()
        assert (data.times(i)[count:] == NO_TIME).all()
        if name != "dem":
            assert days(data.times(i)[:count]) == [
                cellmaker.day(name, t) for _ in range(pixels.shape[0]) for t in range(real)
            ]
        assert data[i]["cell"] == cell.key
        lon, lat = map(float, cellmaker.place(cell.key).split("_")[1:])
        assert (data.lon[i], data.lat[i]) == (lon, lat)


def test_each_patch_is_a_sample_with_its_own_dates(
    root: Path, loaded: dict[str, dict[str, Any]]
) -> None:
    data = opened(root, None, ALL, patches="each", columns=["cell", "patch"])
    wanted = [(cell, p) for cell in CELLS for p in range(cell.patches)]
    names = [cellmaker.patch(cell.key, p) for cell, p in wanted]
    expected = [f"{cell.key}/{n.split('_')[0]}" for (cell, _), n in zip(wanted, names, strict=True)]
    assert data.keys.tolist() == expected
    assert data.timestamps == 4
    for i, (cell, p) in enumerate(wanted):
        real = min(cell.dates, 4)
        assert data.all_dates[i] == real
        for name in cellmaker.LOCAL:
            pixels = cellmaker.numpy(loaded[cell.key][name])[p, :real]
            assert data.read(name, i)[:real].tobytes() == pixels.tobytes()
        dem = loaded[cell.key]["dem"].numpy()
        assert data.read("dem", i).tobytes() == dem.tobytes()
        item = data[i]
        assert (item["cell"], item["patch"]) == (cell.key, names[i])
        assert (data.lon[i], data.lat[i]) == tuple(map(float, names[i].split("_")[1:]))


@pytest.mark.parametrize("patches", ["any", "each"])
def test_further_modalities_show_their_image_nearest_in_time(
    root: Path, loaded: dict[str, dict[str, Any]], patches: Any
) -> None:
    data = opened(root, None, ["s2_toa", "s3_olci", "s5p_co", "dem"], patches=patches)
    for i in range(len(data)):
        key = data.keys[i].split("/")[0]
        cell = next(cell for cell in CELLS if cell.key == key)
        for name in ("s3_olci", "s5p_co"):
            real = min(cell.dates, cellmaker.FULL[name])
            theirs = np.array([cellmaker.day(name, t) for t in range(real)], int)
            stored = loaded[key][name].numpy()
            for t in range(int(data.all_dates[i])):
                mine = _day_number(days(data.times(i)[t : t + 1])[0])
                gaps = [abs(_day_number(str(d)) - mine) for d in theirs]
                nearest = int(np.argmin(gaps))
                assert data.read(name, i, [t])[0].tobytes() == stored[nearest].tobytes()
                row = data.row_of(name, i)
                found = data.sources[name].columns.time[row, t : t + 1]
                assert days(found) == [str(theirs[nearest])]
        assert data.modalities["dem"].timestamps == 1


def _day_number(day: str) -> int:
    return int(np.datetime64(f"{day[:4]}-{day[4:6]}-{day[6:]}").astype(int))


def test_without_alignment_all_is_as_it_is_stored(root: Path) -> None:
    data = opened(root, None, ["s2_toa", "s3_olci"], align=None)
    assert (data.modalities["s2_toa"].timestamps, data.modalities["s3_olci"].timestamps) == (12, 4)
    with pytest.raises(ValueError, match="timestamp"):
        opened(root, None, ["s2_toa", "s3_olci"], RECIPE, align=None)


def test_repeats_can_be_kept(root: Path, loaded: dict[str, dict[str, Any]]) -> None:
    data = opened(root, repeats="keep")
    assert data.all_dates.tolist() == [4 * cell.patches for cell in CELLS]
    short = next(i for i, cell in enumerate(CELLS) if cell.dates == 3)
    stored = loaded[CELLS[short].key]["s2_toa"].numpy().reshape(-1, *cellmaker.SIZES["s2_toa"])
    assert data.read("s2_toa", short)[:4].tobytes() == stored.tobytes()
    assert (data.read("s2_toa", short, [0]) == data.read("s2_toa", short, [3])).all()


def test_patches_of_two_modalities_go_together_by_their_names(tmp_path: Path) -> None:
    """Not by their order; a patch that one of them lacks is left out."""
    cell, other = Cell("0000001", 3, modalities=cellmaker.LOCAL), Cell("0000002", 2)
    files = cellmaker.members(cell)
    s1 = cellmaker.tensor(cell, "s1_grd")
    files["0000001.s1_grd.pth"] = cellmaker.pth(s1[[2, 0]])
    text = json.loads(files["0000001.json"])
    text["s1_grd"] = [text["s1_grd"][2], text["s1_grd"][0]]
    files["0000001.json"] = json.dumps(text).encode()
    cellmaker.write_tar(tmp_path / "example-000000.tar", [*files.items()])
    s2 = cellmaker.tensor(cell, "s2_toa")
    both = opened(tmp_path, None, ["s2_toa", "s1_grd"])
    assert both.all_dates.tolist() == [8]
    assert (both.read("s2_toa", 0) == s2[[0, 2]].flatten(0, 1).numpy()).all()
    assert (both.read("s1_grd", 0) == s1[[0, 2]].flatten(0, 1).numpy()).all()
    with pytest.raises(ValueError, match=r"s1_grd lacks 1 of 3 keys, such as 0000001/0000101"):
        opened(tmp_path, None, ["s2_toa", "s1_grd"], patches="each")
    each = opened(tmp_path, None, ["s1_grd", "s2_toa"], patches="each", missing="drop")
    assert each.keys.tolist() == ["0000001/0000102", "0000001/0000100"]
    for i, p in enumerate((2, 0)):
        assert (each.read("s1_grd", i) == s1[p].numpy()).all()
        assert (each.read("s2_toa", i) == s2[p].numpy()).all()
    del other


def test_cells_that_lack_a_modality(tmp_path: Path) -> None:
    cells = [Cell("0000001", 1), Cell("0000002", 1, modalities=("s2_toa",)), Cell("0000003", 2)]
    cellmaker.write(tmp_path, cells)
    assert len(opened(tmp_path)) == 3
    with pytest.raises(ValueError, match="dem lacks 1 of 3 keys, such as 0000002"):
        opened(tmp_path, None, SMALL)
    data = opened(tmp_path, None, SMALL, missing="drop")
    assert data.keys.tolist() == ["0000001", "0000003"]
    each = opened(tmp_path, None, SMALL, missing="drop", patches="each")
    assert [key[:7] for key in each.keys] == ["0000001", "0000003", "0000003"]
    dem = cellmaker.tensor(cells[2], "dem").numpy()
    assert (each.read("dem", 2)[0, 0] == dem).all()


def test_what_the_json_says_besides_is_kept(tmp_path: Path) -> None:
    """As text; modalities without a json have no dates and their patches are numbers."""
    more = {"licence": "CC-BY", "made": {"by": ["a", 1.5, None]}}
    files = cellmaker.members(Cell("0000001", 2, modalities=SMALL), more=more)
    plain = cellmaker.members(Cell("0000002", 2, modalities=SMALL))
    del plain["0000002.json"]
    cellmaker.write_tar(tmp_path / "example-000000.tar", [*files.items(), *plain.items()])
    data = opened(tmp_path, columns=["metadata", "patch"])
    assert json.loads(data[0]["metadata"]) == more
    assert data[1]["metadata"] == ""
    assert (data.times(1) == NO_TIME).all()
    assert np.isnan(data.lon[1])
    assert data[1]["patch"][::4] == ["0", "1"]
    assert data.all_dates.tolist() == [8, 8]


def test_tensors_of_another_cell_are_left_out(tmp_path: Path) -> None:
    """What the writer of a cell left from the one before, as its json tells."""
    stale = {"s2_toa": cellmaker.paths(Cell("0000001", 1), "s2_toa")}
    cells = [cellmaker.members(Cell("0000001", 1, modalities=SMALL)),
             cellmaker.members(Cell("0000002", 1, modalities=SMALL), replaced=stale)]  # fmt: skip
    cellmaker.write_tar(
        tmp_path / "example-000000.tar", [item for cell in cells for item in cell.items()]
    )
    with pytest.warns(UserWarning, match=r"1 tensors in 1 cells .* such as in 0000002"):
        data = opened(tmp_path)
    assert data.keys.tolist() == ["0000001"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert len(opened(tmp_path, None, "dem")) == 2


BAD_TEXTS: dict[str, tuple[bytes, str]] = {
    "no json": (b"{", r"Expecting property name"),
    "a list": (b"[]", "an object by modality, got a list"),
    "no UTF-8": (b'"\xff"', "utf-8"),
    "deep": (b"[" * 100_000, "makes no sense"),
    "two patches": (b'{"s2_toa": [[], []]}', "s2_toa: expected paths of 1 patches, got 2"),
    "no list": (b'{"s2_toa": "x"}', "s2_toa: expected paths of 1 patches, got a str"),
    "few dates": (b'{"s2_toa": [["1_2_3/4_5_6/20210101"]]}', "expected paths of 4 dates, got 1"),
    "a number": (b'{"s2_toa": [[1, 2, 3, 4]]}', "expected a path, got a int"),
    "no place": (b'{"s2_toa": [["a/b/20210101", "", "", ""]]}', "expected NUMBER_LON_LAT, got 'a'"),
    "no date": (b'{"s2_toa": [["1_2_3/4_5_6/2021", "", "", ""]]}', "a date YYYYMMDD, got '2021'"),
    "an old date": (b'{"s2_toa": [["1_2_3/4_5_6/19000101","","",""]]}', "between 1970 and 2262"),
    "a long path": (b'{"s2_toa": [["1_2_3/4_5_6/7/8", "", "", ""]]}', "CELL/PATCH/DATE"),
    "patches of a patch": (
        b'{"s2_toa": [["1_2_3/4_5_6/20210101", "1_2_3/5_5_6/20210101", "1_2_3/4_5_6/20210101",'
        b' "1_2_3/4_5_6/20210101"]]}', "name several patches"
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_a_json_that_makes_no_sense_is_named(tmp_path: Path, kind: str) -> None:
    data, expected = BAD_TEXTS[kind]
    files = cellmaker.members(Cell("0000001", 1, modalities=("s2_toa",)))
    files["0000001.json"] = data
    cellmaker.write_tar(tmp_path / "example-000000.tar", files.items())
    with pytest.raises(DataError, match=expected) as caught:
        opened(tmp_path)
    assert caught.value.member == "0000001.json"


BAD_TENSORS: dict[str, tuple[Any, str]] = {
    "a dict": ({"a": torch.zeros(2, 2)}, "holds a dict, expected one tensor"),
    "a vector": (torch.zeros(3), r"a tensor \[3\], expected \[H, W\]"),
    "six axes": (torch.zeros(1, 1, 1, 1, 2, 2), "expected .* to .*patches, dates, C, H, W"),
    "no pixels": (torch.zeros(3, 0), "a tensor"),
    "complex": (torch.zeros(2, 2, dtype=torch.complex64), "expected whole or floating"),
}


@pytest.mark.parametrize("kind", BAD_TENSORS)
def test_a_tensor_that_is_no_image_is_named(tmp_path: Path, kind: str) -> None:
    value, expected = BAD_TENSORS[kind]
    files = {"0000001.dem.pth": cellmaker.pth(value)}
    cellmaker.write_tar(tmp_path / "example-000000.tar", files.items())
    with pytest.raises(DataError, match=expected) as caught:
        opened(tmp_path, None, "dem")
    assert caught.value.member == "0000001.dem.pth"


def test_cells_that_differ_in_shape_are_refused(tmp_path: Path) -> None:
    files = {"1.dem.pth": cellmaker.pth(torch.zeros(2, 2)),
             "2.dem.pth": cellmaker.pth(torch.zeros(2, 3))}  # fmt: skip
    cellmaker.write_tar(tmp_path / "example-000000.tar", files.items())
    with pytest.raises(DataError, match="cells differ in the shape or dtype of dem"):
        opened(tmp_path, None, "dem")


def test_a_file_that_stands_twice_is_refused(tmp_path: Path) -> None:
    file = ("1.dem.pth", cellmaker.pth(torch.zeros(2, 2)))
    cellmaker.write_tar(tmp_path / "example-000000.tar", [file, file])
    with pytest.raises(DataError, match="stands more than once"):
        opened(tmp_path, None, "dem")


# --- opening ---


def test_it_is_recognised(root: Path, tmp_path: Path) -> None:
    assert isinstance(fastload.open(root, progress=False), CopernicusPretrain)
    (tmp_path / "ssl4eo_s_220k_aligned").symlink_to(root)
    assert len(fastload.open(tmp_path, progress=False)) == len(CELLS)
    assert len(fastload.open(tmp_path, split="ssl4eo_s_220k_aligned", progress=False)) == len(CELLS)
    (tmp_path / "ssl4eo_s_220k_310k_union").symlink_to(root)
    with pytest.raises(ValueError, match=r"several splits.*'ssl4eo_s_220k_310k_union', 'ssl4eo_s"):
        fastload.open(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no_such.*expected shards"):
        CopernicusPretrain(tmp_path, "no_such")
    with pytest.raises(FileNotFoundError, match="looks like Copernicus-Pretrain"):
        SSL4EOS12(tmp_path, modalities="S2L1C")


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"modalities": []}, "modalities must be a list of names"),
        ({"modalities": ["dem", "dem"]}, "modalities must differ"),
        ({"modalities": ["S2"]}, r"no cell has 'S2', expected some of \['dem', 's1_grd'"),
        ({"patches": "one"}, "patches must be 'any' or 'each', got 'one'"),
        ({"repeats": True}, "repeats must be 'drop' or 'keep'"),
        ({"bad_shards": "no"}, "bad_shards must be"),
        ({"missing": "no"}, "missing must be"),
        ({"align": "time"}, "align must be None or 'nearest'"),
        ({"bands": ["B99"]}, "expected names of"),
        ({"columns": ["crs"]}, "there is no column 'crs'"),
    ],
)
def test_arguments_that_do_not_fit(root: Path, options: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        opened(root, **options)


def test_a_shard_is_scanned_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever is opened; and again where it has changed."""
    cellmaker.write(tmp_path, CELLS[:4])
    opened(tmp_path)
    assert "indexing 2 of 2 shards" in capsys.readouterr().out
    assert (tmp_path / FILE).is_file()
    opened(tmp_path, None, ["dem", "s1_grd"], patches="each")
    assert capsys.readouterr().out == ""
    cellmaker.write(tmp_path / "new", [Cell("0000099", 1)])
    (tmp_path / "new" / "example-000000.tar").replace(tmp_path / "example-000001.tar")
    data = opened(tmp_path)
    assert "indexing 1 of 2 shards" in capsys.readouterr().out
    assert data.keys.tolist() == [CELLS[0].key, CELLS[1].key, "0000099"]


def test_bad_shards_can_be_left_out(tmp_path: Path) -> None:
    cellmaker.write(tmp_path, [Cell("0000001", 1), Cell("0000002", 1)], 1)
    path = tmp_path / "example-000001.tar"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(DataError, match="example-000001"):
        opened(tmp_path)
    with pytest.warns(UserWarning, match="1 shards"):
        data = opened(tmp_path, bad_shards="skip")
    assert data.keys.tolist() == ["0000001"]
    assert len(data.bad_shards) == 1


@pytest.mark.slow
def test_other_processes_scan(tmp_path: Path) -> None:
    cellmaker.write(tmp_path, CELLS[:2], 1)
    with ProcessPoolExecutor(1) as pool:
        assert len(opened(tmp_path, executor=pool)) == 2


# --- views and engines ---

PAIR = (View(size=16, scale=(0.3, 1), timestamp="independent"),
        View(size=12, scale=(0.3, 1), hflip=0.5, timestamp="independent"))  # fmt: skip
RECIPE = Recipe(PAIR, Radiometry.standardise())


@pytest.mark.parametrize("patches", ["any", "each"])
@pytest.mark.parametrize("names", [["s2_toa"], ["s2_toa", "s1_grd", "s3_olci", "dem"]])
def test_a_loader_gives_what_torch_gives(
    root: Path, engine: Any, patches: Any, names: Sequence[str]
) -> None:
    """Patch and date are drawn, by every engine alike, among those that a sample has."""
    recipe = Recipe(PAIR, Radiometry.standardise(), dtype="float32")
    data = opened(root, None, names, recipe, patches=patches, columns=["patch"])
    batches = list(DataLoader(data, 2, engine=engine, num_workers=2, shuffle=False))
    expected = [
        default_collate([data[i] for i in range(at, min(at + 2, len(data)))])
        for at in range(0, len(data), 2)
    ]
    assert len(batches) == len(expected)
    for mine, theirs in zip(batches, expected, strict=True):
        assert_like_torch(mine, theirs, "float32", names)


def test_raw_pixels_of_a_loader(root: Path, engine: Any) -> None:
    data = opened(root, None, SMALL, bands={"s2_toa": ["B04", "B08"]})
    for b, batch in enumerate(DataLoader(data, 3, engine=engine, num_workers=2)):
        for name in SMALL:
            expected = np.stack([data.read(name, 3 * b + i) for i in range(3)])
            assert batch[name].numpy().tobytes() == expected.tobytes()


class Counting(Local):
    """Counts the bytes that are asked of it."""

    asked = 0

    def read(self, name: str, offset: int, out: memoryview) -> int:
        self.asked += len(out)
        return super().read(name, offset, out)

    def fetch(self, name: str, size: int, offset: int, out: Any, patient: bool = True) -> None:
        self.asked += len(out)
        super().fetch(name, size, offset, out, patient)

    def read_ranges(self, names: Sequence[str], sizes: Any, ranges: Ranges) -> Any:
        self.asked += int(ranges.size.sum())
        return super().read_ranges(names, sizes, ranges)


@pytest.mark.parametrize(("bands", "share"), [(None, 1.0), (["B04", "B03", "B02"], 3 / 13)])
def test_one_patch_and_date_moves_its_own_bytes(
    root: Path, engine: Any, bands: Any, share: float
) -> None:
    """1.1 of them at the most, as the store counts them; of some bands only theirs."""
    store = Counting(root)
    recipe = Recipe((View(size=8, timestamp="independent"),), Radiometry.standardise())
    data = opened(store, None, "s2_toa", recipe, bands=bands)
    store.asked = 0
    batches = list(DataLoader(data, 3, engine=engine, num_workers=2))
    image = int(np.prod(cellmaker.SIZES["s2_toa"])) * 2
    wanted = len(data) * image * share
    assert len(batches) == 2
    assert wanted <= store.asked <= 1.1 * wanted


def test_values_are_what_the_published_training_makes_of_them(root: Path) -> None:
    """Sentinel-3 by its scale factors, two of its bands 1e9 times smaller; S1 and S2 as SSL4EO-S12
    has them, DEM in units of 10 km."""
    whole = Recipe((View(size=16, scale=(1, 1), timestamp=0),), Radiometry.standardise())
    item = opened(root, None, "s3_olci", whole)[0]["s3_olci"][0]
    raw = opened(root, None, "s3_olci").read("s3_olci", 0, [0])[0]
    scale = np.full(21, np.nan)
    scale[[0, 1, 9, 20]] = 0.0139465e-9, 0.0133873, 0.00773378e-9, 0.00324118
    for band in (0, 1, 9, 20):
        np.testing.assert_allclose(item[band], raw[band] * scale[band], rtol=1e-5)


# --- damage ---


def flip(path: Path, at: int) -> None:
    """One bit of a file, whose times stay as they are."""
    stat = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 4
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


@pytest.mark.parametrize("recipe", [None, Recipe(PAIR, Radiometry.standardise())])
def test_engines_name_the_damage_or_replace_the_sample(
    tmp_path: Path, engine: Any, recipe: Recipe | None
) -> None:
    """Of an image that is all of its member, in the first modality or another."""
    cells = [Cell(f"{n:07d}", 1, modalities=SMALL) for n in range(4)]
    cellmaker.write(tmp_path / "root", cells, 1)
    data = opened(tmp_path / "root", None, SMALL, recipe)
    source: Any = data.sources["dem"]
    row = source.chunks(np.array([2]), np.ones((1, 1), bool)).rows[0]
    flip(tmp_path / "root" / source.files[row["file"]], int(row["offset"]) + 100)
    report = tmp_path / "report.jsonl"
    loader = DataLoader(data, 2, engine=engine, num_workers=2, error_report=report)
    with pytest.raises(DataError, match="CRC-32") as caught:
        list(loader)
    assert caught.value.member == "0000002.dem.pth"
    assert caught.value.offset == row["offset"]
    loader = DataLoader(
        data, 2, engine=engine, num_workers=2, on_error="replace", error_report=report
    )
    keys = [key for batch in loader for key in batch["key"]]
    assert loader.stats()["replaced"] == 1
    assert keys[:2] + keys[3:] == ["0000000", "0000001", "0000003"]
    assert keys[2] != "0000002"
    unchecked = opened(tmp_path / "root", None, SMALL, recipe, check_crc=False)
    assert len(list(DataLoader(unchecked, 2, engine=engine, num_workers=2))) == 2


def test_a_shard_that_is_cut_off_is_replaced(tmp_path: Path, engine: Any) -> None:
    cells = [Cell(f"{n:07d}", 1, modalities=("s2_toa",)) for n in range(3)]
    cellmaker.write(tmp_path / "root", cells, 1)
    data = opened(tmp_path / "root")
    path = tmp_path / "root" / "example-000001.tar"
    path.write_bytes(path.read_bytes()[:60_000])
    loader = DataLoader(
        data, 3, engine=engine, num_workers=2, on_error="replace",
        error_report=tmp_path / "report.jsonl",
    )  # fmt: skip
    [batch] = list(loader)
    assert loader.stats()["replaced"] == 1
    assert batch["key"][::2] == ["0000000", "0000002"]
    line = json.loads((tmp_path / "report.jsonl").read_text())
    assert line["shard"] == str(path)
    assert line["member"] == "0000001.s2_toa.pth"


def test_verify_compares_whole_members(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of all modalities, each once, whatever is a sample; so damage in a part of one is found."""
    cells = [Cell(f"{n:07d}", 2, modalities=("s2_toa", "dem")) for n in range(3)]
    root = cellmaker.write(tmp_path / "root", cells, 2)
    command = ["verify", str(root), "--json", str(tmp_path / "report.json"), "--fresh"]
    assert main(command) == 0, capsys.readouterr().out
    source: Any = opened(root).sources["s2_toa"]
    row = source.chunks(np.array([1]), np.ones((1, 8), bool)).rows[5]
    flip(root / source.files[row["file"]], int(row["offset"]) + 100)
    assert main(command) == 1
    [finding] = json.loads((tmp_path / "report.json").read_text())["findings"]
    assert (finding["kind"], finding["member"]) == ("crc", "0000001.s2_toa.pth")
    patches = opened(root, patches="each").sources["s2_toa"]
    [same] = check_block("s2_toa", patches, range(len(patches))).findings
    assert same.plain() == finding
    quiet = opened(root, bands=["B02"]).sources["s2_toa"]
    quiet.read(1, range(8), np.empty((8, 1, 24, 24), np.int16), Stages())  # nothing tells here


def everything(root: Path) -> list[Any]:
    data = opened(root, None, "dem")
    return [
        (data.keys[i], data.lon[i], data.lat[i], data.read("dem", i).tobytes())
        for i in range(len(data))
    ]


def test_flips_before_the_index_is_built(tmp_path: Path) -> None:
    """Each is refused or does no harm: never other pixels where a member has a checksum. A json has
    none."""
    path = tmp_path / "example-000000.tar"
    cells = [cellmaker.members(Cell(key, modalities=("dem",))) for key in ("0000001", "0000002")]
    cellmaker.write_tar(path, [item for cell in cells for item in cell.items()])
    sound, truth = path.read_bytes(), everything(tmp_path)
    with tarfile.open(path) as tar:
        spans = [(m.offset_data, m.offset_data + m.size) for m in tar if m.name.endswith(".json")]
    places = [at for at in range(len(sound)) if not any(a <= at < b for a, b in spans)]
    marks = (b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6", b"PK\6\7", b"\x80\x02ctorch")
    near = [at for at in places if any(sound.find(m, max(0, at - 60), at + 9) >= 0 for m in marks)]
    rng, refused = np.random.default_rng(1), 0
    for n in range(240):
        some = near if n % 2 else places
        at = some[int(rng.integers(len(some)))]
        changed = bytearray(sound)
        changed[at] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        os.utime(path, ns=(n, n))
        found = _attempt(lambda: everything(tmp_path))
        refused += isinstance(found, DataError)
        assert isinstance(found, DataError) or found == truth, f"bit at {at}"
    assert refused > 60


def _attempt(call: Callable[[], Any]) -> Any:
    try:
        return call()
    except DataError as error:
        return error
