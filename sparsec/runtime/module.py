"""A generated text -> a module of this process, once."""

from __future__ import annotations

import linecache
import os
import sys
from pathlib import Path
from threading import RLock
from types import ModuleType

from sparsec.diagnostics import SparsecError, UnknownTier

_LOCK = RLock()


def module(text: str, name: str, path: Path | None = None) -> ModuleType:
    """The module of a text under a name that holds the text's digest; run when it is first asked for.

    `path` is what tracebacks and profilers call it.  The lines that `inspect` shows, and that Triton compiles, are
    put beside it in memory: they are those of the text that was run, whatever becomes of the file, and they are
    there when no file could be written.  SparsecError SP0708 where the environment asks for kernels that do not exist.
    """
    with _LOCK:
        if name in sys.modules:
            return sys.modules[name]
        file = str(path) if path else f"<{name}>"
        made = ModuleType(name)
        made.__file__ = file
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)  # None: never looked up again
        sys.modules[name] = made
        try:
            check_tier()
            exec(compile(text, file, "exec"), made.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        return made


def check_tier() -> None:
    """SparsecError where SPARSEC_TIER names no tier of kernels."""
    from sparsec.kernels.hopper.rules import TIER, wanted_tier

    try:
        wanted_tier()
    except ValueError:
        raise SparsecError(UnknownTier(found=os.environ[TIER])) from None
