"""From tasks' bands to networks' channels: each pair that the papers have, and what never fits."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from fastload.bands import PUBLISHED
from fastload.recipe import Radiometry
from fastload.statistics import STATISTICS, Statistics
from fastload.statistics_numbers import SO2SAT_BANDS
from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate.inputs import IMAGENET_MEAN, IMAGENET_STD, Inputs, match
from ssl4eo_train.evaluate.pretrained import Channel, Wanted

L1C = tuple(Channel(modality="S2L1C", band=band) for band in PUBLISHED["S2L1C"])
SECO = tuple(Channel(modality="S2RGB", band=band) for band in "RGB")
RADAR = tuple(Channel(modality="S1GRD", band=band) for band in ("VV", "VH"))
BIGEARTHNET = {name: PUBLISHED[name] for name in ("S2L2A", "S1GRD")}
IRRG = {"RGB": ("NIR", "R", "G")}


def matched(channels: Any, offered: Any, zeros: bool = False) -> Inputs:
    return match(channels, offered, zeros, "reflectance")


def shown(inputs: Inputs) -> list[str | None]:
    """The band that each channel is filled with."""
    read = [band for bands in inputs.bands.values() for band in bands]
    return [None if place is None else read[place] for place in inputs.places]


def test_l1c_weights_on_bigearthnet_have_a_zero_band_at_b10() -> None:
    inputs = matched(L1C, BIGEARTHNET, zeros=True)
    expected = [band if band != "B10" else None for band in PUBLISHED["S2L1C"]]
    assert shown(inputs) == expected
    assert expected.index(None) == 10
    assert list(inputs.bands) == ["S2L2A"]
    pixels = torch.arange(12.0).reshape(1, 12, 1, 1).expand(2, 12, 4, 4)
    found = inputs.channels({"S2L2A": [pixels]})
    assert found[0, :, 0, 0].tolist() == [*range(10), 0, 10, 11]


def test_l1c_weights_on_so2sat_have_three_zero_bands() -> None:
    inputs = matched(L1C, SO2SAT_BANDS, zeros=True)
    assert [i for i, band in enumerate(shown(inputs)) if band is None] == [0, 9, 10]
    assert [b for b in shown(inputs) if b] == list(SO2SAT_BANDS["S2L1C"])


def test_eurosat_fills_all_of_l1c() -> None:
    """In the published order, not in that on disk, where B8A is last."""
    inputs = matched(L1C, {"S2L1C": PUBLISHED["S2L1C"]})
    assert shown(inputs) == list(PUBLISHED["S2L1C"])
    assert inputs.places == tuple(range(13))


@pytest.mark.parametrize(
    ("offered", "bands"),
    [
        (BIGEARTHNET, {"S2L2A": ("B04", "B03", "B02")}),
        (SO2SAT_BANDS, {"S2L1C": ("B04", "B03", "B02")}),
        ({"S2L1C": PUBLISHED["S2L1C"]}, {"S2L1C": ("B04", "B03", "B02")}),
        ({"S2RGB": ("R", "G", "B")}, {"S2RGB": ("R", "G", "B")}),
        ({"RGB": ("R", "G", "B")}, {"RGB": ("R", "G", "B")}),
        ({"RGB": ("R", "G", "B", "NIR")}, {"RGB": ("R", "G", "B")}),
    ],
)
def test_weights_of_rgb_fit_everywhere(offered: Any, bands: Any) -> None:
    inputs = matched(SECO, offered)
    assert (inputs.bands, inputs.places) == (bands, (0, 1, 2))


def test_weights_of_radar_take_that_of_bigearthnet() -> None:
    inputs = matched(RADAR, BIGEARTHNET)
    assert (inputs.bands, inputs.places) == ({"S1GRD": ("VV", "VH")}, (0, 1))
    swapped = matched(RADAR[::-1], BIGEARTHNET)
    assert swapped.bands == {"S1GRD": ("VH", "VV")}


def test_weights_of_decibel_do_not_take_what_is_linear() -> None:
    with pytest.raises(SetupError, match=r"wants S1GRD VV, S1GRD VH, but .*S1linear"):
        matched(RADAR, SO2SAT_BANDS, zeros=True)


def test_weights_of_both_sensors_take_both() -> None:
    """As DINO-MM's, S2 first."""
    inputs = matched((*L1C, *RADAR), BIGEARTHNET, zeros=True)
    assert list(inputs.bands) == ["S2L2A", "S1GRD"]
    assert shown(inputs)[-2:] == ["VV", "VH"]
    s2, s1 = torch.ones(2, 12, 4, 4), torch.full((2, 2, 4, 4), 5.0)
    found = inputs.channels({"S2L2A": [s2], "S1GRD": [s1]})
    assert found[0, :, 0, 0].tolist() == [1.0] * 10 + [0.0] + [1.0] * 2 + [5.0] * 2


def test_the_level_of_the_weights_is_preferred() -> None:
    both = {"S2L2A": PUBLISHED["S2L2A"], "S2L1C": PUBLISHED["S2L1C"]}
    assert list(matched(L1C, both).bands) == ["S2L1C"]


def test_what_has_no_blue_is_refused_or_shows_zeros() -> None:
    with pytest.raises(SetupError, match="wants S2RGB B, but the task has RGB NIR, R, G; --m"):
        matched(SECO, IRRG)
    assert shown(matched(SECO, IRRG, zeros=True)) == ["R", "G", None]


def test_nothing_in_common_is_refused_even_with_zeros() -> None:
    with pytest.raises(SetupError, match="wants S2RGB R, S2RGB G, S2RGB B, but the task has image"):
        matched(SECO, {"image": ("B1", "B2")}, zeros=True)


def test_dates_keep_their_axis() -> None:
    inputs = matched((SECO[2], SECO[0]), {"RGB": ("R", "G", "B")})
    pixels: Tensor = torch.arange(4.0).reshape(1, 2, 2, 1, 1)  # [N, T, C, h, w]
    assert inputs.bands == {"RGB": ("B", "R")}
    assert torch.equal(inputs.channels({"RGB": [pixels]}), pixels)


def seen(radiometry: Radiometry, modality: str, numbers: Any, statistics: Statistics) -> Any:
    """What numbers on disk ``[C]`` become."""
    s = radiometry.scaling(modality, len(numbers), statistics)
    return np.clip((np.array(numbers) - s.offset) * s.scale, s.low, s.high)


@pytest.mark.parametrize(
    ("modality", "statistics", "one"),
    [
        ("S2L1C", STATISTICS["eurosat"], 10000),
        ("S2L2A", STATISTICS["v1.1-zarr"], 11000),
        ("S2L1C", STATISTICS["so2sat"], 1),
        ("S2RGB", STATISTICS["eurosat"], 255),
        ("RGB", Statistics("none", 0.0, {}, {}), 255),
    ],
)
@pytest.mark.parametrize("wanted", ["reflectance", "imagenet"])
def test_a_reflectance_of_one_is_one_in_every_task(
    modality: str, statistics: Statistics, one: float, wanted: Wanted
) -> None:
    bands = ("R", "G", "B") if one == 255 else ("B04", "B03", "B02")
    inputs = Inputs({modality: bands}, (0, 1, 2), wanted)
    zero = statistics.dn_offset if one != 255 else 0
    numbers = [one, zero, (one + zero) / 2]
    found = seen(inputs.radiometry(modality, statistics), modality, numbers, statistics)
    expected = np.array([1.0, 0.0, 0.5])
    if wanted == "imagenet":
        expected = (expected - IMAGENET_MEAN) / IMAGENET_STD
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


def test_imagenet_goes_by_the_name_of_a_colour() -> None:
    inputs = Inputs({"S2L1C": ("B02", "B04")}, (0, 1), "imagenet")
    units = STATISTICS["eurosat"]
    found = seen(inputs.radiometry("S2L1C", units), "S2L1C", [0, 0], units)
    expected = [-IMAGENET_MEAN[2] / IMAGENET_STD[2], -IMAGENET_MEAN[0] / IMAGENET_STD[0]]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_imagenet_has_no_near_infrared() -> None:
    inputs = Inputs({"RGB": ("NIR", "R", "G")}, (0, 1, 2), "imagenet")
    with pytest.raises(SetupError, match="of red, green and blue; RGB NIR is none of them"):
        inputs.radiometry("RGB", STATISTICS["eurosat"])


def test_radar_is_shown_between_two_sigma_of_the_task() -> None:
    inputs = Inputs({"S1GRD": ("VV", "VH")}, (0, 1), "reflectance")
    known = STATISTICS["bigearthnet"]
    mean = np.array(known.mean["S1GRD"])
    found = seen(inputs.radiometry("S1GRD", known), "S1GRD", mean, known)
    np.testing.assert_allclose(found, 0.5, rtol=1e-6)


def test_radar_without_statistics_is_refused() -> None:
    inputs = Inputs({"S1GRD": ("VV", "VH")}, (0, 1), "reflectance")
    unknown = Statistics("DFC2020", 0.0, {}, {})
    with pytest.raises(ValueError, match="'DFC2020' have no modality 'S1GRD'"):
        seen(inputs.radiometry("S1GRD", unknown), "S1GRD", [0, 0], unknown)
