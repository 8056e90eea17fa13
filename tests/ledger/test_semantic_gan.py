"""The published network, layer by layer from the tables of Park et al. 2019, appendix A."""

import itertools

import torch

from rosenblatt.models.semantic_gan import MultiscaleCritic, SemanticGenerator

LABELS = 184  # COCO-Stuff: 182 classes, one for unlabelled pixels, and the edges of instances


def convolution(inputs, outputs, kernel, bias=True):
    return inputs * outputs * kernel**2 + (outputs if bias else 0)


def adaptive(channels):
    """Figure 2: 128 hidden channels, then scale and shift."""
    return convolution(LABELS, 128, 3) + 2 * convolution(128, channels, 3)


def block(inputs, outputs):
    """Figure 4."""
    middle = min(inputs, outputs)
    found = adaptive(inputs) + adaptive(middle) + convolution(inputs, middle, 3) + convolution(middle, outputs, 3)
    return found + (adaptive(inputs) + convolution(inputs, outputs, 1, bias=False) if inputs != outputs else 0)


def blocks():
    """Figure 11: from 4 to 256 pixels."""
    widths = (1024, 1024, 1024, 1024, 512, 256, 128, 64)
    return sum(block(a, b) for a, b in itertools.pairwise(widths)) + convolution(64, 3, 3)


def count(module):
    return sum(p.numel() for p in module.parameters())


def test_the_generator_at_256_pixels():
    with torch.device("meta"):
        net = SemanticGenerator((256, 256), LABELS - 1, width=64, hidden=128, code=0)
    assert (
        count(net) == blocks() + convolution(LABELS, 1024, 3) == 97_480_899
    )  # 97.5 million, as its authors' code says


def test_the_generator_with_styles_at_256_pixels():
    with torch.device("meta"):
        net = SemanticGenerator((256, 256), LABELS - 1, width=64, hidden=128, code=256)
    assert net.first.out_features == 16_384  # Linear(256, 16384), figure 11
    widths = (3, 64, 128, 256, 512, 512, 512)  # figure 14; no bias in front of a normalisation
    encoder = sum(convolution(a, b, 3, bias=False) for a, b in itertools.pairwise(widths))
    assert count(net.encoder) == encoder + 2 * (8192 * 256 + 256)
    assert count(net) == blocks() + (256 * 16_384 + 16_384) + count(net.encoder)
    assert [part.one.out_channels for part in net.blocks] == [1024, 1024, 1024, 512, 256, 128, 64]


def test_the_critic_at_256_pixels():
    with torch.device("meta"):
        net = MultiscaleCritic(LABELS - 1, width=64, layers=4, scales=2)
    widths = (LABELS + 3, 64, 128, 256, 512)  # figure 13
    one = sum(convolution(a, b, 4, bias=a == widths[0]) for a, b in itertools.pairwise(widths))
    assert count(net) == 2 * (one + convolution(512, 1, 4))
    assert [layer.stride[0] for layer in net.critics[0].layers] == [2, 2, 2, 1]
