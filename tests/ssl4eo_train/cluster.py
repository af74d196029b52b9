"""A Slurm cluster of one node, on this machine, for as long as a test needs it."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "srun", "sbatch", "sinfo")
CONF = """
ClusterName=one
SlurmctldHost={name}(127.0.0.1)
SlurmUser=root
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
AuthType=auth/munge
AuthInfo=socket={here}/munge.socket
CredType=cred/munge
StateSaveLocation={here}/state
SlurmdSpoolDir={here}/spool
SlurmctldPidFile={here}/slurmctld.pid
SlurmdPidFile={here}/slurmd.pid
SlurmctldLogFile={here}/slurmctld.log
SlurmdLogFile={here}/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/builtin
SelectType=select/linear
SwitchType=switch/none
KillWait=30
NodeName={name} NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP OverSubscribe=YES
"""


def lacking() -> str | None:
    """Why there can be no cluster here; None where there can."""
    if os.geteuid():
        return "Slurm's daemons need root"
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if not absent:
        return None
    if shutil.which("apt-get") is None:
        return f"{', '.join(absent)} are not installed, and there is no apt-get"
    apt = ["apt-get", "-o", "Acquire::Retries=1"]
    quiet = {"env": os.environ | {"DEBIAN_FRONTEND": "noninteractive"}, "capture_output": True}
    subprocess.run([*apt, "update"], check=False, timeout=120, **quiet)
    wanted = ["install", "-y", "--no-install-recommends", "slurm-wlm", "munge"]
    subprocess.run([*apt, *wanted], check=False, timeout=240, **quiet)
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    return f"apt-get does not bring {', '.join(absent)}" if absent else None


@contextmanager
def cluster(here: Path) -> Iterator[dict[str, str]]:
    """Start the daemons; the environment in which `srun` finds them."""
    here.chmod(0o755)
    for parent in here.parents[:-2]:
        parent.chmod(parent.stat().st_mode | 0o011)  # munged asks for it.
    for name in ("state", "spool"):
        (here / name).mkdir()
    (here / "munge.key").write_bytes(secrets.token_bytes(1024))
    (here / "munge.key").chmod(0o400)
    name = socket.gethostname().split(".")[0]
    conf = CONF.format(name=name, here=here, ports=[_port(), _port()])
    (here / "slurm.conf").write_text(conf)
    env = os.environ | {"SLURM_CONF": str(here / "slurm.conf")}
    files = {"key": "key", "socket": "socket", "pid": "pid", "log": "log", "seed": "seed"}
    words = [f"--{n}-file={here}/munge.{e}" for n, e in files.items() if n != "socket"]
    try:
        start = ["munged", "--force", f"--socket={here}/munge.socket", *words]
        subprocess.run(start, check=True, timeout=30, capture_output=True)
        for daemon in ("slurmctld", "slurmd"):
            subprocess.run([daemon], env=env, check=True, timeout=30, capture_output=True)
        _wait(env, here)
        yield env
    finally:
        for pid in ("slurmd.pid", "slurmctld.pid", "munge.pid"):
            if (here / pid).exists():
                os.kill(int((here / pid).read_text()), signal.SIGTERM)


def _wait(env: dict[str, str], here: Path) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        said = subprocess.run(
            ["sinfo", "-h", "-o", "%t"], env=env, capture_output=True, text=True, check=False
        )
        if said.stdout.strip() == "idle":
            return
        time.sleep(0.2)
    raise TimeoutError((here / "slurmctld.log").read_text()[-2000:])


def _port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])
