"""Losses as pure functions of (output, target, sample weights), one family a file."""

from rosenblatt.losses.classification import class_weights, cross_entropy, logistic
from rosenblatt.losses.perceptron import perceptron_criterion
from rosenblatt.losses.regression import absolute, huber, poisson, squared

__all__ = [
    "absolute",
    "class_weights",
    "cross_entropy",
    "huber",
    "logistic",
    "perceptron_criterion",
    "poisson",
    "squared",
]
