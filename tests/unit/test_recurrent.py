"""Recurrent layers: fused kernels against their equations, dropout over time, padding, both directions."""

import pytest
import torch

from rosenblatt.models.recurrent import Layer, Recurrent, RecurrentClassifier, pooled, same_mask_dropout
from rosenblatt.train.seeds import PrivateRandom

N, T, F, H = 3, 6, 5, 4
X = torch.randn(N, T, F, generator=torch.Generator().manual_seed(0))
CELLS = pytest.mark.parametrize("cell", ["elman", "gru", "lstm"])


def made(kind, *args, **options):
    with PrivateRandom(0):
        return kind(*args, **options)


def test_the_lstm_is_the_one_of_the_paper_with_forget_gates():
    layer = made(Layer, F, H)
    w, r, b = layer.cell.weight_ih_l0, layer.cell.weight_hh_l0, layer.cell.bias_ih_l0
    assert b[H : 2 * H].tolist() == [1.0] * H
    h = c = torch.zeros(N, H)
    for t in range(T):
        i, f, g, o = (X[:, t] @ w.T + b + h @ r.T).split(H, 1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        assert torch.allclose(layer(X)[0][:, t], h, atol=1e-6)
    for gate in r.split(H):
        assert torch.allclose(gate @ gate.T, torch.eye(H), atol=1e-5)


@CELLS
def test_weight_drop_runs_the_same_kernel_and_only_in_training(cell):
    whole, dropped = made(Layer, F, H, cell=cell), made(Layer, F, H, cell=cell, weight_drop=1e-9)
    state = None if cell == "gru" else whole(X)[1]
    with PrivateRandom(1):
        found = dropped.train()(X, state)
    for got, wanted in zip(found, whole(X, state), strict=True):
        for g, w in zip(*(x if isinstance(x, tuple) else (x,) for x in (got, wanted)), strict=True):
            assert torch.allclose(g, w, atol=1e-6)
    half = made(Layer, F, H, cell=cell, weight_drop=0.5)
    with PrivateRandom(1):
        assert not torch.allclose(half.train()(X)[0], whole(X)[0])
    assert torch.equal(half.eval()(X)[0], whole(X)[0])


@CELLS
def test_windows_with_carried_state_equal_the_whole(cell):
    stack = made(Recurrent, F, H, 2, cell=cell, layer_norm=True).eval()
    whole, end = stack(X)
    first, state = stack(X[:, :2])
    second, last = stack(X[:, 2:], state)
    assert torch.allclose(torch.cat([first, second], 1), whole, atol=1e-6)
    for a, b in zip(last, end, strict=True):
        assert torch.allclose(*(x[0] if isinstance(x, tuple) else x for x in (a, b)), atol=1e-6)


def test_one_mask_for_all_steps():
    with PrivateRandom(0):
        out = same_mask_dropout(torch.ones(2, 50, 40), 0.5, training=True)
    assert (out == out[:, :1]).all()
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert same_mask_dropout(X, 0.5, training=False) is X


@CELLS
@torch.no_grad()
def test_padding_has_no_influence_in_either_direction(cell):
    stack = made(Recurrent, F, H, 2, cell=cell, bidirectional=True).eval()
    lengths = torch.tensor([6, 4, 1])
    out, _ = stack(X, None, lengths)
    for row, length in enumerate(lengths):
        alone, _ = stack(X[row : row + 1, :length])
        assert torch.allclose(out[row, :length], alone[0], atol=1e-6)


@torch.no_grad()
@pytest.mark.parametrize("tokens", [True, False])
def test_the_classifier_reads_padding_from_its_input(tokens):
    network = made(RecurrentClassifier, 9 if tokens else F, 3, tokens=tokens, hidden_size=H).eval()
    x = torch.arange(1, 1 + N * T).view(N, T) % 8 + 1 if tokens else X.clone()
    x[1, 4:], x[2, 1:] = (0, 0) if tokens else (torch.nan, torch.nan)
    found = network(x)
    assert torch.allclose(found[1], network(x[1:2, :4])[0], atol=1e-6)
    assert torch.allclose(found[2], network(x[2:, :1])[0], atol=1e-6)


def test_pooling_by_hand():
    x = torch.tensor([[[1.0], [5.0], [9.0]]])
    assert pooled(x, torch.tensor([[True, True, False]])).tolist() == [[3.0, 5.0]]
