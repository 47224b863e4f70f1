"""Continue a text with a trained model, from a cache whose pages are used again once no later byte can see them.

    python examples/byte_model/train.py --tiny --save model.pt
    python examples/byte_model/generate.py model.pt --bytes 200

`attend.retention()` proves which pages those are, for each layer by its pattern.  At the end the whole text goes
through the model at once, without a cache, and each byte that was chosen must be the likeliest there, too.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from corpus import START
from model import Model, Shape
from torch import Tensor
from train import Sparsec, operators

import sparsec

PAGE = 16
PROMPT = '"""Read and write sparse matrices."""\n\nfrom __future__ import annotations\n\n\n'


class CachedAttention:
    """The attention of one layer over a cache of pages of one sequence; called with its next tokens, prompt first."""

    def __init__(self, attend: sparsec.Attend, longest: int) -> None:
        self.attend, self.retention, self.n = attend, attend.retention(), 0
        self.table_size = -(-longest // PAGE)
        self.pool = 1 + max(len(self.retention.pages(n, PAGE)) for n in range(0, longest + PAGE, PAGE))
        self.free, self.place_of = list(range(self.pool)), {}  # place_of: where each page of the text is, while it is

    def __call__(self, q: Tensor, k: Tensor, v: Tensor, documents: object) -> Tensor:
        """q [1, H, m, D], k and v [1, H_kv, m, D] of the next m tokens -> [1, H, m, D]; a step has m = 1."""
        first, self.n = self.n, self.n + k.shape[2]
        if first == 0:
            self._allocate(k)
            self._write(0, k, v, self.retention.pages(self.n, PAGE).tolist())
            return self.attend(q, k, v)
        self._write(first, k, v, [*self.retention.pages(first, PAGE).tolist(), first // PAGE])
        step = self.attend.decode(q[:, :, 0], *self.cache, self.lengths.fill_(self.n), self.table)
        return step[:, :, None]

    def _allocate(self, k: Tensor) -> None:
        shape = self.pool, PAGE, k.shape[1], k.shape[3]
        self.cache = [torch.full(shape, float("nan"), dtype=k.dtype, device=k.device) for _ in "kv"]
        self.table = torch.full((1, self.table_size), -1, dtype=torch.int32, device=k.device)
        self.lengths = torch.zeros(1, dtype=torch.int32, device=k.device)

    def _write(self, first: int, k: Tensor, v: Tensor, needed: list[int]) -> None:
        """Keep the needed pages of the text, and what of the tokens from `first` on is in them."""
        for page in self.place_of.keys() - set(needed):
            self.free.append(self.place_of.pop(page))
        for page in needed:
            if page not in self.place_of:
                self.place_of[page] = self.free.pop()
                self.table[0, page] = self.place_of[page]
        kept = [at for at in range(first, self.n) if at // PAGE in self.place_of]
        places = torch.tensor([self.place_of[at // PAGE] * PAGE + at % PAGE for at in kept], device=k.device)
        for cache, x in zip(self.cache, (k, v), strict=True):
            cache.flatten(0, 1)[places] = x[0].transpose(0, 1)[torch.tensor(kept, device=k.device) - first]


def generate(model: Model, attends: list[sparsec.Attend], tokens: Tensor, more: int) -> tuple[Tensor, list[int]]:
    """The tokens [1, m] and as many more, each the likeliest one; and the pages that each layer has room for."""
    model.attentions = [CachedAttention(attend, tokens.shape[1] + more) for attend in attends]
    text, given = tokens, tokens
    for _ in range(more):
        positions = torch.arange(text.shape[1] - given.shape[1], text.shape[1], device=text.device)[None]
        given = model(given, positions, None)[:, -1:].argmax(-1)
        text = torch.cat([text, given], dim=1)
    return text, [attention.pool for attention in model.attentions]


def behind_the_likeliest(model: Model, pattern: str, shape: Shape, text: Tensor, prompt: int) -> float:
    """The most by which the logit of a chosen byte is below the largest one, where the whole text is seen at once."""
    attention = Sparsec(pattern, shape)
    model.attentions = attention.attentions
    one = torch.tensor([0, text.shape[1]], dtype=torch.int32, device=text.device)
    logits = model(text, torch.arange(text.shape[1], device=text.device)[None], attention.documents(one)).float()
    chosen = logits[:, prompt - 1 : -1].gather(2, text[:, prompt:, None])[..., 0]
    return (logits[:, prompt - 1 : -1].amax(-1) - chosen).max().item()


@torch.no_grad()
def main(arguments: list[str] | None = None) -> dict:
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("weights", type=Path, help="what train.py saved")
    found.add_argument("--bytes", type=int, default=400, help="to write")
    found.add_argument("--prompt", default=PROMPT)
    given = found.parse_args(arguments)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    saved = torch.load(given.weights, weights_only=False, map_location=device)
    pattern, shape = saved["pattern"], saved["shape"]
    model = Model(shape, []).to(device)
    model.load_state_dict(saved["weights"])
    tokens = torch.tensor([[START, *given.prompt.encode()]], device=device)
    begun = time.perf_counter()
    text, pages = generate(model, operators(pattern, shape), tokens, given.bytes)
    print(bytes(x for x in text[0].tolist() if x != START).decode(errors="replace"))
    behind = behind_the_likeliest(model, pattern, shape, text, tokens.shape[1])
    every = shape.layers * -(-text.shape[1] // PAGE)
    print(
        f"\n{given.bytes} bytes in {time.perf_counter() - begun:.1f} s; {sum(pages)} pages instead of {every}; "
        f"a chosen byte is at most {behind:.1e} behind the likeliest of the whole text"
    )
    return {"text": text, "pages": pages, "every": every, "behind": behind}


if __name__ == "__main__":
    main()
