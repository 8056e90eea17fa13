"""From logits to the next token: temperature, top-k, top-p, repetition penalty, a mask of what is allowed.

Reference: top-k: Fan, Lewis & Dauphin 2018 (arXiv:1805.04833); top-p (nucleus): Holtzman et al. 2020 (arXiv:1904.09751);
repetition penalty: Keskar et al. 2019 (arXiv:1909.05858), section 4.1.

Shapes: N sequences, V tokens of the vocabulary, T tokens so far.

Departures: the penalty works on log-probabilities, which are never positive, so that it always lowers; on raw logits, as
published, its effect depends on their arbitrary zero.
"""

from __future__ import annotations

import torch
from torch import Tensor

from rosenblatt._types import Bool, Float, Int
from rosenblatt._validate import NONE, Number, parameter
from rosenblatt.errors import DataError

_RULES = {
    "temperature": (Number(0),),
    "top_k": (Number(1, integer=True), NONE),
    "top_p": (Number(0, 1, open_low=True), NONE),
    "repetition_penalty": (Number(1),),
}


def check_sampling(who: str, **options: object) -> None:
    """Refuse sampling options out of range, before anything is computed.

    Args:
        who: Start of the messages.
        **options: Some of ``temperature``, ``top_k``, ``top_p``, ``repetition_penalty``.

    Raises:
        ParameterError: Naming the option.
    """
    for name, value in options.items():
        parameter(who, name, value, _RULES[name])


def filter_logits(
    logits: Float[Tensor, "N V"],
    *,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    history: Int[Tensor, "N T"] | None = None,
    allowed: Bool[Tensor, "... V"] | None = None,
) -> Float[Tensor, "N V"]:
    r"""Log-probabilities of what may come next, -inf for what may not.

    In this order: what is not allowed goes; tokens of the history have their log-probability multiplied by the penalty;
    all are divided by the temperature; all but the ``top_k`` likeliest go; of the rest the likeliest stay until their
    probabilities sum to ``top_p``. At least one token stays.

    Args:
        logits: Of the next token.
        temperature: Above 1 flatter, below 1 sharper; 0 keeps the likeliest token alone.
        top_k: Tokens that stay; None keeps all.
        top_p: Probability that stays; None keeps all.
        repetition_penalty: From 1 (none) on.
        history: Tokens so far, which the penalty is for.
        allowed: (V,) or (N, V), True where a token may come.

    Raises:
        ParameterError: An option out of its range.
        DataError: A row in which nothing is allowed.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0, 0.0]])
        >>> filter_logits(logits, top_k=2).exp().round(decimals=2).tolist()
        [[0.7300000190734863, 0.27000001072883606, 0.0]]
    """
    check_sampling(
        "filter_logits", temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty
    )
    scores = logits.float()
    if allowed is not None:
        if not bool(allowed.any(-1).all()):
            raise DataError(
                "filter_logits: allowed has a row that allows nothing; expected at least one token in each."
            )
        scores = scores.masked_fill(~allowed, -torch.inf)
    scores = scores.log_softmax(-1)
    if history is not None and repetition_penalty != 1:
        seen = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, history, True)
        scores = torch.where(seen, scores * repetition_penalty, scores)
    if temperature == 0:
        top_k = 1
    elif temperature != 1:
        scores = scores / temperature
    if top_k is not None and top_k < scores.shape[1]:
        kept = scores.topk(top_k, dim=1).indices
        scores = torch.full_like(scores, -torch.inf).scatter_(1, kept, scores.gather(1, kept))
    scores = scores.log_softmax(-1)
    return scores if top_p is None or top_p == 1 else _nucleus(scores, top_p)


def _nucleus(scores: Tensor, top_p: float) -> Tensor:
    """The likeliest tokens whose probabilities sum to at least ``top_p``."""
    ordered, order = scores.sort(dim=1, descending=True, stable=True)
    before = ordered.exp().cumsum(1) - ordered.exp()  # of all likelier tokens: 0 for the first, which always stays
    ordered = ordered.masked_fill(before >= top_p, -torch.inf)
    return torch.empty_like(scores).scatter_(1, order, ordered).log_softmax(-1)


def sample(
    logits: Float[Tensor, "N V"],
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float | None = None,
    repetition_penalty: float = 1.0,
    history: Int[Tensor, "N T"] | None = None,
    allowed: Bool[Tensor, "... V"] | None = None,
) -> Int[Tensor, " N"]:
    """One next token a row, drawn from what `filter_logits` leaves.

    Args:
        logits: As `filter_logits`, like the other options.
        generator: On the logits' device; not used at temperature 0.
        temperature: As `filter_logits`.
        top_k: As `filter_logits`.
        top_p: As `filter_logits`.
        repetition_penalty: As `filter_logits`.
        history: As `filter_logits`.
        allowed: As `filter_logits`.

    Raises:
        ParameterError, DataError: As `filter_logits`.

    Example:
        >>> sample(torch.tensor([[0.0, 3.0]]), generator=torch.Generator(), temperature=0).tolist()
        [1]
    """
    kept = filter_logits(
        logits, temperature=temperature, top_k=top_k, top_p=top_p, repetition_penalty=repetition_penalty,
        history=history, allowed=allowed,
    )  # fmt: skip
    if temperature == 0:
        return kept.argmax(1)
    return torch.multinomial(kept.exp(), 1, generator=generator)[:, 0]
