"""Children that may die, and storage that fails: by a shim under the C library, or by being slow.

A child runs a function of a test module in a process of its own, so that a signal, a hang or a
limit is its own affair.
"""

import ctypes
import errno
import functools
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from fastload import SSL4EOS12
from fastload.storage.store import Local
from tests import nursery
from tests.fastload.made import REPOSITORY, folder, workers_alive

CALL = (
    "import faulthandler, importlib, json, sys\n"
    "faulthandler.dump_traceback_later({limit}, exit=True)\n"
    "getattr(importlib.import_module({module!r}), {name!r})(*json.loads(sys.argv[1]))\n"
)


@dataclass
class Ended:
    """A child that has ended; `seconds` are counted from the line that said `MARK`."""

    code: int
    out: str
    err: str
    seconds: float

    def result(self) -> Any:
        """The last line that it printed, which is JSON.

        A negative code is a signal; 1 is what Python ends with on an error, and on a hang.
        """
        assert self.code == 0, f"ended with {self.code}\n{self.out}\n{self.err}"
        return json.loads(self.out.splitlines()[-1])


Process = subprocess.Popen[str] | nursery.Child
MARK = "from here on"


def mark() -> None:
    """Tell the parent that its clock starts now."""
    print(MARK, flush=True)


def tell(result: Any) -> None:
    """Give the parent a result."""
    print(json.dumps(result), flush=True)


def child(
    function: Callable[..., None],
    *arguments: Any,
    limit: int = 50,
    before: tuple[str, ...] = (),
    after_mark: Callable[[Process], None] | None = None,
    **environment: str,
) -> Ended:
    """Run a function of a test module in a process of its own.

    Args:
        function: its arguments must be JSON.
        arguments: its own.
        limit: seconds after which it says where it hangs, and ends.
        before: a command that runs Python, with what comes before it; such a process is not forked.
        after_mark: called as soon as the child said `MARK`.
        environment: more variables.
    """
    call = (function.__module__, function.__name__, [_plain(a) for a in arguments])
    process = (
        _fresh(call, limit, before, environment)
        if before
        else nursery.start(*call, limit, **environment)
    )
    assert process.stdout is not None
    assert process.stderr is not None
    errors: list[str] = []
    listener = threading.Thread(target=lambda: errors.append(process.stderr.read()))  # type: ignore[union-attr]
    listener.start()
    lines, since = [], time.monotonic()
    try:
        for line in process.stdout:
            lines.append(line)
            if line.strip() == MARK:
                since = time.monotonic()
                if after_mark is not None:
                    after_mark(process)
        code_of = process.wait(limit)
        seconds = time.monotonic() - since
    finally:
        process.kill()
        process.wait()
        listener.join()
        process.stdout.close()
        process.stderr.close()
    return Ended(code_of, "".join(lines), errors[0], seconds)


def _fresh(
    call: tuple[str, str, list[Any]],
    limit: int,
    before: tuple[str, ...],
    environment: dict[str, str],
) -> "subprocess.Popen[str]":
    module, name, arguments = call
    code = CALL.format(limit=limit, module=module, name=name)
    return subprocess.Popen(
        [*before, sys.executable, "-c", code, json.dumps(arguments)],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Path) else value


def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that must come soon."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"waited {seconds} s in vain; threads: {workers_alive()}"
        time.sleep(0.005)


def descriptors(suffix: str = "") -> int:
    """How many files whose names end so this process has open."""
    found = 0
    for fd in os.listdir("/proc/self/fd"):
        try:
            found += os.readlink(f"/proc/self/fd/{fd}").endswith(suffix)
        except FileNotFoundError:  # the listing's own
            continue
    return found


# --- reads that fail, beneath Python and Numba ---

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static char pattern[256];
static int error_number, delay_ms;
static long first_byte;
static atomic_long left, met;

void fault_set(const char *path, int number, long times, long from, int delay) {
    left = 0;
    strncpy(pattern, path, sizeof pattern - 1);
    error_number = number, first_byte = from, delay_ms = delay, met = 0;
    left = times;
}

long fault_met(void) { return met; }

static int fails(int fd, off_t offset) {
    char link[64], path[4096];
    if (!left || offset < first_byte) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    if (!strstr(path, pattern)) return 0;
    if (left > 0 && atomic_fetch_sub(&left, 1) <= 0) { left = 0; return 0; }
    met++;
    struct timespec wait = {delay_ms / 1000, delay_ms % 1000 * 1000000L};
    while (delay_ms && nanosleep(&wait, &wait)) {}
    errno = error_number;
    return error_number != 0;
}

#define READ(name) \
    ssize_t name(int fd, void *to, size_t n, off_t at) { \
        static ssize_t (*real)(int, void *, size_t, off_t); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        return fails(fd, at) ? -1 : real(fd, to, n, at); \
    }
#define READV(name) \
    ssize_t name(int fd, const struct iovec *to, int n, off_t at) { \
        static ssize_t (*real)(int, const struct iovec *, int, off_t); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        return fails(fd, at) ? -1 : real(fd, to, n, at); \
    }
#define READV2(name) \
    ssize_t name(int fd, const struct iovec *to, int n, off_t at, int flags) { \
        static ssize_t (*real)(int, const struct iovec *, int, off_t, int); \
        if (!real) real = dlsym(RTLD_NEXT, #name); \
        return fails(fd, at) ? -1 : real(fd, to, n, at, flags); \
    }
READ(pread)
READ(pread64)
READV(preadv)
READV(preadv64)
READV2(preadv2)
READV2(preadv64v2)
"""
ALWAYS = -1


@functools.cache
def shim() -> str:
    """The shim, compiled; skips where there is no compiler or no such loader."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or not sys.platform.startswith("linux"):
        pytest.skip("needs a C compiler on Linux")
    source = Path(folder().name) / "faults.c"
    source.write_text(SHIM)
    library = source.with_suffix(".so")
    made = subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(source), "-ldl"],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"the shim cannot be compiled: {made.stderr}")
    return str(library)


class Faults:
    """What the shim does, told from within a child that runs with it."""

    def __init__(self) -> None:
        self._shim = ctypes.CDLL(os.environ["LD_PRELOAD"])
        self._shim.fault_met.restype = ctypes.c_long

    def fail(
        self,
        path: str,
        number: int = errno.EIO,
        times: int = ALWAYS,
        start: int = 0,
        delay_ms: int = 0,
    ) -> None:
        """From now on let reads fail in files whose paths contain `path`.

        Args:
            path: a part of it.
            number: the error; 0 only delays.
            times: so many reads.
            start: those at this byte or later.
            delay_ms: before each of them.
        """
        self._shim.fault_set(
            path.encode(), number, ctypes.c_long(times), ctypes.c_long(start), delay_ms
        )

    def stop(self) -> None:
        """Let all reads succeed again."""
        self.fail("", 0, 0)

    @property
    def met(self) -> int:
        """How many reads failed since `fail`."""
        return int(self._shim.fault_met())


# --- a store that is slow ---


class Slow(Local):
    """A folder whose reads take long, from some read on."""

    def __init__(self, folder: str | Path, seconds: float = 5.0, after: int = 0) -> None:
        super().__init__(folder)
        self.seconds, self.left = seconds, after
        self.asleep = threading.Event()

    def _wait(self) -> None:
        self.left -= 1
        if self.left < 0:
            self.asleep.set()
            time.sleep(self.seconds)

    def read(self, name: str, offset: int, out: memoryview) -> int:
        """See `Store.read`."""
        self._wait()
        return super().read(name, offset, out)

    def fetch(self, name: str, size: int, offset: int, out: Any, patient: bool = True) -> None:
        """See `Store.fetch`."""
        self._wait()
        super().fetch(name, size, offset, out)

    def read_ranges(self, names: Any, sizes: Any, ranges: Any) -> Any:
        """See `Store.read_ranges`; it takes its time for each."""
        return self._one_by_one(names, sizes, ranges, range(len(ranges.file)))


def slow(dataset: SSL4EOS12, seconds: float = 5.0, after: int = 0) -> Slow:
    """Let the first modality of a dataset lie on slow storage."""
    source: Any = next(iter(dataset.sources.values()))
    source.store = Slow(source.store.folder, seconds, after)
    found: Slow = source.store
    return found
