"""What the pages say runs."""

import re
import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_universal_approximation_gets_closer_with_more_units(tmp_path):
    example = runpy.run_path(str(ROOT / "docs_src" / "universal_approximation.py"))
    errors = example["draw"](tmp_path / "u.png")
    assert errors[2] > 0.3
    assert errors[8] < 0.15
    assert errors[32] < 0.05
    assert (tmp_path / "u.png").stat().st_size > 10_000


def test_the_paths_of_the_page_sum_to_the_gradient(tmp_path):
    found = runpy.run_path(str(ROOT / "docs_src" / "paths.py"))["draw"](tmp_path / "p.png")
    assert sum(path.value for path in found.paths) == pytest.approx(found.gradient, rel=1e-9)


def test_the_page_of_backpropagation_draws_its_pictures(tmp_path):
    descent, rates = runpy.run_path(str(ROOT / "docs_src" / "descent.py"))["draw"](tmp_path)
    assert descent.diverged == ()
    assert descent.values["momentum"][-1] < descent.values["sgd"][-1]
    assert 1e-3 < rates.suggested < 0.1
    logistic, relu = runpy.run_path(str(ROOT / "docs_src" / "gradients.py"))["draw"](tmp_path / "gradient_norms.png")
    first, last = (logistic.history_[0]["gradient_norms"][f"layers.{layer}"] for layer in (0, 6))
    assert first < last / 1000
    assert relu.loss_ < logistic.loss_ / 5
    assert {path.name for path in tmp_path.iterdir()} == {"descent.png", "learning_rate.png", "gradient_norms.png"}


def test_the_page_of_attacks_draws_its_pictures(tmp_path):
    found = runpy.run_path(str(ROOT / "docs_src" / "attacks.py"))["draw"](tmp_path)
    shares = [row["robust_accuracy"] for row in found.curve]
    assert found.accuracy[0] > 0.9
    assert shares == sorted(shares, reverse=True)
    assert shares[-1] < 0.3
    assert {path.name for path in tmp_path.iterdir()} == {
        "attacks.png",
        "boundary.png",
        "robustness.png",
        "universal.png",
    }


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_the_wines_of_the_page_of_attacks():
    page = runpy.run_path(str(ROOT / "docs_src" / "attacked_tables.py"))
    recipe, X, free, held = page["attack"]()
    assert held.accuracy > 0.95
    assert (free.robust_accuracy, held.robust_accuracy) == (
        pytest.approx(0.43, abs=0.06),
        pytest.approx(0.67, abs=0.06),
    )
    names = recipe.feature_names
    still = [names.index(name) for name in page["HELD"]]
    assert (held.adversarial[:, still] == X[:, still]).all()
    for column in (recipe.columns[names.index(name)] for name in page["WHOLE"]):
        grown = held.adversarial[:, names.index(column.name)].astype(float) * column.deviation + column.mean
        assert abs(grown - grown.round()).max() < 1e-3


def test_the_hidden_gradients_of_the_page_of_attacks():
    page = runpy.run_path(str(ROOT / "docs_src" / "hidden_gradients.py"))
    for name, (right, seeming, true) in page["measure"](count=15, epochs=3, steps=4).items():
        if name == "median of 3 x 3":  # it has a gradient of its own
            continue
        assert right > 0.6, name
        assert true <= seeming, name
        assert name == "nothing" or seeming > right - 0.3, name  # of fifteen digits


@pytest.mark.data("mnist")
def test_the_patches_of_the_page_of_attacks(tmp_path):
    found = runpy.run_path(str(ROOT / "docs_src" / "patches.py"))["draw"](
        tmp_path, train=1000, count=50, epochs=1, steps=3
    )
    assert found["patch"].success_rate[0] > 0.05
    assert (tmp_path / "patch.png").stat().st_size > 5_000


def test_the_page_of_defences_draws_its_picture(tmp_path):
    curves, proof = runpy.run_path(str(ROOT / "docs_src" / "defences.py"))["draw"](
        tmp_path, count=30, draws=100, epochs=5, radii=[0.15]
    )
    assert curves["pgd"][0] > 0.6
    assert curves["pgd"][1] > curves["plain"][1]
    assert proof.accuracy_at(0.1) > 0.5
    assert (tmp_path / "defences.png").exists()


def test_the_forecast_of_the_page_of_attacks(tmp_path):
    found = runpy.run_path(str(ROOT / "docs_src" / "attacked_forecast.py"))["draw"](tmp_path / "f.png")
    assert found.error == (pytest.approx(0.105, abs=0.03), pytest.approx(0.27, abs=0.07))
    assert found.noise == pytest.approx(0.117, abs=0.03)
    assert (tmp_path / "f.png").stat().st_size > 10_000


def test_the_reviews_of_the_page_of_attacks():
    texts, found = runpy.run_path(str(ROOT / "docs_src" / "attacked_texts.py"))["attack"]()
    broken = {name: int(result.success.sum()) for name, result in found.items()}
    assert found["any word"].accuracy > 0.95
    assert broken["any word"] > 90
    assert broken["any word"] > broken["at random"] > 75
    assert broken["synonyms"] < 5
    assert sum(a != b for a, b in zip(texts, found["any word"].adversarial, strict=True)) >= broken["any word"]


def test_pages_link_to_what_exists():
    for page in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]:
        for target in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_every_page_is_in_the_site():
    site = (ROOT / "mkdocs.yml").read_text()
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name in site, f"{page.name} is not in mkdocs.yml"


def test_the_readme_names_the_two_commands():
    readme = (ROOT / "README.md").read_text()
    assert "make demo" in readme
    assert "make test" in readme


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_a_convnet_minds_moved_digits_less_than_an_mlp(tmp_path):
    import numpy as np
    from sklearn.datasets import load_digits

    digits = load_digits()
    X = (digits.images * 15).astype(np.uint8)
    example = runpy.run_path(str(ROOT / "docs_src" / "invariance.py"))
    split = (X[:1200], digits.target[:1200], X[1200:], digits.target[1200:])
    found = example["measure"](*split, shifts=(0, 1), seeds=1, epochs=3, few=100)
    assert found["by_shift"]["convnet"][0][1] > found["by_shift"]["MLP"][0][1] + 0.05
    assert set(found["by_pool"]) == {"max", "mean", "stride"}
    example["draw"](found, tmp_path / "i.png")
    assert (tmp_path / "i.png").stat().st_size > 10_000


def test_the_pictures_of_the_autoencoders(tmp_path):
    errors = runpy.run_path(str(ROOT / "docs_src" / "autoencoder.py"))["draw"](tmp_path / "a.png", epochs=60)
    assert errors["Autoencoder, 8 numbers"] < errors["PCA, 8 numbers"]
    nats = runpy.run_path(str(ROOT / "docs_src" / "vae.py"))["draw"](tmp_path / "v.png", epochs=10)
    assert -64 * 0.6932 < nats < 0
    assert (tmp_path / "a.png").stat().st_size > 5_000
    assert (tmp_path / "v.png").stat().st_size > 5_000


def test_the_pages_of_recurrent_networks_draw_and_learn(tmp_path):
    flow = runpy.run_path(str(ROOT / "docs_src" / "gradient_flow.py"))["draw"](tmp_path / "flow.png")
    left = {name: found[0] / found[-1] for name, found in flow.items()}
    assert left["Elman, usual start"] < 1e-15
    assert left["LSTM, forget gate at 0.50"] < 1e-12 < 1e-8 < left["LSTM, forget gate at 0.73"] < 1e-3
    assert left["LSTM, forget gate at 0.98"] > 0.1
    page = runpy.run_path(str(ROOT / "docs_src" / "language.py"))
    text = page["sources"](10_000)
    assert "import" in text
    model = page["learn"](text, hidden_size=16, epochs=1, verbose=0)
    assert model.validation_loss_ < 4.6
    assert set(page["compare"](text, tmp_path / "g.png", hidden_size=8, context=16, epochs=1)) == {
        "elman",
        "gru",
        "lstm",
    }
    assert (tmp_path / "g.png").stat().st_size > 10_000
