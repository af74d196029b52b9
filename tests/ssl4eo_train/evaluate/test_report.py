"""The page of an evaluation: what is on it, and that it is one in a real browser."""

import base64
import io
import re
from html import unescape
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

import fastload
from ssl4eo_train.evaluate.numbers.number import percent
from ssl4eo_train.evaluate.outcome import Mapped, Scored
from ssl4eo_train.evaluate.pages import charts, report
from ssl4eo_train.evaluate.pages import examples as chosen
from ssl4eo_train.evaluate.pages.report_examples import UNKNOWN, map_of, palette
from tests.fastload.test_inspect import tags
from tests.ssl4eo_train.evaluate import made, results

KINDS = ("class", "labels", "segment", "change")


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    found = {}
    for kind in KINDS:
        found[kind] = tmp_path_factory.mktemp(kind)
        report.write(found[kind], results.made(kind), results.examples(kind), ignored=255)
    return {kind: folder / "report.html" for kind, folder in found.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_the_page_needs_nothing_else(pages: dict[str, Path], kind: str) -> None:
    text = pages[kind].read_text()
    assert "<script" not in text
    for tag, attributes in tags(pages[kind]):
        for name in ("src", "href", "xlink:href"):
            value = attributes.get(name) or "data:"
            assert value.startswith(("data:", "#")), (tag, value)
    remote = re.findall(r"url\((?!data:|#)|@import|https?://\S+", text)
    assert {url for url in remote if "www.w3.org" not in url} == set()


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_on_it(pages: dict[str, Path], kind: str) -> None:
    """Names are text, whatever is in them; the numbers are those of the result."""
    text, content = pages[kind].read_text(), results.made(kind)
    assert "<bare>" not in text
    assert "<list>" not in text
    assert "a<b>" not in text
    shown = unescape(re.sub(r"<[^>]+>", " ", text))
    for words in ("by <list> & name", "the best l2 is the last one tried", "runs/x_y: backbone"):
        assert words in shown
    for number in content["numbers"].values():
        assert percent(number) in shown
    for name in content["classes"]:
        assert name in shown
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


def test_tables_have_heads_and_images_have_texts(pages: dict[str, Path]) -> None:
    for page in pages.values():
        found = tags(page)
        texts = [a["alt"] for tag, a in found if tag == "img"]
        assert texts
        assert all(texts)
        assert len(set(texts)) == len(texts)
        count = sum(tag == "table" for tag, _ in found)
        assert count == sum(tag == "caption" for tag, _ in found) > 1
        assert all("scope" in a for tag, a in found if tag == "th")
        labels = [a.get("aria-label") for tag, a in found if tag == "svg"]
        assert len(labels) == 2
        assert all(labels)


def test_published_figures_stand_beside() -> None:
    """Of the task, the protocol and the share of labels; what was not read is counted only."""
    page = report.html(results.made("labels", protocol="finetune"), DRAWN, [])
    shown = re.sub(r"<[^>]+>", " ", page)
    assert "91.8" in shown
    assert "(same method and backbone)" in shown
    assert "89.3" not in shown
    assert "could not be verified" in shown
    few = results.made("labels", protocol="finetune", fraction=0.1)
    assert "91.8" not in report.html(few, DRAWN, [])
    assert "Trained on 10 % of the labels" in report.html(few, DRAWN, [])


DRAWN = {"classes": "<svg></svg>"}


def test_a_figure_that_is_undefined() -> None:
    content = results.made("class")
    nothing = {"value": None, "low": None, "high": None}
    content["numbers"]["accuracy"] = nothing
    content["per_class"][1]["recall"] = nothing
    assert ">undefined</strong>" in report.html(content, charts.all_charts(content), [])
    assert "undefined" in charts.classes(content)


def test_charts_are_files_and_the_same_again(pages: dict[str, Path]) -> None:
    content = results.made("class")
    assert charts.all_charts(content) == charts.all_charts(content)
    for name in ("classes", "confusion", "history"):
        text = (pages["class"].parent / "charts" / f"{name}.svg").read_text()
        ElementTree.fromstring(text)
        assert not re.search("|".join(charts.PAPER), text)
    words = re.findall(r"<text[^>]*>([^<]*)</text>", charts.classes(content))
    assert "recall in %, with its 95 % interval" in words


def test_the_history_runs_over_what_was_chosen() -> None:
    epochs = [{"epoch": i, "loss": 1 / (i + 1), "val": None} for i in range(3)]
    assert charts.axis_of(epochs, {"epoch": 2}) == "epoch"
    assert charts.axis_of(results.HISTORY, {"l2": 0.1}) == "l2"
    assert charts.axis_of([{"loss": 1}, {"loss": 2}], {}) == ""
    assert "loss" in charts.history(epochs, {"epoch": 2})
    one = {**results.made("class"), "history": results.HISTORY[:1]}
    assert "history" not in charts.all_charts(one)


# --- examples


def test_maps_have_the_classes_colours() -> None:
    colours = palette("segment", 4)
    assert len({tuple(c) for c in colours.tolist()}) == 4
    shown = map_of(np.array([[0, 3, 255, 9]], np.uint8), colours, 255)[0].tolist()
    assert shown == [colours[0].tolist(), colours[3].tolist(), list(UNKNOWN), list(UNKNOWN)]
    assert map_of(np.array([[0]], np.uint8), colours, 0)[0, 0].tolist() == list(UNKNOWN)


class Seen:
    """What of a bench examples look at."""

    def __init__(self, root: Path) -> None:
        from fastload.datasets.eurosat import CLASSES, EuroSAT

        test = EuroSAT(root, "test", "S2RGB", progress=False)
        self.splits: dict[str, fastload.Dataset] = {"test": test}
        self.task = type("Task", (), {"classes": CLASSES})


def test_examples_of_scores(tmp_path: Path) -> None:
    """Some by name alone, others by how wrong they are; their pixels are those on disk."""
    bench: Any = Seen(made.tree(tmp_path))
    keys = [str(key) for key in bench.splits["test"].keys]
    assert len(keys) == 6
    assert keys == sorted(keys)
    targets = torch.tensor([0, 0, 1, 1, 9, 9])
    scores = torch.zeros(6, 10).scatter_(1, targets[:, None], 1.0)
    scores[1, 5], scores[4, 3] = 3.0, 9.0
    found = chosen.of_scores(bench, Scored(scores, targets, 2))
    assert sorted(example.key for example in found) == keys
    by_key = {example.key: example for example in found}
    assert (by_key[keys[4]].truth, by_key[keys[4]].said) == ("SeaLake", "Highway")
    image = Image.open(tmp_path / "2750/SeaLake" / f"{keys[4]}.jpg")
    assert np.array_equal(by_key[keys[4]].images[0], np.asarray(image))
    gap = torch.tensor([0.0, 2.0, 0, 0, 8.0, 0])
    assert chosen.wrongest(bench, gap) == [4, 1]
    assert chosen.by_digest(bench, 3) == chosen.by_digest(bench, 6)[:3]
    assert chosen.of_scores(bench, Mapped(torch.zeros(6, 2, 2), 1)) == []


def test_examples_of_several_labels(tmp_path: Path) -> None:
    bench: Any = Seen(made.tree(tmp_path))
    targets = torch.zeros(6, 10)
    targets[0, :2] = 1
    scores = torch.full((6, 10), -5.0)
    scores[0, 1], scores[3, 0] = 4.0, 8.0
    found = {e.key: e for e in chosen.of_scores(bench, Scored(scores, targets, 2))}
    first, fourth = (found[str(bench.splits["test"].keys[i])] for i in (0, 3))
    assert (first.truth, first.said) == ("AnnualCrop, Forest", "Forest")
    assert (fourth.truth, fourth.said) == ("none", "AnnualCrop")


# --- a browser


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("kind", "width", "scheme"),
    [
        ("class", 1280, "light"),
        ("class", 400, "dark"),
        ("labels", 400, "light"),
        ("segment", 400, "dark"),
        ("change", 320, "light"),
    ],
)
def test_in_a_browser(
    pages: dict[str, Path], browser: Any, kind: str, width: int, scheme: str
) -> None:
    """No word on the console, no request beyond the page, nothing wider than the screen, all
    pictures loaded, and words that stand out from the page."""
    said, asked = list[str](), list[str]()
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(pages[kind].as_uri())
    tab.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    sizes = tab.evaluate("[...document.images].map(i => [i.naturalWidth, i.complete])")
    assert sizes
    assert all(natural in (32, 150) and complete for natural, complete in sizes)
    for i in range(2):
        shot = tab.locator(".chart svg").nth(i).screenshot()
        chart = np.asarray(Image.open(io.BytesIO(shot)).convert("L"), float)
        assert abs(np.median(chart) - (250 if scheme == "light" else 20)) < 15
        assert chart.std() > 5
    colour = "getComputedStyle(document.querySelector('.chart text')).fill"
    assert tab.evaluate(colour) == tab.evaluate("getComputedStyle(document.body).color")
    tab.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [pages[kind].as_uri()]


def test_pictures_of_large_images_are_smaller(pages: dict[str, Path]) -> None:
    uris = re.findall(r'src="data:image/png;base64,([^"]+)"', pages["class"].read_text())
    images = [Image.open(io.BytesIO(base64.b64decode(uri))) for uri in uris]
    assert [image.size for image in images] == [(32, 32), (150, 150)]
