"""Every activation, loss and layer of the library: autograd against central differences, in float64."""

import inspect
from functools import partial

import pytest
import torch
from torch import nn

from rosenblatt import losses
from rosenblatt.backprop import check_function
from rosenblatt.errors import NonFiniteError, ParameterError
from rosenblatt.layers import ACTIVATIONS, activation
from rosenblatt.layers.attention import Attention
from rosenblatt.losses import quantile, style
from rosenblatt.losses.penalty import map_criterion
from rosenblatt.models.adain import Decoder, adain
from rosenblatt.models.alexnet_2012 import normalise
from rosenblatt.models.forecaster import RecurrentForecaster
from rosenblatt.models.gpt import GPT, Block
from rosenblatt.models.inception import BlockA, BlockB, BlockC, BlockD, BlockE
from rosenblatt.models.johnson import InstanceNorm, Johnson
from rosenblatt.models.language import RecurrentLanguageModel
from rosenblatt.models.lenet5 import LeNet5, RadialOutput, SparseConvolution, Subsampling, squash
from rosenblatt.models.mlp import MLP
from rosenblatt.models.perceptual import Small
from rosenblatt.models.quick import Quick
from rosenblatt.models.recurrent import Layer, Recurrent, RecurrentClassifier
from rosenblatt.models.resnet import Block as ResidualBlock
from rosenblatt.models.resnet import ResNet
from rosenblatt.models.squeezenet import Fire


def numbers(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(100 + seed), dtype=torch.float64)


def chances(*shape):
    return torch.softmax(numbers(*shape, seed=1), -1)


CLASSES = torch.tensor([0, 2, 1, 2, 0])
SIGNS = torch.tensor([1.0, -1, 1, 1, -1])
WEIGHT = torch.tensor([0.5, 2.0, 1.0, 0.1, 3.0])
TOKENS = torch.tensor([[1, 4, 2, 3], [3, 3, 1, 0]])

LOSSES = {
    "cross_entropy": (lambda z: losses.cross_entropy(z, CLASSES), numbers(5, 3)),
    "cross_entropy with everything": (
        lambda z, w: losses.cross_entropy(
            z, CLASSES, w, class_weight=torch.tensor([1.0, 2.0, 0.5]).double(), label_smoothing=0.1
        ),
        numbers(5, 3), WEIGHT,
    ),
    "cross_entropy of probabilities": (losses.cross_entropy, numbers(5, 3), chances(5, 3)),
    "logistic": (lambda z: losses.logistic(z, (SIGNS > 0).double()), numbers(5)),
    "logistic with everything": (
        lambda z: losses.logistic(
            z, (chances(5, 3) > 0.4).double(), WEIGHT.double(), positive_weight=torch.ones(3).double() * 2, label_smoothing=0.2
        ),
        numbers(5, 3),
    ),
    "perceptron_criterion": (lambda s: losses.perceptron_criterion(s, SIGNS), numbers(5)),
    "squared": (losses.squared, numbers(5, 2), numbers(5, 2, seed=1)),
    "absolute": (losses.absolute, numbers(5, 2), numbers(5, 2, seed=1)),
    "huber": (partial(losses.huber, delta=0.7), numbers(9), numbers(9, seed=1)),
    "poisson": (losses.poisson, chances(5), chances(5) * 3),
    "poisson of the logarithm": (partial(losses.poisson, log_input=True), numbers(5), chances(5) * 3),
    "pinball": (lambda f, y: quantile.pinball(f, y, torch.tensor([0.1, 0.5, 0.9]).double()), numbers(6, 3), numbers(6, seed=2)),
    "map_criterion": (lambda z: map_criterion(z, CLASSES), numbers(5, 3).abs() * 3),
    "gram_matrix": (style.gram_matrix, numbers(2, 3, 4, 5)),
    "relative_distance": (style.relative_distance, numbers(2, 3, 4), numbers(2, 3, 4, seed=1)),
    "content_distance": (
        lambda a, b: style.content_distance({"a": a}, {"a": b}), numbers(1, 3, 4, 4), numbers(1, 3, 4, 4, seed=1),
    ),
    "style_distance": (
        lambda a: style.style_distance({"a": a}, {"a": style.gram_matrix(numbers(1, 3, 4, 4, seed=1))}), numbers(1, 3, 4, 4),
    ),
    "total_variation": (style.total_variation, numbers(1, 3, 4, 4)),
    "channel_statistics": (style.channel_statistics, numbers(2, 3, 4, 4)),
    "statistics_distance": (
        lambda a: style.statistics_distance({"a": a}, {"a": style.channel_statistics(numbers(1, 3, 4, 4, seed=1))}),
        numbers(1, 3, 4, 4),
    ),
}  # fmt: skip

LAYERS = {
    "Attention": (lambda: Attention(8, 2), numbers(2, 5, 8)),
    "Attention, causal": (lambda: Whole(Attention(8, 2), causal=True), numbers(2, 5, 8)),
    "Attention over a memory": (lambda: Attention(8, 2), numbers(2, 3, 8), numbers(2, 6, 8, seed=1)),
    "Block of GPT": (lambda: Block(8, 2, 0.0), numbers(2, 5, 8)),
    "GPT": (lambda: GPT(6, context=4, width=8, layers=2, heads=2), TOKENS),
    "RecurrentLanguageModel": (lambda: RecurrentLanguageModel(6, hidden_size=5, layers=2, layer_norm=True), TOKENS),
    "MLP": (lambda: MLP([4, 6, 5, 3], torch.tanh), numbers(5, 4)),
    **{f"Layer, {cell}": (partial(Layer, 3, 4, cell=cell), numbers(2, 6, 3)) for cell in ("elman", "gru", "lstm")},
    "Recurrent": (lambda: Recurrent(3, 4, 2, bidirectional=True, layer_norm=True), numbers(2, 6, 3)),
    "RecurrentForecaster": (
        lambda: RecurrentForecaster(1, 2, 0, 4, 3, cell="gru", hidden_size=5, layers=2, season=2), numbers(3, 6, 3),
    ),
    "squash of LeNet-5": (lambda: Whole(squash), numbers(20)),
    "Subsampling": (lambda: Subsampling(6), numbers(2, 6, 4, 4)),
    "SparseConvolution": (SparseConvolution, numbers(2, 6, 14, 14)),
    "RadialOutput": (lambda: RadialOutput(10), numbers(3, 84)),
    "LeNet5": (LeNet5, numbers(2, 1, 32, 32)),
    "Quick": (lambda: Quick(side=12), numbers(2, 1, 12, 12)),
    "Block of ResNet": (lambda: ResidualBlock(4, 6, 2), numbers(2, 4, 8, 8)),
    "ResNet": (lambda: ResNet(1, 3, side=16, depth=1), numbers(1, 1, 16, 16)),
    "local response normalisation": (lambda: Whole(normalise), numbers(2, 7, 3, 3) * 30),
    "Fire": (lambda: Fire(4, 3), numbers(1, 4, 5, 5)),
    **{
        f"{kind.__name__} of Inception": (partial(kind, *more), numbers(1, 8, 9, 9))
        for kind, more in ((BlockA, (8, 4)), (BlockB, (8,)), (BlockC, (8, 4)), (BlockD, (8,)))
    },
    "BlockE of Inception": (lambda: BlockE(4, maxima=False), numbers(1, 4, 5, 5)),
    "InstanceNorm": (lambda: InstanceNorm(3), numbers(2, 3, 5, 5)),
    "adain": (lambda: Whole(lambda x, m, s: adain(x, (m, s))), numbers(1, 3, 4, 4), numbers(1, 3, 1, 1), chances(1, 3, 1, 1)),
    "Johnson": (lambda: Johnson(4), numbers(1, 3, 16, 16)),
    "Decoder of AdaIN": (lambda: Decoder(32, 2), numbers(1, 32, 6, 6)),
    "Small": (Small, numbers(1, 3, 16, 16)),
    "RecurrentClassifier": (lambda: RecurrentClassifier(3, 2, tokens=False, hidden_size=4), numbers(2, 5, 3)),
}  # fmt: skip


class Whole(nn.Module):
    """A function, or a module with options, as a module."""

    def __init__(self, function, **options):
        super().__init__()
        self.function, self.options = function, options

    def forward(self, *inputs):
        return self.function(*inputs, **self.options)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activations(name):
    function = partial(torch.softmax, dim=1) if name == "softmax" else activation(name)  # it is for outputs only
    found = check_function(function, numbers(60, 3).mul(2))
    assert found.passed, str(found)


@pytest.mark.parametrize("name", LOSSES)
def test_losses(name):
    found = check_function(*LOSSES[name])
    assert found.passed, str(found)


def test_no_loss_is_left_out():
    public = {name for name in losses.__all__ if inspect.isfunction(getattr(losses, name))} - {"class_weights"}
    assert {name for name in public if not any(case.split()[0] == name for case in LOSSES)} == set()


LONG = ("BlockD of Inception", "BlockE of Inception")


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in LONG else n for n in LAYERS])
def test_layers(name, monkeypatch):
    # some leave bfloat16 by .float(); here that may not be single precision
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.double)
    make, *inputs = LAYERS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module = make().double().eval()
        for parameter in module.parameters():  # off the corners at which zeros start
            parameter.data += 0.05 * torch.randn_like(parameter)
    found = check_function(module, *inputs, tolerance=3e-6)
    assert found.passed, str(found)


class Beginner(torch.autograd.Function):
    """x² with the derivative x."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx, error):
        return error * ctx.saved_tensors[0]


def test_a_wrong_derivative_is_found():
    found = check_function(Beginner.apply, numbers(10))
    assert not found.passed
    assert found.worst > 0.1
    assert "WRONG" in str(found)


def test_what_is_refused():
    with pytest.raises(NonFiniteError, match="not finite at these inputs"):
        check_function(torch.log, -torch.ones(3))
    with pytest.raises(ParameterError, match="expected one at least"):
        check_function(lambda x: x.double() * 2, torch.arange(3))
