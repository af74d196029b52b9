"""The report's page and JSON, of made samples, and in a real browser."""

import io
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import fastload
from fastload.gather.patch import Outcome
from fastload.gather.plan.plan import Plan
from fastload.gather.report.look import Look
from fastload.gather.report.making import Gathered, made, write
from fastload.gather.report.pixels import pixels
from fastload.statistics import STATISTICS
from fastload.synth import synth
from tests.fastload.test_inspect import decoded, tags
from tests.gather import fabricated
from tests.shared_data import shared_data

HOSTILE = '<img src="https://example.com/x.png" onerror="alert(1)">&'


def outcomes(plan: Plan) -> list[Outcome]:
    """With a modality, a collection and reasons that no page may take for HTML."""
    found = fabricated.outcomes(plan)
    for o in found:
        for failure in o.failed:
            failure["reason"] = f"{failure['reason']}{HOSTILE}"
        for scenes in o.scenes.values():
            scenes[0]["collection"] = scenes[0]["why_offset"] = HOSTILE
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards in the layout of a gathering."""
    root, names = tmp_path_factory.mktemp("report"), fabricated.MODALITIES
    return synth(root, 12, modalities=names, size=64, samples_per_shard=4, workers=2)


@pytest.fixture(scope="module")
def report(folder: Path) -> tuple[Path, dict[str, Any]]:
    plan = fabricated.plan(40)
    plan.sources["cities"] = {"list": HOSTILE, "licence": "CC0 <b>"}
    run = {"service": HOSTILE, "versions": [{"numpy": "2"}]}
    manifest = fabricated.manifest(folder / "m.parquet", plan, outcomes(plan), {39: HOSTILE})
    gathered = Gathered(folder, manifest, run)
    figures, page = made(f"Report {HOSTILE}", plan, gathered, Look(samples=6, examples=3, seed=5))
    path = folder / "report.html"
    write(path, figures, page)
    return path, json.loads(path.with_suffix(".json").read_text())


def test_the_page_needs_nothing_else(report: tuple[Path, dict[str, Any]]) -> None:
    text = report[0].read_text()
    assert "<script" not in text
    assert "onerror=&quot;" in text
    for tag, attributes in tags(report[0]):
        assert not any(name.startswith("on") for name in attributes), tag
        for name in ("src", "href"):
            if name in attributes:
                assert (attributes[name] or "").startswith("data:"), (tag, attributes[name])
    assert not re.search(r"url\((?!data:)|@import", text)


def test_a_page_is_a_function_of_what_lies_there(
    report: tuple[Path, dict[str, Any]], folder: Path
) -> None:
    plan = fabricated.plan(40)
    lies = Gathered(folder, folder / "m.parquet", {})
    first, second = (made("x", plan, lies, Look(6, 2, 1)) for _ in range(2))
    assert first == second


def test_statistics_of_the_samples_that_are_named(
    report: tuple[Path, dict[str, Any]], folder: Path
) -> None:
    """All samples of the few shards, by NumPy over their decoded pixels."""
    plan = fabricated.plan(40)
    lies = Gathered(folder, folder / "m.parquet", {})
    figures, _ = made("x", plan, lies, Look(samples=1000, examples=0))
    told = figures["pixels"]
    assert (told["shards"], told["of_shards"], told["samples"]) == (3, 3, 12)
    for name in fabricated.MODALITIES:
        ds = fastload.SSL4EOS12(folder, "train", [name], progress=False)
        pixels = np.stack([ds.read(name, i) for i in range(len(ds))]).astype(np.float64)
        published = STATISTICS["v1.1-webdataset"]
        for c, row in enumerate(told["modalities"][name]["bands"]):
            values = pixels[:, :, c].ravel()
            values = values[values != 0] if name == "S2L2A" else values
            assert row["pixels"] == len(values)
            assert row["mean"] == pytest.approx(values.mean(), rel=1e-9)
            assert row["std"] == pytest.approx(values.std(), rel=1e-9)
            assert (row["min"], row["max"]) == (values.min(), values.max())
            assert row["p50"] == pytest.approx(np.median(values), rel=1e-3)
            assert row["p99"] == pytest.approx(np.quantile(values, 0.99), rel=1e-3)
            assert row["published_mean"] == published.mean[name][c]
            assert row["published_std"] == published.std[name][c]
    few = report[1]["pixels"]
    assert (few["samples"], few["seed"]) == (6, 5)


def test_pictures(report: tuple[Path, dict[str, Any]], folder: Path) -> None:
    images = [a for tag, a in tags(report[0]) if tag == "img"]
    assert len(images) == 3 * 4
    assert all(re.match(r"00000\d\d, 20\d\d-\d\d-\d\d, \w+", str(a["alt"])) for a in images)
    assert min(decoded(a["src"]).std() for a in images) > 3
    ds = fastload.SSL4EOS12(folder, "train", ["S2L2A"], progress=False)
    assert {str(a["alt"])[:7] for a in images} <= set(ds.keys)


def test_real_shards() -> None:
    real = shared_data("ssl4eo_v11_real")
    if not real.is_dir():
        pytest.skip(f"needs real samples in {real}")
    told, [example] = pixels(real, samples=3, seed=0, examples=1)
    assert (told["shards"], told["samples"]) == (2, 3)
    assert set(told["modalities"]) == {"S2L2A", "S2RGB", "NDVI"}
    assert all(about["published"] for about in told["modalities"].values())
    assert 100 < told["modalities"]["S2L2A"]["bands"][3]["p50"] < 3000
    assert example.kind == "S2L2A, true colour"
    assert [date.image.shape for date in example.dates] == [(132, 132, 3)] * 4


def test_a_plan_alone(tmp_path: Path) -> None:
    plan = fabricated.plan(30)
    figures, page = made("plan.parquet", plan)
    assert "gathered" not in figures
    assert figures["plan"]["locations"] == 30
    assert figures["plan"]["candidates"] == 4
    assert figures["plan"]["overlaps"]["patches"] == 120
    assert "30 locations" in page
    write(tmp_path / "plan.html", figures, page)
    assert json.loads((tmp_path / "plan.json").read_text()) == figures
    tags(tmp_path / "plan.html")


def test_nothing_was_gathered_yet(tmp_path: Path) -> None:
    plan = fabricated.plan(5)
    manifest = fabricated.manifest(tmp_path / "m.parquet", plan, [])
    figures, page = made("x", plan, Gathered(tmp_path, manifest, {}))
    assert figures["gathered"]["open"] == 5
    assert "There is no shard to measure" in page
    assert "Nothing was gathered that has a date" in page
    write(tmp_path / "r.html", figures, page)
    tags(tmp_path / "r.html")


def test_an_overlap_of_a_law_that_promises_none() -> None:
    """It is said in words on the page."""
    plan = fabricated.plan(4, tries=1)
    plan = replace(plan, settings=replace(plan.settings, apart=True))
    plan.lon7[:, 0], plan.lat7[:, 0] = np.array([10, 20, 30, 40]) * 10**7, 0
    assert "none shares ground with another, as is promised" in made("x", plan)[1]
    plan.lon7[1] = 10.01 * 10**7
    assert "pairs that share ground: 1, although the plan promises none" in made("x", plan)[1]


@pytest.mark.parametrize("wrong", [{"samples": 0}, {"examples": -1}, {"seed": -1}])
def test_looks_that_do_not_fit(wrong: dict[str, int]) -> None:
    [name] = wrong
    with pytest.raises(ValueError, match=f"{name} must be at least"):
        Look(**wrong)


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_in_a_browser(
    report: tuple[Path, dict[str, Any]], browser: Any, width: int, scheme: str
) -> None:
    """No word on the console, no request beyond the page, nothing wider than the screen."""
    said, asked = list[str](), list[str]()
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, java_script_enabled=True
    )
    tab = context.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(report[0].as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every(i => i.complete && i.naturalWidth == 64)")
    shot = np.asarray(Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("L"))
    assert (np.median(shot[:, :4]) > 200) == (scheme == "light")
    for chosen in ("svg.map", "svg.bars", "figure img"):
        picture = Image.open(io.BytesIO(tab.locator(chosen).first.screenshot())).convert("L")
        assert np.asarray(picture).std() > 4, chosen
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [report[0].as_uri()]
