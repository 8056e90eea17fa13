"""The perceptron on iris: swap one import line, look at the mistakes, hold them against Novikoff's bound."""

import numpy as np
from sklearn.datasets import load_iris

from rosenblatt import Perceptron  # instead of: from sklearn.linear_model import Perceptron

X, y = load_iris(return_X_y=True)
setosa = y == 0

model = Perceptron(random_state=0).fit(X, setosa)
print("accuracy", model.score(X, setosa))
print("mistakes in each epoch", model.mistakes_.tolist())

# Novikoff: at most (R / γ)² mistakes, with R and γ of the samples extended by a 1, for any unit that separates them
extended = np.hstack([X, np.ones((len(X), 1))])
unit = np.append(model.coef_, model.intercept_)
margin = (np.where(setosa, 1, -1) * (extended @ unit)).min() / np.linalg.norm(unit)
bound = (np.linalg.norm(extended, axis=1).max() / margin) ** 2
print(f"mistakes {model.mistakes_.sum()}, bound {bound:.0f}")

print(model.summary())
