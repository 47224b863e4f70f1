"""Names at the top of a Python module: which there are, and others in their place."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator, Mapping, Sequence

_Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
_Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
_Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def names(text: str) -> frozenset[str]:
    """What a module binds at its top: definitions, imports, variables."""
    return _bound(ast.parse(text).body)


def renamed(text: str, others: Mapping[str, str]) -> str:
    """A module in which names of its top are called otherwise, wherever they are meant: not arguments, local variables
    and attributes that are called the same.  Names in strings stay.
    """
    if not others:
        return text
    places = _Places(others, text)
    places.visit(ast.parse(text))
    lines = [line.encode() for line in text.splitlines(keepends=True)]
    for line, column, old, new in sorted(places.found, reverse=True):
        before = lines[line - 1]
        lines[line - 1] = before[:column] + new.encode() + before[column + len(old) :]
    return b"".join(lines).decode()


class _Places(ast.NodeVisitor):
    """Where names of the top stand: line, column in bytes, what stands there, and what shall."""

    def __init__(self, others: Mapping[str, str], text: str) -> None:
        self.others, self.lines = others, text.splitlines()
        self.found: set[tuple[int, int, str, str]] = set()
        self.hidden: frozenset[str] = frozenset()  # names that mean something else here
        self.hidden_below: frozenset[str] = frozenset()  # and in functions here: names of a class are not seen in them

    def visit_Name(self, node: ast.Name) -> None:
        self._add(node.lineno, node.col_offset, node.id)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self._define(node, "def ")

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self._define(node, "async def ")

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._call(node, [node.body])

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._add(node.lineno, node.col_offset + len("class "), node.name)
        self._all([*node.decorator_list, *node.bases, *node.keywords])
        outer = self.hidden
        self.hidden = (self.hidden_below | _bound(node.body)) - _declared_global(node.body)
        self._all(node.body)
        self.hidden = outer

    def visit_Global(self, node: ast.Global) -> None:
        column = node.col_offset + len("global ")
        for name in node.names:
            self._add(node.lineno, column, name)
            column += len(f"{name}, ")

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            self._import(alias, f", {alias.name.split('.')[0]} as " if "." in alias.name else " as ")

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        for alias in node.names:
            self._import(alias, " as ")

    def generic_visit(self, node: ast.AST) -> None:
        if not isinstance(node, _Comprehension):
            super().generic_visit(node)
            return
        first = node.generators[0].iter  # the scope around has it
        self.visit(first)
        own = _bound([each.target for each in node.generators])
        self._inside(own, [each for each in ast.iter_child_nodes(node) if not isinstance(each, ast.comprehension)])
        for each in node.generators:
            self._inside(own, [each.target, *([] if each.iter is first else [each.iter]), *each.ifs])

    def _define(self, node: ast.FunctionDef | ast.AsyncFunctionDef, before: str) -> None:
        self._add(node.lineno, node.col_offset + len(before), node.name)
        self._all([*node.decorator_list, *([node.returns] if node.returns else [])])
        self._call(node, node.body)

    def _call(self, node: _Function, body: list) -> None:
        of = node.args
        arguments = [*of.posonlyargs, *of.args, *of.kwonlyargs, *(each for each in (of.vararg, of.kwarg) if each)]
        outside = [*of.defaults, *of.kw_defaults, *(each.annotation for each in arguments)]
        self._all(each for each in outside if each)
        self._inside(_bound(body) | {each.arg for each in arguments}, body)

    def _inside(self, own: frozenset[str] | set[str], nodes: Sequence[ast.AST]) -> None:
        outer = self.hidden, self.hidden_below
        self.hidden = self.hidden_below = (self.hidden_below | own) - _declared_global(nodes)
        self._all(nodes)
        self.hidden, self.hidden_below = outer

    def _all(self, nodes: Iterable[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _import(self, alias: ast.alias, between: str) -> None:
        name = alias.asname or alias.name.split(".")[0]
        if name in self.hidden or name not in self.others:
            return
        end = alias.end_col_offset or 0
        if alias.asname:
            self._add(alias.lineno, end - len(name.encode()), name)
        else:
            self.found.add((alias.end_lineno or alias.lineno, end, "", between + self.others[name]))

    def _add(self, line: int, column: int, name: str) -> None:
        if name in self.hidden or name not in self.others:
            return
        assert self.lines[line - 1].encode()[column:].startswith(name.encode()), (line, column, name)
        self.found.add((line, column, name, self.others[name]))


def _bound(nodes: Sequence[ast.AST]) -> frozenset[str]:
    """What statements bind in the scope that they stand in."""
    found = set()
    for node in _of_one_scope(nodes):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            found.add(node.id)
        elif isinstance(node, _Definition):
            found.add(node.name)
        elif isinstance(node, ast.alias):
            found.add(node.asname or node.name.split(".")[0])
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            found.add(node.name)
        elif isinstance(node, ast.MatchMapping) and node.rest:
            found.add(node.rest)
    return frozenset(found - _declared_global(nodes))


def _declared_global(nodes: Iterable[ast.AST]) -> frozenset[str]:
    return frozenset(name for node in _of_one_scope(nodes) if isinstance(node, ast.Global) for name in node.names)


def _of_one_scope(nodes: Iterable[ast.AST]) -> Iterator[ast.AST]:
    """Nodes and what is below them, but for what has a scope of its own."""
    for node in nodes:
        yield node
        if isinstance(node, _Comprehension):  # `:=` binds around it
            yield from (each.target for each in ast.walk(node) if isinstance(each, ast.NamedExpr))
        elif not isinstance(node, _Definition | ast.Lambda):
            yield from _of_one_scope(ast.iter_child_nodes(node))
