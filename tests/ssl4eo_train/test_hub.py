"""Exports as timm's hub and torchgeo load them."""

import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file

from ssl4eo_train import export, weights
from ssl4eo_train.errors import SetupError
from ssl4eo_train.torchgeo import exported
from tests.ssl4eo_train.test_export import features, made

pytestmark = pytest.mark.timeout(180)

CASES = [
    ("moco_v2", "test_resnet", 32),
    ("mae", "test_vit", 32),
    ("data2vec", "vit_tiny_patch16_224", 32),
]


def folder(tmp_path: Path, method: str, arch: str, size: int, **more: Any) -> tuple[Path, Any]:
    learner = made(tmp_path, method, arch, size, **more)
    to = tmp_path / "ours"
    assert export.main([str(tmp_path), "--to", f"{to}/"]) == 0
    return to, learner.backbone


@pytest.mark.parametrize(("method", "arch", "size"), CASES)
def test_timm_loads_the_folder(tmp_path: Path, method: str, arch: str, size: int) -> None:
    to, backbone = folder(tmp_path, method, arch, size)
    assert sorted(os.listdir(to)) == ["README.md", "config.json", "model.safetensors"]
    model = timm.create_model(f"local-dir:{to}", pretrained=True)
    torch.testing.assert_close(features(model), features(backbone))
    assert (model.num_classes, model.pretrained_cfg["input_size"]) == (0, (13, 32, 32))
    other = timm.create_model(f"local-dir:{to}", pretrained=True, num_classes=10)
    assert features(other).shape == (2, 10)
    other.reset_classifier(0)
    torch.testing.assert_close(features(other), features(backbone))


def test_a_folder_is_weights_again(tmp_path: Path) -> None:
    to, backbone = folder(tmp_path, "moco_v2", "test_resnet", 32)
    found = weights.read(to)
    assert (found.source, found.method) == ("an export of a run of moco_v2", "moco_v2")
    assert found.radiometry is not None
    assert found.radiometry.words.startswith("S2L1C: reflectance, clipped to 0 to 1, of B01, ")
    assert torch.equal(found.tensors["conv1.0.weight"], backbone.conv1[0].weight)
    assert export.main([str(tmp_path), "--to", str(to)]) == 0  # An existing folder, again.


def test_the_card_says_how_to_use_it(tmp_path: Path) -> None:
    to, backbone = folder(tmp_path, "mae", "vit_small_patch16_224", 32)
    card = (to / "README.md").read_text()
    assert "reflectance, clipped to 0 to 1, of B01, B02," in card
    program = card.split("```python\n")[1].split("```")[0]
    program = program.replace("hf-hub:USER/ours", f"local-dir:{to}")
    images = torch.rand(2, 13, 32, 32)
    names: dict[str, Any] = {"images": images}
    exec(program, names)
    with torch.no_grad():
        torch.testing.assert_close(names["features"], backbone.eval()(images))
    assert "torchgeo.models.vit_small_patch16_224(weights=weights, img_size=32)" in card


def test_radar_says_its_numbers(tmp_path: Path) -> None:
    to, _ = folder(tmp_path, "moco_v2", "test_resnet", 32, modality="S1GRD", bands=2)
    about = json.loads((to / "config.json").read_text())["pretrained_cfg"]
    # Two standard deviations about the mean: y = (x - (m - 2 s)) / (4 s).
    wants = weights.read(to).radiometry
    assert wants is not None
    assert about["mean"] == pytest.approx(wants.scalings["S1GRD"].offset.tolist(), rel=1e-4)
    assert about["std"] == pytest.approx((1 / wants.scalings["S1GRD"].scale).tolist(), rel=1e-4)
    assert about["std"][0] > 15


class Hub(SimpleHTTPRequestHandler):
    """Serves ``/user/ours/resolve/main/FILE`` as the hub does."""

    protocol_version = "HTTP/1.1"

    def translate_path(self, path: str) -> str:
        return super().translate_path(path.split("/resolve/main")[-1])

    def end_headers(self) -> None:
        self.send_header("X-Repo-Commit", "0" * 40)
        self.send_header("ETag", f'"{self.path.rpartition("/")[2]}"')
        super().end_headers()

    def send_error(self, code: int, *args: Any) -> None:
        self.send_response(code)
        self.send_header("X-Error-Code", "EntryNotFound")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def served(root: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Hub, directory=str(root)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_timm_loads_it_from_a_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    to, backbone = folder(tmp_path, "mae", "test_vit", 32)
    constants = huggingface_hub.constants
    with served(to) as url:
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        monkeypatch.setattr(constants, "ENDPOINT", url)
        template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
        monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        cache = tmp_path / "cache"
        model = timm.create_model("hf-hub:user/ours", pretrained=True, cache_dir=cache)
    torch.testing.assert_close(features(model), features(backbone))
    assert any(path.name == "model.safetensors" for path in cache.rglob("*"))


@pytest.mark.parametrize(
    ("method", "arch"), [("moco_v2", "resnet18"), ("mae", "vit_small_patch16_224")]
)
def test_torchgeo_constructs_it(tmp_path: Path, method: str, arch: str) -> None:
    torchgeo = pytest.importorskip("torchgeo.models", reason="torchgeo is not installed")
    trainers = pytest.importorskip("torchgeo.trainers")
    to, backbone = folder(tmp_path, method, arch, 32)
    found = exported(to)
    size = {"img_size": 32} if arch.startswith("vit") else {}
    model = getattr(torchgeo, arch)(weights=found, num_classes=0, **size)
    torch.testing.assert_close(features(model), features(backbone))
    if not size:
        task = trainers.ClassificationTask(arch, weights=found, in_channels=13, num_classes=3)
        assert torch.equal(task.model.conv1.weight, backbone.conv1.weight)


def test_what_torchgeo_is_told(tmp_path: Path) -> None:
    to, backbone = folder(tmp_path, "moco_v2", "resnet18", 32)
    found = exported(str(to / "model.safetensors"))
    assert (found.meta["in_chans"], found.meta["ssl_method"]) == (13, "moco_v2")
    assert found.meta["bands"][8:10] == ["B8A", "B09"]
    shown = found.transforms(torch.tensor([-5, 2500, 20000.0]).expand(2, 13, 1, 3))
    assert torch.equal(shown, torch.tensor([0, 0.25, 1.0]).expand(2, 13, 1, 3))
    state = found.get_state_dict(progress=True, check_hash=True)
    assert torch.equal(state["conv1.weight"], backbone.conv1.weight)


def test_what_torchgeo_has_no_constructor_of_is_refused(tmp_path: Path) -> None:
    to, _ = folder(tmp_path, "data2vec", "vit_tiny_patch16_224", 32)
    with pytest.raises(SetupError, match="is of beit_base_patch16_224, which torchgeo has no con"):
        exported(to)
    assert "torchgeo has no constructor of beit_base_patch16_224" in (to / "README.md").read_text()
    plain = tmp_path / "x.safetensors"
    save_file({"conv1.weight": torch.zeros(1, 1, 1, 1)}, plain)
    with pytest.raises(SetupError, match=r"x\.safetensors is neither an export nor a run"):
        exported(plain)
