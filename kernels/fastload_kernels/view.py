"""What a view is: the description, and the parameters drawn from it.

A `View` is frozen data. `draw` turns it into one `VIEW_PARAMS` record per (sample, view), a pure
function of (seed, epoch, sample, view). `reference` and `cpu` obey such records.

The operation, in this order (see `reference` for the definition in code): radiometry,
crop box, resample, flips and turns, brightness, contrast, gray, blur, solarize, band drop, store.
With `View.steps` other than "fused", `stepwise` is the definition.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastload_kernels.compiled import jit
from fastload_kernels.philox import SHARED, choice, uniform, words
from fastload_kernels.resample import TAPS

Range = tuple[float, float]
STEPS = ("fused", "clip", "uint8", "uint8_wrap")
"""See `View.steps`."""
Records = TypeVar("Records", np.void, NDArray[np.void])
"""One or many of `VIEW_PARAMS`."""

VIEW_PARAMS = np.dtype(
    [
        ("timestamp", "<i4"),  # -1: all of them
        ("top", "<i4"),
        ("left", "<i4"),
        ("height", "<i4"),
        ("width", "<i4"),
        ("brightness", "<f4"),  # 1: none
        ("contrast", "<f4"),  # 1: none
        ("sigma", "<f4"),  # 0: no blur; in output pixels
        ("solarize", "<f4"),  # threshold; NaN: none
        ("saturation", "<f4"),  # 1: none; of `View.colours` "rgb" alone, as the next two
        ("hue", "<f4"),  # 0: none; in turns
        ("order", "u1"),  # of the jitter's operations, in `stepwise.ORDERS`
        ("solarize_dark", "u1"),  # 1: invert below the threshold, 0: at and above it
        ("gray", "u1"),
        ("transpose", "u1"),  # applied before the flips
        ("flip_y", "u1"),
        ("flip_x", "u1"),
    ],
    align=True,
)
"""One drawn view. Boxes are whole source pixels."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A description of one augmented view, shared by all modalities of a sample.

    Probabilities are in [0, 1] and default to never. `scale=None` is a plain crop of `size` source
    pixels without resampling; otherwise `scale` is the range of the crop's area as a fraction of
    the source's, and the crop is resampled to `size`.
    """

    size: int | tuple[int, int]
    """Output height and width in pixels."""
    scale: Range | None = None
    ratio: Range = (3 / 4, 4 / 3)
    """Range of the crop's width / height."""
    ratio_law: Literal["log", "uniform"] = "log"
    """`log`: uniform in the logarithm, as torchvision. `uniform`: uniform, then width and height
    swapped with probability 1/2, as cvtorchvision, which SSL4EO-S12 trained with."""
    center: bool = False
    """Crop at the centre (the whole source where `scale` is given), without a draw."""
    interpolation: Literal["nearest", "bilinear", "bicubic"] = "bilinear"
    """`nearest` takes pixel ``floor((o + 0.5) * n_in / n_out)``, as torch's nearest-exact."""
    timestamp: Literal["independent", "same", "distinct", "as_first", "all"] | int = "independent"
    """`independent`: each view draws one; `same`: one draw shared by the views that say so;
    `distinct`: such views of a sample take different ones; `as_first`: that of the sample's first
    view; `all`; or an index."""
    hflip: float = 0.0
    vflip: float = 0.0
    d4: float = 0.0
    """Probability of one of the square's eight symmetries, drawn evenly."""
    jitter: float = 0.0
    """Probability of brightness and contrast, together."""
    brightness: float = 0.0
    """Factor uniform in ``[1 - b, 1 + b]``."""
    contrast: float = 0.0
    """Factor about the band's mean over the view, uniform in ``[1 - c, 1 + c]``."""
    gray: float = 0.0
    blur: float = 0.0
    sigma: Range = (0.1, 2.0)
    """Standard deviation of the blur in output pixels, drawn uniformly."""
    solarize: float = 0.0
    solarize_threshold: float = 0.5
    solarize_dark: bool = False
    """Invert below the threshold (as SSL4EO-S12's code) instead of at and above it (as PIL)."""
    drop: float = 0.0
    """Probability that some bands are set to zero."""
    drop_bands: tuple[int, int] = (1, 6)
    """Fewest and most bands dropped; always fewer than there are."""
    steps: Literal["fused", "clip", "uint8", "uint8_wrap"] = "fused"
    """How values are kept between the colour operations. `fused`: as they come, all but solarize as
    one linear map. The others run one after another on values in [0, 1]: `clip` clips after each;
    `uint8` keeps whole levels of 255, from the pixels on disk on, truncated and clipped as code on
    8-bit images does; `uint8_wrap` lets what leaves [0, 255] wrap modulo 256, as SSL4EO-S12's
    code. See `fastload_kernels.stepwise`. Slower than `fused`, and of the same speed each."""
    colours: Literal["bands", "rgb"] = "bands"
    """`bands`: contrast is about each band's mean, gray is the mean over bands. `rgb`, for
    modalities of red, green and blue alone: torchvision's ColorJitter and Grayscale, contrast about
    the mean luma, gray is the luma, and the jitter's operations come in a random order."""
    saturation: float = 0.0
    """Factor about the luma, uniform in ``[1 - s, 1 + s]``; of colours "rgb", a part of jitter."""
    hue: float = 0.0
    """Shift uniform in ``[-h, h]`` turns, at most half a one; likewise."""
    crop_last: bool = False
    """Change colours and blur in the source, and crop and resample what comes out, as SeCo does in
    its main mode; `sigma` is then in source pixels. Not with steps "fused"."""

    def __post_init__(self) -> None:
        for name in ("hflip", "vflip", "d4", "jitter", "gray", "blur", "solarize", "drop"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"View.{name} must be in [0, 1], got {getattr(self, name)}")
        if min(self.shape) < 1:
            raise ValueError(f"View.size must be positive, got {self.size}")
        if self.d4 and self.shape[0] != self.shape[1]:
            raise ValueError(f"View.d4 turns the view, so it needs a square size, got {self.size}")
        if self.scale is not None and not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError(f"View.scale must be 0 < low <= high <= 1, got {self.scale}")
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ValueError(f"View.ratio must be 0 < low <= high, got {self.ratio}")
        if not 0 <= self.sigma[0] <= self.sigma[1]:
            raise ValueError(f"View.sigma must be 0 <= low <= high, got {self.sigma}")
        if not 0 <= self.brightness <= 1 or not 0 <= self.contrast <= 1:
            raise ValueError("View.brightness and View.contrast must be in [0, 1]")
        if not 1 <= self.drop_bands[0] <= self.drop_bands[1]:
            raise ValueError(f"View.drop_bands must be 1 <= few <= most, got {self.drop_bands}")
        if isinstance(self.timestamp, int):
            if self.timestamp < 0:
                raise ValueError(f"View.timestamp must not be negative, got {self.timestamp}")
        elif self.timestamp not in ("independent", "same", "distinct", "as_first", "all"):
            raise ValueError(f"View.timestamp must be a policy or an index, got {self.timestamp!r}")
        if self.interpolation not in TAPS:
            *others, last = map(repr, TAPS)
            raise ValueError(
                f"View.interpolation must be {', '.join(others)} or {last}, "
                f"got {self.interpolation!r}"
            )
        if self.ratio_law not in ("log", "uniform"):
            raise ValueError(f"View.ratio_law must be 'log' or 'uniform', got {self.ratio_law!r}")
        self._check_steps()

    def _check_steps(self) -> None:
        if self.steps not in STEPS:
            raise ValueError(f"View.steps must be one of {', '.join(STEPS)}, got {self.steps!r}")
        if self.colours not in ("bands", "rgb"):
            raise ValueError(f"View.colours must be 'bands' or 'rgb', got {self.colours!r}")
        for name, value, most in (("saturation", self.saturation, 1), ("hue", self.hue, 0.5)):
            if not 0 <= value <= most:
                raise ValueError(f"View.{name} must be in [0, {most}], got {value}")
            if value and self.colours != "rgb":
                raise ValueError(f"View.{name} is of red, green and blue: it needs colours='rgb'")
        for name in ("colours", "crop_last"):
            if self.steps == "fused" and getattr(self, name) not in ("bands", False):
                raise ValueError(
                    f"View.{name} {getattr(self, name)!r} is for operations one after another: "
                    "choose View.steps other than 'fused'"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Output (height, width)."""
        return (self.size, self.size) if isinstance(self.size, int) else self.size


@dataclass(frozen=True)
class Scaling:
    """Radiometry as numbers: ``y = clip((x - offset_c) * scale_c, low_c, high_c)``.

    Each array is float32 ``[C]``; unclipped bands have infinite limits.
    """

    offset: NDArray[np.float32]
    scale: NDArray[np.float32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    fill: float | None = None
    """What y is where x is NaN or infinite; None leaves it to the formula."""
    labels: bool = False
    """Whether pixels are names and no amounts: of a view only the geometry is theirs, and they are
    resampled by nearest."""
    rgb: tuple[int, int, int] | None = None
    """Which bands are red, green and blue, where there are no others."""

    @classmethod
    def make(
        cls,
        offset: ArrayLike,
        scale: ArrayLike,
        low: ArrayLike = -np.inf,
        high: ArrayLike = np.inf,
        bands: int | None = None,
        *,
        fill: float | None = None,
        labels: bool = False,
        rgb: tuple[int, int, int] | None = None,
    ) -> "Scaling":
        """Build from numbers or sequences, broadcast to `bands` where given."""
        fields = np.broadcast_arrays(offset, scale, low, high, np.empty(bands or 1))[:4]
        arrays = [np.ascontiguousarray(f, dtype=np.float32) for f in fields]
        return cls(arrays[0], arrays[1], arrays[2], arrays[3], fill, labels, rgb)

    def substitutes(self) -> tuple[NDArray[np.float32], ...]:
        """What NaN, +infinity and -infinity become, each float32 ``[C]``.

        NaN stays, infinity is clipped, and NaN where nothing clips it; labels pass as they are, and
        `fill` stands for all three.
        """
        C = len(self.offset)
        if self.fill is not None:
            return (np.full(C, self.fill, np.float32),) * 3
        nan = np.full(C, np.nan, np.float32)
        plus = np.where(self.scale < 0, self.low, self.high)
        minus = np.where(self.scale < 0, self.high, self.low)
        if not self.labels:
            plus, minus = (np.where(np.isinf(end), nan, end) for end in (plus, minus))
        return nan, plus, minus

    def seen(
        self, params: Records, view: View, keep: NDArray[np.uint8] | None
    ) -> tuple[Records, View, NDArray[np.uint8] | None]:
        """What of a view is for these pixels: all of it, or for labels its geometry.

        Args:
            params: records of `VIEW_PARAMS`, any shape.
            view, keep: as `fastload_kernels.reference.apply`.

        Raises:
            ValueError: where the view wants red, green and blue, and these are other bands.
        """
        if self.labels:
            return without_colours(params), geometry(view, "nearest"), None
        if view.colours == "rgb" and self.rgb is None:
            raise ValueError(
                "View.colours 'rgb' is for red, green and blue alone, which these "
                f"{len(self.offset)} bands are not known to be"
            )
        return params, view, keep


def geometry(view: View, interpolation: Literal["nearest"] | None = None) -> View:
    """The view without its colours: what labels see of it, resampled by nearest."""
    never: dict[str, Any] = dict.fromkeys(
        ("jitter", "gray", "blur", "solarize", "drop", "saturation", "hue"), 0.0
    )
    plain: dict[str, Any] = {"steps": "fused", "colours": "bands", "crop_last": False}
    how = interpolation or view.interpolation
    return replace(view, interpolation=how, **never, **plain)


def without_colours(params: Records) -> Records:
    """A copy of records of `VIEW_PARAMS` that keeps timestamp, box, flips and turns."""
    plain = params.copy()
    plain["brightness"] = plain["contrast"] = plain["saturation"] = 1
    plain["sigma"], plain["gray"], plain["hue"], plain["solarize"] = 0, 0, 0, np.nan
    return plain


# Which random word decides what. Every option has its own, so that switching one on or off leaves
# the draws of the others as they were.
_TIMESTAMP, _HFLIP, _VFLIP, _D4, _D4_ELEMENT, _JITTER, _BRIGHTNESS, _CONTRAST = range(8)
_GRAY, _BLUR, _SIGMA, _SOLARIZE, _DROP, _DROP_COUNT, _SATURATION, _HUE = range(8, 16)
_CROP, _ATTEMPTS, _WORDS_PER_ATTEMPT = 16, 10, 8
_ORDER = _CROP + 5  # which the first attempt leaves over
_BANDS = _CROP + _ATTEMPTS * _WORDS_PER_ATTEMPT


def draw(
    views: Sequence[View],
    seed: int,
    epoch: int,
    samples: ArrayLike,
    height: int,
    width: int,
    timestamps: int | NDArray[np.integer[Any]],
) -> NDArray[np.void]:
    """Draw the parameters of every view of every sample.

    Args:
        views: the V descriptions.
        seed, epoch: see `fastload_kernels.philox.words`.
        samples: sample ids ``[N]``.
        height, width: source size in pixels.
        timestamps: how many timestamps each sample has, at least 1; or as many for each ``[N]``,
            among whose first ones its views are drawn.

    Returns:
        ``[N, V]`` records of `VIEW_PARAMS`.

    Raises:
        ValueError: where a plain crop is larger than the source, a view wants a timestamp that is
            not there, or more views want distinct timestamps than there are.
    """
    samples = np.atleast_1d(np.asarray(samples))
    params = np.zeros((len(samples), len(views)), VIEW_PARAMS)
    params["timestamp"] = draw_timestamps(views, seed, epoch, samples, timestamps)
    for v, view in enumerate(views):
        w = words(seed, epoch, samples, v, 0, _BANDS)
        u = uniform(w[:, :_CROP])
        p = params[:, v]
        p["top"], p["left"], p["height"], p["width"] = _crop(view, w[:, _CROP:], height, width)
        element = np.where(u[:, _D4] < view.d4, choice(w[:, _D4_ELEMENT], 8), 0)
        p["transpose"] = element & 1
        p["flip_y"] = ((element >> 1) & 1) ^ (u[:, _VFLIP] < view.vflip)
        p["flip_x"] = ((element >> 2) & 1) ^ (u[:, _HFLIP] < view.hflip)
        jitter = u[:, _JITTER] < view.jitter
        for name, slot, spread in (
            ("brightness", _BRIGHTNESS, view.brightness),
            ("contrast", _CONTRAST, view.contrast),
            ("saturation", _SATURATION, view.saturation),
        ):
            p[name] = np.where(jitter, 1 + spread * (2 * u[:, slot] - 1), 1)
        p["hue"] = np.where(jitter, view.hue * (2 * u[:, _HUE] - 1), 0)
        p["order"] = choice(w[:, _ORDER], 24) if view.colours == "rgb" else 0
        p["gray"] = u[:, _GRAY] < view.gray
        sigma = view.sigma[0] + (view.sigma[1] - view.sigma[0]) * u[:, _SIGMA]
        p["sigma"] = np.where(u[:, _BLUR] < view.blur, sigma, 0)
        p["solarize"] = np.where(u[:, _SOLARIZE] < view.solarize, view.solarize_threshold, np.nan)
        p["solarize_dark"] = view.solarize_dark
    return params


def draw_bands(
    views: Sequence[View], seed: int, epoch: int, samples: ArrayLike, bands: int
) -> NDArray[np.uint8]:
    """Draw which bands every view keeps: uint8 ``[N, V, C]``, 1 is keep, 0 is drop."""
    samples = np.atleast_1d(np.asarray(samples))
    keep = np.ones((len(samples), len(views), bands), np.uint8)
    for v, view in enumerate(views):
        most = min(view.drop_bands[1], bands - 1)
        fewest = min(view.drop_bands[0], most)
        if view.drop == 0 or most == 0:
            continue
        w = words(seed, epoch, samples, v, 0, _CROP)
        dropped = np.where(
            uniform(w[:, _DROP]) < view.drop,
            fewest + choice(w[:, _DROP_COUNT], most - fewest + 1),
            0,
        )
        rank = words(seed, epoch, samples, v, _BANDS, bands).argsort(axis=1, kind="stable")
        rank = rank.argsort(axis=1, kind="stable")
        keep[:, v] = rank >= dropped[:, None]
    return keep


def draw_timestamps(
    views: Sequence[View],
    seed: int,
    epoch: int,
    samples: NDArray[np.int64],
    timestamps: int | NDArray[np.integer[Any]],
) -> NDArray[np.int64]:
    """Draw only the timestamp of each view, ``[N, V]``; -1 is all. Arguments as of `draw`."""
    T = np.asarray(timestamps, np.int64)
    fewest, most = int(T.min(initial=_MANY)), int(T.max(initial=1))
    _check_timestamps(views, fewest)
    out = np.empty((len(samples), len(views)), np.int64)
    distinct = [v for v, view in enumerate(views) if view.timestamp == "distinct"]
    shared = words(seed, epoch, samples, SHARED, 0, 4 + (most if distinct else 0))
    permutation = _permutations(shared[:, 4:], T)
    for v, view in enumerate(views):
        if view.timestamp == "independent":
            own = words(seed, epoch, samples, v, _TIMESTAMP, 1)[:, 0]
            out[:, v] = choice(own, T)
        elif view.timestamp == "same":
            out[:, v] = choice(shared[:, 0], T)
        elif view.timestamp == "distinct":
            out[:, v] = permutation[:, distinct.index(v)]
        elif view.timestamp == "as_first":
            out[:, v] = out[:, 0]
        else:
            out[:, v] = -1 if view.timestamp == "all" else int(view.timestamp)
    return out


_MANY = 2**31 - 1
"""More timestamps than a view asks for: without samples there is nothing to refuse."""


def fewest_timestamps(views: Sequence[View]) -> int:
    """How many timestamps a sample must have for these views: as many as want distinct ones, and
    one more than the largest index."""
    distinct = sum(view.timestamp == "distinct" for view in views)
    return max([1, distinct, *(1 + v.timestamp for v in views if isinstance(v.timestamp, int))])


def _check_timestamps(views: Sequence[View], fewest: int) -> None:
    """Raise ValueError where a sample with `fewest` timestamps cannot have these views."""
    if views[0].timestamp in ("as_first", "all") and any(v.timestamp == "as_first" for v in views):
        raise ValueError("timestamp 'as_first' needs a first view that shows one timestamp")
    distinct = sum(view.timestamp == "distinct" for view in views)
    if distinct > fewest:
        raise ValueError(f"{distinct} views want distinct timestamps, but there are {fewest}")
    for v, view in enumerate(views):
        if isinstance(view.timestamp, int) and view.timestamp >= fewest:
            raise ValueError(f"view {v} wants timestamp {view.timestamp}, but there are {fewest}")


def _permutations(w: NDArray[np.uint64], T: NDArray[np.int64]) -> NDArray[np.int64]:
    """A permutation of each sample's timestamps by random words ``[N, most]``; what a sample lacks
    comes last."""
    lacking = np.arange(w.shape[1]) >= T[..., None]
    return np.where(lacking, _LAST, w).argsort(axis=1, kind="stable")


_LAST = np.uint64(1 << 32)
"""Above every 32-bit word."""


def _crop(
    view: View, w: NDArray[np.uint64], H: int, W: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Box ``(top, left, height, width)``, each ``[N]``."""
    N = len(w)
    if view.scale is None:
        h, w_ = view.shape
        if h > H or w_ > W:
            raise ValueError(f"a plain crop of {h} x {w_} does not fit a source of {H} x {W}")
        height, width = np.full(N, h), np.full(N, w_)
        if view.center:
            return (height * 0 + (H - h) // 2, width * 0 + (W - w_) // 2, height, width)
        return choice(w[:, 3], H - h + 1), choice(w[:, 4], W - w_ + 1), height, width
    if view.center:
        zero = np.zeros(N, np.int64)
        return zero, zero, zero + H, zero + W
    return _resized_crop(view, w.reshape(N, _ATTEMPTS, _WORDS_PER_ATTEMPT), H, W)


def _resized_crop(
    view: View, w: NDArray[np.uint64], H: int, W: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Torchvision's RandomResizedCrop: the first of ten attempts that fits, else a central box."""
    assert view.scale is not None
    u = uniform(w)
    area = H * W * (view.scale[0] + (view.scale[1] - view.scale[0]) * u[..., 0])
    low, high = view.ratio
    if view.ratio_law == "log":
        log_low, log_high = float(np.log(low)), float(np.log(high))
        ratio = _exp(log_low + (log_high - log_low) * u[..., 1])
    else:
        ratio = low + (high - low) * u[..., 1]
    widths = np.floor(np.sqrt(area * ratio) + 0.5).astype(np.int64)
    heights = np.floor(np.sqrt(area / ratio) + 0.5).astype(np.int64)
    if view.ratio_law == "uniform":
        swap = u[..., 2] < 0.5
        widths, heights = np.where(swap, heights, widths), np.where(swap, widths, heights)
    fits = (widths >= 1) & (heights >= 1) & (widths <= W) & (heights <= H)
    first = fits.argmax(axis=1)
    rows = np.arange(len(w))
    height, width = heights[rows, first], widths[rows, first]
    top = choice(w[rows, first, 3], np.maximum(H - height, 0) + 1)
    left = choice(w[rows, first, 4], np.maximum(W - width, 0) + 1)
    none = ~fits.any(axis=1)
    if none.any():
        box_h, box_w = central_box(view.ratio, H, W)
        height[none], width[none] = box_h, box_w
        top[none], left[none] = (H - box_h) // 2, (W - box_w) // 2
    return top, left, height, width


def central_box(ratio: Range, H: int, W: int) -> tuple[int, int]:
    """Height and width of the box that a crop falls back to where no attempt fits."""
    low, high = ratio
    if low > W / H:
        return round(W / low), W
    return (H, round(H * high)) if high < W / H else (H, W)


@jit()
def _exp(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Exponential by its series in Horner form, for ``|x| < 2``.

    Written with additions and products alone, so that it rounds alike on every machine; NumPy's own
    picks an instruction set at run time.
    """
    y = np.ones_like(x)
    for n in range(24, 0, -1):
        y = 1 + y * x / n
    return y
