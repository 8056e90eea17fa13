"""What is attacked: one of our classifiers, a module or a function, as logits of a tensor.

The victim stays as it was: parameters get no gradient, no submodule changes its mode (all are in eval mode meanwhile),
BatchNorm's statistics and the global random state do not move.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from rosenblatt.errors import DataError, LabelError, NonFiniteError, ParameterError, ShapeError
from rosenblatt.train.saliency import at_rest
from rosenblatt.train.seeds import PrivateRandom

Bounds = tuple[float, float] | None


class Victim:
    """Logits of a classifier, and how its inputs become tensors and come back.

    Args:
        forward: Inputs (N, ...) in ``bounds`` to logits (N, K), or to (N,) or (N, 1) of two classes.
        bounds: Lowest and highest value of an input, or None.
        module: Whose mode and gradients are to be left alone, or None.
        differentiable: Whether a gradient passes.
        classes: Labels of the classes, in the order of the logits, or None (numbers from 0).
        encode: X to a tensor; None takes arrays and tensors as they are, as float32.
        decode: Tensor to what X was.
        device: Of the forward pass.
        name: For messages.
    """

    random: ClassVar[bool] = False
    """Whether each look differs, and the answer is a majority of draws."""
    tokens: ClassVar[bool] = False
    """Whether its inputs are numbers of tokens, which have no slope."""

    def __init__(
        self,
        forward: Callable[[Tensor], Tensor],
        *,
        bounds: Bounds,
        module: nn.Module | None = None,
        differentiable: bool = True,
        classes: np.ndarray | None = None,
        encode: Callable[[Any], Tensor] | None = None,
        decode: Callable[[Tensor], Any] | None = None,
        device: torch.device | str = "cpu",
        name: str = "the model",
    ):
        self._forward, self.bounds, self.module, self.differentiable = forward, bounds, module, differentiable
        self.classes, self._encode, self._decode = classes, encode, decode
        self.device, self.name, self.probabilities = torch.device(device), name, False
        self.notes: tuple[str, ...] = ()
        self.masked: tuple[str, ...] = ()
        self.remarks: tuple[str, ...] = ()
        self._one_column, self._seed = False, 0

    def wrapped(self, forward: Callable[[Tensor], Tensor], *, masked: str = "", remark: str = "") -> Victim:
        """This victim with another forward pass around its own, which is `raw`.

        Args:
            forward: Inputs to logits.
            masked: What makes figures that come from its gradient doubtful, or nothing.
            remark: How it is attacked, or nothing.

        Raises:
            ParameterError: A table, whose columns are known only once it has seen rows.
        """
        self.refuse_table("eot, bpda or Transformed")
        outer = copy.copy(self)
        outer._forward = forward
        outer.masked += (masked,) if masked else ()
        outer.remarks += (remark,) if remark else ()
        return outer

    def refuse_table(self, who: str) -> None:
        """Only what attacks see as it stands can be wrapped, or share a perturbation.

        Args:
            who: What refuses it.

        Raises:
            ParameterError: It is an `rosenblatt.attacks.Table`.
        """
        if hasattr(self, "_table"):
            raise ParameterError(
                f"attack: {who} around a Table; expected a model. What goes before a model goes into the Table: "
                "Table(bpda(model, transform), ...)."
            )

    def raw(self, x: Tensor) -> Tensor:
        """What the model gives, as it is; of a random victim one draw."""
        return self._forward(x)

    def judge(self, x: Tensor, look: int = 0) -> Tensor:
        """Scores (N, K) whose highest is the answer: the logits; of a random victim votes of draws that no attack has seen.

        Args:
            x: Inputs.
            look: Other numbers give other draws.
        """
        return self.logits(x)

    def guarded(self, label: int, target: int | None) -> Victim:
        """This victim for samples of one label; a random one is taken for wrong only if that is no chance."""
        return self

    @contextmanager
    def at_rest(self) -> Iterator[None]:
        """In eval mode and without gradients of parameters for a while; all flags as before at its end."""
        still = nullcontext() if self.module is None else at_rest(self.module)
        with still, PrivateRandom(self._seed, self.device):
            yield

    def logits(self, x: Tensor) -> Tensor:
        """Logits (N, K), of at least two classes.

        Raises:
            ShapeError: The model gives something else.
            NonFiniteError: NaN or infinity.
        """
        out = self._forward(x)
        out = torch.as_tensor(out, device=x.device) if not isinstance(out, Tensor) else out
        out = out if out.dtype == torch.float64 else out.float()
        if out.ndim == 1:
            out = out[:, None]
        if out.ndim != 2 or len(out) != len(x):
            raise ShapeError(
                f"attack: {self.name} gives {tuple(out.shape)} for {len(x)} inputs; expected logits (n_samples, n_classes)."
            )
        if not torch.isfinite(out.detach()).all():
            row = int((~torch.isfinite(out.detach())).any(1).nonzero()[0])
            raise NonFiniteError(
                f"attack: {self.name} gives {out[row].tolist()} for input {row} of a batch; expected finite logits. "
                "A model that overflows cannot be judged: mend it, or compute in float32."
            )
        if self.probabilities:
            out = _logarithm(out)
        self._one_column = out.shape[1] == 1
        # one logit z of two classes: softmax of (0, z) is the logistic function
        return torch.cat([torch.zeros_like(out), out], 1) if out.shape[1] == 1 else out

    def look(self, logits: Tensor) -> Tensor:
        """Find out whether what the model calls logits are probabilities; then their logarithm is taken from now on.

        One column that stays within 0 and 1 may be either: it is a logit still, and `notes` tells of the doubt.

        Args:
            logits: Of all samples (N, K), as `logits` gives them.

        Returns:
            What `logits` would give for them from now on.
        """
        if self.probabilities:
            return logits
        sums = logits.double().sum(1)
        self.probabilities = bool((logits >= 0).all() and ((sums - 1).abs() < 1e-4).all()) and not self._one_column
        if self.probabilities:
            self.notes += ("the model gives probabilities, not logits: their logarithms were attacked",)
        elif self._one_column and bool(((logits[:, 1] >= 0) & (logits[:, 1] <= 1)).all()):
            self.notes += (
                "the model gives one number a sample, all from 0 to 1, taken as the logit of the second class: "
                "if they are probabilities, leave the sigmoid out",
            )
        return _logarithm(logits) if self.probabilities else logits

    def encode(self, X: Any) -> Tensor:
        """X as a tensor on the device, within the bounds.

        Raises:
            ShapeError, DataError, NonFiniteError: No sample, integers where floats are expected, NaN, values out of the bounds.
        """
        if self._encode is not None:
            x = self._encode(X)
        else:
            x = torch.as_tensor(X).detach()
            if not x.is_floating_point():
                raise DataError(
                    f"attack: X holds {str(x.dtype).removeprefix('torch.')}; expected floats in bounds={self.bounds}. "
                    "Scale pictures of 8 bits first: X / 255."
                )
        if x.ndim < 2 or len(x) == 0:
            raise ShapeError(f"attack: X has shape {tuple(x.shape)}; expected at least one sample, (n_samples, ...).")
        x = x.to(self.device)
        if not torch.isfinite(x).all():
            row = int((~torch.isfinite(x)).flatten(1).any(1).nonzero()[0])
            raise NonFiniteError(f"attack: X holds NaN or infinity in sample {row}; expected finite values.")
        if self.bounds is not None and (float(x.min()) < self.bounds[0] or float(x.max()) > self.bounds[1]):
            raise DataError(
                f"attack: X goes from {float(x.min()):g} to {float(x.max()):g}; expected values in bounds={self.bounds}. "
                "Say the true bounds, or scale X; a normalisation is declared with mean= and std=."
            )
        return x

    def difference(self, z: Tensor, x: Tensor) -> Tensor:
        """What was changed (N, ...), as the norm measures it."""
        return z.double() - x.double()

    def settle(self, z: Tensor, x: Tensor, eps: float | None, norm: str) -> Tensor:
        """Points (N, ...) as they can come back; here as they are.

        Args:
            z: What an attack found.
            x: Samples.
            eps: Radius of the ball that holds them, or None.
            norm: Of the ball.
        """
        return z

    def decode(self, x: Tensor, X: Any) -> Any:
        """The tensor as X was: an array for an array, a tensor on X's device for a tensor."""
        if self._decode is not None:
            return self._decode(x)
        if isinstance(X, Tensor):
            return x.to(X.device)
        return x.cpu().numpy()

    def again(self, adversarial: Any) -> Tensor:
        """What `decode` gave, as a tensor of inputs again: pictures of an estimator come back with their channels last."""
        x = torch.as_tensor(adversarial).to(self.device)
        return x.permute(0, 3, 1, 2) if self._decode is not None and x.ndim == 4 else x

    def codes(self, y: Any, count: int, classes: int, *, name: str = "y") -> Tensor:
        """Labels as numbers of the logits.

        Raises:
            LabelError: Another number of labels than samples, or a label that the model does not know.
        """
        y = y.detach().cpu().numpy() if isinstance(y, Tensor) else np.asarray(y)
        y = np.full(count, y[()]) if y.ndim == 0 else y.ravel()
        if len(y) != count:
            raise LabelError(f"attack: {name} has {len(y)} labels for {count} samples; expected one each.")
        known = np.arange(classes) if self.classes is None else np.asarray(self.classes)
        unknown = ~np.isin(y, known)
        if unknown.any():
            first = y[unknown][:1].tolist()[0]
            raise LabelError(f"attack: {name} holds {first!r}; expected labels of the model, {_few(known)}.")
        codes = np.searchsorted(known, y, sorter=np.argsort(known))
        return torch.from_numpy(np.argsort(known)[codes].astype(np.int64)).to(self.device)


def _logarithm(probabilities: Tensor) -> Tensor:
    return probabilities.clamp_min(torch.finfo(probabilities.dtype).tiny).log()


def _few(labels: np.ndarray) -> str:
    shown = [repr(v) for v in labels[:5].tolist()]
    return ", ".join(shown) + (f" ... {labels[-1:].tolist()[0]!r}" if len(labels) > 5 else "")


def victim(model: Any, *, bounds: Bounds = None, mean: Any = None, std: Any = None) -> Victim:
    """The victim that a user means.

    Args:
        model: One of our fitted classifiers, a ``torch.nn.Module`` that gives logits, or a function from a tensor (N, ...) to
            logits or scores (tensor or array), which is a black box.
        bounds: Lowest and highest value of an input. None: (0, 1) for modules and functions; what the estimator knows of its own.
        mean: Of a normalisation between the input and a module, one a channel (axis 1).
        std: Its deviation.

    Raises:
        ParameterError: Something else, or bounds that are none.
        NotFittedError: An estimator before ``fit``.
    """
    if bounds is not None and not (len(bounds) == 2 and bounds[0] < bounds[1]):
        raise ParameterError(f"attack: bounds={bounds!r}; expected (lowest, highest), as (0, 1).")
    if hasattr(model, "_victim"):
        if mean is not None or std is not None:
            raise ParameterError("attack: mean and std; expected neither, an estimator normalises by itself.")
        return model._victim(bounds)
    if isinstance(model, nn.Module):
        return _of_module(model, bounds or (0.0, 1.0), mean, std)
    if callable(model) and not hasattr(model, "fit"):

        def ask(x: Tensor) -> Tensor:
            with torch.no_grad():
                return torch.as_tensor(model(x), device=x.device).detach()

        return Victim(
            ask, bounds=bounds or (0.0, 1.0), differentiable=False, name=getattr(model, "__name__", "the function")
        )
    raise ParameterError(
        f"attack: the model is a {type(model).__name__}; expected a classifier of rosenblatt that is attacked through its "
        "logits (CNNClassifier, MLPClassifier, Perceptron, RNNClassifier), a torch.nn.Module or a function."
    )


def _of_module(module: nn.Module, bounds: Bounds, mean: Any, std: Any) -> Victim:
    first = next((p for p in [*module.parameters(), *module.buffers()] if p.is_floating_point()), torch.zeros(()))

    def along_channels(value: Any, x: Tensor) -> Tensor:
        value = torch.as_tensor(value, dtype=x.dtype, device=x.device)
        return value.view(1, -1, *[1] * (x.ndim - 2)) if value.ndim else value

    def forward(x: Tensor) -> Tensor:
        if mean is not None:
            x = x - along_channels(mean, x)
        if std is not None:
            x = x / along_channels(std, x)
        return module(x.to(first.dtype))

    convolves = first.device.type == "cpu" and any(isinstance(part, nn.Conv2d) for part in module.modules())
    return Victim(
        ChannelsLast(forward) if convolves else forward, bounds=bounds, module=module, device=first.device,
        name=type(module).__name__,
    )  # fmt: skip


class ChannelsLast:
    """A forward pass that gets pictures with their channels last in memory, where a processor convolves up to twice as fast.

    The first pictures go both ways: what cannot take them so (a module that calls ``view``), or answers otherwise by more than
    rounding, gets them as they are.

    Args:
        forward: Inputs (N, C, H, W) to logits.
    """

    def __init__(self, forward: Callable[[Tensor], Tensor]):
        self._forward, self._takes = forward, None

    def __call__(self, x: Tensor) -> Tensor:
        """Logits."""
        if x.ndim != 4 or not len(x):
            return self._forward(x)
        if self._takes is None:
            self._takes = self._agree(x.detach()[:4])
        return self._forward(self._laid(x) if self._takes else x)

    @staticmethod
    def _laid(x: Tensor) -> Tensor:
        if x.shape[1] > 1:
            return x.contiguous(memory_format=torch.channels_last)
        # one channel lies both ways; its stride says which
        return x[:, 0].contiguous().unsqueeze(-1).permute(0, 3, 1, 2)

    def _agree(self, x: Tensor) -> bool:
        found = []
        try:
            for pictures in (x, self._laid(x)):
                with torch.no_grad(), PrivateRandom(0):
                    found.append(self._forward(pictures))
        except RuntimeError:  # an error of the module itself comes again, from where it belongs
            return False
        plain, laid = found
        return plain.shape == laid.shape and torch.allclose(
            plain, laid, rtol=1e-3, atol=1e-4 * float(plain.abs().max())
        )
