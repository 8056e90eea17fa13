"""Attacks on tokens: the best exchanges of a linear model, what must not change, and texts that read as reported."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import nn

import rosenblatt as rb
from rosenblatt.attacks import PGD, HotFlip, Smoothed, Table, Tokens
from rosenblatt.attacks.model import victim
from rosenblatt.attacks.tokens import STAYS, _Flips, _steepest
from rosenblatt.data.sequences import encode_texts, exchanged, is_word, learn_symbols, units_of
from rosenblatt.errors import DataError, LabelError, ParameterError, ShapeError

GOOD, BAD = ["good", "great", "fine", "lovely", "superb", "happy"], ["bad", "awful", "poor", "dull", "boring", "sad"]
PLAIN = ["the", "film", "was", "a", "story", "with", "actors", "and", "music", "on", "screen"]


def reviews(count, seed=0):
    source = np.random.default_rng(seed)
    texts, labels = [], []
    for _ in range(count):
        liked = int(source.integers(2))
        words = [str(w) for w in source.choice(PLAIN, source.integers(6, 12))]
        for _ in range(2):
            words.insert(int(source.integers(len(words))), str(source.choice((BAD, GOOD)[liked])))
        texts.append("  ".join(words).capitalize() + ", it is said.")
        labels.append(("bad", "good")[liked])
    return texts, np.array(labels)


TEXTS, LABELS = reviews(340)


@pytest.fixture(scope="module")
def words():
    model = rb.RNNClassifier(units="words", hidden_size=16, epochs=5, learning_rate=0.02, random_state=0, verbose=0)
    return model.fit(TEXTS[:300], LABELS[:300])


class Bag(nn.Module):
    """Each place has weights of its own: the margin is a sum over places."""

    def __init__(self, places=6, tokens=9, classes=2, seed=0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.embedding = nn.Embedding(tokens, 4, padding_idx=0)
            self.last = nn.Linear(4 * places, classes)
            self.dropout = nn.Dropout(0.3)
        self.requires_grad_(False)

    def forward(self, x):
        return self.last(self.dropout(self.embedding(x)).flatten(1))


def tokens(n=12, places=6, seed=1, high=9):
    return torch.randint(1, high, (n, places), generator=torch.Generator().manual_seed(seed))


def answers(model, x):
    training = model.training
    found = model.eval()(x).argmax(1)
    model.train(training)
    return found


def gains(model, x, y):
    """Rise of the margin (T, V) by each exchange of a linear model of two classes."""
    w = (model.last.weight[1 - y] - model.last.weight[y]).view(len(x), 4)
    return (w @ model.embedding.weight.T) - (w * model.embedding.weight[x]).sum(1, keepdim=True)


def fewest(rise, gap):
    """By all combinations of places."""
    best = rise[:, 1:].amax(1)
    for count in range(1, len(best) + 1):
        if any(float(best[list(chosen)].sum()) > gap for chosen in combinations(range(len(best)), count)):
            return count
    return None


@pytest.mark.parametrize("tries", [1, 5])
def test_the_fewest_exchanges_of_a_linear_model(tries):
    model, x = Bag(), tokens()
    y = answers(model, x)
    found = HotFlip(substitutions=6, tries=tries)(model, x, y)
    logits = model.eval()(x)
    for row in range(len(x)):
        gap = float(logits[row, y[row]] - logits[row, 1 - y[row]])
        least = fewest(gains(model, x[row], int(y[row])), gap)
        assert found.success[row] == (least is not None)
        if least is not None:
            assert found.norms[row] == least
    assert found.success.sum() > 8


def test_the_first_order_of_an_exchange():
    """HotFlip's equation 3: the gradient at the place, times the difference of the embeddings."""
    model, x = Bag().eval(), tokens()
    y = answers(model, x)
    found = victim(Tokens(model))
    with found.at_rest():
        g = found.slopes(x, y, None)
    for row in range(3):
        rise = gains(model, x[row], int(y[row]))
        flips = _Flips(x[row], found.kinds, None)
        best = _steepest(flips, x[row], g[row], found.embedding.weight, 4)
        rise[torch.arange(6), x[row]] = -torch.inf
        rise[:, 0] = -torch.inf  # padding stands for nothing
        wanted = rise.flatten().topk(4).values
        np.testing.assert_allclose(rise[best[:, 0], best[:, 1]], wanted, rtol=1e-5)


@pytest.mark.parametrize(
    "attack", [HotFlip(substitutions=3, tries=8), HotFlip(substitutions=3, tries=8, gradient=False)]
)
def test_the_contract(attack):
    model, x = Bag(classes=3), tokens(20)
    x[:, 4:] = 0  # padded
    x[:4, 2] = 7
    y, before, world = answers(model, x), x.clone(), torch.get_rng_state()
    y[1] = (y[1] + 1) % 3
    model.last.weight.requires_grad_(True)
    model.train()
    model.embedding.eval()
    found = attack(Tokens(model, stays=[7]), x, y)
    assert model.training
    assert not model.embedding.training
    assert [p.requires_grad for p in model.parameters()] == [False, True, False]
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), world)
    assert torch.equal(x, before)
    got = found.adversarial
    assert torch.equal(got[:, 4:], x[:, 4:])
    assert (got[:4, 2] == 7).all()
    assert not ((got == 7) & (x != 7)).any()
    assert not ((got == 0) & (x != 0)).any()
    assert found.norms.tolist() == (got != x).sum(1).tolist()
    assert found.norms.max() <= 3
    assert not found.correct[1]
    assert found.queries[1] == 1
    right = torch.from_numpy(found.correct)
    assert ((answers(model, got) != y) & right).tolist() == found.success.tolist()
    assert found.success.sum() > 3
    for size in (1, 7):
        other = replace(attack, batch_size=size)(Tokens(model, stays=[7]), x, y)
        assert torch.equal(other.adversarial, got)
        assert (other.queries == found.queries).all()


def test_a_target_is_reached_or_no_success():
    model, x = Bag(classes=4), tokens(20)
    y = answers(model, x)
    wanted = (y + 1) % 4
    for attack in (HotFlip(substitutions=4), HotFlip(substitutions=4, gradient=False, tries=60)):
        found = attack(model, x, y, target=wanted)
        assert (found.success == (answers(model, found.adversarial) == wanted).numpy()).all()
        assert found.success.mean() > 0.3


def test_what_is_not_needed_is_put_back():
    """The first exchange looks best alone, but the two after it do without."""

    class Odd(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Embedding(2, 1)
            self.embedding.weight.data = torch.tensor([[0.0], [1.0]])

        def forward(self, x):
            e = self.embedding(x)[:, :, 0]
            rise = 0.5 * e[:, 0] + 0.4 * (e[:, 1] + e[:, 2]) * (1 - e[:, 0]) + e[:, 0] * (0.1 * e[:, 1] + 0.1 * e[:, 2])
            return torch.stack([torch.full_like(rise, 0.65), rise], 1)

    found = HotFlip(substitutions=3)(Odd(), torch.zeros(1, 3, dtype=torch.long), [0])
    assert found.success.all()
    assert found.adversarial.tolist() == [[0, 1, 1]]
    assert found.norms.tolist() == [2]


def test_gradients_choose_better_than_chance():
    model, x = Bag(places=12, tokens=300, seed=3), tokens(40, 12, high=300)
    y = answers(model, x)
    by_gradient, by_chance = (HotFlip(substitutions=1, tries=3, gradient=g)(model, x, y) for g in (True, False))
    assert by_gradient.success.sum() > 2 * by_chance.success.sum()


def test_only_allowed_exchanges(words):
    texts, labels = TEXTS[300:], LABELS[300:]
    swaps = {"good": ["fine", "bad"], "bad": ["awful"], "film": ["story", "music"]}
    found = HotFlip(substitutions=3, allowed=swaps)(words, texts, labels)
    for before, after in zip(texts, found.adversarial, strict=True):
        for a, b in zip(units_of(before, "words"), units_of(after, "words"), strict=True):
            assert a == b or b in swaps[a]
    free = HotFlip(substitutions=3)(words, texts, labels)
    assert 0 < found.success.sum() < free.success.sum()
    every = HotFlip(substitutions=3, allowed=swaps, gradient=False, tries=50)(words, texts, labels)
    assert abs(int(every.success.sum()) - int(found.success.sum())) <= 2  # so few are all tried


def test_texts_by_words(words):
    texts, labels = TEXTS[300:], LABELS[300:]
    found = HotFlip(substitutions=2)(words, texts, labels)
    assert found.accuracy == words.score(texts, labels) > 0.9
    assert found.success.sum() >= 0.9 * found.correct.sum()
    wrong = words.predict(found.adversarial) != labels
    assert (wrong == (found.success | ~found.correct)).all()
    for before, after, norm in zip(texts, found.adversarial, found.norms, strict=True):
        a, b = before.split("  "), after.split("  ")  # spaces stay
        assert len(a) == len(b)
        assert sum(x != y for x, y in zip(a, b, strict=True)) <= norm <= 2
        assert before[0] == after[0] or a[0].lower() != b[0]  # so does the case of what was not exchanged
    tensors = HotFlip(substitutions=2, batch_size=3)(words, texts, labels)
    assert tensors.adversarial == found.adversarial


@pytest.mark.parametrize("units", ["characters", "bytes"])
def test_texts_by_characters_and_bytes(units):
    source = np.random.default_rng(0)
    texts = ["".join(source.choice(list("abcd"), 8)) + " – ü" for _ in range(220)]
    labels = np.array(["a" if text.count("a") > text.count("b") else "b" for text in texts])
    model = rb.RNNClassifier(units=units, hidden_size=12, epochs=6, learning_rate=0.03, random_state=0, verbose=0)
    model.fit(texts[:200], labels[:200])
    found = HotFlip(substitutions=4, tries=8)(model, texts[200:], labels[200:])
    assert found.accuracy > 0.8
    assert found.success.mean() > 0.6
    assert ((model.predict(found.adversarial) != labels[200:]) == (found.success | ~found.correct)).all()
    for before, after, norm in zip(texts[200:], found.adversarial, found.norms, strict=True):
        assert len(before) == len(after)
        assert sum(a != b for a, b in zip(before, after, strict=True)) == norm
        if units == "bytes":  # what is no ASCII stays
            assert (after[9], after[11]) == ("–", "ü")


@pytest.mark.parametrize("units", ["words", "characters", "bytes"])
def test_changed_texts_are_read_as_they_were_meant(units):
    texts = ["Don't STOP me_now, Ünit—42!  ok", "İstanbul'da  yağmur", "", "é\n¡hola! (x)", "naïve co-op: 3.14"]
    symbols = learn_symbols(texts, units, 100)
    source = np.random.default_rng(0)
    for _ in range(40):
        for text in texts:
            (own,) = encode_texts([text], units, symbols)
            if not text:
                continue
            new = own.copy()
            for place in source.choice(len(own), min(3, len(own)), replace=False):
                if units == "bytes":
                    if 32 <= own[place] - 2 < 127:
                        new[place] = 2 + source.integers(32, 127)
                    continue
                kind = units == "words" and is_word(symbols[own[place] - 2])
                same = [i for i, s in enumerate(symbols, 2) if (units == "words" and is_word(s)) == kind]
                new[place] = source.choice(same)
            written = exchanged(text, units, symbols, {i: int(new[i]) for i in np.flatnonzero(new != own)})
            assert encode_texts([written], units, symbols)[0].tolist() == new.tolist(), (text, written)


def test_series_of_numbers_take_the_other_attacks():
    source = np.random.default_rng(0)
    X = source.normal(size=(120, 20)).astype(np.float32)
    y = np.where(X[:, 5:10].mean(1) > 0, "up", "down")
    model = rb.RNNClassifier(hidden_size=12, epochs=4, learning_rate=0.02, random_state=0, verbose=0).fit(X, y)
    for given in (X, X[:, :, None]):
        found = PGD(eps=0.5, steps=10)(model, given, y)
        assert found.adversarial.shape == given.shape
        assert found.accuracy == pytest.approx(model.score(given, y))
        assert found.robust_accuracy < 0.7 * found.accuracy
        after = model.predict(found.adversarial) != y
        assert (after == (found.success | ~found.correct)).mean() > 0.98
    with pytest.raises(ShapeError, match="expected all of one length"):
        PGD()(model, [X[0], X[1, :7]], y[:2])
    with pytest.raises(DataError, match="X holds texts, fit saw numbers"):
        PGD()(model, ["a"], y[:1])
    with pytest.raises(ParameterError, match=r"RNNClassifier takes values, this attack changes tokens"):
        HotFlip()(model, X, y)


@pytest.mark.parametrize(
    ("attack", "model", "X", "error", "said"),
    [
        (HotFlip(), nn.Linear(2, 2), tokens(), ParameterError, "Tokens: Linear has 0 embeddings; expected one"),
        (HotFlip(), Bag(), tokens().double(), ShapeError, r"X \(12, 6\) of float64; expected integers"),
        (HotFlip(), Bag(), tokens()[0], ShapeError, r"X \(6,\) of int64; expected integers \(n_samples, n_tokens\)"),
        (HotFlip(), Bag(), tokens() + 5, DataError, r"X holds tokens from 6 to 13; expected 0 to 8"),
        (HotFlip(allowed={99: [1]}), Bag(), tokens(), ParameterError, "allowed holds 99, which Bag does not know"),
        (HotFlip(allowed={1: [0]}), Bag(), tokens(), ParameterError, "allowed has 0 for 1; expected tokens of one kind"),
        (PGD(), Tokens(Bag()), tokens(), ParameterError, r"PGD: Bag takes tokens.*expected attacks\.HotFlip"),
        (PGD(), Table(Tokens(Bag())), tokens(), ParameterError, "Table: Bag takes tokens"),
        (HotFlip(), Tokens(Bag(), embedding=nn.Embedding(9, 4)), tokens(), ParameterError, "asked its embedding 0 times"),
        (HotFlip(mean=1.0), Bag(), tokens(), ParameterError, "mean and std; expected neither"),
    ],
)  # fmt: skip
def test_bad_input_is_named(attack, model, X, error, said):
    with pytest.raises(error, match=said):
        attack(model, X, answers(Bag(), tokens()))


def test_bad_texts_and_parameters_are_named(words):
    for options, said in (({"substitutions": 0}, "HotFlip: substitutions=0"), ({"tries": 0}, "tries=0"),
                          ({"norm": "l2"}, "norm='l2'"), ({"gradient": 2}, "gradient=2")):  # fmt: skip
        with pytest.raises(ParameterError, match=said):
            HotFlip(**options)
    with pytest.raises(DataError, match="X is one text"):
        HotFlip()(words, TEXTS[0], ["good"])
    with pytest.raises(DataError, match="X holds numbers, fit saw texts"):
        HotFlip()(words, np.zeros((2, 3)), ["good", "bad"])
    with pytest.raises(LabelError, match="y holds 'fair'"):
        HotFlip()(words, TEXTS[:1], ["fair"])
    with pytest.raises(ParameterError, match="allowed holds 'splendid', which RNNClassifier does not know"):
        HotFlip(allowed={"good": ["splendid"]})(words, TEXTS[:20], LABELS[:20])
    with pytest.raises(ParameterError, match="allowed has ',' for 'good'; expected tokens of one kind"):
        HotFlip(allowed={"good": [","]})(words, TEXTS[:20], LABELS[:20])
    with pytest.raises(ParameterError, match=r"bounds=\(0, 1\) of texts; expected None"):
        HotFlip(bounds=(0, 1))(words, TEXTS[:1], ["good"])
    with pytest.raises(ParameterError, match=r"RNNClassifier takes tokens.*HotFlip"):
        PGD()(words, TEXTS[:1], ["good"])
    with pytest.raises(ParameterError, match="RNNClassifier takes tokens, which have no noisy copies"):
        Smoothed(words, sigma=0.5).predict(TEXTS[:1])
    assert STAYS < 0
