"""The one way to refuse what a traced function does, with the place in the user's own file."""

from __future__ import annotations

import linecache
import sys
from itertools import islice
from pathlib import Path
from types import FrameType

from sparsec.diagnostics import NotImportable, SparsecError
from sparsec.source import Source, Span

_OURS = str(Path(__file__).parent)


def refusal(construct: str, hint: str) -> SparsecError:
    """The error for something that the function under trace is doing now."""
    return SparsecError(NotImportable(construct=construct, hint=hint, span=_place(sys._getframe(1))))


def _place(frame: FrameType | None) -> Span | None:
    """What the nearest frame outside of this folder and of torch is evaluating; None where its text is not known."""
    while frame and (frame.f_code.co_filename.startswith(_OURS) or _is_torch(frame)):
        frame = frame.f_back
    if frame is None:
        return None
    line, last, start, end = next(islice(frame.f_code.co_positions(), frame.f_lasti // 2, None))
    text = linecache.getlines(frame.f_code.co_filename)
    if line is None or last is None or start is None or end is None or not 1 <= line <= last <= len(text):
        return None
    begin, beyond = (
        len("".join(text[: row - 1])) + _characters(text[row - 1], at) for row, at in ((line, start), (last, end))
    )
    return Source(frame.f_code.co_filename, "".join(text)).span(begin, beyond)


def _is_torch(frame: FrameType) -> bool:
    return frame.f_globals.get("__name__", "").split(".")[0] == "torch"


def _characters(line: str, at: int) -> int:
    """Python counts columns in bytes of UTF-8."""
    return len(line.encode()[:at].decode(errors="ignore"))
