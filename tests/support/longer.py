"""Cases of which the default run takes some, and `pytest -m full` the others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest


def longer(cases: Sequence[Any], every: int, first: int = 0) -> list[Any]:
    """All cases; those besides each `every`-th one, from `first` on, are marked as longer checks."""
    return [
        case if number % every == first else pytest.param(*_arguments(case), marks=pytest.mark.full)
        for number, case in enumerate(cases)
    ]


def _arguments(case: Any) -> tuple:
    return case if isinstance(case, tuple) else (case,)
