"""The operator of a pattern: what a call means, before torch's dispatcher takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, Protocol, overload

import torch
from torch import Tensor

from sparsec.kernels.operator.registration import operators
from sparsec.kernels.operator.repeated import Repeated
from sparsec.kernels.program.arguments import Call
from sparsec.kernels.program.checks import checked, checked_flag, first_position
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.kernels.program.program import Program
from sparsec.kernels.sequences.positions import Packed, Positions, checked_positions, packed
from sparsec.kernels.sequences.table import sequence_table
from sparsec.kernels.weights.dropout import NOTHING_DROPPED, Dropped, checked_dropout, streams_of
from sparsec.kernels.weights.sinks import checked_sinks


class Attention(Protocol):
    """The public function of a generated module, and its types."""

    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = ...,
        sinks: Tensor | None = ...,
        dropout_p: float | None = ...,
        generator: torch.Generator | None = ...,
        dropout_seed: int | Tensor | None = ...,
        q_offset: int | Tensor | None = ...,
        k_offset: int | Tensor | None = ...,
        documents: Tensor | None = ...,
        lengths: Tensor | None = ...,
        q_lengths: Tensor | None = ...,
        deterministic: bool = ...,
        return_lse: Literal[False] = ...,
        **inputs: Tensor,
    ) -> Tensor: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = ...,
        sinks: Tensor | None = ...,
        dropout_p: float | None = ...,
        generator: torch.Generator | None = ...,
        dropout_seed: int | Tensor | None = ...,
        q_offset: int | Tensor | None = ...,
        k_offset: int | Tensor | None = ...,
        documents: Tensor | None = ...,
        lengths: Tensor | None = ...,
        q_lengths: Tensor | None = ...,
        deterministic: bool = ...,
        return_lse: Literal[True],
        **inputs: Tensor,
    ) -> tuple[Tensor, Tensor]: ...
    @overload
    def __call__(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *,
        scale: float | None = ...,
        sinks: Tensor | None = ...,
        dropout_p: float | None = ...,
        generator: torch.Generator | None = ...,
        dropout_seed: int | Tensor | None = ...,
        q_offset: int | Tensor | None = ...,
        k_offset: int | Tensor | None = ...,
        documents: Tensor | None = ...,
        lengths: Tensor | None = ...,
        q_lengths: Tensor | None = ...,
        deterministic: bool = ...,
        return_lse: bool,
        **inputs: Tensor,
    ) -> Tensor | tuple[Tensor, Tensor]: ...


class Operator:
    """Attention over a program, registered with torch under a name that stands for its content."""

    def __init__(self, name: str, program: Program, heads: int | None = None) -> None:
        self.program, self.heads = program, heads
        made = operators(name, program)
        self._library = made.library  # the operators live as long as this does: as long as the module
        self.forward, self.backward, self.reals, self.choose = made.forward, made.backward, made.reals, made.choose
        self.repeated = Repeated(program, made.repeatable)
        self.function: Attention | None = None

    def public(self, function: Callable) -> Attention:
        """The function of a module that users call: itself, which type checkers then know as `Attention`."""
        self.function = function
        return function

    def __call__(
        self,
        q: Any,
        k: Any,
        v: Any,
        scale: Any,
        return_lse: bool,
        positions: Positions,
        sinks: Any = None,
        inputs: Mapping[str, Any] = MappingProxyType({}),
        dropped: Dropped = NOTHING_DROPPED,
        deterministic: bool = True,
    ) -> Any:
        """What the public function of a module returns for these arguments."""
        if not (isinstance(q, Tensor) and isinstance(k, Tensor) and isinstance(v, Tensor)):
            if torch.overrides.has_torch_function((q, k, v)):  # torch.fx and others that stand in for tensors
                keywords = {"scale": scale, "return_lse": return_lse}
                keywords |= {name: x for name, x in positions._asdict().items() if name == "q_offset" or x is not None}
                keywords |= {"sinks": sinks, **inputs} if sinks is not None else dict(inputs)
                keywords |= dropped.given | ({} if deterministic is True else {"deterministic": deterministic})
                return torch.overrides.handle_torch_function(self.function, (q, k, v), q, k, v, **keywords)
            kinds = ", ".join(type(x).__name__ for x in (q, k, v))
            raise ValueError(f"[SP0601] q, k and v must be tensors, got {kinds}")
        return_lse = checked_flag("return_lse", return_lse)
        rows = packed(q, k, v, positions.documents)
        if rows is not None:
            q, k, v = rows[:3]
            positions = positions._replace(documents=rows.documents)
            inputs = {name: rows.input(x) for name, x in inputs.items()}
        signature, given = None, (scale, *positions, sinks, deterministic)
        if dropped.is_nothing and not torch.compiler.is_compiling():
            made: tuple[Tensor, Tensor] | None = self.repeated.again(q, k, v, given, inputs, True)
            if not made and (signature := self.repeated.signature(q, k, v, given, inputs)):
                made = self.repeated.run(signature, q, k, v, given, inputs)
            if made:
                return _handed_back(rows, *made, return_lse)
        q, k, v = cast_by_autocast(q, k, v)
        most = self.program.most_positions
        scale = checked(q, k, v, scale, self.heads, most)
        plain = positions.plain
        q_offset = first_position(positions.q_offset, q.shape[2], k.shape[2], most) if plain else 0
        sequences = None
        if not plain:
            positions = checked_positions(positions, q, k, most)
            q_offset = positions.reach(q.shape[2], k.shape[2])
            sequences = sequence_table(self.program, positions, q, k)
        declared = *self.program.inputs, *self.program.choice_inputs
        tensors = checked_inputs(declared, inputs, q, k, documents=positions.documents is not None)
        of_scores = len(tensors) - len(self.program.choice_inputs) - self.program.score_inputs
        of_choices = of_scores + self.program.score_inputs
        data, reals = tensors[:of_scores], tensors[of_scores:of_choices]
        q, scale = positive(q, scale)
        if any(own.choice for own in self.program.inputs):
            data += self._chosen(q, k, tensors[of_choices:], scale, q_offset, sequences)
        sinks, deterministic = checked_sinks(sinks, q), checked_flag("deterministic", deterministic)
        dropout_p, seed = checked_dropout(dropped, q)
        streams = None if seed is None else streams_of(seed, positions, q.shape[0], sequences)
        rest = data, scale, q_offset, streams, dropout_p, deterministic, reals
        out, lse = self.forward(q, k, v, sinks, sequences, *rest)
        if signature and q.is_cuda:
            call = Call(q, k, v, scale, q_offset, 0, [*data, *reals], sinks, sequences, None, deterministic)
            self.repeated.remember(signature, given, inputs, call)
        return _handed_back(rows, out, lse, return_lse)

    def choices(
        self, q: Tensor, k: Tensor, scale: Any = None, q_offset: Any = None, *, k_offset: Any = None,
        documents: Any = None, lengths: Any = None, q_lengths: Any = None, **inputs: Any,
    ) -> dict[str, Tensor]:  # fmt: skip
        """What a call with these tensors chooses: lists and labels by the names of the inputs that have them."""
        scale = checked(q, k, k, scale, self.heads, self.program.most_positions)
        q, k = cast_by_autocast(q, k)
        positions = Positions(q_offset, k_offset, documents, lengths, q_lengths)
        first, sequences = self.places(positions, q, k)
        given = checked_inputs(self.program.choice_inputs, inputs, q, k, documents=documents is not None)
        names = [own.name for own in self.program.inputs if own.choice]
        if not names:
            return {}
        q, scale = positive(q.detach(), scale)
        return dict(zip(names, self._chosen(q, k, given, scale, first, sequences), strict=True))

    def places(self, positions: Positions, q: Tensor, k: Tensor) -> tuple[int, Tensor | None]:
        """The position of the first query, or the table of the sequences that a call is about, checked."""
        most = self.program.most_positions
        if positions.plain:
            return first_position(positions.q_offset, q.shape[2], k.shape[2], most), None
        return 0, sequence_table(self.program, checked_positions(positions, q, k, most), q, k)

    def _chosen(
        self,
        q: Tensor,
        k: Tensor,
        chosen_by: list[Tensor],
        scale: float,
        q_offset: int,
        sequences: Tensor | None = None,
    ) -> list[Tensor]:
        """Lists and labels that the operator makes itself."""
        return self.choose(q.detach(), k.detach(), [x.detach() for x in chosen_by], scale, q_offset, sequences)


def _handed_back(rows: Packed | None, out: Tensor, lse: Tensor, return_lse: bool) -> Any:
    """Results as the call asked for them."""
    if rows is not None:
        out, lse = rows.out(out), rows.lse(lse) if return_lse else lse
    return (out, lse) if return_lse else out


def positive(q: Tensor, scale: float) -> tuple[Tensor, float]:
    """Queries and a scale above 0 with the same scores: kernels take the largest score before they scale it."""
    return (q, scale) if scale > 0 else (q * -1, -scale) if scale < 0 else (q * 0, 1.0)


def cast_by_autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of one device in the type that autocast asks for, as torch does for its own attention."""
    device = tensors[0].device.type
    if device not in ("cpu", "cuda") or not torch.is_autocast_enabled(device):
        return tensors
    dtype = torch.get_autocast_dtype(device)
    return tuple(_as_cast(x, dtype) for x in tensors)


def _as_cast(x: Tensor, dtype: torch.dtype) -> Tensor:
    """What autocast makes of a tensor: float64 and what is no floating-point number stay as they are."""
    return x.to(dtype) if x.is_floating_point() and x.dtype != torch.float64 else x
