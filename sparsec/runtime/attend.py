"""What `sparsec.load` returns: an operator that knows its pattern and its source."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sparsec.cache.records import Record
from sparsec.diagnostics import torch_for
from sparsec.runtime.bound_pattern import BoundPattern, as_device
from sparsec.runtime.calls import Calls
from sparsec.runtime.decode import Decodes
from sparsec.runtime.foreign import refused
from sparsec.runtime.module import module

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import Tensor


class Attend(Calls, Decodes):
    """Attention over one pattern: `attend(q, k, v)`, forward and backward, on a CPU or a GPU.

    It can be copied, pickled with the module that holds it, and called inside `torch.compile(fullgraph=True)`.
    """

    def __init__(
        self, text: str, record: Record, path: Path | None = None, counts: Mapping[str, int] = MappingProxyType({})
    ) -> None:
        """`counts`: the heads, layer and layers that were given; calls have as many heads."""
        self._text = text
        self.pattern = BoundPattern(record, counts)
        self._record, self._counts = record, dict(counts)
        self._heads = counts.get("heads")
        with torch_for("an operator"):
            generated = module(text, record.module, path)
        self._function, self._operator = getattr(generated, record.function), generated._OPERATOR
        own = generated._PROGRAM
        self._inputs = tuple(each.name for each in (*own.inputs, *own.choice_inputs) if each.choice is None)

    @property
    def source(self) -> str:
        """The generated module as one file, which runs without sparsec: as `sparsec compile --standalone` writes it."""
        from sparsec.codegen.support import standalone

        return standalone(self._text)

    def _call(self, q: Tensor, k: Tensor, v: Tensor, **given: Any) -> Any:
        if self._heads is not None:
            self._check_heads(q)
        return self._function(q, k, v, **given)

    def _again(self, q: object, k: object, v: object, given: tuple, inputs: dict[str, Any], with_lse: bool) -> Any:
        return self._operator.repeated.again(q, k, v, given, inputs, with_lse, self._heads)

    def _input_names(self) -> tuple[str, ...]:
        return self._inputs

    def choices(
        self,
        q: Tensor,
        k: Tensor,
        *,
        scale: float | None = None,
        q_offset: int | Tensor | None = None,
        k_offset: int | Tensor | None = None,
        documents: Tensor | None = None,
        lengths: Tensor | None = None,
        q_lengths: Tensor | None = None,
        **inputs: Tensor,
    ) -> dict[str, Tensor]:
        """What a call with these tensors chooses itself, int32, by names that `pattern.mask` takes.

        Of `top_blocks` and `top_keys` [B, G, blocks of queries, t]: numbers of blocks of keys, the best first, -1
        behind the last one; G is the number of query heads, of key heads where these choose (`over = group`), or that
        of given scores.  Of `lsh` [B, H, rounds, n_q + n]: the chunks of the queries, and then of the keys.  Of
        `routed` [B, H, clusters / 32, n_q + n]: bits of the clusters that these are in.  `inputs` are scores of blocks
        and centroids, where the pattern has these.  Empty where it chooses nothing itself.

        Documents, lengths and offsets as of a call.  Each sequence has what it would choose alone, blocks and chunks
        counted from its own start: lists of the sequences in a row follow one another, labels stand beside their rows
        of q and k, and what belongs to no sequence is -1.
        """
        from sparsec.kernels.sequences.positions import Positions

        positions = Positions(q_offset, k_offset, documents, lengths, q_lengths)
        return self._operator.choices(q, k, scale, **positions._asdict(), **inputs)

    def weights(
        self,
        q: Tensor,
        k: Tensor,
        lse: Tensor,
        rows: int | Sequence[int] | Tensor,
        *,
        scale: float | None = None,
        q_offset: int | Tensor | None = None,
        k_offset: int | Tensor | None = None,
        documents: Tensor | None = None,
        lengths: Tensor | None = None,
        q_lengths: Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """Attention weights of chosen rows, to look at: float32 [B, H, rows, n], 0 for pairs that are not kept.

        q [B, H, n_q, D], k [B, H_kv, n, D] and what else a call has, documents, lengths and offsets too; lse [B, H,
        n_q] is what it returned with `return_lse=True`, so that learned sinks count.  `rows` are numbers of rows of q,
        0 .. n_q - 1; weights stand at rows of k.  Takes memory for these rows alone, and waits for the device.
        ValueError for what does not fit.
        """
        import torch

        from sparsec.kernels.operator.op import cast_by_autocast
        from sparsec.kernels.sequences.positions import Positions
        from sparsec.runtime.weights import weights, weights_of_sequences

        positions = Positions(q_offset, k_offset, documents, lengths, q_lengths)
        pattern, operator = self.pattern.nodes, self._operator
        reals = {each.name: inputs[each.name] for each in pattern.choice_inputs if each.name in inputs}
        given = {**inputs, **self.choices(q, k, scale=scale, **positions._asdict(), **reals)}
        _, table = operator.places(positions, q, k)
        q, k = cast_by_autocast(q, k)
        with torch.autocast(q.device.type, enabled=False):  # which would reach the products
            if table is None:
                return weights(pattern, q, k, lse, rows, scale, q_offset, given)
            packed = documents is not None
            return weights_of_sequences(pattern, operator.program, table, packed, q, k, lse, rows, scale, given)

    def kept(
        self,
        q: Tensor,
        k: Tensor,
        *,
        dense: Attend | None = None,
        scale: float | None = None,
        sinks: Tensor | None = None,
        q_offset: int | Tensor | None = None,
        k_offset: int | Tensor | None = None,
        documents: Tensor | None = None,
        lengths: Tensor | None = None,
        q_lengths: Tensor | None = None,
        **inputs: Tensor,
    ) -> Tensor:
        """The share of dense attention's weight that the pattern keeps, for each row: float32 [B, H, n_q], 0 to 1.

        From the log-sum-exps of two calls, of the pattern and of dense attention with the same scores, documents,
        lengths and offsets: over all keys, or for heads that see no later key over those up to the query.  `dense`:
        another operator, whose pairs include those of this one, as what to compare with; `inputs` are those of both.
        `sinks` as of a call: the weight that goes to a sink is kept, whatever the pattern.  Rows without a key keep 0.
        No gradients.  ValueError and TypeError as of a call.
        """
        import torch

        from sparsec.ir.inputs import read_by_scores
        from sparsec.runtime import weights

        told: dict[str, Any] = {"scale": scale, "q_offset": q_offset, "k_offset": k_offset, "documents": documents}
        told |= {"lengths": lengths, "q_lengths": q_lengths, "sinks": sinks, "return_lse": True}
        known = dense._inputs if dense else [each.name for each in read_by_scores(self.pattern.nodes)]
        if foreign := [name for name in inputs if name not in (*self._inputs, *known)]:
            raise refused((), foreign, (*self._inputs, *known))
        with torch.no_grad():
            _, own = self(q, k, k, **told, **{name: x for name, x in inputs.items() if name in self._inputs})
            whole = dense or weights.dense(self.pattern.nodes)
            _, of_all = whole(q, k, k, **told, **{name: x for name, x in inputs.items() if name in known})
            return weights.share(own, of_all)

    @staticmethod
    def dropout_mask(
        shape: Sequence[int],
        dropout_p: float,
        dropout_seed: int | Tensor,
        *,
        q_offset: int | None = None,
        device: torch.device | str = "cpu",
    ) -> Tensor:
        """Which weights a call with this probability and seed keeps: bool [B, H, n_q, n_k], the `shape`.

        The same on every device and for every pattern.  Query i is at position i + q_offset, by default i + n_k - n_q;
        document i of a packed call has the mask of row i.  Takes memory for every pair.  ValueError as of a call.
        """
        from sparsec.kernels.weights.dropout import dropout_mask

        return dropout_mask(shape, dropout_p, dropout_seed, q_offset, as_device(device))

    def _check_heads(self, q: Tensor) -> None:
        """Also where the pattern is the same for all heads: a call with another number is most likely transposed."""
        import torch

        if isinstance(q, torch.Tensor) and q.dim() == 4 and q.shape[1] != self._heads:
            order = ": is this [B, n, H, D]? Then transpose(1, 2)" if q.shape[2] == self._heads else ""
            said = f"this pattern was compiled for {self._heads} query heads, got {q.shape[1]}{order}"
            raise ValueError(f"[SP0604] {said}")

    def __repr__(self) -> str:
        return f"<sparsec.Attend {self.pattern}>"

    def _repr_html_(self) -> str:
        return self.pattern._repr_html_()

    def _repr_svg_(self) -> str:
        return self.pattern._repr_svg_()

    def __copy__(self) -> Attend:
        return self

    def __deepcopy__(self, memo: dict) -> Attend:
        return self

    def __reduce__(self) -> tuple:
        return Attend, (self.source, self._record, None, self._counts)
