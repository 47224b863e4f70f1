"""Triton's interpreter, without work that changes no result."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import quick_interpreter


@pytest.fixture(scope="session", autouse=True)
def quick_patches() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patches:
        quick_interpreter.install(patches)
        yield patches
