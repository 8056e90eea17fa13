import io
import json
import struct
import subprocess
import sys
import wave

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import rosenblatt as rb
from rosenblatt.data import sound
from rosenblatt.data.chorales import (
    ChoraleBatches,
    ChoraleCode,
    check_chorale,
    chorale_of,
    packed,
    piece_of,
    pitch_sets,
)
from rosenblatt.data.midi import DRUMS, Piece, decode_midi, encode_midi, read_midi, read_pieces, write_midi
from rosenblatt.data.music_tokens import KEYS, Grammar, MusicTokens, estimate_key
from rosenblatt.data.repeats import recall
from rosenblatt.errors import DataError, MissingExtraError, NotFittedError, OutputError, ParameterError, ShapeError
from rosenblatt.estimators.composer_inputs import split_pieces
from rosenblatt.metrics.music import (
    compare_pieces,
    grooving,
    longest_copy,
    note_windows,
    pitch_class_histogram,
    polyphony,
    scale_consistency,
)
from rosenblatt.models.chorale import ChoraleNet, Given, held_steps, token_losses
from rosenblatt.models.composer import MusicTransformer
from rosenblatt.train.chorale import given_of, sing
from rosenblatt.train.seeds import PrivateRandom, generator

SMALL = {"hidden_size": 16, "layers": 1, "epochs": 2, "random_state": 0, "verbose": 0, "dropout": 0.0}
notes_of = st.lists(
    st.tuples(
        st.integers(0, 50_000), st.integers(0, 128), st.integers(0, 127), st.integers(0, 40_000), st.integers(1, 127)
    ),
    min_size=1,
    max_size=30,
)
tempos_of = st.lists(st.tuples(st.integers(0, 9_000), st.integers(1, 2**24 - 1)), max_size=3)
meters_of = st.lists(
    st.tuples(st.integers(0, 9_000), st.integers(1, 255), st.sampled_from([1, 2, 4, 8, 16, 32])), max_size=3
)


def scales(count=8, voices=4, steps=32):
    """Chorales without art: chords that walk up and down."""
    out = []
    for number in range(count):
        root = 60 + number % 5 + np.abs(np.arange(steps) // 4 % 8 - 4)
        out.append(np.stack([root + 12, root + 7, root + 4, root - 12], 1)[:, :voices])
    return out


def tunes(count=6):
    """Pieces of two instruments and drums."""
    found = []
    for number in range(count):
        rows = [(24 * i, 0, 60 + (i * 2 + number) % 12, 24, 80) for i in range(24)]
        rows += [(48 * i, 33, 36 + i % 5, 40, 90) for i in range(12)]
        rows += [(24 * i, DRUMS, 36 + 2 * (i % 2), 6, 100) for i in range(24)]
        found.append(Piece(np.array(rows), 24, ((0, 500_000),), ((0, 4, 4),)))
    return found


@pytest.fixture(scope="module")
def choir():
    return rb.Composer(network="chorale", chords=8, **SMALL | {"epochs": 8, "hidden_size": 32}).fit(scales())


@pytest.fixture(scope="module")
def band():
    return rb.Composer(context=64, **SMALL).fit(tunes(), ["pop", "rock"] * 3)


# --------------------------------------------------------------------------------------------------------------- MIDI


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(notes_of, tempos_of, meters_of, st.sampled_from([24, 96, 480, 960]))
def test_a_piece_survives_midi_and_tokens(notes, tempos, meters, resolution):
    piece = Piece(np.array(notes), resolution, tuple(tempos), tuple(meters))
    assert decode_midi(encode_midi(piece)) == piece
    tokens = MusicTokens(resolution, ("a", "b"))
    assert tokens.decode(tokens.encode(piece, style="b", key="A minor")) == piece


def test_the_order_of_tracks_does_not_matter(tmp_path):
    symusic = pytest.importorskip("symusic")

    def file(order):
        score = symusic.Score(480)
        for name in order:
            track = symusic.Track(
                program={"flute": 73, "piano": 0, "other piano": 0, "drums": 0}[name], is_drum=name == "drums"
            )
            track.name = name
            for i in range(4):
                pitch = 60 + 7 * len(name) % 40 + i
                track.notes.append(symusic.Note(time=480 * i, duration=240, pitch=pitch, velocity=64))
            track.controls.append(symusic.ControlChange(time=0, number=7, value=100))
            score.tracks.append(track)
        return decode_midi(score.dumps_midi())

    one, two = file(["flute", "piano", "other piano", "drums"]), file(["drums", "other piano", "flute", "piano"])
    assert one == two
    tokens = MusicTokens(480)
    np.testing.assert_array_equal(tokens.encode(one), tokens.encode(two))
    assert one.instruments == [0, 73, DRUMS]
    assert one.dropped == {"controls": 4, "names of tracks": 4}


def test_a_hundred_and_twenty_eight_tracks_and_drums_alone():
    rows = [(i, i, 60, 10, 64) for i in range(128)]
    piece = Piece(np.array(rows), 24)
    assert decode_midi(encode_midi(piece)) == piece
    drums = Piece(np.array([[0, DRUMS, 36, 4, 100], [6, DRUMS, 38, 4, 90]]), 24)
    assert decode_midi(encode_midi(drums)) == drums
    assert drums.transposed(5) == drums
    assert estimate_key(drums) == KEYS[0]


def damaged(change):
    data = bytearray(encode_midi(tunes(1)[0]))
    return bytes(change(data))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is empty"),
        (b"RIFF" + b"x" * 20, "is no MIDI file: it begins with b'RIFF'"),
        (b"MThd" + struct.pack(">IHHH", 6, 2, 1, 480), "format 2; expected 0 or 1"),
        (b"MThd" + struct.pack(">IHHH", 6, 1, 1, 0xE728), "SMPTE"),
        (b"MThd" + struct.pack(">IHHH", 6, 1, 1, 480), "0 of 1 tracks are there"),
        (b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", 4) + b"\x00\xff\x2f\x00", "without notes"),
        (
            b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", 19)
            + b"\x00\xff\x51\x03\x00\x00\x00\x00\x90\x3c\x40\x10\x80\x3c\x00\x00\xff\x2f\x00",
            "a tempo of 0 microseconds a quarter note at tick 0",
        ),
    ],
)  # fmt: skip
def test_files_that_are_refused(data, message):
    with pytest.raises(DataError, match=message):
        decode_midi(data)


def test_a_file_cut_short_is_refused_wherever_it_is_cut():
    data = encode_midi(tunes(1)[0])
    for length in range(len(data)):
        with pytest.raises(DataError):
            decode_midi(data[:length])


def test_folders_of_files(tmp_path):
    for name, piece in zip(("a/1.mid", "a/2.mid", "b/3.midi"), tunes(3), strict=True):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_midi(piece, tmp_path / name)
    found = read_pieces(tmp_path)
    assert list(found) == ["a/1.mid", "a/2.mid", "b/3.midi"]
    assert found["a/2.mid"] == tunes(3)[1]
    model = rb.Composer(context=32, **SMALL | {"epochs": 1}).fit(tmp_path)
    held = split_pieces(list(found), ["a", "a", "b"], 0.1, 0)  # one of three is held out, with its style
    assert model.styles_ == tuple(sorted(set(held[1])))
    (tmp_path / "a/2.mid").write_bytes(b"")
    with pytest.raises(DataError, match=r"1 files cannot be read; first: .*2\.mid is empty"):
        read_pieces(tmp_path)
    with pytest.warns(UserWarning, match="1 files were left out: a/2.mid. First: .*2.mid is empty"):
        assert len(read_pieces(tmp_path, skip_bad=True)) == 2
    (tmp_path / "none").mkdir()
    with pytest.raises(DataError, match="no MIDI files in"):
        read_pieces(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_midi(tmp_path / "x.mid")
    with pytest.raises(ParameterError, match=r"expected the suffix \.mid"):
        write_midi(tunes(1)[0], tmp_path / "x.wav")
    with pytest.raises(OutputError, match="exists"):
        write_midi(tunes(1)[0], tmp_path / "a/1.mid", overwrite=False)


def test_pieces_out_of_range_are_refused():
    for rows, message in [
        ([[0, 0, 128, 1, 1]], "note 0 has the pitch 128; expected 0 to 127"),
        ([[0, 129, 1, 1, 1]], "instrument 129"),
        ([[0, 0, 1, 1, 0]], "velocity 0"),
        ([[-1, 0, 1, 1, 1]], "start -1"),
    ]:
        with pytest.raises(DataError, match=message):
            Piece(np.array(rows))
    good = np.array([[0, 0, 60, 1, 1]])
    with pytest.raises(DataError, match="a tempo of 0 microseconds"):
        Piece(good, 24, ((0, 0),))
    with pytest.raises(DataError, match="a time signature 3/5"):
        Piece(good, 24, (), ((0, 3, 5),))
    with pytest.raises(DataError, match="resolution=0"):
        Piece(good, 0)
    with pytest.raises(DataError, match="pitch 130"):
        Piece(good).transposed(70)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "symusic", None)
    with pytest.raises(MissingExtraError, match=r"rosenblatt\[music\]"):
        encode_midi(tunes(1)[0])


def test_what_the_reader_passes_over_is_named():
    events = b"\x00\xd0\x20\x00\x90\x3c\x40\x0a\x80\x3c\x00\x00\x90\x3e\x40\x00\xff\x2f\x00"
    head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 480) + b"MTrk" + struct.pack(">I", len(events))
    piece = decode_midi(head + events)
    assert piece.dropped == {"aftertouch": 1, "notes without an end": 1}
    assert len(piece) == 1


def test_seconds_follow_the_tempos():
    piece = Piece(np.array([[0, 0, 60, 1, 1], [24, 0, 60, 1, 1], [72, 0, 60, 1, 1]]), 24, ((24, 1_000_000),))
    np.testing.assert_allclose(piece.seconds(), [0, 0.5, 2.5])


def test_the_grid_rounds_and_keeps_every_note():
    piece = Piece(np.array([[119, 0, 60, 3, 1], [245, 0, 62, 240, 1]]), 480)
    assert piece.on_grid(24).notes[:, [0, 3]].tolist() == [[6, 1], [12, 12]]


# ------------------------------------------------------------------------------------------------------------- tokens


def walk(tokens, seed, steps=80):
    """A sentence drawn from what the grammar allows, every token alike."""
    rng, grammar, said = np.random.default_rng(seed), Grammar(tokens), []
    for _ in range(steps):
        allowed = np.flatnonzero(grammar.allowed())
        if not len(allowed):
            break
        said.append(int(rng.choice(allowed)))
        grammar.take(said[-1])
    return said, grammar.piece()


def test_every_sentence_of_the_grammar_is_a_piece():
    tokens = MusicTokens(24, ("a",))
    for seed in range(60):
        said, piece = walk(tokens, seed)
        assert tokens.decode(np.array(said)) == piece
        assert tokens.decode(tokens.encode(piece)) == piece
        if len(piece):
            assert decode_midi(encode_midi(piece)) == piece


@pytest.mark.slow
def test_ten_thousand_samples_of_an_untrained_network_are_midi():
    tokens = MusicTokens(24)
    with PrivateRandom(0):
        net = MusicTransformer(tokens.size, context=64, width=16, layers=1, heads=1).eval()
    from rosenblatt.train.music import play_on

    source = torch.Generator().manual_seed(0)
    for _ in range(10_000):
        grammar = play_on(net, [1], Grammar(tokens), length=40, until=None, context=64, device="cpu", generator=source)
        piece = grammar.piece()
        if len(piece):
            assert decode_midi(encode_midi(piece)) == piece


def test_wrong_sentences_are_refused():
    tokens = MusicTokens(24)
    good = tokens.encode(tunes(1)[0])
    with pytest.raises(DataError, match="token 3 at place 0 is not allowed there; expected START"):
        tokens.decode(good[[1, 2]] * 0 + 3)
    with pytest.raises(DataError, match="is not allowed there"):
        tokens.decode(np.concatenate([good, good]))
    with pytest.raises(DataError, match="a piece of 480 ticks a quarter note; expected 24"):
        tokens.encode(Piece(np.array([[0, 0, 60, 1, 1]]), 480))
    with pytest.raises(ParameterError, match="style='jazz'; expected one of none, training had no styles"):
        tokens.encode(tunes(1)[0], style="jazz")


def test_transposition_moves_all_but_drums():
    tokens, piece = MusicTokens(24), tunes(1)[0]
    moved = tokens.transpose(tokens.encode(piece, key="C major"), 3)
    assert tokens.decode(moved) == piece.transposed(3)
    assert moved[1] == tokens.condition(key="Eb major")[0]
    low = Piece(np.array([[0, 0, 2, 24, 80]]), 24)
    assert tokens.decode(tokens.transpose(tokens.encode(low), -5)).notes[0, 2] == 0


def test_keys():
    tonic = [60, 64, 67, 72, 65, 69, 72, 67, 71, 74, 60]
    piece = Piece(np.array([[24 * i, 0, p, 24, 80] for i, p in enumerate(tonic)]), 24)
    assert estimate_key(piece) == "C major"
    assert estimate_key(piece.transposed(2)) == "D major"


# ----------------------------------------------------------------------------------------------------------- chorales


def test_held_steps_count_since_the_last_change():
    notes = torch.tensor([[[5, 1], [5, 1], [7, 1], [7, 1], [7, 2], [5, 2]]])
    assert held_steps(notes)[0].T.tolist() == [[0, 1, 0, 1, 2, 0], [0, 1, 2, 3, 0, 1]]
    assert int(held_steps(torch.zeros(1, 40, 1, dtype=torch.long)).max()) == 16


def test_the_network_sees_nothing_of_what_it_predicts():
    with PrivateRandom(0):
        net = ChoraleNet(12, 4, chords=5, hidden_size=16).eval()
        notes, chords = torch.randint(0, 12, (1, 10, 4)), torch.randint(0, 5, (1, 10))
    before, _ = net(Given(notes, chords))
    changed = notes.clone()
    changed[0, 6, 1] = (changed[0, 6, 1] + 1) % 12
    after, _ = net(Given(changed, chords))
    for number, (a, b) in enumerate(zip(before, after, strict=True)):  # chord, S, A, T, B
        first = 6 if number == 3 else 7  # of the same step only the tenor, chosen after the alto, may know
        torch.testing.assert_close(a[:, :first], b[:, :first])
    assert not torch.allclose(before[3][:, 6], after[3][:, 6])
    assert not torch.allclose(before[1][:, 7], after[1][:, 7])


@pytest.mark.parametrize("chords", [0, 8])
def test_step_by_step_is_the_same_network(chords):
    """Drawing at temperature 0 follows the argmax of the whole network's logits, with all that it reads."""
    model = rb.Composer(network="chorale", chords=chords, **SMALL | {"epochs": 3}).fit(scales())
    net, code, memory = model.module_.eval(), model._code(), model._memory()
    voices = sing(net, code, steps=24, generator=generator(0), temperature=0, tonic=2, memory=memory)
    batch = torch.from_numpy(packed(code, voices, recalled=recall(voices, memory), tonic=2))[None]
    given = given_of(net, batch)
    drawn = voices_of_chords(net, given) if chords else None
    logits, _ = net(given if drawn is None else given._replace(chords=drawn))
    for v in range(4):
        step = logits[v + (chords > 0)]
        if chords:  # the drawn chord of each step, the true ones before it
            step = torch.stack([_with_chord(net, given, drawn, t)[1 + v][0, t] for t in range(24)])[None]
        assert torch.equal(step.argmax(2), given.notes[:, :, v])


def voices_of_chords(net, given):
    """The chords that the network says at each step after the true ones."""
    return net(given)[0][0].argmax(2)


def _with_chord(net, given, drawn, step):
    chords = given.chords.clone()
    chords[0, step] = drawn[0, step]
    return net(given._replace(chords=chords))[0]


def test_losses_are_cross_entropies_and_leave_padding_out():
    with PrivateRandom(0):
        net = ChoraleNet(6, 2, hidden_size=8).eval()
        notes = torch.randint(0, 6, (2, 5, 2))
    notes[1, 3:] = -1
    logits, _ = net(Given(notes))
    each, chord = token_losses(logits, notes)
    assert chord is None
    expected = -logits[1].log_softmax(2)[0, 2, notes[0, 2, 1]]
    assert float(each[0, 2, 1].detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    assert float(each[1, 3:].detach().abs().sum()) == 0


def test_nats_with_chords_add_up(choir):
    found = choir.nats(scales(3))
    note, both, token = found["note"], found["with_chords"], found["token"]
    assert note < both
    assert token == pytest.approx(both * 4 / 5)


def test_codes_and_transpositions():
    pieces = scales()
    code = ChoraleCode.of(pieces, chords=10)
    encoded = code.encode(pieces[0])
    assert encoded.shape == (32, 5)
    np.testing.assert_array_equal(code.decode(encoded[:, :4]), pieces[0])
    assert len(code.chords) == 9
    assert pitch_sets(np.array([[60, 64, 67, -1]])).tolist() == [0b000010010001]
    low, high = code.shifts(pieces[0])
    assert low <= 0 < high
    data = ChoraleBatches(pieces, code, batch_size=3, generator=torch.Generator().manual_seed(0))
    seen = sum(len(x) for x, _, _ in data)
    assert seen == len(pieces)
    with pytest.raises(DataError, match=r"pitches from 10 to 10; expected .* Transpose it"):
        code.encode(np.array([[10, -1, -1, -1]]))


def test_voices_become_notes_and_notes_voices():
    notes = scales(1)[0]
    piece = piece_of(notes)
    np.testing.assert_array_equal(chorale_of(piece, 4), notes)
    with pytest.raises(DataError, match="4 notes sound at step 0; expected at most 3"):
        chorale_of(piece, 3)
    with pytest.raises(DataError, match=r"a piece of shape \(3,\)"):
        check_chorale("x", np.array([1, 2, 3]))
    with pytest.raises(DataError, match="values from -2 to 60"):
        check_chorale("x", np.array([[60, -2]]))
    with pytest.raises(DataError, match="no integers"):
        check_chorale("x", np.array([[60.5]]))


# ---------------------------------------------------------------------------------------------------------- estimator


def test_a_choir_learns_sings_and_harmonises(choir, tmp_path):
    assert choir.history_[-1]["validation_loss"] < choir.history_[0]["validation_loss"]
    piece = choir.sample(length=16, random_state=1)
    assert piece == choir.sample(length=16, random_state=1)
    assert piece.end <= 16
    opening = scales(1)[0][:8]
    longer = choir.sample(opening, length=4, random_state=0)
    np.testing.assert_array_equal(chorale_of(longer, 4)[:8], opening)
    melody = scales(1)[0][:, 0]
    found = chorale_of(choir.harmonise(melody, random_state=0), 4)
    assert len(found) == len(melody)
    assert (found == melody[:, None]).any(1).all()
    again = rb.load(choir.save(tmp_path / "choir.safetensors"))
    assert again.sample(length=16, random_state=1) == piece
    assert again.nats(scales(2)) == choir.nats(scales(2))
    assert "nats on held-out pieces" in str(choir.summary())


def test_a_band_learns_and_plays(band, tmp_path):
    assert band.styles_ == ("pop", "rock")
    assert band.instruments_ == (0, 33, DRUMS)
    piece = band.sample(length=80, style="pop", key="C major", tempo=90, random_state=2)
    assert piece == band.sample(length=80, style="pop", key="C major", tempo=90, random_state=2)
    assert piece.tempos[0] == (0, 666_667)
    assert set(piece.instruments) <= {0, 33, DRUMS}
    alone = band.sample(length=60, instruments=[33], random_state=0)
    assert alone.instruments in ([33], [])
    opening = Piece(tunes(1)[0].notes[:6], 24)
    longer = band.sample(opening, length=30, random_state=0)
    assert longer.notes[: len(opening)].tolist()[:5] == opening.notes.tolist()[:5]
    path = band.save(tmp_path / "band.safetensors")
    code = f"import rosenblatt as rb; print(rb.load({str(path)!r}).sample(length=80, random_state=2).notes.sum())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == band.sample(length=80, random_state=2).notes.sum()


@pytest.mark.parametrize("network", ["transformer", "gru"])
def test_event_networks_learn(network):
    model = rb.Composer(network=network, context=32, **SMALL | {"epochs": 30, "hidden_size": 32}).fit(tunes())
    assert model.history_[-1]["validation_loss"] < 0.8 * model.history_[0]["validation_loss"]
    assert model.nats(tunes(1))["token"] < 6
    np.testing.assert_equal(model.score(tunes(1)), -model.nats(tunes(1))["token"])


def test_cached_keys_give_the_same_logits():
    with PrivateRandom(0):
        net = MusicTransformer(20, context=24, width=16, layers=2, heads=2).eval()
        for block in net.blocks:
            torch.nn.init.normal_(block.distance)
        tokens = torch.randint(0, 20, (2, 24))
    whole, _ = net(tokens)
    state, parts = net.start(2, 24), []
    for piece in tokens.split([5, 1, 1, 10, 7], 1):
        logits, state = net(piece, state)
        parts.append(logits)
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=1e-4, atol=1e-5)
    with pytest.raises(ShapeError, match="expected at most its context of 24"):
        net(torch.zeros(1, 25, dtype=torch.long))


def test_relative_attention_does_not_know_where_it_is():
    with PrivateRandom(0):
        net = MusicTransformer(20, context=32, width=16, layers=1, heads=2).eval()
        torch.nn.init.normal_(net.blocks[0].distance)
        tokens = torch.randint(0, 20, (1, 8))
    twice, _ = net(torch.cat([tokens, tokens], 1))
    once, _ = net(tokens)
    torch.testing.assert_close(once, twice[:, :8])


def test_filling_keeps_the_rest(band):
    piece = tunes(1)[0]
    filled = band.fill(piece, 2, 4, tries=2, random_state=0)
    outside = lambda p: p.notes[(p.notes[:, 0] < 48) | (p.notes[:, 0] >= 96)].tolist()  # noqa: E731
    assert outside(filled) == outside(piece)
    with pytest.raises(ParameterError, match="expected 0 <= start < end"):
        band.fill(piece, 4, 2)


def test_reorchestration_moves_by_octaves(band):
    piece = tunes(1)[0]
    moved = band.reorchestrate(piece, {0: 33})
    assert moved.instruments == [33, DRUMS]
    assert len(moved) == len(piece)
    shift = set((np.sort(moved.notes[moved.notes[:, 1] == 33, 2] % 12)).tolist())
    assert shift == set((piece.notes[piece.notes[:, 1] != DRUMS, 2] % 12).tolist())
    with pytest.raises(ParameterError, match="pitched to pitched"):
        band.reorchestrate(piece, {0: DRUMS})


def test_copies_are_found_in_any_key(band):
    piece = tunes(6)
    assert max(band.memorised(p.transposed(3)) for p in piece) >= 30
    rng = np.random.default_rng(0)
    rows = np.stack(
        [np.arange(40) * 7, np.zeros(40), rng.integers(40, 90, 40), rng.integers(1, 30, 40), np.full(40, 64)], 1
    )
    assert band.memorised(Piece(rows, 24)) == 0
    known = np.unique(note_windows(piece[0]))
    assert longest_copy(piece[0], known) == (piece[0].notes[:, 1] != DRUMS).sum()


def test_scores_of_known_pieces(band):
    chord = Piece(np.array([[0, 0, p, 96, 64] for p in (60, 64, 67)]), 24)
    assert polyphony(chord) == 3
    assert scale_consistency(chord) == 1
    np.testing.assert_allclose(pitch_class_histogram(chord)[[0, 4, 7]], 1 / 3)
    beat = Piece(np.array([[24 * i, 0, 60, 12, 64] for i in range(16)]), 24)
    assert grooving(beat) == 1
    chromatic = Piece(np.array([[24 * i, 0, 60 + i, 12, 64] for i in range(12)]), 24)
    assert scale_consistency(chromatic) == pytest.approx(7 / 12)
    found = band.compare(tunes(2))
    assert found["polyphony"][0] == pytest.approx(found["polyphony"][1], rel=0.2)
    assert compare_pieces(tunes(4), tunes(4))["pitch_classes"][0] == 0


def test_pieces_are_split_before_windows():
    names = list("abcdefghij")
    train, _, held, _ = split_pieces(names, names, 0.2, 0)
    assert sorted(train + held) == names
    assert len(held) == 2


def test_wrong_use_is_refused(choir, band):
    with pytest.raises(NotFittedError, match="not fitted"):
        rb.Composer().sample()
    with pytest.raises(DataError, match="no piece at all"):
        rb.Composer(**SMALL).fit([])
    with pytest.raises(DataError, match="1 piece; expected at least 2"):
        rb.Composer(**SMALL).fit(tunes(1))
    with pytest.raises(DataError, match="arrays with network='transformer'"):
        rb.Composer(**SMALL).fit(scales())
    with pytest.raises(DataError, match="2 labels for 6 pieces"):
        rb.Composer(**SMALL).fit(tunes(), ["a", "b"])
    with pytest.raises(ParameterError, match="expected a multiple of its 2 heads"):
        rb.Composer(**SMALL | {"hidden_size": 129}).fit(tunes())
    with pytest.raises(ParameterError, match="style with network='chorale'"):
        choir.sample(style="pop")
    with pytest.raises(ParameterError, match="key='C major'; expected one of"):
        choir.sample(key="C major")
    with pytest.raises(ParameterError, match="shifts=2; expected 0 but for network='chorale' without chords"):
        choir.nats(scales(1), shifts=2)
    with pytest.raises(ParameterError, match="holding a note repeats it"):
        choir.sample(repetition_penalty=1.2)
    with pytest.raises(ParameterError, match="expected an event network"):
        choir.fill(tunes(1)[0], 0, 1)
    with pytest.raises(ParameterError, match="expected 'chorale'"):
        band.harmonise([60, 62])
    with pytest.raises(ParameterError, match="expected one of pop, rock"):
        band.sample(style="jazz")
    with pytest.raises(ParameterError, match="key='H major'"):
        band.sample(key="H major")
    with pytest.raises(DataError, match="expected fewer than context=64"):
        band.sample(tunes(1)[0])
    with pytest.raises(DataError, match="prompt is a str; expected a Piece"):
        band.sample("x.mid")
    with pytest.raises(ParameterError, match="tempo"):
        band.sample(tempo=0)


# ------------------------------------------------------------------------------------------ sound, pictures, commands


def test_the_synthesiser_plays_the_pitch_that_is_written(tmp_path, monkeypatch):
    piece = Piece(np.array([[0, 0, 69, 48, 100]]), 24)
    samples = sound.synthesise(piece)
    assert np.abs(samples).max() <= 0.9 + 1e-9
    spectrum = np.abs(np.fft.rfft(samples))
    assert np.argmax(spectrum) * sound.RATE / len(samples) == pytest.approx(440, abs=1)
    monkeypatch.setattr(sound, "sound_font", lambda: None)
    assert sound.render(piece, tmp_path / "a.wav") == "the built-in synthesiser"
    with wave.open(io.BytesIO((tmp_path / "a.wav").read_bytes())) as file:
        assert file.getframerate() == sound.RATE
        assert file.getnframes() == len(samples)
    with pytest.raises(DataError, match="without notes"):
        sound.synthesise(Piece(np.zeros((0, 5))))
    with pytest.raises(DataError, match="expected at most 1200"):
        sound.synthesise(Piece(np.array([[10**6, 0, 60, 1, 1]]), 24))


def test_pictures_and_sheet_music(band):
    figures = band.inspect(tunes(1)[0])
    assert {"sample", "piece", "learning_curves"} == set(figures) or {"sample", "learning_curves"} <= set(figures)
    pytest.importorskip("music21")
    from rosenblatt.report.music import music_xml, piano_roll

    assert music_xml(piece_of(scales(1)[0])).count("<pitch>") > 10
    with pytest.raises(DataError, match="without notes"):
        piano_roll(Piece(np.zeros((0, 5))))


def test_the_commands(run, tmp_path):
    folder = tmp_path / "tunes"
    for number, piece in enumerate(tunes(4)):
        (folder / "pop").mkdir(parents=True, exist_ok=True)
        write_midi(piece, folder / "pop" / f"{number}.mid")

    path = tmp_path / "m.safetensors"
    small = ("--hidden-size", 16, "--layers", 1, "--epochs", 1, "--context", 48, "--random-state", 0)
    said = run("train", "composer", folder, "-o", path, "--json", *small)
    assert said.code == 0, said.err
    assert json.loads(said.out)["pieces"] == 4
    for out in ("x.mid", "x.wav"):
        said = run("sample", path, "--length", 120, "--label", "pop", "--random-state", 1, "--out", tmp_path / out)
        assert said.code == 0, said.err
        assert (tmp_path / out).stat().st_size > 30
    said = run("evaluate", path, folder, "--json")
    assert said.code == 0, said.err
    assert json.loads(said.out)["token"] > 0
    for words, message in [
        (("sample", path), "music needs a file"),
        (("sample", path, "--out", tmp_path / "x.ogg"), "expected the suffix"),
        (("sample", path, "--count", 2, "--out", tmp_path / "y.mid"), "--count: means nothing for a Composer"),
    ]:
        said = run(*words)
        assert said.code == 2
        assert message in said.err
