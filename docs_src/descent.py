"""Draw the optimizers' paths over Rosenbrock's valley, and a learning-rate range test; writes docs/img/."""

import sys
from pathlib import Path

from sklearn.datasets import load_digits

from rosenblatt import MLPClassifier, find_learning_rate
from rosenblatt.backprop import descend

RATES = {"sgd": 2e-3, "momentum": 4e-4, "nesterov": 4e-4, "rmsprop": 1e-2, "adam": 5e-2}


def draw(folder):
    found = descend("rosenbrock", [-1.3, 1.0], optimizer=list(RATES), learning_rate=RATES, steps=300)
    found.figure().savefig(folder / "descent.png", dpi=130)
    X, y = load_digits(return_X_y=True)
    rates = find_learning_rate(MLPClassifier((100,), random_state=0), X / 16, y)
    rates.figure().savefig(folder / "learning_rate.png", dpi=130)
    return found, rates


if __name__ == "__main__":
    print(*draw(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs/img"), sep="\n")
