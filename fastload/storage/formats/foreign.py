"""What lies in a shard's place, told by its first bytes."""

_SIGNS = (
    (b"version https://git-lfs.github.com/", "a Git LFS pointer: fetch the file by `git lfs pull`"),
    (b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (b"BZh", "compressed by bzip2: unpack it first"),
    (b"\xfd7zXZ", "compressed by xz: unpack it first"),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd: unpack it first"),
    (b"PK\x03\x04", "a zip, such as torch.save writes"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a parquet file"),
    (b"II*\0", "a TIFF image"),
    (b"\x00\x05\x16\x07", "what macOS keeps beside a file"),
)
_PAGES = (b"<!doctype html", b"<html", b"<?xml")
HEAD = 512
"""Bytes to look at."""


def foreign(head: bytes) -> str | None:
    """What a file is that begins so, for people; None where that is not known."""
    if head.lstrip().lower().startswith(_PAGES):
        return "a web page, as servers send it in place of a file: download it again"
    return next((what for sign, what in _SIGNS if head.startswith(sign)), None)
