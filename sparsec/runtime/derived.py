"""Operators of patterns that no text says: what a compiled pattern is in a part of its pairs."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from sparsec.runtime.module import module

if TYPE_CHECKING:
    from sparsec.ir.nodes import Pattern
    from sparsec.kernels.op import Operator


@lru_cache(maxsize=64)
def operator_of(pattern: Pattern) -> Operator:
    """The operator of a pattern, compiled once a process."""
    from sparsec.cache.records import digest, module_name
    from sparsec.codegen.emit import emit, function_name
    from sparsec.codegen.tuned_files import known
    from sparsec.plan.build import build

    text = emit(build(pattern), tuned=known())
    return module(text, module_name(function_name(pattern.name), digest(text.encode())))._OPERATOR
