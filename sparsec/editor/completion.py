"""What could be written at a place."""

from __future__ import annotations

from dataclasses import dataclass

from sparsec.editor.hover import POSITIONS, SCORE
from sparsec.editor.kinds import DECLARING
from sparsec.editor.outline import outline
from sparsec.editor.scope import visible
from sparsec.lower.signatures import BUILT_IN, Signature
from sparsec.source import Source
from sparsec.syntax.errors.explain import KEYWORDS
from sparsec.syntax.scan import scan


@dataclass(frozen=True)
class Suggestion:
    label: str
    kind: str  # parameter, position, definition, built in, keyword
    detail: str = ""
    doc: str = ""


def complete(source: Source, offset: int) -> list[Suggestion]:
    """Names in scope and words of the language, each once, the nearest first; nothing in comments and strings."""
    before = list(scan(source.text[:offset]))
    if before and (before[-1].terminal in ("COMMENT", "NUMBER", "REAL") or before[-1].text[:1] == '"'):
        return []
    words = [each for each in before if each.terminal not in ("SPACE", "COMMENT")]
    if words and words[-1].terminal == "NAME" and words[-1].end == offset:
        words.pop()
    if words and words[-1].terminal in DECLARING:
        return []
    inside = outline(source).inside(offset)
    found = [Suggestion(each.text, "parameter", inside.head) for each in inside.parameters] if inside else []
    in_score = inside is not None and inside.kind == "score"
    found += [Suggestion("s", "position", SCORE)] if in_score else []
    found += [Suggestion(name, "position", text) for name, text in POSITIONS.items()]
    for _, known in visible(source):
        found += [Suggestion(each.named.text, "definition", each.head, each.doc) for each in known.definitions()]
    found += [Suggestion(name, "built in", str(signature)) for name, signature in _built_in(in_score)]
    found += [Suggestion(word, "keyword") for word in KEYWORDS]
    return list({each.label: each for each in reversed(found)}.values())[::-1]


def _built_in(in_score: bool) -> list[tuple[str, Signature]]:
    """Functions of real numbers stand in scores alone."""
    return [(name, each) for name, each in BUILT_IN.items() if in_score or each.sort != "real"]
