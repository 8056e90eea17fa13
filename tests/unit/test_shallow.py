import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_diabetes, load_digits

import rosenblatt as rb
from rosenblatt.errors import ParameterError


def test_digits_as_pictures_and_as_table():
    digits = load_digits()
    pictures, table = digits.images, digits.data
    one = rb.shallow_baseline().fit(pictures[:1400], digits.target[:1400])
    two = rb.shallow_baseline().fit(table[:1400], digits.target[:1400])
    assert one.score(pictures[1400:], digits.target[1400:]) > 0.93
    np.testing.assert_array_equal(one.predict(pictures), two.predict(table))
    assert list(clone(one).named_steps) == ["flatten", "variance", "select", "scale", "svm"]


def test_regression():
    X, y = load_diabetes(return_X_y=True)
    assert rb.shallow_baseline("regression", C=50.0).fit(X[:300], y[:300]).score(X[300:], y[300:]) > 0.4


def test_bad_arguments():
    with pytest.raises(ParameterError, match=r"task='regresion'; .*Did you mean 'regression'\?"):
        rb.shallow_baseline("regresion")
    with pytest.raises(ParameterError, match="percentile=0; expected an integer >= 1 and <= 100"):
        rb.shallow_baseline(percentile=0)
