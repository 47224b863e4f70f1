"""Data given at the call: random programs that read it against dense attention, and calls that do not fit."""

from __future__ import annotations

from importlib import import_module
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import attend_of, pattern_of, random_pattern, spread_module_of
from torch.nn.attention.flex_attention import create_block_mask, create_mask
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

import sparsec
from sparsec.ir import nodes
from sparsec.kernels.cpu import order as cpu_order
from sparsec.kernels.cpu import runs as cpu_runs
from sparsec.kernels.cpu import step as cpu_step
from sparsec.kernels.cpu import visits as cpu_visits
from sparsec.runtime.flex import mask_mod
from sparsec.testing import compare, random_problem
from sparsec.testing.data import masks, random_data
from sparsec.testing.dense_attention import Results
from sparsec.testing.programs import input_programs, terms

PACKED = "input doc: int[n] pattern p = causal & doc[q] == doc[k]"
DOC = torch.tensor([0] * 20 + [1] * 27 + [2] * 3)


def tensors_of(data: dict[str, np.ndarray], narrow: bool = False) -> dict[str, torch.Tensor]:
    """The data of a call; `narrow`: integers of 32 bits."""
    found = {name: torch.from_numpy(np.asarray(some)) for name, some in data.items()}
    return {name: x.int() if narrow and x.dtype == torch.int64 else x for name, x in found.items()}


def assert_exact(
    attend, pattern: nodes.Pattern, n_q: int, n: int, q_offset: int | None, heads: tuple[int, int], seed: int
) -> None:
    """Forward and all gradients of two rows of a batch, with data of their own."""
    data = random_data(pattern.inputs, 2, heads[0], n, seed, n_q=n_q, kv_heads=heads[1])
    first = n - n_q if q_offset is None else q_offset
    mask = masks(pattern, data, 2, heads[0], np.arange(n_q) + first, n)
    problem = random_problem(mask, heads=heads[0], kv_heads=heads[1], batch=2, seed=seed)
    inputs = [x.detach().requires_grad_() for x in (problem.q, problem.k, problem.v)]
    given = tensors_of(data, narrow=seed % 2 == 0)
    out, lse = attend(*inputs, scale=problem.scale, q_offset=q_offset, return_lse=True, **given)
    gradients = torch.autograd.grad([out, lse], inputs, [problem.g, problem.dlse])
    found = compare(Results(out.detach(), lse.detach(), *gradients), problem)
    assert all(each.holds for each in found), ", ".join(map(str, found))


@st.composite
def lengths(draw: st.DrawFn) -> tuple[int, int, int | None]:
    """n_q, n and the position of the first query: steps of decoding, and queries beyond the keys."""
    n_q, n = draw(st.sampled_from((1, 5, 17, 40, 70))), draw(st.integers(1, 70))
    return n_q, n, None if n_q <= n and draw(st.booleans()) else draw(st.integers(0, 80))


HEADS = st.sampled_from(((4, 2), (2, 2), (3, 1)))


@settings(max_examples=20)
@given(input_programs(), lengths(), HEADS, st.integers(0, 99))
def test_random_programs(program, lengths, heads, seed):
    pattern = random_pattern(program)
    assert_exact(attend_of(pattern), pattern, *lengths, heads, seed)


@settings(max_examples=10)
@given(input_programs(), lengths(), st.integers(0, 99))
def test_random_programs_in_small_tiles(program, lengths, seed):
    pattern = random_pattern(program)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cpu_order, "TILE", 16)
        patch.setattr(cpu_runs, "_LONGEST", 2)
        patch.setattr(cpu_visits, "_VISITS", 4)
        patch.setattr(cpu_step, "_FEW", 0)
        assert_exact(attend_of(pattern), pattern, *lengths, (2, 1), seed)


@pytest.mark.full
@settings(max_examples=500)
@given(input_programs(depth=3), lengths(), HEADS, st.integers(0, 999))
def test_more_random_programs(program, lengths, heads, seed):
    pattern = random_pattern(program)
    assert_exact(attend_of(pattern), pattern, *lengths, heads, seed)


STRIDED = "causal & (past(9) | stride(8)) & (doc[q] == doc[k] | cls[k])"
GATHERED = "causal & (k % 16 >= 14 | past(6) & w > 2) & doc[q] >= m"
TABLES = "past(4) | random_keys(3, 1) & doc[q] == doc[k] | random_blocks(16, 1, 2) & cls[q]"
DECLARED = "input doc: int[n] input cls: bool[B, n] input w: int[B, H] input m: int\n"


@pytest.mark.parametrize("condition", [STRIDED, GATHERED, TABLES])
@pytest.mark.parametrize(("n_q", "n", "q_offset"), [(150, 150, None), (3, 150, None), (60, 50, 7)])
def test_layouts(condition, n_q, n, q_offset):
    pattern = pattern_of(f"{DECLARED}pattern p = {condition}")
    assert_exact(spread_module_of(pattern).p, pattern, n_q, n, q_offset, (4, 2), seed=n_q)


def test_strides_with_data_are_residue_classes():
    pattern = pattern_of(f"{DECLARED}pattern p = {STRIDED}")
    regions = spread_module_of(pattern)._PROGRAM.groups[0].at(4096).regions
    assert sorted(region.stride for region in regions) == [1, 8]


def test_heads_with_patterns_of_their_own():
    text = "input doc: int[n] input w: int[H] pattern p = match h "
    text += "{ 0 -> past(w[h]), 1 | 3 -> doc[q] == doc[k], else -> causal }"
    pattern = pattern_of(text, 4)
    for n_q, n in ((40, 40), (2, 33)):
        assert_exact(attend_of(pattern), pattern, n_q, n, None, (4, 2), seed=3)


def test_new_data_is_not_taken_for_old():
    attend, (q, k, v) = sparsec.compile(PACKED), torch.randn(3, 1, 2, 50, 16)
    for doc in (DOC, DOC * 0, DOC // 2, DOC):
        mask = torch.from_numpy(attend.pattern.mask(50, 50, doc=doc))
        dense = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        torch.testing.assert_close(attend(q, k, v, doc=doc), dense)


# ---------------------------------------------------------------- with documents and lengths


def test_each_packed_document_reads_its_own_part():
    text = "input image: int[n] pattern p = past(5) | image[q] == image[k] & k < 9"
    attend, (q, k, v) = sparsec.compile(text), torch.randn(3, 1, 2, 50, 16).requires_grad_()
    ends, image = [0, 20, 20, 47, 50], torch.randint(0, 3, (50,))
    packed = attend(q, k, v, image=image, documents=torch.tensor(ends, dtype=torch.int32))
    alone = [attend(q[:, :, a:b], k[:, :, a:b], v[:, :, a:b], image=image[a:b]) for a, b in pairwise(ends)]
    torch.testing.assert_close(packed, torch.cat(alone, 2))
    g = torch.randn_like(packed)
    ours, theirs = (torch.autograd.grad(x, (q, k, v), g) for x in (packed, torch.cat(alone, 2)))
    torch.testing.assert_close(ours, theirs)


def test_jagged_tensors_and_inputs():
    """Inputs of positions may be as jagged as q; a number for each document is one for each of its tokens."""
    text = (
        "input doc: int[B, n] input w: float[B, H, n] score f = s + w[k] pattern p = past(9) & doc[q] == doc[k] with f"
    )
    attend, ends = sparsec.compile(text), torch.tensor([0, 7, 7, 20, 21])
    rows, doc, w = torch.randn(3, 21, 2, 16).unbind(0), torch.arange(21) // 4, torch.randn(21, 2, requires_grad=True)
    q, k, v, wide = (torch.nested.nested_tensor_from_jagged(x, ends).transpose(1, 2) for x in (*rows, w))
    found = attend(q, k, v, doc=torch.nested.nested_tensor_from_jagged(doc, ends), w=wide)
    packed = attend(*rows, documents=ends, doc=doc[None], w=w.T[None])
    found = found.transpose(1, 2).values()
    torch.testing.assert_close(found, packed)
    torch.testing.assert_close(torch.autograd.grad(found.sum(), w), torch.autograd.grad(packed.sum(), w))
    with pytest.raises(ValueError, match=r"^\[SP0620\].*other sequences"):
        attend(q, k, v, doc=torch.nested.nested_tensor_from_jagged(doc, torch.tensor([0, 5, 6, 7, 21])), w=wide)
    prefix = sparsec.compile("input m: int[B] pattern p = causal | k < m")
    with pytest.raises(ValueError, match=r"\[B = 1\], got \[4\]: documents share a row, so a number of each"):
        prefix(q, k, v, m=torch.tensor([1, 2, 3, 0]))


def test_a_prefix_of_each_document():
    attend, ends, lengths = sparsec.compile("input m: int[n] pattern p = causal | k < m[q]"), [0, 9, 9, 30], [4, 0, 20]
    q, k, v = torch.randn(3, 1, 2, 30, 16)
    m = torch.tensor(lengths).repeat_interleave(torch.tensor(ends).diff())
    found = attend(q, k, v, documents=torch.tensor(ends), m=m)
    alone = sparsec.compile("input m: int pattern p = causal | k < m")
    for first, stop, own in zip(ends, ends[1:], lengths, strict=False):
        part = (x[:, :, first:stop] for x in (q, k, v))
        torch.testing.assert_close(found[:, :, first:stop], alone(*part, m=torch.tensor(own)))


def test_rows_of_unequal_length_read_their_own():
    text = "input cls: bool[B, n] input m: int[B] pattern p = past(m) | cls[k] & k <= q"
    attend, (q, k, v) = sparsec.compile(text), torch.randn(3, 3, 2, 40, 16)
    cls, m, sizes = torch.rand(3, 40) < 0.2, torch.tensor([1, 4, 30]), [40, 1, 23]
    found = attend(q, k, v, cls=cls, m=m, lengths=torch.tensor(sizes, dtype=torch.int32))
    for row, n in enumerate(sizes):
        one = [x[row : row + 1, :, :n] for x in (q, k, v)]
        alone = attend(*one, cls=cls[row : row + 1, :n], m=m[row : row + 1])
        torch.testing.assert_close(found[row : row + 1, :, :n], alone)
        assert not found[row, :, n:].any()


# ---------------------------------------------------------------- torch


def random_tensors(batch: int = 2, heads: int = 2, n: int = 50):
    return torch.randn(3, batch, heads, n, 16, requires_grad=True)


def test_opcheck():
    attend = sparsec.compile("input doc: int[n] input w: int[B, H] pattern p = past(w[h]) & doc[q] == doc[k]")
    operator = attend._function.__globals__["_OPERATOR"]
    q, k, v = (x.detach().requires_grad_() for x in random_tensors())
    data = [DOC[None, None], torch.randint(1, 9, (2, 2, 1))]
    checks = "test_schema", "test_autograd_registration", "test_faketensor"
    torch.library.opcheck(
        operator.forward, (q, k, v, None, None, data, 0.25, 0, None, 0.0, True, []), test_utils=checks
    )


def test_compiled_once_for_all_data():
    torch._dynamo.reset()  # what other tests compiled of the same functions counts as a first time, too
    attend = sparsec.compile(PACKED)
    compiled = torch.compile(attend, fullgraph=True, backend="eager")
    q, k, v = random_tensors().detach()
    with torch._dynamo.config.patch(error_on_recompile=True):
        for doc in (DOC, DOC // 2, DOC * 0):
            torch.testing.assert_close(compiled(q, k, v, doc=doc), attend(q, k, v, doc=doc))


def test_vmap_and_grad():
    attend = sparsec.compile("input doc: int[B, n] input m: int pattern p = past(m) & doc[q] == doc[k]")
    q, k, v = torch.randn(3, 4, 2, 2, 50, 16)
    docs, m = torch.randint(0, 3, (4, 2, 50)).sort(-1).values, torch.tensor([1, 2, 9, 50])
    found = torch.vmap(lambda *x: attend(*x[:3], doc=x[3], m=x[4]))(q, k, v, docs, m)
    shared = torch.vmap(lambda *x: attend(*x, doc=docs[0], m=m[2]))(q, k, v)
    for i in range(4):
        torch.testing.assert_close(found[i], attend(q[i], k[i], v[i], doc=docs[i], m=m[i]))
        torch.testing.assert_close(shared[i], attend(q[i], k[i], v[i], doc=docs[0], m=m[2]))
    ours = torch.func.grad(lambda x: attend(x, k[0], v[0], doc=docs[0], m=m[2]).sum())(q[0])
    x = q[0].clone().requires_grad_()
    attend(x, k[0], v[0], doc=docs[0], m=m[2]).sum().backward()
    torch.testing.assert_close(ours, x.grad)


def test_checkpoint_autocast_and_export():
    attend = sparsec.compile(PACKED)
    q, k, v = random_tensors()
    plain = attend(q, k, v, doc=DOC)
    again = checkpoint(lambda *x: attend(*x, doc=DOC), q, k, v, use_reentrant=False)
    torch.testing.assert_close(again, plain)
    with torch.autocast("cpu", torch.bfloat16):
        assert attend(q, k, v, doc=DOC).dtype == torch.bfloat16

    class Layer(torch.nn.Module):
        def forward(self, q, k, v, doc):
            return attend(q, k, v, doc=doc)

    exported = torch.export.export(Layer(), (*(x.detach() for x in (q, k, v)), DOC)).module()
    torch.testing.assert_close(exported(*(x.detach() for x in (q, k, v)), DOC // 2), attend(q, k, v, doc=DOC // 2))


def test_operations_are_those_of_kept_pairs():
    attend = sparsec.compile(PACKED)
    q, k, v = random_tensors().detach()
    with FlopCounterMode(display=False) as counter:
        attend(q, k, v, doc=DOC)
    assert counter.get_total_flops() == 4 * 16 * 4 * int(attend.pattern.mask(50, 50, doc=DOC).sum())


# ---------------------------------------------------------------- calls that do not fit


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "`doc: int[n]` of line 2 is missing"),
        ({"doc": DOC[:9]}, "must have the shape [n = 50], got [9]"),
        ({"doc": DOC[None]}, "must have the shape [n = 50], got [1, 50]"),
        ({"doc": DOC.float()}, "must be a tensor of int32 or int64, got torch.float32"),
        ({"doc": DOC.short()}, "got torch.int16"),
        ({"doc": DOC > 0}, "got torch.bool"),
        ({"doc": [0] * 50}, "must be a tensor of int32 or int64, got list"),
        ({"doc": DOC.to("meta")}, "must be on the device of q, cpu, got meta"),
        ({"doc": DOC.to_sparse()}, "must be a dense tensor"),
    ],
)
def test_inputs_that_do_not_fit(given, said):
    attend = sparsec.compile("\ninput doc: int[n]\npattern p = causal & doc[q] == doc[k]")
    with pytest.raises(ValueError, match=r"^\[SP0620\]") as raised:
        attend(*random_tensors().detach(), **given)
    assert said in str(raised.value)
    assert "of line 2" in str(raised.value)


@pytest.mark.parametrize(
    ("text", "given", "said"),
    [
        ("input m: int[B] pattern p = k < m", torch.zeros(3, dtype=int), "[B = 2], got [3]"),
        ("input m: int[H] pattern p = k < m", torch.zeros(2, dtype=int), "[H = 4], got [2]"),
        ("input m: int[B, H, t] pattern p = k in m", torch.zeros(2, 3, 9, dtype=int), "H = 4, t], got [2, 3, 9]"),
        ("input m: int pattern p = k < m", torch.zeros(1, dtype=int), "the shape [], got [1]"),
        ("input m: bool[n] pattern p = m[k]", torch.zeros(50, dtype=int), "must be a tensor of bool, got torch.int64"),
    ],
)  # fmt: skip
def test_axes(text, given, said):
    with pytest.raises(ValueError, match=r"^\[SP0620\]") as raised:
        sparsec.compile(text)(*random_tensors(2, 4).detach(), m=given)
    assert said in str(raised.value)


def test_what_is_not_declared():
    q, k, v = random_tensors().detach()
    with pytest.raises(TypeError, match=r"\[SP0611\] a call takes no `docs`: did you mean `doc`\?"):
        sparsec.compile(PACKED)(q, k, v, docs=DOC)
    with pytest.raises(TypeError, match=r"\[SP0611\] a call takes no `doc`"):
        sparsec.compile("input doc: int[n] pattern a = causal set b = doc[q] == doc[k]")(q, k, v, doc=DOC)
    with pytest.raises(ValueError, match=r"\[SP0620\] this pattern reads no input `docs`: it has `doc: int\[n\]`"):
        sparsec.compile(PACKED)._function(q, k, v, doc=DOC, docs=DOC)


# ---------------------------------------------------------------- the pattern of an operator


def test_masks():
    pattern = sparsec.compile("input m: int[B] input w: int[H] pattern p = past(w) | k < m").pattern
    found = pattern.mask(5, 5, m=[0, 3], w=torch.tensor([1, 2, 3]))
    assert found.shape == (2, 3, 5, 5)
    assert found[1, 2].sum(1).tolist() == [3, 3, 3, 4, 5]
    with pytest.raises(sparsec.SparsecError, match="SP0621"):
        pattern.mask(5, 5, m=[0, 3])
    with pytest.raises(sparsec.SparsecError, match="SP0621"):
        pattern.count(5)
    for wrong in ({"m": [[0]]}, {"m": [0.5]}, {"x": 1}):
        with pytest.raises(sparsec.SparsecError, match="SP0620"):
            pattern.mask(5, 5, **{"m": [0, 3], "w": [1], **wrong})


@settings(max_examples=15)
@given(input_programs(term=terms()), st.integers(0, 99))
def test_mask_mods(program, seed):
    pattern = random_pattern(program)
    data = random_data(pattern.inputs, 2, 3, 23, seed, n_q=18)
    wanted = masks(pattern, data, 2, 3, np.arange(5, 23), 23)
    mod = mask_mod(pattern, 23, q_offset=5, inputs=data)
    assert (create_mask(mod, 2, 3, 18, 23, device="cpu").numpy() == wanted).all()


def test_mask_mod_of_an_operator():
    pattern = sparsec.compile(PACKED).pattern
    blocks = create_block_mask(pattern.mask_mod(50, doc=DOC), None, None, 50, 50, device="cpu", BLOCK_SIZE=16)
    assert blocks.to_dense().sum() > 0
    with pytest.raises(sparsec.SparsecError, match="SP0621"):
        pattern.mask_mod(50)
    with pytest.raises(sparsec.SparsecError, match="SP0621"):
        pattern.block_mask(50)


def test_a_block_mask_of_data():
    pattern = sparsec.compile("input w: int[B, H] input doc: int[n] pattern p = past(w) & doc[q] == doc[k]").pattern
    data = {"w": np.array([[3, 9], [1, 50]]), "doc": DOC}
    blocks = pattern.block_mask(50, 16, n_q=40, **data)
    assert blocks.kv_num_blocks.shape == (2, 2, 3)
    mask = pattern.mask(40, 50, **data)
    tiles = np.pad(mask, ((0, 0), (0, 0), (0, 8), (0, 14))).reshape(2, 2, 3, 16, 4, 16).any((3, 5))
    assert (blocks.to_dense().bool().numpy() == tiles).all()
    with pytest.raises(sparsec.SparsecError, match="SP0620"):
        pattern.block_mask(50, w=data["w"], doc=DOC[:9])


def test_what_a_module_says_of_itself(tmp_path, monkeypatch):
    attend = sparsec.compile(PACKED)
    assert "<svg" in attend._repr_svg_()
    assert "All that data of the call can keep" in attend.source
    (tmp_path / "packed_alone.py").write_text(attend.source)
    monkeypatch.syspath_prepend(tmp_path)
    q, k, v = random_tensors().detach()
    torch.testing.assert_close(import_module("packed_alone").p(q, k, v, doc=DOC), attend(q, k, v, doc=DOC))
