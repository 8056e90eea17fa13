"""Face swap of two clips in both directions: who is seen, what was kept, what was lost; and training steps against plain PyTorch.

    ROSENBLATT_DATA=... python benchmarks/face_swap.py learn MODEL --epochs 60       # prints SSIM on validation blocks
    ROSENBLATT_DATA=... python benchmarks/face_swap.py judge MODEL --out log.json    # the test blocks, once
    python benchmarks/face_swap.py steps --out steps.json

Data: faces_two_identity/identities_64.npz, 300 frames of 64 x 64 pixels of each of four persons; d6 and d10 are swapped. Frames
are cut into 15 blocks of 20 neighbours: of five blocks three are learned from, the fourth chooses, the fifth judges. Two frames
beside a border to another part are left out of training. The classifier knows all four persons and learns from the same blocks.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

import rosenblatt as rb
from rosenblatt.data.resident import Resident
from rosenblatt.estimators.face_swap import OWN_PLAN
from rosenblatt.metrics.face_swap import picture_similarity
from rosenblatt.models.face_swap import FaceSwapper
from rosenblatt.train.face_swap import MASK, STRUCTURE, Distortion, SwapObjective
from rosenblatt.train.plan import Plan
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.supervised import _Run

PERSONS, BLOCK, GAP = ("d6", "d10"), 20, 2


def parts(count=300):
    """Row numbers of training, validation and test."""
    kind = np.arange(count) // BLOCK % 5
    names = np.where(kind < 3, "train", np.where(kind == 3, "validation", "test"))
    near = [len(set(names[max(0, i - GAP) : i + GAP + 1])) > 1 for i in range(count)]
    rows = {name: np.nonzero(names == name)[0] for name in ("train", "validation", "test")}
    rows["train"] = rows["train"][~np.asarray(near)[rows["train"]]]
    return rows


def clips():
    held = np.load(Path(os.environ["ROSENBLATT_DATA"]) / "faces_two_identity" / "identities_64.npz")
    return {name: held[name] for name in ("d3", "d6", "d9", "d10")}


def learn(path, options):
    faces, rows = clips(), parts()
    model = rb.FaceSwap(
        width=options.width, code_size=options.code, warp=options.warp, colour=options.colour, epochs=options.epochs,
        batch_size=options.batch_size, learning_rate=options.rate, random_state=options.seed, verbose=2,
        plan=Plan(checkpoint=str(path.with_suffix("")) + "-run", checkpoint_every=20),
    )  # fmt: skip
    clock, processor = time.perf_counter(), time.process_time()
    model.fit(*(faces[name][rows["train"]] for name in PERSONS), names=PERSONS, consent=True)
    taken = {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - processor}
    found = {name: ssim(model, faces[name][rows["validation"]], name) for name in PERSONS}
    print(
        json.dumps({**taken, "validation_ssim": found, "parameters": model.get_params() | {"plan": None}}), flush=True
    )
    model.save(path)


def ssim(model, faces, name):
    return float(picture_similarity(faces, model.reconstruct(faces, name, consent=True)).mean())


def judge(path, out):
    faces, rows, model = clips(), parts(), rb.load(path)
    X = {part: np.concatenate([faces[name][rows[part]] for name in faces]) for part in rows}
    y = {part: np.repeat(list(faces), [len(rows[part])] * len(faces)) for part in rows}
    found = {"rows": {part: len(r) for part, r in rows.items()}, "epochs": model.n_iter_, "seeds": {}}
    for seed in range(3):
        classifier = rb.CNNClassifier(epochs=12, random_state=seed, verbose=0).fit(X["train"], y["train"])
        row = {
            "classifier_validation": float(classifier.score(X["validation"], y["validation"])),
            "classifier_test": float(classifier.score(X["test"], y["test"])),
        }
        for source, to in (PERSONS, PERSONS[::-1]):
            judged = model.judge(faces[source][rows["test"]], to, classifier=classifier, consent=True)
            row[f"{source} as {to}"] = judged.row()
            print(f"{source} as {to}: {judged}", flush=True)
        found["seeds"][seed] = row
        print(row["classifier_validation"], row["classifier_test"], flush=True)
    found["test_ssim"] = {name: ssim(model, faces[name][rows["test"]], name) for name in PERSONS}
    found["train_ssim"] = {name: ssim(model, faces[name][rows["train"]], name) for name in PERSONS}
    near = {}
    for name in PERSONS:
        learned = faces[name][rows["train"]]
        best = [
            picture_similarity(np.repeat(x[None], len(learned), 0), learned).max() for x in faces[name][rows["test"]]
        ]
        near[name] = float(np.mean(best))
    found["test_ssim_of_the_nearest_training_frame"] = near
    print(json.dumps({k: v for k, v in found.items() if k != "seeds"}), flush=True)
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(found, indent=1))
    return model


# ----------------------------------------------------------------------------------------------------------- steps


def plain_step(objective, learning_rate):
    """What a plain PyTorch loop does in a step: fp32, the usual layout, AdamW; SSIM by depthwise convolutions."""
    F, network = torch.nn.functional, objective.network
    adam = torch.optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=1e-4)
    taps = torch.exp(-torch.arange(-5.0, 6.0).square() / 4.5)
    taps = torch.outer(taps / taps.sum(), taps / taps.sum())[None, None].repeat(3, 1, 1, 1)

    def smooth(x):
        return F.conv2d(x, taps, groups=3)

    def step(rows):
        seen, wanted = objective.distorted(rows)
        raw = network(seen, objective.identity[rows])
        x, y, mask = raw[:, :3].sigmoid(), wanted[:, :3], wanted[:, 3:]
        mx, my = smooth(x), smooth(y)
        value = (2 * mx * my + 1e-4) * (2 * (smooth(x * y) - mx * my) + 9e-4)
        value = value / ((mx**2 + my**2 + 1e-4) * (smooth(x * x) - mx**2 + smooth(y * y) - my**2 + 9e-4))
        counts = (1 + mask) / (1 + mask).mean((2, 3), keepdim=True)
        inner = counts[:, :, 5:-5, 5:-5].expand_as(value)
        loss = STRUCTURE * (1 - (value * inner).sum((1, 2, 3)) / inner.sum((1, 2, 3))).mean()
        loss = loss + (1 - STRUCTURE) * ((x - y).abs() * counts).mean()
        loss = loss + MASK * F.binary_cross_entropy_with_logits(raw[:, 3:], mask)
        adam.zero_grad()
        loss.backward()
        adam.step()
        return float(loss.detach())

    return step


def contenders(batch, width):
    source = torch.Generator().manual_seed(0)
    faces = torch.randint(0, 256, (256, 4, 64, 64), generator=source, dtype=torch.uint8)
    identity = torch.arange(2).repeat(128)
    made = {}
    for label in ("plain", "rosenblatt"):
        with PrivateRandom(0):
            network = FaceSwapper((64, 64), width)
        if label == "rosenblatt":
            network = network.to(memory_format=torch.channels_last)
        made[label] = SwapObjective(network, faces, identity, Distortion()).train()
    objective = made["rosenblatt"]
    data = Resident(torch.arange(256), identity, device="cpu", batch_size=batch, generator=source)
    plan = OWN_PLAN
    run = _Run(objective, data, objective.loss, plan, 10**6, 1e-3, None)
    return {
        "plain": plain_step(made["plain"], 1e-3),
        "rosenblatt": lambda rows: run.one_step(rows, identity[rows], None),
    }


def steps(repeats, count, out):
    rows = {"threads": torch.get_num_threads()}
    for batch, width in ((16, 32), (32, 32)):
        both, taken = contenders(batch, width), {"plain": [], "rosenblatt": []}
        for repeat in range(repeats + 1):
            for label, step in both.items():
                with PrivateRandom(repeat):
                    started = time.perf_counter()
                    for i in range(count):
                        step((torch.arange(batch) + i * batch) % 256)
                if repeat:  # the first round warms up
                    taken[label].append(1000 * (time.perf_counter() - started) / count)
        middle = {label: float(np.median(values)) for label, values in taken.items()}
        name = f"64 px, width {width}, batch {batch}"
        rows[name] = {**middle, "ratio": middle["plain"] / middle["rosenblatt"], "all": taken}
        print(f"{name}: plain {middle['plain']:.1f} ms, rosenblatt {middle['rosenblatt']:.1f} ms a step, "
              f"ratio {rows[name]['ratio']:.2f}, n={repeats}", flush=True)  # fmt: skip
    if out:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=("learn", "judge", "steps"))
    parser.add_argument("model", type=Path, nargs="?")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--code", type=int, default=16)
    parser.add_argument("--warp", type=float, default=0.02)
    parser.add_argument("--colour", type=float, default=0.25)
    parser.add_argument("--batch-size", type=int, default=16)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    if options.what == "learn":
        learn(options.model, options)
    elif options.what == "judge":
        judge(options.model, options.out)
    else:
        steps(options.repeats, options.steps, options.out)
