"""A text with choices of where to break lines, and its rendering within a width.

After Wadler, "A prettier printer" (2003): a group is written on one line where it fits, else each of its lines is
broken.  Two things more: a group may keep its lines and let the brackets that it ends with break instead ("hug"), and
comments, which need the rest of a line for themselves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_INDENT = 4


@dataclass(frozen=True, slots=True, eq=False)
class Line:
    """A line end in a broken group, `flat` elsewhere."""

    flat: str = " "


@dataclass(frozen=True, slots=True, eq=False)
class FillLine:
    """A line end in a broken group where the next `width` characters don't fit, else a blank."""

    width: int


@dataclass(frozen=True, slots=True, eq=False)
class Hard:
    """A line end."""


@dataclass(frozen=True, slots=True, eq=False)
class Comment:
    """Comments for lines of their own when written at the start of one (`own`), else for the end of their line."""

    texts: tuple[str, ...]
    own: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class IfBroken:
    broken: str
    flat: str


@dataclass(frozen=True, slots=True, eq=False)
class Concat:
    parts: tuple[Doc, ...]


@dataclass(frozen=True, slots=True, eq=False)
class Indent:
    """Lines of `doc` begin further right, where the group around it is broken."""

    doc: Doc


@dataclass(frozen=True, slots=True, eq=False)
class Group:
    doc: Doc
    must_break: bool = False
    hug: Group | None = None  # the last brackets inside


Doc = str | Line | FillLine | Hard | Comment | IfBroken | Concat | Indent | Group
_Mode = Literal["flat", "broken"] | Group  # a group that hugs: lines are flat, and this one is broken


def concat(*parts: Doc) -> Concat:
    return Concat(parts)


def width(doc: Doc) -> int:
    """Characters of `doc` on one line, without its comments."""
    total, stack = 0, [doc]
    while stack:
        match stack.pop():
            case str(text) | Line(text) | IfBroken(_, text):
                total += len(text)
            case FillLine():
                total += 1
            case Concat(parts):
                stack += parts
            case Indent(inner) | Group(inner):
                stack.append(inner)
    return total


def render(doc: Doc, room: int) -> str:
    """The text of a document in lines of at most `room` characters, as far as its choices allow."""
    return _Renderer(room).render(doc)


class _Renderer:
    def __init__(self, room: int) -> None:
        self.room, self.column = room, 0
        self.out: list[str] = []
        self.fresh = True  # nothing is on this line yet; its text begins at the column
        self.comments: list[str] = []  # for its end
        self.stack: list[tuple[int, _Mode, Doc]] = []

    def render(self, doc: Doc) -> str:
        self.stack = [(0, "broken", doc)]
        while self.stack:
            indent, mode, doc = self.stack.pop()
            match doc:
                case str(text):
                    self._text(text)
                case IfBroken(broken, flat):
                    self._text(broken if mode == "broken" else flat)
                case Line(flat):
                    self._newline(indent) if mode == "broken" else self._text(flat)
                case FillLine(ahead):
                    full = self.column + 1 + ahead > self.room or self.comments
                    self._newline(indent) if mode == "broken" and full else self._text(" ")
                case Hard():
                    self._newline(indent)
                case Comment():
                    self._comment(doc, indent)
                case Concat(parts):
                    self.stack += [(indent, mode, part) for part in reversed(parts)]
                case Indent(inner):
                    self.stack.append((indent + _INDENT if mode == "broken" else indent, mode, inner))
                case Group(inner):
                    self.stack.append((indent, self._choice(doc, mode), inner))
        self._end_line()
        return "".join(self.out)

    def _choice(self, group: Group, around: _Mode) -> _Mode:
        if around == "flat" or (isinstance(around, Group) and group is not around):
            return "flat"
        if around is not group and not group.must_break and self._fits(group, "flat"):
            return "flat"
        if group.hug and not group.must_break and self._fits(group, group.hug):
            return group.hug
        return "broken"

    def _fits(self, group: Group, mode: _Mode) -> bool:
        """Whether the text up to the next line end fits, with `group` in this mode."""
        room, ahead = self.room - self.column, len(self.stack)
        stack: list[tuple[_Mode, Doc]] = [(mode, group.doc)]
        while room >= 0:
            inside = bool(stack)
            if not inside:
                if ahead == 0:
                    return True
                ahead -= 1
                stack.append(self.stack[ahead][1:])
            mode, doc = stack.pop()
            match doc:
                case str(text):
                    room -= len(text.split("\n", 1)[0])
                    if "\n" in text:
                        return room >= 0
                case IfBroken(broken, flat):
                    room -= len(broken if mode == "broken" else flat)
                case Line() | FillLine() if mode == "broken":
                    return True
                case Line(flat):
                    room -= len(flat)
                case FillLine():
                    room -= 1
                case Hard():
                    return True
                case Concat(parts):
                    stack += [(mode, part) for part in reversed(parts)]
                case Indent(inner):
                    stack.append((mode, inner))
                case Group(inner) if doc is mode:
                    stack.append((doc.hug or "broken", inner))
                case Group(inner, must_break):
                    if must_break and mode != "broken":
                        return False
                    # A group that comes after is free to break at its first line.
                    free = mode == "broken" and not inside
                    stack.append(("broken" if must_break or free else "flat", inner))
        return False

    def _text(self, text: str) -> None:
        if text:
            self.out.append(" " * self.column + text if self.fresh else text)
            self.column = len(text.rsplit("\n", 1)[1]) if "\n" in text else self.column + len(text)
            self.fresh = False

    def _comment(self, comment: Comment, indent: int) -> None:
        if not comment.own or not self.fresh:
            self.comments += comment.texts
            return
        for text in comment.texts:
            self._text(text)
            self._newline(indent)

    def _newline(self, indent: int) -> None:
        self._end_line()
        self.out.append("\n")
        self.column, self.fresh = indent, True

    def _end_line(self) -> None:
        if self.comments:
            self._text(("" if self.fresh else "  ") + "  ".join(self.comments))
            self.comments.clear()
