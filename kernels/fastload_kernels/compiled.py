"""Compiling with Numba: without the GIL, and kept on disk where there is a place for it.

Numba keeps what it compiled beside the source, or in the user's cache, and refuses to compile where
neither can be written, or where the disk is full. A cache is a courtesy: without it each process
compiles anew, and says so once.
"""

import os
import warnings
from collections.abc import Callable
from typing import Any

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    InTreeCacheLocator,
    UserProvidedCacheLocator,
)

_told: set[str] = set()


def jit(**options: Any) -> Any:
    """Like ``numba.njit(nogil=True, cache=True, ...)``, but it never fails for want of a cache."""

    def decorate(function: Callable[..., Any]) -> Any:
        compiled = numba.njit(nogil=True, **options)(function)
        if (cache := _cache(function)) is not None:
            compiled._cache = cache  # what its `enable_caching` does
        return compiled

    return decorate


def _cache(function: Callable[..., Any]) -> FunctionCache | None:
    kind = _Cache if _has_home() else _CacheWithoutHome
    try:
        return kind(function)
    except RuntimeError:  # no place can be written
        _tell("no folder for it can be written")
        return None


def _has_home() -> bool:
    """Whether there is a user's cache; Numba would make a folder named `~` where there is none."""
    return "XDG_CACHE_HOME" in os.environ or os.path.expanduser("~/x") != "~/x"


class _Cache(FunctionCache):  # type: ignore[misc]
    """A cache that may fail."""

    def save_overload(self, signature: Any, data: Any) -> None:
        try:
            super().save_overload(signature, data)
        except OSError as error:
            _tell(str(error))

    def load_overload(self, signature: Any, context: Any) -> Any:
        try:
            return super().load_overload(signature, context)
        except OSError:  # is compiled anew
            return None


class _WithoutHome(CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (UserProvidedCacheLocator, InTreeCacheLocator)


class _CacheWithoutHome(_Cache):
    _impl_class = _WithoutHome


def _tell(why: str) -> None:
    if not _told:
        _told.add(why)
        warnings.warn(
            f"compiled code cannot be kept ({why}), so each process compiles anew; "
            "set NUMBA_CACHE_DIR to a folder that can be written",
            stacklevel=2,
        )
