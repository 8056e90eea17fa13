"""Multi30k English-German: train a network and test it; and the time of a beam search of 1,000 sentences.

    python benchmarks/translation.py train transformer --out out/translation
    python benchmarks/translation.py train attention-gru --out out/translation
    python benchmarks/translation.py search out/translation/transformer.safetensors

Raw text, one direction. The validation part chooses the epoch (BLEU of a greedy search) and the length penalty; then the
test part of 2016 is translated. On one thread of an AVX512-BF16 machine an epoch takes two to three minutes, so the
Transformer (24 epochs) about an hour and the GRU (16) three quarters of one. A run that was stopped (Ctrl-C, or --minutes)
reports what it has, and goes on from its checkpoints when the same command is given again. A search takes a minute or two.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import time
from pathlib import Path

import torch

import rosenblatt as rb
from rosenblatt.data.pairs import read_pairs
from rosenblatt.files import versions

SETTINGS = {
    "transformer": {"hidden_size": 256, "layers": 3, "batch_size": 2500, "learning_rate": 1.5e-3},
    "attention-gru": {"hidden_size": 384, "layers": 1, "batch_size": 1600, "learning_rate": 2e-3},
}
EPOCHS = {"transformer": 24, "attention-gru": 16}
SHARED = {"vocabulary": 5000, "dropout": 0.2}


def part(folder: Path, name: str) -> tuple[list[str], list[str]]:
    pairs = read_pairs(folder / f"{name}.en.gz", folder / f"{name}.de.gz", who="benchmark")
    return pairs.source, pairs.target


def train(arguments: argparse.Namespace) -> None:
    out = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    folder = Path(os.environ["ROSENBLATT_DATA"]) / "multi30k_task1"
    pairs, held = part(folder, "train"), part(folder, "val")
    if arguments.pairs:
        pairs = tuple(side[: arguments.pairs] for side in pairs)
    settings = SETTINGS[arguments.network] | SHARED | {"random_state": arguments.seed, "network": arguments.network}
    started = time.perf_counter()
    if arguments.minutes:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(int(60 * arguments.minutes))
    epochs = arguments.epochs or EPOCHS[arguments.network]
    # patience beyond the last epoch: nothing stops early, but the best epoch of the validation part is kept
    plan = rb.Plan(early_stopping=True, patience=1000, checkpoint=str(out / f"{arguments.network}-checkpoints"))
    model = rb.Translator(**settings, epochs=epochs, verbose=2, plan=plan).fit(*pairs, validation=held)
    signal.alarm(0)
    minutes = (time.perf_counter() - started) / 60
    path = model.save(out / f"{arguments.network}.safetensors")
    report = {
        "network": arguments.network, "settings": settings, "epochs": len(model.history_), "of": epochs,
        "best_epoch": model.best_epoch_, "minutes": round(minutes, 1), "threads": torch.get_num_threads(),
        "training_seconds": round(sum(row["seconds"] for row in model.history_)), "precision": model.precision_,
        "parameters": sum(p.numel() for p in model.module_.parameters()), "model": str(path),
        "validation_bleu_greedy_500": model.validation_bleu_, "versions": versions(),
    }  # fmt: skip
    write(out / f"{arguments.network}.json", report)
    report["validation"] = choose(model, held, quick=model.stopped_ == "interrupted")
    report["test_2016"] = model.scores(*part(folder, "test_2016_flickr"), **report["validation"]["search"])
    report["history"] = model.history_
    write(out / f"{arguments.network}.json", report)
    said = report["test_2016"]
    print(
        f"test 2016: BLEU {said['bleu']:.2f} ({said['bleu_signature']}), chrF {said['chrf']:.2f}; {minutes:.1f} minutes"
    )


def choose(model: rb.Translator, held: tuple[list[str], list[str]], *, quick: bool) -> dict[str, object]:
    """The length penalty with the best BLEU on the validation part; of a stopped run the usual one."""
    best: dict[str, object] = {"bleu": -1.0}
    for penalty in (1.0,) if quick else (0.6, 1.0, 1.4):
        search = {"beam": 5, "length_penalty": penalty}
        found = model.scores(*held, **search)
        print(f"validation, {search}: BLEU {found['bleu']:.2f}", flush=True)
        if found["bleu"] > best["bleu"]:
            best = {"bleu": found["bleu"], "search": search}
    return best


def search(arguments: argparse.Namespace) -> None:
    torch.set_num_threads(arguments.threads)
    folder = Path(os.environ["ROSENBLATT_DATA"]) / "multi30k_task1"
    source, target = part(folder, "test_2016_flickr")
    source, target = source[: arguments.sentences], target[: arguments.sentences]
    model = rb.load(arguments.model)
    rows = []
    for batch_size in arguments.batch_sizes:
        for beam in (1, 5):
            wall, processor = time.perf_counter(), time.process_time()
            found = model.predict(source, beam=beam, batch_size=batch_size)
            row = {
                "beam": beam, "batch_size": batch_size, "sentences": len(source), "threads": arguments.threads,
                "seconds": round(time.perf_counter() - wall, 2), "cpu_seconds": round(time.process_time() - processor, 2),
            }  # fmt: skip
            rows.append(row)
            print(row, flush=True)
    print(f"last translation: {found[-1]!r} for {source[-1]!r}, reference {target[-1]!r}")
    write(Path(arguments.model).with_suffix(".search.json"), {"rows": rows, "versions": versions()})


def write(path: Path, report: dict[str, object]) -> None:
    path.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("train")
    one.add_argument("network", choices=SETTINGS)
    one.add_argument("--minutes", type=float, help="stop and report after so many; the same command goes on later")
    one.add_argument("--epochs", type=int)
    one.add_argument("--pairs", type=int, help="the first so many alone, for a smoke test")
    one.add_argument("--seed", type=int, default=0)
    one.add_argument("--out", type=Path, default=Path("out/translation"))
    one.set_defaults(run=train)
    two = commands.add_parser("search")
    two.add_argument("model")
    two.add_argument("--threads", type=int, default=2)
    two.add_argument("--sentences", type=int, default=1000)
    two.add_argument("--batch-sizes", type=int, nargs="+", default=[64])
    two.set_defaults(run=search)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
