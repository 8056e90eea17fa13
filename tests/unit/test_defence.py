"""Adversarial training: the inner problem, the objective of a step, and what a defended network withstands."""

import numpy as np
import pytest
import torch
from scipy.sparse import csr_matrix
from sklearn.datasets import load_digits, make_classification
from torch import nn
from torch.nn import functional as F

import rosenblatt
from rosenblatt import CNNClassifier, Defence, MLPClassifier, MLPRegressor, Plan
from rosenblatt.attacks import PGD
from rosenblatt.attacks.inner import worst
from rosenblatt.errors import ParameterError
from rosenblatt.estimators.defended import Defended, divergence
from rosenblatt.estimators.defended_dense import DefendedChain, apart
from rosenblatt.train import follow
from rosenblatt.train.seeds import PrivateRandom


@pytest.fixture(autouse=True)
def private():
    with PrivateRandom(1):
        yield


@pytest.fixture(scope="module")
def digits():
    data = load_digits()
    return (data.images * 15).astype(np.uint8), data.target


def small():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3, stride=2, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10))


@pytest.fixture(scope="module")
def module():
    with PrivateRandom(0):
        return small()


# ------------------------------------------------------------------------------------------------------ text


@pytest.mark.parametrize(
    "defence",
    [
        Defence(eps=0.3),
        Defence(method="trades", eps=0.1, beta=4.0, norm="l2", steps=3, step_size=0.05),
        Defence(method="fast", eps=8 / 255, low=-1.0, high=1.0),
        Defence(method="noise", eps=0.25),
        Defence(eps=1.0, norm="l1", ramp=0.5),
    ],
)
def test_a_defence_and_its_text_are_the_same(defence):
    assert Defence.parse(str(defence)) == defence
    assert Plan(defence=defence) == Plan(defence=str(defence))


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("madry,eps=0.3", "method='madry'.*expected"),
        ("pgd", "has no eps.*'pgd,eps=0.1'"),
        ("pgd,eps=-1", "eps=-1.0"),
        ("pgd,epsilon=1", "'epsilon=1'; expected name=value.*'eps'"),
        ("pgd,eps=much", "eps='much'; expected a number"),
        ("fast,eps=0.1,steps=3", "steps=3 of 'fast'"),
        ("noise,eps=0.1,norm=l2", "norm or step_size of 'noise'"),
        ("pgd,eps=0.1,low=0", "low=0.0, high=None; expected low < high, or neither"),
    ],
)
def test_a_bad_text_is_refused(text, match):
    with pytest.raises(ParameterError, match=match):
        Plan(defence=text)


# ----------------------------------------------------------------------------------------------- inner problem


@pytest.mark.parametrize(("norm", "gain"), [("linf", 0.1 * 6.0), ("l2", 0.1 * 14**0.5), ("l1", 0.1 * 3.0)])
def test_the_worst_input_of_a_linear_loss_is_that_of_the_closed_form(norm, gain):
    slope = torch.tensor([1.0, -2.0, 3.0])
    x = torch.full((4, 3), 0.5)
    z = worst(lambda z: (z * slope).sum(), x, eps=0.1, norm=norm, steps=40)
    torch.testing.assert_close((z - x) @ slope, torch.full((4,), gain), rtol=1e-2, atol=0)


def test_the_worst_input_stays_within_ball_and_bounds():
    x = torch.rand(20, 3, 4, 4)
    z = worst(lambda z: z.square().sum(), x, eps=0.3, steps=3)
    assert ((z.double() - x.double()).abs() <= 0.3).all()
    assert z.min() >= 0
    assert z.max() <= 1


# --------------------------------------------------------------------------------------------------- one step


class Rest:
    def __init__(self, network):
        self.network = network

    def __enter__(self):
        return self.network

    def __exit__(self, *_):
        pass


def step(defence, network, x, y, loss=lambda out, y, weight: F.cross_entropy(out, y)):
    made = Defended(defence, loss=loss, enter=lambda x: x, prepare=lambda x: x, bounds=(0.0, 1.0))
    with PrivateRandom(7):
        return made(network, Rest(network), x, y, None, done=1.0)


def test_a_step_of_pgd_is_that_of_a_plain_loop(module):
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    with PrivateRandom(7):
        z = (x + (2 * torch.rand_like(x) - 1) * 0.2).clamp(0, 1)
    for _ in range(4):
        z.requires_grad_()
        (g,) = torch.autograd.grad(F.cross_entropy(module(z), y), z)
        z = (z.detach() + 0.05 * g.sign()).clamp(x - 0.2, x + 0.2).clamp(0, 1)
    found = step(Defence(eps=0.2, steps=4, step_size=0.05), module, x, y)
    torch.testing.assert_close(found, F.cross_entropy(module(z), y), rtol=1e-5, atol=0)


def test_a_step_of_fast_is_that_of_the_paper(module):
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    with PrivateRandom(7):
        z = (x + (2 * torch.rand_like(x) - 1) * 0.2).clamp(0, 1).requires_grad_()
    (g,) = torch.autograd.grad(F.cross_entropy(module(z), y), z)
    z = (z.detach() + 1.25 * 0.2 * g.sign()).clamp(x - 0.2, x + 0.2).clamp(0, 1)  # alpha = 1.25 eps
    torch.testing.assert_close(
        step(Defence(method="fast", eps=0.2), module, x, y), F.cross_entropy(module(z), y), rtol=1e-5, atol=0
    )


def test_trades_is_the_clean_loss_and_beta_times_the_distance(module):
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    plain = F.cross_entropy(module(x), y)
    none = step(Defence(method="trades", eps=0.1, beta=1e-9), module, x, y)
    torch.testing.assert_close(none, plain, rtol=1e-5, atol=0)
    one, three = (step(Defence(method="trades", eps=0.1, beta=b), module, x, y) for b in (1.0, 3.0))
    torch.testing.assert_close(three - plain, 3 * (one - plain), rtol=1e-3, atol=1e-6)
    assert one > plain + 1e-3


def test_noise_is_noise_of_that_deviation(module):
    x, y = torch.rand(8, 1, 8, 8), torch.arange(8)
    with PrivateRandom(7):
        noisy = x + 0.5 * torch.randn_like(x)
    torch.testing.assert_close(step(Defence(method="noise", eps=0.5), module, x, y), F.cross_entropy(module(noisy), y))


def test_the_distance_is_the_divergence_of_kullback_and_leibler():
    a, b = torch.randn(5, 4), torch.randn(5, 4)
    p, q = torch.softmax(a, 1), torch.softmax(b, 1)
    by_hand = (p * (p / q).log()).sum(1)
    torch.testing.assert_close(divergence(F.log_softmax(a, 1), b), by_hand)
    torch.testing.assert_close(apart("softmax", a, b), by_hand)
    s, t = torch.sigmoid(a), torch.sigmoid(b)
    torch.testing.assert_close(
        apart("logistic", a, b), (s * (s / t).log() + (1 - s) * ((1 - s) / (1 - t)).log()).sum(1), rtol=1e-4, atol=1e-5
    )


# ---------------------------------------------------------------------------------------------- convolutional


def fitted(digits, text, seed=0, **options):
    X, y = digits
    plan = Plan(defence=text, **options)
    return CNNClassifier(epochs=4, random_state=seed, verbose=0, plan=plan).fit(X[:1200], y[:1200])


@pytest.fixture(scope="module")
def plain(digits):
    return fitted(digits, None)


@pytest.mark.parametrize("text", ["pgd,eps=0.15,steps=3", "trades,eps=0.15,steps=3", "fast,eps=0.15"])
def test_a_defended_network_withstands_more(digits, plain, text):
    X, y = digits[0][1200:1500], digits[1][1200:1500]
    attack = PGD(eps=0.15, steps=10)
    before, after = attack(plain, X, y), attack(fitted(digits, text), X, y)
    assert after.robust_accuracy > before.robust_accuracy + 0.15
    assert after.accuracy > 0.85


def test_the_statistics_of_batchnorm_do_not_see_the_attack(digits):
    X, y = digits[0][:256], digits[1][:256]
    model = CNNClassifier(epochs=1, batch_size=256, random_state=0, verbose=0, plan=Plan(defence="pgd,eps=0.2,steps=5"))
    counts = [v for name, v in model.fit(X, y).module_.state_dict().items() if name.endswith("num_batches_tracked")]
    assert [int(count) for count in counts] == [1, 1, 1]


def test_the_seed_fixes_a_defended_run_and_a_resumed_one_ends_in_the_same_weights(digits, tmp_path, monkeypatch):
    X, y = digits[0][:300], digits[1][:300]

    def fit(**options):
        plan = Plan(defence="trades,eps=0.1,steps=2", **options)
        return CNNClassifier(epochs=3, random_state=3, verbose=0, plan=plan).fit(X, y)

    first, again = fit(), fit()

    class KilledError(Exception):
        pass

    write = follow.Keeper.write

    def dies(self, state, epoch, *, last):
        write(self, state, epoch, last=last)
        if epoch == 2:
            raise KilledError

    with monkeypatch.context() as patch:
        patch.setattr(follow.Keeper, "write", dies)
        with pytest.raises(KilledError):
            fit(checkpoint=str(tmp_path))
    resumed = fit(checkpoint=str(tmp_path))
    for other in (again, resumed):
        for name, value in first.module_.state_dict().items():
            assert torch.equal(value, other.module_.state_dict()[name]), name


def test_early_stopping_looks_at_the_accuracy_under_attack(digits):
    model = fitted(digits, "pgd,eps=0.15,steps=2", early_stopping=True, validation_fraction=0.2)
    row = model.history_[-1]
    assert row["validation_score"] < row["validation_clean"]
    held_out = [r["validation_score"] for r in model.history_]
    assert model.best_epoch_ == 1 + int(np.argmax(held_out))
    noisy = fitted(digits, "noise,eps=0.5", early_stopping=True, validation_fraction=0.2)
    assert noisy.history_[-1]["validation_score"] <= noisy.history_[-1]["validation_clean"]


def test_the_defence_is_in_the_model_file(digits, tmp_path):
    model = fitted(digits, "fast,eps=0.1")
    model.save(tmp_path / "model.safetensors")
    assert rosenblatt.load(tmp_path / "model.safetensors").plan == Plan(defence="fast,eps=0.1")


def test_a_module_of_ones_own_is_defended(digits, module):
    X, y = digits
    plan = Plan(defence="fast,eps=0.1")
    model = CNNClassifier(network=module, epochs=5, learning_rate=0.01, random_state=0, verbose=0, plan=plan)
    assert model.fit(X[:600], y[:600]).score(X[600:900], y[600:900]) > 0.5


def test_parts_of_a_batch_are_defended_each(digits):
    model = fitted(digits, "pgd,eps=0.15,steps=2", accumulate=4)
    X, y = digits[0][1200:1400], digits[1][1200:1400]
    assert PGD(eps=0.15, steps=10)(model, X, y).robust_accuracy > 0.3


@pytest.mark.slow
def test_two_processes_defend_one_network(digits):
    X, y = digits
    plan = Plan(defence="pgd,eps=0.1,steps=2", devices=2)
    model = CNNClassifier(epochs=3, random_state=0, verbose=0, device="cpu", plan=plan).fit(X[:1200], y[:1200])
    assert PGD(eps=0.1, steps=10)(model, X[1200:1400], y[1200:1400]).robust_accuracy > 0.4


def test_colours_that_augmentation_takes_out_of_the_bounds_come_back():
    X = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    plan = Plan(defence="pgd,eps=0.1,steps=1", augment="flip+pca+colour")
    assert CNNClassifier(epochs=1, random_state=0, verbose=0, plan=plan).fit(X, np.arange(40) % 2).n_iter_ == 1


def test_float_pictures_need_bounds(digits):
    X, y = digits[0][:100] / 255.0, digits[1][:100]
    with pytest.raises(ParameterError, match=r"nothing says what a pixel may be.*'fast,eps=0.1,low=0,high=1'"):
        CNNClassifier(epochs=1, verbose=0, plan=Plan(defence="fast,eps=0.1")).fit(X, y)
    CNNClassifier(epochs=1, verbose=0, plan=Plan(defence="fast,eps=0.1,low=0,high=1")).fit(X, y)
    with pytest.raises(ParameterError, match=r"bounds \(-1.0, 1.0\) for pictures of 8 bits"):
        CNNClassifier(epochs=1, verbose=0, plan=Plan(defence="fast,eps=0.1,low=-1,high=1")).fit(*digits)


@pytest.mark.parametrize("kind", ["LanguageModel", "GAN", "Autoencoder", "Forecaster", "RNNClassifier", "Composer"])
def test_a_system_without_defences_says_so(kind):
    model = getattr(rosenblatt, kind)(plan=Plan(defence="fast,eps=0.1"))
    with pytest.raises(ParameterError, match=rf"{kind}: Plan\(defence='fast,eps=0.1'\) is not used here"):
        model._check_parameters()


# ------------------------------------------------------------------------------------------------------- dense


@pytest.fixture(scope="module")
def table():
    X, y = make_classification(600, 12, n_informative=8, n_classes=3, class_sep=1.5, random_state=0)
    return X.astype(np.float32), y


def dense(table, text, **options):
    X, y = table
    plan = None if text is None else Plan(defence=text)
    options = {"max_iter": 30, "random_state": 0, **options}
    return MLPClassifier(32, plan=plan, n_iter_no_change=100, **options).fit(X[:400], y[:400])


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("text", ["pgd,eps=0.3,steps=3", "trades,eps=0.3,steps=3", "fast,eps=0.3"])
def test_a_defended_dense_network_withstands_more(table, text):
    X, y = table[0][400:], table[1][400:]
    attack = PGD(eps=0.3, steps=20)
    plain, defended = dense(table, None), dense(table, text)
    assert plain.engine_ == "compiled"
    assert defended.engine_ == "torch"
    assert attack(defended, X, y).robust_accuracy > attack(plain, X, y).robust_accuracy


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_gradient_of_a_defended_chain_is_that_of_autograd(table):
    """TRADES at one fixed point: a thousandth of a tiny eps, so that the worst input is the data itself."""
    X, y = table[0][:50].astype(np.float64), table[1][:50]
    model = MLPClassifier(8, max_iter=1, random_state=0, alpha=0.0).fit(X, y)
    options = {
        "activation": torch.relu, "output": "softmax", "loss": "log_loss", "alpha": 0.0, "dropout": 0.0,
        "device": torch.device("cpu"), "generator": torch.Generator(),
    }  # fmt: skip
    defence = Defence(method="trades", eps=0.4, steps=1, beta=2.0)
    chain = DefendedChain(model.coefs_, model.intercepts_, defence=defence, seed=5, **options)
    x, target = torch.from_numpy(X), F.one_hot(torch.from_numpy(y), 3).double()
    seen = []
    raw = chain._raw

    def watch(z, *rest):
        seen.append(z.detach())
        return raw(z, *rest)

    chain._raw = watch
    step = chain.loss_and_gradient(x, target, None)
    moved = seen[-1]
    leaves = [t.detach().clone().requires_grad_() for t in (*chain.coefs, *chain.intercepts)]

    def out(z):
        return torch.relu(z @ leaves[0] + leaves[2]) @ leaves[1] + leaves[3]

    p, q = F.log_softmax(out(x), 1), F.log_softmax(out(moved), 1)
    loss = -(target * p).sum(1).mean() + 2 * (p.exp() * (p - q)).sum(1).mean()
    by_hand = torch.cat([g.ravel() for g in torch.autograd.grad(loss, leaves)])
    assert step.loss == pytest.approx(loss.item())
    torch.testing.assert_close(chain.gradient, by_hand, rtol=1e-9, atol=1e-12)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_defended_dense_network_stops_early_by_its_score_under_attack(table):
    under = dense(table, "pgd,eps=0.5,steps=2", early_stopping=True, max_iter=10)
    plain = dense(table, None, early_stopping=True, max_iter=10)
    assert under.best_validation_score_ < plain.best_validation_score_


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_seed_fixes_a_defended_dense_run_alone_and_beside_others(table):
    one, two = dense(table, "fast,eps=0.2", max_iter=3), dense(table, "fast,eps=0.2", max_iter=3)
    assert all(np.array_equal(a, b) for a, b in zip(one.coefs_, two.coefs_, strict=True))
    many = rosenblatt.fit_many(
        MLPClassifier(32, plan=Plan(defence="fast,eps=0.2"), n_iter_no_change=100, max_iter=3),
        table[0][:400], table[1][:400], random_state=[0, 1],
    )  # fmt: skip
    assert all(np.array_equal(a, b) for a, b in zip(one.coefs_, many[0].coefs_, strict=True))


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_a_regressor_is_defended_too():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, 4))
    model = MLPRegressor(hidden_layer_sizes=16, max_iter=20, random_state=0, plan=Plan(defence="pgd,eps=0.1")).fit(
        X, X[:, 0]
    )
    assert model.engine_ == "torch"
    with pytest.raises(ParameterError, match="'trades' compares answers of classes"):
        MLPRegressor(hidden_layer_sizes=16, plan=Plan(defence="trades,eps=0.1")).fit(X, X[:, 0])


@pytest.mark.parametrize(
    ("options", "text", "match"),
    [
        ({"solver": "lbfgs"}, "pgd,eps=0.1", "solver='lbfgs'"),
        ({}, "pgd,eps=0.1,ramp=0.5", "ramp=0.5 in the defence"),
    ],
)
def test_what_a_dense_network_cannot_defend_is_refused(table, options, text, match):
    with pytest.raises(ParameterError, match=match):
        dense(table, text, **options)


def test_a_sparse_table_cannot_be_defended(table):
    with pytest.raises(ParameterError, match="sparse X"):
        MLPClassifier(8, plan=Plan(defence="fast,eps=0.1")).fit(csr_matrix(table[0]), table[1])
