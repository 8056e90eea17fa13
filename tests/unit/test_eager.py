"""The optimizers without torch's compiler: the same numbers, and the compiler is not loaded."""

import subprocess
import sys

import pytest
import torch

from rosenblatt.train.eager import eager

KINDS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
    "adam": (torch.optim.Adam, {"betas": (0.8, 0.99), "fused": True}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "rmsprop": (torch.optim.RMSprop, {"alpha": 0.99}),
    "lbfgs": (torch.optim.LBFGS, {"max_iter": 3}),
}


def path(kind, options, steps=6):
    """Weights after each step down a crooked valley; the optimizer's state goes through a dict half-way."""
    weights = [
        torch.tensor([[1.0, -2.0], [0.5, 3.0]], requires_grad=True),
        torch.tensor([0.3, -0.7], requires_grad=True),
    ]
    make = lambda: kind(weights, lr=0.05, **options)  # noqa: E731
    optimizer, found = make(), []

    def closure():
        optimizer.zero_grad()
        loss = ((weights[0] @ weights[1] - 1) ** 2).sum() + (weights[0] ** 4).sum() / 8
        loss.backward()
        return loss

    for step in range(steps):
        if step == steps // 2:
            state = optimizer.state_dict()
            optimizer = make()
            optimizer.load_state_dict(state)
        found += [optimizer.step(closure).detach(), *(w.detach().clone() for w in weights)]
    return found


@pytest.mark.parametrize("name", KINDS)
def test_bit_for_bit_the_optimizer_of_torch(name):
    kind, options = KINDS[name]
    for ours, theirs in zip(path(eager(kind), options), path(kind, options), strict=True):
        assert torch.equal(ours, theirs)


def test_one_class_a_kind_and_hooks_still_run():
    kind = eager(torch.optim.Adam)
    assert kind is eager(torch.optim.Adam)
    assert issubclass(kind, torch.optim.Adam)
    seen, weight = [], torch.ones(2, requires_grad=True)
    optimizer = kind([weight], lr=0.1)
    optimizer.register_step_post_hook(lambda *_: seen.append(1))
    weight.sum().backward()
    optimizer.step()
    assert seen == [1]
    assert not torch.equal(weight, torch.ones(2))


def test_a_fit_does_not_load_the_compiler():
    program = (
        "import sys, numpy as np, rosenblatt as rb\n"
        "X = np.random.default_rng(0).integers(0, 255, (12, 8, 8), dtype=np.uint8)\n"
        "for name in ('sgd', 'adam', 'adamw', 'muon', 'rmsprop'):\n"
        "    plan = rb.Plan(optimizer=name)\n"
        "    rb.CNNClassifier(epochs=1, random_state=0, verbose=0, plan=plan).fit(X, np.arange(12) % 2)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
