"""Attacks on tables: what is held, what is whole, and in which units the ball is."""

import numpy as np
import pytest
import torch
from sklearn.datasets import load_breast_cancer, load_wine
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
    Smoothed,
    Square,
    Table,
)
from rosenblatt.data.recipe import learn_recipe
from rosenblatt.data.tables import read_table
from rosenblatt.errors import ColumnError, DataError, ParameterError, ShapeError

FIXED, WHOLE = [1, 4], [0, 3]
SCALE = np.array([4.0, 1.0, 0.5, 2.5, 1.0, 1.0])
BOX = {0: (-10.5, 10.5), 2: (-0.3, 0.3)}
EPS = {"linf": 0.7, "l2": 1.3, "l1": 2.0}
BUDGET = [
    *(FGSM(eps=EPS[n], norm=n) for n in EPS),
    *(PGD(eps=EPS[n], norm=n, steps=8, restarts=2) for n in EPS),
    *(APGD(eps=EPS[n], norm=n, steps=12) for n in EPS),
    *(Square(eps=EPS[n], norm=n, queries=50) for n in ("linf", "l2")),
    *(Ensemble(eps=EPS[n], norm=n, steps=6, targets=2, queries=15) for n in ("linf", "l2")),
]
LEAST = [
    *(DeepFool(norm=n) for n in EPS),
    *(FAB(norm=n, steps=6) for n in EPS),
    *(HopSkipJump(norm=n, queries=150, probes=15) for n in ("linf", "l2")),
    Boundary(queries=80),
    *(FMN(norm=n, steps=40) for n in ("l0", "l2")),
    DDN(steps=40),
    CarliniWagner(steps=30, searches=4, learning_rate=0.1),
    EAD(steps=20, searches=3),
    Boundary(queries=100),
    *(HopSkipJump(norm=n, queries=150) for n in ("linf", "l2")),
]


def name(attack):
    return f"{type(attack).__name__}-{attack.norm}"


def each(attacks):
    return pytest.mark.parametrize("attack", attacks, ids=name)


def net(dtype=torch.float32, classes=3, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        made = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Dropout(0.2), nn.Linear(12, classes))
    return made.to(dtype)


def rows(n=9, dtype=torch.float32, seed=1):
    x = torch.randn(n, 6, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * torch.from_numpy(SCALE)
    x[:, WHOLE] = x[:, WHOLE].round().clamp(-10, 10)
    x[:, 2].clamp_(-0.3, 0.3)
    return x.to(dtype)


def answers(model, x):
    training = model.training
    with torch.no_grad():
        found = model.eval()(x).argmax(1)
    model.train(training)
    return found


def linear(w, dtype=torch.float64):
    """Two classes whose margin is w.x."""
    made = nn.Linear(len(w), 2, bias=False).to(dtype).requires_grad_(False)
    made.weight.copy_(torch.stack([torch.zeros(len(w)), torch.as_tensor(w)]))
    return made


@each(BUDGET + LEAST)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=["single", "double"])
def test_what_is_held_stays_and_what_is_whole_stays_whole(attack, dtype):
    model, x = net(dtype).train(), rows(dtype=dtype)
    y, before, world = answers(model, x), x.clone(), torch.get_rng_state()
    found = attack(Table(model, fixed=FIXED, integer=WHOLE, scale=SCALE, bounds=BOX), x, y)
    got = found.adversarial
    assert torch.equal(x, before)
    assert got.dtype == dtype
    assert torch.equal(got[:, FIXED], x[:, FIXED])
    assert torch.equal(got[:, WHOLE], got[:, WHOLE].round())
    assert float(got[:, 0].abs().max()) <= 10
    assert (got[:, 2] >= torch.tensor(-0.3, dtype=dtype)).all()
    assert (got[:, 2] <= torch.tensor(0.3, dtype=dtype)).all()
    order = {"l0": 0, "l1": 1, "l2": 2, "linf": np.inf}[attack.norm]
    norms = np.linalg.norm((got.double() - x.double()).numpy() / SCALE, order, axis=1)
    np.testing.assert_allclose(found.norms, norms, rtol=1e-12, atol=1e-15)
    if attack in BUDGET:
        assert (found.norms <= attack.eps).all()
    assert ((answers(model, got) != y).numpy() == found.success).all()
    assert found.success.any()
    assert model.training
    assert all(p.requires_grad and p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), world)


@each([PGD(eps=0.7, steps=6), PGD(eps=1.3, norm="l2", steps=6), Square(eps=0.7, queries=30), DeepFool(norm="l2")])
def test_the_batch_size_changes_nothing(attack):
    from dataclasses import replace

    model, x = net(torch.float64), rows(7, torch.float64)
    table, y = Table(model, fixed=FIXED, integer=WHOLE, scale=SCALE), answers(model, x)
    one, all_ = (replace(attack, batch_size=n)(table, x, y) for n in (1, 7))
    assert (one.success == all_.success).all()
    torch.testing.assert_close(one.adversarial, all_.adversarial, rtol=0, atol=1e-6)


@each([FGSM(eps=0.6), PGD(eps=0.6, steps=5), APGD(eps=0.6, steps=30)])
def test_the_cube_on_a_linear_model_moves_free_columns_alone(attack):
    """The margin falls by eps times the sum of |w| s over free columns; whole ones go as many whole steps as fit."""
    w = torch.tensor([1.0, -2.0, 0.5, -1.5, 3.0, 0.25], dtype=torch.float64)
    x = torch.tensor([[-15.0, 0.3, 0.1, 0.0, -0.2, 0.0]], dtype=torch.float64)  # no ball of 0.6 breaks it
    found = attack(Table(linear(w), fixed=FIXED, scale=SCALE), x, [0])
    free = [0, 2, 3, 5]
    scale = torch.from_numpy(SCALE)
    rise = float((found.adversarial - x) @ w)
    assert rise == pytest.approx(float(0.6 * (w.abs() * scale)[free].sum()), rel=1e-9)
    found = attack(Table(linear(w), fixed=FIXED, integer=WHOLE, scale=SCALE), x, [0])
    real = 0.6 * (w.abs() * scale)[[2, 5]].sum()
    assert float((found.adversarial - x) @ w) == pytest.approx(float(real + 1.0 * 2 + 1.5 * 1), rel=1e-9)
    assert found.adversarial[0].tolist()[:2] == [-13.0, 0.3]  # 0.6 * 4 = 2.4: two steps
    assert found.norms[0] == pytest.approx(0.6)


@each([DeepFool(norm=n) for n in EPS] + [FAB(norm="l2", steps=5), CarliniWagner(steps=100, learning_rate=0.2)])
def test_the_nearest_point_of_a_linear_model_is_found_in_the_free_columns(attack):
    w = np.array([1.0, -2.0, 0.5, -1.5, 3.0, 0.25])
    x = rows(8, torch.float64)
    x[:, 4] = -9.0  # on the same side, all
    found = attack(Table(linear(w), fixed=FIXED, scale=SCALE), x, [0] * 8)
    slope = (np.abs(w) * SCALE)[[0, 2, 3, 5]]
    dual = {"l1": slope.max(), "l2": np.linalg.norm(slope), "linf": slope.sum()}[attack.norm]
    gap = -(x.numpy() @ w)
    assert found.success.all()
    np.testing.assert_allclose(found.norms, gap / dual, rtol=0.01)


def test_rounding_that_would_leave_the_ball_goes_inwards():
    w = torch.ones(5, dtype=torch.float64)
    x = torch.full((1, 5), -40.0, dtype=torch.float64)
    found = FGSM(eps=3.0, norm="l2")(Table(linear(w), integer=range(5)), x, [0])
    # 3 / sqrt(5) = 1.34 each, rounded to 1
    assert found.adversarial.tolist() == [[-39.0] * 5]
    assert found.norms[0] == pytest.approx(5**0.5)
    # 8 / sqrt(5) = 3.58 rounds to 4 each, of length 8.94: three of them go to 3, then 59 <= 64 < 66
    found = FGSM(eps=8.0, norm="l2")(Table(linear(w), integer=range(5)), x, [0])
    assert sorted((found.adversarial - x)[0].tolist()) == [3, 3, 3, 4, 4]
    assert found.norms[0] == pytest.approx(59**0.5)
    # l1 shares 8 among five equal slopes, 1.6 each
    found = FGSM(eps=8.0, norm="l1")(Table(linear(w), integer=range(5)), x, [0])
    assert sorted((found.adversarial - x)[0].tolist()) == [1, 1, 2, 2, 2]
    assert found.norms[0] == 8.0


def test_success_is_of_the_rounded_row():
    """The boundary lies at 0.4 from the sample: no whole step fits in a ball of 0.7, and one of 1 breaks it."""
    x = torch.tensor([[-1.0, 0.0]], dtype=torch.float64)
    model = linear([1.0, 0.0])
    with torch.no_grad():
        model.bias = nn.Parameter(torch.tensor([0.0, 0.6], dtype=torch.float64), requires_grad=False)
    for attack in (PGD(eps=0.7), APGD(eps=0.7, norm="l2", steps=20), Square(eps=0.7, queries=20)):
        assert attack(Table(model), x, [0]).success.all()
        found = attack(Table(model, integer=[0]), x, [0])
        assert not found.success.any()
        assert found.adversarial[0, 0] == -1
    found = DeepFool(norm="l2")(Table(model, integer=[0]), x, [0])
    assert (found.success.tolist(), found.norms.tolist()) == ([True], [1.0])


@pytest.mark.parametrize(("norm", "eps", "share"), [("linf", 1.4, 0.95), ("l1", 3.0, 0.95), ("l2", 2.2, 0.93)])
def test_beside_a_search_of_all_whole_points(norm, eps, share):
    """No attack may claim what no whole point of the ball does; the ensemble finds nearly all of it."""
    points = torch.cartesian_prod(*[torch.arange(-3.0, 4)] * 4).double()
    points = points[torch.linalg.vector_norm(points, {"l1": 1, "l2": 2, "linf": np.inf}[norm], dim=1) <= eps]
    can = found = 0
    for seed in range(2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = nn.Sequential(nn.Linear(4, 10), nn.Tanh(), nn.Linear(10, 3)).double()
        source = torch.Generator().manual_seed(seed)
        x = (4 * torch.randn(30, 4, generator=source, dtype=torch.float64)).round()
        y = answers(model, x)
        broken = torch.stack([(answers(model, row + points) != own).any() for row, own in zip(x, y, strict=True)])
        got = Ensemble(eps=eps, norm=norm, steps=15, queries=40, targets=2)(
            Table(model, integer=range(4)), x, y
        ).success
        assert not (got & ~broken.numpy()).any()
        can, found = can + int(broken.sum()), found + int(got.sum())
    assert found >= share * can, (found, can)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@pytest.mark.parametrize("kind", [rb.MLPClassifier, rb.Perceptron])
def test_our_classifiers_with_named_columns(kind):
    data = load_wine(as_frame=True)
    X, y = data.data, np.array(data.target_names)[data.target]
    X = (X - X.mean()) / X.std() + 3
    X["magnesium"] = data.data["magnesium"] / 10.0 // 1
    model = kind(random_state=0, max_iter=60).fit(X, y)
    names = ["alcohol", "hue"]
    table = Table(model, fixed=names, integer=["magnesium"], scale={"magnesium": 1.5}, bounds={"ash": (2, 4)})
    ok = X[X.ash.between(2.0, 4.0)]
    found = PGD(eps=0.7)(table, ok, y[ok.index])
    got = X.loc[ok.index].copy()
    got[:] = found.adversarial
    assert found.success.sum() > 20
    assert (got[names].to_numpy() == ok[names].to_numpy()).all()
    assert set(np.unique((got - ok)["magnesium"])) == {-1.0, 0.0, 1.0}
    assert ((got.ash >= 2 - 1e-6) & (got.ash <= 4 + 1e-6)).all()
    assert ((model.predict(got) != y[ok.index]) == (found.success | ~found.correct)).all()
    with pytest.raises(ColumnError, match=r"fixed names 'hu'.*alcohol.*Did you mean 'hue'"):
        PGD()(Table(model, fixed=["hu"]), X, y)


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_rules_of_a_model_file(tmp_path):
    """Bounds and whole numbers in the data's units; eps in deviations; categories and marks of missing values are held."""
    import pyarrow as pa

    source = np.random.default_rng(0)
    n = 400
    age, pay = source.integers(18, 80, n), source.normal(3000, 800, n).round(2)
    sex, member = source.choice(["f", "m"], n), source.random(n) < 0.4
    y = np.where(age / 20 + pay / 800 + (sex == "f") + source.normal(0, 0.3, n) > 6.8, "yes", "no")
    pay = [None if source.random() < 0.05 else float(v) for v in pay]
    data = pa.table({"age": age, "pay": pay, "sex": sex, "member": member})
    recipe = learn_recipe(read_table(data), pa.chunked_array([y]), target_name="buys")
    assert recipe.feature_names == ["age", "pay", "pay is missing", "sex=f", "sex=m", "member"]
    X = recipe.transform(data)
    model = rb.MLPClassifier((16,), random_state=0, max_iter=80).fit(X, y)
    model.preprocessing_ = recipe
    model = rb.load(model.save(tmp_path / "m.safetensors"))
    rule = recipe.columns[0]
    table = Table(model, integer=["age"], bounds={"age": (16, 80)})
    found = PGD(eps=0.5, steps=20)(table, X, y)
    got = found.adversarial
    assert found.success.sum() > 10
    assert (got[:, 2:] == X[:, 2:]).all()
    years = got[:, 0].astype(float) * rule.deviation + rule.mean
    np.testing.assert_allclose(years, years.round(), atol=1e-4)
    assert (np.abs(years - age).max(), years.max() <= 80.01) == (pytest.approx(int(0.5 * rule.deviation)), True)
    # the same table, written again and read by the same rules
    again = recipe.transform(data.set_column(0, "age", pa.array(years.round().astype(int))))
    assert (again[:, 0] == got[:, 0]).all()
    assert float(found.norms.max()) <= 0.5
    only = PGD(eps=1.0)(Table(model, fixed=["pay", "age"][:1], integer=["age"], scale={"age": 1.0}), X, y)
    moved = (only.adversarial != X).any(0)
    assert moved.tolist() == [True] + [False] * 5
    with pytest.raises(ParameterError, match="every column is fixed"):
        PGD()(Table(model, fixed=["age", "pay"]), X, y)
    with pytest.raises(
        DataError, match=r"column 'age' holds 1[89] in row \d+; expected a value in its bounds \(20 to 80\)"
    ):
        PGD()(Table(model, bounds={"age": (20, 80)}), X, y)


def test_a_black_box_of_a_table():
    model, x = net(), rows(20)
    y = answers(model, x)
    table = Table(lambda batch: model.eval()(batch).detach().numpy(), fixed=FIXED, integer=WHOLE, scale=SCALE)
    found = Square(eps=0.9, queries=200)(table, x, y)
    assert found.success.any()
    assert torch.equal(found.adversarial[:, FIXED], x[:, FIXED])
    with pytest.raises(ParameterError, match=r"gives no gradients.*attacks\.Square"):
        PGD()(table, x, y)


def test_bounds_of_the_attack_hold_where_the_table_has_none():
    w, x = [1.0] * 6, torch.full((1, 6), -2.0, dtype=torch.float64)
    found = PGD(eps=9.0, bounds=(-2.5, 1.0))(Table(linear(w), bounds={3: (-3, -1.5)}), x, [0])
    assert found.success.all()
    assert float(found.adversarial.max()) <= 1
    assert float(found.adversarial[0, 3]) <= -1.5


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_held_columns_make_a_classifier_look_more_robust():
    X, y = load_breast_cancer(return_X_y=True)
    model = rb.MLPClassifier((20,), random_state=0, max_iter=40).fit((X - X.mean(0)) / X.std(0), y)
    scaled = ((X - X.mean(0)) / X.std(0))[:120]
    shares = [PGD(eps=0.3)(Table(model, fixed=range(k)), scaled, y[:120]).robust_accuracy for k in (0, 15, 27)]
    assert shares[0] < shares[1] < shares[2]


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"fixed": [6]}, ColumnError, r"fixed names 6; expected numbers from 0 to 5 or names of columns \(no names"),
        ({"integer": ["age"]}, ColumnError, "integer names 'age'"),
        ({"fixed": "age"}, ParameterError, r"fixed='age'; expected a list of columns, as \['age'\]"),
        ({"fixed": range(6)}, ParameterError, "every column is fixed; expected one at least"),
        ({"integer": [5]}, DataError, "column 5 holds .* in row 0; expected a whole number. Leave it out of integer="),
        ({"bounds": {5: (5, 6)}}, DataError, r"column 5 holds .* in row 0; expected a value in its bounds \(5 to 6\)"),
        ({"bounds": {5: (6, 5)}}, ParameterError, r"bounds of 5 are \(6, 5\); expected \(lowest, highest\)"),
        ({"scale": [1, 2]}, ShapeError, r"scale has shape \(2,\); expected a number or 6"),
        ({"scale": {2: 0.0}}, ParameterError, "the scale of column 2 is 0; expected a positive number.*fixed="),
    ],
    ids=lambda v: next(iter(v)) if isinstance(v, dict) else "",
)  # fmt: skip
def test_bad_input_is_named(options, error, said):
    with pytest.raises(error, match=said):
        PGD()(Table(net(), **options), rows(), [0] * 9)


def test_tables_alone_have_columns():
    with pytest.raises(ShapeError, match=r"X has shape \(9, 1, 6\); expected a table"):
        PGD()(Table(net()), rows()[:, None], [0] * 9)
    with pytest.raises(ParameterError, match="Smoothed around a Table; expected a model"):
        Smoothed(Table(net()), sigma=0.5).predict(rows())
