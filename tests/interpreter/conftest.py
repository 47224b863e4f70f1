"""Triton's interpreter, without work that changes no result."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support import quick_interpreter

from sparsec.kernels.launches import prepare
from sparsec.kernels.machine.settings import Settings

_FORWARD, _DQ, _DKDV = (16, 32, 4, 1, None), (32, 16, 4, 1, None), (16, 32, 4, 1, None)


@pytest.fixture(scope="session", autouse=True)
def quick_patches() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patches:
        quick_interpreter.install(patches)
        yield patches


@pytest.fixture
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 16 and 32, so that short sequences have several."""
    monkeypatch.setattr(prepare, "SETTINGS", dict.fromkeys(prepare.SETTINGS, Settings(_FORWARD, _DQ, _DKDV)))
