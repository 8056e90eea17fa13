"""How sure a share of samples is."""

from __future__ import annotations

import math


def wilson(hits: int, count: int) -> tuple[float, float]:
    """95 % interval of a share (Wilson 1927, doi:10.1080/01621459.1927.10502953).

    Args:
        hits: Samples that count.
        count: Of all, at least one.

    Example:
        >>> [round(float(v), 3) for v in wilson(90, 100)]
        [0.826, 0.945]
    """
    z, share = 1.959964, hits / count
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    reach = z / (1 + z * z / count) * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count))
    return max(0.0, middle - reach), min(1.0, middle + reach)
