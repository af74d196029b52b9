"""Reflectance and backscatter of materials, and the air above them.

Reflectances are typical Sentinel-2 values times 10000, from general knowledge of vegetation, soil,
water, snow and town spectra; they are not measurements.
"""

import numpy as np

from fastload.synth.streams import F32

S2L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
S2L1C = (*S2L2A[:10], "B10", *S2L2A[10:])
S2RGB = ("R", "G", "B")
S1GRD = ("vv", "vh")
BANDS = {"S2L1C": S2L1C, "S2L2A": S2L2A, "S1GRD": S1GRD, "S2RGB": S2RGB}
"""Band names by modality, in the order on disk."""
OPTICAL = ("S2L1C", "S2L2A", "S2RGB")

STEP = {band: 6 if band in ("B01", "B09", "B10") else 2 for band in S2L1C}
STEP.update({"B02": 1, "B03": 1, "B04": 1, "B08": 1})
"""Width of a native pixel in 10 m pixels."""
CIRRUS_BAND = "B10"

_GROUND = {  # what is seen where nothing grows
    "clay": (480, 560, 760, 930, 1120, 1270, 1420, 1570, 1680, 1780, 2200, 1850),
    "loam": (650, 800, 1100, 1400, 1650, 1800, 1950, 2100, 2250, 2350, 2900, 2450),
    "sand": (1150, 1450, 2150, 2850, 3250, 3450, 3650, 3750, 3950, 4050, 4800, 4300),
    "laterite": (420, 560, 920, 1700, 2100, 2300, 2450, 2500, 2650, 2700, 3350, 2750),
    "litter": (300, 380, 520, 660, 900, 1200, 1400, 1500, 1650, 1700, 1950, 1300),
    "straw": (520, 680, 1040, 1350, 1700, 2050, 2250, 2400, 2550, 2600, 3200, 2300),
    "mud": (260, 320, 440, 440, 600, 800, 900, 950, 1000, 1000, 750, 450),
    "clear": (330, 310, 290, 170, 140, 95, 85, 75, 65, 55, 30, 20),
    "turbid": (560, 700, 1000, 900, 850, 480, 440, 360, 310, 270, 100, 60),
    "concrete": (950, 1120, 1350, 1500, 1620, 1760, 1850, 2000, 2050, 2100, 2300, 2100),
    "tiles": (600, 700, 950, 1500, 1750, 1900, 2000, 2100, 2200, 2250, 2600, 2200),
    "asphalt": (620, 740, 860, 930, 1000, 1070, 1120, 1180, 1220, 1240, 1400, 1300),
    "stone": (780, 920, 1120, 1270, 1400, 1500, 1600, 1700, 1800, 1850, 2250, 2050),
    "firn": (8000, 8300, 8300, 8200, 8100, 7900, 7700, 7600, 7200, 6800, 550, 480),
}  # fmt: skip
_GREEN = {  # full leaf
    "cereal": (230, 290, 600, 340, 1000, 2900, 3700, 3900, 4000, 3900, 1900, 900),
    "maize": (230, 270, 620, 310, 1000, 3000, 4000, 4200, 4300, 4200, 2000, 900),
    "rape": (270, 320, 1150, 850, 1600, 3300, 4000, 4200, 4300, 4200, 2200, 1100),
    "rice": (230, 280, 540, 320, 850, 2500, 3200, 3400, 3500, 3400, 1300, 550),
    "broadleaf": (150, 200, 430, 240, 720, 2500, 3300, 3500, 3600, 3500, 1600, 680),
    "conifer": (120, 160, 300, 190, 470, 1350, 1750, 1850, 1950, 1950, 930, 430),
    "rainforest": (150, 190, 400, 220, 650, 2400, 3200, 3400, 3500, 3500, 1500, 620),
    "meadow": (240, 310, 640, 410, 1050, 2500, 3000, 3200, 3300, 3200, 2200, 1200),
    "scrub": (240, 310, 540, 440, 900, 1800, 2200, 2350, 2500, 2500, 2000, 1250),
    "reed": (220, 280, 490, 370, 760, 1700, 2100, 2200, 2250, 2200, 1250, 620),
}  # fmt: skip

CLOUD: F32 = np.array(
    (6300, 6300, 6200, 6200, 6300, 6400, 6450, 6500, 6450, 5200, 4300, 3400), np.float32
)
"""Reflectance ``[12]`` of a thick cloud, x 10000."""
SNOW: F32 = np.array(
    (8300, 8500, 8500, 8400, 8300, 8200, 8000, 7900, 7600, 7200, 1050, 850), np.float32
)
"""Reflectance ``[12]`` of fresh snow, x 10000."""
TEXTURE_SIGN: F32 = np.array((-1, -1, -0.6, -1, -0.4, 0.5, 1, 1, 1, 1, -0.4, -0.7), np.float32)
"""How a pixel with more leaves differs ``[12]``: darker where they absorb, brighter in NIR."""

NOISE: F32 = np.array((3, 5, 5, 6, 6, 6, 7, 9, 7, 4, 6, 6), np.float32)
"""Standard deviation of the noise of dark native pixels ``[12]``, DN."""
NOISE_GAIN = {1: 0.013, 2: 0.022, 6: 0.006}
"""What noise and unresolved detail add per DN of signal, by the width of a native pixel.

Chosen so that lz4 packs each band about as well as in real scenes."""

# Top of atmosphere from surface: path + through * surface. Fitted to the published means of both
# levels (fastload.statistics): the blue bands gain light from the air, B09 loses it to vapour.
PATH: F32 = np.array((1060, 680, 350, 205, 90, 95, 95, 85, 80, 40, 20, 8), np.float32)
THROUGH: F32 = np.array(
    (0.72, 0.80, 0.84, 0.89, 0.90, 0.91, 0.94, 0.88, 0.96, 0.30, 0.91, 0.84), np.float32
)
DATES_SPREAD_OF_PATH = 0.18


def ground(name: str) -> F32:
    """Reflectance ``[12]`` of a bare material, x 10000."""
    return np.array(_GROUND[name], np.float32)


def green(name: str) -> F32:
    """Reflectance ``[12]`` of a material in full leaf, x 10000."""
    return np.array(_GREEN[name], np.float32)
