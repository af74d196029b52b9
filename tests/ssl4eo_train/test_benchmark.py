"""torchgeo-bench: its bands for a backbone's channels, its runner, its table."""

import csv
import json
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fastload.bands import PUBLISHED
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import benchmark_bands as bands_of
from ssl4eo_train.evaluate import benchmark_rows
from ssl4eo_train.evaluate.pretrained import Channel, load
from tests.ssl4eo_train.test_export import made

pytestmark = pytest.mark.timeout(300)


@dataclass
class Spec:
    name: str
    mean: float
    max: float
    sensor: str = "s2"
    source_name: str = ""
    std: float = 1.0
    min: float = 0.0
    wavelength_um: float | None = None


V1 = ("coastal_aerosol", "blue", "green", "red", "red_edge_1", "red_edge_2", "red_edge_3", "nir",
      "red_edge_4", "water_vapour", "swir_cirrus", "swir_1", "swir_2")  # fmt: skip
# Means of torchgeo-bench 0.4's BandSpecs.
M_EUROSAT = (1359.95, 1125.53, 1055, 957.344, 1219.67, 2051.62, 2433.6, 2360.1, 751.164, 12.2881,
             1848.9, 1131.27, 2665.44)  # fmt: skip
M_BIGEARTHNET = (378.402, 482.274, 706.537, 720.926, 1100.67, 1909.29, 2191.7, 2336.86, 2394.74,
                 2368.32, 1875.26, 1229.38)  # fmt: skip
M_BRICK_KILN = (572.205, 669, 879.878, 807.583, 1127.9, 1960.74, 2075.83, 2039.48, 1625.46, 1135.59,
                82.471, 89.8659, 68.4528)  # fmt: skip
L1C = [f"b{int(n[1:])}" if n[1:].isdigit() else n.lower() for n in PUBLISHED["S2L1C"]]


def specs(names: tuple[str, ...], means: tuple[float, ...], most: float = 28000) -> list[Spec]:
    return [Spec(name, mean, most) for name, mean in zip(names, means, strict=True)]


def test_names_are_believed_where_they_hold() -> None:
    without_cirrus = (*V1[:10], *V1[11:])
    assert bands_of.named(specs(without_cirrus, M_BIGEARTHNET)) == [*L1C[:10], *L1C[11:]]
    v2 = [Spec(n.lower(), 2000.0, 15000) for n in PUBLISHED["S2L1C"]]
    assert bands_of.named(v2) == L1C
    assert bands_of.misnamed(v2) == []


def test_names_of_m_eurosat_are_shifted() -> None:
    given = specs(V1, M_EUROSAT)
    assert bands_of.named(given) == [*L1C[:8], "b9", "b10", "b11", "b12", "b8a"]
    assert bands_of.named(given[11:]) == ["b12", "b8a"]
    assert bands_of.places(("B8A", "B09"), given, False) == (12, 8)
    assert bands_of.misnamed(given)[0] == "red_edge_4 is b9"


def test_bytes_among_digital_numbers_are_no_bands() -> None:
    given = specs(V1, M_BRICK_KILN)
    for spec in given[10:]:
        spec.max = 255
    assert bands_of.named(given) == [*L1C[:8], *[None] * 5]
    with pytest.raises(SetupError, match="takes B8A, B09, B10, B11, B12, which the benchmark lack"):
        bands_of.places(PUBLISHED["S2L1C"], given, False)
    assert bands_of.places(PUBLISHED["S2L1C"], given, True) == (*range(8), *[None] * 5)


def test_what_is_lacking_is_refused() -> None:
    given = [Spec("red", 900, 28000), Spec("vv", -12, 10, "s1")]
    with pytest.raises(SetupError, match=r"takes B03, which .* lacks; it has red \(b4\)"):
        bands_of.places(("B04", "B03"), given, False)
    with pytest.raises(SetupError, match="takes VH"):
        bands_of.places(("VH",), given, True)
    assert bands_of.places(("VV",), given, False) == (1,)
    for mean in (0.0, -19361.0):
        with pytest.raises(SetupError, match="takes radar in dB; the benchmark's vv has a mean of"):
            bands_of.check_decibel([Spec("vv", mean, 45, "sar")])
    bands_of.check_decibel(given)


@pytest.mark.parametrize(("most", "one"), [(28000, 10000), (255, 255), (2.8, 1)])
def test_units(most: float, one: float) -> None:
    assert bands_of.unit([Spec("red", 1, most), Spec("vv", -12, 1e6, "s1")]) == one


def test_what_is_made_of_reflectance() -> None:
    rgb = tuple(Channel(modality="S2L1C", band=b) for b in ("B04", "B02"))
    mean, std = np.array([0.485, 0.406]), np.array([0.229, 0.225])
    asked: dict[str, Any] = {"arch": "test_resnet", "channels": rgb, "image_size": 32}
    imagenet = bands_of.scaling(load("untrained", wanted="imagenet", **asked))
    assert imagenet.offset == pytest.approx(mean)
    assert 1 / imagenet.scale == pytest.approx(std)
    plain = bands_of.scaling(load("untrained", **asked))
    assert (plain.scale.tolist(), plain.high.tolist()) == ([1, 1], [1, 1])
    with pytest.raises(SetupError, match="radiometry standardise of B04, B02: the file does not"):
        bands_of.scaling(load("untrained", wanted="standardise", **asked))


def benchmark(root: Path) -> None:
    """m-eurosat of torchgeo-bench, tiny, in GeoBench's layout."""
    import h5py
    from torchgeo_bench.datasets.m_eurosat import MEurosat

    folder = root / "data" / "classification_v1.0" / "m-eurosat"
    folder.mkdir(parents=True)
    names, rng = [b.source_name for b in MEurosat.bands], np.random.default_rng(0)
    parts = {"train": 20, "valid": 10, "test": 10}
    for split, count in parts.items():
        for i in range(count):
            with h5py.File(folder / f"{split}{i}.hdf5", "w") as file:
                for b in MEurosat.bands:
                    pixels = b.mean * (0.5 + 0.1 * (i % 10)) + rng.normal(0, 1, (16, 16))
                    file[b.source_name] = pixels.clip(0).astype("u2")
                about = {"label": i % 10, "bands_order": names}
                file.attrs["pickle"] = repr(pickle.dumps(about))
    lists = {split: [f"{split}{i}" for i in range(n)] for split, n in parts.items()}
    (folder / "default_partition.json").write_text(json.dumps(lists))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_its_runner_takes_a_backbone(tmp_path: Path) -> None:
    pytest.importorskip("torchgeo_bench", reason="torchgeo-bench is not installed")
    benchmark(tmp_path)
    made(tmp_path, "moco_v2", "test_resnet", 32)
    words = [
        *(sys.executable, "-m", "torchgeo_bench", "model=ssl4eo_train"),
        "hydra.searchpath=[pkg://ssl4eo_train.evaluate.torchgeo_bench_conf]",
        *(f"model.checkpoint={tmp_path}", "model.name=mine", "dataset.bands=all"),
        *("dataset.normalization=model_native", "dataset.names=[m-eurosat]", "device=cpu"),
        *("dataset.num_workers=0", "dataset.image_size=32", "eval.bootstrap=10"),
        *("eval.c_range=[-1,1,2]", "output=out.csv"),
    ]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == list(benchmark_rows.COLUMNS)
    assert [(r["name"], r["method"], r["bands"]) for r in rows] == [
        ("mine", "knn5", "all"),
        ("mine", "linear", "all"),
    ]


def test_its_model_sees_what_the_weights_want(tmp_path: Path) -> None:
    pytest.importorskip("torchgeo_bench", reason="torchgeo-bench is not installed")
    from torchgeo_bench.datasets.m_eurosat import MEurosat

    from ssl4eo_train.evaluate.torchgeo_bench import Backbone

    learner = made(tmp_path, "mae", "test_vit", 32)
    model = Backbone(MEurosat.bands, checkpoint=str(tmp_path)).eval()
    reflectance = torch.rand(2, 13, 64, 64)
    order = [L1C.index(name) for name in bands_of.named(MEurosat.bands)]
    images = reflectance[:, order] * 10000  # As the benchmark stores EuroSAT.
    torch.testing.assert_close(model.normalize_inputs(images), reflectance)
    small = torch.nn.functional.interpolate(reflectance, (32, 32), mode="bilinear")
    with torch.no_grad():
        torch.testing.assert_close(model(images), learner.backbone.eval()(small))
    with pytest.raises(SetupError, match=r"set dataset\.normalization=model_native"):
        Backbone(MEurosat.bands, checkpoint=str(tmp_path), normalization="bandspec_zscore")
    rgb = [b for b in MEurosat.bands if b.name in ("red", "green", "blue")]
    with pytest.raises(SetupError, match="which the benchmark lacks"):
        Backbone(rgb, checkpoint=str(tmp_path))
    zeros = Backbone(rgb, checkpoint=str(tmp_path), missing_bands="zero")
    shown = zeros.normalize_inputs(torch.full((1, 3, 2, 2), 5000.0))
    assert shown[0, :, 0, 0].tolist() == [0, 0.5, 0.5, 0.5, *[0] * 9]


RESULT: dict[str, Any] = {
    "task": "bigearthnet",
    "protocol": "knn",
    "metric": "map_micro",
    "numbers": {"map_micro": {"value": 0.75, "low": 0.7, "high": 0.8}},
    "settings": {"neighbours": 20, "image_size": 0},
    "chosen": {},
    "fraction": 0.1,
    "splits": {"train": 100, "val": 10, "test": 20},
    "seed": 3,
    "bands": {"S2L2A": ["B02", "B03"]},
    "bootstrap": {"resamples": 1000},
}


def test_rows_are_in_its_columns(tmp_path: Path) -> None:
    rows = [benchmark_rows.row(RESULT, "mine")]
    path = tmp_path / "all_results.csv"
    benchmark_rows.append(path, rows)
    benchmark_rows.append(path, rows)
    with path.open(newline="") as file:
        found = list(csv.DictReader(file))
    assert found[0] == found[1]
    assert {name: x for name, x in found[0].items() if x} == {
        **{"dataset": "bigearthnet", "method": "knn20", "metric_name": "micro_mAP"},
        **{"metric_value": "0.75", "ci_lower": "0.7", "ci_upper": "0.8", "seed": "3"},
        **{"n_train": "100", "n_val": "10", "n_test": "20", "bootstrap": "1000", "name": "mine"},
        **{"model": "ssl4eo_train.evaluate", "normalization": "model_native"},
        **{"interpolation": "bilinear", "partition": "0.10x_train", "bands": "B02,B03"},
    }
    path.write_text("a,b\n1,2\n")
    with pytest.raises(SetupError, match="expected the columns of torchgeo-bench, lacks"):
        benchmark_rows.append(path, rows)
    assert path.read_text() == "a,b\n1,2\n"


def test_a_row_says_what_was_chosen() -> None:
    linear = {**RESULT, "protocol": "linear", "chosen": {"l2": 0.01, "val_map_micro": 0.7}}
    assert benchmark_rows.row(linear, "mine")["best_c"] == 1.0  # scikit-learn's, of 100 samples.
    dense = {**RESULT, "protocol": "segment", "settings": {"decoder": "fpn"}}
    assert benchmark_rows.row(dense, "mine")["method"] == "seg-fpn"


def test_the_command_says_what_it_cannot_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmark_rows.main([str(tmp_path), "--csv", str(tmp_path / "x.csv")]) == 2
    assert "result.json: there is no such file" in capsys.readouterr().err
    assert not os.path.exists(tmp_path / "x.csv")
