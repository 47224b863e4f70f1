"""What is refused, with which code, and which words of the text the caret is under."""

import pytest

from sparsec.diagnostics import SparsecError
from sparsec.lower.file import lower
from sparsec.source import Source
from sparsec.syntax.parse import parse

# text with the marked words between « and », and the code
ONE_ERROR = [
    # the two sorts
    ("pattern p = q <= k & «3»", "SP0203"),
    ("pattern p = («q <= k») <= 3", "SP0202"),
    ("pattern p = k in 0..4 | «5»", "SP0203"),
    ("pattern p = «4»", "SP0203"),
    ("pattern p = ~«q»", "SP0203"),
    ("pattern p = causal \\ «q»", "SP0203"),
    ("pattern p = k < «causal» + 1", "SP0202"),
    ("pattern p = k in «causal»..4", "SP0202"),
    ("pattern p = k in {«causal», 1}", "SP0202"),
    ("pattern p = past(«causal»)", "SP0202"),
    ("pattern p = past(abs(«causal»))", "SP0202"),
    ("pattern p = match «causal» { else -> causal }", "SP0202"),
    ("pattern p = match h { 0 -> causal, else -> «5» }", "SP0203"),
    ("pattern p = past(match h { 0 -> 4, else -> «causal» })", "SP0202"),
    ("pattern p = k in «4»", "SP0104"),
    ("pattern p = k in «causal»", "SP0104"),
    ("pattern p = past(«[4]»)", "SP0212"),
    ('pattern p = past(«"4"»)', "SP0212"),
    # names
    ("pattern p = «pas»(4)", "SP0201"),
    ("pattern p = k < «w»", "SP0201"),
    ("set s = k < «w» pattern p(w = 4) = s", "SP0201"),
    ("pattern p = «True»", "SP0201"),
    ("pattern p = k in «range(0, 4)»", "SP0104"),
    ("pattern p = «past»", "SP0204"),
    ("pattern p = «past()»", "SP0204"),
    ("pattern p = «past(1, 2)»", "SP0204"),
    ("pattern p = «causal(1)»", "SP0204"),
    ("pattern p = past(«v = 4»)", "SP0204"),
    ("pattern p = past(4, «w = 4»)", "SP0204"),
    ("pattern p = dilated(w = 4, «2»)", "SP0204"),
    ("pattern p = k < «abs»", "SP0204"),
    ("pattern p = k < «min(3)»", "SP0204"),
    ("pattern p = «blocks(3)»", "SP0204"),
    ("set s = causal set «s» = full pattern p = s", "SP0205"),
    ("set p = causal pattern «p» = full", "SP0205"),
    ("pattern p(a = 1, «a = 2») = causal", "SP0205"),
    ("pattern p = «p»", "SP0206"),
    ("pattern causal = «causal» & past(4)", "SP0206"),
    ("set a = b set b = ~c set c = causal | «a» pattern p = a", "SP0206"),
    *((f"pattern p(«{name} = 3») = causal", "SP0207") for name in ("q", "k", "n", "h", "H", "layer", "L", "heads")),
    *((f"pattern p(«{name}» = 3) = causal", "SP0207") for name in ("pattern", "set", "use", "input", "match", "in")),
    ("set «q» = causal pattern p = causal", "SP0207"),
    ("set «else» = causal pattern p = causal", "SP0207"),
    # numbers
    ("pattern p = q % «k» == 0", "SP0301"),
    ("pattern p = k // («n // 8») == 0", "SP0301"),
    ("pattern p = past(2 ** «q»)", "SP0301"),
    ("pattern p = past(«q» ** 2)", "SP0301"),
    ("pattern p(w = «n») = past(w)", "SP0301"),
    ("pattern p(w = 2 ** «h») = past(w)", "SP0301"),
    ("pattern p = «stride(q)»", "SP0301"),
    ("pattern p = random_keys(«q», 1)", "SP0301"),
    ("pattern p = random_keys(1, «q»)", "SP0301"),
    ("pattern p = blocks(«k», [[1]])", "SP0301"),
    ("pattern p = blocks(1, [[«k»]])", "SP0301"),
    ("pattern p = match «q» { else -> causal }", "SP0301"),
    ("pattern p = match layer { «q»..3 -> causal, else -> full }", "SP0301"),
    ("pattern p = «stride(0)»", "SP0302"),
    ("pattern p = «stride(-4)»", "SP0302"),
    ("pattern p = q // «0» == 0", "SP0302"),
    ("pattern p(s = 0) = q % «s» == 0", "SP0302"),
    ("pattern p = 4 // «0» == 0", "SP0302"),
    ("pattern p = «q * k» < 4", "SP0303"),
    ("pattern p = «n * n» < 4", "SP0303"),
    ("pattern p = past(2 ** «-1»)", "SP0304"),
    ("pattern p = past(«2 ** 31»)", "SP0305"),
    ("pattern p = past(«2147483648»)", "SP0305"),
    ("pattern p = past(«65536 * 65536»)", "SP0305"),
    ("pattern p = causal & («(k * 1103515245 + 12345) * 1103515245» % 1000003 % 4 == 0)", "SP0307"),
    ("pattern p = «k * 1000000 * 1000000» * 1000000 >= 0", "SP0307"),
    ("pattern p = causal & («-q * 2147483647 * 5» <= k)", "SP0307"),
    ("set a(x) = «x * 2 ** 30 * 2 ** 30» > k pattern p = causal & a(abs(q - k))", "SP0307"),
    ("pattern p = random_blocks(«0», 1, 1)", "SP0306"),
    ("pattern p = random_blocks(1, «0», 1)", "SP0306"),
    ("pattern p = random_keys(«10 ** 9», 1)", "SP0306"),
    ("pattern p = random_keys(1, «-1»)", "SP0306"),
    ("pattern p = blocks(«0», [[1]])", "SP0306"),
    # match
    ("pattern p = «match h { 0..3 -> causal }»", "SP0403"),
    ("pattern p = match h { 0..3 -> causal, «2..4» -> full }", "SP0404"),
    ("pattern p = match h { 0 | 1 | «0» -> causal, else -> full }", "SP0404"),
    ("pattern p = match h { else -> causal, «else -> full» }", "SP0404"),
    ("pattern p(g = 2) = match h { 0..3 -> causal, «g..H» -> full }", "SP0404"),
    # tables
    ("pattern p = blocks(1, [«0», 1])", "SP0501"),
    ("pattern p = blocks(1, [[0], [«[1]»]])", "SP0501"),
    ("pattern p = blocks(1, [[0], «1»])", "SP0501"),
    ("pattern p = blocks(1, «[]»)", "SP0501"),
    ("pattern p = blocks(1, «[[-1]]»)", "SP0501"),
    ("pattern p = blocks(1, «4»)", "SP0501"),
    ("pattern p = blocks(1, [[0, «causal»]])", "SP0202"),
    ("pattern p = blocks(1, [[0, «w»]])", "SP0201"),
    # not in this version
    ("pattern p = «reformer»", "SP0107"),
    ("pattern p = «topk(16)»", "SP0107"),
    ("pattern p = selected(«sel»)", "SP0216"),
    ("input sel: int[t] pattern p = selected(«sel»)", "SP0216"),
    ("pattern p = lsh(«63», 2, 64, 1)", "SP0309"),
    ("pattern p = lsh(«0», 2, 64, 1)", "SP0306"),
    ("pattern p = lsh(64, «65», 64, 1)", "SP0306"),
    ("pattern p = lsh(64, «n», 64, 1)", "SP0301"),
    ("pattern p = «lsh(64, 2)»", "SP0204"),
    ("pattern p = routed(«mu», 8)", "SP0224"),
    ("input mu: keys[t] pattern p = routed(«mu», 8)", "SP0224"),
    ("input mu: centroids[4] pattern p = routed(mu, «0»)", "SP0306"),
    ("input mu: centroids[4] pattern p = causal & «mu»", "SP0215"),
    ("input mu: centroids[«0»] pattern p = routed(mu, 8)", "SP0214"),
    ("input mu: «centroids»[4, 8] pattern p = routed(mu, 8)", "SP0214"),
    ("input s: scores[8, «t»] pattern p = top_blocks(2, 8, score = s)", "SP0214"),
    ("input s: scores[8, 8] pattern p = top_blocks(2, 8, score = «s»)", "SP0225"),
    ("input s: int[n] pattern p = top_blocks(2, 8, score = «s»)", "SP0224"),
    ("pattern p = top_blocks(2, 8, among = «lsh(4, 2, 8, 0)»)", "SP0218"),
    ("input sel: keys[t] pattern p = causal & «sel»", "SP0215"),
    ("input sel: keys[«n»] pattern p = selected(sel)", "SP0214"),
    ("input sel: blocks[«w», 8, t] pattern p = selected(sel)", "SP0214"),
    ("input sel: «blocks»[8, t] pattern p = selected(sel)", "SP0214"),
    ("pattern p = top_blocks(2, 8, score = «median»)", "SP0217"),
    ("pattern p = top_blocks(2, 8, over = «3»)", "SP0217"),
    ("pattern p = top_blocks(2, 8, among = «7»)", "SP0203"),
    ("pattern p = top_blocks(2, 8, among = «random_keys(2, 3)»)", "SP0218"),
    ("pattern p = top_blocks(2, 8, keep = «top_keys(4)»)", "SP0218"),
    ("input doc: int[n] pattern p = top_blocks(2, 8, among = «doc[q] == doc[k]»)", "SP0218"),
    # inputs
    ("pattern p = «doc»[q] == 3", "SP0201"),
    ("input doc: «double»[n] pattern p = doc[q] == 3", "SP0214"),
    ("input doc: int[«4»] pattern p = doc[q] == 3", "SP0214"),
    ("input doc: int[«q»] pattern p = doc[q] == 3", "SP0214"),
    ("input doc: int[n, «B»] pattern p = doc[q] == 3", "SP0214"),
    ("input doc: int[H, «B»] pattern p = doc == 3", "SP0214"),
    ("input doc: int[n, «t»] pattern p = doc[q] == 3", "SP0214"),
    ("input doc: int[B, «B»] pattern p = doc == 3", "SP0214"),
    *(
        (f"input «{name}»: int pattern p = causal", "SP0207")
        for name in ("q", "n", "layer", "v", "scale", "self", "in")
    ),
    ("input a: int set «a» = causal pattern p = causal", "SP0205"),
    ("input a: int input «a»: bool pattern p = k < a", "SP0205"),
    ("input a: int pattern p(«a = 3») = past(a)", "SP0205"),
    ("input a: int pattern p(w = «a») = past(w)", "SP0301"),
    ("input doc: int[n] pattern p = «doc» == doc[k]", "SP0215"),
    ("input doc: int[n] pattern p = «doc[q, k]» == 3", "SP0215"),
    ("input doc: int[B, n] pattern p = «doc[h, q]» == 3", "SP0215"),
    ("input a: int[B] pattern p = k < «a[q]»", "SP0215"),
    ("input a: int[H] pattern p = k < «a[0]»", "SP0215"),
    ("input a: int[H, n] pattern p = k < «a[q, h]»", "SP0215"),
    ("input a: int pattern p = k in «a»", "SP0215"),
    ("input a: bool[t] pattern p = k in «a»", "SP0215"),
    ("input a: int[t] pattern p = k in «a[k]»", "SP0215"),
    ("input doc: int[n] pattern p = doc[«causal»] == 3", "SP0202"),
    ("input doc: int[n] pattern p = causal & «doc[q]»", "SP0203"),
    ("input cls: bool[n] pattern p = «cls[q]» == 1", "SP0202"),
    ("input a: int pattern p = q % «a» == 0", "SP0301"),
    ("input a: int pattern p = match «a» { else -> causal }", "SP0301"),
    ("input a: int pattern p = «a * q» < 3", "SP0303"),
    ("input a: int[n] pattern p = «a[q] * 2147483647 * 5» < 3", "SP0307"),
    # empty
    ("pattern «p» = ~full", "SP0906"),
]


@pytest.mark.parametrize(("text", "code"), ONE_ERROR)
def test_one_error(text, code):
    start, end = text.find("«"), text.find("»") - 1
    with pytest.raises(SparsecError) as info:
        lower(parse(Source("p.spat", text.replace("«", "").replace("»", ""))), heads=4, layer=0, layers=2)
    assert [item.code for item in info.value.diagnostics] == [code]
    assert (info.value.diagnostics[0].span.start, info.value.diagnostics[0].span.end) == (start, end)


def codes(text: str, **given) -> list[str]:
    with pytest.raises(SparsecError) as info:
        lower(parse(Source("p.spat", text)), **given)
    return [item.code for item in info.value.diagnostics]


def test_all_errors_at_once():
    assert codes("pattern a = pas(1) | 5 & q\nset b = past\npattern c = stride(causal)") == [
        *("SP0201", "SP0203", "SP0203", "SP0204", "SP0202"),
    ]
    assert codes("pattern p = stride(0) | q * k < 2 | past(2 ** -1)") == ["SP0302", "SP0303", "SP0304"]
    text = "pattern = 3\nset b = = causal\npattern c = (causal\npattern d = causal"
    assert codes(text) == ["SP0104", "SP0104", "SP0104"]


def test_one_error_for_one_place_whatever_the_heads():
    assert codes("pattern p = stride(h - 4) | past(h)", heads=4) == ["SP0302"]


def test_parameters():
    text = "pattern p(w, s = 2) = past(w) & stride(s)"
    assert codes(text) == ["SP0209"]
    assert codes(text, parameters={"w": 1, "x": 2}) == ["SP0208"]
    assert codes(text, parameters={"w": 1.5}) == ["SP0211"]
    assert codes(text, parameters={"w": True}) == ["SP0211"]
    assert codes(text, parameters={"w": 2**31}) == ["SP0305"]
    assert codes(text, parameters={"w": 10**400}) == ["SP0305"]
    assert codes(text, parameters={"w": 4, "s": 0}) == ["SP0302"]


def test_heads_and_layers():
    assert codes("pattern p = past(h + 1)") == ["SP0401"]
    assert codes("pattern p = past(H)") == ["SP0401"]
    assert codes("set s = k < h pattern p = s & layer < L", heads=2) == ["SP0402", "SP0402"]
    assert codes("pattern p = k < layer", layer=4, layers=4) == ["SP0405"]
    assert codes("pattern p = causal", heads=0) == ["SP0405"]
    assert codes("pattern p = causal", heads=10**9) == ["SP0405"]
    assert codes("pattern p = causal", heads="8") == ["SP0405"]


def test_which_pattern():
    text = "pattern alpha = causal pattern beta = full"
    assert codes(text) == ["SP0210"]
    assert codes(text, pattern="alpa") == ["SP0210"]
    assert codes("set s = causal") == ["SP0108"]


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("k <= q and q < 4", "&"),
        ("k <= q or q < 4", "|"),
        ("not causal", "~"),
        ("!causal", "~"),
        ("causal && full", "&"),
        ("causal || full", "|"),
        ("k = q", "=="),
        ("k ≤ q", "<="),
        ("q / 2 == k", "//"),
        ("q - k ∈ {1}", "in"),
        ("match h { 0 => causal }", "->"),
        ("match h { 0 -> causal and full }", "&"),
    ],
)
def test_symbols_of_other_languages(wrong, right):
    with pytest.raises(SparsecError) as info:
        lower(parse(Source("p.spat", f"pattern p = {wrong}")))
    assert [(item.code, item.right) for item in info.value.diagnostics] == [("SP0105", right)]
