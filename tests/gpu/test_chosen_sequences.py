"""What is chosen in documents and in rows of unequal lengths, on a CUDA device: as if every sequence stood alone."""

from __future__ import annotations

import pytest
import torch
from runtime.test_chosen_sequences import TEXTS
from support.chosen_sequences import assert_documents, assert_rows, declared
from support.generated import attend_of, pattern_of, spread_module_of

pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("text", TEXTS)
def test_sequences(text: str, dtype: torch.dtype) -> None:
    pattern, on = pattern_of(declared(text)), {"device": "cuda", "dtype": dtype}
    for attend in (attend_of(pattern), spread_module_of(pattern).p):
        assert_documents(attend, pattern, [2, 19, 19, 20, 163, 368], 370, 0, spare=3, **on)
        assert_rows(attend, pattern, 130, 140, [(130, 140), (0, 9), (77, 140), (17, 5), (9, 0)], 1, **on)
