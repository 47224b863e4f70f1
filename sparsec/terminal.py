"""Colours of text: whether a stream gets them, which NO_COLOR, FORCE_COLOR and TERM say to every command alike."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TextIO

RED, GREEN, YELLOW, BLUE, BOLD = "\x1b[1;31m", "\x1b[1;32m", "\x1b[1;33m", "\x1b[1;34m", "\x1b[1m"
_RESET = "\x1b[0m"

Paint = Callable[[str, str], str]


def coloured(stream: TextIO, environment: Mapping[str, str]) -> bool:
    """Nobody objects (NO_COLOR), and somebody insists (FORCE_COLOR, not 0) or the stream is a terminal that can."""
    if environment.get("NO_COLOR"):
        return False
    if forced(environment):
        return True
    return stream.isatty() and environment.get("TERM") != "dumb"


def forced(environment: Mapping[str, str]) -> bool:
    return environment.get("FORCE_COLOR", "0") not in ("", "0")


def painter(colour: bool) -> Paint:
    """The function that puts a style around a text, or leaves the text alone."""
    return (lambda text, style: f"{style}{text}{_RESET}") if colour else (lambda text, style: text)
