"""The game of a `SemanticGAN`: a generator of photographs from label maps against a critic of patches at several scales."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from rosenblatt.data.differentiable import DifferentiableAugment
from rosenblatt.data.label_maps import jitter
from rosenblatt.data.resident import Resident
from rosenblatt.losses.adversarial import LOSSES
from rosenblatt.losses.elbo import standard_normal_kl
from rosenblatt.losses.features import feature_matching, relative_difference
from rosenblatt.models.perceptual import Perceptual
from rosenblatt.models.semantic_gan import SemanticPlayers
from rosenblatt.train.adversarial import Game, spread
from rosenblatt.train.plan import Plan
from rosenblatt.train.precision import autocast

_HINGE = LOSSES["hinge"]  # section 3.1: the hinge loss in the place of the squared one


@dataclass(frozen=True)
class SemanticLoss:
    """What the generator makes small besides the critic's score (Park et al. 2019, appendix A).

    Args:
        features: Weight of the feature matching.
        perceptual: Weight of the perceptual loss.
        divergence: Weight of the style code's Kullback-Leibler divergence, summed over the code.
        network: Perceptual network, or None.
        layers: Its layers that are compared.
    """

    features: float = 10.0
    perceptual: float = 2.0
    divergence: float = 0.05
    network: Perceptual | None = None
    layers: tuple[str, ...] = ()


class SemanticGame(Game):
    """One turn: the critic's step, and the generator's against the critic as it then stands, both on the same samples.

    Args:
        players: Generator and critic, on their device.
        data: Batches of photographs (N, 3, H, W), uint8 or from 0 to 1, and of label maps (N, H, W).
        loss: The generator's losses.
        plan: A complete plan.
        epochs: Passes over the data.
        learning_rate: Top of the schedule.
        prepare: Raw photographs -> -1 to 1.
        words: Steps of `rosenblatt.data.label_maps.jitter`.

    Attributes:
        RATES: The critic learns four times as fast, the generator at the learning rate (Heusel et al. 2017; appendix A).
    """

    NAMES = (
        "loss", "generator_loss", "real_logit", "fake_logit", "critic_accuracy", "real_sign", "variety", "feature_loss",
        "perceptual_loss", "kl",
    )  # fmt: skip
    RATES: Mapping[str, float] = {"generator": 1.0, "critic": 4.0}

    def __init__(
        self,
        players: SemanticPlayers,
        data: Resident,
        loss: SemanticLoss,
        *,
        plan: Plan,
        epochs: int,
        learning_rate: float,
        prepare: Any,
        words: str,
    ):
        super().__init__(
            players, data, _HINGE, code_size=players.generator.code, plan=plan, epochs=epochs,
            learning_rate=learning_rate, prepare=prepare, augment=DifferentiableAugment(), adaptive=False,
        )  # fmt: skip
        self.terms, self.words = loss, words

    @property
    def advice(self) -> str:
        """What to try where the game diverged."""
        return f"Try a learning rate 4 times smaller (now {self.learning_rate:g}) or Plan(precision='fp32')."

    def turn(self, x: Tensor, y: Tensor) -> Tensor:
        """A step of the critic and one of the generator; what they gave."""
        self.set_rate()
        real, maps = jitter(self.prepare(x), y, self.words)
        with autocast(self.device, self.precision):
            fake, kl = self.render(real, maps)
        value, logits_real, logits_fake = self.judge_step(maps, real, fake.detach())
        score, features, perceptual = self.paint_step(maps, real, fake, kl)
        self.step += 1
        return torch.stack(
            [
                value, score, logits_real.mean(), logits_fake.mean(), (logits_real > logits_fake).float().mean(),
                logits_real.sign().mean(), spread(fake) / spread(real).clamp_min(1e-8), features, perceptual,
                kl.detach(),
            ]
        )  # fmt: skip

    def render(self, real: Tensor, maps: Tensor) -> tuple[Tensor, Tensor]:
        """Samples with the styles of their photographs, and the divergence of the codes from the normal distribution."""
        if self.generator.encoder is None:
            return self.generator(maps).float(), torch.zeros((), device=self.device)
        mean, log_variance = self.generator.encode(real)
        z = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        return self.generator(maps, z).float(), standard_normal_kl(mean, log_variance).sum(1).mean()

    def judge_step(self, maps: Tensor, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The critic's step: its loss, and the mean logit of each photograph and sample."""
        with autocast(self.device, self.precision):
            seen = self.critic(maps.repeat(2, 1, 1), torch.cat([real, fake]))
        logits = [scale[-1].float().flatten(1) for scale in seen]  # 2N, patches
        count = len(real)
        value = torch.stack([_HINGE.critic(a[:count].flatten(), a[count:].flatten()) for a in logits]).mean()
        self._descend("critic", value)
        means = torch.stack([a.detach().mean(1) for a in logits]).mean(0)
        return value.detach(), means[:count], means[count:]

    def paint_step(self, maps: Tensor, real: Tensor, fake: Tensor, kl: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The generator's step: what the critic says, feature matching and perceptual loss, without their weights."""
        self.critic.requires_grad_(False)
        with autocast(self.device, self.precision):
            seen = self.critic(maps, fake)
            with torch.no_grad():
                wanted = self.critic(maps, real)
            score = torch.stack([_HINGE.generator(scale[-1].float().flatten(), None) for scale in seen]).mean()
            features, perceptual = feature_matching(seen, wanted), self.perceptual(fake, real)
        terms = self.terms
        total = score + terms.features * features + terms.perceptual * perceptual + terms.divergence * kl
        self._descend("generator", total)
        self.critic.requires_grad_(True)
        self._average_in()
        return score.detach(), features.detach(), perceptual.detach()

    def perceptual(self, fake: Tensor, real: Tensor) -> Tensor:
        """Relative difference in the perceptual network; zero where there is none."""
        network, layers = self.terms.network, self.terms.layers
        if network is None:
            return torch.zeros((), device=self.device)
        with torch.no_grad():
            wanted = network.features((real + 1) / 2, layers)
        found = network.features((fake + 1) / 2, layers)
        return relative_difference([found[name] for name in layers], [wanted[name] for name in layers])


def diagnose_semantic(rows: list[dict[str, float]], best_epoch: int) -> list[str]:
    """What went wrong in a game over label maps, in words, from its history; an empty list where nothing did.

    Args:
        rows: The history, one row an epoch.
        best_epoch: The epoch whose weights are kept, counted from 1.
    """
    found, last = [], rows[-1]
    if last["variety"] < 0.3:
        found.append(
            f"Collapse: renderings differ from each other only {last['variety']:.2f} times as much as photographs. Train "
            "longer, or use a smaller learning rate."
        )
    if 0 < last.get("style_variety", 1.0) < 0.02:
        found.append(
            f"The style is ignored: two styles of one map differ only {last['style_variety']:.3f} times as much as "
            "photographs do. Use a smaller third number of weights=, or style=False, which is faster."
        )
    scored = [row["validation_score"] for row in rows if "validation_score" in row]
    if len(scored) > 3 and best_epoch < len(rows) and scored[-1] < 2 * max(scored) < 0:
        found.append(
            f"Renderings became worse after epoch {best_epoch} of {len(rows)}; the weights of that epoch are kept. Try "
            "fewer epochs or a smaller learning rate."
        )
    return found
