"""Every source compiles for every GPU that is supported, as every variant that is used."""

import itertools
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fastload_kernels.cuda
from fastload_kernels.cuda.launch import OPTIONS, source_text
from fastload_kernels.cuda.planning import OUTPUTS, SOURCES

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
READ = [(("SOURCE", source),) for source in SOURCES.values()]
WRITTEN = [
    (("OUTPUT", output), ("CHANNELS_LAST", last), ("COUNT", count))
    for output, last, count in itertools.product(OUTPUTS.values(), "01", "01")
]
PLACED = [
    # From the source to levels, and from levels to the output.
    *[(*read, ("OUTPUT", "float"), ("CHANNELS_LAST", "0"), ("STEPPED", "1")) for read in READ],
    *[(("SOURCE", "float"), *written[:2], ("STEPPED", "2")) for written in WRITTEN],
]
VARIANTS = {
    "mask.cu": READ,
    "measure.cu": READ,
    "colour.cu": [read + written for read, written in itertools.product(READ, WRITTEN)],
    "view.cu": [
        *[(*r, *w, ("STEPPED", "0")) for r, w in itertools.product(READ, WRITTEN)],
        *[(*defines, ("COUNT", "0")) for defines in dict.fromkeys(PLACED)],
    ],
}
FILES = sorted(path.name for path in Path(fastload_kernels.cuda.__file__).parent.glob("*.cu"))
MANY = set(itertools.product(("colour.cu", "view.cu"), ARCHITECTURES))
MANY -= {("view.cu", ARCHITECTURES[1])}
PAIRS = [
    pytest.param(*pair, marks=[pytest.mark.long] if pair in MANY else [])
    for pair in itertools.product(FILES, ARCHITECTURES)
]


def compiled(name, defines, architecture, result="getCUBIN"):
    """The cubin, or the PTX by "getPTX"; what the compiler has to say fails the test."""
    nvrtc = pytest.importorskip("cupy.cuda").nvrtc
    options = [*OPTIONS, f"--gpu-architecture={architecture}"]
    options += [f"-D{key}={value}" for key, value in defines]
    program = nvrtc.createProgram(source_text(name), name, (), ())
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        pytest.fail(f"{name} {defines} {architecture}\n{nvrtc.getProgramLog(program)}")
    assert not nvrtc.getProgramLog(program).strip("\0\n "), (name, defines, architecture)
    return getattr(nvrtc, result)(program)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(("name", "architecture"), PAIRS)
def test_compiles(name, architecture):
    pytest.importorskip("cupy")
    variants = VARIANTS.get(name, [()])
    both = ((d, dict(d)) for d in variants)  # what counts has all that the others have, and more
    variants = [d for d, of in both if of.get("COUNT") != "0" or of.get("STEPPED", "0") != "0"]
    if name == "view.cu" and architecture == ARCHITECTURES[1]:
        # Each pair of what is read and written; all of them are among the long proofs.
        variants = [d for d in variants if dict(d)["STEPPED"] == "0"]
        variants = [d for n, d in enumerate(variants) if n % 4 in (0, 3)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cubins = list(pool.map(lambda defines: compiled(name, defines, architecture), variants))
    assert len(cubins) == len(variants)
    assert all(cubin[:4] == b"\x7fELF" for cubin in cubins)


def test_some_of_what_goes_step_by_step_compiles():
    for name, defines in (
        ("colour.cu", VARIANTS["colour.cu"][3]),
        ("view.cu", (*PLACED[0], ("COUNT", "0"))),
        ("view.cu", (*PLACED[-1], ("COUNT", "0"))),
    ):
        assert compiled(name, defines, ARCHITECTURES[1])[:4] == b"\x7fELF"


@pytest.mark.parametrize("last", "01")
@pytest.mark.parametrize("source", ["int16", "float32"])
def test_counting_is_compiled_in_only_where_it_is_asked_for(source, last):
    for count in "01":
        written = (("OUTPUT", "float"), ("CHANNELS_LAST", last), ("COUNT", count))
        defines = (("SOURCE", SOURCES[source]), *written, ("STEPPED", "0"))
        ptx = compiled("view.cu", defines, "compute_80", "getPTX").decode()
        # Nothing else in this kernel is added up by several threads.
        assert bool(re.search(r"\b(atom|red)\.", ptx)) == (count == "1")


def test_addresses_are_known_to_be_global():
    for name, defines in [("unshuffle.cu", ()), ("view.cu", VARIANTS["view.cu"][0])]:
        ptx = compiled(name, defines, "compute_80", "getPTX").decode()
        generic = re.findall(r"\b(?:ld|st)\.(?:v[24]\.)?[usbf]\d+", ptx)
        assert not generic, (name, generic[:3])
        if name == "unshuffle.cu":
            assert "st.global.v2.u64" in ptx


def test_no_source_is_forgotten():
    assert {"draw.cu", "mask.cu", "measure.cu", "unshuffle.cu", "view.cu"} <= set(FILES)
    assert set(VARIANTS) <= set(FILES)
