import json

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import rosenblatt as rb
from rosenblatt.errors import OutputError, ParameterError
from rosenblatt.metrics.share import wilson
from rosenblatt.report import robustness_report

X, Y = load_digits(return_X_y=True)
PICTURES = (X.reshape(-1, 8, 8) / 16 * 255).round().astype(np.uint8)
QUICK = {"steps": 12, "queries": 60}


@pytest.fixture(scope="module")
def cnn():
    return rb.CNNClassifier(epochs=4, batch_size=64, random_state=0, verbose=0).fit(PICTURES[:800], Y[:800])


@pytest.fixture(scope="module")
def linear():
    """A linear module of flat inputs, whose robust accuracy has a closed form."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Linear(64, 10)
    optimizer = torch.optim.Adam(net.parameters(), 0.02)
    x, y = torch.tensor(X[:1000] / 16, dtype=torch.float32), torch.tensor(Y[:1000])
    for _ in range(60):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net


def test_the_curve_of_a_linear_model_is_the_closed_form(linear):
    x, y = torch.tensor(X[1000:1080] / 16, dtype=torch.float32), torch.tensor(Y[1000:1080])
    radii = [0.01, 0.02, 0.04]
    found = robustness_report(linear, x, y, eps=radii, norm="l2", bounds=(-50, 50), steps=40, queries=40)
    with torch.no_grad():
        logits, w = linear(x), linear.weight
        gap = logits.gather(1, y[:, None]) - logits
        slope = torch.linalg.vector_norm(w[y][:, None] - w[None], dim=2)
        ratio = torch.where(slope > 0, gap / slope.clamp_min(1e-9), torch.inf)
    distance = ratio.amin(1).numpy()
    for row in found.curve:
        assert row["robust_accuracy"] == pytest.approx((distance > row["eps"]).mean(), abs=1 / 80)
        assert row["low"] < row["robust_accuracy"] < row["high"]
    assert not found.flags
    assert found.headline.startswith("Robust accuracy ")
    assert found.median_norm == pytest.approx(np.median(distance[distance > 0]), rel=0.02)


def test_pictures_survive_rounding_and_the_report_is_written(cnn, tmp_path):
    found = robustness_report(cnn, PICTURES[800:850], Y[800:850], eps=[0.1, 0.3], **QUICK)
    assert found.accuracy[0] == pytest.approx(cnn.score(PICTURES[800:850], Y[800:850]))
    assert found.curve[1]["robust_accuracy"] <= found.curve[0]["robust_accuracy"] <= found.accuracy[0]
    assert found.survival > 0.8
    shown = found.pictures().axes[0].images[0].get_array()
    assert shown.shape == (8, 8)
    assert "still wrong as 8 bits" in str(found)
    page = found.write(tmp_path / "a.html").read_text()
    assert found.headline in page
    assert page.count("<img") == (2 if found.flags else 3)
    held = json.loads(found.write(tmp_path / "a.json").read_text())
    assert (held["samples"], held["norm"], len(held["curve"])) == (50, "linf", 2)
    with pytest.raises(OutputError, match="exists already"):
        found.write(tmp_path / "a.json")
    with pytest.raises(ParameterError, match=r"is \.html or \.json"):
        found.write(tmp_path / "a.txt")


class Quantised(nn.Module):
    """Robust in appearance: rounding leaves no gradient but through a sliver of the true network."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        rounded = (x * 4).round() / 4
        return self.net(rounded.detach()) + 0 * x.sum(1, keepdim=True)


class Restless(nn.Module):
    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x + 0.3 * torch.randn_like(x))


@pytest.mark.parametrize(
    ("wrap", "said"),
    [
        (Quantised, "zero gradients at"),
        (Restless, "random output"),
        (lambda net: nn.Sequential(net, nn.Softmax(1)), "probabilities, not logits"),
    ],
)
def test_doubtful_figures_are_withheld(linear, wrap, said):
    x, y = torch.tensor(X[1000:1040] / 16, dtype=torch.float32), Y[1000:1040]
    found = robustness_report(wrap(linear), x, y, eps=0.1, **QUICK)
    assert any(said in flag for flag in found.flags)
    assert found.headline.startswith("Robust accuracy withheld: ")
    assert found.as_dict()["curve"][0]["robust_accuracy"] is None


def test_a_black_box_beats_masked_gradients(linear):
    x, y = torch.tensor(X[1000:1060] / 16, dtype=torch.float32), Y[1000:1060]
    found = robustness_report(Quantised(linear), x, y, eps=0.3, steps=5, queries=300)
    assert any("a black-box attack breaks" in flag for flag in found.flags)
    assert any("gradients are masked" in flag for flag in found.flags)


def test_a_function_is_judged_by_square_alone(linear):
    x, y = torch.tensor(X[1000:1020] / 16, dtype=torch.float32), Y[1000:1020]
    found = robustness_report(lambda batch: linear(batch).detach().numpy(), x, y, eps=0.2, **QUICK)
    assert found.curve[0]["robust_accuracy"] < found.accuracy[0]


def test_intervals_and_radii():
    assert wilson(0, 10)[0] == pytest.approx(0, abs=1e-12)
    assert wilson(10, 10)[1] == pytest.approx(1)
    low, high = wilson(50, 100)
    assert (low + high) / 2 == pytest.approx(0.5)
    assert high - low == pytest.approx(0.192, abs=0.001)
    for eps, said in ((0, "eps=0.0"), ([], "eps is empty"), ([-1, 1], "eps=-1.0")):
        with pytest.raises(ParameterError, match=said):
            robustness_report(nn.Identity(), torch.full((2, 3), 0.5), [0, 1], eps=eps)


def test_the_command(run, cnn, tmp_path):
    from PIL import Image

    for row in range(800, 830):
        folder = tmp_path / "d" / str(Y[row])
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(PICTURES[row]).save(folder / f"{row}.png")
    named = rb.CNNClassifier(epochs=3, batch_size=64, random_state=0, verbose=0).fit(
        PICTURES[:500], Y[:500].astype(str)
    )
    model = named.save(tmp_path / "m.safetensors")
    small = ("--steps", 5, "--queries", 20, "--samples", 20)
    page = tmp_path / "r.html"
    done = run("attack", model, tmp_path / "d", "--eps", "0.1,0.2", "--json", "--out", page, *small)
    assert done.code == 0, done.err
    assert (json.loads(done.out)["samples"], page.exists()) == (20, True)
    for options, message in (
        (("--eps", "a"), "--eps='a'; expected numbers"),
        (("--bounds", "1"), "expected two numbers"),
        (("--samples", 0), "--samples=0"),
        (("--out", tmp_path / "r.txt"), "is .html or .json"),
        (("--out", tmp_path / "r.html"), "exists already"),
    ):
        done = run("attack", model, tmp_path / "d", *options)
        assert (done.code, message in done.err) == (2, True), done.err


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
def test_the_command_on_a_table(run, cnn, tmp_path):
    source = np.random.default_rng(0)
    age, pay, sex = source.integers(18, 80, 300), source.normal(3, 1, 300), source.choice(["f", "m"], 300)
    buys = np.where(age / 20 + pay + (sex == "f") > 6, "yes", "no")
    lines = [f"{a},{p:.3f},{s},{b}" for a, p, s, b in zip(age, pay, sex, buys, strict=True)]
    table, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    table.write_text("age,pay,sex,buys\n" + "\n".join(lines) + "\n")
    done = run("train", "mlp", table, "--target", "buys", "--max-iter", 20, "--random-state", 0, "--out", model)
    assert done.code == 0, done.err
    small = ("--steps", 10, "--queries", 20, "--samples", 60, "--eps", "0.2,0.8", "--json")
    curves = []
    for options in (("--integer", "age", "--bounds", "age=16:90"), ("--fixed", "pay", "--integer", "age"), ()):
        done = run("attack", model, table, *small, *options)
        assert done.code == 0, done.err
        curves.append(json.loads(done.out))
    assert all(not found["flags"] for found in curves)
    free, held = (found["curve"][1]["robust_accuracy"] for found in curves[:2])
    assert free < held
    page = tmp_path / "r.html"
    done = run("attack", model, table, *small, "--fixed", "pay", "--out", page)
    assert (done.code, "held as they are: pay, sex" in done.err) == (0, True), done.err
    for options, message in (
        (("--fixed", "ages"), "fixed names 'ages'"),
        (("--fixed", "age,pay"), "every column is fixed"),
        (("--bounds", "age=1"), "expected NAME=LOW:HIGH"),
        (("--integer", "pay"), "expected a whole number"),
    ):
        done = run("attack", model, table, *options)
        assert (done.code, message in done.err) == (2, True), done.err
    pictures = cnn.save(tmp_path / "c.safetensors")
    (tmp_path / "p" / "1").mkdir(parents=True)
    from PIL import Image

    Image.fromarray(PICTURES[0]).save(tmp_path / "p" / "1" / "0.png")
    done = run("attack", pictures, tmp_path / "p", "--fixed", "age")
    assert (done.code, "takes no table" in done.err) == (2, True), done.err


def test_the_command_on_texts_and_series(run, tmp_path):
    source = np.random.default_rng(0)
    moods = source.choice(["good", "bad"], 80)
    texts = [f"{source.choice(['a', 'the'])} film so {mood} {source.choice(['and', 'or'])} long" for mood in moods]
    table, model = tmp_path / "t.csv", tmp_path / "m.safetensors"
    table.write_text("said,mood\n" + "".join(f"{text},{mood}\n" for text, mood in zip(texts, moods, strict=True)))
    small = ("--hidden-size", 8, "--epochs", 6, "--random-state", 0, "--learning-rate", 0.02)
    done = run("train", "rnn", table, "--target", "mood", "--units", "words", "--out", model, *small)
    assert done.code == 0, done.err
    found = json.loads(run("attack", model, table, "--samples", 30, "--substitutions", 2, "--json").out)
    assert (found["samples"], found["accuracy"], found["robust_accuracy"]) == (30, 1.0, 0.0)
    assert found["examples"][0]["label"] != found["examples"][0]["prediction"]
    assert "with 3 of the words exchanged at most, n=30" in run("attack", model, table, "--samples", 30).out
    done = run("attack", model, table, "--out", tmp_path / "r.html")
    assert (done.code, "nothing for a RNNClassifier" in done.err) == (2, True), done.err
    done = run("attack", model, table, "--fixed", "said")
    assert (done.code, "takes no table" in done.err) == (2, True), done.err

    wave = 5 + np.sin(np.arange(90) * 2 * np.pi / 12)
    table.write_text(
        "time,value\n" + "".join(f"{2000 + i // 12}-{i % 12 + 1:02d},{v:.4f}\n" for i, v in enumerate(wave))
    )
    small = ("--window", 12, "--hidden-size", 8, "--epochs", 2, "--random-state", 0, "--select", "best")
    model = tmp_path / "f.safetensors"
    done = run("train", "forecaster", table, "--horizon", 4, "--out", model, *small)
    assert done.code == 0, done.err
    found = json.loads(run("attack", model, table, "--eps", "0.1,0.2", "--json").out)["attacks"]
    assert [row["eps"] for row in found] == [0.1, 0.2]
    assert 0 < found[0]["moved"] < found[1]["moved"]
    assert found[0]["moved"] >= found[0]["by_noise"]
    said = run("attack", model, table).out
    assert "the forecast by" in said
    assert ("not a network" in said) == (found[0]["forecast_by"] != "network")
