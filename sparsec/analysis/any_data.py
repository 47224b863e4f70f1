"""Patterns that need whatever a pattern can need, where data of the call or the ends of documents are not known."""

from __future__ import annotations

from dataclasses import replace

from sparsec.analysis.facts import is_causal
from sparsec.ir import nodes as ir
from sparsec.ir.approximate import affine_over, without_data
from sparsec.ir.invariance import is_of_distances

_CAUSAL = ir.Compare(ir.Var("k"), "<=", ir.Var("q"))


def for_any_data(pattern: ir.Pattern) -> ir.Pattern:
    """A pattern that needs every key that `pattern` needs for some data of the call; itself where it reads none.

    What a call chooses by content is made from all keys of blocks, those that it sees or not.
    """
    if any(own.choice for own in pattern.inputs):
        return replace(pattern, conditions=(ir.TRUE,) * len(pattern.conditions))
    return replace(pattern, conditions=tuple(without_data(condition, "over") for condition in pattern.conditions))


def anywhere(pattern: ir.Pattern) -> ir.Pattern:
    """A pattern that keeps, in a whole row, what `pattern` can keep in documents that begin and end anywhere in it."""
    return replace(pattern, conditions=tuple(map(_anywhere, pattern.conditions)))


def _anywhere(condition: ir.Set) -> ir.Set:
    affine = affine_over(condition)
    if is_of_distances(affine) and "n" not in ir.names(affine):
        return affine
    return _CAUSAL if is_causal(affine) else ir.TRUE
