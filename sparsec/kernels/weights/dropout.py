"""Dropout of attention weights: which are dropped follows from a seed and from where a pair is, and from nothing else.

A pair is dropped where a hash of these numbers is small enough:

| number | is |
|---|---|
| seed | int64, one for all of a call |
| sequence | row of the batch; of packed documents the number of the document, in the order of the call |
| head | query head |
| q, k | positions of the query and of the key, within their sequence |

Philox-4x32-10 (Salmon et al., 2011) with the seed as its key turns (q, head, sequence, 0) into four words of 32 bits,
of which the first is used, `word`.  Then, modulo 2**32,

    x = (k without its bits 8 and 16) * KEY_STEP + word
    x = (x ^ x >> 16) * MIX
    x = (x ^ x >> 15 ^ word) * FACTOR[bits 8 and 16 of k]

and the pair is kept where x, read as a signed integer, is at least round(p * 2**32) - 2**31.  Whatever computes it, a
CPU or a GPU, forward or backward, in tiles of any size, finds the same.  `sparsec.kernels.tiles.dropout` has it for
kernels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from sparsec.kernels.program.arguments import Dropout
from sparsec.kernels.sequences.positions import Positions
from sparsec.kernels.tiles.dropout import FACTOR_0, FACTOR_1, FACTOR_2, FACTOR_3, KEY_STEP, MIX

_WORD = 0xFFFFFFFF
_PHILOX_ROUNDS = 10
_PHILOX_FACTORS = 0xD2511F53, 0xCD9E8D57
_PHILOX_KEYS = 0x9E3779B9, 0xBB67AE85
_SEEDS = 1 << 63


def _integer(x: Any) -> int:
    return int(getattr(x, "value", x))


_KEY_STEP, _MIX, *_DROP_FACTORS = map(_integer, (KEY_STEP, MIX, FACTOR_0, FACTOR_1, FACTOR_2, FACTOR_3))


# ---------------------------------------------------------------- the call


class Dropped(NamedTuple):
    """What a call says about dropout."""

    p: Any = None  # None: nothing
    generator: Any = None
    seed: Any = None

    @property
    def is_nothing(self) -> bool:
        """Whether a call says nothing about it."""
        p, generator, seed = self
        return generator is None and seed is None and (p is None or (type(p) in (int, float) and p == 0))

    @property
    def given(self) -> dict[str, Any]:
        """The keywords of a call that say it; none where nothing was said."""
        said = {"dropout_p": self.p, "generator": self.generator, "dropout_seed": self.seed}
        return {} if self.is_nothing else {name: x for name, x in said.items() if x is not None}


NOTHING_DROPPED = Dropped()


def checked_dropout(dropped: Dropped, q: Tensor) -> tuple[float, Tensor | None]:
    """The probability and the seed, int64 [1] on the device of q; None where nothing is dropped.  ValueError.

    Without a seed one is drawn from the generator, or from the default one of the device; nothing waits for it.
    """
    generator, seed = dropped.generator, dropped.seed
    if dropped.p is None and (some := next(iter(dropped.given), None)):
        cure = "pass dropout_p=..., which may be 0, or leave it out"
        raise ValueError(f"[SP0606] {some} says which weights are dropped, and dropout_p, how many, is missing: {cure}")
    p = 0.0 if dropped.p is None else checked_probability(dropped.p)
    if generator is not None and seed is not None:
        raise ValueError("[SP0606] generator and dropout_seed can't be given together: a seed is drawn, or it is given")
    if generator is not None and not isinstance(generator, torch.Generator):
        raise ValueError(f"[SP0606] generator must be a torch.Generator, got {type(generator).__name__}")
    if generator is not None and generator.device.type != q.device.type:
        devices = f"{generator.device}, and q on {q.device}"
        raise ValueError(
            f"[SP0603] generator must be on the device of q: torch.Generator(q.device); got one on {devices}"
        )
    if seed is not None:
        seed = _seed(seed, q)
    if p == 0:
        return 0.0, None
    if seed is None:
        seed = torch.randint(_SEEDS - 1, (1,), generator=generator, device=q.device)
    return p, seed


def checked_probability(p: Any, name: str = "dropout_p") -> float:
    """A probability of dropping, 0 <= p < 1, as a number.  ValueError."""
    try:
        number = None if isinstance(p, str | bytes | bool | Tensor) else float(p)
    except (TypeError, ValueError, OverflowError):
        number = None
    if number is None:
        raise ValueError(f"[SP0606] {name} must be a number, got {p!r}")
    if not 0 <= number < 1:
        raise ValueError(f"[SP0606] {name} must be 0 or more and below 1, got {p!r}")
    return number


def _seed(seed: Any, q: Tensor) -> Tensor:
    """A seed as int64 [1] on the device of q."""
    if isinstance(seed, Tensor):
        if seed.dtype not in (torch.int32, torch.int64) or seed.shape not in ((), (1,)):
            got = f"{seed.dtype} of shape {tuple(seed.shape)}"
            raise ValueError(f"[SP0606] dropout_seed must be an integer, or an int64 tensor [1], got {got}")
        if seed.device != q.device:
            devices = f"{seed.device}, and q on {q.device}"
            raise ValueError(f"[SP0603] dropout_seed must be on the device of q: .to(q.device); got it on {devices}")
        return seed.to(torch.int64).reshape(1)
    if not isinstance(seed, int | torch.SymInt) or isinstance(seed, bool):
        raise ValueError(f"[SP0606] dropout_seed must be an integer, or an int64 tensor [1], got {seed!r}")
    if not -_SEEDS <= seed < _SEEDS:
        raise ValueError(f"[SP0606] dropout_seed must be from -2**63 to below 2**63, got {seed}")
    return torch.full((1,), seed, dtype=torch.int64, device=q.device)


def streams_of(seed: Tensor, positions: Positions, batch: int, table: Tensor | None) -> Tensor:
    """int64 [B, 2], or [lines of the table of sequences, 2]: the seed, and the number of the row or of the sequence."""
    number = torch.arange(batch if table is None else table.shape[0], device=seed.device)
    if table is not None and positions.documents is None:
        number = number % max(batch, 1)
    elif table is not None and positions.documents.dim() == 1:
        number = (number - 2).clamp(min=0)  # behind lines of rows before the first document
    return torch.stack([seed.expand(number.shape[0]), number], 1)


# ---------------------------------------------------------------- the hash


class RowWords(NamedTuple):
    """The words of some queries, int32, and what weights that are not dropped are divided by."""

    word: Tensor
    drop_below: int
    kept_share: float

    def kept(self, k: Tensor) -> Tensor:
        """Which pairs of these queries and of keys at positions k, int64, are kept."""
        k = k.to(torch.int32)
        x = (k & ~24) * _KEY_STEP + self.word
        x ^= _shifted_right(x, 16)
        x *= _MIX
        x ^= _shifted_right(x, 15)
        x ^= self.word
        return x.mul_(torch.tensor(_DROP_FACTORS, dtype=torch.int32, device=k.device)[k >> 3 & 3]) >= self.drop_below


def _shifted_right(x: Tensor, bits: int) -> Tensor:
    """int32 as words of 32 bits, whose highest bit is not a sign."""
    return x >> bits & (1 << 32 - bits) - 1


def row_words_of(dropout: Dropout | None, heads: int, n_q: int, q_offset: int) -> RowWords | None:
    """The words [B, heads, n_q] of all queries of a call."""
    if dropout is None:
        return None
    seed, sequence = dropout.streams[:, :, None, None].unbind(1)
    device = seed.device
    q = torch.arange(q_offset, q_offset + n_q, device=device)
    word = _philox(seed, q, torch.arange(heads, device=device)[:, None], sequence)
    return RowWords(word, dropout.drop_below, dropout.kept_share)


def _philox(seed: Tensor, q: Tensor, head: Tensor, sequence: Tensor) -> Tensor:
    """The first word of Philox-4x32-10 for counters (q, head, sequence, 0), as int32; all of them are int64."""
    keys = [seed & _WORD, seed >> 32 & _WORD]
    q, head, sequence = torch.broadcast_tensors(q & _WORD, head & _WORD, sequence & _WORD)
    counter = q, head, sequence, torch.zeros_like(q)
    for _ in range(_PHILOX_ROUNDS):
        one, other = counter[0] * _PHILOX_FACTORS[0], counter[2] * _PHILOX_FACTORS[1]  # modulo 2**64
        counter = (
            (other >> 32 & _WORD) ^ counter[1] ^ keys[0],
            other & _WORD,
            (one >> 32 & _WORD) ^ counter[3] ^ keys[1],
            one & _WORD,
        )
        keys = [key + step & _WORD for key, step in zip(keys, _PHILOX_KEYS, strict=True)]
    return counter[0].to(torch.int32)


def dropout_mask(
    shape: Sequence[int], p: float, seed: int | Tensor, q_offset: int | None = None, device: torch.device | str = "cpu"
) -> Tensor:
    """Bool [B, H, n_q, n_k]: which weights dropout with this probability and seed keeps."""
    batch, heads, n_q, n_k = shape
    like = torch.empty(0, device=device)
    p, known = checked_dropout(Dropped(p, seed=seed), like)
    if known is None:
        return torch.ones(batch, heads, n_q, n_k, dtype=torch.bool, device=device)
    first = n_k - n_q if q_offset is None else q_offset
    words = row_words_of(Dropout(p, streams_of(known, Positions(), batch, None)), heads, n_q, first)
    assert words is not None
    return words._replace(word=words.word[..., None]).kept(torch.arange(n_k, device=device))
