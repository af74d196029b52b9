"""Processes that begin at once: forked from one that has imported what they need.

A child is the real thing otherwise: it has pipes and an environment of its own, and ends as Python
does. What must be there before Python begins, such as ``LD_PRELOAD``, has a nursery of its own.
"""

import atexit
import contextlib
import functools
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tests.fastload.made import REPOSITORY

LOADING = ("tests.fastload.faulty", "tests.fastload.shardmaker", "torch.utils.data",
           "torch.distributed")  # fmt: skip
TRAINING = (*LOADING, "tests.ssl4eo_train.runs", "torch.utils.tensorboard", "timm",
            "ssl4eo_train.command", "ssl4eo_train.train")  # fmt: skip
"""What is imported, by kind of child: what training needs speaks up when a process ends."""
MAIN = "import sys; from tests import nursery; nursery.serve(int(sys.argv[1]), sys.argv[2:])()"
_LONGEST = 1 << 20


class Child:
    """A process of a nursery, in the manner of `subprocess.Popen`."""

    def __init__(self, nursery: socket.socket, request: dict[str, Any]) -> None:
        into, out, err = os.pipe(), os.pipe(), os.pipe()
        self._told, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        given = [theirs.detach(), into[0], out[1], err[1]]
        socket.send_fds(nursery, [json.dumps(request).encode()], given)
        for number in given:
            os.close(number)
        self.stdin = os.fdopen(into[1], "w")
        self.stdout, self.stderr = os.fdopen(out[0]), os.fdopen(err[0])
        self.returncode: int | None = None
        self.pid = self._answer()

    def send_signal(self, number: int) -> None:
        """As `Popen` has it."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """As `Popen` has it."""
        self.send_signal(signal.SIGKILL)

    def poll(self) -> int | None:
        """As `Popen` has it."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(1e-6)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """As `Popen` has it."""
        if self.returncode is None:
            self._told.settimeout(timeout)
            try:
                self.returncode = self._answer()
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from error
            self._told.close()
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """As `Popen` has it, but nothing is written."""
        self.stdin.close()
        with ThreadPoolExecutor(2) as readers:
            both = [readers.submit(file.read) for file in (self.stdout, self.stderr)]
            try:
                self.wait(timeout)
            except subprocess.TimeoutExpired:
                self.kill()
                raise
            return both[0].result(), both[1].result()

    def _answer(self) -> int:
        answer = self._told.recv(8)
        assert answer, "the nursery is gone"  # and what became of the child is not known
        return int.from_bytes(answer, "little", signed=True)


def start(
    module: str,
    name: str,
    arguments: list[Any],
    limit: int,
    imported: tuple[str, ...] = LOADING,
    **environment: str,
) -> Child:
    """Call ``module.name(*arguments)`` in a new process.

    Args:
        module: it is imported there.
        name: of the function.
        arguments: such as JSON can hold.
        limit: seconds after which the process says where it hangs, and ends.
        imported: modules that it begins with.
        environment: variables beside those of this process.
    """
    request = {
        "call": [module, name, arguments],
        "limit": limit,
        "environment": dict(os.environ) | environment,
        "folder": str(Path.cwd()),
    }
    return Child(_nursery(imported, environment.get("LD_PRELOAD", "")), request)


def python(
    *line: Any, limit: int = 500, imported: tuple[str, ...] = LOADING, **environment: str
) -> Child:
    """What ``python *line`` does, where that begins with ``-m MODULE`` or ``-c PROGRAM``."""
    words = [str(word) for word in line]
    return start(__name__, "_main", words, limit, imported, **environment)


def _main(how: str, what: str, *words: str) -> None:
    sys.argv = [how if how == "-c" else what, *words]
    if how == "-m":
        runpy.run_module(what, run_name="__main__", alter_sys=True)
    else:
        exec(compile(what, "<string>", "exec"), {"__name__": "__main__"})


@functools.cache
def _nursery(imported: tuple[str, ...], preload: str) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(theirs.fileno()), *imported],
        cwd=REPOSITORY,
        env=os.environ
        | {"PYTHONPATH": f"{REPOSITORY}{os.pathsep}{REPOSITORY / 'kernels'}"}
        | ({"LD_PRELOAD": preload} if preload else {}),
        pass_fds=[theirs.fileno()],
    )
    theirs.close()

    def end() -> None:
        ours.close()
        process.wait()

    atexit.register(end)
    return ours


def serve(number: int, imported: list[str]) -> Callable[[], None]:
    """Fork whatever is asked for at a socket until it closes; returns in the children, with what
    they have to do."""
    for name in imported:
        importlib.import_module(name)
    gc.freeze()  # What was imported is not copied for the sake of a collector's marks.
    asked = socket.socket(fileno=number)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while True:
        request, given, _, _ = socket.recv_fds(asked, _LONGEST, 4)
        if not request:
            sys.exit()
        if not os.fork():  # One that waits for the child, and tells.
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            asked.close()
            return _watched(json.loads(request), *given)
        for each in given:
            os.close(each)


def _watched(request: dict[str, Any], answers: int, *pipes: int) -> Callable[[], None]:
    pid = os.fork()
    if not pid:
        os.close(answers)
        return _begin(request, pipes)
    for pipe in pipes:
        os.close(pipe)
    with socket.socket(fileno=answers) as told:
        _answer(told, pid)
        _answer(told, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    os._exit(0)


def _answer(told: socket.socket, what: int) -> None:
    with contextlib.suppress(BrokenPipeError):
        told.send(what.to_bytes(8, "little", signed=True))


def _begin(request: dict[str, Any], pipes: tuple[int, ...]) -> Callable[[], None]:
    import faulthandler

    for number, pipe in enumerate(pipes):
        os.dup2(pipe, number)
        os.close(pipe)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    faulthandler.dump_traceback_later(request["limit"], exit=True)
    module, name, arguments = request["call"]
    return functools.partial(getattr(importlib.import_module(module), name), *arguments)
