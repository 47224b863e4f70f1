"""Caps of scores, as texts of the language."""

from __future__ import annotations

from sparsec.syntax.format.printer import decimal


def with_cap(text: str, cap: float) -> str:
    """The text of a file whose last declaration is a pattern without scores, with `cap * tanh(s / cap)` for scores."""
    declared = "" if cap.is_integer() else f"score capped = {decimal(cap)} * tanh(s / {decimal(cap)})\n\n"
    return f"{declared}{text.rstrip()} {applied_cap(cap)}\n"


def applied_cap(cap: float) -> str:
    """What stands behind the pattern."""
    return f"with softcap({cap:.0f})" if cap.is_integer() else "with capped"
