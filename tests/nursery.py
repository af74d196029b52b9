"""Processes that begin at once: forked from one that has imported what they need.

A child is the real thing otherwise: it has pipes and an environment of its own, and ends as Python
does. What must be there before Python begins, such as ``LD_PRELOAD``, has a nursery of its own.
"""

import atexit
import functools
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from typing import Any

from tests.fastload.made import REPOSITORY

PRELOAD = ("tests.fastload.faulty", "tests.fastload.shardmaker", "torch.utils.data")
MAIN = "import sys; from tests import nursery; nursery.serve(int(sys.argv[1]))()"
_LONGEST = 1 << 20


class Child:
    """A process of a nursery, in the manner of `subprocess.Popen`."""

    def __init__(self, nursery: socket.socket, request: dict[str, Any]) -> None:
        out, err = os.pipe(), os.pipe()
        socket.send_fds(nursery, [json.dumps(request).encode()], [out[1], err[1]])
        os.close(out[1])
        os.close(err[1])
        self.stdout, self.stderr = os.fdopen(out[0]), os.fdopen(err[0])
        self._nursery, self.returncode = nursery, None
        self.pid = self._answer()

    def send_signal(self, number: int) -> None:
        """As `Popen` has it."""
        os.kill(self.pid, number)

    def kill(self) -> None:
        """As `Popen` has it."""
        if self.returncode is None:
            os.kill(self.pid, signal.SIGKILL)

    def wait(self, timeout: float | None = None) -> int:
        """As `Popen` has it."""
        if self.returncode is None:
            self._nursery.settimeout(timeout)
            try:
                self.returncode = self._answer()
            except TimeoutError as error:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0) from error
            finally:
                self._nursery.settimeout(None)
        return self.returncode

    def _answer(self) -> int:
        return int.from_bytes(self._nursery.recv(8), "little", signed=True)


def start(module: str, name: str, arguments: list[Any], limit: int, **environment: str) -> Child:
    """Call ``module.name(*arguments)`` in a new process.

    Args:
        module: it is imported there.
        name: of the function.
        arguments: such as JSON can hold.
        limit: seconds after which the process says where it hangs, and ends.
        environment: variables beside those of this process.
    """
    request = {
        "call": [module, name, arguments],
        "limit": limit,
        "environment": dict(os.environ) | environment,
    }
    return Child(_nursery(environment.get("LD_PRELOAD", "")), request)


@functools.cache
def _nursery(preload: str) -> socket.socket:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    process = subprocess.Popen(
        [sys.executable, "-c", MAIN, str(theirs.fileno())],
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


def serve(number: int) -> Callable[[], None]:
    """Fork whatever is asked for at a socket until it closes; returns in the children, with what
    they have to do."""
    for name in PRELOAD:
        importlib.import_module(name)
    asked = socket.socket(fileno=number)
    while True:
        request, pipes, _, _ = socket.recv_fds(asked, _LONGEST, 2)
        if not request:
            sys.exit()
        pid = os.fork()
        if not pid:
            asked.close()
            return _begin(json.loads(request), pipes)
        for pipe in pipes:
            os.close(pipe)
        _answer(asked, pid)
        _answer(asked, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))


def _answer(asked: socket.socket, what: int) -> None:
    asked.send(what.to_bytes(8, "little", signed=True))


def _begin(request: dict[str, Any], pipes: list[int]) -> Callable[[], None]:
    import faulthandler

    for pipe, to in zip(pipes, (1, 2), strict=True):
        os.dup2(pipe, to)
        os.close(pipe)
    os.environ.clear()
    os.environ.update(request["environment"])
    faulthandler.dump_traceback_later(request["limit"], exit=True)
    module, name, arguments = request["call"]
    return functools.partial(getattr(importlib.import_module(module), name), *arguments)
