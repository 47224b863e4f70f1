"""`attend.decode` on a CPU: caches of all forms against dense attention, and calls that do not fit."""

from __future__ import annotations

import copy
import pickle

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.caches import FORMS, Sequences, assert_right, cached, decoder_of, free_unseen, random_sequences, step
from support.generated import pattern_of, random_pattern
from torch.utils._python_dispatch import TorchDispatchMode

import sparsec
from sparsec.ir import nodes
from sparsec.kernels.weights.sinks import with_sinks
from sparsec.testing.programs import match_programs, programs

PATTERNS = [
    "past(20)",
    "causal",
    "sinks(3) | past(20)",
    "causal & stride(8)",
    "causal & (past(8) | stride(8))",
    "causal & (same_block(16) | columns(16, 2))",
    "past(5) | causal & k // 4 % 3 == 0",
    "past(10) | causal & random_past_blocks(8, 2, 1)",
    "window(9) | global(3)",
    "causal & q % 3 != 0 & k > 4",  # rows without a key
    "k >= n - 4",
]
LENGTHS = [0, 1, 2, 37]


@pytest.mark.parametrize(("text", "rows"), [*((text, 1) for text in PATTERNS), *((text, 3) for text in PATTERNS[::3])])
def test_patterns(text: str, rows: int) -> None:
    """Keys that no row sees are NaN, and so is everything else in the cache."""
    pattern = pattern_of(f"pattern p = {text}")
    own = random_sequences(LENGTHS, rows=rows)
    assert_right_in_all_forms(pattern, own)


def assert_right_in_all_forms(pattern: nodes.Pattern, own: Sequences) -> None:
    freed, decoder = free_unseen(pattern, own), decoder_of(pattern)
    found = step(decoder, freed, FORMS[0])
    assert_right(pattern, own, *found)
    for form in FORMS[1:]:
        torch.testing.assert_close(step(decoder, freed, form), found)


def steps_of_random(programs_of: st.SearchStrategy, examples: int):
    """A test of random patterns, lengths, groups and pages."""

    @settings(max_examples=examples, deadline=None)
    @given(
        program=programs_of,
        lengths=st.lists(st.integers(0, 40), min_size=1, max_size=3),
        rows=st.integers(1, 4),
        group=st.integers(1, 3),
        page=st.sampled_from([1, 3, 16, 128]),
        form=st.sampled_from(FORMS),
    )
    def test(program, lengths: list[int], rows: int, group: int, page: int, form: str) -> None:
        pattern = random_pattern(program)
        if any(_drawn_anew(leaf) for condition in pattern.conditions for leaf in nodes.leaves(condition)):
            return
        heads = pattern.heads or 2 * group
        kv_heads = next(count for count in (2, 1) if heads % count == 0)
        own = random_sequences(lengths, rows=rows, heads=heads, kv_heads=kv_heads)
        assert_right(pattern, own, *step(decoder_of(pattern), free_unseen(pattern, own), form, page=page))

    return test


def _drawn_anew(leaf: nodes.Leaf) -> bool:
    return isinstance(leaf, nodes.RandomKeys) or (isinstance(leaf, nodes.RandomBlocks) and not leaf.past)


test_random_patterns = steps_of_random(st.one_of(programs(), match_programs()), 5)
test_many_random_patterns = pytest.mark.full(steps_of_random(st.one_of(programs(), match_programs()), 400))


@pytest.mark.parametrize("text", ["causal & (past(4) | stride(4)) | sinks(2)"])
def test_steps_are_the_rows_of_the_whole(text: str) -> None:
    attend = sparsec.compile(f"pattern p = {text}")
    q, k, v = torch.randn(3, 2, 4, 40, 16, generator=torch.Generator().manual_seed(0))
    whole = attend(q, k[:, :2], v[:, :2])
    k, v = k[:, :2], v[:, :2]
    for n in range(1, 41):
        found = attend.decode(q[:, :, n - 1], k, v, torch.tensor([n, n], dtype=torch.int32))
        torch.testing.assert_close(found, whole[:, :, n - 1])


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_types(dtype: torch.dtype) -> None:
    pattern = pattern_of("pattern p = sinks(3) | past(20)")
    own = random_sequences(LENGTHS, dtype=dtype, head_size=24)
    assert_right_in_all_forms(pattern, own)


@pytest.mark.parametrize("text", ["past(6 * (h + 1))", "past(20) with softcap(5 + h), alibi"])
def test_heads_and_scores(text: str) -> None:
    pattern = pattern_of(f"pattern p = {text}", heads=4)
    own = random_sequences(LENGTHS)
    assert_right_in_all_forms(pattern, own)


@pytest.mark.parametrize("form", FORMS[:2])
def test_sinks(form: str) -> None:
    decoder, own, sinks = decoder_of(pattern_of("pattern p = past(20)")), random_sequences(LENGTHS), torch.randn(4)
    out, lse = step(decoder, own, form)
    wanted_out, wanted_lse = with_sinks(out.transpose(1, 2), lse.transpose(1, 2), sinks[None])
    wanted_lse[0] = float("-inf")  # no key, no sink
    found_out, found_lse = step(decoder, own, form, sinks=sinks)
    torch.testing.assert_close(found_out, wanted_out.transpose(1, 2))
    torch.testing.assert_close(found_lse, wanted_lse.transpose(1, 2))


def test_out_scale_and_copies() -> None:
    attend, own = sparsec.compile("pattern p = past(20)"), random_sequences(LENGTHS)
    given = cached(own, "table")
    out = torch.empty(len(LENGTHS), 4, 16)
    assert attend.decode(own.q[:, 0], **given, scale=0.5, out=out) is out
    for same in (copy.copy(attend), pickle.loads(pickle.dumps(attend))):
        assert torch.equal(same.decode(own.q[:, 0], **given, scale=0.5), out)
    assert_right(attend.pattern.nodes, own, *attend.decode(own.q, **given, scale=0.5, return_lse=True), scale=0.5)
    for scale in (0.0, -0.5):
        found = attend.decode(own.q[3, 0][None], own.k[3][None], own.v[3][None], given["lengths"][3:], scale=scale)
        wanted = attend(own.q[3][None].transpose(1, 2), own.k[3][None], own.v[3][None], scale=scale)
        torch.testing.assert_close(found, wanted[:, :, 0])


def test_a_step_needs_no_gradient() -> None:
    attend, own = sparsec.compile("pattern p = past(20)"), random_sequences([9])
    given = cached(own, "flat")
    q = own.q[:, 0].requires_grad_()
    with pytest.raises(ValueError, match="SP0607"):
        attend.decode(q, **given)
    with torch.no_grad():
        attend.decode(q, **given)


WRONG = [
    ({"q": torch.zeros(1, 4, 2, 4, 16)}, "SP0601.*q .B, H, D. or .B, m, H, D."),
    ({"q": torch.zeros(1, 4, 32)}, "SP0601.*head size of q"),
    ({"q": torch.zeros(2, 4, 16), "lengths": torch.tensor([9, 9])}, "SP0601.*v alike but for its own"),
    ({"q": torch.zeros(1, 17, 4, 16)}, "SP0601.*1 to 16 rows"),
    ({"q": torch.zeros(1, 3, 16)}, "SP0604"),
    ({"q": torch.zeros(1, 4, 16).half()}, "SP0602"),
    ({"lengths": [9]}, "SP0612.*lengths must be a tensor"),
    ({"lengths": torch.tensor([9.0])}, "SP0612.*float32"),
    ({"lengths": torch.tensor([9, 9])}, "SP0612.*must be .1., got"),
    ({"lengths": torch.tensor([13])}, "SP0612.*room of the cache"),
    ({"lengths": torch.tensor([-1])}, "SP0612.*-1"),
    ({"pages": torch.zeros(2, 3, dtype=torch.int32)}, "SP0612.*pages"),
    ({"pages": (torch.zeros(1, dtype=torch.int32),) * 2}, "SP0612.*indptr"),
    ({"out": torch.zeros(1, 4, 8)}, "SP0601.*out must"),
    ({"sinks": torch.zeros(3)}, "SP0601.*sinks"),
    ({"scale": "1"}, "SP0606"),
    ({"return_lse": "no"}, "SP0606.*return_lse must be True or False"),
]


@pytest.mark.parametrize(("wrong", "message"), WRONG, ids=[message for _, message in WRONG])
def test_wrong_calls(wrong: dict, message: str) -> None:
    attend, own = sparsec.compile("pattern p = past(20)"), random_sequences([9])
    with pytest.raises(ValueError, match=message):
        attend.decode(**{"q": own.q[:, 0], **cached(own, "flat"), **wrong})


def test_a_page_that_is_not_there() -> None:
    attend, own = sparsec.compile("pattern p = past(20)"), random_sequences([9])
    given = cached(own, "table")
    given["pages"][0, 1] = 99
    with pytest.raises(ValueError, match=r"SP0612.*page 99"):
        attend.decode(own.q[:, 0], **given)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("text", ["past(20)", "sinks(3) | past(20)", "causal & stride(8)"])
def test_steps_like_the_last_one(text: str, dtype: torch.dtype) -> None:
    """Their checks are known, and what differs is looked at: lengths, caches, values of another size."""
    pattern = pattern_of(f"pattern p = {text}")
    decoder, n = decoder_of(pattern), 60
    sizes = {"heads": 6, "kv_heads": 2, "dtype": dtype}
    for seed in range(2):
        own = random_sequences([n, n], seed=seed, **sizes)
        k, v = (torch.stack(x) for x in (own.k, own.v))
        for lengths in ([n, n], [n - 1, n - 1], [1, 1], [n, 3], [0, 0], [n, n]):
            call = torch.tensor(lengths), None, None, None, None, True
            out, lse = decoder(own.q[:, 0], k, v, *call)
            short = Sequences(own.q, *([x[:, :m] for x, m in zip(xs, lengths, strict=True)] for xs in (own.k, own.v)))
            assert_right(pattern, short, out[:, None], lse[:, None])
            assert (out.dtype, lse.dtype) == (dtype, torch.float32)
            assert torch.equal(decoder(own.q[:, 0], k, v, *call[:-1], False), out)
            for wide in (v, torch.cat([v, v], 3)):
                found, _ = decoder(own.q[:, 0], k, wide, *call)
                torch.testing.assert_close(found[..., :16], out)
        for wrong in ([n + 1, n + 1], [-1, -1]):
            with pytest.raises(ValueError, match="SP0612"):
                decoder(own.q[:, 0], k, v, torch.tensor(wrong), *call[1:])


def test_a_short_step_is_few_operations() -> None:
    """Beside the product: views of q, k, v and of the result, which are the rest of its time."""
    attend = sparsec.compile("pattern p = past(20)")
    q, k, v, lengths = torch.randn(1, 4, 16), *torch.randn(2, 1, 2, 60, 16), torch.tensor([50])

    class Counted(TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += 1
            return func(*args, **(kwargs or {}))

    for _ in range(2):
        with Counted() as counted:
            attend.decode(q, k, v, lengths)
    assert counted.count <= 6


def test_work_is_about_its_lengths() -> None:
    """It changes no result, and serves the lengths that it was made for."""
    attend, own = sparsec.compile("pattern p = past(20)"), random_sequences([9, 40])
    given = cached(own, "table")
    work = attend.work(given["lengths"])
    assert torch.equal(attend.decode(own.q, **given, work=work), attend.decode(own.q, **given))
    with pytest.raises(ValueError, match=r"SP0612.*another tensor of lengths"):
        attend.decode(own.q, **{**given, "lengths": given["lengths"].clone()}, work=work)
    given["lengths"] -= 1
    with pytest.raises(ValueError, match=r"SP0612.*changed since.*for every step"):
        attend.decode(own.q, **given, work=work)
    attend.decode(own.q, **given, work=attend.work(given["lengths"]))
    with torch.inference_mode():
        lengths = given["lengths"].clone()
        attend.decode(own.q, **{**given, "lengths": lengths}, work=attend.work(lengths))
    for wrong in ([9, 40], torch.zeros(2), torch.zeros(2, 1, dtype=torch.int32)):
        with pytest.raises(ValueError, match=r"SP0612.*lengths must be a tensor of int32"):
            attend.work(wrong)
    with pytest.raises(ValueError, match=r"SP0612.*work must be what attend.work"):
        attend.decode(own.q, **given, work=given["lengths"])


@pytest.mark.parametrize(
    "text",
    [
        "input doc: int[n] pattern p = causal & doc[q] == doc[k]",
        "pattern p = past(20) | causal & random_keys(3, 1)",
        "pattern p = past(20) | causal & random_blocks(8, 2, 1)",
    ],
)
def test_patterns_without_steps(text: str) -> None:
    own = random_sequences([9])
    with pytest.raises(ValueError, match="SP0623"):
        sparsec.compile(text).decode(own.q[:, 0], **cached(own, "flat"))
