"""SemanticGAN against pix2pix's U-Net on facades at 64 pixels, one thread, the same processor time.

    python benchmarks/facades.py --contender spade --minutes 25 --out DIR
    python benchmarks/facades.py --contender pix2pix --minutes 25 --out DIR
    python benchmarks/facades.py --grid --out DIR

Both learn from the 240 training pairs (24 of them choose the epoch, by the kernel distance in random filters) with the same
augmentation and precision, and are judged on the 50 validation pairs, which nothing else sees: KID in SqueezeNet's features
and in random filters, and the agreement of the label maps with what a small segmenter, trained on the real training pairs,
reads off the renderings. The U-Net has about as many parameters as SemanticGAN's generator with its style encoder.
"""

import argparse
import json
import os
import signal
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import rosenblatt as rb
from rosenblatt.data.label_maps import PALETTES, jitter
from rosenblatt.data.label_pairs import read_label_pairs
from rosenblatt.metrics.distribution import kernel_distance
from rosenblatt.metrics.extractors import extractor
from rosenblatt.metrics.generated import judge
from rosenblatt.metrics.segmentation import agreement
from rosenblatt.models.semantic_gan import label_channels
from rosenblatt.train.precision import autocast, choose_precision
from rosenblatt.train.segmenter import train_segmenter

SIDE, CLASSES, HELD = 64, 12, 24
DEVICE = torch.device("cpu")


def pairs(part, side=SIDE):
    root = Path(os.environ["ROSENBLATT_DATA"], "facades", part)
    found = read_label_pairs(root, size=side, palette=PALETTES["facades"])
    return found.labels, found.photos


# ----------------------------------------------------------------------------------------------------------- pix2pix


class UNet(nn.Module):
    """Isola et al. 2017, section 6.1.1: 4 x 4 convolutions down to one pixel, shortcuts, dropout on the way up."""

    def __init__(self, inputs, width, side=SIDE):
        super().__init__()
        count = side.bit_length() - 1
        sizes = [min(width << n, 8 * width) for n in range(count)]
        self.down, self.up = nn.ModuleList(), nn.ModuleList()
        for n, size in enumerate(sizes):
            before, inner = (inputs if n == 0 else sizes[n - 1]), n not in (0, count - 1)
            norm = [nn.BatchNorm2d(size)] if inner else []
            self.down.append(nn.Sequential(nn.Conv2d(before, size, 4, 2, 1, bias=not inner), *norm))
        for n in range(count - 1, 0, -1):
            before = sizes[n] * (1 if n == count - 1 else 2)
            drop = [nn.Dropout(0.5)] if n >= count - 3 else []
            conv = nn.ConvTranspose2d(before, sizes[n - 1], 4, 2, 1, bias=False)
            self.up.append(nn.Sequential(conv, nn.BatchNorm2d(sizes[n - 1]), *drop))
        self.last = nn.ConvTranspose2d(2 * sizes[0], 3, 4, 2, 1)
        self.apply(start)

    def forward(self, x):
        kept = []
        for n, part in enumerate(self.down):
            x = part(F.leaky_relu(x, 0.2) if n else x)
            kept.append(x)
        for part, other in zip(self.up, kept[-2::-1], strict=True):
            x = torch.cat([part(F.relu(x)), other], 1)
        return torch.tanh(self.last(F.relu(x)))


def patch_critic(inputs, width=64, layers=3):
    """The patch critic of the same paper, section 6.1.2, one halving less than at 256 pixels."""
    sizes = [inputs, *(width << n for n in range(layers))]
    parts = []
    for n in range(layers):
        norm = [nn.BatchNorm2d(sizes[n + 1])] if n else []
        stride = 1 if n == layers - 1 else 2
        parts += [nn.Conv2d(sizes[n], sizes[n + 1], 4, stride, 1, bias=n == 0), *norm, nn.LeakyReLU(0.2)]
    critic = nn.Sequential(*parts, nn.Conv2d(sizes[-1], 1, 4, 1, 1))
    critic.apply(start)
    return critic


def start(part):
    if isinstance(part, (nn.Conv2d, nn.ConvTranspose2d)):
        nn.init.normal_(part.weight, std=0.02)
    elif isinstance(part, nn.BatchNorm2d):
        nn.init.normal_(part.weight, 1.0, 0.02)


class Pix2Pix:
    """Section 3: the conditional critic's logistic loss and 100 times the absolute error; Adam at 2e-4 with 0.5."""

    def __init__(self, width, seed, batch):
        torch.manual_seed(seed)
        self.generator = UNet(CLASSES + 1, width).to(memory_format=torch.channels_last)
        self.critic = patch_critic(CLASSES + 4).to(memory_format=torch.channels_last)
        self.adams = [
            torch.optim.Adam(p.parameters(), lr=2e-4, betas=(0.5, 0.999), fused=True)
            for p in (self.generator, self.critic)
        ]
        self.precision, self.batch = choose_precision("auto", DEVICE), batch

    def epoch(self, labels, photos, share):
        """One pass; the rate falls to zero over the second half of the run, as in the published code."""
        for adam in self.adams:
            adam.param_groups[0]["lr"] = 2e-4 * min(1.0, 2 * (1 - share))
        self.generator.train()
        for rows in torch.randperm(len(labels)).split(self.batch):
            real, maps = jitter(photos[rows].contiguous(memory_format=torch.channels_last), labels[rows], "flip+zoom")
            seen = label_channels(maps, CLASSES)
            with autocast(DEVICE, self.precision):
                fake = self.generator(seen).float()
                a, b = (self.critic(torch.cat([seen, x], 1)).float() for x in (real, fake.detach()))
                value = (F.softplus(-a).mean() + F.softplus(b).mean()) / 2
            self.step(1, value)
            with autocast(DEVICE, self.precision):
                score = F.softplus(-self.critic(torch.cat([seen, fake], 1)).float()).mean()
            self.step(0, score + 100 * (fake - real).abs().mean())

    def step(self, which, value):
        for adam in self.adams:
            adam.zero_grad(set_to_none=True)
        value.backward()
        self.adams[which].step()

    @torch.no_grad()
    def render(self, labels):
        """As published (section 3.3): dropout and batch statistics stay those of training, one picture at a time."""
        with autocast(DEVICE, self.precision):
            drawn = torch.cat([self.generator(label_channels(m[None], CLASSES)).float() for m in labels])
        return ((drawn.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 2, 3, 1).numpy()


def train_pix2pix(labels, photos, minutes, seed, options):
    """Train for so many processor minutes; the epoch of the lowest kernel distance on 24 held-out pairs is kept."""
    model = Pix2Pix(options.unet_width, seed, options.batch)
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
    x = torch.from_numpy(photos).permute(0, 3, 1, 2).float() / 127.5 - 1
    y, by = torch.from_numpy(labels), extractor("random")
    rows, held = order[HELD:], order[:HELD]
    real, best, started, used, history = by(photos), (np.inf, None), time.process_time(), 0.0, []
    while used < 60 * minutes:
        model.epoch(y[rows], x[rows], used / (60 * minutes))
        if len(history) % 5 == 0:
            found = kernel_distance(real, by(model.render(y[held])))[0]
            if found < best[0]:
                best = found, {k: v.clone() for k, v in model.generator.state_dict().items()}, len(history) + 1
        history.append(found)
        used = time.process_time() - started
    model.generator.load_state_dict(best[1])
    said = {"epochs": len(history), "best_epoch": best[2], "held_out_kid": best[0], "cpu_minutes": used / 60}
    return model.render, sum(p.numel() for p in model.generator.parameters()), said


# -------------------------------------------------------------------------------------------------------------- ours


def epochs_within(minutes, labels, photos, chosen):
    """Epochs that fit into so many processor minutes, by the time of two short fits."""
    taken = []
    for epochs in (1, 2):
        started = time.process_time()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rb.SemanticGAN(epochs=epochs, verbose=0, classes=CLASSES, **chosen).fit(labels, photos)
        taken.append(time.process_time() - started)
    an_epoch = taken[1] - taken[0]
    return max(1, int((60 * minutes - (taken[0] - an_epoch)) / an_epoch))


def train_spade(labels, photos, minutes, seed, options):
    """Train for as many epochs as fit, or take a model that did."""
    if options.model:
        return said_of(rb.load(options.model, device="cpu"), {"model": options.model.name})
    chosen = {"random_state": seed, "device": "cpu", "style": not options.no_style, "batch_size": options.batch}
    if options.rate:
        chosen["learning_rate"] = options.rate
    if options.weights:
        chosen["weights"] = tuple(options.weights)
    if options.no_perceptual:
        chosen["perceptual"] = None
    epochs = options.epochs or epochs_within(minutes, labels, photos, chosen)
    print(f"spade: {epochs} epochs", flush=True)
    started = time.process_time()
    # other work on the machine makes processor time dearer: at the end of the minutes the run is stopped, wherever it is
    signal.signal(signal.SIGPROF, signal.default_int_handler)
    signal.setitimer(signal.ITIMER_PROF, 60 * minutes)
    model = rb.SemanticGAN(epochs=epochs, verbose=2, classes=CLASSES, **chosen).fit(labels, photos)
    signal.setitimer(signal.ITIMER_PROF, 0)
    model.save(Path(options.out, "spade.safetensors"))
    return said_of(model, {"planned_epochs": epochs, "cpu_minutes": (time.process_time() - started) / 60})


def said_of(model, said):
    """What renders, its size, and its training in numbers."""
    said |= {
        "epochs": model.n_iter_, "best_epoch": model.best_epoch_, "perceptual": model.perceptual_,
        "held_out_kid": -model.history_[model.best_epoch_ - 1]["validation_score"], "precision": model.precision_,
        "weights": model.weights, "diagnosis": model.diagnose(), "history": model.history_,
        "loop_wall_seconds": sum(row["seconds"] for row in model.history_),
    }  # fmt: skip
    size = sum(p.numel() for p in model.module_.generator.parameters())
    return lambda maps: model.transform(np.asarray(maps)), size, said


# ------------------------------------------------------------------------------------------------------------- scores


def scores(photos, drawn, labels, segment):
    found = {}
    for name in ("squeezenet", "random"):
        by = extractor(name)
        value = judge(photos, drawn, by=by, split="facades, validation part, 50")
        a, b = by(photos), by(drawn)
        draws = np.random.default_rng(0).integers(0, len(a), (200, 2, len(a)))
        # a picture that a draw holds twice is not unlike itself: resample without putting back, half of them
        half = [kernel_distance(a[np.unique(i)], b[np.unique(j)], subsets=1)[0] for i, j in draws]
        found[name] = {**value.row(), "kid_resampled_deviation": float(np.std(half))}
        print(f"  {name}: KID {value.kid:.4f} (deviation over resamplings {np.std(half):.4f}), {value}", flush=True)
    read = agreement(labels, segment(drawn), classes=CLASSES)
    print(f"  label agreement {100 * read.pixels:.1f} %, mean IoU {read.mean_iou:.3f}", flush=True)
    return {**found, "pixels": read.pixels, "mean_iou": read.mean_iou, "iou": read.iou}


def grid(out, count=8):
    from PIL import Image

    labels, photos = pairs("val")
    colours = np.uint8(PALETTES["facades"].colours)
    files = [Path(out, f"{name}.npy") for name in ("pix2pix", "spade")]
    drawn = [np.load(file) for file in files if file.is_file()]
    rows = [np.concatenate([colours[labels[n]], *(d[n] for d in drawn), photos[n]], 1) for n in range(count * 2)]
    whole = np.concatenate([np.concatenate(rows[:count]), np.concatenate(rows[count:])], 1)
    Image.fromarray(whole).resize((whole.shape[1] * 2, whole.shape[0] * 2), Image.NEAREST).save(Path(out, "grid.png"))


def main(options):
    options.out.mkdir(parents=True, exist_ok=True)
    if options.grid:
        grid(options.out)
        return
    (labels, photos), (test_labels, test_photos) = pairs("train"), pairs("val")
    print(f"{len(photos)} training pairs, {len(test_photos)} to judge, {torch.get_num_threads()} thread(s)", flush=True)
    contender = {"spade": train_spade, "pix2pix": train_pix2pix}[options.contender]
    render, size, said = contender(labels, photos, options.minutes, options.seed, options)
    print({key: value for key, value in said.items() if key != "history"}, f"{size:,} parameters", flush=True)
    if options.pilot:  # the validation part stays unseen while settings are chosen
        return
    reader = {"epochs": options.segmenter_epochs, "width": options.segmenter_width}
    segment = train_segmenter(photos, labels, classes=CLASSES, **reader)
    real = agreement(test_labels, segment(test_photos), classes=CLASSES)
    print(f"segmenter on real photographs: {100 * real.pixels:.1f} %, mean IoU {real.mean_iou:.3f}", flush=True)
    drawn = render(torch.from_numpy(test_labels))
    np.save(options.out / f"{options.contender}.npy", drawn)
    row = {
        "contender": options.contender, "threads": torch.get_num_threads(), "seed": options.seed, "parameters": size,
        "batch": options.batch, **said, "segmenter": reader,
        "segmenter_on_real": {"pixels": real.pixels, "mean_iou": real.mean_iou},
        **scores(test_photos, drawn, test_labels, segment),
    }  # fmt: skip
    (options.out / f"{options.contender}.json").write_text(json.dumps(row, indent=1))


if __name__ == "__main__":
    warnings.simplefilter("ignore", rb.errors.TrainingInterrupted)
    parser = argparse.ArgumentParser()
    parser.add_argument("--contender", choices=("spade", "pix2pix"))
    parser.add_argument("--minutes", type=float, default=25)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float)
    parser.add_argument("--epochs", type=int, help="of spade; as many as fit, by two short fits, where it is not given")
    parser.add_argument("--unet-width", type=int, default=22)
    parser.add_argument("--model", type=Path, help="of spade: judge this model file instead of training one")
    parser.add_argument("--weights", type=float, nargs=3)
    parser.add_argument("--no-style", action="store_true")
    parser.add_argument("--no-perceptual", action="store_true")
    parser.add_argument("--segmenter-epochs", type=int, default=12)
    parser.add_argument("--segmenter-width", type=int, default=16)
    parser.add_argument("--pilot", action="store_true", help="train and stop before the validation part is looked at")
    parser.add_argument("--grid", action="store_true")
    parser.add_argument("--out", type=Path, required=True)
    main(parser.parse_args())
