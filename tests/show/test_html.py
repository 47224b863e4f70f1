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

from sparsec.analysis.numbers import number
from sparsec.cli import app
from sparsec.ir import random, reference
from sparsec.lower.file import check_names, lower
from sparsec.lower.symbolic import open_operands
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
def browser_page(page_file: Path, opened_in):
    """The page, open in a headless Chromium without a network."""
    return opened_in(page_file)


@pytest.fixture
def opened_in() -> Iterator:
    """Opens a page in a headless Chromium without a network, with options of its context."""
    sync_api = pytest.importorskip("playwright.sync_api")
    with sync_api.sync_playwright() as tools:
        path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
        try:
            browser = tools.chromium.launch(executable_path=path, args=["--no-sandbox"])
        except sync_api.Error as error:
            pytest.skip(f"no browser: {str(error).splitlines()[0]}")
        problems = []

        def opened(path: Path, **options):
            page = browser.new_context(offline=True, **options).new_page()
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.on("console", lambda message: problems.append(message.text) if message.type == "error" else None)
            page.goto(path.as_uri())
            return page

        yield opened
        browser.close()
        assert not problems


def slide(page, name: str, value: int) -> None:
    page.locator(f'input[type=number][data-name="{name}"]').fill(str(value))


def point(page, q: int, k: int, n: int) -> str:
    """What is said of a pair where the canvas shows n x n of them."""
    side = page.evaluate("document.getElementById('mask').clientWidth")
    page.locator("#mask").hover(position={"x": (k + 0.5) * side / n + 1, "y": (q + 0.5) * side / n + 1})
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
    page.mouse.move(box["x"] + 1 + 10.5 * (box["width"] - 2) / 64, box["y"] + 1 + 0.5 * (box["height"] - 2) / 64)
    page.mouse.up()
    assert page.inner_text("#view") == "queries 32 to 95 down, keys 22 to 85 across"
    page.mouse.wheel(0, 100)
    assert "queries 32 to 95" not in page.inner_text("#view")
    page.click("#whole")
    assert page.inner_text("#view") == "queries 0 to 127 down, keys 0 to 127 across"


def test_long_masks_are_counted_after_they_are_drawn(browser_page) -> None:
    slide(browser_page, "n", 900)
    condition = lower(parse(Source("p", FILE))).conditions[0]
    kept = int(reference.mask(condition, 900, 900).sum())
    browser_page.get_by_text(f"{kept:,} of 810,000 pairs").wait_for()
    assert "about" not in browser_page.inner_text("#legend")
    slide(browser_page, "n", 1000)
    slide(browser_page, "n", 256)
    assert "of 65,536 pairs" in browser_page.inner_text("#total"), "counting ends where something else is shown"
    browser_page.wait_for_timeout(400)
    assert "of 65,536 pairs" in browser_page.inner_text("#total")
    assert browser_page.inner_text("#error") == ""


def test_pages_of_a_million_keys_say_what_sparsec_counted(tmp_path: Path) -> None:
    data = made(tmp_path, FILE, "--n", "1000000")
    condition = lower(parse(Source("p", FILE))).conditions[0]
    assert sum(data["known"]["counts"]) == number(condition, 1_000_000)
    assert data["known"]["view"] == data["view"] == {"q": 0, "k": 0, "high": 1_000_000, "wide": 1_000_000}


def test_arms_of_a_match_keep_their_operands(tmp_path: Path) -> None:
    text = (
        "pattern p(w = 8) = match layer { 0..2 -> past(w) | sinks(2), else -> match h { 0 -> full, else -> causal } }"
    )
    data = made(tmp_path, text, "--layers", "4", "--heads", "2", "--n", "32")
    assert [part["label"] for part in data["parts"]] == ["past(w)", "sinks(2)", "full", "causal"]
    names = {control["name"] for control in data["controls"]}
    assert names == {"n", "w", "layer", "h"}


@pytest.mark.parametrize("layer", [0, 3])
@pytest.mark.parametrize("head", [0, 1])
def test_operands_of_arms_are_the_mask(evaluate: Evaluate, tmp_path: Path, layer: int, head: int) -> None:
    text = (
        "pattern p(w = 8) = match layer { 0..2 -> past(w) | sinks(2), else -> match h { 0 -> full, else -> causal } }"
    )
    data = made(tmp_path, text, "--layers", "4", "--heads", "2", "--n", "32")
    names = {**data["names"], "layer": layer, "h": head}
    found = evaluate(["|", *(part["node"] for part in data["parts"])], names)
    pattern = lower(parse(Source("p", text)), layer=layer, heads=2)
    index = pattern.head_conditions[head] if pattern.head_conditions else 0
    assert (found == reference.mask(pattern.conditions[index], 32, 32)).all()


def test_other_calls_than_self_attention_have_sliders(tmp_path: Path) -> None:
    data = made(tmp_path, FILE, "--n", "9", "--n-q", "12", "--q-offset", "-2")
    assert data["call"] == {"n_q": 12, "q_offset": -2}
    assert data["view"] == {"q": -2, "k": 0, "high": 12, "wide": 9}
    assert {"n_q", "q_offset"} <= {control["name"] for control in data["controls"]}
    condition = lower(parse(Source("p", FILE))).conditions[0]
    assert sum(data["known"]["counts"]) == reference.mask(condition, 12, 9, -2).sum()


def made(folder: Path, text: str, *options: str) -> dict:
    """What the page of a text has to go by."""
    source, target = folder / "p.spat", folder / "p.html"
    source.write_text(text)
    result = CliRunner().invoke(app, ["show", str(source), *options, "-o", str(target)])
    assert result.exit_code == 0, result.output
    page = target.read_text()
    assert '<meta name="viewport" content="width=device-width' in page
    return json.loads(page.split('id="data">')[1].split("</script>")[0])


@pytest.mark.parametrize(("width", "dark"), [(360, False), (1200, False), (360, True)])
def test_the_page_fits_a_phone_and_the_night(page_file: Path, opened_in, width: int, dark: bool) -> None:
    page = opened_in(
        page_file, viewport={"width": width, "height": 700}, device_scale_factor=3, color_scheme=["light", "dark"][dark]
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "nothing is cut off"
    drawn, shown = page.evaluate("[document.getElementById('mask').width, document.getElementById('mask').clientWidth]")
    assert drawn == 3 * shown, "a pixel for each of the screen"
    lefts = page.evaluate(
        "[...document.querySelectorAll('input[type=range]')].map((x) => x.getBoundingClientRect().left)"
    )
    assert len(set(lefts)) == 1, "sliders stand in line"
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    light = sum(map(int, ground[4:-1].split(","))) / 3
    assert light < 64 if dark else light > 192
