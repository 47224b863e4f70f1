"""Scores and their derivatives -> Python text; in Triton's language, for kernels.

What occurs twice in one has a name.  Integers stay integers in the text, so that heads that differ in them share it.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping
from decimal import Decimal

from sparsec.analysis.score_terms import is_of_head
from sparsec.codegen.arguments import DataArguments
from sparsec.codegen.dialects import Triton
from sparsec.codegen.printer import ATOM, PRODUCT, SUM, Printer
from sparsec.ir import nodes as ir
from sparsec.ir.scores import (
    Apply,
    Arithmetic,
    Choose,
    Extreme,
    Number,
    Piece,
    ReadReal,
    Real,
    Scaled,
    Whole,
    below,
    constant,
    operations,
    parts,
)

_NAMED = ReadReal | Arithmetic | Apply | Extreme | Choose | Piece


class Scores:
    """The body of one function, in what both dialects share: `names` are its variables."""

    positions: Printer
    zeros: str  # like s

    def __init__(self, data: DataArguments, scaled: str = "s") -> None:
        """`scaled`: the scaled product; s is that, or the product before it is scaled."""
        self.data, self.scaled = data, scaled
        self.names: dict[Real, str] = {}

    def lines(self, node: Real, of_pairs: bool = False) -> list[str]:
        """The body of a function that returns it; `of_pairs`: for each pair, also where s does not occur."""
        lines = self.named([node])
        spread = of_pairs and not any(isinstance(part, Scaled) for part in parts(node))
        return [*lines, f"return {self.zeros} + {self._at(node, PRODUCT)}" if spread else f"return {self.real(node)}"]

    def named(self, nodes: list[Real]) -> list[str]:
        """Lines that name what occurs twice in some nodes."""
        lines = []
        for part in _used_again(nodes):
            text = self.real(part)
            self.names[part] = f"x_{len(self.names)}"
            lines.append(f"{self.names[part]} = {text}")
        return lines

    def real(self, node: Real) -> str:
        return self._real(node)[0]

    def _at(self, node: Real, level: int) -> str:
        text, binds = self._real(node)
        return text if binds >= level else f"({text})"

    def _real(self, node: Real) -> tuple[str, int]:
        if isinstance(node, _NAMED) and node in self.names:
            return self.names[node], ATOM
        match node:
            case Number(value):
                return _decimal(value), ATOM if value >= 0 else SUM
            case Scaled():
                return self.scaled, ATOM if self.scaled == "s" else PRODUCT
            case Whole(ir.Const(value)):
                return str(value), ATOM if value >= 0 else SUM
            case Whole(value):
                return self._whole(value), ATOM
            case ReadReal():
                return self._read(node), ATOM
            case Arithmetic(left, "-", right) if constant(left) == 0:
                return f"-{self._at(right, ATOM)}", SUM
            case Arithmetic(left, "+" | "-" as op, right):
                return f"{self._at(left, SUM)} {op} {self._at(right, PRODUCT)}", SUM
            case Arithmetic(left, "/", right) if constant(right) is not None:
                return f"{self._at(left, PRODUCT)} * (1 / {self._at(right, ATOM)})", PRODUCT
            case Arithmetic(left, "*" | "/" as op, right):
                return f"{self._at(left, PRODUCT)} {op} {self._at(right, ATOM)}", PRODUCT
            case Arithmetic(left, "**", right):
                base = constant(left)
                assert base is not None  # lowering and derivatives have no others
                power = self.real(right) if base == 2 else f"{self._at(right, PRODUCT)} * {_decimal(math.log2(base))}"
                return f"{self._function('exp2')}({power})", ATOM
            case Apply(function, value):
                return f"{self._function(function)}({self.real(value)})", ATOM
            case Extreme(kind, left, right):
                return self._extreme(kind, left, right), ATOM
            case Choose(then, test, other):
                return self._where(self.positions.condition(test), then, other), ATOM
            case Piece(left, op, right, then, other):
                return self._where(f"{self.real(left)} {op} {self.real(right)}", then, other), ATOM
        raise TypeError(f"not a score: {node!r}")

    @abstractmethod
    def _whole(self, node: ir.Int) -> str:
        """An integer that depends on the pair, the head or n as a real number."""

    @abstractmethod
    def _read(self, node: ReadReal) -> str:
        """An entry of a float input."""

    @abstractmethod
    def _function(self, name: str) -> str:
        """What it is called."""

    @abstractmethod
    def _extreme(self, kind: str, left: Real, right: Real) -> str:
        """The smaller or the larger of two; where one is no number, it is none."""

    @abstractmethod
    def _where(self, test: str, then: Real, other: Real) -> str:
        """`then` where the test holds, else `other`."""


_LOG2_E = "sk.LOG2_E"


class TritonScores(Scores):
    """Text of kernels."""

    zeros = "sk.real_zeros(s)"

    def __init__(self, data: DataArguments, indices: Mapping[ReadReal, str] | None = None, scaled: str = "s") -> None:
        """`indices`: of reads by distance, the functions that make an index of it."""
        super().__init__(data, scaled)
        self.positions: Triton = Triton(data=data)
        self.indices = indices or {}

    def tilted(self, node: Real, tilt: str) -> list[str]:
        """The body of a function that returns it and `tilt`, if any, for each position from the query to the key."""
        lines = self.lines(node, of_pairs=True)
        rise = f" + {tilt} * {self._whole(ir.Sub(ir.Var('k'), ir.Var('q')))}" if tilt else ""
        return [*lines[:-1], lines[-1] + rise]

    def exponents(self, node: Real) -> list[str]:
        """The body of a function that returns it times log2(e), of products s that are not yet times `scale`.

        In a chain of functions and products, what the pairs of a head have in common is multiplied beforehand, once.
        """
        if chain := self._chain(node, [_LOG2_E]):
            return [f"return {chain}"]
        *lines, last = self.lines(node, of_pairs=True)
        return ["s = s * scale", *lines, f"return ({last.removeprefix('return ')}) * {_LOG2_E}"]

    def weights(self, node: Real) -> list[str]:
        """The body of a function that returns 2 to the power of what `exponents` does."""
        if chain := self._chain(node, [_LOG2_E], "sk.exp2_tanh"):
            return [f"return {chain}"]
        *lines, last = self.exponents(node)
        return [*lines, f"return tl.exp2({last.removeprefix('return ')})"]

    def exponents_and_slopes(self, node: Real, slope: Real) -> list[str]:
        """The body of a function that returns what `exponents` does, and a derivative by the scaled product."""
        lines = self.named([node, slope])
        core, factors = self._factors(node)
        exponent = f"{self._at(core, PRODUCT)} * ({' * '.join([_LOG2_E, *factors])})"
        return [*lines, f"return {exponent}, {self.real(slope)}"]

    def _chain(self, node: Real, factors: list[str], tanh: str = "sk.tanh") -> str:
        """A chain that begins with s, times some factors, by that function for an outer tanh; "" where it is none."""
        node, own = self._factors(node)
        factors = [*factors, *own]
        match node:
            case Scaled():
                return f"s * ({' * '.join(['scale', *factors])})"
            case Apply("tanh", value):
                core, inside = self._factors(value)
                text, inside = ("s", ["scale", *inside]) if core == Scaled() else (self._chain(core, []), inside)
                return text and self._tanh(text, inside, factors, tanh)
            case Apply(function, value) if tanh == "sk.tanh" and (inner := self._chain(value, [])):
                times = f" * ({' * '.join(factors)})" if factors else ""
                return f"{self._function(function)}({inner}){times}"
        return ""

    def _factors(self, node: Real) -> tuple[Real, list[str]]:
        """A product as what differs from pair to pair, and factors that do not.

        Numbers among them are not multiplied here, but by Triton: heads that differ in an integer share one text.
        """
        match node:
            case Arithmetic(left, "*", right) if is_of_head(left):
                core, factors = self._factors(right)
                return core, [self._at(left, ATOM), *factors]
            case Arithmetic(left, "*", right) if is_of_head(right):
                core, factors = self._factors(left)
                return core, [self._at(right, ATOM), *factors]
            case Arithmetic(left, "/", right) if is_of_head(right):
                core, factors = self._factors(left)
                return core, [f"(1 / {self._at(right, ATOM)})", *factors]
        return node, []

    def _tanh(self, text: str, inside: list[str], outside: list[str], name: str = "sk.tanh") -> str:
        """`outside * tanh(inside * text)`: what pairs have in common becomes a part of coefficients."""
        factors = [" * ".join(some) or "1.0" for some in (inside, outside)]
        while factors and factors[-1] == "1.0":
            factors.pop()
        return f"{name}({', '.join([text, *factors])})"

    def _whole(self, node: ir.Int) -> str:
        if _is_difference(node):
            return f"sk.real_distance({self.positions.integer(node)}, NEAR)"
        if isinstance(node, ir.Abs) and _is_difference(node.value):  # of a real number it costs nothing
            return f"tl.abs({self._whole(node.value)})"
        return f"sk.real({self.positions.wide_integer(node)})"

    def _real(self, node: Real) -> tuple[str, int]:
        if isinstance(node, Apply) and node.function == "tanh" and node not in self.names:
            value, inside = self._factors(node.value)
            if value == Scaled() and self.scaled != "s":
                return self._tanh("s", ["scale", *inside], []), ATOM
            return self._tanh(self.real(value), inside, []), ATOM
        return super()._real(node)

    def _read(self, node: ReadReal) -> str:
        own, indices = self.data.of_entries(node.name), [*map(self.positions.wide_integer, node.indices)]
        if node in self.indices:
            return f"sk.read_by_distance({self.indices[node]}, {own}, q, k)"
        match indices:
            case []:
                return f"sk.read_number({own})"
            case [index] if self.data.by_position(node.name):
                return f"sk.read_position({own}, {index}, n)"
            case [index]:
                return f"sk.read_listed({own}, {index})"
        return f"sk.read_pair({own}, {', '.join(indices)}, n)"

    def _function(self, name: str) -> str:
        return f"tl.{name}"

    def _extreme(self, kind: str, left: Real, right: Real) -> str:
        return f"tl.{kind}imum({self.real(left)}, {self.real(right)}, tl.PropagateNan.ALL)"

    def _where(self, test: str, then: Real, other: Real) -> str:
        return f"tl.where({test}, {self.real(then)}, {self.real(other)})"


def _is_difference(node: ir.Int) -> bool:
    """Whether it is a difference of positions: between as many as there are, below 0 and above."""
    return node in (ir.Sub(ir.Var("q"), ir.Var("k")), ir.Sub(ir.Var("k"), ir.Var("q")))


def _used_again(nodes: list[Real]) -> list[Real]:
    """What several others are made of, inner ones first."""
    all_parts = dict.fromkeys(part for node in nodes for part in parts(node))
    uses = Counter(child for part in all_parts for child in below(part) if isinstance(child, _NAMED))
    return sorted((part for part in uses if uses[part] > 1), key=operations)


def _decimal(value: float) -> str:
    """A number without an exponent, whose digits would be read as an integer of its own."""
    text = format(Decimal(repr(value)), "f")
    return text if "." in text else f"{text}.0"
