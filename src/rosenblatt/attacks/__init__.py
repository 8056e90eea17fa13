"""Adversarial attacks: each a pure function and a small class, called as ``attack(model, X, y)``.

The result is an `AttackResult`. FGSM or PGD alone are no figure of robustness: `Ensemble` is.
"""

from rosenblatt.attacks.apgd import APGD, apgd
from rosenblatt.attacks.boundary import Boundary, boundary
from rosenblatt.attacks.bpda import Transformed, bpda
from rosenblatt.attacks.carlini_wagner import CarliniWagner, carlini_wagner
from rosenblatt.attacks.deepfool import DeepFool, deepfool
from rosenblatt.attacks.ead import EAD, ead
from rosenblatt.attacks.ensemble import Ensemble
from rosenblatt.attacks.eot import eot
from rosenblatt.attacks.fab import FAB, fab
from rosenblatt.attacks.fgsm import FGSM, fgsm
from rosenblatt.attacks.fmn import DDN, FMN, ddn, fmn
from rosenblatt.attacks.forecast import ForecastAttack, ForecastAttackResult
from rosenblatt.attacks.hop_skip_jump import HopSkipJump, hop_skip_jump
from rosenblatt.attacks.inner import worst
from rosenblatt.attacks.patch import Patch, patch
from rosenblatt.attacks.pgd import PGD, pgd
from rosenblatt.attacks.result import Attack, AttackResult
from rosenblatt.attacks.several import several
from rosenblatt.attacks.smoothing import Certificate, Smoothed
from rosenblatt.attacks.square import Square, square
from rosenblatt.attacks.squeezing import bit_depth, jpeg, median
from rosenblatt.attacks.table import Table
from rosenblatt.attacks.tokens import HotFlip, Tokens, hotflip
from rosenblatt.attacks.transfer import Transfer, transfer
from rosenblatt.attacks.transferred import transferred
from rosenblatt.attacks.universal import Universal, universal

__all__ = [
    "APGD",
    "DDN",
    "EAD",
    "FAB",
    "FGSM",
    "FMN",
    "PGD",
    "Attack",
    "AttackResult",
    "Boundary",
    "CarliniWagner",
    "Certificate",
    "DeepFool",
    "Ensemble",
    "ForecastAttack",
    "ForecastAttackResult",
    "HopSkipJump",
    "HotFlip",
    "Patch",
    "Smoothed",
    "Square",
    "Table",
    "Tokens",
    "Transfer",
    "Transformed",
    "Universal",
    "apgd",
    "bit_depth",
    "boundary",
    "bpda",
    "carlini_wagner",
    "ddn",
    "deepfool",
    "ead",
    "eot",
    "fab",
    "fgsm",
    "fmn",
    "hop_skip_jump",
    "hotflip",
    "jpeg",
    "median",
    "patch",
    "pgd",
    "several",
    "square",
    "transfer",
    "transferred",
    "universal",
    "worst",
]
