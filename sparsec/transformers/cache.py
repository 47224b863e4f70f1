"""A cache that keeps the keys that a model's patterns still need, and no others."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicLayer

from sparsec.analysis.retention import retention
from sparsec.ir import nodes as ir
from sparsec.transformers.layers import layer_pattern
from sparsec.transformers.models import attention_layers
from sparsec.transformers.refusal import refusal

# Before 5.14, transformers takes the tokens of a call back without a word before it, by the number that is to be left.
_SAYS_BEFORE = hasattr(transformers.Cache, "activate_past_recording")


class Cache(transformers.Cache):
    """The keys and values that the patterns of a model still need, for `generate` and for steps of one's own.

        model.generate(**inputs, cache=sparsec.transformers.Cache(model))     # past_key_values before transformers 5.24

    After n tokens, a layer holds the keys that some query from n on sees, which `attend.retention()` tells of its
    pattern: of `sinks(4) | past(512)` those are 515 at any n, one fewer than `sparsec cost` says, which counts the
    step's own key.  Memory and the work of a step depend on the number of these keys, and not on n.
    Models write what they write with all keys.  For models that `sparsec.transformers.use` gave a pattern, and rows
    without padding; others are refused with SP0610.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        config = model.config.get_text_config()
        layers = list(transformers.DynamicCache(config=config).layers)
        layers += [DynamicLayer() for _ in range(config.num_hidden_layers - len(layers))]
        replaced = list(attention_layers(model))
        if not replaced:
            raise refusal("a cache of patterns, and has attention of its own", "leave `cache` out", model)
        for layer, module in replaced:
            own = layer_pattern(module)
            if own is None:
                hint = "the caches of transformers keep what its windows need: leave `cache` out"
                raise refusal("a cache of a pattern, and has none", hint, module)
            layers[layer] = KeptKeys(own.attend.pattern.nodes)
        super().__init__(layers=layers)


class KeptKeys(DynamicLayer):
    """The cache of one layer: the keys that some later query sees, with their positions."""

    keys: Any  # [B, H_kv, keys, D]; None before the first update
    values: Any

    def __init__(self, pattern: ir.Pattern) -> None:
        super().__init__()
        self.pattern = pattern
        self.count = 0  # of tokens so far
        self.places = torch.arange(0)  # of the keys that are kept, on the host
        self.record_past = False
        self.dropped_at = 0  # how many tokens there were when keys were dropped: none of these can be taken back

    def activate_past_recording(self) -> None:
        """Keep everything from now on until `crop`, which may take tokens back."""
        self.record_past = True

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """The keys and values that queries of these tokens may see: those held before, and these."""
        if not _SAYS_BEFORE and self.is_initialized:
            self._drop()
        before, self.count = self.count, self.count + key_states.shape[-2]
        keys, values = super().update(key_states, value_states)
        self.places = torch.cat([self.places, torch.arange(before, self.count)])
        if self.record_past:
            return self._held(keys, values, before)
        if _SAYS_BEFORE:
            self._drop()
        return keys, values

    def _held(self, keys: Tensor, values: Tensor, before: int) -> tuple[Tensor, Tensor]:
        """Those that are held after `before` tokens, and all behind them."""
        index = self._is_held(before).logical_or(self.places >= before).nonzero()[:, 0]
        if len(index) == len(self.places):
            return keys, values
        index = index.to(keys.device)
        return keys.index_select(-2, index), values.index_select(-2, index)

    def _drop(self) -> None:
        self.keys, self.values = self._held(self.keys, self.values, self.count)
        self.places, self.dropped_at = self.places[self._is_held(self.count)], self.count

    def _is_held(self, count: int) -> Tensor:
        """Whether, after `count` tokens, some later query sees the key at each place; False behind them."""
        return torch.isin(self.places, torch.from_numpy(retention(self.pattern).held(count)), assume_unique=True)

    def get_seq_length(self) -> int:
        """All tokens so far, also those whose keys are gone."""
        return self.count

    def crop(self, tokens_to_remove: int) -> None:
        """Take back so many of the last tokens, a number of 0 or below; what later queries do not see is dropped.

        Before transformers 5.14, a number above 0 is how many tokens are left.
        """
        if tokens_to_remove > 0 and not _SAYS_BEFORE:
            tokens_to_remove = min(tokens_to_remove - self.count, 0)
        if tokens_to_remove > 0:
            raise ValueError(f"crop takes the tokens to remove as a number of 0 or below, got {tokens_to_remove}")
        if tokens_to_remove and not self.record_past and self.count + tokens_to_remove < self.dropped_at:
            raise RuntimeError(
                "keys may have been dropped: call `activate_past_recording` before tokens are taken back"
            )
        if self.is_initialized:
            self.count += tokens_to_remove
            left = int((self.places < self.count).sum())
            self.keys, self.values, self.places = self.keys[:, :, :left], self.values[:, :, :left], self.places[:left]
            self._drop()

    def reset(self) -> None:
        super().reset()
        self.count, self.dropped_at, self.places = 0, 0, torch.arange(0)


@lru_cache(maxsize=64)  # layers with one pattern ask for the same
def places_of(pattern: ir.Pattern, before: int, count: int, device: torch.device) -> Tensor:
    """Positions of the keys that a layer hands over: held after `before` tokens, then `count` new ones."""
    old = torch.from_numpy(retention(pattern).held(before))
    return torch.cat([old, torch.arange(before, before + count)]).to(device)
