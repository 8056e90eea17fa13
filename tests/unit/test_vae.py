import math

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.base import clone
from sklearn.datasets import load_digits

import rosenblatt as rb
from rosenblatt.errors import DataError, LabelError, NotFittedError, ParameterError, ShapeError
from rosenblatt.losses.elbo import (
    bernoulli_log_likelihood,
    elbo,
    gaussian_log_likelihood,
    importance_bound,
    log_weights,
    standard_normal_kl,
)
from rosenblatt.models.vae import VAE
from rosenblatt.train import vae as training
from rosenblatt.train.seeds import PrivateRandom
from rosenblatt.train.vae import Bound, VariationalObjective, importance_weighted

DIGITS = load_digits()
Y = DIGITS.target[:300]
BITS = (DIGITS.data[:300] > 7).astype(np.uint8)
PICTURES = (DIGITS.images[:300] > 7).astype(np.uint8) * np.uint8(255)
QUICK = {"code_size": 4, "hidden_layer_sizes": (32,), "epochs": 4, "batch_size": 32, "random_state": 0, "verbose": 0}


def probabilistic_pca():
    """A VAE whose networks are linear and whose encoder is the exact posterior, and the covariance of its model."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.linalg.qr(torch.randn(5, 2, generator=generator)).Q * torch.tensor([2.0, 0.7])  # orthogonal columns
    bias, noise = torch.randn(5, generator=generator), 0.3
    with PrivateRandom(0):
        network = VAE(5, 2, hidden=(), noise=noise, learn_noise=False)
    precision = weight.T @ weight + noise**2 * torch.eye(2)  # diagonal
    with torch.no_grad():
        network.decoder[1].weight.copy_(weight)
        network.decoder[1].bias.copy_(bias)
        back = torch.linalg.solve(precision, weight.T)
        network.mean.weight.copy_(back)
        network.mean.bias.copy_(-back @ bias)
        network.log_variance.bias.copy_(unbend((noise**2 / precision.diagonal()).log()))
    return network.eval(), bias.numpy(), (weight @ weight.T + noise**2 * torch.eye(5)).numpy()


def unbend(value, low=-14.0, high=6.0):
    return torch.where(value > 0, high * torch.atanh(value / high), -low * torch.atanh(value / -low))


def test_the_bounds_are_the_exact_likelihood_of_probabilistic_pca():
    """Tipping & Bishop 1999: log N(x; b, W Wᵀ + σ² I). With the exact posterior every importance weight is p(x)."""
    network, mean, covariance = probabilistic_pca()
    x = torch.randn(20, 5, generator=torch.Generator().manual_seed(1)) * 2
    exact = torch.from_numpy(stats.multivariate_normal(mean, covariance).logpdf(x.numpy())).float()
    for k in (1, 7):
        found = importance_weighted(network, x, k, torch.Generator().manual_seed(2))
        torch.testing.assert_close(found, exact, rtol=1e-4, atol=1e-3)
    many = VariationalObjective(network, Bound(samples=9)).of(x, 1.0, torch.Generator().manual_seed(3))
    torch.testing.assert_close(many, exact, rtol=1e-4, atol=1e-3)
    one = [VariationalObjective(network, Bound()).of(x, 1.0, torch.Generator().manual_seed(i)) for i in range(3000)]
    # the analytic KL leaves the noise of one z in the likelihood, whose mean is the bound
    torch.testing.assert_close(torch.stack(one).mean(0), exact, rtol=0.02, atol=0.1)


def test_the_losses_against_closed_forms():
    x = torch.tensor([[0.0, 1.0, 1.0]])
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    wanted = stats.bernoulli(torch.sigmoid(logits).numpy()).logpmf(x.numpy()).sum()
    assert bernoulli_log_likelihood(logits, x).item() == pytest.approx(wanted, rel=1e-5)
    wanted = stats.norm(logits.numpy(), 0.7).logpdf(x.numpy()).sum()
    found = gaussian_log_likelihood(logits, torch.tensor(math.log(0.7)), x)
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    mean, log_variance = torch.tensor([[0.5, -1.0]]), torch.tensor([[0.2, -0.7]])
    q = torch.distributions.Normal(mean, (0.5 * log_variance).exp())
    p = torch.distributions.Normal(0.0, 1.0)
    torch.testing.assert_close(standard_normal_kl(mean, log_variance), torch.distributions.kl_divergence(q, p))
    z = torch.randn(3, 1, 2, generator=torch.Generator().manual_seed(0))
    weights = log_weights(torch.zeros(3, 1), z, mean, log_variance)
    torch.testing.assert_close(weights, (p.log_prob(z) - q.log_prob(z)).sum(-1))
    torch.testing.assert_close(importance_bound(weights), weights.exp().mean(0).log())
    likelihood, kl = torch.tensor([-1.0, -3.0]), torch.tensor([[0.1, 2.0], [0.3, 4.0]])
    torch.testing.assert_close(elbo(likelihood, kl, beta=2.0), likelihood - 2 * kl.sum(1))
    # means of the units 0.2 and 3: the first is below its free 0.5
    torch.testing.assert_close(elbo(likelihood, kl, free_bits=0.5), likelihood - 3.5)


def test_the_gradient_of_many_samples_is_that_of_the_bound_on_average():
    """Doubly reparameterised and plain gradients agree in expectation; the former has less noise."""
    x = (torch.rand(8, 6, generator=torch.Generator().manual_seed(0)) < 0.5).float()
    with PrivateRandom(0):
        network = VAE(6, 2, hidden=(5,))
        torch.nn.init.normal_(network.log_variance.weight, std=0.3)
    objective = VariationalObjective(network, Bound(samples=4))

    def plain(generator):
        mean, log_variance = network.encode(x)
        z = mean + torch.randn(4, 8, 2, generator=generator) * torch.exp(0.5 * log_variance)
        likelihood = training.log_likelihood(network, z, x, None)
        return importance_bound(log_weights(likelihood, z, mean, log_variance))

    def gradients(bound):
        found = []
        for seed in range(600):
            network.zero_grad()
            bound(torch.Generator().manual_seed(seed)).mean().backward()
            found.append(network.mean.weight.grad.flatten().clone())
        return torch.stack(found)

    ours, usual = gradients(lambda g: objective.of(x, 1.0, g)), gradients(plain)
    error = (ours.std(0) + usual.std(0)) / 600**0.5
    assert ((ours.mean(0) - usual.mean(0)).abs() < 4 * error).all()
    torch.testing.assert_close(
        objective.of(x, 1.0, torch.Generator().manual_seed(1)), plain(torch.Generator().manual_seed(1))
    )


@pytest.mark.parametrize("k", [1, 3, 300])
def test_the_bound_takes_exactly_the_codes_that_were_asked(k, monkeypatch):
    model = rb.VariationalAutoencoder(**QUICK).fit(BITS)
    decoded, decode = [], VAE.decode
    monkeypatch.setattr(VAE, "decode", lambda self, z, c=None: decoded.append(len(z)) or decode(self, z, c))
    scores = model.score_samples(BITS[:5], samples=k)
    assert sum(decoded) == 5 * k
    assert (scores == model.score_samples(BITS[:5], samples=k)).all()


def test_more_codes_come_closer_and_elbo_is_the_bound_of_one():
    model = rb.VariationalAutoencoder(**{**QUICK, "epochs": 20}).fit(BITS)
    bounds = [model.score_samples(BITS, samples=k).mean() for k in (1, 10, 200)]
    assert bounds[0] < bounds[1] < bounds[2] < 0
    assert model.bits_per_dim(BITS, samples=10) == pytest.approx(-bounds[1] / 64 / math.log(2))
    assert model.score(BITS) == pytest.approx(model.score_samples(BITS).mean())


SWITCHES = [
    {},
    {"samples": 3},
    {"free_bits": 0.2, "beta": 2.0},
    {"dropout": 0.2, "plan": rb.Plan(precision="bf16")},
    {"conditional": True},
]


@pytest.mark.parametrize("switches", SWITCHES, ids=str)
def test_every_switch_learns_repeats_itself_and_is_saved(switches, tmp_path):
    model = rb.VariationalAutoencoder(**{**QUICK, **switches, "kl_warmup": 0.0}).fit(BITS, Y)
    label = {"y": Y} if model.conditional else {}
    assert model.history_[-1]["loss"] < model.history_[0]["loss"]
    codes = model.transform(BITS, **label)
    assert (clone(model).fit(BITS, Y).transform(BITS, **label) == codes).all()
    assert (model.predict(BITS, **label) == model.predict(BITS, **label)).all()  # deterministic
    restored = rb.load(model.save(tmp_path / "m"))
    assert (restored.transform(BITS, **label) == codes).all()
    assert (restored.score_samples(BITS, **label) == model.score_samples(BITS, **label)).all()
    made = model.sample(5, random_state=0, noisy=True, **({"y": 3} if label else {}))
    assert made.shape == (5, 64)
    assert set(np.unique(made)) <= {0, 1}


def test_pictures_through_convolutions_with_labels():
    options = {**QUICK, "network": "convolutional", "hidden_layer_sizes": (8, 32), "conditional": True, "epochs": 40}
    model = rb.VariationalAutoencoder(**options, learning_rate=5e-3).fit(PICTURES, Y)
    assert model.likelihood_ == "bernoulli"
    assert model.predict(PICTURES[:3], Y[:3]).shape == (3, 8, 8)
    means = [model.sample(50, y=digit, random_state=0).mean(0) for digit in (0, 1)]
    truth = [PICTURES[digit == Y].mean(0) for digit in (0, 1)]
    for i in range(2):
        assert np.square(means[i] - truth[i]).mean() < np.square(means[i] - truth[1 - i]).mean()
    path = model.interpolate(PICTURES[0], PICTURES[1], 5, y=0)
    assert path.shape == (5, 8, 8)
    assert path[0] == pytest.approx(model.predict(PICTURES[:1], [0])[0], abs=1e-3)
    assert model.traverse(PICTURES[0], units=[1, 2], steps=3, y=0).shape == (2, 3, 8, 8)
    assert model.traverse(units=[0], steps=3, y=1)[0, 1] == pytest.approx(
        model.inverse_transform(np.zeros((1, 4)), 1)[0], abs=1e-3
    )


def test_the_gaussian_likelihood_is_a_density_in_the_units_of_the_data():
    """A change of unit moves the log-density by D log(factor); on normal data it comes near the true one."""
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((2, 4))
    X = rng.standard_normal((2000, 2)) @ mixing + 0.5 * rng.standard_normal((2000, 4)) + 3
    options = {**QUICK, "code_size": 2, "epochs": 30}
    model = rb.VariationalAutoencoder(**options).fit(X)
    entropy = stats.multivariate_normal(np.full(4, 3), mixing.T @ mixing + 0.25 * np.eye(4)).logpdf(X).mean()
    assert entropy - 0.4 < model.score(X) < entropy + 0.1
    assert model.noise_ == pytest.approx(0.5, abs=0.1)
    wide = rb.VariationalAutoencoder(**options).fit(100 * X)
    assert wide.score(100 * X) == pytest.approx(model.score(X) - 4 * math.log(100), abs=0.05)
    fixed = rb.VariationalAutoencoder(**QUICK, noise=0.7).fit(X)
    assert fixed.noise_ == pytest.approx(0.7)
    made = model.sample(4000, random_state=0, noisy=True)
    assert np.cov(made.T) == pytest.approx(np.cov(X.T), abs=0.5)


def test_the_validation_objective_is_the_training_objective():
    """The peers' differ by a weight; here both are `of`, and after the warm-up with the same beta."""
    model = rb.VariationalAutoencoder(**QUICK).fit(BITS)
    objective = VariationalObjective(model.module_, Bound(beta=2.0, free_bits=0.1, warmup=10))
    x = torch.from_numpy(BITS.astype(np.float32))
    objective.steps.fill_(10)
    with PrivateRandom(4):
        trained = objective.loss(objective(x)).item()
    assert -objective.score(x, 4, "fp32") == pytest.approx(trained, rel=1e-5)


def test_beta_rises_over_the_warm_up():
    with PrivateRandom(0):
        objective = VariationalObjective(VAE(3, 2, hidden=(4,)), Bound(beta=3.0, warmup=4))
    seen = []
    objective.of = lambda x, beta: seen.append(beta) or torch.zeros(1)
    for _ in range(6):
        objective(torch.zeros(1, 3))
    assert seen == pytest.approx([0.75, 1.5, 2.25, 3, 3, 3])


class Killed(Exception):
    pass


def test_a_killed_run_goes_on_to_the_same_bits_warm_up_and_average_too(tmp_path, monkeypatch):
    options = {**QUICK, "epochs": 5, "kl_warmup": 0.9, "dropout": 0.1}
    whole = rb.VariationalAutoencoder(**options, plan=rb.Plan(early_stopping=True)).fit(BITS)
    resumed = rb.VariationalAutoencoder(**options, plan=rb.Plan(early_stopping=True, checkpoint=str(tmp_path / "c")))
    scores = VariationalObjective.score

    def die(self, *arguments):
        die.count += 1
        if die.count == 3:
            raise Killed
        return scores(self, *arguments)

    die.count = 0
    monkeypatch.setattr(VariationalObjective, "score", die)
    with pytest.raises(Killed):
        resumed.fit(BITS)
    monkeypatch.setattr(VariationalObjective, "score", scores)
    resumed.fit(BITS)
    assert resumed.n_iter_ == 5
    assert (resumed.transform(BITS) == whole.transform(BITS)).all()


def test_the_summary_says_what_is_used_and_when_nothing_is():
    model = rb.VariationalAutoencoder(**{**QUICK, "epochs": 20}).fit(BITS)
    assert f"{len(model.used_units())} of 4 code units in use" in str(model.summary())
    assert "PCA" in str(model.summary())
    collapsed = rb.VariationalAutoencoder(**QUICK, beta=100.0).fit(BITS)
    assert "NOT USED (posterior collapse)" in str(collapsed.summary())


def test_bad_input():
    model = rb.VariationalAutoencoder(**QUICK)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        model.sample(3)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        model.transform(BITS)
    with pytest.raises(DataError, match=r"X holds 5; expected only 0 and 1 .* Use X > 0.5, or likelihood='gaussian'"):
        rb.VariationalAutoencoder(**QUICK, likelihood="bernoulli").fit(DIGITS.data)
    with pytest.raises(DataError, match=r"Use X > 127\.5"):
        grey = np.random.default_rng(0).integers(0, 256, (9, 8, 8), np.uint8)
        rb.VariationalAutoencoder(**QUICK, likelihood="bernoulli").fit(grey)
    with pytest.raises(DataError, match="one sample; expected at least two"):
        model.fit(BITS[:1])
    with pytest.raises(DataError, match="all 300 samples are equal"):
        model.fit(np.zeros((300, 4)))
    with pytest.raises(ParameterError, match="expected samples=1"):
        rb.VariationalAutoencoder(free_bits=0.1, samples=5).fit(BITS)
    with pytest.raises(ParameterError, match="belongs to 'gaussian'"):
        rb.VariationalAutoencoder(noise=0.1, likelihood="bernoulli").fit(BITS)
    with pytest.raises(ParameterError, match="expected two integers"):
        rb.VariationalAutoencoder(network="convolutional", hidden_layer_sizes=9).fit(PICTURES)
    with pytest.raises(LabelError, match=r"expected one label a sample\. Pass y"):
        rb.VariationalAutoencoder(**QUICK, conditional=True).fit(BITS)
    model.fit(BITS)
    with pytest.raises(DataError, match="expected only 0 and 1"):
        model.transform(BITS * 0.5)
    with pytest.raises(ShapeError, match=r"codes of shape \(1, 3\); expected \(n_samples, 4\)"):
        model.inverse_transform(np.zeros((1, 3)))
    with pytest.raises(ParameterError, match="conditional=False; expected no labels"):
        model.sample(2, y=1)
    for asked in (0, -1, 2.5):
        with pytest.raises(ParameterError, match="integer >= 1"):
            model.sample(asked)
        with pytest.raises(ParameterError, match="integer >= 1"):
            model.score_samples(BITS, samples=asked)
    with pytest.raises(ParameterError, match="expected numbers from 0 to 3"):
        model.traverse(units=[4])
    with pytest.raises(ParameterError, match="integer >= 2"):
        model.interpolate(BITS[0], BITS[1], steps=1)
    labelled = rb.VariationalAutoencoder(**QUICK, conditional=True).fit(BITS, Y)
    with pytest.raises(LabelError, match="the model is conditional"):
        labelled.sample(2)
    with pytest.raises(LabelError, match=r"label .*11.* \(row 0\), unseen at fit"):
        labelled.sample(2, y=11)
    with pytest.raises(ShapeError, match="or one for all"):
        labelled.sample(2, y=[1, 2, 3])


def test_pictures_of_the_inside():
    model = rb.VariationalAutoencoder(**{**QUICK, "code_size": 2, "conditional": True}).fit(PICTURES, Y)
    names = {"learning_curves", "code_map", "reconstructions", "samples", "traversal", "code_grid"}
    assert set(model.inspect(PICTURES, Y)) == names
    assert set(model.inspect(PICTURES)) == {"learning_curves", "samples", "traversal", "code_grid"}


def test_command_line(tmp_path):
    import json

    from typer.testing import CliRunner

    from rosenblatt.cli import app

    def run(*words):
        done = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    out, quick = tmp_path / "m.safetensors", ("--epochs", 1, "--random-state", 0, "--verbose", 0, "--code-size", 2)
    done = json.loads(run("train", "vae", "digits", "-o", out, "--conditional", "--json", *quick))
    assert {"nats", "bits_per_dim", "n"} == set(done["held_out"])
    made = json.loads(
        run("sample", out, "--count", 3, "--label", 7, "--random-state", 0, "--option", "noisy=true", "--json")
    )
    assert np.shape(made["samples"])[0] == 3
    assert len(run("sample", out, "--count", 2, "--label", 7).splitlines()) == 2
    run("sample", out, "--count", 5, "--label", 1, "-o", tmp_path / "s.npy")
    assert len(np.load(tmp_path / "s.npy")) == 5
    assert "nats" in run("evaluate", out, "digits")

    from PIL import Image

    folder = tmp_path / "pictures"
    for i, picture in enumerate(PICTURES[:24]):
        (folder / str(Y[i] % 2)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture).save(folder / str(Y[i] % 2) / f"{i}.png")
    own = ("--network", "convolutional", "--hidden-layer-sizes", "4,8", "--force")
    run("train", "vae", folder, "-o", out, *quick, *own)
    run("sample", out, "--count", 5, "-o", tmp_path / "s.png")
    with Image.open(tmp_path / "s.png") as drawn:
        assert drawn.size == (24, 16)
    with pytest.raises(ParameterError, match="forecasts nothing"):
        run("predict", out, folder, "--horizon", 3)
    assert run("predict", out, folder).startswith("code0,code1,score")
