"""rosenblatt: the deep-learning canon as one Python library.

Names are loaded on first use (PEP 562), so ``import rosenblatt`` costs nothing: torch and scikit-learn are imported
by the first estimator that is asked for.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "VariationalAutoencoder": "rosenblatt.estimators.vae",
    "Autoencoder": "rosenblatt.estimators.autoencoder",
    "Perceptron": "rosenblatt.estimators.perceptron",
    "MLPClassifier": "rosenblatt.estimators.mlp",
    "MLPRegressor": "rosenblatt.estimators.mlp",
    "CNNClassifier": "rosenblatt.estimators.cnn",
    "Forecaster": "rosenblatt.estimators.forecaster",
    "LanguageModel": "rosenblatt.estimators.language",
    "RNNClassifier": "rosenblatt.estimators.recurrent",
    "Composer": "rosenblatt.estimators.composer",
    "GAN": "rosenblatt.estimators.gan",
    "SemanticGAN": "rosenblatt.estimators.semantic_gan",
    "StyleTransfer": "rosenblatt.estimators.style",
    "FaceSwap": "rosenblatt.estimators.face_swap",
    "Translator": "rosenblatt.estimators.translator",
    "shallow_baseline": "rosenblatt.estimators.shallow",
    "Defence": "rosenblatt.train.defence",
    "Plan": "rosenblatt.train.plan",
    "find_learning_rate": "rosenblatt.estimators.learning_rate",
    "fit_many": "rosenblatt.estimators.many",
    "history": "rosenblatt.eras",
    "load": "rosenblatt.files",
    "save": "rosenblatt.files",
}
_MODULES = (
    "attacks",
    "backprop",
    "data",
    "errors",
    "estimators",
    "files",
    "layers",
    "losses",
    "metrics",
    "models",
    "report",
    "train",
)

__all__ = ["__version__", *sorted(_WHERE), *_MODULES]

if TYPE_CHECKING:
    from rosenblatt.eras import history as history
    from rosenblatt.estimators.autoencoder import Autoencoder as Autoencoder
    from rosenblatt.estimators.cnn import CNNClassifier as CNNClassifier
    from rosenblatt.estimators.composer import Composer as Composer
    from rosenblatt.estimators.face_swap import FaceSwap as FaceSwap
    from rosenblatt.estimators.forecaster import Forecaster as Forecaster
    from rosenblatt.estimators.gan import GAN as GAN
    from rosenblatt.estimators.language import LanguageModel as LanguageModel
    from rosenblatt.estimators.learning_rate import find_learning_rate as find_learning_rate
    from rosenblatt.estimators.many import fit_many as fit_many
    from rosenblatt.estimators.mlp import MLPClassifier as MLPClassifier
    from rosenblatt.estimators.mlp import MLPRegressor as MLPRegressor
    from rosenblatt.estimators.perceptron import Perceptron as Perceptron
    from rosenblatt.estimators.recurrent import RNNClassifier as RNNClassifier
    from rosenblatt.estimators.semantic_gan import SemanticGAN as SemanticGAN
    from rosenblatt.estimators.shallow import shallow_baseline as shallow_baseline
    from rosenblatt.estimators.style import StyleTransfer as StyleTransfer
    from rosenblatt.estimators.translator import Translator as Translator
    from rosenblatt.estimators.vae import VariationalAutoencoder as VariationalAutoencoder
    from rosenblatt.files import load as load
    from rosenblatt.files import save as save
    from rosenblatt.train.defence import Defence as Defence
    from rosenblatt.train.plan import Plan as Plan


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(_WHERE[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return importlib.import_module(f"rosenblatt.{name}")
    raise AttributeError(f"module 'rosenblatt' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
