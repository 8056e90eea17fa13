"""`shallow_baseline`: feature selection and a support vector machine, the age of shallow learning in one call."""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.feature_selection import SelectPercentile, VarianceThreshold, f_classif, f_regression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from sklearn.svm import SVC, SVR

from rosenblatt import _validate
from rosenblatt._validate import Choice, Number


def _flatten(X: Any) -> np.ndarray:
    X = np.asarray(X)
    return X.reshape(len(X), -1) if X.ndim > 2 else X


def shallow_baseline(
    task: str = "classification",
    *,
    C: float = 5.0,
    kernel: str = "rbf",
    percentile: int = 80,
    random_state: int = 0,
) -> Pipeline:
    """A scikit-learn pipeline to hold every network against: flatten, select features, standardise, SVM.

    Training time grows with the square of the number of samples: beyond some 20,000 take a sample.

    Args:
        task: "classification" or "regression".
        C: Inverse strength of the SVM's penalty.
        kernel: "rbf", "linear", "poly" or "sigmoid".
        percentile: Share of the features, in percent, that is kept: those with the largest univariate F statistic.
        random_state: Seed of the SVM; fixed, since its solver would draw from numpy's global state otherwise.

    Returns:
        An unfitted Pipeline with the steps flatten, variance, select, scale, svm; pictures (N, H, W[, C]) and tables fit.

    Raises:
        ParameterError: An argument is not as above.

    Reference:
        Cortes & Vapnik 1995, doi:10.1007/BF00994018.

    Example:
        >>> from sklearn.datasets import load_digits
        >>> digits = load_digits()
        >>> model = shallow_baseline().fit(digits.images[:1400], digits.target[:1400])
        >>> model.score(digits.images[1400:], digits.target[1400:]) > 0.9
        True
    """
    who = "shallow_baseline"
    _validate.parameter(who, "task", task, Choice(("classification", "regression")))
    _validate.parameter(who, "C", C, Number(0, open_low=True))
    _validate.parameter(who, "kernel", kernel, Choice(("rbf", "linear", "poly", "sigmoid")))
    _validate.parameter(who, "percentile", percentile, Number(1, 100, integer=True))
    classify = task == "classification"
    return Pipeline(
        [
            ("flatten", FunctionTransformer(_flatten)),
            ("variance", VarianceThreshold()),
            ("select", SelectPercentile(f_classif if classify else f_regression, percentile=percentile)),
            ("scale", StandardScaler()),
            ("svm", SVC(C=C, kernel=kernel, random_state=random_state) if classify else SVR(C=C, kernel=kernel)),
        ]
    )
