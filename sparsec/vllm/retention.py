"""Caches of vLLM that give pages back which no row will see any more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vllm.v1.core.single_type_kv_cache_manager import FullAttentionManager
from vllm.v1.kv_cache_interface import FullAttentionSpec

from sparsec.vllm.patterns import Served


@dataclass(frozen=True, kw_only=True)
class PatternSpec(FullAttentionSpec):
    """The cache of layers with a pattern: that of full attention, of which pages may go.

    Room is planned as for full attention, so that a request that was admitted always fits.
    """

    served: Served

    @classmethod
    def merge(cls, specs: Sequence[PatternSpec]) -> PatternSpec:
        """One for a group of layers, which share pages."""
        kinds = {spec.served for spec in specs}
        if len(kinds) > 1:
            raise AssertionError("all layers of a cache group must have the same patterns")
        plain = FullAttentionSpec.merge([_plain(spec) for spec in specs])
        return as_pattern_spec(plain, kinds.pop())


def as_pattern_spec(spec: FullAttentionSpec, own: Served) -> PatternSpec:
    """The same cache for layers with these patterns."""
    return PatternSpec(**_fields(spec), served=own)


def _plain(spec: PatternSpec) -> FullAttentionSpec:
    return FullAttentionSpec(**{name: value for name, value in _fields(spec).items() if name != "served"})


def _fields(spec: FullAttentionSpec) -> dict[str, Any]:
    return {name: getattr(spec, name) for name, field in spec.__dataclass_fields__.items() if field.init}


class PatternManager(FullAttentionManager):
    """Gives pages back that no row from the next one on sees, wherever they lie: all but sinks and a window, say."""

    def __init__(self, kv_cache_spec: PatternSpec, *more: Any, **keywords: Any) -> None:
        super().__init__(kv_cache_spec, *more, **keywords)
        self.retention = kv_cache_spec.served.retention()
        self._looked_at: dict[str, int] = {}  # tokens of a request when its pages were looked through last

    def remove_skipped_blocks(
        self, request_id: str, processed_computed_tokens: int, num_prompt_tokens: int | None = None
    ) -> None:
        """Free the pages of a request that rows from `processed_computed_tokens` on do not see."""
        blocks = self.req_to_blocks.get(request_id)
        if not blocks or self._looked_at.get(request_id) == processed_computed_tokens:
            return
        self._looked_at[request_id] = processed_computed_tokens
        freed = []
        for page in self.retention.skipped(processed_computed_tokens, self.block_size)[::-1].tolist():
            if page < len(blocks) and blocks[page] != self._null_block:
                freed.append(blocks[page])
                blocks[page] = self._null_block
        if freed:
            self.block_pool.free_blocks(freed)

    def free(self, request_id: str) -> None:
        """Free all pages of a request."""
        self._looked_at.pop(request_id, None)
        super().free(request_id)
