"""Launching: arguments as numbers, limits of functions, and a shim that notices."""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastload_kernels.cuda import launch
from fastload_kernels.cuda.launch import CudaDevice, numbers, pointer, source_text
from fastload_kernels.cuda.shared_memory import Limits
from tests.kernels.cuda.host import ORDERS, HostDevice

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
    "ticket.cu": "x[blockIdx.x * blockDim.x + threadIdx.x] = atomicAdd(x + a, 1.0f); }",
    "racing.cu": """
  float* s = (float*)shim_dynamic_shared();
  s[threadIdx.x] = x[threadIdx.x];
  x[threadIdx.x] = s[a - threadIdx.x];
}""",
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


def test_blocks_and_threads_in_each_order(device):
    tickets = {}
    for order in ORDERS:
        x = np.zeros(9, np.float32)
        run(HostDevice(order), "ticket.cu", x, 8)
        tickets[order] = x[:8].tolist()
        assert sorted(tickets[order]) == list(range(8))
        again = np.zeros(9, np.float32)
        run(HostDevice(order), "ticket.cu", again, 8)
        np.testing.assert_array_equal(x, again)
    assert tickets["forward"] == list(range(8))
    assert tickets["reverse"] == list(range(7, -1, -1))
    assert tickets["random"] not in (tickets["forward"], tickets["reverse"])


def test_an_order_shows_a_missing_barrier(device):
    found = set()
    for order in ORDERS:
        x = np.arange(4, dtype=np.float32)
        HostDevice(order).launch("racing.cu", "kernel", 1, 4, [x, 3], shared=16)
        found.add(x.tobytes())
    assert len(found) > 1


class Kernel:
    """Looks like a `cupy.RawKernel`, and records what is done to it."""

    def __init__(self, shared_size_bytes=12):
        self.shared_size_bytes, self.limits, self.launches = shared_size_bytes, [], []

    @property
    def max_dynamic_shared_size_bytes(self):
        return self.limits[-1] if self.limits else 48 * 1024 - self.shared_size_bytes

    @max_dynamic_shared_size_bytes.setter
    def max_dynamic_shared_size_bytes(self, size):
        self.limits.append(size)

    def __call__(self, grid, block, args, shared_mem):
        assert shared_mem <= self.max_dynamic_shared_size_bytes
        self.launches.append((grid, block, shared_mem))


def test_a_limit_is_raised_once_per_function_and_device():
    limits = Limits({0: 101376, 1: 232448}.__getitem__)
    a, b = Kernel(), Kernel(0)
    for _ in range(3):
        for device in (0, 1):
            limits.lift(a, device)
        limits.lift(b, 1)
    assert a.limits == [101376 - 12, 232448 - 12]
    assert b.limits == [232448]


def test_a_limit_that_could_not_be_raised_is_tried_again():
    sizes = iter([RuntimeError("no device"), 101376])

    def per_block(device):
        size = next(sizes)
        if isinstance(size, Exception):
            raise size
        return size

    limits, kernel = Limits(per_block), Kernel()
    with pytest.raises(RuntimeError, match="no device"):
        limits.lift(kernel, 0)
    limits.lift(kernel, 0)
    assert kernel.limits == [101364]


def test_threads_raise_a_limit_once():
    together, kernel = threading.Barrier(8), Kernel()
    limits = Limits(lambda device: 101376)

    def lift(_):
        together.wait()
        limits.lift(kernel, 0)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lift, range(8)))
    assert kernel.limits == [101364]


def test_launches_leave_the_limit_alone(monkeypatch):
    kernel, streams = Kernel(), []

    def stream(foreign):
        streams.append(foreign.__cuda_stream__())
        return nullcontext()

    runtime = SimpleNamespace(getDevice=lambda: 0)
    cuda = SimpleNamespace(runtime=runtime, Stream=SimpleNamespace(from_external=stream))
    monkeypatch.setitem(sys.modules, "cupy", SimpleNamespace(cuda=cuda))
    monkeypatch.setattr(launch, "_function", lambda *key: kernel)
    monkeypatch.setattr(launch, "_limits", Limits(lambda device: 101376))
    device = CudaDevice(7)
    device.launch("view.cu", "view", 0, 256, [], shared=100_000)
    device.launch("view.cu", "view", 3, 256, [], shared=100_000)
    CudaDevice().launch("view.cu", "view", 2, 256, [1], shared=20_000)
    device.launch("view.cu", "view", 1, 128, [])
    assert kernel.limits == [101364]
    assert kernel.launches == [((3,), (256,), 100_000), ((2,), (256,), 20_000), ((1,), (128,), 0)]
    assert streams == [(0, 7), (0, 7)]


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
