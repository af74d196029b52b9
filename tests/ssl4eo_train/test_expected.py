"""What weights want to see, from a run, an export, or what is known of a published file."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from fastload.recipe import Radiometry
from fastload.statistics import statistics
from fastload_kernels import Scaling
from ssl4eo_train import expected, weights
from ssl4eo_train.errors import SetupError
from ssl4eo_train.expected import Expected

RGB = ("B04", "B03", "B02")


def applied(scaling: Scaling, x: np.ndarray) -> np.ndarray:
    return np.clip((x - scaling.offset) * scaling.scale, scaling.low, scaling.high)


def of(modality: str, radiometry: Radiometry, known: str = "v1.0", bands: int = 13) -> Expected:
    names = expected.BANDS[modality]
    scaling = radiometry.scaling(modality, bands, statistics(known))
    return expected.of_numbers("x", {modality: names}, {modality: scaling}, statistics(known))


@pytest.mark.parametrize(
    ("name", "channels", "layout", "modality"),
    [
        ("B13_rn50_moco_0099_ckpt.pth", 13, "", "S2L1C"),
        ("B13_vits16_data2vec.pth", 13, "", "S2L1C"),
        ("vit_small_patch16_224_sentinel2_all_dino-36bcc127.pth", 13, "", "S2L1C"),
        ("resnet18_sentinel2_rgb_moco-e3a335e3.pth", 3, "", "S2L1C"),
        ("B2_vitb16_mae_ep99.pth", 2, "", "S1GRD"),
        ("checkpoint_0099.pth.tar", 13, "ssl4eo", "S2L1C"),
        ("checkpoint_0099.pth.tar", 2, "ssl4eo", "S1GRD"),
        ("seco_resnet18_1m.ckpt", 3, "seco", "S2L2A"),
        ("resnet50_sentinel2_rgb_seco-018bf397.pth", 3, "", "S2L2A"),
        ("checkpoint_0099.pth.tar", 3, "ssl4eo", None),  # Perhaps ImageNet's.
        ("checkpoint_0099.pth.tar", 14, "ssl4eo", None),
        ("B13_rn50_moco_0099_ckpt.pth", 12, "", None),
        ("B2_rn50_softcon.pth", 2, "", None),
        ("backbone.pth", 13, "", None),
    ],
)
def test_published_files(name: str, channels: int, layout: str, modality: str | None) -> None:
    found = expected.published(name, channels, layout)
    assert (None if found is None else list(found.bands)) == (modality and [modality])
    assert found is None or found.channels == channels


def test_reflectance_is_that_of_any_release() -> None:
    wants = expected.published("B13_rn50_moco.pth", 13, "")
    assert wants is not None
    for known, dn in (("v1.0", 2500.0), ("v1.1-zarr", 3500.0), ("seco", 63.75)):
        made = wants.scaling("S2L1C", statistics(known), RGB)
        assert applied(made, np.full(3, dn)) == pytest.approx([0.25] * 3)
        assert applied(made, np.full(3, 1e5)) == pytest.approx([1.0] * 3)


def test_radar_is_two_sigma_of_the_published_statistics() -> None:
    wants = expected.published("B2_rn50_moco.pth", 2, "")
    assert wants is not None
    mean, std = np.array([-12.54847273, -20.19237134]), np.array([5.25697717, 5.91150917])
    made = wants.scaling("S1GRD", statistics("v1.1-zarr"))
    for sigmas, value in ((-3, 0), (-2, 0), (0, 0.5), (1, 0.75), (4, 1)):
        assert applied(made, mean + sigmas * std) == pytest.approx([value] * 2, abs=1e-6)


def test_seco_stretches_and_then_standardises() -> None:
    wants = expected.published("seco_resnet18_1m.ckpt", 3, "seco")
    assert wants is not None
    low, high = np.array([0.0, 2.0, 3.0]), np.array([129.0, 103.0, 88.0])  # Of B4, B3, B2.
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    made = wants.scaling("S2L2A", statistics("seco"))  # Bytes.
    for x in (low - 1, low, (low + high) / 2, high, high + 9):
        stretched = np.clip((x - low) / (high - low), 0, 1)
        assert applied(made, x) == pytest.approx((stretched - mean) / std, abs=1e-5)
    turned = wants.scaling("S2L2A", statistics("v1.0"), ("B02", "B04"))  # DN, other order.
    dn = np.array([88.0, 129.0]) / 255 * 10000
    assert applied(turned, dn) == pytest.approx((1 - mean[[2, 0]]) / std[[2, 0]], abs=1e-5)
    with pytest.raises(ValueError, match="bands of the weights' S2L2A"):
        wants.scaling("S2L2A", statistics("seco"), ("B8",))


def test_what_differs_is_said() -> None:
    wants = of("S2L1C", Radiometry.reflectance())
    assert list(wants.differences(of("S2L1C", Radiometry.reflectance(), "v1.1-zarr"))) == []
    level, bands = wants.differences(of("S2L2A", Radiometry.reflectance(), bands=12))
    assert level == "they saw S2L1C, this run shows S2L2A"
    assert bands.startswith("their bands are B01, B02, ")


def test_other_bands_and_numbers_are_said() -> None:
    wants = of("S2L1C", Radiometry.reflectance())
    [said] = wants.differences(of("S2L1C", Radiometry.two_sigma()))
    assert said.startswith("they want reflectance, clipped to 0 to 1, of B01, B02, ")
    assert "; this run shows (reflectance - [0.003" in said
    order = Expected("x", {"S2L1C": ("B02", "B03")}, {"S2L1C": Scaling.make(0, 1, 0, 1, 2)})
    other = Expected("x", {"S2L1C": ("B3", "B2")}, order.scalings)
    assert list(order.differences(other)) == ["their bands are B02, B03, this run's B3, B2"]
    assert list(order.differences(Expected("x", {"S2L1C": ("B2", "b3")}, order.scalings))) == []


def test_infinite_limits_survive(tmp_path: Path) -> None:
    known = statistics("v1.0")
    numbers = {"offset": [1.0], "scale": [2.0], "low": [None], "high": [None]}
    found = expected.of_numbers("x", {"S1GRD": ["VV"]}, {"S1GRD": numbers}, known)
    assert np.isinf(found.scaling("S1GRD", known).high).all()
    assert found.words == "S1GRD: (x - 1) * 2, of VV"


def test_unknown_weights_are_said_to_be(tmp_path: Path) -> None:
    model = torch.nn.Sequential()
    model.conv1 = torch.nn.Conv2d(13, 4, 1)
    path = tmp_path / "x.safetensors"
    save_file(model.state_dict(), path)
    assert weights.read(path).radiometry is None
    said = weights.init(model, path).splitlines()
    assert said[1].startswith("init   which radiometry they were trained with is not known")


@pytest.mark.parametrize(
    "broken",
    [
        {"run": "{}"},
        {"timm": "[1]"},
        {"statistics": "{"},
        {"statistics": "[]"},
        {"statistics": '{"name": "x"}'},
        {"band_names": '["S2L1C"]'},
        {"band_names": '{"S1GRD": ["VV"]}'},
        {"radiometry": '{"S2L1C": {"offset": [0]}}'},
        {"radiometry": '{"S2L1C": 3}'},
        {"radiometry": '{"S2L1C": {"offset": [null], "scale": [1], "low": [0], "high": [1]}}'},
        {"radiometry": '{"S2L1C": {"offset": ["a"], "scale": [1], "low": [0], "high": [1]}}'},
    ],
)
def test_broken_metadata_are_refused(tmp_path: Path, broken: dict[str, str]) -> None:
    whole = {"offset": [0], "scale": [1e-4], "low": [0], "high": [1]}
    texts = {
        "run": '{"method": "mae", "image_size": 32}',
        "timm": "{}",
        "band_names": '{"S2L1C": ["B04"]}',
        "radiometry": json.dumps({"S2L1C": whole}),
        "statistics": json.dumps(
            {"name": "x", "dn_offset": 0.0, "mean": {"S2L1C": [0]}, "std": {"S2L1C": [1]}}
        ),
    }
    path = tmp_path / "x.safetensors"
    save_file({"conv1.weight": torch.zeros(1, 1, 1, 1)}, path, texts)
    found = weights.read(path).radiometry
    assert found is not None
    assert found.words == "S2L1C: reflectance, clipped to 0 to 1, of B04"
    save_file({"conv1.weight": torch.zeros(1, 1, 1, 1)}, path, {**texts, **broken})
    with pytest.raises(SetupError, match=r"x\.safetensors: its metadata are not as an export"):
        weights.read(path)
