"""Adversarial attacks beside Foolbox, torchattacks and AutoAttack; about half an hour on two idle cores.

train    three convnets, kept in ``--weights``: MNIST by a plain loop, MNIST by PGD of four steps in a ball that grows to 0.3
         (Madry et al. 2018, arXiv:1706.06083, eq. 2.1), and the CIFAR-10 subset by a plain loop.
ensemble `Ensemble` and AutoAttack ("pyautoattack", the authors' program; with ``--copies`` that of torchattacks, once): robust
         accuracy, seconds.
single   PGD at one radius, C&W and DeepFool in l2, at equal steps: robust accuracy or median norm, seconds.
curve    what 16 radii cost in `robustness_report`, and what the ensemble says at four of them.
defects  what an attack must not do, tried on each library: a table.

python benchmarks/attacks.py [--only single] [--victim mnist] [--samples 200] [--repeats 3] [--tiny] [--out LOG.json]

All points are judged by one function: a sample counts as broken if it was right before, its point lies in the ball and the box
(1e-6 over is forgiven) and is wrong. Contenders alternate; a repeat is another seed. An existing LOG.json keeps its other parts.
The peers lie in a folder of their own (``--peers``), installed without dependencies, so that none brings another torch.
"""

import argparse
import json
import math
import statistics
import sys
import time
import warnings
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F

from rosenblatt.attacks import PGD, CarliniWagner, DeepFool, Ensemble, Square
from rosenblatt.data.fetch import fetch
from rosenblatt.files import versions
from rosenblatt.report.robustness import robustness_report
from rosenblatt.train.seeds import PrivateRandom

VICTIMS = {
    # name: (data set, widths, radius of training, epochs, radius of the attack in linf)
    "mnist": ("mnist", (16, 32, 100), 0.0, 4, 0.1),
    "mnist-robust": ("mnist", (16, 32, 100), 0.3, 8, 0.3),
    "cifar": ("cifar10-subset", (24, 48, 128), 0.0, 25, 1 / 255),
}

# --------------------------------------------------------------------------------------------------------- victims


def network(channels, side, widths):
    first, second, dense = widths
    return nn.Sequential(
        nn.Conv2d(channels, first, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(first, second, 3, 1, 1), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(second * (side // 4) ** 2, dense), nn.ReLU(), nn.Linear(dense, 10),
    )  # fmt: skip


def pictures(name, tiny):
    data = fetch(VICTIMS[name][0])

    def scaled(X, y):
        x = torch.from_numpy(np.ascontiguousarray(X.transpose(0, 3, 1, 2))).float() / 255
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0))[: 2000 if tiny else None]
        return x[order], torch.from_numpy(np.asarray(y, np.int64))[order]

    return *scaled(data.X, data.y), *scaled(data.X_test, data.y_test)


def built(name):
    with PrivateRandom(0):
        return network(3 if name == "cifar" else 1, 32 if name == "cifar" else 28, VICTIMS[name][1])


def shifted(x):
    """Crops after a border of four pixels, one place a batch, and flips of half of the pictures."""
    top, left = torch.randint(0, 9, (2,)).tolist()
    x = F.pad(x, (4,) * 4)[:, :, top : top + 32, left : left + 32]
    return torch.where(torch.rand(len(x), 1, 1, 1) < 0.5, x.flip(3), x)


def pushed(net, x, y, eps, steps=4):
    """A few steps of PGD from a random place of the ball."""
    z = (x + torch.empty_like(x).uniform_(-eps, eps)).clamp(0, 1)
    for _ in range(steps):
        z = z.detach().requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(net(z), y), z)
        z = torch.minimum(torch.maximum(z.detach() + 2.5 * eps / steps * g.sign(), x - eps), x + eps).clamp(0, 1)
    return z


def trained(name, tiny):
    X, y, _, _ = pictures(name, tiny)
    _, _, eps, epochs, _ = VICTIMS[name]
    epochs, net, batch = 1 if tiny else epochs, built(name), 128
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3)
    total = epochs * -(-len(X) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3 if eps else 3e-3, total_steps=total)
    step = 0
    with PrivateRandom(0):
        for _ in range(epochs):
            for rows in torch.randperm(len(X)).split(batch):
                xb, step = X[rows].contiguous(memory_format=torch.channels_last), step + 1
                # the ball grows in the first half: at once, the network would say one class for all
                xb = pushed(net, xb, y[rows], eps * min(1, 2 * step / total)) if eps else xb
                xb = shifted(xb) if name == "cifar" else xb
                optimizer.zero_grad()
                F.cross_entropy(net(xb), y[rows]).backward()
                optimizer.step()
                schedule.step()
    return net


def train(given):
    found = {}
    for name in given.victim:
        path, started = given.weights / f"{name}.safetensors", time.perf_counter()
        if not path.exists():
            net = trained(name, given.tiny)
            path.parent.mkdir(parents=True, exist_ok=True)
            save_file(net.state_dict(), path)
        net = victim(name, given)
        _, _, x, y = pictures(name, given.tiny)
        with torch.no_grad():
            accuracy = float((net(x).argmax(1) == y).double().mean())
        found[name] = {"parameters": sum(p.numel() for p in net.parameters()), "accuracy": accuracy, "n": len(y)}
        say("train", name, seconds=round(time.perf_counter() - started, 1), **found[name])
    return found


def victim(name, given):
    net = built(name)
    net.load_state_dict(load_file(given.weights / f"{name}.safetensors"))
    return net.eval()


def samples(name, given):
    _, _, x, y = pictures(name, given.tiny)
    return x[: given.samples].clone(), y[: given.samples].clone()


# ----------------------------------------------------------------------------------------------------------- judge


def judged(net, x, y, adversarial, eps=None, norm="linf"):
    """Robust accuracy and, over the samples that were right, the median norm with failures as infinity."""
    adversarial = adversarial.detach().nan_to_num(nan=9e9)
    with torch.no_grad():
        right, wrong = net(x).argmax(1) == y, net(adversarial).argmax(1) != y
    away = (adversarial.double() - x.double()).flatten(1)
    away = torch.linalg.vector_norm(away, math.inf if norm == "linf" else 2, dim=1)
    inside = (adversarial.flatten(1).amin(1) >= -1e-6) & (adversarial.flatten(1).amax(1) <= 1 + 1e-6)
    broken = right & wrong & inside & (away <= (math.inf if eps is None else eps + 1e-6))
    norms = torch.where(broken, away, torch.inf)[right]
    said = {"robust_accuracy": float((right & ~broken).double().mean())}
    if eps is None:
        said |= {"median": float(norms.median()), "failures": int((right & ~broken).sum())}
    return said


def contest(part, name, contenders, net, x, y, repeats, *, eps=None, norm="linf", once=()):
    """Contenders in turn, each repeat with another seed: seconds and figures of each."""
    rows = {kind: [] for kind in contenders}
    for repeat in range(repeats):
        for kind, attack in contenders.items():
            if kind in once and repeat:
                continue
            torch.manual_seed(repeat)
            started, busy = time.perf_counter(), time.process_time()
            adversarial = attack(net, x, y, repeat)
            seconds, processor = time.perf_counter() - started, time.process_time() - busy
            row = {"seconds": seconds, "processor_seconds": processor, **judged(net, x, y, adversarial, eps, norm)}
            rows[kind].append(row)
            say(part, f"{name}, {kind}", **{key: round(value, 4) for key, value in row.items()})
    middle = {kind: {key: statistics.median(row[key] for row in of) for key in of[0]} for kind, of in rows.items()}
    base = middle["rosenblatt"]["seconds"]
    for kind, values in middle.items():
        values["times_ours"] = values["seconds"] / base
        say(part, f"{name}, {kind}, median", **{key: round(value, 4) for key, value in values.items()})
    return {"n": len(x), "repeats": repeats, "eps": eps, "rows": rows, "median": middle}


# -------------------------------------------------------------------------------------------------------- ensemble


def autoattack(eps, norm="Linf"):
    def attack(net, x, y, seed):
        from pyautoattack import AutoAttack

        attacker = AutoAttack(net, norm=norm, eps=eps, version="standard", seed=seed, device="cpu")
        return attacker.run_standard_evaluation(x, y, batch_size=250)[0]

    return attack


def torchattacks_autoattack(eps):
    def attack(net, x, y, seed):
        import torchattacks

        return torchattacks.AutoAttack(net, norm="Linf", eps=eps, version="standard", n_classes=10, seed=seed)(x, y)

    return attack


def our_ensemble(eps):
    return lambda net, x, y, seed: Ensemble(eps=eps, random_state=seed)(net, x, y).adversarial


def ensemble(given):
    found = {}
    for name in given.victim:
        net, (x, y), eps = victim(name, given), samples(name, given), VICTIMS[name][-1]
        contenders = {"rosenblatt": our_ensemble(eps), "autoattack": autoattack(eps)}
        if given.copies:
            contenders["torchattacks"] = torchattacks_autoattack(eps)
        found[name] = contest("ensemble", name, contenders, net, x, y, given.repeats, eps=eps, once=("torchattacks",))
    return found


# ---------------------------------------------------------------------------------------------------------- single

STEPS = {"pgd": 40, "cw": 200, "searches": 6, "deepfool": 50}


def foolbox_run(attack, net, x, y, eps):
    import foolbox

    return attack(foolbox.PyTorchModel(net, bounds=(0, 1)), x, y, epsilons=eps)[1]


def pgd_contenders(eps):
    """All with steps of 2.5 eps / steps, torchattacks' ratio; Foolbox with its own, eps / 30, too."""
    import foolbox
    import torchattacks

    steps = STEPS["pgd"]
    size = 2.5 * eps / steps
    return {
        "rosenblatt": lambda net, x, y, seed: PGD(eps=eps, steps=steps, random_state=seed)(net, x, y).adversarial,
        "foolbox": lambda net, x, y, seed: foolbox_run(
            foolbox.attacks.LinfPGD(steps=steps, abs_stepsize=size), net, x, y, eps
        ),
        "foolbox, its step": lambda net, x, y, seed: foolbox_run(foolbox.attacks.LinfPGD(steps=steps), net, x, y, eps),
        "torchattacks": lambda net, x, y, seed: torchattacks.PGD(net, eps=eps, alpha=size, steps=steps)(x, y),
    }


def cw_contenders():
    """Six weights of 200 steps each; torchattacks has one weight, and takes all steps for it."""
    import foolbox
    import torchattacks

    steps, searches = STEPS["cw"], STEPS["searches"]
    theirs = foolbox.attacks.L2CarliniWagnerAttack
    return {
        "rosenblatt": lambda net, x, y, seed: CarliniWagner(steps=steps, searches=searches)(net, x, y).adversarial,
        "foolbox": lambda net, x, y, seed: foolbox_run(
            theirs(steps=steps, binary_search_steps=searches), net, x, y, None
        ),
        "torchattacks": lambda net, x, y, seed: torchattacks.CW(net, steps=steps * searches)(x, y),
    }


def deepfool_contenders():
    import foolbox
    import torchattacks

    steps = STEPS["deepfool"]
    return {
        "rosenblatt": lambda net, x, y, seed: DeepFool(steps=steps)(net, x, y).adversarial,
        "foolbox": lambda net, x, y, seed: foolbox_run(foolbox.attacks.L2DeepFoolAttack(steps=steps), net, x, y, None),
        "torchattacks": lambda net, x, y, seed: torchattacks.DeepFool(net, steps=steps)(x, y),
    }


def single(given):
    found = {}
    for name in given.victim:
        net, (x, y), eps = victim(name, given), samples(name, given), VICTIMS[name][-1]
        found[name] = {
            "pgd": contest("pgd", name, pgd_contenders(eps), net, x, y, given.repeats, eps=eps),
            "deepfool": contest("deepfool", name, deepfool_contenders(), net, x, y, given.repeats, norm="l2"),
            "cw": contest("cw", name, cw_contenders(), net, x, y, given.repeats, norm="l2"),
        }
    return found


# ----------------------------------------------------------------------------------------------------------- curve


def curve(given):
    found = {}
    for name in given.victim:
        net, (x, y), eps = victim(name, given), samples(name, given), VICTIMS[name][-1]
        many, rows = [eps * (i + 1) / 16 for i in range(16)], {"one": [], "sixteen": []}
        for repeat in range(given.repeats):
            for kind, radii in (("one", eps), ("sixteen", many)):
                started = time.perf_counter()
                report = robustness_report(net, x, y, eps=radii, random_state=repeat)
                rows[kind].append(time.perf_counter() - started)
                say("curve", f"{name}, {kind}", seconds=round(rows[kind][-1], 2))
        said = {round(row["eps"], 6): row["robust_accuracy"] for row in report.curve}
        direct = {}
        for radius in many[3::4]:
            direct[round(radius, 6)] = Ensemble(eps=radius, queries=1000)(net, x, y).robust_accuracy
        ratio = statistics.median(rows["sixteen"]) / statistics.median(rows["one"])
        found[name] = {"seconds": rows, "ratio": ratio, "curve": said, "ensemble": direct, "flags": report.flags}
        say("curve", name, ratio=round(ratio, 3), curve=said, ensemble=direct)
    return found


# --------------------------------------------------------------------------------------------------------- defects

EPS = 0.15


class Small(nn.Module):
    """BatchNorm and dropout; logits may be scaled, shifted or few."""

    def __init__(self, classes=10, scale=1.0, shift=0.0):
        super().__init__()
        with PrivateRandom(3):
            self.body = nn.Sequential(
                nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(),
                nn.Linear(6 * 64, classes),
            )  # fmt: skip
        self.scale, self.shift = scale, shift

    def forward(self, x):
        return self.body(x) * self.scale + self.shift


def noise(n=16, seed=0, sharp=False):
    x = torch.rand(n, 1, 8, 8, generator=torch.Generator().manual_seed(seed))
    return (x > 0.5).float() if sharp else x


def said_by(net, x):
    modes = [m.training for m in net.modules()]
    net.eval()
    with torch.no_grad():
        answer = net(x).argmax(1)
    for m, training in zip(net.modules(), modes, strict=True):
        m.training = training
    return answer


def libraries(eps=EPS):
    """(net, x, y) to points, by library and attack."""
    import foolbox
    import torchattacks

    fb = foolbox.attacks
    return {
        "rosenblatt": {
            "PGD": lambda n, x, y: PGD(eps=eps, steps=20)(n, x, y).adversarial,
            "C&W": lambda n, x, y: CarliniWagner(steps=60, searches=5)(n, x, y).adversarial,
            "DeepFool": lambda n, x, y: DeepFool()(n, x, y).adversarial,
            "Square": lambda n, x, y: Square(eps=eps, queries=100)(n, x, y).adversarial,
            "Ensemble": lambda n, x, y: Ensemble(eps=eps, steps=20, queries=100)(n, x, y).adversarial,
        },
        "foolbox": {
            "PGD": lambda n, x, y: foolbox_run(fb.LinfPGD(steps=20), n, x, y, eps),
            "C&W": lambda n, x, y: foolbox_run(fb.L2CarliniWagnerAttack(steps=60, binary_search_steps=5), n, x, y, None),
            "DeepFool": lambda n, x, y: foolbox_run(fb.L2DeepFoolAttack(), n, x, y, None),
        },
        "torchattacks": {
            "PGD": lambda n, x, y: torchattacks.PGD(n, eps=eps, alpha=eps / 8, steps=20)(x, y),
            "C&W": lambda n, x, y: torchattacks.CW(n, steps=300)(x, y),
            "DeepFool": lambda n, x, y: torchattacks.DeepFool(n)(x, y),
            "Square": lambda n, x, y: torchattacks.Square(n, eps=eps, n_queries=100)(x, y),
            "AutoAttack": lambda n, x, y: torchattacks.AutoAttack(n, eps=eps, n_classes=n.body[5].out_features)(x, y),
        },
        "autoattack": {"AutoAttack": lambda n, x, y: autoattack(eps)(n, x, y, 0)},
    }  # fmt: skip


def least(kind):
    return kind in ("C&W", "DeepFool")


def hits(net, x, y, adversarial, kind):
    """How many were broken, as the judge sees it."""
    net.eval()
    figure = judged(net, x, y, adversarial, None if least(kind) else EPS, "l2" if least(kind) else "linf")
    return round((float((said_by(net, x) == y).double().mean()) - figure["robust_accuracy"]) * len(x))


def grads_left(attack, kind):
    net, x = Small().eval(), noise()
    attack(net, x, said_by(net, x))
    if any(p.grad is not None for p in net.parameters()):
        return "gradients stay in .grad of the parameters"
    return "requires_grad changed" if not all(p.requires_grad for p in net.parameters()) else None


def modes_changed(attack, kind):
    net, x = Small().train(), noise()
    net.body[1].eval()  # frozen statistics, as in fine-tuning
    before = [m.training for m in net.modules()]
    attack(net, x, said_by(net, x))
    after = [m.training for m in net.modules()]
    return None if before == after else f"{sum(a != b for a, b in zip(before, after, strict=True))} modules changed"


def statistics_drift(attack, kind):
    net, x = Small().train(), noise()
    y = said_by(net, x)
    before = net.body[1].running_mean.clone()
    attack(net, x, y)
    drift = float((net.body[1].running_mean - before).abs().max())
    return f"running mean moved by {drift:.2g}" if drift else None


def random_state(attack, kind):
    net, x = Small().eval(), noise()
    y = said_by(net, x)
    torch.manual_seed(11)
    before, old = torch.get_rng_state(), np.random.get_state()[1].copy()  # noqa: NPY002
    attack(net, x, y)
    changed = {
        "torch": not torch.equal(before, torch.get_rng_state()),
        "numpy": not np.array_equal(old, np.random.get_state()[1]),  # noqa: NPY002
    }
    verb = "set anew" if torch.initial_seed() != 11 else "drawn from"
    return (
        f"{' and '.join(name for name, was in changed.items() if was)} state {verb}" if any(changed.values()) else None
    )


def outside(attack, kind):
    net, x = Small().eval(), noise(64)
    adversarial = attack(net, x, said_by(net, x)).detach()
    if not torch.isfinite(adversarial).all():
        return f"NaN in {int((~torch.isfinite(adversarial)).flatten(1).any(1).sum())} of 64 results"
    over = max(float(adversarial.max()) - 1, -float(adversarial.min()), 0.0)
    ball = 0.0 if least(kind) else max(float((adversarial.double() - x.double()).abs().max()) - EPS, 0.0)
    said = [f"{name} left by {value:.1g}" for name, value in (("box", over), ("ball", ball)) if value > 0]
    return ", ".join(said) or None


def of_the_batch(attack, kind):
    """The first sample by itself, and before others; in float64, where sums in another order move no sign of a gradient."""
    net, x, found = Small().double().eval(), noise().double(), []
    y = said_by(net, x)
    for first in range(4):
        pair = []
        for rows in ([first], [*range(first, 16), *range(first)]):
            torch.manual_seed(0)
            pair.append((attack(net, x[rows], y[rows]).detach()[0] - x[first]).flatten())
        a, b = pair
        apart = (
            float((a.norm() - b.norm()).abs() / a.norm().clamp_min(1e-12))
            if least(kind)
            else float((a - b).abs().max())
        )
        found.append(apart)
    worst = max(found)
    if least(kind):
        return f"norms differ by {worst:.0%}" if worst > 1e-2 else None
    return f"points differ by {worst:.2g}" if worst > 1e-3 else None


def logits_moved(attack, kind):
    x, found = noise(32), []
    for change in ({"shift": -50.0}, {"scale": 1e-3}, {"scale": 1e4}):
        plain, moved = Small().eval(), Small(**change).eval()
        y = said_by(plain, x)
        before, after = (hits(net, x, y, attack(net, x, y), kind) for net in (plain, moved))
        if after < before - 1:
            found.append(f"{next(iter(change.items()))[0]} {next(iter(change.values())):g}: {before} to {after} broken")
    return "; ".join(found) or None


def saturated(attack, kind):
    """Black and white pictures: who may go anywhere in the box must break them all."""
    net, x = Small().eval(), noise(32, sharp=True)
    y = said_by(net, x)
    adversarial = attack(net, x, y)
    if least(kind):
        broken = hits(net, x, y, adversarial, kind)
        return f"{broken} of 32 broken" if broken < 32 else None
    mine = PGD(eps=EPS, steps=20)(net, x, y)
    broken = hits(net, x, y, adversarial, kind)
    return f"{broken} of 32 broken, PGD here {int(mine.success.sum())}" if broken < mine.success.sum() - 1 else None


def few_classes(attack, kind):
    found = []
    for classes in (2, 3, 4):
        net, x = Small(classes).eval(), noise(16)
        y = said_by(net, x)
        mine = PGD(eps=EPS, steps=20)(net, x, y).success.sum()
        try:
            broken = hits(net, x, y, attack(net, x, y), kind)
        except Exception as error:
            found.append(f"{classes} classes: {type(error).__name__}")
            continue
        if broken < (16 if least(kind) else mine - 1):
            found.append(f"{classes} classes: {broken} of 16 broken")
    return "; ".join(found) or None


def not_a_number(attack, kind):
    net, x = Small().eval(), noise()
    y = said_by(net, x)
    with torch.no_grad():
        net.body[5].bias[0] = torch.nan
    try:
        attack(net, x, y)
    except Exception:
        return None
    return "logits of NaN pass without a word"


CHECKS = {
    "gradients left in parameters": grads_left,
    "modes of submodules changed": modes_changed,
    "BatchNorm drifts (network in train mode)": statistics_drift,
    "global random state": random_state,
    "leaves the ball or the box": outside,
    "depends on the batch (same seed)": of_the_batch,
    "shift or scale of logits": logits_moved,
    "pixels at 0 and 1 held": saturated,
    "2, 3, 4 classes": few_classes,
    "NaN in logits": not_a_number,
}


def counted_before(name):
    """Whether a library's own success counts samples that were wrong before; those without such a figure say nothing."""
    net, x = Small().eval(), noise()
    y = (said_by(net, x) + 1) % 10
    if name == "rosenblatt":
        return None if not PGD(eps=EPS)(net, x, y).success.any() else "counted"
    if name == "foolbox":
        import foolbox

        done = foolbox.attacks.LinfPGD(steps=2)(foolbox.PyTorchModel(net, bounds=(0, 1)), x, y, epsilons=EPS)[2]
        return f"{int(done.sum())} of {len(x)} wrong before count as success" if done.any() else None
    return "gives points only, no success" if name == "torchattacks" else None


def defects(given):
    found = {}
    for name, attacks in libraries().items():
        for kind, attack in attacks.items():
            for check, tried in CHECKS.items():
                try:
                    answer = tried(attack, kind)
                except Exception as error:
                    answer = f"{type(error).__name__}: {str(error)[:80]}"
                found.setdefault(check, {}).setdefault(name, {})[kind] = answer
                if answer:
                    say("defects", f"{name} {kind}, {check}", found=answer)
        found.setdefault("counts what was wrong before", {})[name] = {"": counted_before(name)}
    return found


# ------------------------------------------------------------------------------------------------------------ main


def say(part, name, **values):
    print(f"{part:8s} {name}: " + ", ".join(f"{key} {value}" for key, value in values.items()), flush=True)


PARTS = {"train": train, "ensemble": ensemble, "single": single, "curve": curve, "defects": defects}


def peers_of(folder):
    from importlib.metadata import version

    sys.path.append(str(folder))  # behind the environment's own packages, which thereby win
    return {name: version(name) for name in ("foolbox", "torchattacks", "pyautoattack")}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", choices=list(PARTS), action="append")
    parser.add_argument("--victim", choices=list(VICTIMS), action="append")
    parser.add_argument("--samples", type=int, default=200)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--copies", action="store_true", help="torchattacks' copy of AutoAttack as well, once")
    parser.add_argument("--peers", type=Path, default=Path(sys.prefix) / "peers")
    parser.add_argument("--weights", type=Path, default=Path("out/attacks"))
    parser.add_argument("--tiny", action="store_true", help="a smoke test: small data, no figure of it counts")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    given.samples, given.repeats = (16, 1) if given.tiny else (given.samples, given.repeats)
    given.victim = given.victim or list(VICTIMS)
    warnings.simplefilter("ignore")
    found = json.loads(given.out.read_text()) if given.out and given.out.exists() else {}
    found |= {"threads": torch.get_num_threads(), "versions": versions() | peers_of(given.peers)}
    victims = given.victim
    for part in given.only or PARTS:
        for name in victims if part != "defects" else victims[:1]:
            given.victim = [name]
            found[part] = found.get(part, {}) | PARTS[part](given)
            if given.out:  # as it goes: a stopped run leaves what it has
                given.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
