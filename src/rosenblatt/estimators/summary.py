"""The table of a network: layers, output shapes, parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Row:
    """One layer.

    Attributes:
        name: Path of the layer in the network.
        kind: Its class.
        shape: Shape of its output without the batch axis.
        trainable: Parameters that training changes.
        fixed: Parameters and buffers of numbers that it does not.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    trainable: int
    fixed: int


@dataclass(frozen=True)
class Summary:
    """Layers of a network in the order they ran; ``print`` shows a table.

    Attributes:
        title: What is summarised.
        rows: The layers.
    """

    title: str
    rows: tuple[Row, ...]

    @property
    def trainable(self) -> int:
        """Number of trainable parameters."""
        return sum(row.trainable for row in self.rows)

    def __str__(self) -> str:
        heads = ("layer", "kind", "output", "parameters")
        cells = [(r.name, r.kind, " x ".join(map(str, r.shape)) or "1", f"{r.trainable:,}") for r in self.rows]
        widths = [max(len(row[i]) for row in [heads, *cells]) for i in range(4)]
        lines = [self.title, "  ".join(h.ljust(w) for h, w in zip(heads, widths, strict=True)).rstrip()]
        lines.append("  ".join("-" * w for w in widths))
        for row in cells:
            left = "  ".join(c.ljust(w) for c, w in zip(row[:3], widths, strict=False))
            lines.append(f"{left}  {row[3].rjust(widths[3])}")
        fixed = sum(row.fixed for row in self.rows)
        lines.append(f"{self.trainable:,} trainable parameters" + (f", {fixed:,} fixed numbers" if fixed else ""))
        return "\n".join(lines)

    __repr__ = __str__


def summarize(module: nn.Module, example: Any, *, title: str) -> Summary:
    """Run one example through a network and list its leaf layers.

    Args:
        module: The network; its mode is kept.
        example: A batch of one; a tuple holds several arguments.
        title: First line of the summary.
    """
    rows: list[Row] = []
    seen: set[int] = set()

    def note(name: str) -> Any:
        def hook(part: nn.Module, _inputs: Any, output: Any) -> None:
            if isinstance(output, tuple):  # recurrent layers give their state too
                output = output[0]
            if not isinstance(output, Tensor):
                return
            own = [p for p in part.parameters() if id(p) not in seen]
            seen.update(id(p) for p in own)
            trainable = sum(p.numel() for p in own if p.requires_grad)
            # a masked layer says how many of its numbers are real connections
            trainable = getattr(part, "connections", trainable)
            fixed = sum(p.numel() for p in own if not p.requires_grad)
            fixed += sum(b.numel() for b in part.buffers() if b.is_floating_point())
            rows.append(Row(name, type(part).__name__, tuple(output.shape[1:]), trainable, fixed))

        return hook

    hooks = [
        part.register_forward_hook(note(name))
        for name, part in module.named_modules()
        if not list(part.children()) and name
    ]
    training = module.training
    try:
        with torch.no_grad():
            module.eval()(*(example if isinstance(example, tuple) else (example,)))
    finally:
        module.train(training)
        for hook in hooks:
            hook.remove()
    return Summary(title, tuple(rows))
