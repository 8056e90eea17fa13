"""What the autoencoders share: tables or pictures in, the units that the network sees, held-out rows, PCA beside."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.decomposition import PCA
from torch import Tensor, nn

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt._validate import Number
from rosenblatt.data.augment import Augment
from rosenblatt.data.pictures import as_pictures
from rosenblatt.errors import DataError, ParameterError, ShapeError
from rosenblatt.estimators.base import Estimator, expect_shape
from rosenblatt.estimators.summary import Summary
from rosenblatt.train.plan import Plan

BLOCK = 1024
"""Samples that pass through a network together where nothing is learned."""
AUGMENTATIONS = ("shift", "rotate", "flip")
"""Steps of ``Plan(augment=)`` that leave a picture worth reconstructing."""
COMPARED = 4096
"""Training samples, evenly spaced, on which the network and PCA are compared where none are held out."""


@dataclass(frozen=True)
class CodeSummary(Summary):
    """The table of a network, and sentences below it.

    Attributes:
        notes: The sentences.
    """

    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        return "\n".join([super().__str__(), *self.notes])

    __repr__ = __str__


class Coder(ClassNamePrefixFeaturesOutMixin, TransformerMixin, Estimator):
    """Base of `Autoencoder` and `VariationalAutoencoder`.

    Attributes:
        n_features_in_: Numbers of a sample, D.
        picture_shape_: (H, W, C), where pictures were given.
        sample_shape_: Shape of one sample of X.
        integer_input_: Whether pictures came as uint8.
        offset_, scale_: The network sees ``(x - offset_) * scale_``: a number a feature, and one number.
    """

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    # ------------------------------------------------------------------------------------------------ data in

    def _read(self, method: str, X: ArrayLike, *, reset: bool) -> np.ndarray:
        """Samples as rows (N, D) of float32 in X's own units; of pictures channel by channel."""
        if len(getattr(X, "shape", np.shape(X) if isinstance(X, (list, tuple)) else ())) in (3, 4):
            return self._read_pictures(method, X, reset=reset)
        if not reset and hasattr(self, "picture_shape_"):
            raise ShapeError(
                f"{type(self).__name__}.{method}: X is a table; expected pictures {self.sample_shape_} as in fit. "
                f"Use X.reshape(-1, {', '.join(map(str, self.sample_shape_))})."
            )
        if reset:
            for name in ("picture_shape_", "feature_names_in_"):
                vars(self).pop(name, None)
        rows = _validate.table(self, method, X, reset=reset, dtype=np.float32, order="C")
        if reset:
            self.sample_shape_, self.integer_input_ = rows.shape[1:], False
        return rows

    def _read_pictures(self, method: str, X: ArrayLike, *, reset: bool) -> np.ndarray:
        who = f"{type(self).__name__}.{method}"
        pictures = as_pictures(X, who=who)
        if reset:
            vars(self).pop("feature_names_in_", None)
            self.picture_shape_, self.sample_shape_ = pictures.shape[1:], tuple(np.shape(X)[1:])
            self.integer_input_ = pictures.dtype == np.uint8
            self.n_features_in_ = int(np.prod(self.picture_shape_))
        elif not hasattr(self, "picture_shape_"):
            raise ShapeError(
                f"{who}: X holds pictures; expected a table with {self.n_features_in_} columns as in fit. "
                "Use X.reshape(len(X), -1)."
            )
        elif pictures.shape[1:] != tuple(self.picture_shape_):
            raise ShapeError(
                f"{who}: pictures of shape {pictures.shape[1:]}; expected {tuple(self.picture_shape_)} as in fit. "
                "Resize them."
            )
        elif (pictures.dtype == np.uint8) != self.integer_input_:
            saw, got = ("uint8", "floats") if self.integer_input_ else ("floats", "integers")
            raise DataError(f"{who}: X holds {got}, fit saw {saw}; expected the same. Convert X to the scale of fit.")
        rows = pictures.transpose(0, 3, 1, 2).reshape(len(pictures), -1)  # N H W C -> N D
        return np.ascontiguousarray(rows, dtype=np.float32)

    def _refuse_constant(self, who: str, rows: np.ndarray) -> None:
        if len(rows) < 2:
            raise DataError(f"{who}: n_samples=1, one sample; expected at least two. A code needs what differs.")
        if (rows == rows[0]).all():
            raise DataError(
                f"{who}: all {len(rows)} samples are equal; expected at least two that differ. There is nothing to encode."
            )

    def _learn_units(self, rows: np.ndarray, *, bounded: bool) -> None:
        """Pixels of uint8 become 0 to 1; numbers without bounds get mean zero and together a mean variance of one."""
        width = rows.shape[1]
        if bounded:
            self.offset_, self.scale_ = np.zeros(width, np.float32), 1 / 255 if self.integer_input_ else 1.0
            return
        self.offset_ = rows.mean(0, dtype=np.float64).astype(np.float32)
        centred = rows - self.offset_
        squares = np.einsum("nd,nd->n", centred, centred)  # float32 within a row, float64 among rows
        spread = float(np.sqrt(squares.mean(dtype=np.float64) / width))
        self.scale_ = 1 / spread if spread > 0 else 1.0

    def _prepare(self, rows: np.ndarray) -> np.ndarray:
        if not self.offset_.any():
            return rows * np.float32(self.scale_)
        return (rows - self.offset_) * np.float32(self.scale_)

    def _refuse_out_of_range(self, who: str, rows: np.ndarray, why: str) -> None:
        """Refuse numbers outside 0 to 1, where the network can make no others."""
        if self.integer_input_:
            return
        low, high = float(rows.min()), float(rows.max())
        if low < 0 or high > 1:
            fix = (
                "Use X / 255." if low >= 0 and 1 < high <= 255 else "Scale it with sklearn.preprocessing.MinMaxScaler."
            )
            raise DataError(f"{who}: X holds values from {low:g} to {high:g}; expected 0 to 1 for {why}. {fix}")

    def _restore(self, prepared: np.ndarray) -> np.ndarray:
        """Rows that the network made, as samples like those of X."""
        rows = prepared / np.float32(self.scale_) + self.offset_
        if not hasattr(self, "picture_shape_"):
            return rows
        height, width, channels = self.picture_shape_
        return rows.reshape(-1, channels, height, width).transpose(0, 2, 3, 1).reshape(-1, *self.sample_shape_)

    def _chw(self) -> tuple[int, int, int] | None:
        if not hasattr(self, "picture_shape_"):
            return None
        height, width, channels = self.picture_shape_
        return channels, height, width

    def _refuse_network(self, who: str) -> None:
        if self.network == "convolutional" and not hasattr(self, "picture_shape_"):
            raise ShapeError(
                f"{who}: X is a table; expected pictures N H W or N H W C for network='convolutional'. "
                "Use X.reshape(-1, H, W), or network='dense'."
            )

    def _widths(self, sizes: Any) -> list[int]:
        widths = list(sizes) if isinstance(sizes, (list, tuple, np.ndarray)) else [sizes]
        if any(not Number(1, integer=True).accepts(width) for width in widths):
            raise ParameterError(
                f"{type(self).__name__}: hidden_layer_sizes={sizes!r}; expected widths that are integers >= 1."
            )
        return [int(width) for width in widths]

    def _place(self, module: nn.Module, device: torch.device) -> nn.Module:
        return module.to(device, memory_format=torch.channels_last).eval()

    # ---------------------------------------------------------------------------------------------- plan, codes

    def _complete_plan(self, own: Plan) -> Plan:
        """The user's plan over the system's own.

        Raises:
            ParameterError: It asks for what means nothing here.
        """
        said = (self.plan or Plan()).said()
        if said.get("label_smoothing"):
            raise ParameterError(
                f"{type(self).__name__}: Plan(label_smoothing={said['label_smoothing']!r}) is not used here; expected none. "
                "Leave it out."
            )
        return (self.plan or Plan()).over(own)

    def _augmentation(self, plan: Plan, source: torch.Generator) -> Callable[[Tensor], Tensor] | None:
        """What changes each batch of prepared rows before it is seen, and reconstructed; None where the plan asks for nothing.

        Raises:
            ParameterError: The data is a table, or a step would change what is to be reconstructed.
        """
        words = plan.augment or "none"
        if words == "none":
            return None
        who = f"{type(self).__name__}: Plan(augment={words!r})"
        if self._chw() is None:
            raise ParameterError(f"{who} with a table; expected pictures. Leave it out.")
        if other := [step for step in words.split("+") if step not in AUGMENTATIONS]:
            raise ParameterError(
                f"{who} names {other[0]!r}; expected {', '.join(AUGMENTATIONS)}, joined by '+': here a picture is its own answer."
            )
        augment, shape, features = Augment(words, source), self._chw(), self.n_features_in_

        def change(rows: Tensor) -> Tensor:
            pictures = augment(rows[:, :features].view(-1, *shape)).flatten(1)
            return torch.cat([pictures, rows[:, features:]], 1)  # columns of labels stay

        return change

    def _split(self, plan: Plan, count: int, seed: int) -> tuple[np.ndarray, np.ndarray | None]:
        """Rows to train on and rows held out, None where the plan does not ask for any."""
        if not plan.early_stopping and plan.target is None:
            return np.arange(count), None
        order = np.random.default_rng(seed).permutation(count)
        held = max(1, round(count * (plan.validation_fraction or 0.1)))
        if held >= count - 1:
            raise DataError(
                f"{type(self).__name__}.fit: {count} samples, of which {held} would be held out; expected more of them. Set "
                "Plan(validation_fraction=...) lower, or leave early_stopping out."
            )
        return np.sort(order[held:]), np.sort(order[:held])

    def _compared(self, count: int, held: np.ndarray | None) -> np.ndarray:
        """Rows on which the network and PCA are compared: the held-out ones, else up to `COMPARED` of all."""
        if held is not None:
            self.error_on_ = f"{len(held):,} held-out samples"
            return held
        few = count <= COMPARED
        self.error_on_ = f"the {count:,} training samples" if few else f"{COMPARED:,} of the {count:,} training samples"
        return np.linspace(0, count - 1, min(count, COMPARED)).astype(int)  # rows often lie sorted

    def _check_codes(self, method: str, Z: ArrayLike, width: int) -> np.ndarray:
        who = f"{type(self).__name__}.{method}"
        try:
            codes = np.asarray(Z, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise DataError(
                f"{who}: codes are not numbers ({error}); expected an array (n_samples, {width})."
            ) from error
        if codes.ndim != 2 or codes.shape[1] != width:
            raise ShapeError(
                f"{who}: codes of shape {codes.shape}; expected (n_samples, {width}), as transform gives them. "
                + (f"Use Z.reshape(-1, {width})." if codes.size and codes.size % width == 0 else "")
            )
        _validate.finite(who, codes, name="Z")
        return codes

    @torch.no_grad()
    def _through(self, function: Any, rows: np.ndarray) -> np.ndarray:
        """A function of tensors over rows, some at a time, in full precision."""
        device = torch.device(self.device_)
        self.module_.eval()
        parts: list[Tensor] = [
            function(torch.from_numpy(rows[i : i + BLOCK]).to(device)).float().cpu() for i in range(0, len(rows), BLOCK)
        ]
        return torch.cat(parts).numpy()

    def _pca_error(self, train: np.ndarray, rows: np.ndarray, size: int) -> float:
        """Mean squared error of PCA with codes of the same size, fitted to the same rows, in X's units."""
        pca = PCA(min(size, *train.shape), random_state=0).fit(train)
        total = 0.0
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            total += float(np.square(part - pca.inverse_transform(pca.transform(part)), dtype=np.float64).sum())
        return total / len(rows)

    @property
    def _n_features_out(self) -> int:
        return int(self.code_size_)

    def _example_input(self) -> Tensor:
        parameter = next(self.module_.parameters())
        return torch.zeros(1, self.module_.inputs, device=parameter.device, dtype=parameter.dtype)

    def _check_restored(self) -> None:
        expect_shape("offset_", self.offset_, (self.n_features_in_,))
        if not (np.isfinite(self.scale_) and self.scale_ > 0):
            raise ValueError(f"scale_ is {self.scale_}")
        if hasattr(self, "picture_shape_") and int(np.prod(self.picture_shape_)) != self.n_features_in_:
            raise ValueError(f"picture_shape_ is {self.picture_shape_} for {self.n_features_in_} features")
