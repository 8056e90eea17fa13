"""Bach's chorales in four voices on a grid of sixteenths: how many nats a note costs.

    python benchmarks/chorales.py learn a.safetensors --seed 0                       # a quarter of an hour on a core
    python benchmarks/chorales.py score a.safetensors b.safetensors --shifts 2       # validation pieces
    python benchmarks/chorales.py score a.safetensors b.safetensors --shifts 2 --test --record FOLDER

The JSB set (ROSENBLATT_DATA/jsb_chorales) with its own split of 229 / 76 / 77 pieces. Validation pieces choose everything, test
pieces are read once at the end. Nats a note are over all four voices' tokens of all steps, silences included, each given all
tokens before it in the order S, B, A, T (their product, the probability of a step, is asked in no order).
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np

import rosenblatt as rb


def chorales():
    path = Path(os.environ["ROSENBLATT_DATA"]) / "jsb_chorales" / "Jsb16thSeparated.json"
    held = json.loads(path.read_text())
    return {name: [np.array(piece, np.int64) for piece in pieces] for name, pieces in held.items()}


def learn(given):
    data = chorales()
    model = rb.Composer(
        network="chorale", epochs=given.epochs, dropout=given.dropout, hidden_size=given.hidden_size, random_state=given.seed,
        recall=not given.no_recall, plan=rb.Plan(ema=given.ema, weight_decay=given.weight_decay), verbose=2,
    )  # fmt: skip
    clock, processor = time.perf_counter(), time.process_time()
    model.fit(data["train"], validation=data["valid"])
    log = {
        "parameters": model.get_params() | {"plan": {"ema": given.ema, "weight_decay": given.weight_decay}},
        "seconds": time.perf_counter() - clock,
        "processor_seconds": time.process_time() - processor, "best_epoch": model.best_epoch_,
        "bound_on_validation": model.validation_loss_, "precision": model.precision_,
        "history": [{k: row[k] for k in ("epoch", "loss", "validation_loss")} for row in model.history_],
    }  # fmt: skip
    model.save(given.models[0])
    given.models[0].with_suffix(".json").write_text(json.dumps(log))
    print(json.dumps(log | {"history": None}))


def score(given):
    pieces = chorales()["test" if given.test else "valid"]
    models = [rb.load(path) for path in given.models]
    started = time.process_time()
    nats = models[0].nats(pieces, shifts=given.shifts, others=models[1:])
    row = {
        "pieces": len(pieces), "notes": sum(piece.size for piece in pieces), "set": "test" if given.test else "validation",
        "models": [path.name for path in given.models], "shifts": given.shifts, "nats_a_note": nats["note"],
        "processor_seconds": time.process_time() - started,
    }  # fmt: skip
    print(json.dumps(row), flush=True)
    if given.record:
        given.record.mkdir(parents=True, exist_ok=True)
        with (given.record / "log.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("part", choices=("learn", "score"))
    parser.add_argument("models", nargs="+", type=Path)
    parser.add_argument("--epochs", type=int, default=64)
    parser.add_argument("--dropout", type=float, default=0.3)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--ema", type=float, default=0.99)
    parser.add_argument("--weight-decay", type=float, default=2.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-recall", action="store_true")
    parser.add_argument("--shifts", type=int, default=0)
    parser.add_argument("--test", action="store_true")
    parser.add_argument("--record", type=Path)
    given = parser.parse_args()
    learn(given) if given.part == "learn" else score(given)
