"""What can be wrong with bytes, with what keeps them, and with the machine."""

import errno
import os

_STORAGE = {
    getattr(errno, name)
    for name in ("EIO", "ESTALE", "ETIMEDOUT", "EREMOTEIO", "ECONNRESET", "ECONNABORTED",
                 "EHOSTDOWN", "EHOSTUNREACH", "ENETDOWN", "ENETUNREACH", "ENOTCONN")
    if hasattr(errno, name)
}  # fmt: skip
_FULL = {errno.ENOSPC, errno.EDQUOT}
_MACHINE = {errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS}


class DataError(RuntimeError):
    """A shard holds something that cannot be read as pixels.

    Attributes:
        shard: path of the shard.
        member: name inside it, as far as known.
        offset: byte offset in the shard, or -1 where the fault has no place.
        reason: what was expected and what was found.
    """

    def __init__(self, shard: str, member: str, offset: int, reason: str) -> None:
        self.shard, self.member, self.offset, self.reason = shard, member, offset, reason
        at = f" at byte {offset}" if offset >= 0 else ""
        inside = f", member {member}" if member else ""
        super().__init__(f"{shard}{inside}{at}: {reason}")

    def __reduce__(self) -> tuple[type["DataError"], tuple[str, str, int, str]]:
        return type(self), (self.shard, self.member, self.offset, self.reason)


class NotAShardError(DataError):
    """A file that is no tar, or holds no sample: there is nothing in it to be damaged."""


class StorageError(DataError):
    """The bytes could not be had, though nothing says that they are damaged: the disk or network
    failed, also when it was asked again. Counted apart from damage."""


class MachineError(OSError):
    """This machine has no file handle or no memory left. Never taken for a fault of the data."""


def is_scarce(error: OSError) -> bool:
    """Whether the machine, not the file, is at fault: no handles, no memory."""
    return error.errno in _MACHINE


def is_full(error: OSError) -> bool:
    """Whether a disk is full, or a quota."""
    return error.errno in _FULL


def is_storage(error: OSError) -> bool:
    """Whether the storage failed, so that asking again may help."""
    return error.errno in _STORAGE


def scarce(error: OSError, path: str) -> MachineError:
    """The sentence on what this machine lacks."""
    handles = error.errno in (errno.EMFILE, errno.ENFILE)
    what = "file handle is left (see `ulimit -n`)" if handles else "memory is left"
    return MachineError(error.errno, f"no {what} to read {path} ({os.strerror(error.errno or 0)})")


def unreadable(error: OSError, path: str, offset: int = -1) -> DataError:
    """The error of a file that cannot be read, by its kind."""
    kind = StorageError if is_storage(error) else DataError
    return kind(path, "", offset, f"cannot be read ({error})")
