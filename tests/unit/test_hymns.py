import itertools

import numpy as np
import pytest

from rosenblatt.data.hymns import AFTER, DEGREES, hymn
from rosenblatt.errors import ParameterError


def chord(step, key):
    classes = {int(pitch - key) % 12 for pitch in step}
    found = [name for name, degrees in DEGREES.items() if classes <= set(degrees)]
    bass = int(step[3] - key) % 12
    return next((name for name in found if DEGREES[name][0] == bass), None)


@pytest.mark.parametrize("seed", range(20))
def test_hymns_keep_their_rules(seed):
    piece = hymn(np.random.default_rng(seed))
    assert piece.shape == (128, 4)
    assert (np.diff(piece, axis=1) <= 0).all()
    key = int(piece[-1, 3]) % 12  # they end on the tonic
    chords = [chord(step, key) for step in piece[::4]]
    assert None not in chords
    assert chords[0] == chords[-1] == chords[-2] == "I"
    for before, after in itertools.pairwise(chords):
        assert after == "I" or after in AFTER[before]
    scale = {(key + tone) % 12 for tone in (0, 2, 4, 5, 7, 9, 11)}
    assert {int(pitch) % 12 for pitch in piece.ravel()} <= scale


def test_hymns_are_of_their_seed_and_differ():
    one, same, other = (hymn(np.random.default_rng(seed), bars=4) for seed in (0, 0, 1))
    np.testing.assert_array_equal(one, same)
    assert not np.array_equal(one, other)
    with pytest.raises(ParameterError, match="bars"):
        hymn(np.random.default_rng(0), bars=0)
