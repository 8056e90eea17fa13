"""The estimator and the commands of face swapping."""

import io
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import rosenblatt as rb
from rosenblatt.cli import consent as consent_module
from rosenblatt.data import face_detection
from rosenblatt.data.face_alignment import alignment, cut_out
from rosenblatt.data.provenance import read_manifest
from rosenblatt.data.video import read_video, write_video
from rosenblatt.errors import (
    CheckpointError,
    ConsentError,
    DamagedFileError,
    DataError,
    DivergedError,
    NonFiniteError,
    NotFittedError,
    ParameterError,
    PictureError,
    ShapeError,
)
from rosenblatt.estimators.face_frames import SwapCount
from rosenblatt.estimators.face_swap import oval
from rosenblatt.models.face_swap import FaceSwapper
from rosenblatt.train.face_swap import Distortion, SwapObjective
from rosenblatt.train.seeds import PrivateRandom

sys.path.insert(0, str(Path(__file__).parent))
import drawn_faces as drawn

SMALL = {"width": 8, "code_size": 8, "batch_size": 8, "random_state": 0, "verbose": 0, "learning_rate": 3e-3}
A, B = drawn.clip("A", 16), drawn.clip("B", 12, seed=1)


@pytest.fixture(scope="module")
def model():
    return rb.FaceSwap(epochs=30, **SMALL).fit(A, B, consent=True)


def weights(model):
    return {name: tensor.clone() for name, tensor in model.module_.state_dict().items()}


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


# --------------------------------------------------------------------------------------------------- aligned faces


def test_swapped_faces_have_the_other_skin_and_the_same_mouth(model):
    new = drawn.clip("A", 8, seed=5)
    out = model.transform(new, to="B")
    assert (out.shape, out.dtype) == (new.shape, np.uint8)
    cheeks = (slice(None), slice(14, 17), slice(8, 10))
    assert np.abs(out[cheeks].mean((0, 1, 2)) - drawn.SKIN["B"]).max() < 55  # half of what they differ by
    assert np.abs(model.transform(new, to="A")[cheeks].mean((0, 1, 2)) - drawn.SKIN["A"]).max() < 55
    found = model.judge(new, "B")
    assert found.identity is None
    assert "by chance" in str(found)
    opened = np.linspace(0.02, 0.12, 9)
    still = np.full((32, 32, 3), 90, np.uint8)
    mouths = np.stack([drawn.face(still.copy(), (15.5, 15.5), 32, "A", 0.0, m) for m in opened])
    drawn_mouths = model.transform(mouths, "B")[:, 18:30, 12:20, 1].mean((1, 2))  # the wider, the darker
    assert np.corrcoef(opened, drawn_mouths)[0, 1] < -0.8


def test_a_classifier_judges_the_identity(model):
    class BySkin:
        def predict(self, X):
            return np.where(X[:, 14:17, 8:10].mean((1, 2, 3)) > 140, "A", "B")

    new = drawn.clip("A", 8, seed=5)
    assert (BySkin().predict(new) == "A").all()
    found = model.judge(new, "B", classifier=BySkin())
    assert found.identity == 1.0
    assert found.row()["n"] == 8


def test_reconstructions_are_better_than_the_mean_face(model):
    new = (drawn.clip("A", 6, seed=7), drawn.clip("B", 6, seed=8))
    mean = np.mean(
        [rb.metrics.face_swap.picture_similarity(x, np.repeat(y.mean(0, keepdims=True), 6, 0).astype(np.uint8)).mean()
         for x, y in zip(new, (A, B), strict=True)]
    )  # fmt: skip
    assert model.score(*new) > mean + 0.02
    assert (model.reconstruct(new[0], "A") == model.transform(new[0], "A")).all()


def test_three_persons_and_floats_and_sides_that_differ():
    x = [np.random.default_rng(i).random((3 + i, 24, 16, 3)).astype(np.float32) for i in range(3)]
    model = rb.FaceSwap(epochs=1, **SMALL).fit(*x, names=["ann", "bob", "cy"], consent=True)
    out = model.transform(x[0], to="cy")
    assert (out.dtype, out.shape) == (np.float32, x[0].shape)
    assert (model.transform(x[0], to=2) == out).all()
    assert "ann, bob, cy" in str(model.summary())
    assert np.isfinite(model.score(*x))
    assert set(model.inspect(x[0])) == {"drawn", "learning_curves"}


def test_a_face_drawn_does_not_depend_on_its_neighbours(model):
    new = drawn.clip("A", 70, seed=5)
    np.testing.assert_allclose(model.transform(new)[66].astype(int), model.transform(new[66:67])[0], atol=1)


def test_the_loss_is_zero_for_the_faces_themselves_and_masks_are_learned():
    with PrivateRandom(0):
        faces = torch.randint(0, 256, (4, 4, 16, 16), dtype=torch.uint8)
        objective = SwapObjective(FaceSwapper((16, 16), 4, 4), faces, torch.tensor([0, 1, 0, 1]), Distortion(0.05, 0.1))
        seen, wanted = objective.distorted(torch.arange(4))
        parts = objective(torch.arange(4))
    parts = type(parts)(parts.raw.detach(), parts.wanted)
    exact = torch.logit(wanted.clamp(1e-6, 1 - 1e-6))
    good = objective.loss(parts._replace(raw=exact, wanted=wanted))
    assert float(good) < 0.1 < float(objective.loss(parts))
    assert seen.shape == (4, 3, 16, 16)
    # without a warp only colours differ, and at the end of the run nothing is warped
    objective.distortion, objective.progress = Distortion(0.05, 0.0), lambda: 0.9
    with PrivateRandom(1):
        seen, wanted = objective.distorted(torch.arange(4))
    torch.testing.assert_close(seen, wanted[:, :3], atol=1e-6, rtol=0)


def test_each_face_goes_through_its_own_decoder():
    with PrivateRandom(0):
        net = FaceSwapper((16, 16), 4, 4, identities=3).eval()
        x, to = torch.rand(5, 3, 16, 16), torch.tensor([2, 0, 1, 2, 0])
    with torch.no_grad():
        mixed = net(x, to)
        for number in range(3):
            rows = to == number
            torch.testing.assert_close(mixed[rows], net(x, number)[rows], atol=1e-5, rtol=1e-4)


# --------------------------------------------------------------------------------------------------- trust


def test_nothing_is_learned_or_drawn_without_consent(model, tmp_path):
    with pytest.raises(ConsentError, match="expected consent=True"):
        rb.FaceSwap(epochs=1, **SMALL).fit(A, B)
    with pytest.raises(ConsentError, match="consent='yes'"):
        rb.FaceSwap(epochs=1, **SMALL).fit(A, B, consent="yes")
    path = model.save(tmp_path / "m.safetensors")
    loaded = rb.load(path)
    with pytest.raises(ConsentError, match="every person shown agreed"):
        loaded.transform(A)
    assert (loaded.transform(A, consent=True) == model.transform(A)).all()
    assert (loaded.transform(A) == model.transform(A)).all()  # stated once
    assert issubclass(ConsentError, PermissionError)


def test_the_seed_decides(model):
    again = rb.FaceSwap(epochs=2, **SMALL)
    first = weights(again.fit(A, B, consent=True))
    assert same(first, weights(again.fit(A, B, consent=True)))
    assert not same(first, weights(rb.FaceSwap(epochs=2, **{**SMALL, "random_state": 1}).fit(A, B, consent=True)))


def test_a_killed_run_goes_on_bit_for_bit(tmp_path):
    whole = rb.FaceSwap(epochs=4, **SMALL).fit(A, B, consent=True)
    plan = rb.Plan(checkpoint=str(tmp_path / "c"))
    seen = []

    class Killed(BaseException):
        pass

    import rosenblatt.train.follow as following

    note = following.Followed.note

    def stop(self, record, *rest):
        seen.append(record.epoch)
        if record.epoch == 3 and seen.count(3) == 1:
            raise Killed
        return note(self, record, *rest)

    following.Followed.note = stop
    try:
        with pytest.raises(Killed):
            rb.FaceSwap(epochs=4, plan=plan, **SMALL).fit(A, B, consent=True)
        resumed = rb.FaceSwap(epochs=4, plan=plan, **SMALL).fit(A, B, consent=True)
    finally:
        following.Followed.note = note
    assert seen == [1, 2, 3, 3, 4]
    assert same(weights(whole), weights(resumed))
    assert [r["loss"] for r in resumed.history_] == [r["loss"] for r in whole.history_]
    with pytest.raises(CheckpointError, match="another run: faces"):
        rb.FaceSwap(epochs=4, plan=plan, **SMALL).fit(A, B[::-1].copy(), consent=True)


def test_divergence_is_said_and_the_last_good_weights_stay():
    model = rb.FaceSwap(epochs=3, **{**SMALL, "learning_rate": 1e18})
    with pytest.raises(DivergedError, match="Training diverged in epoch"):
        model.fit(A, B, consent=True)
    assert all(bool(t.isfinite().all()) for t in model.module_.state_dict().values())


def test_the_end_of_each_film_is_held_out_for_early_stopping():
    plan = rb.Plan(early_stopping=True, validation_fraction=0.25, patience=2)
    model = rb.FaceSwap(epochs=4, plan=plan, **SMALL).fit(A, B, consent=True)
    assert all(0 < row["validation_score"] <= 1 for row in model.history_)
    with pytest.raises(DataError, match="of which 1 would be held out"):
        rb.FaceSwap(epochs=1, plan=plan, **SMALL).fit(A[:2], B, consent=True)


def test_a_damaged_description_is_refused(model, tmp_path):
    loaded = rb.load(model.save(tmp_path / "m.safetensors"))
    loaded.identities_ = ["A", "A"]
    with pytest.raises(DamagedFileError, match="identities_ are"):
        rb.load(loaded.save(tmp_path / "bad.safetensors"))


# --------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("a", "b", "error", "words"),
    [
        (A[:1], B, DataError, "A holds one face"),
        (A, np.repeat(B[:1], 5, 0), DataError, "all 5 faces of B are equal"),
        (A, A.copy(), DataError, "the same faces as A"),
        (A, B[:, :24, :24], ShapeError, "expected one size"),
        ([*A[:3], A[0][:24, :24]], B, ShapeError, "pictures of 2 sizes"),
        (A[:, :30, :30], B, ShapeError, "multiples of 8"),
        (A[..., :1], B, ShapeError, "1 channels; expected 3"),
        (A.astype(np.float32), B, DataError, "expected floats from 0 to 1"),
        (A / 255 - 0.5, B / 255, DataError, "expected floats from 0 to 1"),
        (A / 255, B, DataError, "expected one type"),
        (np.where(A > 240, np.nan, A / 255), B / 255, NonFiniteError, "NaN"),
        (A.reshape(len(A), -1), B, ShapeError, "expected pictures N H W"),
    ],
)
def test_bad_faces_are_refused(a, b, error, words):
    with pytest.raises(error, match=words):
        rb.FaceSwap(epochs=1, **SMALL).fit(a, b, consent=True)


def test_bad_names_masks_and_parameters_are_refused():
    def fit(**options):
        return rb.FaceSwap(epochs=1, **SMALL).fit(A, B, consent=True, **options)

    with pytest.raises(ParameterError, match="as many, all different"):
        fit(names=["x", "x"])
    with pytest.raises(ShapeError, match="1 masks for 2 persons"):
        fit(masks=[None])
    with pytest.raises(ShapeError, match="masks of B"):
        fit(masks=[None, np.ones((2, 32, 32))])
    with pytest.raises(DataError, match="Divide by 255"):
        fit(masks=[np.full(A.shape[:3], 255), None])
    with pytest.raises(ParameterError, match="warp=3"):
        rb.FaceSwap(warp=3).fit(A, B, consent=True)
    assert fit(masks=[np.ones(A.shape[:3]), None]).n_iter_ == 1
    assert oval(32, 32).max() == 1
    assert oval(32, 32)[0].max() == 0


def test_questions_to_a_model_that_it_cannot_answer(model):
    with pytest.raises(NotFittedError, match="not fitted yet"):
        rb.FaceSwap().transform(A)
    with pytest.raises(ParameterError, match="to='C'; expected one of 'A', 'B'"):
        model.transform(A, to="C")
    with pytest.raises(ParameterError, match="to=2"):
        model.transform(A, to=2)
    with pytest.raises(ShapeError, match="as in fit"):
        model.transform(A / 255)
    with pytest.raises(ShapeError, match="3 sets; expected 2"):
        model.score(A, B, A)


# --------------------------------------------------------------------------------------------------- whole pictures


def test_a_swap_changes_the_face_alone_and_is_marked(model):
    frame = drawn.photo(side=60.0)
    out = model.swap(frame, detector=drawn.find, color="none", marked=False)
    place = alignment(drawn.points((70.0, 60.0), 60.0, 0.3), (32, 32))
    cut = np.rint(cut_out(out, place, (32, 32))).astype(np.uint8)
    assert np.abs(cut[14:17, 8:10].mean((0, 1)) - drawn.SKIN["B"]).max() < 45
    y, x = np.mgrid[:120, :150]
    far = np.hypot(x - 70, y - 60) > 45
    assert (out[far] == frame[far]).all()
    marked = model.swap(frame, detector=drawn.find, color="none")
    assert (marked[-12:, :40] != out[-12:, :40]).any()
    assert (marked[:90] == out[:90]).all()
    matched = model.swap(frame, detector=drawn.find, marked=False).astype(float)
    skin = (slice(57, 63), slice(54, 58))
    assert np.abs(matched[skin].mean() - frame[skin].mean()) < np.abs(out[skin].mean() - frame[skin].mean())


def test_pictures_without_a_face_or_with_two_are_refused_by_name(model):
    empty = np.full((40, 40, 3), 99, np.uint8)
    two = drawn.face(drawn.photo(angle=0.0, centre=(40.0, 60.0)), (115.0, 60.0), 50.0)
    with pytest.raises(PictureError, match="no face found in 1 of 2: picture 1"):
        model.swap([drawn.photo(), empty], detector=drawn.find)
    with pytest.raises(DataError, match="2 faces in picture 0"):
        model.swap(two, detector=drawn.find)
    one = model.swap(two, detector=drawn.find, several="largest", marked=False)
    both = model.swap(two, detector=drawn.find, several="all", marked=False)
    assert (one[:, 85:] == two[:, 85:]).all()
    assert (both[:, 100:130] != two[:, 100:130]).any()
    with pytest.raises(PictureError, match="no picture at all"):
        model.swap([], detector=drawn.find)
    with pytest.raises(ParameterError, match="color='rgb'"):
        model.swap(two, detector=drawn.find, color="rgb")


def test_frames_without_a_face_pass_unchanged_and_are_counted(model):
    empty = np.full((120, 150, 3), 99, np.uint8)
    film = [drawn.photo(), empty, drawn.photo(mouth=0.1), drawn.photo(centre=(72.0, 61.0))]
    count = SwapCount()
    out = list(model.swap_frames(film, detector=drawn.find, count=count))
    assert len(out) == 4
    assert (out[1] == empty).all()
    assert (count.frames, count.swapped, count.without, count.crowded) == (4, 3, [1], 0)
    with pytest.raises(ParameterError, match="steady=1"):
        model.swap_frames(film, detector=drawn.find, steady=1)
    two = drawn.face(drawn.photo(angle=0.0, centre=(40.0, 60.0)), (115.0, 60.0), 50.0)
    with pytest.raises(DataError, match="2 faces in frame 0"):
        list(model.swap_frames([two], detector=drawn.find, several="refuse"))


def test_trembling_points_are_steadied():
    from rosenblatt.data.face_detection import Face
    from rosenblatt.estimators.face_frames import _steadied

    points = drawn.points((70.0, 60.0), 60.0)
    mixed = _steadied(Face(points + 1), [Face(points)], 0.5)
    np.testing.assert_allclose(mixed.points, points + 0.5)
    jumped = _steadied(Face(points + 20), [Face(points)], 0.5)
    np.testing.assert_allclose(jumped.points, points + 20)


# --------------------------------------------------------------------------------------------------- command line


@pytest.fixture
def no_consent(monkeypatch, tmp_path):
    """A configuration folder of its own, and a detector that finds drawn faces."""
    path = tmp_path / "configuration" / "consent.json"
    monkeypatch.setattr(consent_module, "consent_file", lambda: path)
    for module in ("rosenblatt.data.face_detection", "rosenblatt.estimators.face_frames"):
        __import__(module)
        monkeypatch.setattr(sys.modules[module], "compact_detector", lambda: drawn.find)
    monkeypatch.setattr(face_detection, "compact_detector", lambda: drawn.find)
    return path


def write(folder, person):
    folder.mkdir()
    for i in range(6):
        frame = drawn.photo(person=person, mouth=0.03 + 0.01 * i, angle=0.05 * i)
        Image.fromarray(frame).save(folder / f"{i}.png")
    return folder


def test_the_command_line_asks_for_consent_once_and_writes_marked_files(run, no_consent, model, tmp_path):
    a, b = write(tmp_path / "ann", "A"), write(tmp_path / "bob", "B")
    out = tmp_path / "m.safetensors"
    words = ("train", "face-swap", a, b, "--out", out, "--size", 32, "--epochs", 1, "--width", 8, "--holdout", 0.3)
    refused = run(*words)
    assert refused.code == 2
    assert "ConsentError" in refused.err
    assert "--i-have-consent" in refused.err
    assert not out.exists()
    done = run(*words, "--i-have-consent", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["faces"] == {"ann": 6, "bob": 6}
    assert json.loads(done.out)["held_out"]["n"] == 4
    assert "agreed" in json.loads(no_consent.read_text())["statement"]
    done = run("swap", out, a / "0.png", "--out", tmp_path / "x.jpg", "--to", "bob")  # stated once
    assert done.code == 0, done.err
    assert read_manifest(tmp_path / "x.jpg")["assertions"][1]["data"]["drawn"] == "bob"
    pytest.importorskip("av")
    write_video(tmp_path / "f.mp4", [drawn.photo(), np.full((120, 150, 3), 99, np.uint8)])
    done = run("swap", out, tmp_path / "f.mp4", "--out", tmp_path / "g.mp4", "--json")
    assert done.code == 0, done.err
    assert {**json.loads(done.out), "seconds": 0, "out": ""} == {
        "out": "", "frames": 2, "swapped": 1, "without_a_face": 1, "more_than_one_face": 0, "marked": True, "seconds": 0,
    }  # fmt: skip
    assert len(list(read_video(tmp_path / "g.mp4"))) == 2
    assert read_manifest(tmp_path / "g.mp4")["assertions"][0]["label"] == "c2pa.actions"
    assert "from a picture" in run("swap", out, a / "0.png", "--out", tmp_path / "y.mp4").err
    assert "a manifest cannot be put into .bmp" in run("swap", out, a / "0.png", "--out", tmp_path / "y.bmp").err


def test_another_or_a_damaged_statement_does_not_count(no_consent, monkeypatch):
    no_consent.parent.mkdir(parents=True)
    for text in ("{", '{"statement": "no"}', "[]"):
        no_consent.write_text(text)
        monkeypatch.setattr(sys, "stdin", io.StringIO())
        with pytest.raises(ConsentError, match="consent of the persons shown"):
            consent_module.refuse_without_consent(False)
    consent_module.refuse_without_consent(True)
    consent_module.refuse_without_consent(False)


def test_on_a_terminal_only_yes_is_consent(no_consent, monkeypatch):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    answers = iter(["maybe", "yes"])
    monkeypatch.setattr(consent_module.typer, "prompt", lambda *_, **__: next(answers))
    with pytest.raises(ConsentError):
        consent_module.refuse_without_consent(False)
    consent_module.refuse_without_consent(False)
    assert no_consent.is_file()


def test_bad_folders_are_refused_by_name(run, no_consent, tmp_path):
    a, b = write(tmp_path / "a", "A"), tmp_path / "b"
    b.mkdir()
    words = ("train", "face-swap", a, b, "--out", tmp_path / "m", "--i-have-consent", "--epochs", 1, "--size", 32)
    assert "holds no pictures" in run(*words).err
    Image.fromarray(np.full((40, 40, 3), 99, np.uint8)).save(b / "empty.png")
    done = run(*words)
    assert "no face found in 1 picture" in done.err
    assert "empty.png" in done.err
    assert "expected a folder of pictures, or a film" in run(*words[:3], tmp_path / "none", *words[4:]).err
