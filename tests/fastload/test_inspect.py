"""``inspect``: the table, the page, and the page in a real browser."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

import fastload
from fastload.cli import main
from fastload.inspect.codecs import codec_of
from fastload.inspect.maps import degrees, world
from fastload.inspect.pictures import MASK, coloured, mask, pictures, stretch
from fastload.inspect.png import png
from fastload.synth import synth
from tests.conformance import toys
from tests.conformance.toy import Memory, npy
from tests.fastload import shardmaker as make

MODALITIES = ("S2L2A", "S1GRD")
VOID = {"meta", "link", "img"}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inspect") / "data <b> & co"
    return synth(folder, 12, modalities=MODALITIES, size=64, samples_per_shard=6, workers=2)


@pytest.fixture(scope="module")
def page(root: Path) -> Path:
    path = root.parent / "page.html"
    command = ["inspect", str(root), "--sample", "0000004", "--recipe", "moco_v2",
               "--image-size", "32", "--html", str(path)]  # fmt: skip
    assert main(command) == 0
    return path


class Tags(HTMLParser):
    """All tags with their attributes; and whether they are closed as they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def tags(page: Path) -> list[tuple[str, dict[str, str | None]]]:
    parser = Tags()
    parser.feed(page.read_text())
    parser.close()
    assert parser.open == []
    return parser.found


def decoded(uri: str | None) -> NDArray[Any]:
    assert uri is not None
    head, _, data = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(data))))


def test_the_table(root: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figures = tmp_path / "f.json"
    assert main(["inspect", str(root), "--sample", "0000004", "--json", str(figures)]) == 0
    said = capsys.readouterr().out
    assert "4 dates x 12 bands x 64 x 64 pixels" in said
    assert "blosc lz4, byte shuffle" in said
    found = json.loads(figures.read_text())
    ds = fastload.open(root, modalities=["S2L2A"], progress=False)
    pixels = ds.read("S2L2A", ds.index_of("0000004")).astype(np.float64)
    assert found["sample"] == "0000004"
    for c, band in enumerate(found["bands"]["S2L2A"]):
        assert band["min"] == pixels[:, c].min()
        assert band["max"] == pixels[:, c].max()
        assert band["mean"] == pytest.approx(pixels[:, c].mean())
    about = found["modalities"]["S2L2A"]
    assert about["samples"] == 12
    assert about["bytes_decoded"] == pixels.size * 2
    chunks = ds.sources["S2L2A"].chunks(np.arange(12), np.ones((12, 4), bool))  # type: ignore[attr-defined]
    assert about["bytes_stored"] == pytest.approx(chunks.rows["stored"].sum() / 12)
    assert about["seasons"]["one_date_in_each"] == 1.0


def test_the_page_needs_nothing_else(page: Path) -> None:
    text = page.read_text()
    assert "<script" not in text
    assert "data &lt;b&gt; &amp; co" in text
    assert "<b>" not in text
    for tag, attributes in tags(page):
        for name in ("src", "href"):
            if name in attributes:
                assert (attributes[name] or "").startswith("data:"), (tag, attributes[name])
    assert not re.search(r"url\((?!data:)|@import|https?://", text)


def test_pictures_of_the_page(page: Path, root: Path) -> None:
    """Each has a text, and shows what is on disk."""
    images = [a for tag, a in tags(page) if tag == "img"]
    texts = [str(a["alt"]) for a in images]
    assert all(texts)
    assert len(set(texts)) == len(texts)
    for kind in ("true colour", "false colour", "vv in dB", "vh in dB", "cloud mask"):
        assert sum(kind in text for text in texts) == 4, kind
    assert sum(text.startswith("View ") for text in texts) == 2 * 2 * 2
    ds = fastload.open(root, modalities=["S1GRD"], progress=False)
    vv = ds.read("S1GRD", ds.index_of("0000004"))[2, 0]
    [uri] = [a["src"] for a in images if "vv in dB, date 2" in str(a["alt"])]
    expected = np.clip((vv.astype(np.float64) + 25) / 25, 0, 1) * 255
    np.testing.assert_allclose(decoded(uri)[..., 0], expected, atol=1)
    shown = [decoded(a["src"]) for a in images if "mask" not in str(a["alt"])]
    assert min(image.std() for image in shown) > 5


def test_drawn_parameters_are_those_of_the_loader(page: Path, root: Path) -> None:
    from fastload.recipes import recipe_of

    recipe = recipe_of("moco_v2", 32)
    ds = fastload.open(root, modalities=["S2L2A"], recipe=recipe, progress=False)
    p = ds.draw(np.array([4]), 0, 1)[0, 1]
    text = page.read_text().partition("Epoch 1, view 1")[2]
    said = re.search(r'<p class="soft">(.*?)</p>', text)
    assert said is not None
    box = f"crop {p['height']} x {p['width']} at row {p['top']}, column {p['left']}"
    assert said[1].startswith(f"date {p['timestamp']}, {box}")
    assert ("blur" in said[1]) == (p["sigma"] > 0)
    assert f'<rect x="{p["left"]}" y="{p["top"]}" width="{p["width"]}"' in text


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--sample", "nowhere"], "there is no sample 'nowhere' among 12, such as 0000000"),
        (["--epochs", "0"], "--epochs must be at least 1"),
        (["--recipe", "moco_v9", "--html", "x.html"], "unknown recipe 'moco_v9'"),
    ],
)
def test_arguments_that_do_not_fit(
    root: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", str(root), *arguments]) == 1
    assert sentence in capsys.readouterr().err


def test_a_modality_that_the_recipe_does_not_fit(tmp_path: Path) -> None:
    """It is left out, with the reason on the page."""

    def one(number: int, modality: str) -> bytes:
        return make.zipped(make.group(make.pixels(f"{modality} {number}"), number=number))

    root = make.write(tmp_path / "d", ("S2L2A", "OTHER"), make=one)
    path = tmp_path / "p.html"
    command = ["inspect", str(root), "--recipe", "moco_v2", "--image-size", "16"]
    assert main([*command, "--html", str(path)]) == 0
    assert "OTHER is left out: statistics" in path.read_text()
    assert main([*command, "--modality", "OTHER", "--html", str(path)]) == 1


def test_real_samples(real: Path, tmp_path: Path) -> None:
    path = tmp_path / "p.html"
    assert main(["inspect", str(real), "--recipe", "series", "--html", str(path)]) == 0
    texts = [str(a["alt"]) for tag, a in tags(path) if tag == "img"]
    assert sum("true colour" in text for text in texts) == 8
    assert any("NDVI" in text for text in texts)


def test_sources_without_chunks(tmp_path: Path) -> None:
    from fastload.inspect.describe import described, table
    from fastload.inspect.page import Seen
    from fastload.inspect.page import page as made

    ds = npy(Memory("toy", toys.arrays()))
    facts = described(ds)
    assert codec_of(ds.sources["toy"]) == "unknown"
    assert facts["toy"]["bytes_stored"] is None
    assert "3 dates x 2 bands x 24 x 20 pixels" in table(facts)
    assert "memory://toy" in made(Seen("memory://toy", ds, 0, facts))


# --- pictures


@pytest.mark.parametrize("shape", [(1, 1), (3, 7), (64, 5)])
def test_png(shape: tuple[int, int]) -> None:
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3)).astype(np.uint8)
    read = Image.open(io.BytesIO(png(image)))
    assert read.mode == "RGB"
    np.testing.assert_array_equal(np.asarray(read), image)


def test_colours_of_pixels() -> None:
    image = np.array([[[0, 50]], [[100, 200]], [[np.nan, -5]]])
    shown = coloured(image, 0, 100)
    assert shown.tolist() == [[[255, 0, 255], [127, 255, 0]]]
    assert stretch(np.zeros((2, 2))) == (-0.5, 0.5)
    assert stretch(np.full((2, 2), np.nan)) == (0.0, 1.0)
    values = np.arange(101.0)
    assert stretch(values) == tuple(np.percentile(values[1:], (1, 99)))


def test_classes_of_masks() -> None:
    numbers = np.arange(8)[None]
    shown = mask(numbers)[0]
    assert ["#" + bytes(c).hex() for c in shown.tolist()[:7]] == [colour for _, colour in MASK]
    assert shown[7].tolist() == [255, 0, 255]


def test_kinds_go_by_names() -> None:
    from fastload.datasets.source import Modality

    bands = ("B8A", "B04", "B02", "B03", "B08")
    m = Modality("S2L2A", 1, 5, 2, 2, np.dtype(np.int16), bands)
    pixels = np.arange(5, dtype=np.int16).reshape(1, 5, 1, 1).repeat(2, 2).repeat(2, 3) * 100
    true, false = (kind[0] for kind in pictures(m, pixels))
    assert true.kind == "true colour"
    assert np.argsort(true.pixels[0, 0]).tolist() == [2, 1, 0] or true.pixels[0, 0].tolist() == [
        0, 255, int(true.pixels[0, 0, 2]),
    ]  # fmt: skip
    assert false.kind.startswith("false colour")


def test_the_map() -> None:
    lon, lat = np.array([10.0, 10.1, np.nan, -170.3]), np.array([50.0, 50.1, 0.0, -20.2])
    shown = world(lon, lat, (10.0, 50.0))
    assert "Map of 3 locations" in shown
    assert 'd="M-170.5 20h0M10 -50h0"' in shown
    assert '<circle class="here" cx="10" cy="-50"' in shown
    assert "No location is known" in world(lon[2:3], lat[2:3], (np.nan, np.nan))
    assert degrees(-35.5, -141.1) == "35.5000° S, 141.1000° W"
    assert degrees(np.nan, 1.0) == "place unknown"


# --- a browser


@pytest.mark.slow
@pytest.mark.timeout(240)
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (360, "dark")])
def test_in_a_browser(page: Path, browser: Any, width: int, scheme: str) -> None:
    """No word on the console, no request beyond the page, nothing wider than the screen, and
    pictures that show something."""
    said, asked = list[str](), list[str]()
    tab = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on("request", lambda request: asked.append(request.url))
    tab.goto(page.as_uri())
    wide = tab.evaluate("document.documentElement.scrollWidth")
    assert wide <= width
    sizes = tab.evaluate("[...document.images].map(i => [i.naturalWidth, i.complete])")
    assert sizes
    assert all(natural in (32, 64) and complete for natural, complete in sizes)
    shot = np.asarray(Image.open(io.BytesIO(tab.screenshot(full_page=True))).convert("L"))
    assert (np.median(shot[:, :4]) > 200) == (scheme == "light")
    for chosen in ("figure img", "svg.map", "figure svg.crop"):
        element = tab.locator(chosen).first
        picture = np.asarray(Image.open(io.BytesIO(element.screenshot())).convert("L"))
        assert min(picture.shape) > 100
        assert picture.std() > 4, chosen
    tab.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [page.as_uri()]
