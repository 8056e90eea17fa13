import numpy as np
import pytest
import torch
from PIL import Image

from rosenblatt.data.label_maps import (
    PALETTES,
    Palette,
    as_label_maps,
    jitter,
    match_colours,
    paint,
    palette,
    resize_label_maps,
)
from rosenblatt.data.label_pairs import read_label_maps, read_label_pairs, read_palette
from rosenblatt.errors import DataError, LabelError, NonFiniteError, ParameterError, PictureError, ShapeError
from rosenblatt.metrics.segmentation import agreement
from rosenblatt.train.seeds import PrivateRandom

TWO = Palette(("sky", "sea"), ((255, 0, 0), (0, 0, 255)))


def test_ids_channels_and_colours_are_the_same_maps():
    ids = np.array([[[0, 1, 2], [2, 255, 1]]])
    found, count = as_label_maps(ids)
    assert count == 3
    assert found.dtype == np.uint8
    channels = np.zeros((1, 2, 3, 3), bool)
    for place in np.argwhere(ids < 3):
        channels[(*place, ids[tuple(place)])] = True
    np.testing.assert_array_equal(as_label_maps(channels)[0], found)  # no channel set: nobody cares
    np.testing.assert_array_equal(as_label_maps(channels.astype(np.float32))[0], found)
    three = Palette(("a", "b", "c"), ((0, 0, 0), (0, 255, 0), (255, 255, 255)))
    colours = np.uint8(three.colours)[[[0, 1, 2], [2, 2, 1]]][None]
    np.testing.assert_array_equal(as_label_maps(colours, colours=three)[0], [[[0, 1, 2], [2, 2, 1]]])
    np.testing.assert_array_equal(as_label_maps(torch.from_numpy(ids))[0], found)
    assert as_label_maps(np.array([[[0, 300]]]))[0].dtype == np.int32


@pytest.mark.parametrize(
    ("maps", "options", "error", "message"),
    [
        (
            np.array([[[0, 1], [7, 1]]]),
            {"classes": 3},
            LabelError,
            r"the label 7 in map 0 at row 1, column 0.*0 to 2, or 255",
        ),
        (np.array([[[0, -1]]]), {}, LabelError, r"the label -1 in map 0 at row 0, column 1"),
        (np.full((1, 2, 2), 255), {}, LabelError, "nothing but the don't-care label 255"),
        (np.array([[[0.5, 1]]]), {}, DataError, "fractions such as 0.5"),
        (np.array([[[np.nan, 1]]]), {}, NonFiniteError, "label maps contains NaN"),
        (np.zeros((4, 4)), {}, ShapeError, r"shape \(4, 4\); expected ids N H W"),
        (np.full((1, 2, 2, 3), 200, np.uint8), {}, LabelError, "values besides 0 and 1.*set palette="),
        (
            np.ones((1, 2, 2, 3), np.uint8),
            {},
            LabelError,
            "3 classes in map 0 at row 0, column 0; expected at most one",
        ),
        (
            np.zeros((1, 2, 2, 5), np.uint8),
            {"classes": 4},
            LabelError,
            "5 classes in the label maps; expected classes=4",
        ),
        (
            np.full((1, 4, 4, 3), 128, np.uint8),
            {"colours": TWO},
            DataError,
            "100 % of the pixels of map 0 have no colour",
        ),
        (np.full((1, 4, 4, 3), 1.0), {"colours": TWO}, DataError, "expected uint8 from 0 to 255"),
        (np.array([[["a"]]]), {}, ShapeError, "label maps <U1"),
    ],
)
def test_maps_that_are_none_are_refused(maps, options, error, message):
    with pytest.raises(error, match=message):
        as_label_maps(maps, **options)


def test_smeared_colours_take_the_class_beside_them():
    rng = np.random.default_rng(0)
    ids = np.kron(rng.integers(0, 12, (8, 8)), np.ones((32, 32), int))
    picture = np.uint8(PALETTES["facades"].colours)[ids]
    import io

    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, "JPEG", quality=75)
    smeared = np.asarray(Image.open(stream))
    assert (smeared != picture).any(2).mean() > 0.05
    table = np.float32(PALETTES["facades"].colours)
    nearest = ((smeared[:, :, None].astype(np.float32) - table) ** 2).sum(3).argmin(2)
    found = match_colours(smeared[None], PALETTES["facades"])[0]
    assert (found != ids).mean() < 0.5 * (nearest != ids).mean()
    assert (found == ids).mean() > 0.98
    np.testing.assert_array_equal(resize_label_maps(found[None], (64, 64))[0], ids[::4, ::4])


def test_palettes():
    assert palette(None) is None
    assert len(palette("facades").colours) == len(palette("facades").names) == 12
    assert palette(((0, 0, 0), (9, 9, 9))).names == ("0", "1")
    for wrong, message in [
        ("facade", "Did you mean 'facades'"),
        (((1, 2),), "at least 2 colours"),
        (((1, 2, 3),) * 2, "different"),
    ]:
        with pytest.raises(ParameterError, match=message):
            palette(wrong)
    with pytest.raises(ParameterError, match="levels from 0 to 255"):
        palette(((0, 0, 0), (0, 0, 999)))


def test_resizing_keeps_classes():
    maps = np.array([[[0, 0, 5, 9], [0, 5, 5, 5]]])
    np.testing.assert_array_equal(resize_label_maps(maps, (1, 2)), [[[0, 5]]])
    np.testing.assert_array_equal(resize_label_maps(maps, (4, 8))[0, ::2, ::2], maps[0])
    assert resize_label_maps(maps, (2, 4)) is maps


def test_painting_changes_a_copy():
    maps = np.zeros((2, 4, 5), int)
    painted = paint(maps, 2, box=(-1, 3, 3, 9))
    assert maps.sum() == 0
    np.testing.assert_array_equal(painted[1], [[0, 0, 0, 2, 2]] * 2 + [[0] * 5] * 2)
    mask = np.eye(4, 5, dtype=bool)
    assert (paint(maps[0], 1, mask=mask) == mask).all()
    with pytest.raises(ParameterError, match="misses maps of 4 x 5"):
        paint(maps, 1, box=(4, 0, 2, 2))
    with pytest.raises(ParameterError, match="either box"):
        paint(maps, 1)
    with pytest.raises(ShapeError, match=r"mask of shape \(2, 2\); expected \(4, 5\)"):
        paint(maps, 1, mask=np.ones((2, 2)))
    with pytest.raises(ShapeError, match="expected ids H W"):
        paint(np.zeros(3), 1, box=(0, 0, 1, 1))


@pytest.mark.parametrize("words", ["none", "flip", "zoom", "flip+zoom"])
def test_map_and_photograph_are_changed_alike(words):
    ids = torch.arange(4).repeat_interleave(8)[None, None].expand(16, 32, 32).contiguous()
    photos = (ids[:, None].float().repeat(1, 3, 1, 1) / 1.5 - 1).contiguous()
    with PrivateRandom(0):
        x, maps = jitter(photos, ids.to(torch.uint8), words)
    seen = ((x[:, 0] + 1) * 1.5).round().long()
    apart = (seen != maps.long()).float().mean()
    assert float(apart) < (0.04 if "zoom" in words else 1e-9)  # only where two classes meet within a pixel
    assert torch.equal(maps.long(), ids) == (words == "none")
    if "flip" in words:
        assert 2 < int((maps[:, 0, 0] == 3).sum()) < 14


def test_agreement_counts():
    y, y_hat = np.array([[[0, 0, 1, 1, 2]]]), np.array([[[0, 1, 1, 1, 0]]])
    found = agreement(y, y_hat, classes=3)
    assert found.pixels == pytest.approx(3 / 5)
    assert found.iou == pytest.approx((1 / 3, 2 / 3, 0))
    assert found.mean_iou == pytest.approx(1 / 3)
    assert np.isnan(agreement(y, y, classes=4).iou[3])
    assert agreement(y, y, classes=2).pixels == 1.0  # 2 is don't-care there
    with pytest.raises(ShapeError, match="expected the same"):
        agreement(y, y_hat[:, :, :3], classes=3)


# ------------------------------------------------------------------------------------------------------------ folders


@pytest.fixture
def folders(tmp_path):
    """The same three pairs as one picture each, and as two folders of ids."""
    rng = np.random.default_rng(0)
    for name in ("both", "apart/photos", "apart/labels"):
        (tmp_path / name).mkdir(parents=True)
    for number in range(3):
        ids = np.kron(rng.integers(0, 2, (4, 4)), np.ones((8, 8), int))
        photo = rng.integers(0, 256, (32, 32, 3), np.uint8)
        Image.fromarray(np.concatenate([photo, np.uint8(TWO.colours)[ids]], 1)).save(tmp_path / f"both/{number}.png")
        Image.fromarray(photo).save(tmp_path / f"apart/photos/{number}.png")
        Image.fromarray(ids.astype(np.uint8)).save(tmp_path / f"apart/labels/{number}.png")
    return tmp_path


def test_both_layouts_give_the_same_pairs(folders):
    one = read_label_pairs(folders / "both", size=16, palette=TWO)
    two = read_label_pairs(folders / "apart", size=(16, 16))
    assert one.labels.shape == (3, 16, 16)
    assert one.classes == two.classes == 2
    np.testing.assert_array_equal(one.labels, two.labels)
    np.testing.assert_array_equal(one.photos, two.photos)
    np.testing.assert_array_equal(read_label_maps(folders / "apart", size=(16, 16), classes=2), one.labels)
    np.testing.assert_array_equal(read_label_maps(folders / "both/1.png", size=(16, 16), palette=TWO), one.labels[1:2])


def test_what_a_folder_may_not_be(folders, tmp_path):
    with pytest.raises(DataError, match="the map has colours; expected ids, or the palette"):
        read_label_pairs(folders / "both", size=16)
    with pytest.raises(ParameterError, match="size"):
        read_label_pairs(folders / "apart", size=3)
    with pytest.raises(LabelError, match="the label 1 in map"):
        read_label_maps(folders / "apart", size=(16, 16), classes=1)
    (folders / "apart/labels/1.png").rename(folders / "apart/labels/9.png")
    with pytest.raises(PictureError, match=r"'1' and 1 more have no label map"):
        read_label_pairs(folders / "apart", size=16)
    (folders / "apart/labels/9.png").rename(folders / "apart/labels/1.png")
    Image.new("L", (20, 32)).save(folders / "apart/labels/1.png")
    with pytest.raises(ShapeError, match="a map of 32 x 20 pixels and a photograph of 32 x 32; expected one size"):
        read_label_pairs(folders / "apart", size=16)
    (folders / "both/2.png").write_bytes(b"no picture")
    with pytest.raises(PictureError, match=r"1 of 3 pictures cannot be read: 2.png"):
        read_label_pairs(folders / "both", size=16, palette=TWO)
    assert len(read_label_pairs(folders / "both", size=16, palette=TWO, skip_bad=True).skipped) == 1
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no pictures"):
        read_label_pairs(tmp_path / "empty", size=16)
    with pytest.raises(DataError, match="holds no pictures; expected label maps"):
        read_label_maps(tmp_path / "empty", size=(16, 16))
    with pytest.raises(DataError, match="has colours; expected ids, or the palette"):
        read_label_maps(folders / "both/1.png", size=(16, 16))
    with pytest.raises(PictureError, match="cannot be read"):
        read_label_maps(folders / "both/2.png", size=(16, 16))


def test_palette_files(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("sky, wide,0,0,255\nsea,0,9,90\n")
    assert read_palette(path) == Palette(("sky, wide", "sea"), ((0, 0, 255), (0, 9, 90)))
    for text in ("sky,0,0\nsea,1,2", "sky,a,b,c", "only,1,2,3"):
        path.write_text(text)
        with pytest.raises(DataError, match="is no palette"):
            read_palette(path)


@pytest.mark.data("facades")
def test_real_facades_are_read():
    import os
    from pathlib import Path

    pairs = read_label_pairs(Path(os.environ["ROSENBLATT_DATA"], "facades/val"), size=64, palette=PALETTES["facades"])
    assert pairs.photos.shape == (50, 64, 64, 3)
    shares = np.bincount(pairs.labels.ravel(), minlength=12) / pairs.labels.size
    assert shares.argmax() == 1  # facade
    assert shares[2] > 0.05  # windows
    assert (shares > 0).all()
