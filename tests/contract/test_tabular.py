"""scikit-learn's own checks on every tabular estimator; failures expected only where scikit-learn expects its own to fail."""

import warnings

import pytest
import sklearn.linear_model
import sklearn.neural_network
from sklearn.utils._test_common.instance_generator import _get_expected_failed_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

import rosenblatt as rb

OURS = [rb.Perceptron(), rb.MLPClassifier(max_iter=100), rb.MLPRegressor(max_iter=100)]


def _theirs(name):
    return getattr(sklearn.linear_model if name == "Perceptron" else sklearn.neural_network, name)


def expected(estimator):
    return _get_expected_failed_checks(_theirs(type(estimator).__name__)())


@parametrize_with_checks(OURS, expected_failed_checks=expected)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        check(estimator)
