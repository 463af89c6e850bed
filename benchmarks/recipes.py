"""What the preset own_text reaches on texts in some minutes, beside a small transformer, and prints tables.

    python -m benchmarks.recipes [--corpus=TEXT ...] [--minutes=3 ...] [--seed=0 ...] [--transformer] [--flags="..."]

Each row is one whole command, `tfrnn train --corpus=TEXT --minutes=M`, and what `tfrnn evaluate` says of the weights
that it kept: bits per character of the last tenth of the text, each character predicted once with the state carried.
`--flags` adds flags, to measure one setting alone.

`--transformer` trains a GPT in PyTorch by the recipe that nanoGPT names for a CPU: 4 layers of 4 heads, 128 wide,
blocks of 64 characters, batches of 12, 2,000 steps, no dropout, AdamW (0.001, falling to a tenth by a cosine after 100
steps, betas 0.9 and 0.99, decay 0.1), gradients clipped to norm 1. Its loss is the mean over the last tenth in blocks
of 64, so that it sees 32 characters before one on average; half of each block overlaps with the one before, and the
second halves are scored beside, with 32 to 63 characters before each.
"""

import argparse
import json
import math
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import tfrnn

BLOCK, ROWS, WIDTH, HEADS, LAYERS, STEPS = 64, 12, 128, 4, 4, 2000


def measure(corpus: str, minutes: float, seed: int, flags: list[str], folder: Path) -> str:
    """Trains on a text and returns the row of the table."""
    run_dir = folder / "run"
    command = ["train", f"--corpus={corpus}", "--preset=own_text", f"--minutes={minutes:g}", f"--seed={seed}"]
    start = time.perf_counter()
    subprocess.run(_tfrnn(*command, f"--run_dir={run_dir}", *flags), check=True, stdout=subprocess.DEVNULL)
    seconds = time.perf_counter() - start
    last_line = subprocess.check_output(_tfrnn("evaluate", f"--run_dir={run_dir}"), text=True).splitlines()[-1]
    bits = re.search(r"([\d.]+) bits/char over ([\d,]+)", last_line)
    assert bits, last_line
    config = tfrnn.Config.from_dict(json.loads((run_dir / "config.json").read_text()))
    passes = config.training.epochs / config.data.epochs_per_pass
    model = f"{config.model.cell} {config.model.num_layers} x {config.model.units}, dropout {config.model.dropout:g}"
    row = [
        Path(corpus).name,
        f"{minutes:g}",
        f"{seed}",
        f"{model}, {passes:.1f} passes",
        f"{seconds / 60:.2f}",
        bits[1],
    ]
    return f"| {' | '.join(row)} |"


def _tfrnn(*arguments: str) -> list[str]:
    return [sys.executable, "-m", f"tfrnn.{arguments[0]}", *arguments[1:]]


def measure_transformer(text: str, threads: int) -> str:
    """Trains the transformer and returns the row of its table."""
    import torch
    from torch import nn
    from torch.nn import functional

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    ids = torch.tensor(tfrnn.Vocabulary.from_text(text).encode(text), dtype=torch.int64)
    end = len(ids) - len(ids) // 10
    training, held_out = ids[:end], ids[end:]

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(2))
            self.to_qkv, self.to_out = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
            self.mlp = nn.Sequential(nn.Linear(WIDTH, 4 * WIDTH), nn.GELU(), nn.Linear(4 * WIDTH, WIDTH))

        def forward(self, x: Any) -> Any:
            rows, steps, _ = x.shape
            parts = self.to_qkv(self.norms[0](x)).view(rows, steps, 3, HEADS, WIDTH // HEADS).permute(2, 0, 3, 1, 4)
            mixed = functional.scaled_dot_product_attention(*parts, is_causal=True)
            x = x + self.to_out(mixed.transpose(1, 2).reshape(rows, steps, WIDTH))
            return x + self.mlp(self.norms[1](x))

    class Transformer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.tokens, self.places = nn.Embedding(int(ids.max()) + 1, WIDTH), nn.Embedding(BLOCK, WIDTH)
            self.blocks = nn.Sequential(*(Block() for _ in range(LAYERS)))
            self.norm, self.head = nn.LayerNorm(WIDTH), nn.Linear(WIDTH, int(ids.max()) + 1, bias=False)
            self.apply(self._initialize)
            self.head.weight = self.tokens.weight
            for block in self.blocks:
                for layer in (block.to_out, block.mlp[-1]):
                    nn.init.normal_(layer.weight, std=0.02 / math.sqrt(2 * LAYERS))

        @staticmethod
        def _initialize(module: Any) -> None:
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)

        def forward(self, x: Any) -> Any:
            x = self.tokens(x) + self.places(torch.arange(x.shape[1]))
            return self.head(self.norm(self.blocks(x)))

    model = Transformer()
    matrices = [p for p in model.parameters() if p.dim() > 1]
    others = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99))
    start = time.perf_counter()
    for step in range(STEPS):
        progress = max(0.0, (step - 100) / (STEPS - 100))
        rate = 1e-3 * step / 100 if step < 100 else 1e-4 + 0.5 * 9e-4 * (1 + math.cos(math.pi * progress))
        for group in optimizer.param_groups:
            group["lr"] = rate
        begins = torch.randint(len(training) - BLOCK, (ROWS,))
        x, y = (torch.stack([training[b + shift : b + shift + BLOCK] for b in begins]) for shift in (0, 1))
        loss = functional.cross_entropy(model(x).flatten(0, 1), y.flatten())
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    seconds = time.perf_counter() - start
    begins = np.arange(0, len(held_out) - BLOCK, BLOCK // 2)
    nats = []
    with torch.no_grad():
        for some in np.array_split(begins, len(begins) // 64):
            x, y = (torch.stack([held_out[b + shift : b + shift + BLOCK] for b in some]) for shift in (0, 1))
            losses = functional.cross_entropy(model(x).flatten(0, 1), y.flatten(), reduction="none")
            nats.append(losses.view(len(some), BLOCK))
    losses = torch.cat(nats)
    whole, second_half = (float(part.mean()) / math.log(2) for part in (losses, losses[:, BLOCK // 2 :]))
    return f"| {threads} | {seconds / 60:.2f} | {whole:.4f} | {second_half:.4f} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", action="append", help="a name or a path; by default tiny_shakespeare")
    parser.add_argument("--minutes", action="append", type=float, help="by default 3")
    parser.add_argument("--seed", action="append", type=int, help="by default 0")
    parser.add_argument("--flags", default="", help="more flags of train, such as '--cell=lstm --dropout=0.3'")
    parser.add_argument("--transformer", action="store_true", help="train the transformer too")
    options = parser.parse_args()
    print(
        "| text | minutes | seed | own_text takes | minutes taken | bits/char |\n|---|---|---|---|---|---|", flush=True
    )
    for corpus in options.corpus or ["tiny_shakespeare"]:
        for minutes in options.minutes or [3.0]:
            for seed in options.seed or [0]:
                with tempfile.TemporaryDirectory() as folder:
                    print(measure(corpus, minutes, seed, shlex.split(options.flags), Path(folder)), flush=True)
    if options.transformer:
        print("\n| threads | minutes taken | bits/char | of second halves |\n|---|---|---|---|", flush=True)
        for corpus in options.corpus or ["tiny_shakespeare"]:
            print(measure_transformer(tfrnn.load_corpus(corpus), os.cpu_count() or 1), flush=True)


if __name__ == "__main__":
    main()
