"""`Translator`: parallel text, batches by length, both networks, beam search, scores, files, bad input."""

import gzip
import io
import json
import random
import runpy
import sys
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
import torch
from sklearn.base import clone

import rosenblatt as rb
from rosenblatt.cli import main
from rosenblatt.data.pairs import PairBatches, clean, read_pairs, read_sentences
from rosenblatt.errors import ColumnError, DataError, MissingExtraError, NotFittedError, ParameterError
from rosenblatt.layers.dropout import Dropout
from rosenblatt.metrics.translation import translation_scores
from rosenblatt.models.attention_gru import AttentionGRU
from rosenblatt.models.transformer import Transformer, sinusoids
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.translation import END, FORWARD, SPECIAL, Search, limit_of, token_loss, translate

ENGLISH = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]
GERMAN = ["null", "eins", "zwei", "drei", "vier", "fünf", "sechs", "sieben", "acht", "neun"]
EVERY = pytest.mark.parametrize("network", ["transformer", "attention-gru"])
QUICK = {
    "hidden_size": 48, "layers": 1, "dropout": 0.0, "vocabulary": 400, "batch_size": 150, "learning_rate": 6e-3,
    "random_state": 0, "verbose": 0, "plan": rb.Plan(ema=0.9, label_smoothing=0.0, validation_fraction=0.02),
}  # fmt: skip


def number_words(count, seed, most=4):
    draw, pairs = random.Random(seed), []
    for _ in range(count):
        digits = [draw.randrange(10) for _ in range(draw.randint(1, most))]
        pairs.append((" ".join(ENGLISH[d] for d in digits), " ".join(GERMAN[d] for d in digits)))
    return pairs


@cache
def trained(network):
    return rb.Translator(network=network, epochs=16, **QUICK).fit(number_words(500, 0))


@cache
def barely_trained():
    return rb.Translator(epochs=1, **QUICK).fit(number_words(60, 0))


def module(network, vocabulary=30):
    with PrivateRandom(0):
        if network == "transformer":
            return Transformer(vocabulary, width=16, layers=2, heads=2, hidden=24).eval()
        return AttentionGRU(vocabulary, width=12, hidden=16, layers=2).eval()


# ------------------------------------------------------------------------------------------------------ reading


def test_pairs_come_from_lists_files_packed_files_and_tables(tmp_path):
    pairs = [("a dog", "ein Hund"), ("two", "zwei")]
    source, target = (list(side) for side in zip(*pairs, strict=True))
    for name, lines in (("a.en", source), ("a.de", target)):
        (tmp_path / name).write_text("\n".join(lines) + "\n", encoding="utf-8")
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress("\r\n".join(lines).encode()))
    (tmp_path / "a.tsv").write_text('a dog\tein Hund\ntwo\tzwei\n"\t"\n', encoding="utf-8")
    (tmp_path / "a.csv").write_text('id,en,de\n1,a dog,ein Hund\n2,"two","zwei"\n', encoding="utf-8")
    pyarrow.parquet.write_table(pa.table({"en": [*source, None], "de": [*target, "x"]}), tmp_path / "a.parquet")
    read = [
        read_pairs(source, target, who="t"),
        read_pairs(pairs, who="t"),
        read_pairs(np.array(source), np.array(target), who="t"),
        read_pairs(tmp_path / "a.en", str(tmp_path / "a.de"), who="t"),
        read_pairs(tmp_path / "a.en.gz", tmp_path / "a.de.gz", who="t"),
        read_pairs(tmp_path / "a.csv", who="t", columns=("en", "de")),
        read_pairs(tmp_path / "a.parquet", who="t"),
    ]
    assert all((found.source, found.target) == (source, target) for found in read)
    assert read[-1].empty == 1
    assert read_pairs(tmp_path / "a.csv", who="t", columns=("de", "en")).source == target
    assert read_pairs(tmp_path / "a.tsv", who="t").source == [*source, '"']  # quotes are text there
    (tmp_path / "named.tsv").write_text("de\ten\nzwei\ttwo\n", encoding="utf-8")
    assert read_pairs(tmp_path / "named.tsv", who="t", columns=("en", "de")).source == ["two"]


def test_only_line_feeds_end_a_line_and_controls_become_blanks(tmp_path):
    path = tmp_path / "odd.txt"
    path.write_text("one\u2028line\x85here\x0b\nnext\x00one\ttab\n", encoding="utf-8", newline="")
    found = read_pairs(path, ["eins", "zwei"], who="t")
    assert found.source == ["one line here", "next one tab"]
    assert found.controls == 2
    assert clean(" \x1b[31mred ") == "[31mred"
    assert read_sentences("two\nlines", who="t") == ["two\nlines"]
    assert len(read_sentences(path, who="t")) == 2


def test_empty_sides_are_left_out_and_counted():
    found = read_pairs([("a", "b"), ("", "c"), ("d", " \t"), ("e", "f")], who="t")
    assert (found.source, found.empty) == (["a", "e"], 2)


@pytest.mark.parametrize(
    ("given", "error", "match"),
    [
        ((["a", "b"], ["c"]), DataError, "X has 2 sentences and y 1; expected as many"),
        (([("a", "b"), "cd"],), DataError, r"X\[1\] is no pair"),
        (([("a", 1)],), DataError, r"target\[0\] is a int"),
        ((["a"], [None]), DataError, r"y\[0\] is a NoneType"),
        ((5,), DataError, "y is missing"),
        ((["a"], 5), DataError, "y is a int"),
        (([("", "a")],), DataError, "none of 1 pairs has words on both sides"),
        (("no_such.txt", "other.txt"), FileNotFoundError, "there is no such file"),
        (("no_such.parquet",), FileNotFoundError, "there is no such file"),
        (("a.txt",), DataError, "a second file as y"),
    ],
)
def test_what_is_no_parallel_text_is_refused(given, error, match):
    with pytest.raises(error, match=match):
        read_pairs(*given, who="t")


def test_damaged_files_are_refused_by_place(tmp_path):
    latin, good = tmp_path / "latin.txt", tmp_path / "good.txt"
    latin.write_bytes("eins\nfünf\n".encode("latin-1"))
    good.write_text("one\nfive\n")
    with pytest.raises(DataError, match=r"byte 0xfc at 6, line 2.*encoding='latin-1'"):
        read_pairs(good, latin, who="t")
    assert read_pairs(good, latin, who="t", encoding="latin-1").target == ["eins", "fünf"]
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"one\n" * 500)[:-20])
    with pytest.raises(DataError, match="cannot be unpacked"):
        read_pairs(tmp_path / "cut.gz", good, who="t")
    (tmp_path / "cut.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(DataError, match="cannot be read"):
        read_pairs(tmp_path / "cut.parquet", who="t")
    (tmp_path / "t.tsv").write_text("a\tb\nc\n")
    with pytest.raises(DataError, match="row 2 has 1 columns; expected 2"):
        read_pairs(tmp_path / "t.tsv", who="t")
    (tmp_path / "three.csv").write_text("id,en,de\n1,a,b\n")
    with pytest.raises(ColumnError, match="has 3 columns; expected two"):
        read_pairs(tmp_path / "three.csv", who="t")
    with pytest.raises(ColumnError, match=r"no column 'eng'.*Did you mean 'en'"):
        read_pairs(tmp_path / "three.csv", who="t", columns=("eng", "de"))
    with pytest.raises(ColumnError, match="expected two names"):
        read_pairs(tmp_path / "three.csv", who="t", columns=("en",))


def test_batches_hold_each_pair_once_and_hardly_any_padding():
    draw = random.Random(0)
    source = [[5 + n] * draw.randint(1, 20) for n in range(300)]
    target = [[5 + n] * draw.randint(1, 20) + [END] for n in range(300)]
    data = PairBatches(
        source, target, [FORWARD] * 300, tokens=200, device="cpu", generator=torch.Generator().manual_seed(0)
    )
    orders = []
    for _ in range(2):
        seen, real, cells = [], 0, 0
        for x, y, weight in data:
            s, read = x[:, : data.split], x[:, data.split :]
            assert max(s.numel(), y.numel()) <= 200
            assert (read[:, 0] == FORWARD).all()
            assert (read[:, 1:][y[:, 1:] != 0] == y[:, :-1][y[:, 1:] != 0]).all()
            assert (weight == (y != 0).sum(1)).all()
            for row in range(len(x)):
                n = int(s[row, 0]) - 5
                assert s[row][s[row] != 0].tolist() == source[n]
                assert y[row][y[row] != 0].tolist() == target[n]
                seen.append(n)
            real, cells = real + int((y != 0).sum()), cells + y.numel()
        assert sorted(seen) == list(range(300))
        assert real / cells > 0.85
        orders.append(seen)
    assert orders[0] != orders[1]
    assert len(list(data)) == len(data)


# ----------------------------------------------------------------------------------------------------- networks


@EVERY
def test_decoding_step_by_step_is_the_forward_pass(network):
    net, source = module(network), torch.tensor([[4, 5, 6, 2], [7, 2, 0, 0]])
    target = torch.tensor([[2, 8, 9, 10], [2, 11, 12, 13]])
    with torch.no_grad():
        whole, state = net(source, target), net.start(source, 1, 4)
        for t in range(4):
            logits, seen = net.step(target[:, t], state, look=True)
            torch.testing.assert_close(logits, whole[:, t], atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(seen.sum(1), torch.ones(2))
            assert (seen[1, 2:] == 0).all()


@EVERY
def test_padding_and_neighbours_change_nothing(network):
    net = module(network).double()
    alone = net(torch.tensor([[7, 8, 2]]), torch.tensor([[2, 11]]))
    among = net(torch.tensor([[4, 5, 6, 9, 2], [7, 8, 2, 0, 0]]), torch.tensor([[2, 8, 9], [2, 11, 0]]))
    torch.testing.assert_close(among[1, :2], alone[0], atol=1e-12, rtol=0)


@EVERY
def test_the_first_target_token_depends_on_the_last_source_token_but_on_no_later_target(network):
    net, target = module(network), torch.tensor([[2, 8, 9]])
    a = net(torch.tensor([[4, 5, 2]]), target)
    assert not torch.allclose(a, net(torch.tensor([[4, 5, 3]]), target))
    b = net(torch.tensor([[4, 5, 2]]), torch.tensor([[2, 8, 10]]))
    torch.testing.assert_close(a[:, :2], b[:, :2])


def test_the_three_embeddings_are_one_and_the_sizes_are_the_papers():
    with PrivateRandom(0):
        net = Transformer(100, width=64, layers=2, heads=4, hidden=128)
    block = 2 * (64 * 64 * 4 + 4 * 64) + (2 * 64 * 128 + 128 + 64) + 6 * 64  # decoder: two attentions, dense, norms
    block += (64 * 64 * 4 + 4 * 64) + (2 * 64 * 128 + 128 + 64) + 4 * 64  # encoder
    assert sum(p.numel() for p in net.parameters()) == 100 * 64 + 2 * block + 4 * 64
    waves = sinusoids(0, 50, 64)
    torch.testing.assert_close(waves[3, 0], torch.tensor(3.0, dtype=torch.float64).sin())
    torch.testing.assert_close(sinusoids(7, 9, 64), waves[7:9])
    torch.testing.assert_close(waves @ waves[0], waves[:, 32:].sum(1))  # similarity falls with the distance alone


def test_the_loss_is_of_the_real_tokens():
    logits, target = (
        torch.randn(2, 3, 9, generator=torch.Generator().manual_seed(0)),
        torch.tensor([[4, 1, 0], [5, 6, 1]]),
    )
    log = logits.log_softmax(2)
    real = [log[0, 0, 4], log[0, 1, 1], log[1, 0, 5], log[1, 1, 6], log[1, 2, 1]]
    torch.testing.assert_close(token_loss(logits, target), -torch.stack(real).mean())
    smooth = 0.9 * token_loss(logits, target) - 0.1 * log[target != 0].mean()
    torch.testing.assert_close(token_loss(logits, target, label_smoothing=0.1), smooth)


def test_dropout_keeps_the_mean_and_drops_the_share():
    x = torch.ones(40_000)
    with PrivateRandom(0):
        out = Dropout(0.3)(x)
    assert float((out == 0).float().mean()) == pytest.approx(0.3, abs=0.01)
    assert float(out.mean()) == pytest.approx(1.0, abs=0.01)
    assert Dropout(0.3).eval()(x) is x
    assert Dropout(0.0)(x) is x
    assert "0.3" in repr(Dropout(0.3))


# -------------------------------------------------------------------------------------------------- beam search


class Table:
    """A language model whose next token depends on the last one alone, so that every translation can be counted."""

    def __init__(self, seed=0, vocabulary=7):
        self.weight = torch.nn.Parameter(
            2 * torch.randn(vocabulary, vocabulary, generator=torch.Generator().manual_seed(seed))
        )

    def eval(self):
        return self

    def parameters(self):
        return iter([self.weight])

    def to(self, dtype):
        self.weight.data = self.weight.data.to(dtype)
        return self

    def start(self, source, beams, steps):
        self.width = source.shape[1]
        return self

    def reorder(self, beams, sentences=None):
        pass

    def step(self, tokens, state, *, look):
        seen = torch.full((len(tokens), self.width), 1 / self.width, dtype=self.weight.dtype) if look else None
        return self.weight[tokens], seen


def best_of_all(table, source, search):
    """The best translation by trying all."""
    limit, found = limit_of(len(source)), []

    def grow(tokens, score):
        log = table.weight.detach()[tokens[-1] if tokens else source[-1]].double().log_softmax(0)
        if tokens:
            found.append(((score + float(log[END])) / search.penalty(len(tokens) + 1), tuple(tokens)))
        if len(tokens) + 1 < limit:
            for token in range(SPECIAL, 7):
                grow([*tokens, token], score + float(log[token]))

    grow([], 0.0)
    return max(found)


@pytest.mark.parametrize("alpha", [0.0, 0.6])
def test_a_wide_beam_finds_the_best_of_all_translations(alpha, monkeypatch):
    monkeypatch.setattr("rosenblatt.train.translation.limit_of", lambda length: 5)
    monkeypatch.setitem(globals(), "limit_of", lambda length: 5)
    for seed in range(4):
        table, search = Table(seed), Search(beam=81, length_penalty=alpha)
        found = translate(table, [[4, FORWARD]], search)[0]
        score, tokens = best_of_all(table, [4, FORWARD], search)
        assert found.tokens == tokens
        assert found.score == pytest.approx(score, abs=1e-9)


def test_the_greedy_search_takes_the_likeliest_token_and_stops_at_the_limit():
    table = Table(1)
    with torch.no_grad():
        table.weight[:, END] = -50.0
    found = translate(table, [[4, 5, FORWARD], [6, FORWARD]], Search(beam=1))
    assert [len(one.tokens) for one in found] == [limit_of(3) - 1, limit_of(2) - 1]
    last, expected = FORWARD, []
    for _ in found[0].tokens:
        last = SPECIAL + int(table.weight[last, SPECIAL:].argmax())
        expected.append(last)
    assert list(found[0].tokens) == expected


def test_the_penalties_are_those_of_wu_et_al():
    assert Search(length_penalty=0.0).penalty(9) == 1
    assert Search(length_penalty=1.0).penalty(7) == pytest.approx(2.0)
    plain = translate(Table(2), [[4, 5, 6, FORWARD]], Search(beam=3))[0]
    covered = translate(Table(2), [[4, 5, 6, FORWARD]], Search(beam=3, coverage_penalty=0.2))[0]
    steps = len(covered.tokens) + 1
    missing = 4 * 0.2 * np.log(min(steps / 4, 1.0))  # even attention covers each of four tokens alike
    again = translate(Table(2), [[4, 5, 6, FORWARD]], Search(beam=3))[0]
    assert plain == again
    if covered.tokens == plain.tokens:
        assert covered.score == pytest.approx(plain.score + missing)
    else:
        assert len(covered.tokens) > len(plain.tokens)


@EVERY
@pytest.mark.parametrize("beam", [1, 4])
def test_what_a_search_finds_does_not_depend_on_the_batch(network, beam):
    # weights at random: the probabilities lie close together, so that rounding would show
    net, draw = module(network), random.Random(0)
    sources = [[*(draw.randrange(SPECIAL, 30) for _ in range(draw.randint(1, 9))), FORWARD] for _ in range(24)]
    search = Search(beam=beam, coverage_penalty=0.1)
    whole = translate(net, sources, search, rows=64)
    for rows in (1, 5):
        assert [one.tokens for one in translate(net, sources, search, rows=rows)] == [one.tokens for one in whole]
    order = draw.sample(range(12), 12)
    mixed = translate(net, [sources[i] for i in order], search, rows=5)
    assert [one.tokens for one in mixed] == [whole[i].tokens for i in order]
    assert [one.score for one in mixed] == pytest.approx([whole[i].score for i in order], abs=1e-9)


# ---------------------------------------------------------------------------------------------------- estimator


@EVERY
def test_it_learns_number_words_and_the_batch_changes_nothing(network):
    model, new = trained(network), number_words(60, 1)
    assert model.score(new, beam=2) > 75
    sentences = [s for s, _ in new[:15]]
    found = model.predict(sentences)
    assert model.predict(sentences, batch_size=1) == model.predict(sentences, batch_size=7) == found
    assert model.predict(sentences[::-1]) == found[::-1]
    assert model.translate("one two three") == ["eins zwei drei"]
    assert len(model.history_) == 16
    assert {"validation_loss", "validation_bleu", "loss"} <= set(model.history_[0])
    assert model.skipped_ == {"empty": 0, "long": 0}


@EVERY
def test_words_look_at_the_words_that_they_translate(network, tmp_path):
    alignment = trained(network).align("four nine two")[0]
    assert alignment.target == ("vier", "neun", "zwei")
    assert alignment.weights.shape == (3, 3)
    np.testing.assert_allclose(alignment.weights.sum(1), 1.0)
    if network == "attention-gru":
        assert [source for _, source, _ in alignment.rows()] == ["four", "nine", "two"]
        assert str(alignment).splitlines()[0].startswith("vier  four")
    figures = trained(network).inspect(["four nine", "one"])
    assert set(figures) == {"attention_1", "attention_2", "learning_curves"}
    figures["attention_1"].savefig(tmp_path / "a.png")
    assert set(trained(network).inspect()) == {"learning_curves"}
    assert trained(network).align(["", "one"])[0].rows() == []


@EVERY
def test_a_model_file_translates_the_same(network, tmp_path):
    model = trained(network)
    loaded = rb.load(model.save(tmp_path / "m.safetensors"))
    sentences = [s for s, _ in number_words(10, 3)]
    assert loaded.predict(sentences) == model.predict(sentences)
    for a, b in zip(model.module_.parameters(), loaded.module_.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "Transformer" in str(loaded.summary()) or "embedding" in str(loaded.summary())
    loaded.n_tokens_ += 1
    with pytest.raises(ValueError, match="its units are"):
        loaded._check_restored()


def test_the_seed_fixes_the_result_and_a_clone_is_unfitted():
    a, b = (rb.Translator(epochs=2, **QUICK).fit(number_words(60, 0)) for _ in range(2))
    assert a.fit(number_words(60, 0)).history_[-1]["loss"] == b.history_[-1]["loss"]
    for p, q in zip(a.module_.parameters(), b.module_.parameters(), strict=True):
        assert torch.equal(p, q)
    with pytest.raises(NotFittedError, match="not fitted"):
        clone(a).predict("one")


def test_a_stopped_run_goes_on_from_its_checkpoint(tmp_path):
    def model(folder):
        plan = rb.Plan(checkpoint=str(folder)).over(QUICK["plan"])
        return rb.Translator(**QUICK | {"epochs": 3, "plan": plan})

    whole, pairs = model(tmp_path / "a").fit(number_words(60, 0)), number_words(60, 0)
    part = model(tmp_path / "b")
    bleu, calls = part._bleu, []

    def stop(*given):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return bleu(*given)

    part._bleu = stop
    with pytest.warns(rb.errors.TrainingInterrupted, match="after 1 of 3"):
        part.fit(pairs)
    again = model(tmp_path / "b").fit(pairs)
    assert len(again.history_) == 3
    for p, q in zip(whole.module_.parameters(), again.module_.parameters(), strict=True):
        assert torch.equal(p, q)


def test_one_model_learns_both_directions():
    pairs = [(a, b) for a, b in number_words(300, 0, most=2)]
    model = rb.Translator(both_directions=True, epochs=12, **QUICK).fit(pairs)
    assert model.predict(["three", "seven"]) == ["drei", "sieben"]
    assert model.predict(["drei", "sieben"], direction="backward") == ["three", "seven"]
    english, german = (list(side) for side in zip(*number_words(30, 1, most=2), strict=True))
    assert np.mean([a == b for a, b in zip(model.predict(german, direction="backward"), english, strict=True)]) > 0.7
    assert model.scores(english, german, direction="backward")["chrf"] > 70
    assert 0 <= model.validation_bleu_ <= 100


def test_the_held_out_pairs_can_be_given():
    held = number_words(5, 7)
    a = rb.Translator(epochs=1, **QUICK).fit(number_words(60, 0), validation=held)
    source, target = (list(side) for side in zip(*held, strict=True))
    b = rb.Translator(epochs=1, **QUICK).fit(number_words(60, 0), validation=(source, target))
    assert a.n_pairs_ == 60
    assert a.validation_loss_ == b.validation_loss_


def test_scores_are_sacrebleus():
    import sacrebleu

    said, meant = ["a man rides a bike", "two dogs"], ["a man rides a bicycle", "two dogs run"]
    found = translation_scores(said, meant)
    assert found["bleu"] == sacrebleu.corpus_bleu(said, [meant]).score
    assert found["chrf"] == sacrebleu.corpus_chrf(said, [meant]).score
    assert "tok:13a" in found["bleu_signature"]


# ---------------------------------------------------------------------------------------------------- bad input


def test_odd_sentences_have_an_answer():
    model = barely_trained()
    found = model.predict(["", " \t", "one\x00two\nthree", "中文 العربية 🤡", "one"])
    assert found[:2] == ["", ""]
    assert len(found) == 5
    assert all(isinstance(text, str) for text in found)
    assert model.predict([]) == []
    assert model.predict("one\x00two") == model.predict("one two")


def test_sentences_of_five_thousand_words_are_left_out_and_cut():
    long = " ".join(["one"] * 5000)
    with pytest.warns(UserWarning, match=r"left out 1 pairs with an empty side and 2 pairs longer than longest=40"):
        model = rb.Translator(epochs=1, longest=40, **QUICK).fit(
            [*number_words(60, 0), (long, "eins"), ("one", long), ("", "eins")], validation=number_words(3, 1)
        )
    assert model.n_pairs_ == 60
    assert model.skipped_ == {"empty": 1, "long": 2}
    with pytest.warns(UserWarning, match="1 sentences are longer than longest=40"):
        assert len(model.predict(["one", long], beam=1)) == 2
    with pytest.raises(DataError, match="all 2 pairs are longer than longest=4"):
        rb.Translator(longest=4, **QUICK | {"vocabulary": 256}).fit(
            [(long, "eins zwei drei")] * 2, validation=[("a", "b")]
        )


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"direction": "backward"}, "learned one direction"),
        ({"direction": "sideways"}, "direction='sideways'; expected one of"),
        ({"beam": 0}, "beam=0; expected an integer >= 1"),
        ({"length_penalty": -1}, "length_penalty=-1; expected"),
        ({"coverage_penalty": -0.1}, "coverage_penalty=-0.1; expected"),
        ({"batch_size": 0}, "batch_size=0; expected"),
    ],
)
def test_options_out_of_range_are_refused(options, match):
    with pytest.raises(ParameterError, match=match):
        barely_trained().predict("one", **options)


def test_fits_that_cannot_work_are_refused(monkeypatch):
    with pytest.raises(ParameterError, match="expected one of 'transformer', 'attention-gru'"):
        rb.Translator(network="lstm").fit([("a", "b")] * 3)
    with pytest.raises(ParameterError, match="hidden_size=130; expected a multiple of 4"):
        rb.Translator(hidden_size=130).fit([("a", "b")] * 3)
    with pytest.raises(DataError, match="expected at least two, one to hold out"):
        rb.Translator(**QUICK).fit([("a", "b")])
    with pytest.raises(DataError, match="y is missing"):
        barely_trained().score(3)
    model = barely_trained()
    monkeypatch.setitem(sys.modules, "sacrebleu", None)
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(MissingExtraError, match=r"rosenblatt\[text\]"):
        model.score(number_words(2, 0))


# ------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def run(monkeypatch, capsys):
    """Run the command line in this process."""

    def call(*arguments, stdin=b"", terminal=False):
        fed = io.TextIOWrapper(io.BytesIO(stdin), encoding="utf-8")
        fed.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", fed)
        monkeypatch.setattr(sys, "argv", ["rosenblatt", *map(str, arguments)])
        monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
        else:
            code = 0
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_translate_takes_arguments_files_stdin_and_lines_that_are_typed(run, tmp_path):
    model = trained("attention-gru").save(tmp_path / "m.safetensors")
    meant = trained("attention-gru").predict(["one two", "five"])
    lines = "".join(f"{text}\n" for text in meant)
    file = tmp_path / "a.txt"
    file.write_text("one two\nfive\n")
    assert run("translate", model, "one two", "five") == (0, lines, "")
    assert run("translate", model, "--file", file) == (0, lines, "")
    assert run("translate", model, stdin=b"one two\nfive\n") == (0, lines, "")
    assert run("translate", model, stdin=b"one two\nfive\n", terminal=True)[1].replace("> ", "") == lines
    assert json.loads(run("translate", model, "five", "--json")[1]) == {"translations": meant[1:]}
    assert run("translate", model, "five", "--out", tmp_path / "o.txt")[0] == 0
    assert (tmp_path / "o.txt").read_text() == f"{meant[1]}\n"
    assert run("translate", model, "five", "--align")[1].startswith(f"{meant[1]}  five ")
    code, _, said = run("translate", model, stdin=b"f\xfcnf\n")
    assert (code, "byte 0xfc at 1, line 1" in said) == (2, True)
    code, _, said = run("translate", model, "five", "--file", file)
    assert (code, "expected one of them" in said) == (2, True)


def test_train_evaluate_predict_and_inspect_a_translator(run, tmp_path):
    source, target = (list(side) for side in zip(*number_words(40, 0), strict=True))
    (tmp_path / "a.en").write_text("\n".join(source))
    (tmp_path / "a.de").write_text("\n".join(target))
    (tmp_path / "a.csv").write_text("id,en,de\n" + "".join(f"1,{a},{b}\n" for a, b in zip(source, target, strict=True)))
    model, small = tmp_path / "m.safetensors", ("--epochs", 1, "--hidden-size", 16, "--layers", 1, "--vocabulary", 300)
    code, out, said = run(
        "train", "translator", tmp_path / "a.en", "--target", tmp_path / "a.de", "--out", model, *small
    )
    assert (code, "38 pairs" in out, said) == (0, True, ""), said
    code, out, said = run(
        "train", "translator", tmp_path / "a.csv", "--columns", "en,de", "--out", model, "--force", "--json", *small
    )
    assert code == 0, said
    assert json.loads(out)["pairs"] == 38
    code, out, said = run("evaluate", model, tmp_path / "a.csv", "--json")
    assert (code, {"bleu", "chrf", "n"} <= set(json.loads(out))) == (0, True), said
    assert run("evaluate", model, f"{tmp_path / 'a.en'},{tmp_path / 'a.de'}")[0] == 0
    code, out, said = run("predict", model, tmp_path / "a.en")
    assert (code, out.splitlines()[0]) == (0, "sentence,translation"), said
    assert run("predict", model, tmp_path / "a.en", "--horizon", 2)[0] == 2
    assert run("inspect", model, tmp_path / "a.en", "--out", tmp_path / "p")[0] == 0
    assert (tmp_path / "p" / "attention_1.png").stat().st_size > 3000
    code, _, said = run("translate", trained_perceptron(tmp_path), "one")
    assert (code, "is a Perceptron; expected a Translator" in said) == (2, True)


def trained_perceptron(folder):
    return rb.Perceptron().fit([[0.0], [1.0]], [0, 1]).save(folder / "p.safetensors")


def test_the_demo_of_number_words_learns_and_draws(tmp_path):
    demo = runpy.run_path(str(Path(__file__).parents[2] / "docs_src" / "number_words.py"))
    model, share = demo["learn"]("fr", below=100, count=80, epochs=1, verbose=0, hidden_size=16)
    assert 0 <= share <= 1
    assert model.n_pairs_ == 76
    assert demo["pairs"]("de", [21]) == [("twenty-one", "einundzwanzig")]
