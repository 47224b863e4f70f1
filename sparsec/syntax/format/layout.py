"""The usual layout of a text: its tokens stay, and blanks, line ends and commas behind last items are settled anew.

Line ends that a writer put at `|`, `&` and `\\`, behind an opening bracket or behind `=` are kept, and go with the
others of their kind there; the rest is broken where a line would be too long.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sparsec.source import Source
from sparsec.syntax.format.doc import Comment, Concat, Doc, Group, Hard, IfBroken, Indent, Line, concat, render, width
from sparsec.syntax.format.trivia import Around, read
from sparsec.syntax.grammar import grammar
from sparsec.syntax.lalr import Tree
from sparsec.syntax.pieces import Piece, between, bracketed, chain, inner, remarks, row, token

WIDTH = 100
_MOST_ROUNDS = 10
_LEVELS = {"|": 1, "&": 2, "\\": 2, "+": 4, "-": 4, "*": 5, "/": 5, "//": 5, "%": 5, "**": 6}
_COMPARISON = 3
_WITH, _CHOICE = -1, -2

# Named here, because a rule of the grammar is called `list`.
Pieces = list[Piece]
Docs = list[Doc]
Parts = list[Any]  # pieces, and lists of them for the arms of a `match`


def lay_out(source: Source) -> str:
    """The text in the usual layout, whose own layout is itself.  It has been parsed without errors."""
    text = _laid_out(source)
    for _ in range(_MOST_ROUNDS):  # what moved to another line can move once more
        again = _laid_out(Source(source.name, text))
        if again == text:
            return text
        text = again
    raise AssertionError(f"no stable layout of {source.name}")


def _laid_out(source: Source) -> str:
    found = read(source)
    around = {each.start_pos: here for each, here in zip(found.tokens, found.around, strict=False)}
    parser = grammar().parser()
    for each in found.tokens:
        parser.feed(each)
    tree = parser.end()
    made: dict[int, Any] = {}  # a piece, or those of a rule that only groups its parts
    for subtree in tree.subtrees():  # from the leaves, so that no depth of brackets can exhaust the stack
        parts = [
            made[id(child)] if isinstance(child, Tree) else token(str(child), around[child.start_pos])
            for child in subtree.children
            if child is not None
        ]
        made[id(subtree)] = getattr(_Rules, subtree.data)(parts)
    return _file(made[id(tree)], found.around[-1])


def _file(declarations: list[Piece], end: Around) -> str:
    """Declarations of several lines stand between blank lines; other blank lines stay, one where there were more."""
    blocks: list[str] = []
    apart = False
    for index, piece in enumerate(declarations):
        text = render(concat(piece.doc, Comment(piece.after)) if piece.after else piece.doc, WIDTH)
        above = [("\n" if remark.blank else "") + remark.text for remark in piece.above]
        block = "\n".join([*above, ("\n" if piece.blank and above else "") + text])
        large = "\n" in block
        blank = large or apart or (piece.above[0].blank if piece.above else piece.blank)
        blocks.append(block.lstrip("\n") if not blank or not index else "\n" + block.lstrip("\n"))
        apart = "\n" in text
    closing = [("\n" if remark.blank else "") + remark.text for remark in end.above]
    text = "\n".join([*blocks, *closing]).lstrip("\n")
    return text + "\n" if text else ""


class _Rules:
    """One function for each rule of the grammar: the pieces of its parts, tokens included -> its piece."""

    @staticmethod
    def file(parts: Pieces) -> Pieces:
        return parts

    @staticmethod
    def definition(parts: Pieces) -> Piece:
        *doc, kind, name = parts[
            : next(i for i, part in enumerate(parts) if part.text in ("pattern", "set", "score")) + 2
        ]
        *parameters, equals, body = parts[len(doc) + 2 :]
        head = row(kind, " ", name, *parameters, " ", equals)
        if body.newline or remarks([head, body]):
            said: Doc = concat(inner(head, first=True), Indent(concat(Hard(), _body(body))))
        else:
            said = Group(concat(inner(head, first=True), Indent(concat(Line(), body.doc))), hug=body.brackets)
        return _documented(doc, Piece(said, head.above, body.after, head.newline, head.blank))

    @staticmethod
    def use(parts: Pieces) -> Piece:
        return _documented(parts[:-2], row(parts[-2], " ", parts[-1]))

    @staticmethod
    def input(parts: Pieces) -> Piece:
        start = next(i for i, part in enumerate(parts) if part.text == "input")
        word, name, colon, kind, *axes = parts[start:]
        found = row(word, " ", name, colon, " ", kind, *([_listed(axes)] if axes else []))
        return _documented(parts[:start], found)

    @staticmethod
    def parameters(parts: Pieces) -> Piece:
        return _listed(parts)

    @staticmethod
    def parameter(parts: Pieces) -> Piece:
        return _named(parts)

    @staticmethod
    def union(parts: Pieces) -> Piece:
        found = parts[0]
        for operator, operand in zip(parts[1::2], parts[2::2], strict=True):
            found = chain(_LEVELS["|"], found, operator, operand)
        return found

    @staticmethod
    def binary(parts: Pieces) -> Piece:
        left, operator, right = parts
        return chain(_LEVELS[operator.text], left, operator, right)

    @staticmethod
    def unary(parts: Pieces) -> Piece:
        return row(*parts, simple=parts[1].simple)

    @staticmethod
    def chain(parts: Pieces) -> Piece:
        found = parts[0]
        for operator, operand in zip(parts[1::2], parts[2::2], strict=True):
            found = chain(_COMPARISON, found, operator, operand)
        return found

    @staticmethod
    def membership(parts: Pieces) -> Piece:
        value, *words, container = parts
        return row(value, *(part for word in words for part in (" ", word)), " ", container)

    @staticmethod
    def range(parts: Pieces) -> Piece:
        first, dots, last = parts
        blank = "" if first.simple and last.simple else " "
        return row(first, blank, dots, blank, last)

    @staticmethod
    def members(parts: Pieces) -> Piece:
        return _listed(parts, fill=True)

    @staticmethod
    def number(parts: Pieces) -> Piece:
        return parts[0]

    name = text = real = number

    @staticmethod
    def choice(parts: Pieces) -> Piece:
        then, word, test, otherwise, other = parts
        return chain(_CHOICE, chain(_CHOICE, then, word, test), otherwise, other)

    @staticmethod
    def scored(parts: Pieces) -> Piece:
        body, word, *applied = parts
        if applied[0].text == "(":
            return chain(_WITH, body, word, _listed(applied))
        first, *others = _absorbed(applied)
        said = row(first, *(part for each in others for part in (", ", each)))
        return chain(_WITH, body, word, said)

    @staticmethod
    def parenthesised(parts: Pieces) -> Piece:
        return bracketed(parts[0], parts[1:2], parts[2], comma=False)

    @staticmethod
    def call(parts: Pieces) -> Piece:
        name, *brackets = parts
        arguments = _listed(brackets, hug=True)
        return row(name, arguments, simple=True)

    @staticmethod
    def argument(parts: Pieces) -> Piece:
        return _named(parts)

    index = call

    @staticmethod
    def list(parts: Pieces) -> Piece:
        return _listed(parts, fill=not any(part.brackets for part in parts))

    @staticmethod
    def match(parts: Parts) -> Piece:
        word, value, opening, *arms, closing = parts
        wide = max(width(arm[0].doc) for arm in arms)
        listed: Docs = []
        pieces: Pieces = []
        for arm in arms:
            heads, arrow, body, *comma = arm
            pad = IfBroken(" " * (wide - width(heads.doc)), "")
            body = _absorbed([body, *comma])[0]
            whole = row(heads, pad, " ", arrow, " ", body)
            more = () if arm is arms[-1] else (IfBroken("", ","),)
            comment = (Comment(whole.after),) if whole.after else ()
            listed += [Line(), inner(replace(whole, after=())), *more, *comment]
            pieces += [heads, arrow, body]
        all_parts = [word, value, opening, *pieces, closing]
        head = row(word, " ", value, " ", opening)
        doc = between(head, listed, closing, Line())
        group = Group(doc, pieces[0].newline or remarks(all_parts))
        return Piece(group, word.above, closing.after, word.newline, word.blank, group)

    @staticmethod
    def arm(parts: Pieces) -> Pieces:
        return parts

    @staticmethod
    def heads(parts: Pieces) -> Piece:
        return row(*(part for each in parts for part in ((" ", each, " ") if each.text == "|" else (each,))))


def _body(piece: Piece) -> Doc:
    return Concat((*([Comment(tuple(r.text for r in piece.above), own=True)] if piece.above else []), piece.doc))


def _documented(doc: list[Piece], said: Piece) -> Piece:
    """A declaration below its documentation, if it has one."""
    if not doc:
        return said
    (text,) = doc
    document = concat(inner(text, first=True), Hard(), inner(replace(said, after=())))
    return replace(said, doc=document, above=text.above, newline=text.newline, blank=text.blank)


def _named(parts: list[Piece]) -> Piece:
    """`name = value`, or the value alone."""
    return parts[0] if len(parts) == 1 else row(parts[0], " ", parts[1], " ", parts[2])


def _listed(parts: list[Piece], fill: bool = False, hug: bool = False) -> Piece:
    """Brackets around items with commas between them."""
    opening, *items, closing = parts
    return bracketed(opening, _absorbed(items), closing, fill=fill, hug=hug)


def _absorbed(parts: list[Piece]) -> list[Piece]:
    """The items without their commas, whose comments they take over."""
    items: list[Piece] = []
    for part in parts:
        if part.text != ",":
            items.append(part)
            continue
        after = (*items[-1].after, *(remark.text for remark in part.above), *part.after)
        items[-1] = replace(items[-1], after=after)
    return items
