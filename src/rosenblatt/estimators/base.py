"""What every estimator shares: validation of parameters, summary, saving, the hooks of the model file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.exceptions import NotFittedError as SklearnNotFittedError
from sklearn.utils.validation import check_is_fitted

from rosenblatt import _validate
from rosenblatt._types import ArrayLike, PathLike
from rosenblatt.errors import DataError, NotFittedError, ParameterError
from rosenblatt.estimators.summary import Summary, summarize

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class Estimator(BaseEstimator):
    """Base of all estimators: scikit-learn's `BaseEstimator` with a model file, a summary and one error style.

    A subclass states its parameter rules in ``_rules`` and its model-file needs in ``_private_fitted``,
    ``_rebuild`` and ``_check_restored``.

    Attributes:
        device_: Device that training ran on.
        precision_: "fp64", "fp32" or "bf16": the arithmetic of the matrix products in training.
        history_: One row (a dict) an epoch.
        module_: The trained network, a plain ``nn.Module``.
        preprocessing_: Rules that turned a table into the training matrix (`rosenblatt.data.recipe.Recipe`); set by
            ``rosenblatt train``, or by hand before ``save``.
    """

    _rules: ClassVar[Mapping[str, Any]] = {}
    _private_fitted: ClassVar[tuple[str, ...]] = ()
    """Fitted attributes that do not end in one underscore, or begin with one, and still belong into the model file."""
    _defends: ClassVar[bool] = False
    """Whether ``Plan(defence=...)`` means something here."""

    def _check_parameters(self) -> None:
        _validate.parameters(self, self._rules)
        said = getattr(getattr(self, "plan", None), "defence", None)
        if said is not None and not self._defends:
            raise ParameterError(
                f"{type(self).__name__}: Plan(defence={said!r}) is not used here; expected None. Classifiers of pictures and "
                "dense networks can be defended."
            )

    def _check_fitted(self, method: str) -> None:
        """Refuse use before fit.

        Raises:
            NotFittedError: ``fit`` was not called.
        """
        try:
            check_is_fitted(self)
        except SklearnNotFittedError as error:
            name = type(self).__name__
            raise NotFittedError(
                f"{name}.{method}: this {name} is not fitted yet; expected a call of fit(X, y) before. "
                "Fit it, or rosenblatt.load() a saved one."
            ) from error

    def save(self, path: PathLike, *, overwrite: bool = True) -> Path:
        """Write the fitted estimator into one safetensors file (see `rosenblatt.files`).

        Args:
            path: The file; its folder must exist.
            overwrite: False refuses a path that exists.

        Returns:
            The path.

        Raises:
            NotFittedError: Before ``fit``.
            ModelFileError: A parameter cannot be described in JSON, such as a callable activation.
            OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
        """
        from rosenblatt.files import save

        return save(self, path, overwrite=overwrite)

    def summary(self) -> Summary:
        """Layers, output shapes and parameter counts of the trained network; print it.

        Raises:
            NotFittedError: Before ``fit``.
        """
        self._check_fitted("summary")
        return summarize(self.module_, self._example_input(), title=self._title())

    def inspect(self, X: ArrayLike | None = None, y: ArrayLike | None = None) -> dict[str, Figure]:
        """Pictures of what the network has learned, by name; see `rosenblatt.report.inspect_pictures`.

        Args:
            X: Inputs to show it at work on; None draws only what needs none.
            y: True labels of X, where the pictures of this system include its mistakes; else None.

        Raises:
            NotFittedError: Before ``fit``.
            ShapeError, NonFiniteError, DataError: X is not like the data of ``fit``.
        """
        from rosenblatt.report import inspect_pictures

        self._check_fitted("inspect")
        return inspect_pictures(self, X) if y is None else inspect_pictures(self, X, y)

    def _title(self) -> str:
        return type(self).__name__

    def _example_input(self) -> Any:
        """A batch of one zero input, on the network's device and in its dtype."""
        import torch

        parameter = next(self.module_.parameters())
        return torch.zeros(1, self.n_features_in_, device=parameter.device, dtype=parameter.dtype)

    # ------------------------------------------------------------------------------- hooks of the model file

    def _rebuild(self) -> Any:
        """An untrained network of this fitted estimator's sizes, or None where arrays are all there is.

        Called by the loader with all attributes but ``module_`` in place, inside ``torch.device("meta")``.
        """
        return None

    def _place(self, module: Any, device: Any) -> Any:
        """Put a network where and how this estimator runs it; the same after fit and after load."""
        return module.to(device).eval()

    def _check_preprocessing(self) -> None:
        """Refuse rules that make another number of features than the network takes.

        Raises:
            DataError: They belong to another fit.
        """
        recipe = getattr(self, "preprocessing_", None)
        wanted = getattr(self, "n_features_in_", None)
        if recipe is not None and (wanted is None or len(recipe.feature_names) != wanted):
            raise DataError(
                f"{type(self).__name__}: preprocessing_ makes {len(recipe.feature_names)} features, the network takes "
                f"{wanted}; expected as many. Delete preprocessing_, or fit again on what it makes."
            )

    def _check_restored(self) -> None:
        """Refuse restored attributes that contradict each other.

        Raises:
            ValueError: With the contradiction; the loader turns it into a `DamagedFileError`.
        """


def expect_shape(name: str, value: Any, shape: tuple[int | None, ...]) -> None:
    """Refuse an array of another shape; None in ``shape`` stands for any length.

    Raises:
        ValueError: Naming the array, its shape and the expected one.
    """
    got = getattr(value, "shape", None)
    fits = (
        got is not None and len(got) == len(shape) and all(s is None or g == s for g, s in zip(got, shape, strict=True))
    )
    if not fits or not isinstance(value, np.ndarray):
        raise ValueError(f"{name} has shape {got if got is not None else type(value).__name__}; expected {shape}")
