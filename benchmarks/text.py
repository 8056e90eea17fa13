"""Language models beside a plain PyTorch loop, and tinyshakespeare in three minutes on two cores.

Run: make bench-text (about 6 minutes on two idle cores: 2 for the speed, 3 for Shakespeare; --part speed or shakespeare).

Speed: the same network, data, batches, steps, Adam and learning rate. The plain loop is what tutorials write: fp32, torch's
default Adam, slices of a tensor, `loss.item()` at every step. Runs alternate, each after one that is not timed; medians of the
seconds a step, and the range of the ratio of runs. Both losses are shown.

Shakespeare: the split of nanoGPT (first 90 % to learn from, last 10 % held out). Settings were chosen on the last 5 % of the
first 90 % (--part choose), so the held-out tenth was looked at once. nanoGPT's CPU recipe of three minutes: 1.88 nats a
character; asked here: 1.75.
"""

import argparse
import json
import os
import statistics
import time
from pathlib import Path

import numpy as np
import torch

import rosenblatt as rb
from rosenblatt.data.text import Characters, TokenWindows
from rosenblatt.models.gpt import GPT
from rosenblatt.models.language import RecurrentLanguageModel, detached
from rosenblatt.train.language import Carried, next_token
from rosenblatt.train.plan import Plan
from rosenblatt.train.precision import choose_precision
from rosenblatt.train.supervised import supervised

PRESET = {"hidden_size": 256, "context": 64, "batch_size": 32, "epochs": 8, "learning_rate": 8e-3}
CHOICES = (
    PRESET,
    {**PRESET, "hidden_size": 384, "epochs": 5},
    {**PRESET, "batch_size": 16},
    {**PRESET, "learning_rate": 4e-3},
)
ASKED = {"lstm": 1.7, "transformer": 1.5}
STEPS, RATE = 10, 2e-3


def network(kind, vocabulary):
    torch.manual_seed(0)
    if kind == "lstm":
        return RecurrentLanguageModel(vocabulary, hidden_size=256, embedding_size=256, layer_norm=True), 64, 128
    return GPT(vocabulary, context=128, width=256, layers=4, heads=4), 32, 128


def windows(tokens, rows, steps, kind):
    part = tokens[: rows * steps * STEPS + 2 * steps]
    source = torch.Generator().manual_seed(0)
    return TokenWindows(part, batch_size=rows, steps=steps, carry=kind == "lstm", device="cpu", generator=source)


def ours(kind, tokens, vocabulary):
    module, rows, steps = network(kind, vocabulary)
    data = windows(tokens, rows, steps, kind)
    plan = Plan(optimizer="adam", schedule="constant", precision="auto")
    (record,) = supervised(Carried(module, data), data, next_token, plan=plan, epochs=1, learning_rate=RATE)
    return record.seconds / len(data), record.loss


def plain(kind, tokens, vocabulary):
    module, rows, steps = network(kind, vocabulary)
    batches = [(x, y) for x, y, _ in windows(tokens, rows, steps, kind)]
    optimizer, losses, state = torch.optim.Adam(module.parameters(), RATE), [], None
    module.train()
    started = time.perf_counter()
    for x, y in batches:
        optimizer.zero_grad()
        logits, after = module(x, state)
        state = detached(after) if kind == "lstm" else None
        loss = torch.nn.functional.cross_entropy(logits.reshape(-1, vocabulary), y.reshape(-1))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return (time.perf_counter() - started) / len(batches), statistics.mean(losses)


def speed(text, runs):
    units, found = Characters.of(text), {}
    tokens = units.encode(text, who="bench")
    for kind, asked in ASKED.items():
        rows = {"rosenblatt": [], "torch fp32": []}
        for run in range(runs + 1):
            for name, measure in (("rosenblatt", ours), ("torch fp32", plain)):
                result = measure(kind, tokens, units.size)
                if run:
                    rows[name].append(result)
        ratios = [b[0] / a[0] for a, b in zip(*rows.values(), strict=True)]
        medians = {name: statistics.median(r[0] for r in results) for name, results in rows.items()}
        ratio = medians["torch fp32"] / medians["rosenblatt"]
        losses = {name: results[-1][1] for name, results in rows.items()}
        found[kind] = {"seconds a step": medians, "ratio": ratio, "ratios": ratios, "losses": losses, "n": runs}
        print(
            f"{kind:<12} rosenblatt {medians['rosenblatt'] * 1e3:.0f} ms, torch fp32 {medians['torch fp32'] * 1e3:.0f} ms: "
            f"{ratio:.2f}x ({min(ratios):.2f} to {max(ratios):.2f}, n={runs}; asked {asked}); losses "
            f"{losses['rosenblatt']:.4f} and {losses['torch fp32']:.4f}",
            flush=True,
        )
    return found


def shakespeare(text, settings, fraction=0.1, verbose=2):
    started, cpu = time.perf_counter(), time.process_time()
    plan = Plan(validation_fraction=fraction)
    model = rb.LanguageModel(**settings, random_state=0, verbose=verbose, plan=plan).fit(text)
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    print(
        f"{settings}: {model.validation_loss_:.4f} nats a character in {seconds:.0f} s ({cpu:.0f} CPU seconds), "
        f"{model.summary().trainable:,} parameters, {model.precision_}",
        flush=True,
    )
    return {
        "settings": settings,
        "nats": model.validation_loss_,
        "seconds": seconds,
        "cpu": cpu,
        "history": model.history_,
    }, model


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--part", default="all", choices=("all", "speed", "shakespeare", "choose"))
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--epochs", type=int, help="other than the preset's, to try it out")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    root = os.environ.get("ROSENBLATT_DATA")
    file = Path(root or "") / "tinyshakespeare" / "input.txt"
    if not root or not file.is_file():
        raise SystemExit("ROSENBLATT_DATA names no folder with tinyshakespeare/input.txt; nothing to measure.")
    text, results = (
        file.read_text("utf-8"),
        {"threads": torch.get_num_threads(), "precision": choose_precision("auto", torch.device("cpu"))},
    )
    settings = {**PRESET, **({"epochs": arguments.epochs} if arguments.epochs else {})}
    if arguments.part in ("all", "speed"):
        results["speed"] = speed(text, arguments.runs)
    if arguments.part in ("all", "shakespeare"):
        results["shakespeare"], model = shakespeare(text, settings)
        print(model.sample("\nROMEO:", 300, temperature=0.8))
    if arguments.part == "choose":
        results["choose"] = [shakespeare(text[: int(0.9 * len(text))], s, 0.05, 0)[0] for s in CHOICES]
    if arguments.out:
        arguments.out.write_text(json.dumps(results, indent=1, default=float))


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main()
