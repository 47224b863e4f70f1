"""The tokens of a text with what stands between them: comments, line ends, blank lines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from sparsec.source import Source
from sparsec.syntax.grammar import grammar
from sparsec.syntax.lalr import Token


@dataclass(frozen=True)
class Remark:
    """A comment on a line of its own; `blank`: below a blank line."""

    text: str
    blank: bool


@dataclass(frozen=True)
class Around:
    """What stands around a token."""

    above: tuple[Remark, ...] = ()  # comments on lines of their own before it
    after: tuple[str, ...] = ()  # the comment behind it on its line
    newline: bool = False  # it begins a line
    blank: bool = False  # below a blank line


@dataclass(frozen=True)
class Tokens:
    """`around[i]` belongs to `tokens[i]`; the last one, beyond the tokens, to the end of the text."""

    tokens: list[Token]
    around: list[Around]


def read(source: Source) -> Tokens:
    """The tokens of a text that has been parsed without errors; of doubled brackets, `((a))`, the outer ones."""
    tokens = list(grammar().lex(source.text))
    places = [0, *(token.end_pos for token in tokens)]
    gaps = [source.text[end : token.start_pos] for end, token in zip(places, tokens, strict=False)]
    gaps.append(source.text[places[-1] :])
    around: list[Around] = []
    for index, gap in enumerate(gaps):
        after, here = _between(gap, first=index == 0)
        if index:
            around[-1] = replace(around[-1], after=after)
        around.append(here)
    return _without(Tokens(tokens, around), set(_doubled(tokens)))


def comments(source: Source) -> str:
    """The words of all comments, in order."""
    found = read(source)
    texts = [text for each in found.around for text in (*(remark.text for remark in each.above), *each.after)]
    return " ".join(" ".join(texts).split())


def _between(gap: str, first: bool) -> tuple[tuple[str, ...], Around]:
    """What a gap holds: the comment behind the token before it, and the rest for the token after it."""
    lines = gap.split("\n")
    behind = lines[0].strip()
    after, own = ((behind,), lines[1:]) if behind and not first else ((), lines if first else lines[1:])
    above, blank = [], False
    for line in own[:-1]:
        if text := line.strip():
            above.append(Remark(text, blank))
        blank = not text
    if last := own[-1].strip() if own else "":  # at the end of the text
        above.append(Remark(last, blank))
    return after, Around(tuple(above), newline=first or len(lines) > 1, blank=blank)


def _doubled(tokens: list[Token]) -> Iterator[int]:
    """The inner ones of doubled brackets.  A bracket behind a name belongs to a call."""
    stack: list[int] = []
    ends: dict[int, int] = {}
    for index, token in enumerate(tokens):
        if token.type == "LPAR":
            stack.append(index)
        elif token.type == "RPAR":
            ends[stack.pop()] = index
    for start, end in ends.items():
        outer = start - 1
        if tokens[outer].type == "LPAR" and tokens[outer - 1].type != "NAME" and ends[outer] == end + 1:
            yield from (start, end)


def _without(found: Tokens, dropped: set[int]) -> Tokens:
    """The tokens but for some, whose comments go to the next one."""
    tokens: list[Token] = []
    around: list[Around] = []
    pending: tuple[Remark, ...] = ()
    for index, here in enumerate(found.around):
        here = replace(here, above=(*pending, *here.above))
        if index in dropped:
            pending = (*here.above, *(Remark(text, False) for text in here.after))
            continue
        pending = ()
        tokens += found.tokens[index : index + 1]
        around.append(here)
    return Tokens(tokens, around)
