"""Alignment, blending, marks and scores of faces."""

import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rosenblatt.data import face_detection
from rosenblatt.data.face_alignment import TEMPLATE, Similarity, alignment, cut_out, fit_similarity, put_back
from rosenblatt.data.face_blend import blend, feather, from_lab, match_statistics, to_lab
from rosenblatt.data.face_detection import Face, align_faces, find_faces
from rosenblatt.data.face_warp import random_field, random_similarity, recolour, warp
from rosenblatt.data.provenance import encode_marked, manifest, mark, read_manifest
from rosenblatt.data.video import write_video
from rosenblatt.errors import (
    DataError,
    MissingExtraError,
    NonFiniteError,
    OutputError,
    ParameterError,
    PictureError,
    ShapeError,
)
from rosenblatt.losses.structure import structural_similarity
from rosenblatt.metrics.face_swap import motion_kept, picture_similarity, points_kept
from rosenblatt.train.seeds import PrivateRandom

sys.path.insert(0, str(Path(__file__).parent))
import drawn_faces as drawn

# --------------------------------------------------------------------------------------------------- alignment


@settings(max_examples=30, deadline=None)
@given(
    angle=st.floats(-3.1, 3.1), scale=st.floats(0.05, 20), shift=st.tuples(st.floats(-500, 500), st.floats(-500, 500))
)
def test_a_similarity_is_found_again_and_its_inverse_is_exact(angle, scale, shift):
    matrix = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    true = Similarity(matrix, np.array(shift))
    found = fit_similarity(TEMPLATE * 64, true(TEMPLATE * 64))
    np.testing.assert_allclose(found.matrix, matrix, rtol=1e-9, atol=1e-9 * scale)
    points = np.random.default_rng(0).uniform(-100, 1000, (50, 2))
    np.testing.assert_allclose(found.inverse()(found(points)), points, atol=1e-7)


def test_the_similarity_is_the_best_one_and_never_a_mirror_image():
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(2, 5, 2))
    found = fit_similarity(a, b)
    error = np.square(found(a) - b).sum()
    for _ in range(200):
        other = Similarity(
            found.matrix + 0.02 * np.array([[(c := rng.normal()), -(s := rng.normal())], [s, c]]), found.shift
        )
        assert np.square(other(a) - b).sum() > error - 1e-12
    mirrored = fit_similarity(TEMPLATE, TEMPLATE * [-1, 1])
    assert np.linalg.det(mirrored.matrix) > 0


def test_bad_points_are_refused():
    with pytest.raises(ShapeError, match=r"expected the same \(N, 2\)"):
        fit_similarity(np.zeros((5, 3)), np.zeros((5, 3)))
    with pytest.raises(NonFiniteError, match="points hold NaN"):
        fit_similarity(np.full((5, 2), np.nan), TEMPLATE)
    with pytest.raises(DataError, match="all points of a face are one"):
        fit_similarity(np.ones((5, 2)), TEMPLATE)
    with pytest.raises(ShapeError, match=r"expected \(5, 2\)"):
        alignment(np.zeros((4, 2)), (64, 64))


@pytest.mark.parametrize(("side", "angle"), [(50, 0.0), (70, 0.4), (64, -1.0)])
def test_an_aligned_face_has_its_points_where_the_template_says(side, angle):
    frame = drawn.photo(side=side, angle=angle, size=(160, 180), centre=(90.0, 80.0))
    cut = cut_out(frame, alignment(drawn.points((90.0, 80.0), side, angle), (48, 48)), (48, 48))
    found = drawn.find(np.rint(cut).astype(np.uint8))
    np.testing.assert_allclose(found[0].points, TEMPLATE * 48 - 0.5, atol=0.5)


def test_cutting_out_and_putting_back_returns_the_frame():
    y, x = np.mgrid[:100, :120]
    frame = np.dstack([x, y, (x + y) / 2]).astype(np.float64)  # linear: bilinear sampling is exact
    place = alignment(drawn.points((60.0, 50.0), 40, 0.3), (64, 64))
    face = cut_out(frame, place, (64, 64))
    back, box = put_back(face, place, frame.shape[:2])
    inside = put_back(np.pad(np.ones((60, 60, 1)), ((2, 2), (2, 2), (0, 0))), place, frame.shape[:2])[0][..., 0] > 0.999
    assert inside.sum() > 1000
    np.testing.assert_allclose(back[inside], frame[box][inside], atol=1e-8)


def test_a_large_face_is_averaged_before_it_is_made_small():
    frame = np.zeros((400, 400, 1))
    frame[::2] = 255.0  # stripes finer than a pixel of the face
    place = fit_similarity([[0, 0], [400, 400]], [[0, 0], [50, 50]])
    cut = cut_out(frame, place, (48, 48))
    np.testing.assert_allclose(cut[2:-2, 2:-2], 127.5, atol=1)


def test_a_face_outside_the_frame_changes_nothing():
    frame = drawn.photo()
    place = alignment(drawn.points((-500.0, -500.0), 40), (32, 32))
    assert (blend(frame, np.ones((32, 32, 3)), np.ones((32, 32)), place) == frame).all()
    half = alignment(drawn.points((0.0, 0.0), 60), (32, 32))
    out = blend(frame, np.ones((32, 32, 3)), feather(np.ones((32, 32)), 0.1), half)
    assert (out != frame).any()
    assert (out[60:] == frame[60:]).all()


# --------------------------------------------------------------------------------------------------- detection


def test_faces_come_largest_first_and_foreign_answers_are_refused():
    frame = drawn.face(drawn.photo(side=40.0, angle=0.0, centre=(30.0, 60.0)), (105.0, 60.0), 70.0, "B")
    faces = find_faces(frame, drawn.find)
    assert len(faces) == 2
    assert faces[0].span > faces[1].span
    with pytest.raises(ShapeError, match=r"expected .*Face objects with points \(5, 2\)"):
        find_faces(frame, lambda _: [(1, 2)])
    with pytest.raises(DataError, match="points with NaN"):
        find_faces(frame, lambda _: [Face(np.full((5, 2), np.nan))])


def test_pictures_without_a_face_are_named_and_counted():
    empty, two = np.full((40, 40, 3), 99, np.uint8), drawn.face(drawn.photo(angle=0.0), (125.0, 60.0), 40.0)
    with pytest.raises(PictureError, match="no face found in 2 pictures: picture 0, picture 2"):
        align_faces([empty, drawn.photo(), empty], detector=drawn.find)
    faces, without = align_faces([empty, drawn.photo(), empty], detector=drawn.find, skip_missing=True, size=(32, 40))
    assert faces.shape == (1, 32, 40, 3)
    assert without == ["picture 0", "picture 2"]
    with pytest.raises(DataError, match=r"more than one face in 1 picture: picture 0 \(2\)"):
        align_faces([two], detector=drawn.find)
    assert len(align_faces([two], detector=drawn.find, several="largest")[0]) == 1
    with pytest.raises(PictureError, match="no picture at all"):
        align_faces([], detector=drawn.find)
    with pytest.raises(PictureError, match=r"no face found in 1 picture: a\.png"):
        align_faces([empty], detector=drawn.find, names=["a.png"], skip_missing=True)


def test_without_the_library_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "yuface", None)
    with pytest.raises(MissingExtraError, match=r"rosenblatt\[face\]"):
        face_detection.compact_detector()


@pytest.mark.skipif(importlib.util.find_spec("yuface") is None, reason="needs the extra 'face'")
@pytest.mark.parametrize("fold", [1, 3])
def test_the_detector_finds_a_photographed_face_with_its_points(fold):
    from skimage.data import astronaut

    frame = astronaut().repeat(fold, 0).repeat(fold, 1)
    (face,) = face_detection.compact_detector()(frame)
    # eyes, nose and mouth as read off the picture by eye
    np.testing.assert_allclose(face.points / fold, [[203, 101], [247, 104], [224, 127], [203, 141], [244, 141]], atol=8)
    assert face.score > 0.8
    assert face_detection.compact_detector()(np.full((200, 200, 3), 127, np.uint8)) == []


# --------------------------------------------------------------------------------------------------- blending


def test_lab_agrees_with_scikit_image_both_ways():
    color = pytest.importorskip("skimage.color")
    rgb = np.random.default_rng(0).random((20, 20, 3))
    np.testing.assert_allclose(to_lab(rgb), color.rgb2lab(rgb), atol=0.02)
    np.testing.assert_allclose(from_lab(to_lab(rgb)), rgb, atol=1e-6)
    assert np.abs(from_lab(np.array([[[0.0, 0, 0], [150.0, 90, -90]]]))).max() <= 1


@pytest.mark.parametrize("space", ["lab", "linear"])
def test_matched_colours_have_the_wanted_mean(space):
    rng = np.random.default_rng(0)
    face, like = 0.3 + 0.2 * rng.random((24, 24, 3)), 0.5 + 0.1 * rng.random((24, 24, 3))
    mask = np.zeros((24, 24))
    mask[4:20, 4:20] = 1
    out = match_statistics(face, like, mask, space=space)
    convert = to_lab if space == "lab" else (lambda x: x)
    inner = (slice(4, 20), slice(4, 20))
    np.testing.assert_allclose(convert(out)[inner].mean((0, 1)), convert(like)[inner].mean((0, 1)), atol=0.05)
    np.testing.assert_allclose(convert(out)[inner].std((0, 1)), convert(like)[inner].std((0, 1)), rtol=0.02)


def test_colours_can_be_left_and_other_spaces_are_refused():
    face = np.full((8, 8, 3), 0.5)
    assert match_statistics(face, face / 2, np.ones((8, 8)), space="none") is face
    assert match_statistics(face, face / 2, np.zeros((8, 8))) is face
    assert np.isfinite(match_statistics(face, face / 2, np.ones((8, 8)))).all()  # a flat face has no spread
    with pytest.raises(ParameterError, match="expected one of lab, linear, none"):
        match_statistics(face, face, np.ones((8, 8)), space="hsv")


def test_a_feathered_mask_is_zero_at_the_border_and_one_inside():
    mask = feather(np.ones((40, 40)), 0.1)
    assert mask[0].max() == mask[:, -1].max() == 0
    assert mask[20, 20] > 0.999
    assert np.abs(np.diff(mask, axis=0)).max() < 0.4


# --------------------------------------------------------------------------------------------------- warps


def test_mask_and_picture_go_through_the_same_warp():
    x = torch.zeros(6, 4, 32, 32)
    x[:, :, 10:20, 8:24] = 1.0  # the mask is where the picture is white
    with PrivateRandom(0):
        out = warp(x, random_similarity(6), random_field(6, 32, 32, strength=0.04))
    assert float((out[:, :1] - out[:, 3:]).abs().max()) == 0
    assert float((out - x).abs().max()) > 0.5
    same = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).expand(6, 2, 3)
    torch.testing.assert_close(warp(x, same), x, atol=1e-5, rtol=0)


def test_recoloured_faces_stay_in_range_and_zero_strength_changes_nothing():
    with PrivateRandom(0):
        x = torch.rand(5, 3, 8, 8)
        assert float(recolour(x, 0.9).min()) >= 0
        assert float(recolour(x, 0.9).max()) <= 1
        torch.testing.assert_close(recolour(x, 0.0), x, atol=1e-6, rtol=0)


# --------------------------------------------------------------------------------------------------- provenance


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp"])
def test_pictures_carry_their_manifest(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    path.write_bytes(
        encode_marked(drawn.photo(), path, manifest("face replaced", model="abc", parameters={"drawn": "B"}))
    )
    said = read_manifest(path)
    assert said["assertions"][0]["data"]["actions"][0]["digitalSourceType"].endswith("TrainedAlgorithmicMedia")
    assert said["assertions"][1]["data"] == {"weights": "abc", "drawn": "B"}
    assert len(said["data_hash"]) == 64


def test_films_carry_their_manifest(tmp_path):
    pytest.importorskip("av")
    for name in ("a.mp4", "a.mkv", "a.webm"):
        write_video(tmp_path / name, [drawn.photo()] * 2, comment=json.dumps(manifest("face replaced")))
        assert read_manifest(tmp_path / name)["claim_generator"].startswith("rosenblatt/")
    write_video(tmp_path / "b.mp4", [drawn.photo()] * 2)
    assert read_manifest(tmp_path / "b.mp4") is None


def test_what_carries_no_manifest_says_so(tmp_path):
    from PIL import Image

    Image.fromarray(drawn.photo()).save(tmp_path / "a.png")
    Image.fromarray(drawn.photo()).save(tmp_path / "a.jpg")
    assert read_manifest(tmp_path / "a.png") is None
    assert read_manifest(tmp_path / "a.jpg") is None
    with pytest.raises(OutputError, match=r"a manifest cannot be put into \.bmp"):
        encode_marked(drawn.photo(), "a.bmp", {})
    with pytest.raises(FileNotFoundError, match="no such file"):
        read_manifest(tmp_path / "none.png")
    (tmp_path / "bad.png").write_bytes(b"nothing")
    with pytest.raises(PictureError, match="cannot be read"):
        read_manifest(tmp_path / "bad.png")


@pytest.mark.parametrize("shape", [(480, 640, 3), (64, 64, 3), (16, 40, 3), (300, 60, 3)])
def test_the_mark_is_seen_and_stays_in_its_corner(shape):
    frame = np.full(shape, 128, np.uint8)
    out = mark(frame)
    changed = np.abs(out.astype(int) - 128).max(2) > 60
    assert changed.sum() > 30
    assert (frame == 128).all()
    assert not changed[: shape[0] // 4, shape[1] * 3 // 4 :].any()


def test_a_frame_too_small_for_a_mark_is_refused():
    with pytest.raises(ShapeError, match="expected 16 or more on each side"):
        mark(np.zeros((12, 40, 3), np.uint8))


# --------------------------------------------------------------------------------------------------- scores


def test_structural_similarity_agrees_with_scikit_image():
    metrics = pytest.importorskip("skimage.metrics")
    rng = np.random.default_rng(0)
    x = rng.random((2, 24, 30, 3))
    y = np.clip(x + rng.normal(0, 0.1, x.shape), 0, 1)
    wanted = [
        metrics.structural_similarity(
            a, b, channel_axis=2, data_range=1, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
        )
        for a, b in zip(x, y, strict=True)
    ]
    np.testing.assert_allclose(picture_similarity(x, y), wanted, atol=1e-4)
    with pytest.raises(ShapeError, match="expected the same N H W C"):
        picture_similarity(x, y[:1])
    with pytest.raises(ValueError, match="expected sides of 11 or more"):
        structural_similarity(torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8))


def test_motion_tells_a_swap_from_faces_in_another_order():
    source, other = drawn.clip("A", 12, seed=1), drawn.clip("B", 12, seed=1)
    assert motion_kept(source, other) > 0.6
    assert abs(motion_kept(source, other[np.r_[6:12, 0:6]])) < 0.5
    with pytest.raises(ShapeError, match="with two or more"):
        motion_kept(source[:1], other[:1])
    with pytest.raises(ShapeError, match="expected one shape"):
        motion_kept(source, other[:5])
    points = np.random.default_rng(0).random((6, 5, 2))
    assert points_kept(points, 3 * points + 1) == pytest.approx(1)
    with pytest.raises(ShapeError, match=r"\(N, P, 2\)"):
        points_kept(points, points[:3])
