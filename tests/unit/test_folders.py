import os
import warnings

import numpy as np
import pytest
from PIL import Image

from rosenblatt.data import folders
from rosenblatt.data.folders import read_folder, read_pictures
from rosenblatt.errors import DataError, LabelError, ParameterError, PictureError


def grey(size=(8, 8), level=100, mode="L"):
    return Image.new(mode, size, level)


@pytest.fixture
def root(tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / name).mkdir()
        grey().save(tmp_path / name / "1.png")
    return tmp_path


def test_layout(root):
    (root / "cat" / "deep").mkdir()
    (root / "cat" / "dir.png").mkdir()
    grey().save(root / "cat" / "deep" / "Ünï.PNG")
    grey().save(root / "cat" / "dir.png" / "2.JPG", "JPEG")
    for name in ("Thumbs.db", ".hidden.png", "notes.txt"):
        (root / "cat" / name).write_bytes(b"")
    (root / "__MACOSX").mkdir()
    (root / ".git").mkdir()
    (root / "cat" / "loop").symlink_to(root / "cat", target_is_directory=True)
    data = read_folder(root)
    assert data.classes == ["cat", "dog"]
    assert [p.as_posix() for p in data.paths] == ["cat/1.png", "cat/deep/Ünï.PNG", "cat/dir.png/2.JPG", "dog/1.png"]
    assert data.labels.tolist() == ["cat"] * 3 + ["dog"]
    assert [p.name for p in data.ignored] == ["notes.txt"]
    assert data.pictures.shape == (4, 8, 8, 1)
    assert data.pictures.dtype == np.uint8


CLEAR = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
PALETTE = Image.new("P", (4, 4), 0)
PALETTE.putpalette([9, 9, 9, 200, 0, 0])


@pytest.mark.parametrize(
    ("image", "options", "suffix", "shape", "level"),
    [
        (grey(), {}, ".png", (8, 8, 1), 100),
        (grey(mode="1", level=1), {}, ".png", (8, 8, 1), 255),
        (CLEAR, {}, ".png", (4, 4, 3), 255),
        (Image.new("LA", (4, 4), (0, 0)), {}, ".png", (4, 4, 1), 255),
        (PALETTE, {"transparency": 0}, ".png", (4, 4, 3), 255),
        (Image.new("CMYK", (8, 8), (0, 0, 0, 0)), {}, ".jpg", (8, 8, 3), 255),
        (Image.fromarray(np.full((4, 4), 25700, np.uint16)), {}, ".png", (4, 4, 1), 100),
        (Image.fromarray(np.full((4, 4), 25700, np.uint16)), {}, ".tif", (4, 4, 1), 100),
        (grey((1, 1)), {}, ".png", (1, 1, 1), 100),
        (grey(), {"save_all": True, "append_images": [grey(level=0)]}, ".gif", (8, 8, 1), 100),
    ],
    ids=["L", "1", "RGBA", "LA", "P", "CMYK", "I16png", "I16tif", "1x1", "gif"],
)
def test_modes(tmp_path, image, options, suffix, shape, level):
    image.save(tmp_path / f"a{suffix}", **options)
    data = read_pictures(tmp_path)
    assert data.pictures.shape[1:] == shape
    assert (np.abs(data.pictures.astype(int) - level) <= 1).all()


def test_orientation(tmp_path):
    levels = np.zeros((2, 3), np.uint8)
    levels[0, 0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(levels).save(tmp_path / "a.png", exif=exif)
    picture = read_pictures(tmp_path).pictures[0, ..., 0]
    assert picture.tolist() == np.rot90(levels, -1).tolist()


def test_sizes(root):
    grey((20, 10)).save(root / "cat" / "2.png")
    assert read_folder(root).pictures.shape == (3, 8, 8, 1)
    assert (read_folder(root, size=5).pictures == 100).all()
    assert read_folder(root, size=(3, 7), channels=3).pictures.shape == (3, 3, 7, 3)


def test_cut_is_at_the_centre(tmp_path):
    levels = np.zeros((4, 12), np.uint8)
    levels[:, 4:8] = 200
    Image.fromarray(levels).save(tmp_path / "a.png")
    assert (read_pictures(tmp_path, size=4).pictures == 200).all()


def damaged(root):
    (root / "cat" / "empty.png").write_bytes(b"")
    (root / "cat" / "text.png").write_bytes(b"hello")
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8))
    noise.save(root / "dog" / "whole.jpg")
    data = (root / "dog" / "whole.jpg").read_bytes()
    (root / "dog" / "whole.jpg").rename(root / "dog" / "cut.jpg")
    (root / "dog" / "cut.jpg").write_bytes(data[: len(data) // 2])
    (root / "dog" / "gone.png").symlink_to(root / "nothing")
    (root / "dog" / "self.png").symlink_to(root / "dog" / "self.png")
    os.mkfifo(root / "dog" / "pipe.png")
    (root / "dog" / "page.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")


def test_bad_pictures_are_collected(root):
    damaged(root)
    with pytest.raises(PictureError, match=r"7 of 9 .*skip_bad=True"):  # the loop of one link is no file at all
        read_folder(root)


def test_skip_bad(root):
    damaged(root)
    data = read_folder(root, skip_bad=True)
    assert data.pictures.shape == (2, 8, 8, 1)  # the cut colour picture has no say in the channels
    assert {p.name for p, _ in data.skipped} >= {"empty.png", "text.png", "cut.jpg", "gone.png", "pipe.png", "page.png"}


def test_bomb(root, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    for _ in range(2):
        with pytest.raises(PictureError, match="bomb"), warnings.catch_warnings():
            warnings.simplefilter("error")
            read_folder(root)


def test_permission(root, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(folders, "_opened", refuse)
    with pytest.raises(PictureError, match="permission denied"):
        read_folder(root)


def test_wrong_folders(root, tmp_path_factory):
    with pytest.raises(DataError, match=f"Did you mean '{root.name}'"):
        read_folder(root.parent / (root.name + "x"))
    with pytest.raises(DataError, match="is a file"):
        read_folder(root / "cat" / "1.png")
    with pytest.raises(DataError, match="1 pictures but no sub-folders"):
        read_folder(root / "cat")
    (root / "bird").mkdir()
    with pytest.raises(PictureError, match="'bird'"):
        read_folder(root)
    one = tmp_path_factory.mktemp("one")
    (one / "cat").mkdir()
    with pytest.raises(LabelError, match="single class"):
        read_folder(one)
    with pytest.raises(PictureError, match="no pictures"):
        read_pictures(one)


def test_list(root):
    files = [root / "dog" / "1.png", str(root / "cat" / "1.png"), root / "no.png"]
    with pytest.raises(PictureError, match="no such file"):
        read_pictures(files)
    assert read_pictures(files, skip_bad=True).paths == [root / "dog" / "1.png", root / "cat" / "1.png"]
    assert len(read_pictures(files[0]).pictures) == 1


@pytest.mark.parametrize("options", [{"size": 0}, {"size": (3, 0)}, {"size": "8"}, {"channels": 2}, {"skip_bad": 3}])
def test_parameters(root, options):
    with pytest.raises(ParameterError):
        read_folder(root, **options)
