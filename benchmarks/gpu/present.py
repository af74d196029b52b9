"""What is installed: the fast paths, and what checks and peers need."""

from collections.abc import Callable
from importlib.util import find_spec

from fastload.engines.dali import has_dali
from fastload.engines.device.nvcomp import library


def _module(name: str, why: str) -> Callable[[], str | None]:
    return lambda: None if find_spec(name) else f"{name} is not installed: {why}"


def _nvcomp() -> str | None:
    try:
        library()
    except ImportError as error:
        return f"nvCOMP is not installed: {error}"
    return None


def _dali() -> str | None:
    return None if has_dali() else "DALI is not installed: engine='dali' needs it"


NEEDS: dict[str, Callable[[], str | None]] = {
    "CuPy": _module("cupy", "no kernel of ours can be launched"),
    "nvCOMP": _nvcomp,
    "DALI": _dali,
    "pytest": _module("pytest", "the checks of the kernels are tests"),
    "OpenCV": _module("cv2", "the tests of the kernels compare with it"),
    "timm": _module("timm", "it has the backbones"),
    "torchvision": _module("torchvision", "it is a peer"),
    "kornia": _module("kornia", "it is a peer"),
    "webdataset": _module("webdataset", "the published path reads with it"),
    "zarr": _module("zarr", "the published path reads with it"),
    "fsspec": _module("fsspec", "the published path reads with it"),
}
FAST_PATHS = {
    "CuPy": "nothing is drawn, decoded or rendered on the GPU",
    "nvCOMP": "the GPU decodes nothing",
    "DALI": "only engine='threads' was used, whose bytes torch copies",
}


def lacking(needs: tuple[str, ...]) -> str | None:
    """A sentence on the first of some needs that is not there."""
    return next((why for name in needs if (why := NEEDS[name]()) is not None), None)


def inactive() -> list[str]:
    """A loud sentence for each fast path that cannot be active here."""
    return [
        f"FAST PATH NOT ACTIVE: {name}. {why}; hence {meaning}."
        for name, meaning in FAST_PATHS.items()
        if (why := NEEDS[name]()) is not None
    ]
