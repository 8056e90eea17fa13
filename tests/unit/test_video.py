import sys

import numpy as np
import pytest
import torch

import rosenblatt as rb
from rosenblatt.data.video import frame_rate, is_video, read_video, write_video
from rosenblatt.errors import DataError, MissingExtraError, OutputError, ParameterError, ShapeError
from rosenblatt.metrics.flicker import flicker
from rosenblatt.train.style import Anchor, stillness


def film(count=5, side=64):
    """A square that moves over a still ground."""
    ground = np.linspace(60, 180, side).astype(np.uint8)[None, :, None].repeat(side, 0).repeat(3, 2)
    frames = np.stack([ground] * count)
    for i, frame in enumerate(frames):
        frame[8:20, 6 + 8 * i : 18 + 8 * i] = (220, 40, 40)
    return frames


@pytest.fixture(scope="module")
def painter():
    style = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    model = rb.StyleTransfer(network="small", size=64, steps=12, random_state=0, verbose=0)
    return model.fit(style, [film(1)[0]])


def test_a_film_is_written_and_read(tmp_path):
    frames = film()
    path = tmp_path / "a.mp4"
    assert write_video(path, frames, rate=12) == 5
    back = np.stack(list(read_video(path)))
    assert back.shape == frames.shape
    assert np.abs(back.astype(int) - frames).mean() < 6
    assert frame_rate(path) == 12
    assert is_video(path)
    assert not is_video("a.png")


def test_what_is_no_film_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such film"):
        list(read_video(tmp_path / "none.mp4"))
    (tmp_path / "x.mp4").write_bytes(b"nothing")
    with pytest.raises(DataError, match="no film that can be read"):
        list(read_video(tmp_path / "x.mp4"))
    with pytest.raises(ParameterError, match="expected one of the suffixes"):
        write_video(tmp_path / "x.png", film())
    with pytest.raises(DataError, match="no frame at all"):
        write_video(tmp_path / "y.mp4", [])
    assert not (tmp_path / "y.mp4").exists()
    with pytest.raises(ShapeError, match="frame 1 has the shape"):
        write_video(tmp_path / "y.mp4", [film(1)[0], film(1, 32)[0]])
    with pytest.raises(OutputError, match="exists"):
        write_video(tmp_path / "x.mp4", film(1), overwrite=False)


def test_without_the_library_the_extra_is_named(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match=r"rosenblatt\[video\]"):
        write_video(tmp_path / "a.mp4", film())


def test_stillness_is_where_nothing_moved():
    a, b = (torch.from_numpy(f / 255.0).permute(2, 0, 1)[None].float() for f in film(2))
    still = stillness(a, b)
    assert float(still[0, 0, 40:].min()) == 1
    assert float(still[0, 0, 12, 22]) < 0.05


def test_the_term_has_its_closed_form():
    picture, still = torch.zeros(1, 3, 4, 4), torch.ones(1, 1, 4, 4)
    still[..., :2] = 0
    value = Anchor(picture, still, 2.0).distance(picture + 0.1)
    assert float(value) == pytest.approx(2 * 400 * 0.01 / 2)


def test_a_film_painted_with_the_term_flickers_less(painter):
    frames = film(4)
    alone = np.stack(list(painter.transform_frames(frames, consistency=0)))
    held = np.stack(list(painter.transform_frames(frames, consistency=1)))
    assert held.shape == frames.shape
    assert flicker(frames, held) < 0.7 * flicker(frames, alone)


@pytest.mark.parametrize("method", ["johnson"])
def test_one_pass_films(method):
    style = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    model = rb.StyleTransfer(method=method, network="small", steps=2, size=64, random_state=0, verbose=0)
    model.fit(style, [film(1)[0]])
    frames = film(3)
    assert len(list(model.transform_frames(frames))) == 3


def test_wrong_films(painter):
    with pytest.raises(ShapeError, match="a frame of 32 x 32 pixels after 64 x 64"):
        list(painter.transform_frames([film(1)[0], film(1, 32)[0]]))
    with pytest.raises(ParameterError, match="color"):
        list(painter.transform_frames(film(1), color="match"))
    with pytest.raises(ShapeError, match="two or more frames"):
        flicker(film(1), film(1))


def test_the_command_paints_a_film(run, tmp_path):
    from PIL import Image

    write_video(tmp_path / "in.mp4", film(2))
    Image.fromarray(film(1)[0]).save(tmp_path / "style.png")

    words = (
        "stylize",
        tmp_path / "in.mp4",
        "--style",
        tmp_path / "style.png",
        "--network",
        "small",
        "--steps",
        4,
        "--size",
        64,
    )
    kept = tmp_path / "painter.safetensors"
    said = run(*words, "--out", tmp_path / "out.mp4", "--random-state", 0, "--save", kept)
    assert said.code == 0, said.err
    first = list(read_video(tmp_path / "out.mp4"))
    assert len(first) == 2
    again = ("stylize", tmp_path / "in.mp4", "--model", kept, "--out", tmp_path / "again.mp4")
    said = run(*again)
    assert said.code == 0, said.err
    np.testing.assert_array_equal(list(read_video(tmp_path / "again.mp4")), first)
    said = run(*again, "--force", "--style", tmp_path / "style.png")
    assert said.code == 2
    assert "expected the styles of the model alone" in said.err
    said = run(*words, "--out", tmp_path / "out.png")
    assert said.code == 2
    assert "expected a film from a film" in said.err
