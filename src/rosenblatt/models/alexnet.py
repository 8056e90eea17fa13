"""AlexNet in one tower: the layout whose weights, learned on ImageNet, are published.

Reference: Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014, arXiv:1404.5997 (the
one-tower network of section 5). The order and the names of the layers are those of the weights that the PyTorch project
publishes, so that its file fits.

Shape letters: N batch, C colour channels, H height, W width, K classes.

Departures from the paper: no response normalisation and 64, 192, 384, 256, 256 maps, as in the published weights;
dropout scales in training, not in testing; pictures of other sides than 224 are summarised to 6 x 6 by averages.
"""

from __future__ import annotations

from torch import Tensor, nn

from rosenblatt._types import Float

SMALLEST = 63
"""The shorter side below which nothing is left after the third pooling."""


class AlexNet(nn.Module):
    """Five convolutions and three dense layers in one chain; 61,100,840 parameters for three channels and 1,000 classes.

    Args:
        channels: Colour channels C.
        classes: Classes K.
        dropout: Share of the inputs of the hidden dense layers that is dropped in training.
    """

    def __init__(self, channels: int = 3, classes: int = 1000, *, dropout: float = 0.5):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(channels, 64, 11, stride=4, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(64, 192, 5, padding=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
            nn.Conv2d(192, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(256, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, stride=2),
        )
        self.avgpool = nn.AdaptiveAvgPool2d(6)
        self.classifier = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(256 * 6 * 6, 4096),
            nn.ReLU(inplace=True),
            nn.Dropout(dropout),
            nn.Linear(4096, 4096),
            nn.ReLU(inplace=True),
            nn.Linear(4096, classes),
        )

    def forward(self, x: Float[Tensor, "N C H W"]) -> Float[Tensor, "N K"]:
        """Logits of the classes."""
        x = self.avgpool(self.features(x))  # N 256 6 6
        return self.classifier(x.flatten(1))
