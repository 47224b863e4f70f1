"""Commands about patterns that read data of a call: what they need of it, and bounds where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from support.generated import pattern_of
from typer.testing import CliRunner

from sparsec.cli import app
from sparsec.runtime import given_cost
from sparsec.runtime.sample import drawn
from sparsec.testing.data import masks

DOCUMENTS = "input doc: int[n] pattern p = causal & doc[q] == doc[k]"


@pytest.fixture
def ids(tmp_path: Path) -> str:
    np.save(tmp_path / "ids.npy", np.repeat([5, 6], [3, 5]))
    return str(tmp_path / "ids.npy")


def ran(tmp_path: Path, text: str, command: str, *more: str, status: int = 0) -> str:
    path = tmp_path / "p.spat"
    path.write_text(text)
    found = CliRunner().invoke(app, [command, str(path), *more])
    assert found.exit_code == status or (status and found.exception), found.output
    return found.output + (str(found.exception) if found.exception else "")


def test_show(tmp_path, ids):
    drawn = ran(tmp_path, DOCUMENTS, "show", "--given", f"doc={ids}")
    assert "n = 8" in drawn
    assert f"{6 + 15} of 64 pairs" in drawn
    assert "12 of 16 pairs" in ran(tmp_path, "input m: int pattern p = k < m", "show", "--n", "4", "--given", "m=3")
    svg = ran(tmp_path, DOCUMENTS, "show", "--given", f"doc={ids}", "--format", "svg")
    assert svg.startswith("<svg")


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "a picture needs the data that the pattern reads: `doc: int[n]`"),
        (["doc=5"], "`doc` must be int[n], as declared in line 1, and is int[]"),
        (["doc=nowhere.npy"], "can't read `nowhere.npy`: no such file or directory"),
        (["doc=p.spat"], "no array of numpy"),
        (["doc"], "is not NAME=FILE.npy or NAME=INTEGER"),
        (["doc=IDS", "doc=IDS"], "doc is given twice"),
        (["m=4"], "`m` must be an input of the pattern, and is none"),
        (["doc=IDS", "m=4"], "`m` must be an input of the pattern, and is none"),
    ],
)
def test_data_that_is_missing_or_does_not_fit(tmp_path, ids, monkeypatch, given, said):
    monkeypatch.chdir(tmp_path)
    options = [option for each in given for option in ("--given", each.replace("IDS", ids))]
    assert said in ran(tmp_path, DOCUMENTS, "show", *options, status=2)


def test_show_of_two_patterns(tmp_path, ids):
    (tmp_path / "q.spat").write_text("input m: int pattern other = k < m")
    given = "--given", f"doc={ids}", "--given", "m=2"
    assert "only in" in ran(tmp_path, DOCUMENTS, "show", "--diff", str(tmp_path / "q.spat"), *given)
    (tmp_path / "q.spat").write_text("input doc: int pattern other = k < doc")
    assert "SP0620" in ran(tmp_path, DOCUMENTS, "show", "--diff", str(tmp_path / "q.spat"), *given, status=2)


def test_pages_have_no_data(tmp_path):
    assert "a page needs the data" in ran(tmp_path, DOCUMENTS, "show", "--format", "html", status=2)


def test_cost_is_a_bound(tmp_path):
    text = ran(tmp_path, DOCUMENTS, "cost", "--n", "1000")
    assert "at most   data of the call decides: doc; counts are upper bounds" in text
    found = json.loads(ran(tmp_path, DOCUMENTS, "cost", "--n", "1000", "--json"))
    assert (found["pairs"], found["at_most_for"]) == (1000 * 1001 // 2, ["doc"])
    assert json.loads(ran(tmp_path, "pattern p = causal", "cost", "--json"))["at_most_for"] == []


def test_diff_decides_what_holds_whatever_the_data(tmp_path):
    (tmp_path / "b.spat").write_text("input doc: int[n] pattern p = doc[q] == doc[k] & causal")
    assert "equal" in ran(tmp_path, DOCUMENTS, "diff", str(tmp_path / "b.spat"))
    (tmp_path / "b.spat").write_text("pattern p = causal")
    said = ran(tmp_path, DOCUMENTS, "diff", str(tmp_path / "b.spat"), status=2)
    assert "undecided" in said
    assert "data of the call decides" in said
    assert "the same for n" not in said


def test_verify_draws_data(tmp_path):
    text = "input m: int[B] input image: int[n] pattern p = past(m) | image[q] == image[k]"
    said = ran(tmp_path, text, "verify", "--n", "97")
    assert "equals dense attention on the CPU" in said


def test_tuning_has_no_data(tmp_path):
    assert "SP0621" in ran(tmp_path, DOCUMENTS, "tune", "--dry-run", status=2)


def test_cost_with_data(tmp_path, ids):
    """Exact, with tiles of the data, and said to be of it."""
    text = ran(tmp_path, DOCUMENTS, "cost", "--n", "8", "--given", f"doc={ids}")
    assert f"given     doc: {ids}" in text
    assert "counts    of this data, counted" in text
    found = json.loads(ran(tmp_path, DOCUMENTS, "cost", "--n", "8", "--given", f"doc={ids}", "--json"))
    assert (found["pairs"], found["at_most_for"], found["given"]["doc"]) == (6 + 15, [], ids)
    assert found["tiles"] == {"full": 0, "partial": 1, "empty": 0}
    assert "SP0620" in ran(tmp_path, DOCUMENTS, "cost", "--n", "9", "--given", f"doc={ids}", status=2)
    assert "SP0620" in ran(tmp_path, "input m: int " + DOCUMENTS, "cost", "--given", "m=3", status=2)
    two = "input m: int input doc: int[n] pattern p = k < m & doc[q] == doc[k]"
    assert "reads: `doc: int[n]`" in " ".join(ran(tmp_path, two, "cost", "--given", "m=3", status=2).split())


def test_cost_of_a_sample(tmp_path):
    """The same for a seed, and as the mask counts it; of heads with data of their own, all."""
    text = "input w: int[H] input cls: bool[n] pattern p = past(w[h]) | cls[k] & causal"
    options = "--n", "300", "--heads", "3", "--sample", "1"
    said = ran(tmp_path, text, "cost", *options)
    assert "given     cls: drawn by seed 1: true at 32 of 300 entries" in said
    found = json.loads(ran(tmp_path, text, "cost", *options, "--json"))
    pattern = pattern_of(text)
    arrays, _ = drawn(pattern.inputs, 300, 1, 3, 1)
    mask = masks(pattern, arrays, 1, 3, np.arange(300), 300)[0]
    assert found["pairs"] == mask.sum()
    whole = [mask[:, i : i + 64, j : j + 64] for i in range(0, 300, 64) for j in range(0, 300, 64)]
    assert found["tiles"]["empty"] == sum(int(not head.any()) for each in whole for head in each)
    assert found["tiles"]["full"] == sum(int(head.all() and head.shape[1] == 64) for each in whole for head in each)


def test_cost_of_long_samples_is_estimated(tmp_path, monkeypatch):
    monkeypatch.setattr(given_cost, "_MOST_PAIRS", 64 * 1000 * 8)
    text, exact = "input m: int pattern p = causal & k < m", 1000 * 1001 // 2
    said = ran(tmp_path, text, "cost", "--n", "1000", "--given", "m=1000", "--json")
    found = json.loads(said)
    assert found["given"]["how"] == "estimated from 8 of 16 rows of tiles"
    assert abs(found["pairs"] - exact) < exact / 2
    assert sum(found["tiles"].values()) == 16 * 16


def test_bench_draws_data_or_takes_it(tmp_path, ids):
    options = "--n", "8", "--heads", "1", "--head-size", "16", "--repeats", "1", "--against", "none"
    text = DOCUMENTS.replace("input", "input m: int input") + " & k < m"
    said = ran(tmp_path, text, "bench", *options, "--given", f"doc={ids}", "--json", str(tmp_path / "out.json"))
    [run] = json.loads((tmp_path / "out.json").read_text())["runs"]
    assert run["given"] == {"m": "drawn by seed 0: 1", "doc": ids}
    assert f"doc: {ids}" in said
    assert "SP0620" in ran(tmp_path, text, "bench", *options, "--given", "x=4", status=2)
    said = ran(tmp_path, text, "bench", "--n", "8", "--documents", "3,5", status=2)
    assert "patterns that read no inputs" in said


CHOSEN = "input sel: blocks[1, 8, 2] pattern p = causal & past(9) | selected(sel) & causal"


def test_lists_of_chosen_blocks(tmp_path):
    np.save(tmp_path / "sel.npy", np.zeros((1, 2, 64, 2), int))
    assert "SP0621" in ran(tmp_path, CHOSEN, "show", "--n", "64", status=2)
    assert "selected(sel)" in ran(tmp_path, CHOSEN, "show", "--n", "64", "--given", f"sel={tmp_path / 'sel.npy'}")
    assert "chosen    at most 1,564 pairs, 38.2 % of all" in ran(tmp_path, CHOSEN, "cost", "--n", "64")


def test_a_sample_of_what_is_chosen(tmp_path):
    text = "pattern p = past(9) | top_blocks(2, 8, among = causal) | top_keys(1)"
    shown = ran(tmp_path, text, "show", "--n", "64")
    assert "top_blocks(2, 8, among = causal)" in shown
    assert "SP0621" in ran(tmp_path, text, "show", "--n", "100000", status=2)
    assert "SP0621" in ran(tmp_path, text, "show", "--format", "html", status=2)
    assert "holds whatever" not in ran(tmp_path, text, "verify", "--n", "40")


GROUPED = "input mu: centroids[4] pattern p = causal & (lsh(4, 2, 8, 0) | routed(mu, 9))"


def test_groups(tmp_path):
    """A bound without data, counted for a sample, drawn at random."""
    bound = ran(tmp_path, GROUPED, "cost", "--n", "128")
    assert "at most   data of the call decides: lsh, routed; counts are upper bounds" in bound
    assert "chosen    at most 4,420 pairs, 27 % of all, by the sizes of what is chosen" in bound  # 128 * 32 + 4 * 81
    assert "these grow as O(n)\n" in bound
    assert "choosing  lsh: O(n log n), as in Reformer: keys sorted 2 times, by products with 2 directions" in bound
    assert "routed: O(4 n log n), products with 4 centroids, and the best of each" in bound
    found = json.loads(ran(tmp_path, GROUPED, "cost", "--n", "64", "--sample", "3", "--json"))
    assert found["given"]["how"] == "counted"
    assert 64 < found["pairs"] < 64 * 65 // 2
    assert "pairs, a density of" in ran(tmp_path, GROUPED, "show", "--n", "64")
    assert "SP0621" in ran(tmp_path, GROUPED, "show", "--format", "html", status=2)


def test_bench_of_what_is_chosen(tmp_path):
    options = "--n", "24", "--heads", "2", "--head-size", "16", "--repeats", "1", "--against", "none"
    np.save(tmp_path / "s.npy", np.zeros((1, 1, 24, 3), np.float32))
    text = f"input s: scores[1, 8] {GROUPED} | (causal & top_blocks(1, 8, score = s))"
    said = ran(tmp_path, text, "bench", *options, "--given", f"s={tmp_path / 's.npy'}")
    assert "mu: drawn by seed 0: 4 normal centroids" in said
    assert "wrong" not in said
