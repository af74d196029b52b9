"""Launching: arguments as numbers, sources without a file system, and a shim that notices."""

import numpy as np
import pytest
import torch
from fastload_kernels.cuda import launch
from fastload_kernels.cuda.launch import numbers, pointer, source_text

from tests.kernels.cuda.host import HostDevice

HEAD = 'extern "C" __global__ void kernel(float* x, long long a) {\n'
SOURCES = {
    "reverse.cu": """
  float* s = (float*)shim_dynamic_shared();
  __shared__ int threads;
  const int at = blockIdx.x * blockDim.x + threadIdx.x;
  if (threadIdx.x == 0) threads = 0;
  s[threadIdx.x] = x[at];
  __syncthreads();
  atomicAdd(&threads, 1);
  __syncthreads();
  x[at] = s[blockDim.x - 1 - threadIdx.x] + a * threads;
}""",
    "diverging.cu": "if (threadIdx.x != a) __syncthreads(); }",
    "overrun.cu": "((float*)shim_dynamic_shared())[threadIdx.x + a] = x[0]; }",
    "misaligned.cu": "*(float*)((char*)x + a) = 1; }",
}


@pytest.fixture
def device(tmp_path, monkeypatch):
    for name, body in SOURCES.items():
        (tmp_path / name).write_text(HEAD + body)
    monkeypatch.setattr(launch, "_FOLDER", tmp_path)
    yield HostDevice()
    source_text.cache_clear()


def run(device, name, x, a):
    device.launch(name, "kernel", 2, 4, [x, a], shared=16)


def test_blocks_and_barriers_on_the_host(device):
    x = np.arange(8, dtype=np.float32)
    run(device, "reverse.cu", x, 100)
    np.testing.assert_array_equal(x, 400 + np.array([3, 2, 1, 0, 7, 6, 5, 4]))


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    ("name", "right", "wrong", "message"),
    [
        ("diverging.cu", 9, 3, r"some threads of a block ended while others wait"),
        ("diverging.cu", 9, 0, r"some threads of a block ended while others wait"),
        ("overrun.cu", 0, 1, r"behind the end of its dynamic shared memory"),
        ("misaligned.cu", 4, 2, r"not a multiple of its type's alignment"),
    ],
)
def test_the_shim_notices(device, name, right, wrong, message):
    x = np.zeros(4, np.float32)
    run(device, name, x, right)
    with pytest.raises(RuntimeError, match=f"{name}, kernel kernel: .*{message}"):
        run(device, name, x, wrong)


def test_pointers():
    array, tensor = np.zeros(3), torch.zeros(3)

    class OnDevice:
        __cuda_array_interface__ = {"data": (4096, False)}  # noqa: RUF012, the interface's form

    assert pointer(array) == array.__array_interface__["data"][0]
    assert pointer(tensor) == tensor.data_ptr()
    assert pointer(OnDevice()) == 4096
    assert pointer(np.uint64(2**63)) == 2**63
    assert numbers([2**64 - 1, 2**63, -1, 2**63 - 1]) == [-1, -(2**63), -1, 2**63 - 1]
    with pytest.raises(ValueError, match="at most 16 arguments, got 17"):
        numbers([0] * 17)


def test_each_include_is_pasted_once():
    text = source_text("view.cu")
    assert "#include" not in text
    assert text.count("struct Params {") == 1
    assert text.index("struct Params {") < text.index("struct Tile {")
