"""What is kept of a call that went well: what decides its launches, and its prepared passes.

What is `given` to a call besides q, k, v and inputs is a tuple of its scale, its positions, its sinks, and whether it
is deterministic.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.dispatch.watched import likeness, watched_beside_dispatcher
from sparsec.kernels.launches.kernel_inputs import for_kernels
from sparsec.kernels.launches.launch import Environment, Pass
from sparsec.kernels.launches.scratch import like_of
from sparsec.kernels.launches.whole_call import Whole, whole_call
from sparsec.kernels.machine.device import LOG2_E_FLOAT
from sparsec.kernels.machine.memory import as_contiguous
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.inputs import DATA, spread
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.positions import Positions, looks
from sparsec.kernels.sequences.table import TENSORS, lines_of, numbers_of_entries, table_inputs

_NAMES = {place: TENSORS[name] for place, name in enumerate(Positions._fields, start=1)} | {6: "SINKS"}
_DOCUMENTS = 1 + Positions._fields.index("documents")
SINKS, DETERMINISTIC = -2, -1  # places of what is given


class Form(NamedTuple):
    """What decides the launches of a call besides its tensors."""

    graded: bool  # whether gradients are recorded at all
    kinds: tuple[type, ...]  # of what is given: True is not 1
    numbers: tuple  # what is given besides tensors
    names: tuple[str, ...]  # of inputs
    alone: bool  # whether q, k and v are all its tensors

    @classmethod
    def of(cls, given: tuple, inputs: Mapping[str, Any]) -> Form:
        kinds = (*map(type, given),)
        alone = not inputs and Tensor not in kinds
        return cls(torch.is_grad_enabled(), kinds, _without_tensors(given), (*inputs,), alone)

    def is_of(self, given: tuple, inputs: Mapping[str, Any]) -> bool:
        """Whether a call has this form."""
        if (*map(type, given),) != self.kinds or torch.is_grad_enabled() != self.graded:
            return False
        if self.alone:
            return not inputs and given == self.numbers
        return _without_tensors(given) == self.numbers and (*inputs,) == self.names and not looks()


def _without_tensors(given: tuple) -> tuple:
    return tuple([x for x in given if type(x) is not Tensor])


def documents_in(given: tuple) -> Tensor | None:
    """cu_seqlens, if a call has these: calls with more documents or fewer may be alike."""
    documents = given[_DOCUMENTS]
    return documents if type(documents) is Tensor and documents.dim() == 1 and len(documents) else None


class KnownCall:
    """The prepared passes of a call, for others whose tensors differ from its own in their data alone."""

    def __init__(
        self,
        program: Program,
        signature: tuple,
        form: Form,
        given: tuple,
        call: Call,
        forward: Pass,
        asks: bool,
    ) -> None:
        """`forward` first writes the table of sequences, where there are several; `asks`: for gradients."""
        self.program, self.signature, self.form = program, signature, form
        self.scale, self.q_offset, self.positions = call.scale, call.q_offset, call.positions
        self.offset_of_kernels, self.deterministic = call.offset_of_kernels, call.deterministic
        self.heads, self.length = call.q.shape[1], call.k.shape[2]
        self.forward, self.asks = forward, asks
        # By which names kernels read inputs, and which, where nothing has to be made of these first.
        self.as_given: Sequence[tuple[str, int]] | None = None
        self.backward: dict[tuple, Any] = {}  # what is prepared of the backward pass, by what decides it
        self._whole: dict[bool, Whole | None] = {}
        self.alike: Callable[..., bool] | None = None  # whether tensors are like its own; None: not to be asked yet
        documents = documents_in(given)
        self._counts = None if documents is None else numbers_of_entries(lines_of(documents))
        self._tensors = [(place, _NAMES[place]) for place, x in enumerate(given) if type(x) is Tensor]
        numbers = table_inputs(Positions(*given[1:6]))
        self._numbers: Environment = {name: x for name, x in numbers.items() if type(x) is not Tensor}
        self._numbers["scale_log2"] = call.scale * LOG2_E_FLOAT

    def tensors(self, q: Tensor, k: Tensor, v: Tensor, given: tuple, inputs: Mapping[str, Any]) -> tuple:
        """All tensors of a call of its form."""
        if self.form.alone:
            return q, k, v
        return q, k, v, *[given[place] for place, _ in self._tensors], *inputs.values()

    def compare_later(self, q: Tensor, k: Tensor, v: Tensor, given: tuple, inputs: Mapping[str, Tensor]) -> None:
        """Has tensors of later calls compared with these in C; not of float32, whose products follow a switch."""
        if self.alike is None and q.dtype != torch.float32:
            self.alike = likeness(*self.tensors(q, k, v, given, inputs), of_any_length=documents_in(given))

    def served(
        self, q: Any, k: Any, v: Any, given: tuple, inputs: Mapping[str, Any], heads: int | None = None
    ) -> tuple | None:
        """What `whole` takes of a call with the same signature, and as many heads where a number is wanted; else None.

        Asked in C.
        """
        if self.alike is None or not self.form.is_of(given, inputs) or watched_beside_dispatcher():
            return None
        tensors = self.tensors(q, k, v, given, inputs)
        if heads not in (None, self.heads) or not self.alike(*tensors):
            return None
        if self._counts is None:
            return tensors
        entries = given[_DOCUMENTS].shape[0]
        return (*tensors, entries - 1) if entries in self._counts else None

    def whole(self, with_lse: bool) -> Whole | None:
        """Such a call as one function in C, which makes out, or out and the log-sum-exp; None where there is none."""
        if with_lse not in self._whole and self.forward.direct is not None:
            self._whole[with_lse] = self._made_whole(("OUT", "LSE") if with_lse else ("OUT",))
        return self._whole.get(with_lse)

    def _made_whole(self, names: Sequence[str]) -> Whole | None:
        if self.program.inputs and not self.as_given:
            return None
        given = {name: place for place, name in enumerate(("Q", "K", "V", *(name for _, name in self._tensors)))}
        for name, place in self.as_given or ():
            given[name] = 3 + len(self._tensors) + self.form.names.index(self.program.inputs[place].name)
        if self._counts:
            given["documents"] = 3 + len(self._tensors) + len(self.form.names)
        made = {name: like_of(self.forward.metas[name]) for name in names}
        return whole_call(self.forward, given, self._numbers, made)

    # ---------------------------------------------------------------- what kernels get

    def data(self, inputs: Mapping[str, Tensor], dtype: torch.dtype) -> list[Tensor]:
        """Inputs of a call in the order of their declarations, those that kernels read as they are untouched."""
        own = self.program.inputs
        return [inputs[each.name] for each in own] if self.as_given else spread(own, inputs, dtype)

    def spread(self, data: Sequence[Tensor]) -> Sequence[Tensor]:
        """The same, as the operator takes them."""
        if not self.as_given:
            return data
        own = self.program.inputs
        return spread(own, dict(zip((each.name for each in own), data, strict=True)), torch.float32)

    def for_kernels(self, data: Sequence[Tensor]) -> Environment:
        """What kernels read of inputs, by name."""
        if not self.as_given:
            return for_kernels(self.program, data, self.positions, self.length)
        found = {}
        for name, place in self.as_given:
            x = as_contiguous(data[place])
            found[name] = x.view(torch.int8) if x.dtype == torch.bool else x
        return found

    def environment(self, q: Tensor, k: Tensor, v: Tensor, given: tuple, data: Sequence[Tensor]) -> Environment | None:
        """What the forward pass starts from; None where tensors begin where kernels can't read them."""
        if (q.data_ptr() | k.data_ptr() | v.data_ptr()) % 16:
            return None
        env = self._numbers.copy()
        env["Q"], env["K"], env["V"] = q, k, v
        for place, name in self._tensors:
            env[name] = as_contiguous(given[place])
        if self._counts:
            env["documents"] = given[_DOCUMENTS].shape[0] - 1
        return env | self.for_kernels(data) if data else env


def read_as_given(
    program: Program, inputs: Mapping[str, Tensor], made: Mapping[str, Tensor]
) -> tuple[tuple[str, int], ...] | None:
    """Of what kernels read of inputs, by its names, which input it is; None where something had to be made first."""
    read = [place for place, own in enumerate(program.inputs) for _ in own.uses]
    found = [(f"{DATA}{number}", place) for number, place in enumerate(read)]
    given = [inputs.get(own.name) for own in program.inputs]
    if program.score_inputs or any(x is None for x in given) or len(found) != len(made):
        return None
    same = all(made[name].data_ptr() == given[place].data_ptr() for name, place in found)  # type: ignore[union-attr]
    return tuple(found) if same else None
