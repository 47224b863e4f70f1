"""`sparsec diff`: verdicts, pairs, whose parameter is whose, and the exit status."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LONGFORMER, SLIDING = str(EXAMPLES / "longformer.spat"), str(EXAMPLES / "sliding_window.spat")


@pytest.fixture
def diff(sparsec):
    return partial(sparsec, "diff")


@pytest.fixture
def spat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Writes files into a fresh working folder."""
    monkeypatch.chdir(tmp_path)

    def write(**texts: str) -> list[str]:
        for name, text in texts.items():
            Path(f"{name}.spat").write_text(text)
        return [f"{name}.spat" for name in texts]

    return write


def test_words(diff) -> None:
    ran = diff(LONGFORMER, SLIDING)
    assert ran.status == 1
    assert ran.err == ""
    assert ran.out.splitlines() == [
        f"A  longformer(w = 512, g = 64)  {LONGFORMER}",
        f"B  sliding_window(w = 512)      {SLIDING}",
        "B in A: every pair of B is in A, for every n",
        "  only in A  n = 258: q = 0, k = 257",
        "  in both    n = 1: q = 0, k = 0",
        "  the same for n up to 257",
    ]


def test_equal(diff, spat) -> None:
    ran = diff(*spat(a="pattern a(w = 4) = past(w)\n", b="pattern b(v = 6) = causal & window(v)\n"))
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "equal: the same pairs for every n")


def test_json(diff) -> None:
    ran = diff(LONGFORMER, SLIDING, "--json", "-D", "g=0")
    data = json.loads(ran.out)
    assert ran.status == 0
    assert data["verdict"] == "equal"
    assert data["a"] == {"file": LONGFORMER, "pattern": "longformer", "parameters": {"w": 512, "g": 0}}
    assert data["only_a"] == {"status": "none", "pair": None}
    assert data["same_up_to"] is None
    pair = json.loads(diff(LONGFORMER, SLIDING, "--json").out)["only_a"]["pair"]
    assert pair == {"n": 258, "q": 0, "k": 257}


def test_a_parameter_is_bound_in_both_or_in_one(diff) -> None:
    bound = lambda *options: [line.split("(")[1].split(")")[0] for line in diff(*options).out.splitlines()[:2]]  # noqa: E731
    assert bound(LONGFORMER, SLIDING, "-D", "w=8") == ["w = 8, g = 64", "w = 8"]
    assert bound(LONGFORMER, SLIDING, "-D", "B.w=8") == ["w = 512, g = 64", "w = 8"]
    assert bound(LONGFORMER, SLIDING, "-D", "A.w=6", "-D", "w=8") == ["w = 6, g = 64", "w = 8"]
    assert bound(LONGFORMER, SLIDING, "-D", "g=3") == ["w = 512, g = 3", "w = 512"]


def test_two_patterns_of_one_file(diff, spat) -> None:
    (name,) = spat(p="pattern a = past(4)\npattern b = past(8)\n")
    assert "A in B" in diff(name, name, "-p", "a", "-p", "b").out
    assert diff(name, name, "-p", "a").status == 0
    assert diff(name, name).status == 2


def test_heads(diff, spat) -> None:
    ran = diff(*spat(a="pattern a = past(h + 1)\n", b="pattern b = past(2)\n"), "--heads", "4")
    lines = ran.out.splitlines()
    assert lines[2] == "overlapping: neither holds the other"
    assert [line.strip() for line in lines if "head" in line] == [
        "head 0: A in B",
        "head 1: equal",
        "heads 2, 3: B in A",
    ]
    by_heads = json.loads(diff("a.spat", "b.spat", "--heads", "4", "--json").out)["by_heads"]
    assert [part["heads"] for part in by_heads] == [[0], [1], [2, 3]]


def test_queries_beyond_the_keys(diff, spat) -> None:
    ran = diff(*spat(a="pattern a = causal\n", b="pattern b = causal & q < n\n"))
    assert ran.status == 1
    assert "only with a q_offset" in ran.out
    assert "the same for queries among the keys, whatever n is" in ran.out


def test_undecided_says_so(diff, spat) -> None:
    texts = {each: f"pattern {each}(s = 1) = random_blocks(1000, 9000, s)\n" for each in "ab"}
    ran = diff(*spat(**texts), "-D", "B.s=2")
    assert ran.status == 2
    assert "undecided: no difference found, and none excluded" in ran.out
    assert "only in A  not decided: none for n up to 64, none seen beyond" in ran.out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["-D", "u=1"], "SP0208"),
        (["-D", "C.w=1"], "SP0208"),
        (["-D", "B.g=1"], "SP0208"),
        (["-D", "w=x"], "SP0211"),
        (["-D", "w"], "NAME=VALUE"),
        (["-p", "a", "-p", "b", "-p", "c"], "more than twice"),
        (["-p", "nothing"], "SP0210"),
        (["--nonsense"], "No such option"),
    ],
)
def test_trouble_is_2(options: list[str], said: str, diff) -> None:
    ran = diff(LONGFORMER, SLIDING, *options)
    assert (ran.status, ran.out) == (2, "")
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_errors_of_files_are_trouble(diff, spat) -> None:
    for name in [*spat(empty="pattern p = causal & ~full\n", broken="pattern p = pas(3)\n"), "missing.spat"]:
        ran = diff(LONGFORMER, name)
        assert ran.status == 2
        assert "error[SP" in ran.err
