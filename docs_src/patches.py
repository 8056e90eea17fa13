"""One perturbation and one patch for all digits of MNIST, judged on digits that they were not trained on.

Run: python docs_src/patches.py  (needs MNIST; `rosenblatt.data.fetch` says where it looks)
"""

from pathlib import Path

import rosenblatt as rb
from rosenblatt.attacks import Patch, Universal
from rosenblatt.data.fetch import fetch
from rosenblatt.report import shared_pictures
from rosenblatt.report.canvas import write_figure


def draw(folder, train=10_000, count=1000, epochs=2, steps=100):
    """Write patch.png; what was found on the unseen digits, by name."""
    data = fetch("mnist")
    model = rb.CNNClassifier(epochs=epochs, random_state=0, verbose=0).fit(data.X[:train], data.y[:train])
    attacks = {
        "perturbation": (Universal(eps=0.3, steps=steps), None),
        "patch": (Patch(size=0.2, steps=steps), None),
        "patch for 3": (Patch(size=0.2, steps=steps), 3),
        "untrained patch": (Patch(size=0.2, steps=1), None),
        "untrained patch for 3": (Patch(size=0.2, steps=1), 3),
    }
    found = {}
    for name, (attack, target) in attacks.items():
        made = attack(model, data.X[:count], data.y[:count], target=target)
        found[name] = made.on(model, data.X_test[:count], data.y_test[:count])
    write_figure(shared_pictures(found["patch for 3"]), Path(folder) / "patch.png", dpi=110, overwrite=True)
    return found


if __name__ == "__main__":
    for name, result in draw(Path(__file__).parents[1] / "docs" / "img").items():
        print(f"{name:22}", "{:.1%} ({:.1%} to {:.1%})".format(*result.success_rate))
