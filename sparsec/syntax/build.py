"""The parser's tree -> AST."""

from __future__ import annotations

from typing import Any

from sparsec.source import Source, Span
from sparsec.syntax import ast
from sparsec.syntax.lalr import Token, Tree

_Parts = list[Any]  # tokens, nodes, tuples of nodes, and None where an option is absent


def build(source: Source, tree: Tree) -> ast.File:
    """The AST of the parser's tree, from the leaves upwards, so that no depth of nesting can exhaust the stack."""
    builder = _Builder(source)
    made: dict[int, Any] = {}
    places: dict[int, tuple[int, int]] = {}  # of the first and the last token of each subtree
    for subtree in tree.subtrees():
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

    def file(self, parts: _Parts) -> ast.File:
        return ast.File(tuple(parts), source=self.source)

    def definition(self, parts: _Parts) -> ast.Definition:
        doc, kind, name, parameters, _, body = parts
        return ast.Definition(
            str(kind),
            str(name),
            parameters or (),
            body,
            _doc(doc),
            name_span=self.word(name),
            span=self.place(parts[1]),
        )

    def use(self, parts: _Parts) -> ast.Use:
        return ast.Use(_text(parts[2]), _doc(parts[0]), span=self.place(parts[1]))

    def input(self, parts: _Parts) -> ast.Input:
        doc, keyword, name, _, kind, *axes = parts
        places = {"name_span": self.word(name), "kind_span": self.word(kind), "span": self.place(keyword)}
        return ast.Input(str(name), str(kind), _nodes(axes), _doc(doc), **places)

    def parameters(self, parts: _Parts) -> tuple[ast.Parameter, ...]:
        return _nodes(parts)

    def parameter(self, parts: _Parts) -> ast.Parameter:
        return ast.Parameter(str(parts[0]), parts[2], span=self.place())

    def union(self, parts: _Parts) -> ast.Union:
        return ast.Union(_nodes(parts), span=self.place())

    def binary(self, parts: _Parts) -> ast.Binary:
        return ast.Binary(str(parts[1]), parts[0], parts[2], span=self.place())

    def unary(self, parts: _Parts) -> ast.Unary:
        return ast.Unary(str(parts[0]), parts[1], span=self.place())

    def chain(self, parts: _Parts) -> ast.Chain:
        return ast.Chain(tuple(parts[::2]), tuple(map(str, parts[1::2])), span=self.place())

    def membership(self, parts: _Parts) -> ast.Membership:
        return ast.Membership(parts[0], parts[1] is not None, parts[3], span=self.place())

    def range(self, parts: _Parts) -> ast.Range:
        return ast.Range(parts[0], parts[2], span=self.place())

    def members(self, parts: _Parts) -> ast.Members:
        return ast.Members(_nodes(parts), span=self.place())

    def number(self, parts: _Parts) -> ast.Number:
        digits = parts[0].replace("_", "").lstrip("0")[:20]  # 20 digits are already too large: lowering says so
        return ast.Number(int(digits or "0"), span=self.place())

    def real(self, parts: _Parts) -> ast.Real:
        return ast.Real(float(parts[0].replace("_", "")), span=self.place())

    def choice(self, parts: _Parts) -> ast.Choice:
        then, _, test, _, other = parts
        return ast.Choice(then, test, other, span=self.place())

    def scored(self, parts: _Parts) -> ast.Scored:
        body, *scores = _nodes(parts)
        return ast.Scored(body, tuple(scores), span=self.place())

    def name(self, parts: _Parts) -> ast.Name:
        return ast.Name(str(parts[0]), span=self.place())

    def text(self, parts: _Parts) -> ast.Text:
        return ast.Text(_text(parts[0]), span=self.place())

    def parenthesised(self, parts: _Parts) -> ast.Expr:
        return parts[1]

    def call(self, parts: _Parts) -> ast.Call:
        return ast.Call(str(parts[0]), _nodes(parts), span=self.place())

    def argument(self, parts: _Parts) -> ast.Argument:
        return ast.Argument(str(parts[0]) if parts[0] else None, parts[2], span=self.place())

    def index(self, parts: _Parts) -> ast.Index:
        return ast.Index(str(parts[0]), _nodes(parts), span=self.place())

    def list(self, parts: _Parts) -> ast.Table:
        return ast.Table(_nodes(parts), span=self.place())

    def match(self, parts: _Parts) -> ast.Match:
        return ast.Match(parts[1], _nodes(parts[2:]), span=self.place())

    def arm(self, parts: _Parts) -> ast.Arm:
        return ast.Arm(_nodes(parts[0]), parts[2], span=Span(self.source, self.here[0], parts[2].span.end))

    def heads(self, parts: _Parts) -> _Parts:
        return parts

    def word(self, token: Token) -> Span:
        """A token of the rule."""
        return Span(self.source, token.start_pos, token.end_pos)

    def place(self, first: Token | None = None) -> Span:
        """All of the rule, or from a token of it on."""
        start, end = self.here
        return Span(self.source, first.start_pos if first is not None else start, end)


def _nodes(parts: _Parts) -> tuple:
    return tuple(part for part in parts if isinstance(part, ast.Syntax))


def _doc(token: Token | None) -> str | None:
    return None if token is None else _text(token)


def _text(token: Token) -> str:
    """What a string says: `\\"` and `\\\\` stand for a quote and a backslash, every other character for itself."""
    quotes = 3 if len(token) > 2 and token.startswith('"""') else 1
    said = token[quotes:-quotes]
    return "\\".join(part.replace('\\"', '"') for part in said.split("\\\\"))
