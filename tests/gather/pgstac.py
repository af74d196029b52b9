"""stac-fastapi-pgstac over PostgreSQL and PostGIS, as Planetary Computer runs it.

It needs Debian's postgresql and postgis (`apt-get install postgresql postgresql-15-postgis-3`) and
a Python with `stac-fastapi.pgstac`, `pypgstac[psycopg]` and `uvicorn`: this one, or the one that
the variable FASTLOAD_PGSTAC_PYTHON names.
"""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.gather.stac import Item
from tests.remote.servers import free_port, wait_for

NEEDS = "import stac_fastapi.pgstac.app, pypgstac, psycopg, uvicorn"


def _tools() -> tuple[Path, str]:
    """PostgreSQL's programs, and a Python; else the test is skipped."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs PostgreSQL (apt-get install postgresql)")
    version = found[-1].parents[1].name
    if not Path(f"/usr/share/postgresql/{version}/extension/postgis.control").is_file():
        pytest.skip(f"needs PostGIS (apt-get install postgresql-{version}-postgis-3)")
    python = os.environ.get("FASTLOAD_PGSTAC_PYTHON", sys.executable)
    if subprocess.run([python, "-c", NEEDS], capture_output=True, check=False).returncode:
        pytest.skip(f"needs stac-fastapi.pgstac, pypgstac[psycopg] and uvicorn in {python}, see "
                    f"{__name__}")  # fmt: skip
    return found[-1].parent, python


@contextlib.contextmanager
def _postgres(programs: Path, folder: Path) -> Iterator[dict[str, str]]:
    """A database server of the test's own; gives the environment that leads to it."""
    data, port = folder / "data", str(free_port())
    as_who = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    data.mkdir()
    if as_who:
        shutil.chown(data, "postgres")
        for parent in (folder, *folder.parents):
            if parent.owner() == "root" and parent != Path("/") and not parent.stat().st_mode & 1:
                parent.chmod(0o711)
    user = "postgres"
    init = [programs / "initdb", "-D", data, "-A", "trust", "-U", user, "--no-sync"]
    subprocess.run([*as_who, *map(str, init)], check=True, capture_output=True, cwd="/")
    command = [programs / "postgres", "-D", data, "-k", data, "-p", port, "-h", "127.0.0.1",
               "-c", "fsync=off"]  # fmt: skip
    process = subprocess.Popen([*as_who, *map(str, command)], cwd="/", stderr=subprocess.DEVNULL)
    place = {"PGHOST": "127.0.0.1", "PGPORT": port, "PGUSER": user, "PGPASSWORD": "none",
             "PGDATABASE": "postgres"}  # fmt: skip
    try:
        ready = [str(programs / "pg_isready"), "-h", "127.0.0.1", "-p", port]
        for _ in range(300):
            if subprocess.run(ready, capture_output=True, check=False).returncode == 0:
                break
            if process.poll() is not None:
                raise RuntimeError(f"PostgreSQL ended with status {process.returncode}")
            time.sleep(0.1)
        yield place
    finally:
        process.terminate()
        process.wait(30)


@contextlib.contextmanager
def pgstac(items: Sequence[Item], folder: Path) -> Iterator[str]:
    """Serve items; gives the URL."""
    programs, python = _tools()
    collections = [
        {"type": "Collection", "id": name, "stac_version": "1.0.0", "description": name,
         "license": "other", "links": [],
         "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]},
                    "temporal": {"interval": [["2015-01-01T00:00:00Z", None]]}}}
        for name in sorted({entry["collection"] for entry in items})
    ]  # fmt: skip
    for name, rows in (("collections", collections), ("items", items)):
        (folder / f"{name}.ndjson").write_text("\n".join(json.dumps(row) for row in rows))
    with _postgres(programs, folder) as place:
        env = os.environ | place
        for words in (["migrate"], ["load", "collections", str(folder / "collections.ndjson")],
                      ["load", "items", str(folder / "items.ndjson")]):  # fmt: skip
            subprocess.run([python, "-m", "pypgstac.pypgstac", *words], env=env, check=True,
                           capture_output=True, timeout=120)  # fmt: skip
        port = free_port()
        command = [python, "-m", "uvicorn", "--factory", "stac_fastapi.pgstac.app:create_app",
                   "--port", str(port)]  # fmt: skip
        process = subprocess.Popen(command, env=env, cwd=folder, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        try:
            wait_for(f"http://127.0.0.1:{port}/", process, 180)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)
