"""The systems of the command line: one row each, and the module of `rosenblatt.cli` that handles its data.

A face is a module with ``train(system, parameters, given)`` and, where the commands of the same names mean something for
its estimators, ``predict(estimator, data, horizon) -> columns``, ``evaluate(estimator, data) -> scores``,
``sample(estimator, chosen, *, out, force, as_json)`` beside the tuple ``SAMPLE_OPTIONS`` of the names that ``chosen`` may
hold (those of the command's options, or the system's own by ``--option``), and ``inputs(estimator, data) -> (X, y)`` for
``inspect``. It is imported when it is needed.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from rosenblatt.cli import options


@dataclass(frozen=True)
class System:
    """A system that ``rosenblatt train`` knows.

    Args:
        file: Module of `rosenblatt.estimators`.
        kind: Name of its estimator there.
        summary: Its line in ``rosenblatt train --help``.
        options: Makes the options that are not parameters of the estimator.
        face: Module of `rosenblatt.cli` that reads its data; see above.
        taken: Parameters of the constructor that are no option.
    """

    file: str
    kind: str
    summary: str
    options: Callable[[], list[inspect.Parameter]]
    face: str = "train"
    taken: tuple[str, ...] = ("plan",)


SYSTEMS = {
    "perceptron": System("perceptron", "Perceptron", "Rosenblatt's perceptron on a table.", options.table),
    "mlp": System(
        "mlp",
        "MLPClassifier",
        "Multilayer perceptron with backpropagation on a table: classes or numbers.",
        options.table_of_either_task,
    ),
    "cnn": System(
        "cnn",
        "CNNClassifier",
        "Convolutional network on a folder of pictures, one sub-folder a class.",
        options.pictures,
    ),
    "forecaster": System(
        "forecaster",
        "Forecaster",
        "Recurrent forecaster of a time series, beside three baselines.",
        options.series,
        face="series",
    ),
    "rnn": System(
        "recurrent",
        "RNNClassifier",
        "Recurrent classifier of texts.",
        options.labelled_texts,
        face="sequences",
    ),
    "language": System(
        "language",
        "LanguageModel",
        "Language model of a text: recurrent, or a small Transformer.",
        options.text,
        face="language",
    ),
    "translator": System(
        "translator",
        "Translator",
        "Translation model from sentences and their translations.",
        options.pairs,
        face="translation",
    ),
    "composer": System("composer", "Composer", "Music from a folder of MIDI files.", options.music, face="composer"),
    "gan": System(
        "gan", "GAN", "Generator and critic: draw pictures or rows like those of the data.", options.samples, face="gan"
    ),
    "semantic-gan": System(
        "semantic_gan",
        "SemanticGAN",
        "Photographs from label maps (GauGAN): paint a map, render it.",
        options.label_maps,
        face="semantic",
    ),
    "face-swap": System(
        "face_swap",
        "FaceSwap",
        "Face swap: one encoder, a decoder for each of two or more persons who agreed to it.",
        options.faces,
        face="face_swap",
    ),
    "autoencoder": System(
        "autoencoder",
        "Autoencoder",
        "Autoencoder of a table of numbers or of pictures, beside PCA.",
        options.coded,
        face="coder",
    ),
    "vae": System(
        "vae",
        "VariationalAutoencoder",
        "Variational autoencoder: codes, samples and likelihoods.",
        options.coded,
        face="coder",
    ),
}


def face(name: str) -> ModuleType:
    """The module of a face."""
    return importlib.import_module(f"rosenblatt.cli.{name}")


def face_of(estimator: Any) -> ModuleType | None:
    """The face of an estimator's own data; None where it is tables or pictures, which the commands read themselves."""
    kind = type(estimator).__name__
    named = {system.face for system in SYSTEMS.values() if system.kind == kind} - {"train"}
    return face(named.pop()) if named else None
