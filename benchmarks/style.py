# ruff: noqa: E501 - the lines of the record
"""Style transfer at 512 pixels: Gatys beside a plain PyTorch loop on the same network and loss, and the one-pass methods.

The plain loop is what tutorials write: fp32, channels first, all steps at full size, torch's L-BFGS with its defaults
(history 100). Both start from the content; the loss of both is the plain loop's, in fp32 at full size, without our term that
holds the pixels between 0 and 1. Times faster is the time that the plain loop needs to reach our final loss (a lower bound where
it never does), over our time. Beside it the loss of the picture that one gets in the end, cut off at 0 and 1.
"""

import argparse
import contextlib
import json
import statistics
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_sample_images

import rosenblatt as rb
from rosenblatt.data.photo import read_photo
from rosenblatt.data.weights import pretrained
from rosenblatt.train.precision import choose_precision
from rosenblatt.train.style import SMOOTH, Look, paint, painting_objective, style_targets

WEIGHT = 10.0


def plain_objective(network, content, style):
    """The loss as tutorials write it, fp32 and channels first; equal to ours within round-off (checked before every run)."""
    layers = (*network.STYLE_LAYERS, *network.CONTENT_LAYERS)

    def gram(x):
        flat = x.flatten(2)
        return flat @ flat.mT / flat.shape[2]

    with torch.no_grad():
        kept, wanted = network.features(content, layers), network.features(style, layers)
        contents = {name: kept[name] for name in network.CONTENT_LAYERS}
        styles = {name: gram(wanted[name]) for name in network.STYLE_LAYERS}

    def away(x, target):
        return (x - target).square().sum() / target.square().sum()

    def objective(x):
        found = network.features(x, layers)
        content = sum(away(found[name], target) for name, target in contents.items()) / len(contents)
        style = sum(away(gram(found[name]), target) for name, target in styles.items()) / len(styles)
        smooth = (x[..., 1:] - x[..., :-1]).square().mean() + (x[..., 1:, :] - x[..., :-1, :]).square().mean()
        return content + WEIGHT * style + SMOOTH * smooth

    return objective


def plain(objective, content, steps, budget):
    """(seconds, loss) after each evaluation, and the picture in the end."""
    x = content.clone(memory_format=torch.contiguous_format).requires_grad_(True)
    optimizer, trace, started = torch.optim.LBFGS([x], max_iter=steps, max_eval=steps), [], time.perf_counter()

    class Enough(Exception):
        pass

    def closure():
        optimizer.zero_grad()
        loss = objective(x)
        loss.backward()
        trace.append((time.perf_counter() - started, loss.item()))
        if trace[-1][0] > budget:
            raise Enough
        return loss

    with contextlib.suppress(Enough):
        optimizer.step(closure)
    return trace, x.detach()


def ours(network, content, style, steps):
    look = Look(network, choose_precision("auto", content.device))
    started = time.perf_counter()
    *_, record = paint(look, content, [style], weights=[1.0], style_weight=WEIGHT, steps=steps)
    return time.perf_counter() - started, record.picture


def one_pass(method, content):
    """Seconds of whole calls of transform, untrained weights: the arithmetic is the same."""
    model = rb.StyleTransfer(method=method, network="squeezenet", steps=1, size=64, verbose=0, random_state=0)
    photo = (content[0].permute(1, 2, 0).numpy() * 255).astype(np.uint8)
    model.fit(photo, [photo])
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        model.transform(photo)
        seconds.append(time.perf_counter() - started)
    return seconds[1:]


@torch.no_grad()
def losses(objective, picture):
    """Of the picture as the optimizer left it, and as one gets it."""
    return {"loss": float(objective(picture)), "loss_cut_off": float(objective(picture.clamp(0, 1)))}


@torch.no_grad()
def check(objective, network, content, style):
    """Refuse to measure two different losses."""
    mine = painting_objective(Look(network), content, [style_targets(Look(network), [style], [1.0])], None, WEIGHT)
    x = content.flip(3)
    torch.testing.assert_close(sum(mine(x).values()), objective(x), rtol=1e-4, atol=0)


def save_image(picture, path):
    pixels = (picture.clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(path, quality=85)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--record", type=Path)
    arguments.add_argument("--size", type=int, default=512)
    arguments.add_argument("--runs", type=int, default=2)
    arguments.add_argument("--budget", type=float, default=75)
    given = arguments.parse_args()
    china, flower = (read_photo(np.array(p)).resized(given.size).tensor() for p in load_sample_images().images)
    network = pretrained("squeezenet")
    fast = pretrained("squeezenet").to(memory_format=torch.channels_last)
    objective = plain_objective(network, china, flower)
    check(objective, fast, china, flower)
    rows, ends = [], {}
    for steps in (100, 300):
        for _ in range(given.runs):
            seconds, ends["ours"] = ours(fast, china, flower, steps)
            rows.append({"steps": steps, "seconds": seconds, **losses(objective, ends["ours"])})
    trace, ends["plain"] = plain(objective, china, 2000, given.budget)
    for row in rows:
        reached = next(((n, t) for n, (t, loss) in enumerate(trace, start=1) if loss <= row["loss"]), None)
        row["plain_steps"], row["plain_seconds"] = reached or (None, trace[-1][0])
        row["times_faster"] = row["plain_seconds"] / row["seconds"]
    passes = {method: one_pass(method, china) for method in ("johnson", "adain")}
    log = {
        "threads": torch.get_num_threads(), "precision": choose_precision("auto", china.device), "torch": torch.__version__, "pixels": list(china.shape[2:]), "gatys": rows,
        "plain": {"steps": len(trace), "seconds": trace[-1][0], **losses(objective, ends["plain"])}, "one_pass": passes,
    }  # fmt: skip
    print(json.dumps(log, indent=1))
    if given.record:
        write(given.record, log, trace)
        for name, picture in ends.items():
            save_image(picture, given.record / f"{name}.jpg")


def write(folder, log, trace):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.json").write_text(json.dumps({**log, "plain_trace": trace[::10]}, indent=1) + "\n")
    lines = [
        "# Style transfer at 512 pixels",
        "",
        f"`python benchmarks/style.py --record {folder}` (SqueezeNet, china.jpg in the style of flower.jpg, "
        f"{log['pixels'][1]} x {log['pixels'][0]}; {log['precision']}, {log['threads']} threads, torch {log['torch']}).",
        "Loss: content + 10 x style + total variation, in fp32 at full size; the plain loop is fp32 L-BFGS of torch at full size, channels first.",
        "",
        "| our steps | our seconds | loss reached | plain loop to the same loss | times faster (asked 1.8) | loss cut off |",
        "|---|---|---|---|---|---|",
    ]
    for row in log["gatys"]:
        there = (
            f"{row['plain_seconds']:.1f} s, {row['plain_steps']} steps"
            if row["plain_steps"]
            else f"not in {row['plain_seconds']:.0f} s"
        )
        sign = "" if row["plain_steps"] else "over "
        lines.append(
            f"| {row['steps']} | {row['seconds']:.1f} | {row['loss']:.3f} | {there} | {sign}{row['times_faster']:.1f} "
            f"| {row['loss_cut_off']:.3f} |"
        )
    p = log["plain"]
    lines += [
        "",
        f"The plain loop after {p['steps']} steps and {p['seconds']:.0f} s: {p['loss']:.3f}; cut off at 0 and 1, which is the picture "
        f"that one gets, {p['loss_cut_off']:.3f}. One run of it.",
        "",
    ]
    for method, seconds in log["one_pass"].items():
        lines.append(
            f"{method}: {statistics.median(seconds):.2f} s a picture ({min(seconds):.2f} to {max(seconds):.2f}, n = {len(seconds)}; "
            "asked under 1 s), whole `transform` calls."
        )
        lines.append("")
    (folder / "README.md").write_text("\n".join(lines))


if __name__ == "__main__":
    main()
