"""Draw the paths of the chain rule in a small network; writes docs/img/paths.png."""

import sys
from pathlib import Path

from sklearn.datasets import load_iris
from sklearn.preprocessing import StandardScaler

from rosenblatt import MLPClassifier
from rosenblatt.backprop import explain


def draw(path):
    X, y = load_iris(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    model = MLPClassifier((5, 4), "tanh", solver="lbfgs", alpha=0.1, max_iter=1000, random_state=0).fit(X, y)
    found = explain(model, X[70], y[70], weight=(0, 2, 1))
    found.figure().savefig(path, dpi=130)
    return found


if __name__ == "__main__":
    print(draw(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[1] / "docs/img/paths.png"))
