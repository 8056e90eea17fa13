"""GAN against DCGAN on MNIST, for the same processor time; and training turns against plain PyTorch.

    python benchmarks/gan.py --minutes 15 --out benchmarks/records/DATE_gan/log.json

The style-based GAN with the relativistic loss and a DCGAN (same library, the paper's settings) train one after the other for as
many whole epochs as fit into the minutes. Both are judged on MNIST's 10,000 test digits with 10,000 samples, in the features of
a convnet that was trained on MNIST's training digits, and in random filters. About 2 x minutes + 5.
"""

import argparse
import contextlib
import json
import time
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import torch

import rosenblatt as rb
from rosenblatt.data.differentiable import DifferentiableAugment
from rosenblatt.data.fetch import fetch
from rosenblatt.data.resident import Resident
from rosenblatt.losses.adversarial import LOSSES
from rosenblatt.metrics.extractors import extractor
from rosenblatt.metrics.generated import judge
from rosenblatt.models.gan import Players, ResidualCritic, StyleGenerator
from rosenblatt.train.adversarial import Game
from rosenblatt.train.memory import keep_freed
from rosenblatt.train.plan import STANDARD, Plan

CONTENDERS = {
    "style, relativistic": {"network": "style"},
    "dcgan 64, non-saturating": {
        "network": "dcgan",
        "loss": "non-saturating",
        "width": 64,
        "code_size": 100,
        "batch_size": 128,
    },
}


def digits():
    data = fetch("mnist")
    return data.X[..., 0], data.y, data.X_test[..., 0], data.y_test


def seconds_an_epoch(options, X):
    """Processor seconds that 60,000 samples would take, from two short fits; the difference leaves the start out."""
    taken = []
    for count in (1024, 3072):
        model = rb.GAN(epochs=1, random_state=0, verbose=0, **options)
        model._judge_epochs = lambda *_: lambda _: {"validation_score": 0.0}
        model.judged_by_ = "nothing"
        started = time.process_time()
        model.fit(X[:count])
        taken.append(time.process_time() - started)
    return (taken[1] - taken[0]) / 2048 * len(X)


def grid(samples, path):
    from PIL import Image

    rows = samples[:100].reshape(10, 10, 28, 28).transpose(0, 2, 1, 3).reshape(280, 280)
    Image.fromarray(rows).resize((840, 840), Image.NEAREST).save(path)


def quality(minutes, out, only):
    X, y, X_test, _ = digits()
    judge_net = rb.CNNClassifier(epochs=2, random_state=0, verbose=0).fit(X, y)
    by = {"classifier": extractor(judge_net), "random": extractor("random")}
    rows = {}
    for name, options in CONTENDERS.items():
        if only and only not in name:
            continue
        cost = seconds_an_epoch(options, X)
        epochs = max(1, int(60 * minutes * torch.get_num_threads() / cost))
        print(f"{name}: {cost:.0f} processor seconds an epoch, {epochs} epochs", flush=True)
        clock, processor = time.perf_counter(), time.process_time()
        model = rb.GAN(epochs=epochs, random_state=0, verbose=2, **options).fit(X)
        row = {
            "seconds": time.perf_counter() - clock,
            "processor_seconds": time.process_time() - processor,
            "epochs": epochs,
        }
        drawn = model.sample(10_000, random_state=1)
        for label, chosen in by.items():
            found = judge(X_test, drawn, by=chosen, split="MNIST test")
            row[label] = found.row()
            print(f"{name}: {found}", flush=True)
        shares = np.bincount(judge_net.predict(drawn), minlength=10) / len(drawn)
        row |= {"digit_shares": shares.round(4).tolist(), "best_epoch": model.best_epoch_, "said": model.diagnose()}
        _, distance = model.nearest(drawn[:200], X)
        row["nearest_training_digit"] = {"median": float(np.median(distance)), "least": float(distance.min())}
        print(
            f"{name}: shares {row['digit_shares']}, nearest {row['nearest_training_digit']}, {row['said']}", flush=True
        )
        rows[name] = row
        if out:
            stem = out.parent / name.replace(", ", "-").replace(" ", "-")
            grid(drawn, stem.with_suffix(".png"))
            model.save(Path("out") / f"gan-{name.split(',')[0].replace(' ', '')}.safetensors") if Path(
                "out"
            ).is_dir() else None
    return rows


def plain_turn(players, x, code):
    """What a plain PyTorch loop does in a turn: fp32, NCHW, Adam; the same game, penalties as often."""
    generator, critic = players.generator, players.critic
    options = {"lr": 1e-3, "betas": (0.0, 0.999)}
    adams = [torch.optim.Adam(part.parameters(), **options) for part in (generator, critic)]
    softplus = torch.nn.functional.softplus

    def turn(step):
        fake = generator(torch.randn(len(x), code)).detach()
        real, fake = x.detach().requires_grad_(), fake.requires_grad_()
        a, b = critic(real), critic(fake)
        loss = softplus(b - a).mean()
        if step % 4 == 0:
            for logits, at in ((a, real), (b, fake)):
                (gradient,) = torch.autograd.grad(logits.sum(), at, create_graph=True)
                loss = loss + 4 * gradient.flatten(1).square().sum(1).mean() / 2
        adams[1].zero_grad()
        loss.backward()
        adams[1].step()
        fake = generator(torch.randn(len(x), code))
        loss = softplus(critic(x).detach() - critic(fake)).mean()
        adams[0].zero_grad()
        loss.backward()
        adams[0].step()

    return turn


def _turn_ours(game, x, y, _step):
    game.turn(x, y)


def turns(repeats, steps):
    """Milliseconds a turn, alternating, of our loop and of a plain one with the same networks."""
    shapes = {"28 px, 1 channel, width 16": (28, 1, 16, 64), "64 px, 3 channels, width 16": (64, 3, 16, 32)}
    rows = {}
    for name, shape in shapes.items():
        taken = {"plain": [], "rosenblatt": []}
        both = contenders(*shape)
        for repeat in range(repeats + 1):
            for label, turn in both.items():
                started = time.perf_counter()
                with keep_freed() if label == "rosenblatt" else contextlib.nullcontext():  # as `play` does
                    for step in range(steps):
                        turn(step)
                if repeat:  # the first round warms up
                    taken[label].append(1000 * (time.perf_counter() - started) / steps)
        middle = {label: float(np.median(values)) for label, values in taken.items()}
        rows[name] = {**middle, "ratio": middle["plain"] / middle["rosenblatt"], "all": taken}
        said = f"plain {middle['plain']:.1f} ms, rosenblatt {middle['rosenblatt']:.1f} ms a turn"
        print(f"{name}: {said}, ratio {rows[name]['ratio']:.2f}, n={repeats}", flush=True)
    return rows


def contenders(side, channels, width, batch):
    def made():
        return Players(StyleGenerator(side, channels, 64, width), ResidualCritic(side, channels, width)).train()

    source = torch.Generator().manual_seed(0)
    x, y = torch.rand(batch, channels, side, side, generator=source) * 2 - 1, torch.zeros(batch, dtype=torch.long)
    data = Resident(x, y, device="cpu", batch_size=batch, generator=source)
    game = Game(
        made().to(memory_format=torch.channels_last), data, LOSSES["relativistic"], code_size=64,
        plan=Plan(momentum=0.0).over(STANDARD), epochs=10**6, learning_rate=1e-3,
        prepare=lambda b: b.contiguous(memory_format=torch.channels_last), augment=DifferentiableAugment(), adaptive=False,
    )  # fmt: skip
    return {"plain": plain_turn(made(), x, 64), "rosenblatt": partial(_turn_ours, game, x, y)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=15)
    parser.add_argument("--only", default="", help="'turns', or a part of a contender's name")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore", rb.errors.TrainingWarning)
    result = {"threads": torch.get_num_threads()}
    if options.only in ("", "turns"):
        result["turns"] = turns(options.repeats, options.steps)
    if options.only != "turns":
        result["quality"] = quality(options.minutes, options.out, options.only)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=1))
