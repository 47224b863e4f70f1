"""`sparsec cost --ranks`: what travels between GPUs."""

from __future__ import annotations

import json


def test_text(sparsec, spat) -> None:
    ran = sparsec("cost", spat("pattern p = past(100) | sinks(4)"), "--n", "4096", "--ranks", "4", "--gpu", "h100")
    assert ran.status == 0
    assert "ranks     4, contiguous, 1,024 positions each; the busiest has 1.01 times the mean work" in ran.out
    assert "receives  103 keys and values, 77 in the mean: 52.7 kB" in ran.out
    assert "all-gather and rings: 3,072, 1.57 MB, 29.8 times as much" in ran.out
    assert "times one GPU by these floors" in ran.out


def test_json(sparsec, spat) -> None:
    options = "--n", "64", "--ranks", "2", "--layout", "auto", "--heads", "4", "--head-size", "64", "--json"
    found = json.loads(sparsec("cost", spat("pattern p = causal"), *options).out)["ranks"]
    assert found["layout"] == "head-tail"
    assert found["receives"] == [32 * 4, 16 * 4]  # chunks 1 and 2; chunk 0
    assert found["sends"] == [16 * 4, 32 * 4]
    assert found["gathered"] == [32 * 4, 32 * 4]
    assert found["bytes_of_key"] == 2 * 2 * 64
    assert found["exact"] is True


def test_formula(sparsec, spat) -> None:
    found = json.loads(sparsec("cost", spat("pattern p = past(9)"), "--ranks", "3", "--json").out)["ranks"]
    assert found["formula"] == "8 for m >= 9; m for m <= 8"


def test_what_does_not_fit(sparsec, spat) -> None:
    name = spat("pattern p = causal")
    for options in (["--layout", "ring"], ["--link", "wire"], ["--n-q", "3"]):
        ran = sparsec("cost", name, "--ranks", "2", *options)
        assert ran.status == 2
        assert "Traceback" not in ran.err
    assert sparsec("cost", name, "-e", "past(3)", "--ranks", "2").status == 2
