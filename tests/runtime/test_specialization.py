"""Kernels that are prepared once serve every call: no number of a call may be a constant of what was compiled."""

from __future__ import annotations

import importlib
import pkgutil

from triton.runtime.jit import JITFunction

import sparsec.kernels

_REALS = {"scale", "scale_log2", "kept_share"}  # Triton makes no constants of real numbers


def prepared_kernels() -> list[JITFunction]:
    """Those with a name of their own in a module, by which passes find what was compiled."""
    found = []
    for each in pkgutil.walk_packages(sparsec.kernels.__path__, "sparsec.kernels."):
        module = importlib.import_module(each.name)
        functions = [x for x in vars(module).values() if isinstance(x, JITFunction) and x.__module__ == module.__name__]
        found += [x for x in functions if "NAME" in x.arg_names]
    return found


def test_numbers_of_a_call_are_no_constants():
    """Else a kernel compiled where a number is 1 would run with others, as its pass does not ask Triton again."""
    kernels = prepared_kernels()
    assert {"forward_kernel", "hopper_backward_kernel", "hopper_row_stats"} <= {x.__name__ for x in kernels}
    for kernel in kernels:
        numbers = [x for x in kernel.params if not x.is_constexpr and x.name.islower() and x.name not in _REALS]
        assert [x.name for x in numbers if not x.do_not_specialize] == [], kernel
