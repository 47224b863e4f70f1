"""Vendoring: write a pattern's operator as one Python file, then use that file where sparsec is not installed.

python examples/vendor.py [FOLDER]
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import sparsec

PATTERN = Path(__file__).parent / "streaming_llm.spat"

# What a project that holds only the generated file would write.  It imports torch and nothing of sparsec.
USE = """
import sys, torch
from streaming_llm import streaming_llm
q, k, v = torch.randn(3, 1, 2, 50, 16, requires_grad=True).unbind(0)
out = streaming_llm(q, k, v)
out.sum().backward()
assert "sparsec" not in sys.modules
print("attended without sparsec:", tuple(out.shape))
"""


def vendor(folder: Path) -> str:
    """Write FOLDER/streaming_llm.py and use it from a process that stands in FOLDER; what that process printed."""
    generated = folder / "streaming_llm.py"
    generated.write_text(sparsec.load(PATTERN, s=4, w=16).source)
    return subprocess.run([sys.executable, "-c", USE], cwd=folder, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(vendor(Path(sys.argv[1])), end="")
    else:
        with tempfile.TemporaryDirectory() as folder:
            print(vendor(Path(folder)), end="")
