"""References, and new names for what a text declares."""

from __future__ import annotations

import re

from sparsec.editor.outline import outline
from sparsec.editor.scope import find, target
from sparsec.lower.scope import INTEGERS
from sparsec.source import Source
from sparsec.syntax.errors.explain import KEYWORDS

_RESERVED = (*INTEGERS, *KEYWORDS, "heads", "layers")


class Refused(Exception):
    """Why there is no such new name."""


def references(source: Source, offset: int) -> list[tuple[int, int]]:
    """Where the text names what it names at `offset`, the declaration included."""
    here = outline(source).at(offset)
    meant = target(source, here) if here else None
    if meant is None:
        return []
    return [
        (each.lexeme.start, each.lexeme.end)
        for each in outline(source).occurrences
        if (other := target(source, each)) and other.key == meant.key
    ]


def rename(source: Source, offset: int, name: str) -> list[tuple[int, int]]:
    """The places to write `name` at.  Refused where that is no name, is taken, or would mean something else."""
    here = outline(source).at(offset)
    meant = target(source, here) if here else None
    if here is None or meant is None:
        raise Refused("nothing that this file declares is named here")
    if meant.source != source:
        raise Refused(f"`{meant.declaration.named.text}` is declared in {meant.source.name}")
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in _RESERVED:
        raise Refused(f"`{name}` can't be a name: letters, digits and _, and no word of the language")
    if name == here.lexeme.text:
        return []
    if find(source, name) if not meant.parameter else name in [each.text for each in meant.declaration.parameters]:
        raise Refused(f"`{name}` is already declared")
    places = references(source, offset)
    if _meanings(source, set(places), name) != _meanings(renamed(source, places, name), set(), name):
        raise Refused(f"`{name}` would be taken for something else at one of its places")
    return places


def renamed(source: Source, places: list[tuple[int, int]], name: str) -> Source:
    """The text with a name at all places."""
    text = source.text
    for start, end in sorted(places, reverse=True):
        text = text[:start] + name + text[end:]
    return Source(source.name, text)


def _meanings(source: Source, changed: set[tuple[int, int]], name: str) -> list:
    """For each name of a text where, in order, what it means is declared; that of changed ones with the new name."""
    order = {each.lexeme.start: index for index, each in enumerate(outline(source).occurrences)}
    found = []
    for each in outline(source).occurrences:
        meant = target(source, each)
        text = name if (each.lexeme.start, each.lexeme.end) in changed else each.lexeme.text
        declared: object = None
        if meant is not None:
            declared = order[meant.place[0]] if meant.source == source else meant.key
        found.append((text, each.role, declared))
    return found
