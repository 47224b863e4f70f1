"""No text makes a traceback, a hang or a heap: a parse or diagnostics, quickly."""

import json
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from sparsec import resources
from sparsec.diagnostics import SparsecError
from sparsec.lower.file import lower_fully
from sparsec.source import Source
from sparsec.syntax.format.printer import print_file
from sparsec.syntax.parse import parse
from sparsec.syntax.read import decode, read
from sparsec.testing.texts import damaged, files

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("*.spat"))
TEXTS = (
    *(path.read_text() for path in EXAMPLES),
    resources.text("grammar/prelude.spat"),
    "pattern p(s = 2 ** 3) = match h % 4 { 0 | 2..3 -> k not in {0, 1, -2}, else -> random_keys(3, h) }\n",
    'use "x.spat"\nset a(x, y = x // 2) = abs(q - k) < max(x, y, 3)\npattern b = a(4) \\ blocks(4, [[0, 1], [2]])\n',
    "input doc: int[n]\npattern b = doc[q] == doc[k] & layer < L\n"
    '"doc" set c = random_past_blocks(b = 4, r = 1, seed = 2)\n',
)


def reads(data: bytes) -> None:
    """Parse and lower; every error is a diagnostic that can be printed."""
    try:
        lower_fully(parse(decode("fuzz.spat", data)), heads=4, layer=1, layers=4)
    except SparsecError as error:
        assert error.diagnostics
        assert str(error)


@given(damaged(TEXTS))
def test_damaged(data):
    reads(data)


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(files())
def test_any_file(file):
    """Texts that follow the grammar, and mostly nothing else."""
    reads(print_file(file).encode())


@pytest.mark.full
@settings(max_examples=100_000, deadline=None, suppress_health_check=list(HealthCheck))
@given(damaged(TEXTS))
def test_damaged_many(data):
    reads(data)


MANY = 8_000
HOSTILE = {
    "brackets": "pattern p = " + "(" * MANY + "causal" + ")" * MANY,
    "open brackets": "pattern p = " + "(" * 900_000,
    "complements": "pattern p = " + "~" * MANY + "causal",
    "minuses": "pattern p = k < " + "-" * MANY + "1",
    "powers": "pattern p = k < " + "1 ** " * MANY + "1",
    "sum": "pattern p = k < " + "1 + " * MANY + "1",
    "intersection": "pattern p = " + "causal & " * MANY + "causal",
    "union": "pattern p = " + "causal | " * MANY + "causal",
    "chain": "pattern p = " + "0 <= " * MANY + "q",
    "matches": "pattern p = " + "match h { else -> " * MANY + "causal" + "}" * MANY,
    "calls": "pattern p = " + "past(" * MANY + "1" + ")" * MANY,
    "lists": "pattern p = blocks(1, " + "[" * MANY + "]" * MANY + ")",
    "arms": "pattern p = match h { " + "".join(f"{i} -> causal\n" for i in range(MANY)) + "}",
    "overlapping arms": "pattern p = match h { " + "0 -> causal " * MANY + "}",
    "digits": "pattern p = past(" + "9" * 400 + ")",
    "a million digits": "pattern p = past(" + "9" * 999_000 + ")",
    "power tower": "pattern p = past(9 ** 9 ** 9 ** 9)",
    "large power": "pattern p = past(2 ** 2147483647)",
    "members": "pattern p = k in {" + "1, " * 4 * MANY + "1}",
    "table": "pattern p = blocks(1, [[" + "1, " * 4 * MANY + "1]])",
    "computed table": "pattern p(w = 1) = blocks(1, [[" + "w, " * 4 * MANY + "w]])",
    "parameters": "pattern p(" + ", ".join(f"a{i} = {i}" for i in range(MANY)) + ") = causal",
    "unknown names": "pattern p = " + " | ".join(f"no_such_set_{i}" for i in range(MANY)),
    "patterns": "".join(f"pattern p{i} = causal\n" for i in range(MANY)),
    "sets in a row": "set s0 = causal\n"
    + "".join(f"set s{i + 1} = s{i}\n" for i in range(MANY))
    + f"pattern p = s{MANY}",
    "sets in the opposite order": "".join(f"set s{i} = s{i + 1}\n" for i in range(MANY))
    + f"set s{MANY} = causal pattern p = s0",
    "a long cycle": "".join(f"set s{i} = s{i + 1}\n" for i in range(MANY)) + f"set s{MANY} = s0",
    "broken declarations": "pattern = \n" * 50_000,
    "unknown characters": "?" * 900_000,
    "an error behind many complements": "pattern p = " + "~" * 190_000 + "k :",
    "an error behind many calls": "pattern p = " + "past(" * 90_000 + "1 :",
    "errors behind long unions": ("pattern p = " + "causal | " * 4_000 + "causal :\n") * 20,
    "quotes": '"' * 900_001,
    "triple quotes": '"""' * 100_001,
    "backslashes in quotes": '"' + "\\" * 900_001,
    "one long line": "pattern p = causal" + " " * 900_000 + "?",
    "comments": "#" * 900_000 + "\n?",
    "controls": "\x00" * 900_000,
    "nothing": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile(name, in_time):
    start = time.process_time()
    reads(HOSTILE[name].encode())
    in_time(time.process_time() - start, 2)


def test_a_hundred_megabytes(tmp_path):
    path = tmp_path / "large.spat"
    with path.open("wb") as file:
        file.truncate(100_000_000)
    with pytest.raises(SparsecError, match="SP0801"):
        read(path)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("[" * 200_000, "SP0501"),
        ("[[" + "9" * 10_000 + "]]", "SP0501"),
        ("[[1, 2.0]]", "SP0501"),
        ("[[true]]", "SP0501"),
        ('[["\u202e"]]', "SP0501"),
        ("[[-1]]", "SP0501"),
        ("[0, 1]", "SP0501"),
        ("{}", "SP0501"),
        ("[]", "SP0501"),
        ("[[NaN]]", "SP0501"),
        ("", "SP0501"),
        (json.dumps([[]] * 1_000_001), "SP0502"),
    ],
)
def test_hostile_tables(tmp_path, text, code):
    (tmp_path / "t.json").write_text(text)
    (tmp_path / "p.spat").write_text('pattern p = blocks(4, "t.json")')
    with pytest.raises(SparsecError) as info:
        lower_fully(parse(read(tmp_path / "p.spat")))
    assert [item.code for item in info.value.diagnostics] == [code]


@pytest.mark.parametrize("name", ["missing.json", ".", "/dev/zero", "a\x00b", "", "pipe"])
def test_odd_files(tmp_path, name):
    import os

    os.mkfifo(tmp_path / "pipe")
    source = Source(str(tmp_path / "p.spat"), f'pattern p = blocks(4, "{name}")'.replace("\x00", "x"))
    with pytest.raises(SparsecError, match="SP0701"):
        lower_fully(parse(source))
