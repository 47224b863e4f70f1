"""Signatures of definitions and built-in names, and what operators, functions and primitives make of their operands."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sparsec.diagnostics import Diagnostic, WrongArguments
from sparsec.ir import algebra
from sparsec.ir.nodes import FALSE, Blocks, Int, Node, RandomBlocks, RandomKeys, Set
from sparsec.source import Span
from sparsec.syntax import ast

MAX_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class Signature:
    """Parameters in order, and those that have defaults; `many`: the last may be given again and again.

    `others`: of the parameters that are no integers, what they are instead: "set", "table", "chosen", an input that
    lists blocks, or some words, one of which is meant.  `reals`: of those that may be inputs of real numbers, the kind.
    """

    name: str
    parameters: tuple[str, ...]
    defaults: tuple[str, ...] = ()
    sort: str = "set"  # of the result
    many: bool = False
    others: Mapping[str, str] = field(default_factory=dict)
    reals: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        shown = [f"{name} = ..." if name in self.defaults else name for name in self.parameters]
        return f"{self.name}({', '.join(shown)}{', ...' if self.many else ''})" if shown else self.name


BUILT_IN = {
    signature.name: signature
    for signature in (
        Signature("abs", ("x",), sort="int"),
        Signature("min", ("x", "y"), sort="int", many=True),
        Signature("max", ("x", "y"), sort="int", many=True),
        *(Signature(name, ("x",), sort="real") for name in ("tanh", "exp", "log", "sqrt")),
        Signature("relative", ("table", "far"), sort="real", others={"table": ""}, reals={"table": "float"}),
        Signature("blocks", ("b", "table"), others={"table": "table"}),
        Signature("random_blocks", ("b", "r", "seed")),
        Signature("random_past_blocks", ("b", "r", "seed")),
        Signature("random_keys", ("r", "seed")),
        Signature("selected", ("input",), others={"input": "chosen"}),
        Signature(
            "top_blocks",
            ("t", "bk", "bq", "score", "among", "keep", "over", "percent"),
            ("bq", "score", "among", "keep", "over", "percent"),
            others={"score": "mean max bound lse", "among": "set", "keep": "set", "over": "head group"},
            reals={"score": "scores"},
        ),
        Signature(
            "top_keys",
            ("t", "among", "over", "percent"),
            ("among", "over", "percent"),
            others={"among": "set", "over": "head group"},
        ),
        Signature("lsh", ("buckets", "rounds", "chunk", "seed")),
        Signature("routed", ("centroids", "t"), others={"centroids": ""}, reals={"centroids": "centroids"}),
    )
}


def signature_of(definition: ast.Definition) -> Signature:
    parameters = definition.parameters
    defaults = tuple(parameter.name for parameter in parameters if parameter.default is not None)
    sort = "real" if definition.kind == "score" else "set"
    return Signature(definition.name, tuple(parameter.name for parameter in parameters), defaults, sort)


def bind(signature: Signature, arguments: Sequence[ast.Argument], span: Span) -> dict[str, ast.Expr] | Diagnostic:
    """Which argument goes to which parameter; extra ones of a `many` function are named `...1`, `...2` and so on."""
    bound: dict[str, ast.Expr] = {}
    given = _count(len(arguments), "is", "are") + " given"
    for position, argument in enumerate(arguments):
        name = argument.name
        if name is None and position < len(signature.parameters):
            name = signature.parameters[position]
        elif name is None and signature.many:
            name = f"...{position}"
        elif name is None:
            return _wrong(signature, given, span)
        elif name not in signature.parameters:
            return _wrong(signature, f"it has no parameter `{name}`", argument.span)
        if name in bound:
            return _wrong(signature, f"`{name}` is given twice", argument.span)
        if argument.name is None and any(earlier.name for earlier in arguments[:position]):
            return _wrong(signature, "arguments with a name come last", argument.span)
        bound[name] = argument.value
    missing = [name for name in signature.parameters if name not in bound and name not in signature.defaults]
    return _wrong(signature, given, span) if missing else bound


def _wrong(signature: Signature, given: str, span: Span) -> Diagnostic:
    least, most = len(signature.parameters) - len(signature.defaults), len(signature.parameters)
    if signature.many:
        takes = f"at least {_count(least)}"
    else:
        takes = f"{least} to {_count(most)}" if least < most else _count(most)
    return WrongArguments(name=signature.name, takes=takes, given=given, signature=str(signature), span=span)


def _count(number: int, one: str = "", more: str = "") -> str:
    word = "no arguments" if number == 0 else "1 argument" if number == 1 else f"{number} arguments"
    return f"{word} {one if number == 1 else more}".strip()


def _repeated(make: Callable[[Int, Int], Int]) -> Callable[..., Int]:
    """min(a, b, c) = min(min(a, b), c)"""

    def joined(first: Int, *rest: Int) -> Int:
        for value in rest:
            first = make(first, value)
        return first

    return joined


WHAT = {"//": "the divisor of `//`", "%": "the modulus of `%`", "**": "the exponent of `**`"}
FUNCTIONS: dict[str, Callable[..., Int]] = {
    "abs": algebra.absolute,
    "min": _repeated(algebra.minimum),
    "max": _repeated(algebra.maximum),
}
BINARY: dict[str, Callable[..., Node]] = {
    "+": algebra.add,
    "-": algebra.sub,
    "*": algebra.mul,
    "&": algebra.conjunction,
    "\\": lambda left, right: algebra.conjunction(left, algebra.complement(right)),  # a \ b = a & ~b
}
PRIMITIVES: dict[str, Callable[..., Set]] = {
    "blocks": lambda size, rows: Blocks(size, rows) if any(rows) else FALSE,
    "random_blocks": RandomBlocks,
    "random_past_blocks": lambda size, count, seed: RandomBlocks(size, count, seed, past=True),
    "random_keys": RandomKeys,
}
