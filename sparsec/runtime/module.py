"""A generated text -> a module of this process, once."""

from __future__ import annotations

import linecache
import sys
from pathlib import Path
from threading import RLock
from types import ModuleType

_LOCK = RLock()


def module(text: str, name: str, path: Path | None = None) -> ModuleType:
    """The module of a text under a name that holds the text's digest; run when it is first asked for.

    `path` is what tracebacks and profilers call it.  The lines that `inspect` shows, and that Triton compiles, are
    put beside it in memory: they are those of the text that was run, whatever becomes of the file, and they are
    there when no file could be written.
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
            exec(compile(text, file, "exec"), made.__dict__)
        except BaseException:
            del sys.modules[name]
            raise
        return made
