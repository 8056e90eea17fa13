"""BLEU and chrF of translations, as sacrebleu computes them, with the signature that makes a figure comparable.

Reference: Papineni et al. 2002 (doi:10.3115/1073083.1073135); Popović 2015 (doi:10.18653/v1/W15-3049); Post 2018
(arXiv:1804.08771).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rosenblatt.errors import MissingExtraError


def translation_scores(translations: Sequence[str], references: Sequence[str]) -> dict[str, Any]:
    """BLEU (tokenised by 13a) and chrF of a corpus, both from 0 to 100, and their signatures.

    Args:
        translations: Detokenised text.
        references: One of each.

    Raises:
        MissingExtraError: The package sacrebleu is not installed.

    Example:
        >>> found = translation_scores(["the cat sat on the mat"], ["the cat sat on the mat"])
        >>> round(found["bleu"]), found["bleu_signature"].split("|")[3]
        (100, 'tok:13a')
    """
    try:
        from sacrebleu.metrics import BLEU, CHRF
    except ImportError as error:
        raise MissingExtraError(
            "BLEU needs the package sacrebleu, which is not installed. Install it with: pip install 'rosenblatt[text]'"
        ) from error
    found: dict[str, Any] = {}
    for name, metric in (("bleu", BLEU()), ("chrf", CHRF())):
        found[name] = metric.corpus_score(list(translations), [list(references)]).score
        found[f"{name}_signature"] = str(metric.get_signature())
    return found
