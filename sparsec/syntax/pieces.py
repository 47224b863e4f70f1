"""Parts of a text on their way into a layout: a document, with the comments at its edges kept apart.

Comments before the first token and behind the last one are handed upwards, to where a line begins or ends anyway.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from sparsec.syntax.format.doc import Comment, Concat, Doc, FillLine, Group, Hard, IfBroken, Indent, Line, concat, width
from sparsec.syntax.format.trivia import Around, Remark


@dataclass(frozen=True, eq=False)
class Piece:
    doc: Doc
    above: tuple[Remark, ...] = ()  # comments before it, on lines of their own
    after: tuple[str, ...] = ()  # comments behind it
    newline: bool = False  # the writer began a line with it
    blank: bool = False  # below a blank line
    brackets: Group | None = None  # with which it ends, to be broken rather than what stands before them
    simple: bool = True  # a number, a name, something in brackets
    level: int = 0  # of a chain of operators; its links are (operator, operand), the first without operator
    links: Links = ()
    text: str = ""  # of a token

    @property
    def nested(self) -> Doc:
        """The document inside a line: a chain's further lines stand further right."""
        return _chain(self.links, indented=True) if self.links else self.doc


Links = tuple[tuple[Piece | None, Piece], ...]


def token(text: str, around: Around) -> Piece:
    return Piece(text, around.above, around.after, around.newline, around.blank, text=text)


def row(*parts: Piece | Doc, simple: bool = False) -> Piece:
    """Pieces side by side, with no line end between them."""
    given = [part for part in parts if isinstance(part, Piece)]
    first, last = given[0], given[-1]
    docs = [inner(part, part is first, part is last) if isinstance(part, Piece) else part for part in parts]
    return Piece(Concat(tuple(docs)), first.above, last.after, first.newline, first.blank, last.brackets, simple)


def inner(piece: Piece, first: bool = False, last: bool = False, nested: bool = True) -> Doc:
    """A piece with those of its comments that are not handed upwards: all but the first's above, the last's after."""
    docs: list[Doc] = (
        [] if first or not piece.above else [Comment(tuple(remark.text for remark in piece.above), own=True)]
    )
    docs.append(piece.nested if nested else piece.doc)
    docs += [] if last or not piece.after else [Comment(piece.after)]
    return Concat(tuple(docs)) if len(docs) > 1 else docs[0]


def remarks(parts: Sequence[Piece]) -> bool:
    """Whether a comment stands somewhere between the first token and the last."""
    return any(part.above for part in parts[1:]) or any(part.after for part in parts[:-1])


def chain(level: int, left: Piece, operator: Piece, right: Piece) -> Piece:
    """`left operator right`; operands of one level stand side by side."""
    before: Links = left.links if left.links and left.level == level else ((None, left),)
    links = (*before, (operator, right))
    return replace(
        row(left, operator, right),
        doc=_chain(links, indented=False),
        brackets=right.brackets,
        level=level,
        links=links,
    )


def _chain(links: Links, indented: bool) -> Group:
    pieces = [piece for link in links for piece in link if piece is not None]
    last = pieces[-1]
    docs: list[Doc] = [inner(pieces[0], first=True)]
    for operator, operand in links[1:]:
        assert operator is not None  # the first link alone has none
        rest = concat(Line(), inner(operator), " ", inner(operand, last=operand is last))
        docs.append(Indent(rest) if indented else rest)
    kept = any(piece.newline and _joins_sets(links) for piece in pieces[1:])
    hug = last.brackets if pieces[1].text != "|" else None
    return Group(Concat(tuple(docs)), kept or remarks(pieces), hug)


def _joins_sets(links: Links) -> bool:
    operator, _ = links[1]
    return operator is not None and operator.text in ("|", "&", "\\")


def bracketed(
    opening: Piece, items: Sequence[Piece], closing: Piece, *, comma: bool = True, fill: bool = False, hug: bool = False
) -> Piece:
    """`(item, ...)` and its like.

    `comma`: one may stand behind the last item.  `fill`: as many items on a line as fit.  `hug`: where the last item
    ends in brackets, those may break instead.
    """
    parts = [opening, *items, closing]
    docs: list[Doc] = [Line("")]
    for index, item in enumerate(items):
        here = inner(replace(item, after=()), nested=False)
        comment = (Comment(item.after),) if item.after else ()
        if index:
            docs.append(FillLine(width(here) + 1) if fill else Line())
        more = "," if index + 1 < len(items) else IfBroken("," if comma else "", "")
        docs.append(concat(here, more, *comment))
    doc = between(opening, docs, closing, Line("") if items else "")
    group = Group(doc, parts[1].newline or remarks(parts), items[-1].brackets if items and hug else None)
    return Piece(group, opening.above, closing.after, opening.newline, opening.blank, group)


def between(opening: Piece, docs: Sequence[Doc], closing: Piece, end: Doc) -> Doc:
    """Brackets with their content further in, and with it the comments before the closing one."""
    said = [part for remark in closing.above for part in (Hard(), remark.text)]
    return concat(inner(opening, first=True), Indent(Concat((*docs, *said))), Hard() if said else end, closing.doc)
