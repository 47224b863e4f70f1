"""An imported score_mod is the score_mod; what has no exact form is refused by name."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention.flex_attention import create_block_mask, flex_attention

import sparsec
from sparsec.diagnostics import SparsecError

N, HEADS, BATCH = 40, 4, 2
_GENERATOR = torch.Generator().manual_seed(0)
SLOPE = torch.rand(HEADS, generator=_GENERATOR)
TABLE = torch.randn(HEADS, N, generator=_GENERATOR)
BIAS = torch.randn(BATCH, N, generator=_GENERATOR)
WHOLE = torch.randn(HEADS, N, N, generator=_GENERATOR)
DOCUMENT = torch.sort(torch.randint(0, 5, (BATCH, N), generator=_GENERATOR)).values
TIME = torch.randint(0, 1000, (N,), generator=_GENERATOR, dtype=torch.int32)
SPECIAL = torch.rand(N, generator=_GENERATOR) < 0.3
CAP, TEMPERATURE = 3.0, torch.tensor(0.5)


def softcap(score, b, h, q_idx, kv_idx):
    return CAP * torch.tanh(score / CAP)


def alibi(score, b, h, q_idx, kv_idx):
    return score + torch.exp2(-((h + 1) * 8.0 / HEADS)) * (kv_idx - q_idx)


def learned_slopes(score, b, h, q_idx, kv_idx):
    return score - SLOPE[h] * (q_idx - kv_idx)


def by_distance(score, b, h, q_idx, kv_idx):
    return score + TABLE[h, (q_idx - kv_idx).abs()]


def by_clamped_distance(score, b, h, q_idx, kv_idx):
    return score + TABLE[h, torch.clamp(kv_idx - q_idx, -9, 9) + 9]


def of_keys(score, b, h, q_idx, kv_idx):
    return (score + BIAS[b, kv_idx]) * TEMPERATURE


def of_pairs(score, b, h, q_idx, kv_idx):
    return score + WHOLE[h, q_idx, kv_idx]


def chosen(score, b, h, q_idx, kv_idx):
    near = (q_idx - kv_idx).abs() < 5
    return torch.where(near, score, score.clamp(max=0.5)) + torch.where(h == 1, 1, 0) * 0.25


def of_documents(score, b, h, q_idx, kv_idx):
    near = (DOCUMENT[b, q_idx] == DOCUMENT[b, kv_idx]) | SPECIAL[kv_idx]
    late = score - (TIME[q_idx] - TIME[kv_idx]).abs() / 500
    return torch.where(near, late, TABLE[h, (DOCUMENT[b, q_idx] - DOCUMENT[b, kv_idx]).abs()])


def functions(score, b, h, q_idx, kv_idx):
    far = (q_idx - kv_idx).to(score.dtype)
    return torch.sigmoid(score) * torch.log(far.abs() + 1.0) + torch.sqrt(score.square() + 1) / 2 - far**2 / 1000


def causal(b, h, q_idx, kv_idx):
    return q_idx >= kv_idx


def inputs_of(attend) -> dict[str, torch.Tensor]:
    tensors = {"SLOPE": SLOPE, "TABLE": TABLE, "BIAS": BIAS, "WHOLE": WHOLE}
    tensors |= {"DOCUMENT": DOCUMENT, "TIME": TIME, "SPECIAL": SPECIAL}
    return {each.name: tensors[each.name] for each in attend.pattern.nodes.score_inputs}


FUNCTIONS = [
    softcap,
    alibi,
    learned_slopes,
    by_distance,
    by_clamped_distance,
    of_keys,
    of_pairs,
    chosen,
    of_documents,
    functions,
]


@pytest.mark.parametrize("f", FUNCTIONS)
def test_is_what_flex_attention_computes(f):
    attend = sparsec.compile(sparsec.from_score_mod(f, mask_mod=causal))
    tensors = torch.randn(3, BATCH, HEADS, N, 16, generator=torch.Generator().manual_seed(1))
    blocks = create_block_mask(causal, None, None, N, N, device="cpu")
    low, exact = (flex_attention(*x.unbind(0), score_mod=f, block_mask=blocks) for x in (tensors, tensors.double()))
    found = attend(*tensors.unbind(0), **inputs_of(attend))
    assert (found - exact).abs().max() <= 2 * (low - exact).abs().max()


@pytest.mark.parametrize("f", [softcap, alibi, by_distance, chosen, of_documents])
def test_comes_back(f):
    """The imported text as a score_mod again."""
    pattern = sparsec.compile(sparsec.from_score_mod(f)).pattern
    modified = pattern.score_mod(N, HEADS, **inputs_of(sparsec.compile(sparsec.from_score_mod(f))))
    axes = enumerate((BATCH, HEADS, N, N))
    places = [torch.arange(size).view([-1 if axis == own else 1 for own in range(4)]) for axis, size in axes]
    score = torch.randn(BATCH, HEADS, N, N, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(modified(score, *places), f(score, *places))


def test_text():
    assert sparsec.from_score_mod(learned_slopes, "p", mask_mod=causal) == (
        "input SLOPE: float[H]\n\n"
        '"""Imported from a score_mod."""\n'
        "score learned_slopes = s - SLOPE * (q - k)\n\n"
        "pattern p =\n    q >= k with learned_slopes\n"
    )


SHORT = torch.zeros(N, dtype=torch.int16)
REFUSED = {
    "the number -inf": lambda score, b, h, q, k: torch.where(q >= k, score, float("-inf")),
    "`lt` of a score": lambda score, b, h, q, k: torch.where(score < 0, score, score * 2),
    "a look-up in a tensor of torch.int16": lambda score, b, h, q, k: score + SHORT[k],
    "the index may be negative": lambda score, b, h, q, k: score + TABLE[h, q - k],
    "a power of a score": lambda score, b, h, q, k: score**1.5,
    "`erf` of a score": lambda score, b, h, q, k: torch.erf(score),
    "`if`": lambda score, b, h, q, k: score if q > k else score * 2,
}


@pytest.mark.parametrize("said", REFUSED)
def test_refused(said):
    with pytest.raises(SparsecError, match="SP0608") as caught:
        sparsec.from_score_mod(REFUSED[said])
    assert said in str(caught.value)
