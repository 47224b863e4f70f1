"""Operators of patterns that no text says: what a compiled pattern is in a part of its pairs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sparsec.runtime.module import module

if TYPE_CHECKING:
    from types import ModuleType

    from sparsec.ir.nodes import Pattern
    from sparsec.kernels.operator.op import Attention, Operator


def operator_of(pattern: Pattern) -> Operator:
    """The operator of a pattern."""
    return _module(pattern)._OPERATOR


def function_of(pattern: Pattern) -> Attention:
    """The function of a pattern, called as `Attend` is."""
    from sparsec.codegen.emit import function_name

    return getattr(_module(pattern), function_name(pattern.name))


@lru_cache(maxsize=64)
def _module(pattern: Pattern) -> ModuleType:
    """The module of a pattern, compiled once a process."""
    from sparsec.cache.records import digest, module_name
    from sparsec.codegen.emit import emit, function_name
    from sparsec.codegen.tuned_files import known
    from sparsec.plan.build import build

    text = emit(build(pattern), tuned=known())
    return module(text, module_name(function_name(pattern.name), digest(text.encode())))
