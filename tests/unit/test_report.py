import base64
import html
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch import nn

import rosenblatt as rb
from rosenblatt import report
from rosenblatt.eras import history
from rosenblatt.errors import DataError, LabelError, NotFittedError, OutputError, ParameterError, ShapeError
from rosenblatt.estimators.alignment import Alignment
from rosenblatt.report.canvas import mosaic, write_figure
from rosenblatt.report.translation import attention_picture

DIGITS = load_digits()
X, Y = DIGITS.images[:300], DIGITS.target[:300]
FLAT = DIGITS.data[:300] / 16


@pytest.fixture(scope="module", params=["quick", "lenet5"])
def cnn(request):
    return rb.CNNClassifier(network=request.param, epochs=1, batch_size=64, random_state=0, verbose=0).fit(X, Y)


@pytest.fixture(scope="module")
def mlp():
    return rb.MLPClassifier((12, 6), solver="lbfgs", tol=0.1, alpha=1.0, random_state=0).fit(FLAT, Y)


@pytest.fixture(scope="module")
def perceptron():
    return rb.Perceptron(random_state=0).fit(FLAT, Y)


class Fixed:
    """A classifier that says what it is told."""

    classes_ = np.array([0, 1, 2])

    def __init__(self, chances):
        self.chances = np.array(chances)

    def predict_proba(self, X):
        return self.chances[: len(X)]


def drawn(figure):
    figure.canvas.draw()
    assert figure.axes
    return figure


def texts(axes):
    return [text.get_text() for text in axes.texts]


# --------------------------------------------------------------------------------------------------------- confusion


def test_confusion_counts():
    figure = drawn(report.confusion([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2]))
    assert texts(figure.axes[0]) == ["2", "1", "0", "0", "1", "1", "0", "0", "1"]
    share = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(share, [[2 / 3, 1 / 3, 0], [0, 1 / 2, 1 / 2], [0, 0, 1]])


def test_confusion_keeps_the_order_of_labels():
    figure = drawn(report.confusion(["b", "a"], ["b", "b"], labels=["b", "a", "c"]))
    assert texts(figure.axes[0]) == ["1", "0", "0", "1", "0", "0", "0", "0", "0"]
    assert [t.get_text() for t in figure.axes[0].get_yticklabels()] == ["b", "a", "c"]


def test_confusion_refuses():
    with pytest.raises(ShapeError, match="2 true and 1 predicted"):
        report.confusion([0, 1], [0])
    with pytest.raises(LabelError, match="the label 7 is not in labels"):
        report.confusion([0, 1], [0, 7], labels=[0, 1])


def test_many_classes_and_odd_labels_are_drawn():
    many = np.arange(60)
    assert not texts(drawn(report.confusion(many, many)).axes[0])
    drawn(report.confusion(["$x^$", "a\nb"], ["$\\no$", "a\nb"]))


# ---------------------------------------------------------------------------------------------------------- mistakes


def test_worst_mistakes_are_the_surest_wrong_answers():
    model = Fixed([[0.9, 0.1, 0], [0.2, 0.7, 0.1], [0, 0.05, 0.95], [0.5, 0.4, 0.1], [0.3, 0.3, 0.4]])
    y = [0, 0, 1, 2, 2]
    rows, predicted, sure = report.most_confident_mistakes(model, np.zeros((5, 4, 4)), y)
    assert (rows.tolist(), predicted.tolist(), sure.tolist()) == ([2, 1, 3], [2, 1, 0], [0.95, 0.7, 0.5])
    figure = drawn(report.worst_mistakes(model, np.arange(80.0).reshape(5, 4, 4), y, n=2))
    assert [axes.get_title() for axes in figure.axes] == ["is 1\nsaid 2\n95.0 %", "is 0\nsaid 1\n70.0 %"]


def test_worst_mistakes_of_a_network(mlp):
    rows, predicted, sure = report.most_confident_mistakes(mlp, FLAT, Y)
    wrong = np.flatnonzero(mlp.predict(FLAT) != Y)
    assert sorted(rows.tolist()) == wrong.tolist()
    assert (np.diff(sure) <= 0).all()
    assert (predicted == mlp.predict(FLAT)[rows]).all()


def test_no_mistakes_and_bad_calls(perceptron):
    right = Fixed([[1.0, 0, 0]] * 3)
    assert texts(drawn(report.worst_mistakes(right, np.zeros((3, 4, 4)), [0, 0, 0])).axes[0]) == [
        "No mistakes among 3 samples."
    ]
    with pytest.raises(ParameterError, match="Perceptron has no predict_proba"):
        report.worst_mistakes(perceptron, FLAT, Y)
    with pytest.raises(ShapeError, match="3 samples and y 2 labels"):
        report.worst_mistakes(right, np.zeros((3, 4, 4)), [0, 0])
    with pytest.raises(ShapeError, match="expected pictures"):
        report.worst_mistakes(right, np.zeros((3, 5)), [0, 0, 0])
    with pytest.raises(ParameterError, match="n=0"):
        report.worst_mistakes(right, np.zeros((3, 4, 4)), [0, 0, 0], n=0)


# ------------------------------------------------------------------------------------------------------------ curves


def test_learning_curves():
    rows = [{"epoch": e, "loss": 1 / e, "seconds": 1.0, "learning_rate": 0.1, "validation_score": 0.5} for e in (1, 2)]
    figure = drawn(report.learning_curves(rows))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Loss", "Validation score"]
    np.testing.assert_array_equal(figure.axes[0].lines[0].get_xydata(), [[1, 1], [2, 0.5]])
    assert texts(drawn(report.learning_curves([])).axes[0]) == ["No epochs were recorded."]


# ------------------------------------------------------------------------------------------------------------ inside


def test_mosaic_places_its_tiles():
    whole = mosaic(np.stack([np.full((2, 2), k) for k in range(3)]), 2)
    np.testing.assert_array_equal(whole[0], [0, 0, np.nan, 1, 1])
    np.testing.assert_array_equal(whole[4], [2, 2, np.nan, np.nan, np.nan])


def test_filters_of_a_convolution(cnn):
    figure = drawn(report.filters(cnn))
    count, _, height, width = next(p for p in cnn.module_.parameters() if p.ndim == 4).shape
    assert figure.axes[0].get_title(loc="left") == f"{count} filters of {height} x {width}"
    shown = figure.axes[0].images[0].get_array()
    np.testing.assert_allclose(shown[:height, :width], cnn.module_.state_dict()[_first(cnn)][0, 0].numpy())


def _first(model):
    return next(name for name, value in model.module_.state_dict().items() if value.ndim == 4)


@pytest.mark.parametrize("channels", [2, 3])
def test_filters_of_colour_pictures(channels):
    with torch.random.fork_rng():
        figure = drawn(report.filters(nn.Sequential(nn.Conv2d(channels, 4, 3))))
    assert f"{channels} channels" in figure.axes[0].get_title(loc="left")


def test_weights_as_pictures(mlp, perceptron):
    shown = drawn(report.filters(mlp)).axes[0].images[0].get_array()
    np.testing.assert_allclose(shown[:8, :8], mlp.coefs_[0][:, 0].reshape(8, 8), rtol=1e-6)
    figure = drawn(report.filters(perceptron))
    assert [axes.get_title(loc="left") for axes in figure.axes] == [str(c) for c in range(10)]
    np.testing.assert_allclose(figure.axes[3].images[0].get_array(), perceptron.coef_[3].reshape(8, 8), rtol=1e-6)
    assert drawn(report.filters(perceptron, shape=(4, 16))).axes[0].images[0].get_array().shape == (4, 16)
    two = rb.Perceptron(random_state=0).fit(FLAT, Y == 3)
    assert drawn(report.filters(two)).axes[0].get_title(loc="left") == "True against False"


def test_filters_refuse(perceptron):
    with pytest.raises(ShapeError, match=r"shape=\(3, 3\) makes 9 inputs; expected 64"):
        report.filters(perceptron, shape=(3, 3))
    with pytest.raises(ShapeError, match="13 inputs are no square picture"):
        report.filters(rb.Perceptron().fit(FLAT[:, 20:33], Y))
    with pytest.raises(ParameterError, match="got a int"):
        report.filters(3)
    with pytest.raises(ParameterError, match="no convolution and no dense layer"):
        report.filters(nn.ReLU())
    with pytest.raises(NotFittedError):
        report.filters(rb.CNNClassifier())


def test_feature_maps(cnn):
    figure = drawn(report.feature_maps(cnn, X[0]))
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    if cnn.network == "lenet5":
        assert titles == [
            "C1, sums: 6 maps of 28 x 28", "S2: 6 maps of 14 x 14",
            "C3, sums: 16 maps of 10 x 10", "S4: 16 maps of 5 x 5",
        ]  # fmt: skip
    else:
        assert titles == ["Block 1: 32 maps of 8 x 8", "Block 2: 64 maps of 4 x 4", "Block 3: 128 maps of 2 x 2"]
        batch = cnn._preparation()(torch.from_numpy(X[:1].astype(np.float32))[:, None])
        with torch.no_grad():
            expected = cnn.module_.features[0](batch)[0, 0].numpy()
        np.testing.assert_allclose(figure.axes[0].images[0].get_array()[:8, :8], expected, atol=1e-5)
    assert not any(part._forward_hooks for part in cnn.module_.modules()), "hooks are taken off again"


def test_feature_maps_refuse(cnn, mlp):
    with pytest.raises(ShapeError, match=r"feature_maps: pictures of shape \(6, 8, 1\)"):
        report.feature_maps(cnn, X[0][:6])
    with pytest.raises(ParameterError, match="got a MLPClassifier; expected a fitted CNNClassifier"):
        report.feature_maps(mlp, X[0])


def test_dead_units_are_found(mlp):
    model = rb.MLPClassifier((12, 6), solver="lbfgs", tol=0.1, alpha=1.0, random_state=0).fit(FLAT, Y)
    before = report.dead_units(model, FLAT)
    model.coefs_[0][:, :4] = 0
    model.intercepts_[0][:4] = -1
    after = report.dead_units(model, FLAT)
    assert before == report.dead_units(mlp, FLAT)
    assert after[0] >= 4
    assert f"12 units, {after[0]} dead" in drawn(report.activations(model, FLAT)).axes[0].get_title(loc="left")
    with pytest.raises(DataError, match="one sample"):
        report.dead_units(model, FLAT[:1])
    with pytest.raises(ParameterError, match="expected an MLPClassifier"):
        report.dead_units(rb.Perceptron().fit(FLAT, Y), FLAT)


def test_inspect(cnn, mlp, perceptron):
    names = ["filters", "feature_maps", "receptive_fields", "class_pictures", "saliency", "gradient_norms"]
    names += ["learning_curves"]
    assert list(report.inspect_pictures(cnn, X)) == names
    assert list(report.inspect_pictures(mlp, FLAT)) == ["weights", "activations"]
    assert list(report.inspect_pictures(perceptron, FLAT)) == ["weights", "learning_curves"]
    narrow = rb.Perceptron().fit(FLAT[:, 20:33], Y)
    drawn(report.inspect_pictures(narrow, FLAT[:, 20:33])["weights"])
    with pytest.raises(ParameterError, match="got a Pipeline"):
        report.inspect_pictures(rb.shallow_baseline(), FLAT)
    with pytest.raises(NotFittedError):
        report.inspect_pictures(rb.Perceptron(), FLAT)
    with pytest.raises(ShapeError):
        report.inspect_pictures(cnn, X[:, :6])


# -------------------------------------------------------------------------------------------------------------- html


class Page(HTMLParser):
    """Open tags in order; refuses tags that are closed wrongly."""

    EMPTY = ("meta", "img", "br", "hr", "link")

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.images = [], [], []
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag == "img":
            self.images.append(dict(attrs))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def refers_elsewhere(text):
    """Addresses that a browser would load: anything but data inside the page."""
    found = re.findall(r"""(?:src|href|srcset|action|data)\s*=\s*["']?([^"'\s>]+)""", text)
    found += re.findall(r"url\(([^)]*)\)", text) + re.findall(r"@import\s+(\S+)", text)
    return [address for address in found if not address.strip("'\"").startswith(("data:", "#"))]


def test_page_is_one_file(tmp_path):
    figure = report.confusion([0, 1], [0, 1])
    path = report.write_html(tmp_path / "a.html", "T", [report.Section("H", ["p"], figure, "two classes")])
    text = path.read_text()
    page = Page(text)
    assert text.startswith("<!DOCTYPE html>")
    assert page.tags.count("h1") == page.tags.count("title") == 1
    assert [image["alt"] for image in page.images] == ["two classes"]
    assert not refers_elsewhere(text)
    assert "script" not in page.tags
    assert "prefers-color-scheme: dark" in text


def test_pictures_in_the_page_refer_nowhere_and_are_repeatable():
    from rosenblatt.report.html import svg

    model = rb.Perceptron(random_state=0).fit(FLAT, Y)
    one, two = svg(report.filters(model)), svg(report.filters(model))
    assert one == two
    assert not refers_elsewhere(one.decode())
    assert b"currentColor" in one


def test_texts_are_escaped(tmp_path):
    evil = "<script>alert('x')</script>\"&"
    figure = report.confusion([evil, "b"], [evil, "b"])
    section = report.Section(evil, [evil], figure, evil, evil, (evil,), ((evil,),))
    text = report.write_html(tmp_path / "a.html", evil, [section]).read_text()
    page = Page(text)
    assert "script" not in page.tags
    assert "<script" not in text
    assert text.count(html.escape(evil)) == 8
    assert page.images[0]["alt"] == evil


def test_an_output_that_exists_is_refused(tmp_path):
    path = tmp_path / "a.html"
    path.write_text("mine")
    with pytest.raises(OutputError, match="exists already"):
        report.write_html(path, "T", [])
    assert path.read_text() == "mine"
    report.write_html(path, "T", [], overwrite=True)
    assert "mine" not in path.read_text()


def test_a_figure_needs_words(tmp_path):
    with pytest.raises(ParameterError, match="no alt text"):
        report.write_html(tmp_path / "a.html", "T", [report.Section(figure=report.confusion([0], [0]))])
    assert not list(tmp_path.iterdir())


def test_pixels_and_sound_are_in_the_page_and_need_words(tmp_path):
    pixels = np.zeros((5, 7, 3), np.uint8)
    section = report.Section("<b>A song", pictures=[(pixels, 'a "black" box')], sound=b"RIFF")
    text = report.write_html(tmp_path / "a.html", "T", [section]).read_text()
    assert 'width="7" height="5" alt="a &quot;black&quot; box"' in text
    assert (
        f'<audio controls src="data:audio/wav;base64,{base64.b64encode(b"RIFF").decode()}" aria-label="&lt;b&gt;A song">'
        in text
    )
    assert "autoplay" not in text
    assert "media-src data:" in text
    assert not refers_elsewhere(text)
    with pytest.raises(ParameterError, match="a picture has no alt text"):
        report.write_html(tmp_path / "b.html", "T", [report.Section(pictures=[(pixels, " ")])])


def test_words_that_no_font_has_are_drawn_without_a_warning(tmp_path):
    words = ("one", "\x0f", "\u0712\u4e00")  # a control character, Syriac, Chinese: pieces of bytes can make any
    figure = attention_picture(Alignment(words, words, np.eye(3), 0.0))
    shown = [label.get_text() for label in figure.axes[0].get_xticklabels()]
    assert shown == ["one", r"\x0f", "\u0712\u4e00"]
    assert write_figure(figure, tmp_path / "a.png", dpi=50, overwrite=False).stat().st_size > 1000


def test_demo_report(tmp_path):
    labels = np.where(Y[:120] < 5, "<b>low", "high&")
    ladder = history(X[:120], labels, seeds=2, epochs={"mlp": 3, "lenet5": 1, "quick": 1}, verbose=0)
    path = report.demo_report(ladder, tmp_path / "demo.html")
    text = path.read_text()
    page = Page(text)
    assert not refers_elsewhere(text)
    assert "b" not in page.tags
    assert len(page.images) >= 10
    assert all(image["alt"] for image in page.images)
    assert page.tags.count("tr") == 6
    with pytest.raises(OutputError, match="exists already"):
        report.demo_report(ladder, path)


def test_demo_report_of_a_table(tmp_path):
    ladder = history(FLAT[:, 20:33], Y, seeds=1, epochs={"mlp": 3}, verbose=0)
    text = report.demo_report(ladder, tmp_path / "demo.html").read_text()
    assert "Left out: LeNet-5 (1998)" in text
    assert "What the hidden units look for" not in text
    assert len(Page(text).images) == 3  # the ladder, the hidden units' answers, the confusion matrix
