"""Models with a learned number for each head and distance: T5 (Raffel et al., 2020) and those after it."""

from __future__ import annotations

from sparsec.importers.fields import Fields

_REMARKS = (
    "The encoder; its decoder sees all of the past, with a table of its own, and all that was encoded.",
    "bias [H, 2 * far + 1] has the numbers of the distances k - q from -far to far: `weight[bucket].T` of the model's",
    "`weight`, with bucket = _relative_position_bucket(torch.arange(-far, far + 1), True, {buckets}, far).",
    "Products are not scaled: call with `scale=1.0`.",
)
_PAIRS = _REMARKS[0].replace(", with a table of its own,", "")
_DECLARED = "input bias: float[H, distances]\n\nscore by_distance(far) = s + bias[min(max(k - q, -far), far) + far]\n\n"


def t5(fields: Fields, name: str, pairs_only: bool) -> str:
    """The encoder of a T5 configuration: every token sees all."""
    return _text(fields, name, "", "full", pairs_only)


def longt5(fields: Fields, radius: int, pairs_only: bool) -> str:
    """That of a LongT5 with local attention: so many tokens on each side."""
    return _text(fields, "longt5", f"r = {radius}", "abs(q - k) <= r", pairs_only)


def _text(fields: Fields, name: str, parameters: str, body: str, pairs_only: bool) -> str:
    if pairs_only:
        given = f"({parameters})" if parameters else ""
        return fields.comment(_PAIRS) + f"pattern {name}{given} =\n    {body}\n"
    buckets = fields.integer("relative_attention_num_buckets", 32, least=4)
    far = fields.integer("relative_attention_max_distance", 128, least=2)
    given = f"({', '.join([*([parameters] if parameters else []), f'far = {far}'])})"
    remarks = (remark.replace("{buckets}", str(buckets)) for remark in _REMARKS)
    return fields.comment(*remarks) + f"{_DECLARED}pattern {name}{given} =\n    {body} with by_distance(far)\n"
