"""`sparsec bench`: nothing wrong is timed, everything is written down, and the tables are drawn from it."""

from __future__ import annotations

import importlib
import json
import re
import sys
import types
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.generated import EXAMPLES, mask_of

import sparsec.bench.run
from sparsec import pipeline
from sparsec.bench import own_peers
from sparsec.bench.flash_peers import window_of
from sparsec.bench.packed_peers import PACKED_PEERS
from sparsec.bench.peers import PEERS
from sparsec.bench.race import Racer, Tensors, race
from sparsec.bench.run import bench
from sparsec.bench.setting import CPU, defaults, drawn_documents
from sparsec.cli import main
from sparsec.codegen import support
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read
from sparsec.testing.dense_attention import Comparison
from sparsec.testing.verify import Tried

DOCS = Path(__file__).parents[2] / "docs/benchmarks"
SMALL = replace(CPU, n=96, head_size=16, repeats=2)


def of(text: str) -> pipeline.Compiled:
    return pipeline.compile(Source("test", text))


def command(monkeypatch, capsys, *arguments) -> tuple[int | None, list[str], str]:
    monkeypatch.setattr(sys, "argv", ["sparsec", "bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as end:
        main()
    said = capsys.readouterr()
    return end.value.code or 0, said.out.splitlines(), said.err


def test_a_run():
    (run,) = bench(
        [of("pattern p = causal")], replace(SMALL, kv_heads=1, against=("flex", "sdpa")), torch.device("cpu")
    )
    assert run["pairs"] == 2 * 96 * 97 // 2
    assert set(run["racers"]) == {"ours", "sdpa"}
    assert "GPU" in run["notes"]["flex"]
    for facts in run["racers"].values():
        for kind in ("forward", "backward"):
            times = facts["ms"][kind]
            assert len(times["all"]) == 2
            assert 0 < times["min"] <= times["median"] <= times["max"]
    assert run["racers"]["sdpa"]["same_pattern"]
    assert run["racers"]["sdpa"]["difference"] < 1e-5
    median = run["racers"]["ours"]["ms"]["backward"]["median"]
    assert run["racers"]["ours"]["tflops"]["backward"] == pytest.approx(10 * 16 * run["pairs"] / median / 1e9)


def test_documents():
    """Pairs and results are those of each document; what can't keep them apart does not take part."""
    setting = replace(SMALL, n=50, documents=(30, 1, 19), against=("varlen", "sdpa"))
    (run,) = bench([of("pattern p = past(7)")], setting, torch.device("cpu"))
    assert run["pairs"] == 2 * sum(min(q + 1, 7) for n in (30, 1, 19) for q in range(n))
    error, bound = run["errors"]["documents"]
    assert error <= bound
    assert set(run["racers"]) == {"ours"}
    assert "none is sdpa" in run["notes"]["sdpa"]


def flash_attention(calls):
    """In the place of flash_attn.cute: tokens first, (out, log-sum-exp), the window as (back, ahead)."""

    def attend(q, k, v, causal=False, window_size=(None, None), deterministic=False, **documents):
        calls.append({"causal": causal, "window": window_size, "deterministic": deterministic})
        back, ahead = (None, 0) if causal else window_size
        at = torch.arange(q.shape[-3])
        away = at[:, None] - at
        mask = (away <= (len(at) if back is None else back)) & (-away <= (len(at) if ahead is None else ahead))
        if documents:
            assert documents["max_seqlen_q"] == documents["max_seqlen_k"]
            number = torch.bucketize(at, documents["cu_seqlens_q"][1:].long(), right=True)
            mask &= number[:, None] == number
        rows = (x.transpose(-3, -2) for x in (q, k, v))
        out = torch.nn.functional.scaled_dot_product_attention(*rows, attn_mask=mask, enable_gqa=True)
        return out.transpose(-3, -2), None

    module = types.ModuleType("flash_attn.cute")
    module.flash_attn_func = module.flash_attn_varlen_func = attend
    return {"flash_attn": types.ModuleType("flash_attn"), "flash_attn.cute": module}


@pytest.mark.parametrize(
    ("text", "window"),
    [
        ("causal", (None, 0)),
        ("q - k < 9 & causal | past(9)", (8, 0)),
        ("abs(q - k) <= 3", (3, 3)),
        ("k < n", (None, None)),
        ("k <= q + 4", (None, 4)),
        ("past(9) \\ past(3)", None),
        ("past(9) & k != 30", None),
        ("causal with softcap(3)", None),
    ],
)
def test_flash_attention_is_told_the_window(text, window, monkeypatch):
    """However it is written, also of documents; what is no window is refused."""
    calls: list[dict] = []
    for name, module in flash_attention(calls).items():
        monkeypatch.setitem(sys.modules, name, module)
    pattern = of(f"pattern p = {text}").pattern
    q, k, v = (torch.randn(1, heads, 50, 16) for heads in (2, 1, 1))
    number = torch.repeat_interleave(torch.arange(3), torch.tensor([30, 1, 19]))
    for ends in (None, torch.tensor([0, 30, 31, 50], dtype=torch.int32)):
        known = PEERS if ends is None else PACKED_PEERS
        tensors = Tensors(q, k, v, q, ends)
        if window is None:
            with pytest.raises(NotImplementedError, match="it knows"):
                known["fa4"](pattern, tensors)
            continue
        mask = torch.as_tensor(mask_of(pattern, 50, 50))
        mask = mask if ends is None else mask & (number[:, None] == number)
        wanted = torch.nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=True)
        told = {"causal": True, "window": (None, None)} if window == (None, 0) else {"causal": False, "window": window}
        for name, deterministic in (("fa4", False), ("fa4-deterministic", True)):
            attend, _, same = known[name](pattern, tensors)
            assert same
            torch.testing.assert_close(attend(q, k, v), wanted)
            assert calls[-1] == told | {"deterministic": deterministic}


@given(st.integers(0, 40), st.integers(0, 40), st.integers(2, 9))
@settings(max_examples=6, deadline=None)
def test_windows_are_known_however_they_are_written(back, ahead, step):
    """By their pairs alone: cut in two along q, and along distances."""
    window = f"q - k <= {back} & k - q <= {ahead}"
    text = f"({window}) & q % {step} == 0 | ({window}) & q % {step} != 0 & q >= k | ({window}) & q < k"
    assert window_of(lower(parse(Source("test", f"pattern p = {text}")))) == (back, ahead)


def test_cudnn_is_asked_for_what_it_knows():
    with pytest.raises(NotImplementedError, match="no window"):
        PEERS["cudnn"](of("pattern p = past(9)").pattern, None)


def test_the_operator_itself_is_raced_in_any_order(monkeypatch):
    """Where it has kernels that go faster so; of documents, too."""
    pattern, (q, k, v) = of("pattern p = causal").pattern, torch.randn(3, 1, 2, 50, 16)
    ends = torch.tensor([0, 30, 50], dtype=torch.int32)
    with pytest.raises(NotImplementedError, match="all sums have one order"):
        PEERS["nondeterministic"](pattern, Tensors(q, k, v, q))
    monkeypatch.setattr(own_peers, "machine_lacks", lambda device: "")
    for known, tensors in ((PEERS, Tensors(q, k, v, q)), (PACKED_PEERS, Tensors(q, k, v, q, ends))):
        attend, _, same = known["nondeterministic"](pattern, tensors)
        assert same and attend.keywords == {"deterministic": False, **tensors.keywords}
        assert torch.equal(attend(q, k, v), sparsec.compile("pattern p = causal")(q, k, v, **tensors.keywords))


def test_documents_that_run_into_each_other_are_not_timed(monkeypatch):
    def whole(*_, **__):
        return lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True)

    monkeypatch.setattr(sparsec.bench.run, "partial", whole)
    setting = replace(SMALL, n=50, documents=(20, 30), against=())
    (run,) = bench([of("pattern p = causal")], setting, torch.device("cpu"))
    assert "documents packed and alone differ" in run["wrong"][0]
    assert "racers" not in run


def test_drawn_documents():
    drawn = drawn_documents(18, 65536, 0)
    assert sum(drawn) == 65536
    assert len(drawn) == 18
    assert max(drawn) <= 130 * min(drawn)
    assert drawn == drawn_documents(18, 65536, 0) != drawn_documents(18, 65536, 1)
    assert drawn_documents(9, 9, 0) == (1,) * 9


def test_the_yardstick_is_not_compared():
    (run,) = bench([of("pattern p = past(7)")], SMALL, torch.device("cpu"))
    assert not run["racers"]["sdpa"]["same_pattern"]
    assert "difference" not in run["racers"]["sdpa"]


def test_what_is_wrong_is_not_timed(monkeypatch):
    monkeypatch.setattr(sparsec.bench.run, "verify", lambda *_: Tried([Comparison("dq", 1.0, 0.1)], True))
    (run,) = bench([of("pattern p = causal")], SMALL, torch.device("cpu"))
    assert run["wrong"] == ["dq  1.0e+00 >  1.0e-01"]
    assert "racers" not in run


def test_a_peer_that_differs_is_not_timed(monkeypatch):
    def other(pattern, tensors):
        return lambda q, k, v: 2 * torch.nn.functional.scaled_dot_product_attention(q, k, v), {}, True

    monkeypatch.setitem(sparsec.bench.run.peers.PEERS, "sdpa", other)
    (run,) = bench([of("pattern p = causal")], SMALL, torch.device("cpu"))
    assert set(run["racers"]) == {"ours"}
    assert "differ from ours" in run["notes"]["sdpa"]


def test_one_failure_does_not_end_it(monkeypatch):
    made = of("pattern p = causal")
    runs = list(bench([replace(made, function="missing"), made], SMALL, torch.device("cpu")))
    assert "AttributeError" in runs[0]["failed"]
    assert "racers" in runs[1]


def test_turns():
    """Racers take turns, and long races are cut short."""
    turns, x = [], torch.ones(1, 1, 2, 16)

    def racer(name):
        return Racer(name, lambda q, k, v: turns.append(name) or q + k + v)

    racers = [racer("a"), racer("b")]
    race(racers, Tensors(*(x.clone().requires_grad_() for _ in range(3)), x), repeats=40, most_seconds=0)
    assert turns == ["a", "b"] * 8  # 3 rounds to warm up, and no fewer than 5
    assert all(len(times) == 5 for each in racers for times in (*each.ms.values(), *each.host_ms.values()))


def test_defaults():
    gpu = defaults(torch.device("cuda"), heads=32, n=None)
    assert (gpu.n, gpu.heads, gpu.kv_heads, gpu.dtype) == (32768, 32, 32, "bf16")
    assert defaults(torch.device("cpu"), heads=8, kv_heads=2).kv_heads == 2


# ---------------------------------------------------------------- the command, the patterns, the tables


def test_command(monkeypatch, capsys, tmp_path):
    out = tmp_path / "out.json"
    files = [EXAMPLES / "longformer.spat", EXAMPLES / "mistral.spat"]
    status, lines, _ = command(
        monkeypatch, capsys, *files, "--n", 96, "--head-size", 16, "--repeats", 2, "-D", "w=32", "--json", out
    )
    assert status == 0, lines
    assert [line.split()[0] for line in lines[1:]] == ["longformer", "mistral"]
    found = json.loads(out.read_text())
    assert [run["parameters"]["w"] for run in found["runs"]] == [32, 32]
    assert found["command"][:2] == ["sparsec", "bench"]
    assert {"time", "device", "driver", "versions", "setting", "ceilings"} <= found.keys()


@pytest.mark.parametrize(
    "arguments",
    [
        ["--against", "flax"],
        ["--head-size", 20],
        ["--heads", 4, "--kv-heads", 3],
        ["--documents", 3, "--n", "64,128"],
        ["--documents", "3,4", "--n", 8],
        ["--documents", 3, "--batch", 2],
        ["--documents", 80, "--n", 64],
    ],
)
def test_wrong_usage(monkeypatch, capsys, arguments):
    assert command(monkeypatch, capsys, EXAMPLES / "mistral.spat", *arguments)[0] == 2


def test_unwritable(monkeypatch, capsys, tmp_path):
    status, _, errors = command(
        monkeypatch,
        capsys,
        EXAMPLES / "mistral.spat",
        "--n",
        64,
        "--against",
        "none",
        "--json",
        tmp_path / "no/out.json",
    )
    assert status == 1
    assert "SP0702" in errors


@pytest.mark.parametrize("path", sorted((DOCS / "patterns").glob("*.spat")), ids=lambda path: path.stem)
def test_patterns_are_sound(path):
    assert lower(parse(read(str(path))), heads=16).name == path.stem


def test_tables(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    table = importlib.import_module("table")
    monkeypatch.setattr(table, "FOLDER", tmp_path)
    setting = replace(SMALL, against=("flex", "sdpa"))
    made = [of("pattern p = causal | k < 3"), replace(of("pattern x = causal"), function="missing")]
    report = sparsec.bench.run.report(setting, torch.device("cpu"), ["sparsec", "bench"])
    report["runs"] = list(bench(made, setting, torch.device("cpu")))
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw/small.json").write_text(json.dumps(report))
    (tmp_path / "README.md").write_text(f"above\n{table.TABLES[0]}\nold\n{table.TABLES[1]}\nbelow\n")
    table.main()
    page = (tmp_path / "README.md").read_text()
    assert page.startswith("above\n")
    assert page.endswith("\nbelow\n")
    assert "old" not in page
    rows = [line for line in page.splitlines() if line.startswith("| p: `causal \\| k < 3` | 96 | 2/2 | 16 | fp32 |")]
    assert len(rows) == 1
    assert rows[0].endswith("x (causal, predicted 1.00) |")
    assert "| failed |" in page
    table.main()
    assert (tmp_path / "README.md").read_text() == page


@pytest.mark.parametrize("page", ["README.md", "docs/index.md", "docs/benchmarks/README.md"])
def test_speed_is_drawn_and_not_typed(monkeypatch, page):
    monkeypatch.syspath_prepend(str(DOCS))
    speed = importlib.import_module("speed")
    lines = list(speed.summary(speed.read(DOCS / "raw")))
    assert "\n".join(lines) in (DOCS.parents[1] / page).read_text()


def test_chart_of_speed(monkeypatch):
    """Two bars for each row of the table."""
    pytest.importorskip("matplotlib")
    monkeypatch.syspath_prepend(str(DOCS))
    plot, speed = importlib.import_module("plot"), importlib.import_module("speed")
    reports = speed.read(DOCS / "raw")
    [axes] = plot.draw_speed(reports).axes
    races = [race.factors for race in speed.races(reports)]
    widths = [bar.get_width() for bar in axes.patches]
    assert sorted(widths) == sorted(factor for each in races for factor in each.values())


# ---------------------------------------------------------------- against a module of another sparsec

NEAR = "pattern near = past(20)"


def written(folder: Path, more: str = "") -> Path:
    """The module of `near` with its library in it, and something else at its end."""
    (folder / "near.py").write_text(support.standalone(of(NEAR).source) + more)
    return folder / "near.py"


def against_file(monkeypatch, capsys, file: Path, *more: str) -> tuple[int | None, list[str], str]:
    small = ("--n", 70, "--head-size", 16, "--repeats", 1, "--against", "none")
    return command(monkeypatch, capsys, "-e", NEAR, *small, "--against-file", file, *more)


def test_against_a_file(monkeypatch, capsys, tmp_path):
    """Its library is its own, so that an operator is not compared with itself."""
    code, (_, line), _ = against_file(monkeypatch, capsys, written(tmp_path), "--json", str(tmp_path / "found.json"))
    assert code == 0
    assert re.search(r"file [\d.]+ / [\d.]+ \([\d.]+ / [\d.]+ x\)  the same bits$", line)
    (run,) = json.loads((tmp_path / "found.json").read_text())["runs"]
    assert run["racers"]["file"]["same_bits"] == dict.fromkeys(("out", "lse", "dq", "dk", "dv"), True)


def test_a_file_with_other_results(monkeypatch, capsys, tmp_path):
    spoilt = """
_near = near
def near(q, k, v, return_lse=False):
    out, lse = _near(q, k + 0 * k.detach() + (k.detach() > 0) * 1e-3, v, return_lse=True)
    return (out, lse) if return_lse else out
"""
    code, (_, line), _ = against_file(monkeypatch, capsys, written(tmp_path, spoilt))
    assert code == 1
    assert line.endswith("OTHER BITS in out, lse, dq, dk, dv")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("1 +", "is no module that `sparsec compile --standalone` wrote: invalid syntax"),
        ("import not_there", "wrote: No module named 'not_there'"),
        ("x = 1", "has no function near"),
    ],
)
def test_files_that_are_no_modules(monkeypatch, capsys, tmp_path, text, says):
    (tmp_path / "other.py").write_text(text)
    code, _, errors = against_file(monkeypatch, capsys, tmp_path / "other.py")
    assert code == 2
    assert says in " ".join(errors.split())


def test_a_file_stands_against_one_pattern(monkeypatch, capsys, tmp_path):
    code, _, errors = against_file(monkeypatch, capsys, written(tmp_path), str(EXAMPLES / "mistral.spat"))
    assert code == 2
    assert "is about one pattern, and 2 are given" in errors
