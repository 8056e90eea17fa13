"""What followed the longest match; and that a likelihood that looks at it is one."""

import itertools

import numpy as np
import pytest
import torch

from rosenblatt.data.chorales import ChoraleCode, packed, tonic_of
from rosenblatt.data.repeats import (
    NOTHING,
    OTHER,
    OTHER_VOICE,
    OWN,
    OWN_VOICE,
    SOURCES,
    STRENGTH,
    UNDER,
    Memory,
    recall,
)
from rosenblatt.errors import DataError
from rosenblatt.models.chorale import ChoraleNet
from rosenblatt.train.chorale import chorale_nats, likely_tonics, told_nats
from rosenblatt.train.seeds import PrivateRandom


def random_pieces(count, steps=40, voices=3, seed=0):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        line = 60 + rng.integers(0, 3, (steps, voices)).cumsum(0) % 7 - 12 * np.arange(voices)
        line[rng.random((steps, voices)) < 0.05] = -1
        out.append(line)
    return out


def moves(piece, v, t):
    """How voice v moved at step t, as one comparable thing."""
    if t == 0:
        return "start"
    now, before = piece[t, v], piece[t - 1, v]
    return "silence" if now < 0 else "entry" if before < 0 else int(now - before)


def brute(piece, other, v, t, voices):
    """Votes for the next motion of voice v at step t, by definition: all places where the longest run of motions ends."""
    own = other is piece
    best, votes = 0, []
    for j in range(len(other) - 1):
        if own and j + 1 >= t:
            break
        run = 0
        while run <= min(j, t - 1) and all(moves(other, u, j - run) == moves(piece, u, t - 1 - run) for u in voices):
            run += 1
        if run > best:
            best, votes = run, []
        if run == best and run:
            votes.append(moves(other, v, j + 1))
    return best, votes


@pytest.mark.parametrize("source", [OWN, OWN_VOICE, OTHER, OTHER_VOICE])
def test_the_longest_match_is_the_longest_match(source):
    piece, other = random_pieces(2)
    found = recall(piece, Memory([other]))
    for t, v in itertools.product(range(1, len(piece)), range(3)):
        voices = [v] if source in (OWN_VOICE, OTHER_VOICE) else range(3)
        best, votes = brute(piece, piece if source < OTHER else other, v, t, voices)
        pitch, strength = found.pitches[t, v, source], found.strength[t, v, source]
        if pitch == NOTHING:
            top = max(map(votes.count, votes), default=0)
            base = piece[t - 1, v]
            # nothing, or a motion that has no pitch: from silence
            assert not votes or base < 0 or any(votes.count(m) == top and m == "entry" for m in votes)
            continue
        motion = "silence" if pitch < 0 else int(pitch - piece[t - 1, v])
        assert votes.count(motion) == max(map(votes.count, votes))
        assert strength[0] == pytest.approx(np.log1p(best))
        assert strength[2] == pytest.approx(votes.count(motion) / len(votes))
        assert strength[3] == pytest.approx(np.log1p(len(votes)))


def test_nothing_of_a_step_is_used_before_it():
    piece, memory = random_pieces(1)[0], Memory(random_pieces(2, seed=1))
    before = recall(piece, memory)
    for v in range(3):
        changed = piece.copy()
        changed[20, v] = 64 if piece[20, v] != 64 else 62
        after = recall(changed, memory)
        np.testing.assert_array_equal(before.pitches[:20], after.pitches[:20])
        np.testing.assert_array_equal(before.pitches[20, :, :UNDER], after.pitches[20, :, :UNDER])
        np.testing.assert_array_equal(before.strength[20, :, :UNDER], after.strength[20, :, :UNDER])
        if v:  # the lower voices are not asked about themselves
            np.testing.assert_array_equal(before.pitches[20], after.pitches[20])
    assert (before.pitches[:, 0, UNDER] == NOTHING).all()


def test_a_tune_is_found_in_any_key_with_its_harmony():
    piece, noise = random_pieces(2, seed=3)
    piece[piece < 0] = 60
    found = recall(piece + 4, Memory([noise, piece]))
    for source in (OTHER, OTHER_VOICE):
        assert (found.pitches[12:, :, source] == piece[12:] + 4).mean() > 0.95
    assert (found.pitches[12:, 1:, UNDER] == piece[12:, 1:] + 4).mean() > 0.95
    twice = np.concatenate([piece, piece])
    assert (recall(twice).pitches[60:, :, OWN] == twice[60:]).all()


def test_a_piece_is_not_told_about_itself():
    pieces = random_pieces(3, seed=5)
    alone, rest = recall(pieces[1], Memory(pieces).without(1)), recall(pieces[1], Memory([pieces[0], pieces[2]]))
    np.testing.assert_array_equal(alone.pitches, rest.pitches)
    np.testing.assert_array_equal(alone.strength, rest.strength)
    assert (recall(pieces[1]).pitches[:, :, OTHER:] == NOTHING).all()


def test_the_tonic_is_the_last_bass_note():
    assert tonic_of(np.array([[72, 60], [67, 55], [-1, -1]])) == 7
    assert tonic_of(np.array([[72, -1]])) == 0


def net_and_code(*, keyed, seed=0, chords=0):
    code = ChoraleCode(60, 62, (), np.array([[60, 62]]))
    with PrivateRandom(seed):
        net = ChoraleNet(
            code.pitches,
            2,
            hidden_size=8,
            layers=1,
            keyed=keyed,
            first=0,
            sources=SOURCES,
            marks=STRENGTH,
            chords=chords,
        )
        for head in net.heads:  # far from uniform
            torch.nn.init.normal_(head.two.weight, std=2)
    return net.eval(), code


@pytest.mark.parametrize("keyed", [False, True])
def test_the_probabilities_of_all_pieces_sum_to_one(keyed):
    """With copying, two networks averaged, and the tonic summed over."""
    (one, code), (two, _) = net_and_code(keyed=keyed), net_and_code(keyed=keyed, seed=1)
    memory = Memory([np.array([[61, 60], [62, 60], [61, 62], [60, 60]])])
    total = 0.0
    every = list(itertools.product([-1, 60, 61, 62], repeat=4))
    pieces = [np.array(values).reshape(2, 2) for values in every if max(values) >= 0]
    for piece in pieces:
        nats = chorale_nats([one, two], code, [piece], recalled=[recall(piece, memory)])["note"]
        total += np.exp(-nats * piece.size)
    silence = np.full((2, 2), -1)
    total += np.exp(-chorale_nats([one, two], code, [silence], recalled=[recall(silence, memory)])["note"] * 4)
    assert total == pytest.approx(1, abs=1e-5)


def test_averages_over_transpositions_are_no_more_than_probabilities():
    net, code = net_and_code(keyed=True)
    total = 0.0
    for values in itertools.product([-1, 60, 61, 62], repeat=2):
        piece = np.array([values])
        recalled = [recall(piece)]
        alone = [chorale_nats([net], code, [piece], recalled=recalled, shifts=(0, s))["note"] for s in (-1, 1)]
        assert np.isfinite(alone).all()
        total += np.exp(-2 * chorale_nats([net], code, [piece], recalled=recalled, shifts=(-1, 0, 1))["note"])
    assert total <= 1 + 1e-6


def test_the_tonic_that_is_told_bounds_the_sum_over_tonics():
    net, code = net_and_code(keyed=True)
    pieces = [np.array([[61, 60], [62, 60], [61, 60]]), np.array([[60, -1]])]
    recalled = [recall(piece) for piece in pieces]
    exact = chorale_nats([net], code, pieces, recalled=recalled)["note"]
    assert exact <= told_nats(net, code, pieces, recalled=recalled, tonics=[0, 5])
    one_by_one = [
        chorale_nats([net], code, [p], recalled=[r])["note"] * p.size for p, r in zip(pieces, recalled, strict=True)
    ]
    assert exact == pytest.approx(sum(one_by_one) / 8, rel=1e-5)
    likely = likely_tonics(net, code, pieces[0], recalled[0])
    assert float(likely.sum()) == pytest.approx(1)
    with pytest.raises(DataError, match="pitches from 60 to 70"):
        chorale_nats([net], code, [np.array([[70, 60]])], recalled=[recall(np.array([[70, 60]]))])


def test_a_packed_piece_moves_as_one():
    piece = np.array([[62, 60], [61, 60], [62, 60], [61, 60], [62, -1]])
    code, found = ChoraleCode(55, 70, (), np.array([[60, 62], [60, 62]])), recall(piece)
    here, there = packed(code, piece, recalled=found, tonic=0), packed(code, piece, recalled=found, tonic=0, shift=3)
    notes = slice(0, 2)
    sung = here[:, notes] > 0
    np.testing.assert_array_equal(there[:, notes][sung], here[:, notes][sung] + 3)
    assert set(there[:, 2]) == {3}
    copied = slice(3, 3 + 2 * SOURCES)
    known = here[:, copied] > 0
    assert known.any()
    np.testing.assert_array_equal(there[:, copied][known], here[:, copied][known] + 3)
    np.testing.assert_array_equal(there[:, 3 + 2 * SOURCES :], here[:, 3 + 2 * SOURCES :])
