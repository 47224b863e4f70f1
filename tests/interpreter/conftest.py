"""Triton's interpreter, made to take half its time."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import triton.language as tl
from triton.runtime import interpreter


@pytest.fixture(scope="session", autouse=True)
def _language_patched_once() -> Iterator[None]:
    """The interpreter looks through the whole language for what to patch, at every call of a device function, too."""
    patch = interpreter._patch_lang

    def once(fn):
        languages = (each for each in (tl, tl.core) if any(each is value for value in fn.__globals__.values()))
        return patch(fn) if any(tl.core.is_builtin(each.load) for each in languages) else interpreter._LangPatchScope()

    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(interpreter, "_patch_lang", once)
        yield
