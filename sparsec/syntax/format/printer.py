"""AST -> text, such that reading the text again gives the same AST.  Comments are not part of an AST."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from decimal import Decimal

from sparsec.source import Source
from sparsec.syntax import ast
from sparsec.syntax.format.layout import lay_out

# How tightly each expression binds; an operand that binds looser than its place asks for is put in brackets.
_SCORED, _CHOICE, _UNION, _AND, _NOT, _COMPARE, _SUM, _PRODUCT, _MINUS, _POWER, _ATOM = range(-1, 10)
_BINARY = {  # operator: its own level, the left operand's, the right operand's
    "&": (_AND, _AND, _NOT),
    "\\": (_AND, _AND, _NOT),
    "+": (_SUM, _SUM, _PRODUCT),
    "-": (_SUM, _SUM, _PRODUCT),
    "*": (_PRODUCT, _PRODUCT, _MINUS),
    "/": (_PRODUCT, _PRODUCT, _MINUS),
    "//": (_PRODUCT, _PRODUCT, _MINUS),
    "%": (_PRODUCT, _PRODUCT, _MINUS),
    "**": (_POWER, _ATOM, _MINUS),
}


def print_file(file: ast.File) -> str:
    """The declarations of a file in the usual layout, with a blank line between."""
    text = "\n\n".join(map(_declaration, file.declarations))
    return lay_out(Source(file.source.name, text))


def print_expression(node: ast.Syntax) -> str:
    """An expression, or a part of one, on one line."""
    return _show(node)[1]


def _declaration(node: ast.Definition | ast.Use | ast.Input) -> str:
    doc = "" if node.doc is None else _doc(node.doc) + "\n"
    if isinstance(node, ast.Use):
        return f"{doc}use {_quoted(node.path)}"
    if isinstance(node, ast.Input):
        axes = f"[{', '.join(_at(axis, _UNION) for axis in node.axes)}]" if node.axes else ""
        return f"{doc}input {node.name}: {node.kind}{axes}"
    parameters = f"({', '.join(map(_parameter, node.parameters))})" if node.parameters else ""
    misplaced = isinstance(node.body, ast.Scored if node.kind == "score" else ast.Choice)
    body = f"({print_expression(node.body)})" if misplaced else _body(node.body)
    end = " " if node.kind != "pattern" and not isinstance(node.body, ast.Match) else "\n"
    return f"{doc}{node.kind} {node.name}{parameters} ={end}{body}"


def _parameter(node: ast.Parameter) -> str:
    return node.name if node.default is None else f"{node.name} = {_at(node.default, _SUM)}"


def _body(node: ast.Expr) -> str:
    """An expression that has lines to itself: there, a `match` has one for each arm."""
    if isinstance(node, ast.Scored) and isinstance(node.body, ast.Match):
        return f"{_body(node.body)} {_with(node)}"
    if not isinstance(node, ast.Match):
        return print_expression(node)
    arms = "\n".join(f"{_heads(arm)} -> {_arm(arm.body, _body)}" for arm in node.arms)
    return f"match {_at(node.value, _SUM)} {{\n{arms}\n}}"


def _arm(node: ast.Expr, show: Callable[[ast.Expr], str]) -> str:
    """What an arm chooses, whose comma ends it: several scores stand in brackets."""
    if isinstance(node, ast.Choice):
        return _at(node, _UNION)
    if not isinstance(node, ast.Scored) or len(node.scores) == 1:
        return show(node)
    return f"{_at(node.body, _UNION)} with ({_list(node.scores)})"


def _with(node: ast.Scored) -> str:
    return f"with {_list(node.scores)}"


def _heads(arm: ast.Arm) -> str:
    return " | ".join(map(print_expression, arm.heads)) or "else"


def _at(node: ast.Expr, level: int) -> str:
    """The expression at a place that asks for `level`, in brackets when it binds looser."""
    own, text = _show(node)
    return text if own >= level else f"({text})"


def _list(nodes: Iterable[ast.Expr | ast.Argument]) -> str:
    return ", ".join(map(print_expression, nodes))


def _show(node: ast.Syntax) -> tuple[int, str]:
    """How tightly an expression binds, and its text."""
    match node:
        case ast.Number(value):
            return _ATOM, str(value)
        case ast.Real(value):
            return _ATOM, decimal(value)
        case ast.Name(name):
            return _ATOM, name
        case ast.Text(value):
            return _ATOM, _quoted(value)
        case ast.Table(items):
            return _ATOM, f"[{', '.join(_at(item, _UNION) for item in items)}]"
        case ast.Argument(name, value):
            return _ATOM, f"{name} = {_at(value, _CHOICE)}" if name else _at(value, _CHOICE)
        case ast.Call(name, arguments):
            return _ATOM, f"{name}({_list(arguments)})"
        case ast.Index(name, indices):
            return _ATOM, f"{name}[{', '.join(_at(index, _UNION) for index in indices)}]"
        case ast.Match(value, arms):
            shown = ", ".join(f"{_heads(arm)} -> {_arm(arm.body, print_expression)}" for arm in arms)
            return _ATOM, f"match {_at(value, _SUM)} {{ {shown} }}"
        case ast.Choice(then, test, other):
            return _CHOICE, f"{_at(then, _UNION)} if {_at(test, _UNION)} else {_at(other, _CHOICE)}"
        case ast.Scored(body):
            return _SCORED, f"{_at(body, _UNION)} {_with(node)}"
        case ast.Unary("-", value):
            return _MINUS, f"-{_at(value, _MINUS)}"
        case ast.Unary(op, value):
            return _NOT, f"{op}{_at(value, _NOT)}"
        case ast.Binary(op, left, right):
            own, before, after = _BINARY[op]
            return own, f"{_at(left, before)} {op} {_at(right, after)}"
        case ast.Union(parts):
            # Unlike the grammar, readers don't take `&` to bind tighter than `|`: SP0904, SP0905.
            return _UNION, " | ".join(_at(part, _NOT) for part in parts)
        case ast.Chain(operands, ops):
            first, *rest = (_at(operand, _SUM) for operand in operands)
            return _COMPARE, first + "".join(f" {op} {text}" for op, text in zip(ops, rest, strict=True))
        case ast.Membership(value, negated, container):
            word = "not in" if negated else "in"
            return _COMPARE, f"{_at(value, _SUM)} {word} {_at(container, _SUM)}"
        case ast.Range(first, last):
            return _ATOM, f"{_at(first, _SUM)}..{_at(last, _SUM)}"
        case ast.Members(items):
            return _ATOM, f"{{{', '.join(_at(item, _SUM) for item in items)}}}"
    raise TypeError(f"not an expression: {node!r}")


def decimal(value: float) -> str:
    """A number with a point, as it is written: all its digits, and no exponent."""
    text = format(Decimal(repr(value)), "f")
    return text if "." in text else f"{text}.0"


def _quoted(text: str) -> str:
    """A text in quotes, in three when it has several lines."""
    if "\n" in text:
        return _doc(text)
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _doc(text: str) -> str:
    """A text in three quotes; its own quotes stay as they are unless they could end it."""
    text = text.replace("\\", "\\\\")
    if '"""' in text or text.endswith('"'):
        text = text.replace('"', '\\"')
    return f'"""{text}"""'
