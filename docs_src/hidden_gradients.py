"""What the page of attacks says of rounding, JPEG, the median and noise before a convnet of digits.

Run: python docs_src/hidden_gradients.py
"""

from functools import partial

import numpy as np
import torch
from sklearn.datasets import load_digits

import rosenblatt as rb
from rosenblatt.attacks import PGD, Transformed, bit_depth, eot, jpeg, median

BEFORE = {
    "2 bits": partial(bit_depth, bits=2),
    "JPEG, quality 50": partial(jpeg, quality=50),
    "median of 3 x 3": median,
}


def noise(x, deviation=0.3):
    """Inputs (N, ...) with normal noise."""
    return x + deviation * torch.randn_like(x)


def measure(eps=0.1, count=200, epochs=8, steps=20):
    """Share of right digits: of the net alone, behind each transformation, and behind noise.

    Returns:
        Name to (right, right under PGD through the true gradient, right under PGD through BPDA or means of draws).
    """
    X, y = load_digits(return_X_y=True)
    pictures = (X.reshape(-1, 8, 8) / 16 * 255).round().astype(np.uint8)
    model = rb.CNNClassifier(epochs=epochs, batch_size=64, random_state=0, verbose=0).fit(pictures[:1400], y[:1400])
    pictures, y = pictures[1400 : 1400 + count], y[1400 : 1400 + count]
    attack = PGD(eps=eps, steps=steps)
    alone = attack(model, pictures, y)
    found = {"nothing": (alone.accuracy, alone.robust_accuracy, alone.robust_accuracy)}
    for name, transform in BEFORE.items():
        victim = Transformed(model, transform)
        seeming, true = attack(victim, pictures, y), attack(victim.through(), pictures, y)
        found[name] = (seeming.accuracy, seeming.robust_accuracy, true.robust_accuracy)
    single, means = (attack(eot(model, samples, transform=noise), pictures, y) for samples in (1, 16))
    found["noise of 0.3"] = (single.accuracy, single.robust_accuracy, means.robust_accuracy)
    return found


if __name__ == "__main__":
    for name, shares in measure().items():
        print(f"{name:18}", " ".join(f"{share:6.1%}" for share in shares))
