"""Attention against its formula, masks, biases and the cache; sampling against what each option promises."""

import math

import pytest
import torch

from rosenblatt.errors import DataError, ParameterError, ShapeError
from rosenblatt.layers.attention import Attention
from rosenblatt.layers.sampling import filter_logits, sample

N, T, S, C, A = 3, 7, 5, 12, 4


def source(seed=0):
    return torch.Generator().manual_seed(seed)


def made(**options):
    torch_state = torch.get_rng_state()
    attention = Attention(C, A, **options).double().eval()
    torch.set_rng_state(torch_state)
    for p in attention.parameters():
        p.data.copy_(0.5 * torch.randn(p.shape, generator=source(p.numel()), dtype=torch.float64))
    return attention


def by_formula(attention, x, memory=None, hidden=None, bias=0.0):
    """Equation 1 of the paper, head by head."""
    over = x if memory is None else memory
    w, b = attention.project.weight, attention.project.bias
    q, k, v = x @ w[:C].T + b[:C], over @ w[C : 2 * C].T + b[C : 2 * C], over @ w[2 * C :].T + b[2 * C :]
    heads, width = [], C // A
    for h in range(A):
        part = slice(h * width, (h + 1) * width)
        scores = q[..., part] @ k[..., part].transpose(1, 2) / math.sqrt(width)
        scores = scores + (bias if isinstance(bias, float) else bias[h])
        if hidden is not None:
            scores = scores.masked_fill(hidden, -math.inf)
        heads.append(scores.softmax(-1).nan_to_num() @ v[..., part])
    return torch.cat(heads, -1) @ attention.out.weight.T + attention.out.bias


X = torch.randn(N, T, C, generator=source(1), dtype=torch.float64)
MEMORY = torch.randn(N, S, C, generator=source(2), dtype=torch.float64)
LATER = torch.ones(T, T, dtype=torch.bool).triu(1)


@torch.no_grad()
def test_equals_the_formula_with_every_mask():
    attention = made()
    bias = torch.randn(A, T, T, generator=source(3), dtype=torch.float64)
    padding = torch.arange(T) >= torch.tensor([T, 4, 1])[:, None]
    same = lambda a, b: torch.allclose(a, b, atol=1e-12)  # noqa: E731
    assert same(attention(X), by_formula(attention, X))
    assert same(attention(X, causal=True), by_formula(attention, X, hidden=LATER))
    assert same(attention(X, padding=padding), by_formula(attention, X, hidden=padding[:, None]))
    both = LATER | padding[:, None]
    found = attention(X, causal=True, padding=padding, bias=bias)
    assert same(found, by_formula(attention, X, hidden=both, bias=bias))
    assert same(attention(X, bias=bias), by_formula(attention, X, bias=bias))
    assert same(attention(X, MEMORY), by_formula(attention, X, MEMORY))


@torch.no_grad()
def test_what_is_masked_has_no_influence_at_all():
    attention = made()
    changed = X.clone()
    changed[:, 4:] = 100.0
    assert (attention(X, causal=True)[:, :4] == attention(changed, causal=True)[:, :4]).all()
    padding = torch.zeros(N, T, dtype=torch.bool)
    padding[:, 4:] = True
    assert (attention(X, padding=padding)[:, :4] == attention(changed, padding=padding)[:, :4]).all()


@torch.no_grad()
def test_a_query_without_any_key_gives_the_output_bias():
    attention = made()
    found = attention(X, padding=torch.ones(N, T, dtype=torch.bool))
    assert torch.equal(found, attention.out.bias.expand_as(found))


@torch.no_grad()
@pytest.mark.parametrize("blocks", [[1] * T, [3, 1, 1, 2], [T]], ids=["one by one", "prompt, then steps", "at once"])
@pytest.mark.parametrize("relative", [False, True], ids=["plain", "relative"])
def test_cached_equals_uncached(blocks, relative):
    attention = made()
    bias = torch.randn(A, T, T, generator=source(3), dtype=torch.float64) if relative else None
    padding = torch.arange(T) < torch.tensor([0, 1, 2])[:, None]  # left padding, as of prompts of unequal length
    cache, start, parts = attention.cache(N, T), 0, []
    for steps in blocks:
        end = start + steps
        part_bias = None if bias is None else bias[:, start:end, :end]
        parts.append(attention(X[:, start:end], causal=True, padding=padding[:, :end], bias=part_bias, cache=cache))
        start = end
    assert torch.allclose(torch.cat(parts, 1), attention(X, causal=True, padding=padding, bias=bias), atol=1e-13)
    with pytest.raises(ShapeError, match="7 steps are kept and 1 come; expected at most 7"):
        attention(X[:, :1], causal=True, cache=cache)


@torch.no_grad()
def test_remembered_memory_and_reordered_beams():
    attention = made()
    known = attention.remember(MEMORY)
    assert torch.equal(attention(X, known), attention(X, MEMORY))
    rows = torch.tensor([2, 2, 0])
    cache = attention.cache(N, T)
    attention(X[:, :3], causal=True, cache=cache)
    cache.reorder(rows)
    found = attention(X[rows, 3:], causal=True, cache=cache)
    assert torch.allclose(found, attention(X[rows], causal=True)[:, 3:], atol=1e-13)


def test_dropout_only_in_training_and_gradients_reach_every_weight():
    attention = made(dropout=0.5)
    assert torch.equal(attention(X), attention(X))
    state = torch.get_rng_state()
    different = not torch.equal(attention.train()(X), attention(X))
    torch.set_rng_state(state)
    assert different
    attention.eval()(X, causal=True).square().sum().backward()
    assert all(bool((p.grad != 0).any()) for p in attention.parameters())
    with pytest.raises(ParameterError, match="expected a multiple of heads=5"):
        Attention(12, 5)


# ------------------------------------------------------------------------------------------------------- sampling

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -1.0, -2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])


def kept(**options):
    return [row.isfinite().nonzero()[:, 0].tolist() for row in filter_logits(LOGITS, **options)]


def test_each_option_keeps_what_it_says():
    assert torch.allclose(filter_logits(LOGITS), LOGITS.log_softmax(1))
    assert torch.allclose(filter_logits(LOGITS, temperature=2.0), (LOGITS / 2).log_softmax(1))
    assert kept(top_k=2)[0] == [0, 1]
    assert [len(row) for row in kept(top_k=2)] == [2, 2]  # ties: exactly as many as asked for
    assert kept(top_k=99) == [[0, 1, 2, 3, 4]] * 2
    assert kept(temperature=0)[0] == [0]
    # softmax of the first row is .636 .234 .086 .032 .012: .636 alone reaches .6, three are needed for .9
    assert kept(top_p=0.6)[0] == [0]
    assert kept(top_p=0.9)[0] == [0, 1, 2]
    assert len(kept(top_p=0.9)[1]) == 5
    assert kept(top_p=1e-9) == [[0], [0]]
    assert kept(allowed=torch.tensor([False, True, True, False, False])) == [[1, 2]] * 2
    assert kept(allowed=torch.tensor([[0, 0, 0, 1, 1], [1, 0, 0, 0, 0]]).bool(), top_k=1) == [[3], [0]]
    for options in ({"top_k": 3}, {"top_p": 0.7}, {"temperature": 0.3}, {"top_k": 3, "top_p": 0.5}):
        assert filter_logits(LOGITS, **options).exp().sum(1).tolist() == pytest.approx([1, 1], abs=1e-6)


def test_repetition_penalty_always_lowers_and_does_not_depend_on_the_zero_of_the_logits():
    history = torch.tensor([[0, 0], [3, 4]])
    plain = filter_logits(LOGITS).exp()
    found = filter_logits(LOGITS, repetition_penalty=2.0, history=history).exp()
    assert found[0, 0] < plain[0, 0]
    assert (found[0, 1:] > plain[0, 1:]).all()
    assert (found[1, 3:] < plain[1, 3:]).all()
    moved = filter_logits(LOGITS - 50, repetition_penalty=2.0, history=history).exp()
    assert torch.allclose(found, moved, atol=1e-5)


def test_draws_follow_the_probabilities_and_the_generator():
    logits = LOGITS[:1].expand(20_000, -1)
    drawn = sample(logits, generator=source(), top_k=3, temperature=0.8)
    assert torch.equal(drawn, sample(logits, generator=source(), top_k=3, temperature=0.8))
    wanted = filter_logits(LOGITS[:1], top_k=3, temperature=0.8).exp()[0]
    found = torch.bincount(drawn, minlength=5) / len(drawn)
    assert (found - wanted).abs().max() < 0.015
    assert found[3:].sum() == 0
    assert sample(LOGITS, generator=source(), temperature=0)[0] == 0


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"temperature": -1.0}, "temperature=-1.0; expected a number >= 0"),
        ({"temperature": math.nan}, "temperature=nan"),
        ({"top_k": 0}, "top_k=0; expected an integer >= 1"),
        ({"top_p": 0.0}, "top_p=0.0; expected a number > 0 and <= 1"),
        ({"repetition_penalty": 0.5}, "repetition_penalty=0.5"),
    ],
)
def test_options_out_of_range(options, match):
    with pytest.raises(ParameterError, match=match):
        filter_logits(LOGITS, **options)


def test_nothing_allowed():
    with pytest.raises(DataError, match="a row that allows nothing"):
        filter_logits(LOGITS, allowed=torch.zeros(5, dtype=torch.bool))


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize("masked", ["nothing", "padding", "bias", "both"])
def test_training_on_a_cpu_computes_what_the_fused_kernel_computes(causal, masked):
    attention, x = made(), torch.randn(N, T, C, generator=source(1), dtype=torch.float64)
    padding = torch.zeros(N, T, dtype=torch.bool)
    padding[0, 2:] = padding[1] = True  # the second sequence is padding alone
    options = {
        "padding": padding if masked in ("padding", "both") else None,
        "bias": torch.randn(A, T, T, generator=source(2), dtype=torch.float64) if masked in ("bias", "both") else None,
    }
    formula = attention(x, causal=causal, **options)  # the weights want gradients
    with torch.no_grad():
        kernel = attention(x, causal=causal, **options)
    torch.testing.assert_close(formula, kernel, atol=1e-12, rtol=0)
    formula.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in attention.parameters())


def test_the_weights_are_those_that_mix_the_memory():
    attention, memory = made(), torch.randn(N, S, C, generator=source(3), dtype=torch.float64)
    x = torch.randn(N, T, C, generator=source(4), dtype=torch.float64)
    padding = torch.zeros(N, S, dtype=torch.bool)
    padding[0, 3:] = True
    known = attention.remember(memory)
    weights = attention.weights(x, known, padding=padding)
    assert weights.shape == (N, A, T, S)
    assert (weights[0, ..., 3:] == 0).all()
    mixed = (weights @ known.values).transpose(1, 2).flatten(2)
    torch.testing.assert_close(attention.out(mixed), attention(x, known, padding=padding))
    torch.testing.assert_close(attention.weights(x, known).sum(3), torch.ones(N, A, T, dtype=torch.float64))
