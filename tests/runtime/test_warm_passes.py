"""Warm passes without a GPU: a chain of launches finds all that the first pass, launch by launch, finds by name."""

from __future__ import annotations

import pytest
import torch
from support.generated import pattern_of, spread_module_of
from support.no_gpu import warm_calls

from sparsec.kernels.chosen.choosers import run_choosers
from sparsec.kernels.operator.packed import at_once, backward_packed, forward_packed
from sparsec.kernels.passes.backward import backward_gpu
from sparsec.kernels.passes.forward import forward_gpu
from sparsec.kernels.program.arguments import Call, Dropout, Upstream
from sparsec.kernels.program.inputs import checked_inputs
from sparsec.kernels.sequences.sequences import of_documents
from sparsec.testing.data import random_data, random_reals

N, HEADS = 192, 4
BY_CONTENT = {
    "lsh": "past(64) | lsh(4, 2, 8, 0) & causal",
    "routed": "input mu: centroids[5] pattern p = past(64) | routed(mu, 9) & causal",
    "selected": "input sel: blocks[4, 16, t] pattern p = past(64) | selected(sel) & causal",
    "chosen keys": "input sel: keys[t] pattern p = past(9) | selected(sel) & causal",
    "top_blocks": "causal & (past(64) | top_blocks(3, 16, bq = 16, among = causal))",
    "top_keys": "past(9) | top_keys(3, among = causal)",
}
BY_POSITION = {
    "ranges": "past(64) | sinks(4)",
    "strided": "causal & (past(64) | stride(16))",
    "gathered": "causal & (past(9) | k % 16 < 2)",
    "all three": "causal & (past(9) | stride(16) | k % 16 < 2)",
    "listed": "past(9) | random_keys(3, 1)",
    "tables": "past(9) | random_blocks(2, 32, 1)",
    "tiles": "abs(q // 32 - k // 32) <= 2 & abs(q % 32 - k % 32) <= 2",
    "heads": "past(64) | causal & (q - k) % 16 == h % 2 & h < 3",
    "inputs": "input doc: int[n] pattern p = causal & doc[q] == doc[k]",
    "float inputs": "input b: float[H] score x = s - b * abs(q - k) pattern p = past(64) with x",
}
TEXTS = BY_CONTENT | BY_POSITION


@pytest.mark.parametrize("dropped", [False, True], ids=["", "dropout"])
@pytest.mark.parametrize("name", TEXTS)
def test_passes(name: str, dropped: bool) -> None:
    check(name, dropped)


@pytest.mark.parametrize("name", ["ranges", "strided", "heads", "inputs", "float inputs"])
def test_passes_over_documents(name: str) -> None:
    check(name, documents=(0, 70, N))


def check(name: str, dropped: bool = False, documents: tuple[int, ...] = ()) -> None:
    """Three passes forward and backward, the first of them launch by launch."""
    text = TEXTS[name] if "pattern" in TEXTS[name] else f"pattern p = {TEXTS[name]}"
    pattern = pattern_of(text, heads=HEADS if name == "heads" else None)
    module = spread_module_of(pattern)
    program, (q, k, v) = module._PROGRAM, torch.randn(3, 1, HEADS, N, 16).bfloat16()
    inputs = inputs_of(pattern, module._OPERATOR, q, k)
    table = of_documents(torch.tensor(documents, dtype=torch.int32), N) if documents else None
    streams = torch.zeros(1 if table is None else len(table), 2, dtype=torch.int64)
    call = Call(q, k, v, 0.25, inputs=inputs, table=table, dropout=Dropout(0.1, streams) if dropped else None)
    call = call._replace(sinks=None if dropped else torch.zeros(1, HEADS))
    forward, backward = (forward_packed, backward_packed) if documents else (forward_gpu, backward_gpu)
    assert not documents or at_once(program, anywhere=True)
    with warm_calls():
        for _ in range(3):
            out, lse = forward(program, call)
            backward(program, call, Upstream(q, out, lse, lse))
        assert len(program.passes) >= 2 and all(run.direct for run in program.passes.values())
    program.passes.clear()


def inputs_of(pattern, operator, q: torch.Tensor, k: torch.Tensor) -> list[torch.Tensor]:
    """Of a call, as the operator hands them to its passes: what is given, what it chooses, float inputs."""
    program = operator.program
    drawn = [each for each in (*pattern.inputs, *pattern.choice_inputs) if not each.choice]
    given = random_data(drawn, 1, HEADS, N, kv_heads=HEADS) | random_reals(pattern.score_inputs, HEADS, N, 0)
    given = {name: torch.from_numpy(x) for name, x in given.items()}
    checked = checked_inputs((*program.inputs, *program.choice_inputs), given, q, k)
    chosen_by = len(checked) - len(program.choice_inputs)
    data, scores = checked[: chosen_by - program.score_inputs], checked[chosen_by - program.score_inputs : chosen_by]
    chosen = [own.choice for own in program.inputs if own.choice]
    return [*data, *run_choosers(chosen, program.choice_inputs, q, k, checked[chosen_by:], 0.25, 0), *scores]
