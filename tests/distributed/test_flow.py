"""What two GPUs are asked, asked of two processes on the CPU, so that it is known to run before GPUs do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from support.group import everywhere
from support.sharded import all_in_time
from support.two_ranks import CASES


@pytest.mark.full
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_two_ranks_are_one(tmp_path: Path, dtype: torch.dtype) -> None:
    for rank in everywhere(2, tmp_path, all_in_time, CASES, dtype, 120):
        problems = [problem for name, each in rank.items() for problem in each.problems(name)]
        assert not problems, "\n".join(problems)


STUCK = """
import sys, time
sys.path.insert(0, sys.argv[1])
from support.group import in_time

class Mesh:
    def get_local_rank(self):
        return 0

for seconds in in_time(Mesh(), [0, 60], 1, str):
    time.sleep(seconds)
"""


def test_a_rank_that_is_stuck_says_where() -> None:
    """What is done before is named, and the process ends."""
    tests = str(Path(__file__).parents[1])
    ran = subprocess.run([sys.executable, "-c", STUCK, tests], capture_output=True, text=True, timeout=50)
    assert ran.returncode
    assert "1 of 2" in ran.stderr
    assert "Timeout" in ran.stderr
    assert "in <module>" in ran.stderr
