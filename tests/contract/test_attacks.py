"""What every attack must do, whatever it does."""

import copy
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import rosenblatt as rb
from rosenblatt.attacks import (
    APGD,
    DDN,
    EAD,
    FAB,
    FGSM,
    FMN,
    PGD,
    Boundary,
    CarliniWagner,
    DeepFool,
    Ensemble,
    HopSkipJump,
    Square,
    Transfer,
    fab,
    pgd,
    square,
)  # fmt: skip
from rosenblatt.attacks.apgd import checkpoints
from rosenblatt.attacks.model import victim as victim_of
from rosenblatt.attacks.objectives import OBJECTIVES
from rosenblatt.attacks.planes import onto_plane
from rosenblatt.attacks.projection import project, size, steepest
from rosenblatt.attacks.streams import keys_of, normal, uniform
from rosenblatt.attacks.universal import Universal
from rosenblatt.errors import DataError, LabelError, NonFiniteError, NotFittedError, ParameterError, ShapeError

EPS = {"linf": 0.15, "l2": 0.8, "l1": 4.0}
BUDGET = [
    *(FGSM(eps=EPS[n], norm=n) for n in EPS),
    *(PGD(eps=EPS[n], norm=n, steps=6, restarts=2) for n in EPS),
    PGD(eps=0.15, steps=10, momentum=0.9),
    *(APGD(eps=EPS[n], norm=n, steps=30 if n == "l1" else 12) for n in EPS),
    APGD(eps=0.15, steps=20, objective="dlr", targets=2),
    *(Square(eps=EPS[n], norm=n, queries=80) for n in ("linf", "l2")),
    *(
        Transfer(eps=EPS[n], norm=n, momentum=m, kernel=k)
        for n, m, k in (("linf", 1.0, 1), ("linf", 0.0, 3), ("l2", 0.5, 3))
    ),
    *(Ensemble(eps=EPS[n], norm=n, steps=8, targets=2, queries=15) for n in EPS),
]
LEAST = [
    *(DeepFool(norm=n) for n in EPS),
    *(FAB(norm=n, steps=8) for n in EPS),
    *(FMN(norm=n, steps=60) for n in ("l0", *EPS)),
    DDN(steps=60),
    CarliniWagner(steps=40, searches=5, learning_rate=0.05),
    EAD(steps=25, searches=4),
]
ANSWERS = [  # these see the answered class alone
    *(HopSkipJump(norm=n, queries=250, probes=20) for n in ("l2", "linf")),
    Boundary(queries=120),
]
LEAST += ANSWERS
ALL = BUDGET + LEAST
SHARED = [Universal(eps=EPS[n], norm=n, steps=6, minibatch=4) for n in ("linf", "l2")]
WHITE = [a for a in ALL if a.gradient]


def name(attack):
    return f"{type(attack).__name__}-{attack.norm}-{getattr(attack, 'objective', '')}-{getattr(attack, 'momentum', '')}"


def each(attacks_):
    return pytest.mark.parametrize("attack", attacks_, ids=name)


class Net(nn.Module):
    """BatchNorm that is frozen, dropout that is not, and an order of numbers that a batch does not change."""

    def __init__(self, classes=4, scale=1.0, shift=0.0):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(3)
            first, last = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6 * 36, classes)
            self.body = nn.Sequential(first, nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), last)
        self.scale, self.shift = scale, shift
        self.body[1].eval()

    def forward(self, x):
        return self.body(x) * self.scale + self.shift


def samples(n=6, seed=0):
    return torch.rand(n, 1, 6, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def victim(classes=4, **options):
    return Net(classes, **options).double()


def labels(net, x):
    copied = copy.deepcopy(net).eval()
    with torch.no_grad():
        return copied(x).argmax(1)


@each(ALL + SHARED)
def test_the_victim_and_the_world_stay_as_they_were(attack):
    net, x = victim(), samples()
    net.train()
    net.body[1].eval()
    net.body[5].bias.requires_grad_(False)
    y = labels(net, x)
    modes = [m.training for m in net.modules()]
    state, needs = copy.deepcopy(net.state_dict()), [p.requires_grad for p in net.parameters()]
    before, world, old = x.clone(), torch.get_rng_state(), np.random.get_state()[1].copy()
    attack(net, x, y)
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == needs
    assert all(p.grad is None for p in net.parameters())
    assert all(torch.equal(a, b) for a, b in zip(net.state_dict().values(), state.values(), strict=True))
    assert torch.equal(x, before)
    assert torch.equal(torch.get_rng_state(), world)
    assert (np.random.get_state()[1] == old).all()


@each(ALL + SHARED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inside_the_ball_and_the_bounds_to_the_last_float(attack, dtype):
    net, x = victim().to(dtype), samples().to(dtype)
    x[0].clamp_(0.4, 0.4)
    x[1] = (x[1] > 0.5).to(dtype)  # every pixel at a border
    y = labels(net, x)
    found = attack(net, x, y)
    assert found.adversarial.dtype == dtype
    assert float(found.adversarial.min()) >= 0
    assert float(found.adversarial.max()) <= 1
    distance = size(found.adversarial.double() - x.double(), attack.norm).numpy()
    np.testing.assert_array_equal(distance, found.norms)
    if attack in BUDGET + SHARED:
        assert (distance <= attack.eps).all()
    wrong = labels(net, found.adversarial) != y
    assert (wrong.numpy() == found.success).all()


@each(ALL + SHARED)
def test_the_batch_size_changes_nothing(attack):
    net, x = victim(), samples(7)
    y = labels(net, x)
    found = [attacks_of(attack, batch_size=n)(net, x, y) for n in (1, 3, 7)]
    for other in found[1:]:  # but for the last bits of the network's own sums
        assert (other.success == found[0].success).all()
        np.testing.assert_allclose(other.norms, found[0].norms, rtol=1e-3)
        if attack in BUDGET + SHARED:
            assert (other.queries == found[0].queries).all()
            torch.testing.assert_close(other.adversarial, found[0].adversarial, rtol=0, atol=1e-6)


def attacks_of(attack, **changes):
    return replace(attack, **changes)


@each(ALL + SHARED)
def test_the_seed_fixes_the_result(attack):
    net, x = victim(), samples(3)
    y = labels(net, x)
    assert torch.equal(attack(net, x, y).adversarial, attack(net, x, y).adversarial)


@each(ALL)
def test_success_counts_only_what_was_right_before(attack):
    net, x = victim(), samples()
    y = labels(net, x)
    y[2] = (y[2] + 1) % 4  # wrong from the start
    found = attack(net, x, y)
    assert not found.correct[2]
    assert not found.success[2]
    assert torch.equal(found.adversarial[2], x[2])
    assert (found.norms[2], found.queries[2]) == (0, 1)
    assert found.accuracy == pytest.approx(5 / 6)
    aimed = attack(net, x, y, target=(y + 2) % 4)
    assert not aimed.success[2]
    assert aimed.accuracy == found.accuracy
    every = attack(net, x, (labels(net, x) + 1) % 4)
    assert (every.accuracy, every.robust_accuracy, every.success.any()) == (0, 0, False)


@each(ALL)
@pytest.mark.parametrize("change", [{"shift": -50.0, "scale": 1e-3}, {"scale": 1e4}], ids=str)
def test_shifting_and_scaling_the_logits_changes_little(attack, change):
    x = samples(8)
    plain, moved = victim(), victim(**change)
    y = labels(plain, x)
    before, after = attack(plain, x, y), attack(moved, x, y)
    assert int(after.success.sum()) >= int(before.success.sum()) - 1
    if attack in LEAST:
        both = before.success & after.success
        assert both.any()
        assert np.median(after.norms[both]) <= 1.2 * np.median(before.norms[both])


@each([a for a in WHITE if not isinstance(a, FGSM)])
def test_saturated_pixels_move(attack):
    net = victim()
    x = (samples(8) > 0.5).double()
    y = labels(net, x)
    more = {"eps": 3 * attack.eps} if attack in BUDGET else {"steps": 150} if isinstance(attack, FMN) else {}
    found = attacks_of(attack, **more)(net, x, y)
    assert found.success.mean() >= 0.6


@each([a for a in ALL if not isinstance(a, FGSM)])
def test_a_target_is_reached_or_no_success(attack):
    net, x = victim(), samples(8)
    y = labels(net, x)
    wanted = (y + 1) % 4
    found = attacks_of(attack, **({"eps": 4 * attack.eps} if attack in BUDGET else {}))(net, x, y, target=wanted)
    assert (found.success == (labels(net, found.adversarial) == wanted).numpy()).all()
    assert found.success.mean() >= 0.5
    same = attack(net, x, y, target=y)
    assert not same.success.any()


@each(ALL)
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_few_classes(attack, classes):
    """One logit stands for two classes."""
    net, x = victim(classes), samples(5)
    with torch.no_grad():
        out = copy.deepcopy(net).eval()(x)
    y = (out[:, 0] > 0).long() if classes == 1 else out.argmax(1)
    if attack in ANSWERS:  # noise does not meet the rarer class each time
        attack = attacks_of(attack, starts=DeepFool(norm="l2")(net, x, y).adversarial)
    found = attack(net, x, y)
    assert found.correct.all()
    if attack in LEAST:
        assert found.success.all()


@each(ALL)
@pytest.mark.parametrize(("n", "shape"), [(1, (5,)), (3, (3, 4)), (8, (2, 3, 4))], ids=str)
def test_the_optimum_on_a_linear_model(attack, shape, n):
    """Two classes: margin w.x + b; the dual norm of w gives the shortest way, and what a ball allows."""
    source = torch.Generator().manual_seed(n)
    net = nn.Sequential(nn.Flatten(), nn.Linear(math.prod(shape), 2)).double()
    with torch.no_grad():
        for p in net.parameters():
            p.copy_(torch.randn(p.shape, generator=source, dtype=torch.float64))
    x = 0.1 * torch.randn(n, *shape, generator=source, dtype=torch.float64)
    y = labels(net, x)
    logits = net(x).detach()
    gap = (logits.gather(1, y[:, None]) - logits.gather(1, 1 - y[:, None]))[:, 0]
    w = (net[1].weight[0] - net[1].weight[1]).detach()
    dual = {"l1": w.abs().max(), "l2": w.norm(), "linf": w.abs().sum()}
    wide = attacks_of(attack, bounds=(-100.0, 100.0))
    if isinstance(attack, Transfer):  # no pictures here
        wide = attacks_of(wide, diversity=0, kernel=1)
    if attack.norm == "l0":
        found = wide(net, x, y)
        assert found.success.all()
        assert (found.norms == 1).all()  # in bounds as wide as these one coordinate does it
    elif attack in LEAST:
        found = wide(net, x, y)
        assert found.success.all()
        over = 4.0 if attack in ANSWERS else 1.01  # few queries; tests/unit/test_decisions.py gives them more
        np.testing.assert_array_less(found.norms, over * (gap / dual[attack.norm]).numpy() + 1e-9)
    else:
        least = (gap / dual[attack.norm]).max()
        if not isinstance(attack, Square) and not (isinstance(attack, PGD) and attack.norm == "l1"):
            more = {"steps": 100} if isinstance(attack, APGD) else {}
            assert attacks_of(wide, eps=float(1.05 * least), **more)(net, x, y).success.all()
        assert not attacks_of(wide, eps=float(0.95 * (gap / dual[attack.norm]).min()))(net, x, y).success.any()


def test_projection_is_the_nearest_point_of_ball_and_box():
    source = torch.Generator().manual_seed(0)
    x = torch.rand(40, 6, generator=source, dtype=torch.float64)
    z = x + 2 * torch.randn(40, 6, generator=source, dtype=torch.float64)
    for norm, eps in (("l1", 0.7), ("l2", 0.5), ("linf", 0.2)):
        got = project(z, x, eps, norm, (0.0, 1.0))
        assert (size(got - x, norm) <= eps).all()
        away = size(got - z, "l2")
        for _ in range(200):  # no other point is nearer
            other = (got + 0.1 * torch.randn(got.shape, generator=source, dtype=torch.float64)).clamp(0, 1)
            fits = size(other - x, norm) <= eps
            assert (size(other - z, "l2")[fits] >= away[fits] - 1e-6).all()
        inside = x + 0.01 * (0.5 - x)
        torch.testing.assert_close(project(inside, x, eps, norm, (0.0, 1.0)), inside)


@pytest.mark.parametrize("norm", ["l1", "l2", "linf"])
def test_the_shortest_way_to_a_plane_in_a_box(norm):
    source = torch.Generator().manual_seed(1)
    z = torch.rand(60, 5, generator=source, dtype=torch.float64)
    w = torch.randn(60, 5, generator=source, dtype=torch.float64)
    w[0] = 0
    free = onto_plane(z, w, torch.ones(60), norm, None)
    dual = {"l1": "linf", "l2": "l2", "linf": "l1"}[norm]
    torch.testing.assert_close(size(free, norm)[1:], 1 / size(w, dual)[1:])
    need = 0.4 * torch.rand(60, generator=source, dtype=torch.float64)
    step = onto_plane(z, w, need, norm, (0.0, 1.0))
    assert ((z + step) >= -1e-12).all()
    assert ((z + step) <= 1 + 1e-12).all()
    most = torch.where(w > 0, w * (1 - z), -w * z).sum(1)
    rise = (w * step).sum(1)
    torch.testing.assert_close(rise, torch.minimum(need, most), atol=1e-9, rtol=1e-6)
    for _ in range(300):
        other = (z + step + 0.2 * torch.randn(60, 5, generator=source, dtype=torch.float64)).clamp(0, 1) - z
        fits = (w * other).sum(1) >= rise + 1e-9
        assert (size(other, norm)[fits] >= size(step, norm)[fits] - 1e-6).all()


def test_steepest_steps_have_length_one():
    g = torch.tensor([[3.0, -4.0, 4.0], [0.0, 0.0, 0.0]])
    assert steepest(g, "linf").tolist() == [[1, -1, 1], [0, 0, 0]]
    assert steepest(g, "l1").tolist() == [[0, -0.5, 0.5], [0, 0, 0]]
    assert steepest(g, "l2")[0].norm() == pytest.approx(1)
    assert steepest(g, "l2")[1].tolist() == [0, 0, 0]


def test_random_numbers_are_uniform_and_of_the_sample_alone():
    keys = keys_of(3, torch.arange(200))
    u = uniform(keys, 0, (500,))
    assert float(u.min()) >= 0
    assert float(u.max()) < 1
    assert float(u.mean()) == pytest.approx(0.5, abs=0.005)
    assert float(u.var()) == pytest.approx(1 / 12, abs=0.002)
    assert abs(float(torch.corrcoef(torch.stack([u[:, :-1].flatten(), u[:, 1:].flatten()]))[0, 1])) < 0.01
    assert abs(float(torch.corrcoef(torch.stack([u.flatten(), uniform(keys, 1, (500,)).flatten()]))[0, 1])) < 0.01
    assert abs(float(torch.corrcoef(u[:2])[0, 1])) < 0.15
    n = normal(keys, 0, (500,))
    assert (float(n.mean()), float(n.var())) == (pytest.approx(0, abs=0.01), pytest.approx(1, abs=0.02))


@pytest.mark.parametrize("objective", list(OBJECTIVES))
def test_objectives_rise_with_the_error_and_ignore_a_shift(objective):
    f = OBJECTIVES[objective]
    logits, y = torch.tensor([[2.0, 1.0, 0.5, -1.0], [1.0, 2.0, 0.5, -1.0]]), torch.tensor([0, 0])
    value = f(logits, y)
    assert value[1] > value[0]
    torch.testing.assert_close(f(logits - 50, y), value, atol=1e-4, rtol=1e-4)
    goal = torch.tensor([1, 1])
    assert f(logits, y, goal)[1] > f(logits, y, goal)[0]
    if objective == "dlr":  # Croce & Hein 2020, eq. 6 and 8, by hand
        torch.testing.assert_close(value, torch.tensor([-1 / 1.5, 1 / 1.5]))
        torch.testing.assert_close(f(logits, y, goal), torch.tensor([-1 / 2.25, 1 / 2.25]))
        torch.testing.assert_close(f(1000 * logits, y), value)


def test_checkpoints_of_the_paper():
    assert checkpoints(100) == [22, 41, 57, 70, 80, 87, 93, 99]


# --- victims ---


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return (X / 16).astype(np.float32), y


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_our_estimators_are_victims(digits):
    X, y = digits
    mlp = rb.MLPClassifier((32,), max_iter=30, random_state=0).fit(X[:1000], y[:1000])
    for model in (mlp, rb.Perceptron(random_state=0).fit(X[:1000], y[:1000])):
        found = PGD(eps=0.15, bounds=(0, 1))(model, X[1000:1100], y[1000:1100])
        assert found.adversarial.shape == (100, 64)
        assert found.accuracy == pytest.approx(model.score(X[1000:1100], y[1000:1100]))
        after = model.score(found.adversarial, y[1000:1100])
        assert after == pytest.approx(found.robust_accuracy, abs=0.02)
        assert found.robust_accuracy < 0.5 * found.accuracy
        hard = HopSkipJump(queries=120, probes=20, bounds=(0, 1))(model, X[1000:1005], y[1000:1005])
        assert hard.success.sum() == hard.correct.sum()
    binary = rb.MLPClassifier((16,), max_iter=30, random_state=0).fit(X[:500], np.where(y[:500] < 5, "low", "high"))
    words = np.where(y[500:540] < 5, "low", "high")
    found = DeepFool(bounds=(0, 1))(binary, X[500:540], words)
    assert found.success.sum() == found.correct.sum()
    assert (binary.predict(found.adversarial)[found.success] != words[found.success]).all()
    with pytest.raises(LabelError, match="y holds 7; expected labels of the model, 'high', 'low'"):
        DeepFool()(binary, X[:3], [7, 7, 7])


def test_pictures_of_eight_bits(digits):
    X, y = digits
    pictures = (X.reshape(-1, 8, 8) * 255).round().astype(np.uint8)
    cnn = rb.CNNClassifier(epochs=4, batch_size=64, random_state=0, verbose=0).fit(pictures[:800], y[:800])
    test, truth = pictures[800:860], y[800:860]
    found = PGD(eps=0.2, steps=15)(cnn, test, truth)
    assert found.adversarial.shape == (60, 8, 8, 1)
    assert found.accuracy == pytest.approx(cnn.score(test, truth))
    assert found.robust_accuracy < 0.7 * found.accuracy
    broken = cnn.predict(found.rounded()) != truth
    assert (broken & found.success).sum() >= 0.8 * found.success.sum()  # most survive being saved
    with pytest.raises(ParameterError, match=r"bounds=\(0, 255\) for pictures of 8 bits"):
        PGD(bounds=(0, 255))(cnn, test, truth)
    with pytest.raises(DataError, match="X holds floats, fit saw uint8"):
        PGD()(cnn, test / 255, truth)
    floats = rb.CNNClassifier(epochs=1, random_state=0, verbose=0).fit(X[:200].reshape(-1, 8, 8), y[:200])
    with pytest.raises(ParameterError, match="nothing says what a pixel may be"):
        PGD()(floats, X[:3].reshape(-1, 8, 8), y[:3])
    assert PGD(bounds=(0, 1))(floats, X[:3].reshape(-1, 8, 8), y[:3]).adversarial.max() <= 1


def test_a_declared_normalisation_is_part_of_the_victim():
    net, x = victim(), samples()
    y = labels(net, (x - 0.3) / 0.2)
    found = PGD(eps=0.05, mean=[0.3], std=[0.2])(net, x, y)
    assert found.correct.all()
    assert (found.norms <= 0.05).all()


def test_a_black_box_takes_square_and_no_gradient():
    net, x = victim().eval(), samples()
    y = labels(net, x)

    def scores(batch):
        return net(batch).detach().numpy()

    found = Square(eps=0.3, queries=300)(scores, x, y)
    assert found.success.any()
    with pytest.raises(ParameterError, match=r"scores gives no gradients.*attacks\.Square"):
        PGD()(scores, x, y)

    class Rounded(nn.Module):
        def forward(self, batch):
            return (batch.flatten(1)[:, :3] * 10).round().detach()

    with pytest.raises(ParameterError, match="expected a differentiable model"):
        PGD()(Rounded(), x, Rounded()(x).argmax(1))


def test_probabilities_are_noticed():
    net, x = victim().eval(), samples()
    y = labels(net, x)
    soft = nn.Sequential(net, nn.Softmax(1))
    found = PGD(eps=0.15)(soft, x, y)
    assert "probabilities, not logits" in found.notes[0]
    assert found.success.sum() >= PGD(eps=0.15)(net, x, y).success.sum() - 1
    assert "probabilities" in repr(found)
    assert "probabilities, not logits" in PGD(eps=0.15)(soft, x[:1], y[:1]).notes[0]  # a batch of one, too
    assert PGD(eps=0.15)(net, x[:1], y[:1]).notes == ()


def test_one_probability_a_sample_is_doubted():
    net, x = victim(1).eval(), samples()
    y = (net(x)[:, 0] > 0).long()
    found = PGD(eps=0.15)(nn.Sequential(net, nn.Sigmoid()), x, y)
    assert "one number a sample, all from 0 to 1" in found.notes[0]
    assert "leave the sigmoid out" in found.notes[0]
    far = victim(1, scale=100.0)
    assert PGD(eps=0.15)(far, x, (far.eval()(x)[:, 0] > 0).long()).notes == ()


@pytest.mark.parametrize(
    ("attack", "X", "y", "error", "said"),
    [
        (PGD(), samples() + 0.5, [0] * 6, DataError, r"X goes from .* expected values in bounds=\(0.0, 1.0\)"),
        (PGD(), samples(), [0] * 5, LabelError, "y has 5 labels for 6 samples"),
        (PGD(), samples(), [9] * 6, LabelError, "y holds 9; expected labels of the model, 0, 1, 2, 3"),
        (PGD(), samples() * math.nan, [0] * 6, NonFiniteError, "NaN or infinity in sample 0"),
        (PGD(), (samples() * 255).to(torch.uint8), [0] * 6, DataError, "X holds uint8; expected floats.*X / 255"),
        (PGD(), samples()[:0], [], ShapeError, "expected at least one sample"),
    ],
    ids=["bounds", "count", "label", "nan", "uint8", "none"],
)  # fmt: skip
def test_bad_input_is_named(attack, X, y, error, said):
    with pytest.raises(error, match=said):
        attack(victim(), X, y)


def test_bad_models_are_named():
    x = samples()

    class Broken(nn.Module):
        def forward(self, batch):
            return torch.sqrt(batch.flatten(1)[:, :2] - 2)

    with pytest.raises(NonFiniteError, match=r"gives .*nan.* for input 0 of a batch; expected finite logits"):
        PGD()(Broken(), x, [0] * 6)
    with pytest.raises(ShapeError, match=r"expected logits \(n_samples, n_classes\)"):
        PGD()(nn.Identity(), x, [0] * 6)
    with pytest.raises(ParameterError, match="the model is a int"):
        PGD()(3, x, [0] * 6)
    with pytest.raises(ParameterError, match="the model is a Forecaster"):
        PGD()(rb.Forecaster(), x, [0] * 6)
    with pytest.raises(NotFittedError):
        PGD()(rb.MLPClassifier(), x.flatten(1), [0] * 6)
    with pytest.raises(ParameterError, match=r"bounds=\(1, 0\); expected \(lowest, highest\)"):
        PGD(bounds=(1, 0))(victim(), x, [0] * 6)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: PGD(eps=0), r"PGD: eps=0; expected .*> 0"),
        (lambda: FGSM(eps=-1), r"FGSM: eps=-1"),
        (lambda: PGD(eps=math.inf), r"PGD: eps=inf"),
        (lambda: PGD(eps=8)(victim(), samples(), [0] * 6), r"eps=8 is more than all of bounds=\(0, 1\).*8 / 255"),
        (lambda: PGD(norm="l3"), r"PGD: norm='l3'; expected"),
        (lambda: Square(norm="l1"), r"Square: norm='l1'"),
        (lambda: CarliniWagner(norm="linf"), r"CarliniWagner: norm='linf'"),
        (lambda: PGD(steps=0), r"PGD: steps=0"),
        (lambda: HopSkipJump(norm="l1"), r"HopSkipJump: norm='l1'; expected"),
        (lambda: HopSkipJump(probes=1), r"HopSkipJump: probes=1; expected"),
        (lambda: Boundary(norm="linf"), r"Boundary: norm='linf'; expected"),
        (lambda: Boundary(queries=0), r"Boundary: queries=0; expected"),
        (lambda: Boundary(towards=1.0), r"Boundary: towards=1.0; expected"),
        (lambda: APGD(objective="hinge"), r"APGD: objective='hinge'"),
    ],
)  # fmt: skip
def test_bad_parameters_are_named(make, said):
    with pytest.raises(ParameterError, match=said):
        make()


def test_a_likely_class_beyond_the_ball_hides_no_nearer_one():
    """FAB finds the likeliest class far away; the second likeliest is wrong within the ball."""
    net = nn.Linear(2, 3).double()
    with torch.no_grad():
        net.weight.copy_(torch.tensor([[0.0, 0.0], [0.0, 0.01], [1.0, 0.0]]))
        net.bias.copy_(torch.tensor([0.0, -0.1, -0.2]))
    x, y = torch.zeros(1, 2, dtype=torch.float64), torch.tensor([0])
    net.requires_grad_(False)
    attack = Ensemble(eps=0.3, steps=10, targets=2)
    found = attack._parts(victim_of(net, bounds=(-100.0, 100.0)))[2](
        x, y, None, keys_of(0, torch.arange(1)), torch.full((1,), -1.0)
    )
    assert net(found.adversarial).argmax(1).tolist() == [2]
    assert float(size(found.adversarial - x, "linf")) <= 0.3


def test_square_gives_up_only_where_gradients_led():
    net, x = victim().eval(), samples(8)
    y = labels(net, x)
    net.requires_grad_(False)
    with torch.no_grad():
        start = OBJECTIVES["margin"](net(x), y)
    full = square(net, x, y, eps=0.01, queries=100)
    masked = square(net, x, y, eps=0.01, queries=100, known=start)  # gradients got nowhere
    led = square(net, x, y, eps=0.01, queries=100, known=torch.full_like(start, -1e-6))
    assert torch.equal(masked.queries, full.queries)
    assert torch.equal(masked.adversarial, full.adversarial)
    assert (led.queries <= full.queries).all()
    assert int(led.queries.min()) == 21
    for found in (full, led):
        assert (labels(net, found.adversarial) != y).sum() == (labels(net, full.adversarial) != y).sum()


def test_fab_follows_no_sample_that_is_far_from_the_ball():
    net, x = victim().eval(), samples(6)
    y = labels(net, x)
    net.requires_grad_(False)
    far = fab(net, x, y, steps=20, eps=1e-6)
    assert (far.queries <= 1 + 2 * 5).all()
    whole = fab(net, x, y, steps=20)
    assert (whole.queries > 40).all()
    wide = fab(net, x, y, steps=20, eps=float(size(whole.adversarial - x, "linf").max()) * 1.05)
    assert (labels(net, wide.adversarial) != y).all()


class Viewing(nn.Module):
    """Calls ``view``, which pictures with their channels last do not allow."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first, self.last = nn.Conv2d(3, 6, 3, padding=1), nn.Linear(6 * 36, 4)

    def forward(self, x):
        return self.last(torch.relu(self.first(x)).view(len(x), -1))


def test_pictures_lie_channels_last_where_the_module_takes_them():
    source = torch.Generator().manual_seed(0)
    for channels, net in ((1, Net().eval()), (3, Viewing())):
        x = torch.rand(5, channels, 6, 6, generator=source)
        seen = []
        hook = net.register_forward_pre_hook(lambda _, inputs, seen=seen: seen.append(inputs[0].stride(1)))
        found = victim_of(net)
        with found.at_rest():
            got = found.logits(x)
        hook.remove()
        torch.testing.assert_close(got, net(x), rtol=1e-4, atol=1e-5)
        assert seen[-1] == (1 if channels == 1 else 36)  # the second network got them as they were
    y = labels(net, x)
    assert PGD(eps=0.3)(net, x, y).success.any()


def test_steps_of_pgd_shorten_unless_a_size_is_given():
    net = nn.Linear(1, 2).double().requires_grad_(False)
    net.weight.copy_(torch.tensor([[0.0], [1.0]]))
    net.bias.copy_(torch.tensor([0.0, -10.0]))
    x, y, seen = torch.zeros(1, 1, dtype=torch.float64), torch.tensor([0]), []

    def model(z):
        seen.append(float(z.detach()[0, 0]))
        return net(z)

    pgd(model, x, y, eps=4.0, steps=4, random_start=False, bounds=(-9, 9), step_size=0.5)
    assert seen == [0, 0.5, 1.0, 1.5, 2.0]
    seen.clear()
    pgd(model, -3.9 * torch.ones_like(x), y, eps=8.0, steps=4, random_start=False, bounds=(-9, 90))
    assert seen == pytest.approx([-3.9, 4.1, 4.1, 4.1, 4.1])


def test_a_pixel_a_little_above_eps_goes_down_to_the_border():
    """The next float below is far less than what rounding cost; such pixels stayed where they were."""
    x = torch.tensor([[77 / 255, 0.3, 0.30000001, 1.0, 0.0]])
    down = project(torch.zeros_like(x), x, 0.3, "linf", (0.0, 1.0))
    torch.testing.assert_close(down, torch.tensor([[77 / 255 - 0.3, 0.0, 0.0, 0.7, 0.0]]), atol=1e-6, rtol=0)
    assert (size(down.double() - x.double(), "linf") <= 0.3).all()


def test_the_ensemble_is_at_least_as_strong_as_its_parts():
    net, x = victim(), samples(12, seed=5)
    y = labels(net, x)
    whole = Ensemble(eps=0.08, steps=20, targets=3, queries=100)(net, x, y)
    for part in (APGD(eps=0.08, steps=20), PGD(eps=0.08, steps=20), Square(eps=0.08, queries=100)):
        assert whole.robust_accuracy <= part(net, x, y).robust_accuracy
