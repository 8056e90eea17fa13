"""scikit-learn's own checks on the Perceptron; none is expected to fail that scikit-learn's Perceptron passes."""

import pytest
import sklearn.linear_model as theirs
from sklearn.utils._test_common.instance_generator import _get_expected_failed_checks
from sklearn.utils.estimator_checks import parametrize_with_checks

from rosenblatt import Perceptron


@parametrize_with_checks(
    [Perceptron(), Perceptron(penalty="elasticnet", alpha=1e-3)],
    expected_failed_checks=lambda _: _get_expected_failed_checks(theirs.Perceptron()),
)
@pytest.mark.filterwarnings("ignore")
def test_scikit_learn_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("verb", ["__init__", "fit", "partial_fit", "predict", "decision_function", "score"])
def test_signatures_are_scikit_learns(verb):
    import inspect

    def arguments(cls):
        return [(p.name, p.default, p.kind) for p in inspect.signature(getattr(cls, verb)).parameters.values()]

    assert arguments(Perceptron) == arguments(theirs.Perceptron)
