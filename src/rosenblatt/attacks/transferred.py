"""How many adversarial points of one model break another."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rosenblatt.attacks.model import victim
from rosenblatt.attacks.objectives import reached
from rosenblatt.attacks.result import AttackResult
from rosenblatt.errors import ShapeError

_AT_ONCE = 256


def transferred(
    found: AttackResult, model: Any, X: Any, y: Any, *, target: Any = None, bounds: Any = None, mean: Any = None, std: Any = None
) -> AttackResult:  # fmt: skip
    """Ask another model about adversarial points; of the result ``success_rate`` is what transfers.

    What it had wrong before counts neither way, nor does what the attacked model had wrong, as that was never attacked. A
    classifier that was fitted on pictures of 8 bits is given the points rounded to them, as a file would hold them.

    Args:
        found: Of an attack on some model.
        model: Another: one of our classifiers, a module or a function.
        X: Samples as the attack was given them.
        y: Their labels.
        target: The class that the attack wanted, or None.
        bounds: Of the inputs; see `rosenblatt.attacks.model.victim`.
        mean: Of a module's normalisation.
        std: Its deviation.

    Raises:
        ShapeError: The model reads X and the points as different shapes, or X are other samples.
        ParameterError, DataError, NonFiniteError, LabelError: As for an attack on the model.

    Example:
        >>> from torch import nn
        >>> from rosenblatt.attacks import FGSM
        >>> net = nn.Linear(2, 2, bias=False).requires_grad_(False)
        >>> _ = net.weight.copy_(torch.eye(2))
        >>> x = torch.tensor([[0.5, 0.2], [0.9, 0.1]])
        >>> found = FGSM(eps=0.2)(net, x, [0, 0])
        >>> transferred(found, lambda z: 1.1 * z - torch.tensor([0.1, 0.0]), x, [0, 0])
        AttackResult(1 of 2 broken, median linf 0.2; accuracy 1.0000 -> 0.5000; 4 queries)
    """
    other = victim(model, bounds=bounds, mean=mean, std=std)
    points = found.rounded() if getattr(model, "integer_input_", False) else found.adversarial
    x, z = other.encode(X), other.encode(points)
    if x.shape != z.shape:
        raise ShapeError(
            f"transferred: X is read as {tuple(x.shape)}, the points as {tuple(z.shape)}; expected the same."
        )
    with other.at_rest(), torch.no_grad():
        before, after = (torch.cat([other.judge(part) for part in points.split(_AT_ONCE)]) for points in (x, z))
        codes = other.codes(y, len(x), before.shape[1])
        wanted = None if target is None else other.codes(target, len(x), before.shape[1], name="target")
        correct = before.argmax(1) == codes
        tried = correct & torch.as_tensor(found.correct, device=x.device)
        tried = tried if wanted is None else tried & (wanted != codes)
        success = tried & reached(after, codes, wanted)
    return replace(
        found, success=success.cpu().numpy(), correct=correct.cpu().numpy(), tried=tried.cpu().numpy(),
        queries=np.full(len(x), 2), notes=(*found.notes, *other.notes),
    )  # fmt: skip
