"""The page: its evaluator against the dense reference in node, and the whole of it in a headless browser."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from sparsec.cli import app
from sparsec.ir import random, reference
from sparsec.ir.lower import check_names, lower
from sparsec.ir.lower_open import open_operands
from sparsec.source import Source
from sparsec.syntax.parse import parse
from sparsec.syntax.read import read
from sparsec.testing.programs import programs

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.spat"))
SERVER = """
const { compile } = require(process.argv[1]);
require("readline").createInterface({ input: process.stdin }).on("line", (line) => {
  const { node, names, n } = JSON.parse(line);
  let answer;
  try {
    const holds = compile(node, names);
    answer = [];
    for (let q = 0; q < n; q++) {
      let row = "";
      for (let k = 0; k < n; k++) row += holds(q, k) ? "1" : "0";
      answer.push(row);
    }
  } catch (error) {
    answer = String(error);
  }
  console.log(JSON.stringify(answer));
});
"""
Evaluate = Callable[[list, dict], np.ndarray | str]


@pytest.fixture(scope="module")
def evaluate() -> Iterator[Evaluate]:
    """Bool [n, n] of a node and what its names are bound to, or the message of an error, as node says."""
    if not (node := shutil.which("node")):
        pytest.skip("no node")
    command = [node, "-e", SERVER, str(ROOT / "sparsec/show/mask.js")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

        def asked(tree: list, names: dict) -> np.ndarray | str:
            process.stdin.write(json.dumps({"node": tree, "names": names, "n": names["n"]}) + "\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            return answer if isinstance(answer, str) else np.array([[each == "1" for each in row] for row in answer])

        yield asked
        process.stdin.close()


def opened(file, name: str) -> list:
    return ["|", *(node for _, node in open_operands(check_names(file).own[name]))]


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("n", [1, 37, 96])
def test_examples(evaluate: Evaluate, path: Path, n: int) -> None:
    file = parse(read(str(path)))
    pattern = lower(file, heads=8, layer=3, layers=8)
    for head in (0, 5):
        condition = pattern.conditions[pattern.head_conditions[head] if pattern.head_conditions else 0]
        names = {"n": n, "h": head, "H": 8, "layer": 3, "L": 8, **dict(pattern.parameters)}
        assert (evaluate(opened(file, pattern.name), names) == reference.mask(condition, n, n)).all()


@given(programs(), st.integers(1, 24))
def test_random_programs(evaluate: Evaluate, program, n: int) -> None:
    file = parse(Source("random", program.text))
    tree = opened(file, next(each.name for each in file.definitions if each.kind == "pattern"))
    for head in range(program.heads or 1):
        condition = program.conditions[head if program.heads else 0]
        found = evaluate(tree, {"n": n, "h": head, "H": program.heads or 1})
        assert (found == reference.mask(condition, n, n)).all()


TEXT = """
set comb(s, phase = s // 2) = causal & k % s == phase
pattern p(w = 8, s = 4, b = 4) =
    past(w) | comb(s) | blocks(b, [[0, w // 4], [1]]) | random_blocks(b, 2, seed = w) | k in {0, n - w}
    | abs(q - k) == 2 ** s
"""


@given(st.integers(1, 30), st.integers(1, 9), st.integers(1, 9), st.integers(1, 60))
def test_parameters_are_open(evaluate: Evaluate, w: int, s: int, b: int, n: int) -> None:
    file = parse(Source("p", TEXT))
    condition = lower(file, parameters={"w": w, "s": s, "b": b}).conditions[0]
    found = evaluate(opened(file, "p"), {"n": n, "w": w, "s": s, "b": b})
    assert (found == reference.mask(condition, n, n)).all()


@pytest.mark.parametrize(("s", "said"), [(0, "modulus is 0"), (60, "beyond 2 ** 53")])
def test_values_that_make_no_pattern_are_said(evaluate: Evaluate, s: int, said: str) -> None:
    found = evaluate(opened(parse(Source("p", TEXT)), "p"), {"n": 16, "w": 1, "s": s, "b": 1})
    assert isinstance(found, str)
    assert said in found


@pytest.mark.parametrize("seed", [0, 1, 2**31 - 1])
def test_choices_among_many_are_the_same(seed: int) -> None:
    """Products of 63 bits."""
    if not (node := shutil.which("node")):
        pytest.skip("no node")
    limits = [1, 3, 2**20, 2**31 - 2]
    ask = f"const rows = {limits}.map((m, i) => [...require(process.argv[1]).distinct(5, {seed}, i, m)]);"
    command = [node, "-e", ask + "console.log(JSON.stringify(rows))", str(ROOT / "sparsec/show/mask.js")]
    found = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    drawn = random.distinct(5, seed, np.arange(len(limits)), np.array(limits))
    assert found == [[x for x in row if x >= 0] for row in drawn.tolist()]


# ---------------------------------------------------------------- the page

HOSTILE = '"""</script><script>window.hit = 1</script><img src=x onerror="window.hit = 2">"""\n'
FILE = HOSTILE + "pattern p(w = 16) = past(w) | sinks(4) | k in {0, 1 }  # <b>\n"


@pytest.fixture
def page_file(tmp_path: Path) -> Path:
    source, target = tmp_path / "p.spat", tmp_path / "p.html"
    source.write_text(FILE)
    result = CliRunner().invoke(app, ["show", str(source), "--n", "256", "-o", str(target)])
    assert result.exit_code == 0, result.output
    return target


def test_no_text_of_the_user_is_markup(page_file: Path) -> None:
    text = page_file.read_text()
    assert "<img" not in text
    assert text.count("<script") == 3
    assert "http://" not in text.replace("http-equiv", "")
    assert "https://" not in text


@pytest.fixture
def browser_page(page_file: Path) -> Iterator:
    """The page, open in a headless Chromium without a network."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as tools:
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        try:
            browser = tools.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        page = browser.new_context(offline=True).new_page()
        problems = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
        page.goto(page_file.as_uri())
        yield page
        browser.close()
        assert not problems


def slide(page, name: str, value: int) -> None:
    page.locator(f'input[type=number][data-name="{name}"]').fill(str(value))


def point(page, q: int, k: int, n: int) -> str:
    """What is said of a pair where the canvas shows n x n of them."""
    page.locator("#mask").hover(position={"x": (k + 0.5) * 512 / n, "y": (q + 0.5) * 512 / n})
    return page.inner_text("#hover")


def test_page_in_a_browser(browser_page) -> None:
    page = browser_page
    assert page.evaluate("window.hit") is None
    condition = lower(parse(Source("p", FILE))).conditions[0]
    kept = int(reference.mask(condition, 256, 256).sum())
    assert f"{kept:,} of 65,536 pairs" in page.inner_text("#total")
    assert point(page, 100, 90, 256) == "(q, k) = (100, 90)\nin past(w)\ntile 1, 1: partial (904 of 4096 pairs)"
    assert "in sinks(4), k in {0, 1 }" in point(page, 200, 1, 256)
    assert "in no part" in point(page, 10, 200, 256)

    slide(page, "w", 40)
    slide(page, "n", 128)
    wider = lower(parse(Source("p", FILE)), parameters={"w": 40}).conditions[0]
    assert f"{int(reference.mask(wider, 128, 128).sum()):,} of 16,384 pairs" in page.inner_text("#total")
    assert "in past(w)" in point(page, 100, 70, 128)

    page.click("#in")
    assert page.inner_text("#view") == "queries 32 to 95 down, keys 32 to 95 across"
    assert "(q, k) = (32, 32)" in point(page, 0, 0, 64)
    page.mouse.down()
    box = page.locator("#mask").bounding_box()
    page.mouse.move(box["x"] + 85, box["y"] + 5)
    page.mouse.up()
    assert page.inner_text("#view") == "queries 32 to 95 down, keys 22 to 85 across"
    page.mouse.wheel(0, 100)
    assert "queries 32 to 95" not in page.inner_text("#view")
    page.click("#whole")
    assert page.inner_text("#view") == "queries 0 to 127 down, keys 0 to 127 across"


def test_long_masks_are_sampled_in_the_page(browser_page) -> None:
    slide(browser_page, "n", 4096)
    assert "about" in browser_page.inner_text("#total")
    assert browser_page.inner_text("#error") == ""
