"""Every source compiles for every GPU that is supported, as every variant that is used."""

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fastload_kernels.cuda
import pytest
from fastload_kernels.cuda.launch import OPTIONS, source_text
from fastload_kernels.cuda.view import OUTPUTS, SOURCES

ARCHITECTURES = ("sm_80", "sm_90", "sm_100")
READ = [(("SOURCE", source),) for source in SOURCES.values()]
WRITTEN = [
    (("OUTPUT", output), ("CHANNELS_LAST", last))
    for output, last in itertools.product(OUTPUTS.values(), "01")
]
VARIANTS = {
    "measure.cu": READ,
    "view.cu": [read + written for read, written in itertools.product(READ, WRITTEN)],
}
FILES = sorted(path.name for path in Path(fastload_kernels.cuda.__file__).parent.glob("*.cu"))


def compiled(name, defines, architecture):
    """The cubin; what the compiler has to say fails the test."""
    nvrtc = pytest.importorskip("cupy.cuda").nvrtc
    options = [*OPTIONS, f"--gpu-architecture={architecture}"]
    options += [f"-D{key}={value}" for key, value in defines]
    program = nvrtc.createProgram(source_text(name), name, (), ())
    try:
        nvrtc.compileProgram(program, options)
    except nvrtc.NVRTCError:
        pytest.fail(f"{name} {defines} {architecture}\n{nvrtc.getProgramLog(program)}")
    assert not nvrtc.getProgramLog(program).strip("\0\n "), (name, defines, architecture)
    return nvrtc.getCUBIN(program)


@pytest.mark.timeout(600)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("name", FILES)
def test_compiles(name, architecture):
    pytest.importorskip("cupy")
    variants = VARIANTS.get(name, [()])
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        cubins = list(pool.map(lambda defines: compiled(name, defines, architecture), variants))
    assert len(cubins) == len(variants)
    assert all(cubin[:4] == b"\x7fELF" for cubin in cubins)


def test_no_source_is_forgotten():
    assert {"draw.cu", "measure.cu", "view.cu"} <= set(FILES)
    assert set(VARIANTS) <= set(FILES)
