import numpy as np
import pytest
import torch
from torch import nn

import rosenblatt as rb
from rosenblatt.errors import DataError, FetchError, ParameterError, ShapeError
from rosenblatt.metrics import extractors
from rosenblatt.metrics.distribution import Moments, frechet_distance, kernel_distance, precision_recall
from rosenblatt.metrics.extractors import extractor, fingerprint
from rosenblatt.metrics.generated import judge, real_features
from rosenblatt.models.inception import Inception


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("ROSENBLATT_DATA", raising=False)


def pictures(seed, count=40, side=16, channels=3):
    return np.random.default_rng(seed).integers(0, 256, (count, side, side, channels), np.uint8)


def covariance(seed, size):
    root = np.random.default_rng(seed).normal(size=(size, size))
    return root @ root.T


def test_frechet_distance_of_commuting_gaussians_is_the_closed_form():
    rng = np.random.default_rng(0)
    vectors = np.linalg.qr(rng.normal(size=(6, 6)))[0]
    a, b, shift = rng.uniform(0.1, 3, 6), rng.uniform(0.1, 3, 6), rng.normal(size=6)
    one = Moments(np.zeros(6), (vectors * a) @ vectors.T, 10)
    two = Moments(shift, (vectors * b) @ vectors.T, 10)
    expected = shift @ shift + ((np.sqrt(a) - np.sqrt(b)) ** 2).sum()
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-9)


def test_frechet_distance_equals_scipys_matrix_root_and_is_symmetric():
    from scipy.linalg import sqrtm

    one, two = Moments(np.zeros(5), covariance(1, 5), 9), Moments(np.ones(5), covariance(2, 5), 9)
    expected = 5 + np.trace(one.covariance + two.covariance - 2 * sqrtm(one.covariance @ two.covariance).real)
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-8)
    assert frechet_distance(two, one) == pytest.approx(expected, rel=1e-8)


def test_frechet_distance_survives_a_singular_covariance():
    rank_one = Moments(np.zeros(4), np.ones((4, 4)), 9)
    assert frechet_distance(rank_one, rank_one) == pytest.approx(0, abs=1e-9)


def test_moments_are_numpys():
    x = np.random.default_rng(0).normal(size=(50, 4))
    found = Moments.of(x)
    np.testing.assert_allclose(found.covariance, np.cov(x.T))
    assert found.count == 50


def test_kernel_distance_is_the_sum_over_pairs():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 3)), rng.normal(size=(7, 3)) + 1

    def kernel(a, b):
        return (a @ b / 3 + 1) ** 3

    within = sum(kernel(s[i], s[j]) for s in (x, y) for i in range(7) for j in range(7) if i != j) / 42
    between = sum(kernel(a, b) for a in x for b in y) / 49
    value, error = kernel_distance(x, y)
    assert value == pytest.approx(within - 2 * between)
    assert error == 0


def test_kernel_distance_is_unbiased():
    rng = np.random.default_rng(0)
    draws = [kernel_distance(rng.normal(size=(30, 4)), rng.normal(size=(30, 4)))[0] for _ in range(300)]
    assert abs(np.mean(draws)) < 3 * np.std(draws) / np.sqrt(300)
    assert min(draws) < 0 < max(draws)


def test_kernel_distance_over_subsets_has_an_error_and_a_seed():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 4)), rng.normal(size=(60, 4)) + 1
    one = kernel_distance(x, y, subsets=20, size=30, random_state=1)
    assert one == kernel_distance(x, y, subsets=20, size=30, random_state=1)
    assert one[1] > 0
    assert one[0] == pytest.approx(kernel_distance(x, y)[0], abs=6 * one[1])


def test_precision_and_recall_know_dropped_modes_and_bad_samples():
    rng = np.random.default_rng(0)
    left, right = rng.normal(size=(200, 2)), rng.normal(size=(200, 2)) + 50
    both = np.concatenate([left, right])
    dropped = precision_recall(both, rng.normal(size=(200, 2)))
    assert dropped.precision > 0.9
    assert dropped.recall == pytest.approx(0.5, abs=0.06)
    assert dropped.coverage == pytest.approx(0.5, abs=0.06)
    assert dropped.density == pytest.approx(1, abs=0.2)
    bad = precision_recall(both, np.concatenate([rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 500]))
    assert bad.precision == pytest.approx(0.5, abs=0.06)
    same = precision_recall(left, left)
    assert (same.precision, same.recall, same.coverage) == (1, 1, 1)


def test_wrong_features_are_refused():
    good = np.zeros((4, 2))
    with pytest.raises(ShapeError, match=r"features of shape \(4,\); expected N D"):
        Moments.of(np.zeros(4))
    with pytest.raises(DataError, match="1 sample; expected at least 2"):
        Moments.of(np.zeros((1, 2)))
    with pytest.raises(ShapeError, match="3 features against 2"):
        kernel_distance(good, np.zeros((4, 3)))
    with pytest.raises(ShapeError, match="3 features against 2"):
        frechet_distance(Moments.of(good), Moments.of(np.zeros((4, 3))))
    with pytest.raises(DataError, match="expected more than k=5"):
        precision_recall(good, good)
    with pytest.raises(ValueError, match="NaN"):
        Moments.of(np.full((4, 2), np.nan))


def test_inception_has_the_published_layers_and_shapes():
    with torch.device("meta"):
        net = Inception(1000)
        assert net(torch.zeros(1, 3, 299, 299)).shape == (1, 2048)
    # 23,834,568 parameters are published for the network without its auxiliary head
    assert sum(p.numel() for p in net.parameters()) == 23_834_568


def test_random_filters_are_the_same_everywhere():
    found = extractor("random")
    assert found.fingerprint == extractor("random").fingerprint
    first = np.random.Generator(np.random.PCG64(1958)).standard_normal() * np.sqrt(2 / 27)
    module = extractors.RandomFeatures()
    assert float(module.convolutions[0].weight[0, 0, 0, 0]) == pytest.approx(first, rel=1e-6)
    assert found(pictures(0)).shape == (40, 896)
    grey = pictures(0, channels=1)
    np.testing.assert_allclose(found(grey[..., 0]), found(grey.repeat(3, 3)), atol=1e-5)


def test_auto_takes_what_is_here_and_inception_says_where_to_put_it(monkeypatch):
    assert extractor("auto").name == "random filters"
    monkeypatch.setattr(extractors, "_INCEPTION", extractors.File("pt_inception.pth", 1, "6726825d", ()))
    with pytest.raises(FetchError, match=r"pt_inception\.pth"):
        extractor("inception")


def test_inception_reads_a_weight_file(tmp_path, monkeypatch):
    import hashlib

    with torch.random.fork_rng():
        net = Inception()
    path = tmp_path / "cache" / "inception" / "pt.pth"
    path.parent.mkdir(parents=True)
    torch.save(net.state_dict(), path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(extractors, "_INCEPTION", extractors.File("pt.pth", path.stat().st_size, digest, ()))
    found = extractor("auto")
    assert found.name.startswith("Inception")
    assert found.fingerprint == fingerprint(net)
    x = pictures(0, count=2, side=299)
    with torch.no_grad():
        expected = net.eval()(torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255).numpy()
    np.testing.assert_allclose(found(x), expected, rtol=1e-4, atol=1e-5)


def test_a_classifier_is_an_extractor():
    x = pictures(0, count=20, side=8, channels=1)[..., 0]
    model = rb.CNNClassifier(epochs=1, random_state=0, verbose=0).fit(x, [0, 1] * 10)
    found = extractor(model)
    features = found(x)
    last = [part for part in model.module_.modules() if isinstance(part, nn.Linear)][-1]
    assert features.shape == (20, last.in_features)
    logits = torch.from_numpy(features) @ last.weight.detach().float().T + last.bias.detach()
    assert (model.classes_[logits.argmax(1).numpy()] == model.predict(x)).all()
    with pytest.raises(ParameterError, match="without a dense layer"):
        extractor(type("Odd", (), {"module_": nn.ReLU(), "predict": None})())


def test_judge_prefers_the_same_distribution_and_says_what_it_used(tmp_path):
    dark = (pictures(0) // 4)[:20]
    good = judge(pictures(1), pictures(2), split="test")
    bad = judge(pictures(1)[:20], dark)
    assert good.fid < bad.fid
    assert good.kid < bad.kid
    said = str(good)
    for part in ("40 generated against 40 real (test)", "random filters", good.fingerprint, "64 x 64"):
        assert part in said
    assert good.row()["n_real"] == 40


def test_features_of_real_pictures_are_computed_once(tmp_path):
    base, calls = extractor("random"), []

    def counting(x):
        calls.append(len(x))
        return base.function(x)

    chosen = extractors.Extractor("counted", "0", "none", counting)
    one = real_features(pictures(0), chosen, cache=tmp_path)
    two = real_features(pictures(0), chosen, cache=tmp_path)
    np.testing.assert_array_equal(one, two)
    assert calls == [40]
    real_features(pictures(1), chosen, cache=tmp_path)
    assert calls == [40, 40]
    for file in (tmp_path / "features").iterdir():
        file.write_bytes(file.read_bytes()[:50])  # cut short: made anew, not believed
    np.testing.assert_array_equal(real_features(pictures(0), chosen, cache=tmp_path), one)
    assert calls == [40, 40, 40]


def test_judge_refuses_what_does_not_compare():
    with pytest.raises(ShapeError, match="expected one shape"):
        judge(pictures(0), pictures(0, side=8))
    with pytest.raises(ShapeError, match="expected as many columns"):
        judge(np.zeros((9, 2)), np.zeros((9, 3)))
    with pytest.raises(DataError, match="expected uint8, so that no scale is guessed"):
        judge(pictures(0) / 255.0, pictures(0) / 255.0)
    with pytest.raises(ParameterError, match="Did you mean 'inception'"):
        extractor("inceptoin")
