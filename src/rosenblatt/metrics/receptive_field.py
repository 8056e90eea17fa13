"""Receptive fields: which part of the picture one unit of a layer sees."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from rosenblatt.errors import ParameterError


@dataclass(frozen=True)
class Field:
    """What one unit of a layer sees.

    Attributes:
        layer: Path of the layer in the network.
        shape: Shape of its output without the batch axis.
        side: Pixels along one side of the receptive field.
        step: Pixels between the fields of neighbouring units.
    """

    layer: str
    shape: tuple[int, ...]
    side: int
    step: int


def receptive_fields(module: nn.Module, example: Tensor) -> list[Field]:
    r"""Receptive field of each convolution and pooling layer of a chain.

    A window of k at stride s sees :math:`r' = r + (k - 1) \, d \, j` pixels, and its neighbour lies :math:`j' = s \, j`
    pixels further, where r and j are those of the layer before and d is the dilation; both begin at 1.

    Layers count in the order in which they run; those under a part called ``shortcut`` do not, since they see no more than
    the path beside them, and of several towers only the first.

    Args:
        module: A network of convolutions and pooling layers, one after the other or in residual blocks.
        example: A batch of one input, on the network's device.

    Raises:
        ParameterError: The network has no convolution.

    Reference:
        Araujo, Norris & Sim, "Computing receptive fields of convolutional neural networks", 2019,
        doi:10.23915/distill.00021, eq. 2.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 5), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3))
        >>> [(field.side, field.step) for field in receptive_fields(net, torch.zeros(1, 1, 28, 28))]
        [(5, 1), (6, 2), (10, 2)]
    """
    found: list[Field] = []
    hooks = [
        part.register_forward_hook(_note(found, name)) for name, part in module.named_modules() if _counts(name, part)
    ]
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(example)
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    if not found:
        raise ParameterError(f"receptive_fields: {type(module).__name__} has no convolution; expected one.")
    return found


def _counts(name: str, part: nn.Module) -> bool:
    kinds = (nn.Conv2d, nn.MaxPool2d, nn.AvgPool2d)
    return isinstance(part, kinds) and "shortcut" not in name.split(".") and not name.startswith("towers.1.")


def _note(found: list[Field], name: str) -> Any:
    def hook(part: Any, _inputs: Any, output: Tensor) -> None:
        before = found[-1] if found else Field("", (), 1, 1)
        window, stride = _first(part.kernel_size), _first(part.stride)
        side = before.side + (window - 1) * _first(getattr(part, "dilation", 1)) * before.step
        found.append(Field(name, tuple(output.shape[1:]), side, before.step * stride))

    return hook


def _first(value: int | tuple[int, ...]) -> int:
    return value if isinstance(value, int) else value[0]
