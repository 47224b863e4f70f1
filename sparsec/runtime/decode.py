"""`attend.decode`: the last rows of sequences against a cache of keys."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from sparsec.analysis.retention import Retention
    from sparsec.cache.records import Record
    from sparsec.kernels.decode.call import Decoder
    from sparsec.kernels.decode.step_work import StepWork
    from sparsec.runtime.bound_pattern import BoundPattern


class Decodes:
    """What decodes with a pattern; the module for it is compiled at the first step, and kept in the cache."""

    _record: Record
    _operator: Any
    _heads: int | None
    pattern: BoundPattern

    def decode(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        lengths: Tensor,
        pages: Tensor | tuple[Tensor, Tensor] | None = None,
        *,
        sinks: Tensor | None = None,
        scale: float | None = None,
        out: Tensor | None = None,
        return_lse: bool = False,
        work: StepWork | None = None,
    ) -> Tensor | tuple[Tensor, Tensor]:
        """The last rows of each sequence against a cache of its keys: q [B, H, D] -> out [B, H, D_v].

        Or q [B, m, H, D] -> out [B, m, H, D_v]: the last m <= 16 rows, as for speculative decoding.  `lengths` int32
        [B]: how many keys each sequence has, those of these rows among them; row i of m stands at lengths - m + i, and
        n is lengths.  A row before the first key gets 0, and a log-sum-exp of -inf.

        k [B, H_kv, N, D] and v [B, H_kv, N, D_v]: caches with room for N keys; D is a multiple of 8 from 16 to 576, D_v
        to 512, and v may be the first columns of k, as in a compressed cache (DeepSeek-V2, arXiv:2405.04434).  With
        `pages`, k [P, page, H_kv, D] and v alike: pages of any number of keys, in any strides (transpose a cache that
        has heads before keys), named by a table int32 [B, most], as vLLM's block_table, or by (indptr [B + 1],
        indices), as FlashInfer's; entries behind the last page of a sequence are not read.  Keys that no row sees are
        not read either: pages that were freed may hold anything.

        `sinks` and `scale` as of `attend(...)`; `return_lse` adds lse [B, H] or [B, m, H], the natural logarithm of the
        sum of exponentials.  `out` takes the result.  `work`: see `work(lengths)`.  On a GPU nothing waits, and a
        captured CUDA graph serves lengths and pages as they change.  No gradient: call under torch.no_grad() where q
        needs one elsewhere.

        Raises ValueError for what does not fit, with a code that `sparsec explain` knows; patterns that read data of
        the call, or draw keys anew at every length, have no steps (SP0623).
        """
        return self._decoder(q, k, v, lengths, pages, sinks, scale, out, return_lse, work)

    decode._torchdynamo_disable = True  # type: ignore[attr-defined]
    decode._torchdynamo_disable_msg = "a step of decoding is launched as it is"  # type: ignore[attr-defined]

    def work(self, lengths: Tensor) -> StepWork:
        """What the steps of all layers share where sequences have these lengths: pass it to `decode` as `work`.

            work = attend.work(lengths)  # once for every step, after its lengths are set
            for layer in layers:
                out = attend.decode(q, k, v, lengths, pages, work=work)

        On a GPU, the programs of such a step take equal runs of the tiles that all sequences visit, however unequal
        lengths are (Stream-K, Osama et al., arXiv:2301.03598); without it, each sequence is cut into as many parts as
        the room of the cache asks for, which costs less where lengths are alike.  Where runs begin follows from sums
        over the sequences, which a small kernel makes once for all steps.  Those of other patterns, caches and heads
        can have the same `work`.  In a CUDA graph, call this where the steps are captured: each replay sums anew.

        Raises ValueError [SP0612] where `lengths` is no int32 [B]; `decode` where it gets another tensor of lengths, or
        where the numbers in it have changed since.
        """
        from sparsec.kernels.decode.step_work import StepWork

        return StepWork(lengths)

    def retention(self) -> Retention:
        """Which keys of a cache later rows still see, at every length: what `decode` needs, proved from the sets.

            kept = attend.retention()
            print(kept)                # at most 516 keys: 4 pinned and a ring of 512
            kept.pages(1000, page=16)  # pages that row 1000 and later ones read; kept.skipped(1000, 16) may be freed

        For rows one after the other, row q with n = q + 1 keys, and for all heads together.
        """
        from sparsec.analysis.retention import retention

        return retention(self.pattern.nodes)

    @cached_property
    def _decoder(self) -> Decoder:
        from sparsec.kernels.decode.call import Decoder
        from sparsec.runtime.build_or_load import fetch_steps
        from sparsec.runtime.module import module

        found = fetch_steps(self._record)
        generated = module(found.text, found.record.module, found.path)
        return Decoder(generated._STEPS, self._operator.program, self._heads)
