"""A backbone as one of the models of torchgeo-bench (github.com/torchgeo/torchgeo-bench, 0.4).

    torchgeo-bench run "hydra.searchpath=[pkg://ssl4eo_train.evaluate.torchgeo_bench_conf]" \\
        model=ssl4eo_train model.checkpoint=backbone.safetensors model.name=mine \\
        dataset.normalization=model_native dataset.bands=all

The benchmark hands over its values as they are on disk. Bands are chosen by name and made into what
the weights were trained on, by what their file says.
"""

import logging
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torchgeo_bench.datasets.base import BandSpec
from torchgeo_bench.models.interface import BenchModel

from ssl4eo_train.errors import SetupError
from ssl4eo_train.evaluate import benchmark_bands as bands_of
from ssl4eo_train.evaluate.pretrained import Channel, Wanted, load


class Backbone(BenchModel):  # type: ignore[misc]
    """A backbone of a run, an export or a published file.

    Args:
        bands: of the benchmark; the runner gives them.
        checkpoint: see `pretrained.load`.
        normalization: of the configuration. It must be "model_native", so that the benchmark's
            table says what was done.
        missing_bands: "error" refuses a benchmark that lacks bands, "zero" shows zeros for them.
        arch, modality, channels, radiometry: what the file does not say, see `pretrained.load`.
        image_size: a transformer's positions are resampled for it.

    Raises:
        SetupError: where the file cannot be read, or it and the benchmark do not go together.
    """

    def __init__(
        self,
        bands: list[BandSpec],
        *,
        checkpoint: str,
        normalization: str = "model_native",
        missing_bands: Literal["error", "zero"] = "error",
        arch: str | None = None,
        modality: str | None = None,
        channels: list[str] | None = None,
        radiometry: Wanted | None = None,
        image_size: int | None = None,
        **_: Any,
    ) -> None:
        if str(normalization) != "model_native":
            raise SetupError(
                "a backbone of ssl4eo_train is shown what its file says, not "
                f"{normalization!r}; set dataset.normalization=model_native"
            )
        if missing_bands not in ("error", "zero"):
            raise SetupError(f"model.missing_bands: expected error or zero, got {missing_bands!r}")
        # "identity", since `normalize_inputs` below is this class's own.
        super().__init__(bands=bands, normalization="identity")
        named = tuple(Channel(modality=modality or "S2L1C", band=name) for name in channels or ())
        found = load(
            checkpoint,
            arch=arch,
            channels=named or None,
            wanted=radiometry,
            image_size=image_size,
        )
        self.backbone = found.network
        self.side = found.image_size if "img_size" in found.call else None
        self.places = bands_of.places(
            [c.band for c in found.channels], self.bands, missing_bands == "zero"
        )
        used = [self.bands[place] for place in self.places if place is not None]
        bands_of.check_decibel(used)
        self._say(used)
        self._register(bands_of.scaling(found), bands_of.unit(used))

    def _say(self, used: list[BandSpec]) -> None:
        """Say which bands are none of the benchmark's, and which it calls by another name."""
        log = logging.getLogger(__name__)
        if len(used) < len(self.places):
            log.warning("zeros for %d of %d bands", len(self.places) - len(used), len(self.places))
        if wrong := bands_of.misnamed(self.bands):
            log.warning("bands that are not what the benchmark calls them: %s", ", ".join(wrong))

    def _register(self, scaling: Any, unit: float) -> None:
        """Keep numbers a channel ``[C, 1, 1]`` where the network is."""
        radar = [p is not None and bands_of.is_radar(self.bands[p]) for p in self.places]
        values = {
            "units": np.where(radar, 1.0, unit),
            **{field: getattr(scaling, field) for field in ("offset", "scale", "low", "high")},
            "shown": np.array([place is not None for place in self.places]),
        }
        for name, value in values.items():
            tensor = torch.from_numpy(np.asarray(value, np.float32))[:, None, None]
            self.register_buffer(name, tensor, persistent=False)

    def normalize_inputs(self, images: Tensor) -> Tensor:
        """Choose and scale bands: ``[B, N, h, w]`` as on disk to ``[B, C, h, w]``.

        Bands that are not there are zero, as the papers show B10 of L2A.
        """
        index = [0 if place is None else place for place in self.places]
        x = images[:, index].float() / self.units
        x = torch.clamp((x - self.offset) * self.scale, self.low, self.high)
        return torch.where(self.shown > 0, x, torch.zeros_like(x))

    def _forward_patch_features(self, images: Tensor) -> Tensor:
        """Features ``[B, F]`` of images that are resampled to what a transformer takes."""
        if self.side is not None and images.shape[-2:] != (self.side, self.side):
            images = F.interpolate(
                images, (self.side, self.side), mode="bilinear", align_corners=False
            )
        features: Tensor = self.backbone(images)
        return features
