"""Tensors that a mask_mod or score_mod computes of others while it is traced: computed once more, they are the same.

torch's functions are watched by a mode of torch's own, where torch is imported: without it there are no tensors.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Hashable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

_CONVERSIONS = {
    *("to", "type", "type_as", "bool", "int", "long", "short", "float", "half", "bfloat16", "double"),
    *("cpu", "cuda", "contiguous", "clone", "detach"),
}
_PLAIN = (int, float, str, type(None), type(...), slice)  # arguments that are compared by their values


class Computed:
    """The results of torch's functions so far, by the function and what it was given."""

    def __init__(self) -> None:
        self._results: dict[Hashable, Any] = {}
        self._same: dict[int, Any] = {}  # by id: the tensor that a result stands for
        self._kept: list[Any] = []  # so that ids stay theirs

    def origin(self, tensor: Any) -> Any:
        """What was computed the first time, before it was converted to another type or device without a loss."""
        while (other := self._same.get(id(tensor))) is not None:
            if not other.to(tensor).equal(tensor):  # one of them was written into
                break
            tensor = other
        return tensor

    def note(self, function: Callable, args: tuple, kwargs: Mapping[str, Any], result: Any) -> None:
        """Remembers a result, if it is a tensor that follows from tensors and numbers alone."""
        torch = sys.modules["torch"]
        if type(result) is not torch.Tensor or id(result) in map(id, (*args, *kwargs.values())):
            return
        try:
            computation = function, self._key(args), self._key(tuple(sorted(kwargs.items())))
        except TypeError:  # something else is among the arguments
            return
        self._kept += [args, kwargs, result]
        source = args[0] if args else None
        if self._is_lossless(function, source, result):
            self._same[id(result)] = source
            return
        first = self._results.setdefault(computation, result)
        alike = first is not result and first.shape == result.shape and first.dtype == result.dtype
        if alike and torch.equal(first, result):  # random numbers are others, and so is what was written into
            self._same[id(result)] = first

    def _is_lossless(self, function: Callable, source: Any, result: Any) -> bool:
        """Whether a function converts a tensor to another type of the same kind, or to another device."""
        torch = sys.modules["torch"]
        if function.__name__ not in _CONVERSIONS or not isinstance(source, torch.Tensor):
            return False
        kinds = {(x.dtype == torch.bool, x.is_floating_point()) for x in (source, result)}
        return len(kinds) == 1 and torch.equal(result.to(source), source)

    def _key(self, value: Any) -> Hashable:
        torch = sys.modules["torch"]
        if isinstance(value, torch.Tensor):
            return torch.Tensor, id(self.origin(value))
        if isinstance(value, tuple | list):
            return type(value), *map(self._key, value)
        if isinstance(value, (*_PLAIN, torch.dtype, torch.device)):
            return type(value), str(value)
        raise TypeError(type(value))


def computing(computed: Computed) -> AbstractContextManager:
    """While a function runs: what it computes is noted."""
    if "torch.overrides" not in sys.modules:
        return nullcontext()
    from torch.overrides import TorchFunctionMode

    class Watch(TorchFunctionMode):
        def __torch_function__(self, function: Any, types: Any, args: tuple = (), kwargs: Any = None) -> Any:
            result = function(*args, **(kwargs or {}))
            computed.note(function, args, kwargs or {}, result)
            return result

    return Watch()
