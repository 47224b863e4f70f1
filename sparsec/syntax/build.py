"""Lark's tree -> AST."""

from __future__ import annotations

from lark import Token, Tree

from sparsec.source import Source, Span
from sparsec.syntax import ast

_Part = Token | ast.Syntax | tuple | None


def build(source: Source, tree: Tree) -> ast.File:
    """The AST of Lark's tree, from the leaves upwards, so that no depth of nesting can exhaust the stack."""
    builder = _Builder(source)
    made: dict[int, _Part] = {}
    places: dict[int, tuple[int, int]] = {}  # of the first and the last token of each subtree
    for subtree in tree.iter_subtrees():
        parts = [made[id(child)] if isinstance(child, Tree) else child for child in subtree.children]
        builder.here = places[id(subtree)] = _place(subtree, places)
        made[id(subtree)] = getattr(builder, subtree.data)(parts)
    return made[id(tree)]


def _place(tree: Tree, places: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Where the tokens of a tree begin and end, the brackets within it included."""
    found = [
        places[id(child)] if isinstance(child, Tree) else (child.start_pos, child.end_pos)
        for child in tree.children
        if child is not None
    ]
    return (found[0][0], found[-1][1]) if found else (0, 0)


class _Builder:
    """One method for each rule of the grammar; its parts include all tokens, and None where an option is absent."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.here = (0, 0)  # where the tokens of the rule begin and end

    def file(self, parts: list) -> ast.File:
        return ast.File(tuple(parts), source=self.source)

    def definition(self, parts: list) -> ast.Definition:
        doc, kind, name, parameters, _, body = parts
        return ast.Definition(
            str(kind),
            str(name),
            parameters or (),
            body,
            _text(doc),
            name_span=Span(self.source, name.start_pos, name.end_pos),
            span=self.place(parts[1]),
        )

    def use(self, parts: list) -> ast.Use:
        return ast.Use(_text(parts[2]), _text(parts[0]), span=self.place(parts[1]))

    def input(self, parts: list) -> ast.Input:
        return ast.Input(str(parts[2]), str(parts[4]), _nodes(parts), _text(parts[0]), span=self.place(parts[1]))

    def parameters(self, parts: list) -> tuple[ast.Parameter, ...]:
        return _nodes(parts)

    def parameter(self, parts: list) -> ast.Parameter:
        return ast.Parameter(str(parts[0]), parts[2], span=self.place())

    def union(self, parts: list) -> ast.Union:
        return ast.Union(_nodes(parts), span=self.place())

    def binary(self, parts: list) -> ast.Binary:
        return ast.Binary(str(parts[1]), parts[0], parts[2], span=self.place())

    def unary(self, parts: list) -> ast.Unary:
        return ast.Unary(str(parts[0]), parts[1], span=self.place())

    def chain(self, parts: list) -> ast.Chain:
        return ast.Chain(tuple(parts[::2]), tuple(map(str, parts[1::2])), span=self.place())

    def membership(self, parts: list) -> ast.Membership:
        return ast.Membership(parts[0], parts[1] is not None, parts[3], span=self.place())

    def range(self, parts: list) -> ast.Range:
        return ast.Range(parts[0], parts[2], span=self.place())

    def members(self, parts: list) -> ast.Members:
        return ast.Members(_nodes(parts), span=self.place())

    def number(self, parts: list) -> ast.Number:
        digits = parts[0].replace("_", "").lstrip("0")[:20]  # 20 digits are already too large: lowering says so
        return ast.Number(int(digits or "0"), span=self.place())

    def name(self, parts: list) -> ast.Name:
        return ast.Name(str(parts[0]), span=self.place())

    def text(self, parts: list) -> ast.Text:
        return ast.Text(_text(parts[0]), span=self.place())

    def parenthesised(self, parts: list) -> ast.Expr:
        return parts[1]

    def call(self, parts: list) -> ast.Call:
        return ast.Call(str(parts[0]), _nodes(parts), span=self.place())

    def argument(self, parts: list) -> ast.Argument:
        return ast.Argument(str(parts[0]) if parts[0] else None, parts[2], span=self.place())

    def index(self, parts: list) -> ast.Index:
        return ast.Index(str(parts[0]), _nodes(parts), span=self.place())

    def list(self, parts: list) -> ast.Table:
        return ast.Table(_nodes(parts), span=self.place())

    def match(self, parts: list) -> ast.Match:
        return ast.Match(parts[1], _nodes(parts[2:]), span=self.place())

    def arm(self, parts: list) -> ast.Arm:
        return ast.Arm(_nodes(parts[0]), parts[2], span=Span(self.source, self.here[0], parts[2].span.end))

    def heads(self, parts: list) -> list[_Part]:
        return parts

    def place(self, first: Token | None = None) -> Span:
        """All of the rule, or from a token of it on."""
        start, end = self.here
        return Span(self.source, first.start_pos if first is not None else start, end)


def _nodes(parts: list[_Part]) -> tuple:
    return tuple(part for part in parts if isinstance(part, ast.Syntax))


def _text(token: Token | None) -> str | None:
    """What a string says: `\\"` and `\\\\` stand for a quote and a backslash, every other character for itself."""
    if token is None:
        return None
    quotes = 3 if len(token) > 2 and token.startswith('"""') else 1
    said = token[quotes:-quotes]
    return "\\".join(part.replace('\\"', '"') for part in said.split("\\\\"))
