"""Triton's interpreter, without work that changes no result."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
import triton.language as tl
from triton.runtime import interpreter


@pytest.fixture(scope="session", autouse=True)
def _quick_interpreter() -> Iterator[None]:
    patch = interpreter._patch_lang

    @cache
    def languages(fn) -> tuple:
        return tuple(each for each in (tl, tl.core) if any(each is value for value in fn.__globals__.values()))

    def once(fn):
        """It looks through the whole language for what to patch, at every call of a device function, too."""
        patched = all(not tl.core.is_builtin(each.load) for each in languages(fn))
        return interpreter._LangPatchScope() if patched else patch(fn)

    slow = interpreter._get_np_dtype
    known = cache(slow)

    def numpy_type(of):
        """It builds a table each time; types of pointers cannot be hashed."""
        return known(of.scalar) if type(of.scalar) is tl.dtype else slow(of)

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(interpreter, "_patch_lang", once)
        patches.setattr(interpreter, "_get_np_dtype", numpy_type)
        # Checks of overflow are computed, and never read: assertions are for debugging.
        options = interpreter.InterpreterOptions(sanitize_overflow=False)
        patches.setattr(interpreter.interpreter_builder, "options", options)
        yield
