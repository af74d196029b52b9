"""Members of a shard: what they are called, and the tar that holds them."""

import hashlib
import io
import re
import tarfile
from typing import BinaryIO

from fastload.storage.scan import SUFFIX

_MTIME = 1771286400  # 17 February 2026, when the layout was published; fixed, so that bytes repeat
_MODE, _OWNER = 0o444, "bigdata"
_LONGEST, _KEPT = 100 - len(SUFFIX), 64
_ODD = re.compile(r"[^A-Za-z0-9_+=@,-]")


def member_of(key: str) -> str:
    """What the member of a key is called, without its suffix.

    Readers of WebDataset tars end a key at the first dot, and take slashes for folders; so all but
    plain letters, digits and ``_+=@,-`` are written as ``%`` and two hexadecimal digits a byte, as
    in URLs, and a name that grew too long for a tar's header ends in a digest. The sample itself
    then holds its key.
    """
    name = _ODD.sub(lambda found: "".join(f"%{byte:02X}" for byte in found[0].encode()), key) or "%"
    if len(name) > _LONGEST:
        digest = hashlib.sha256(key.encode()).hexdigest()[:16]
        name = f"{name[:_KEPT]}%-{digest}"
    return name


class TarWriter:
    """A tar of samples, byte for byte as `webdataset.TarWriter` writes it for a fixed time."""

    def __init__(self, file: BinaryIO) -> None:
        self._tar = tarfile.TarFile(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT)

    def add(self, key: str, content: bytes) -> None:
        """Add the sample of a key."""
        info = tarfile.TarInfo(member_of(key) + SUFFIX)
        info.size, info.mtime, info.mode = len(content), _MTIME, _MODE
        info.uname = info.gname = _OWNER
        self._tar.addfile(info, io.BytesIO(content))

    def close(self) -> None:
        """Write the end of the archive; the file stays open."""
        self._tar.close()
