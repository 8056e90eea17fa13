import io
import tarfile

import numpy as np
import pytest
import torch
from PIL import Image

import rosenblatt as rb
from rosenblatt.data import layouts, sources
from rosenblatt.data.folders import read_folder
from rosenblatt.data.layouts import imagenet, is_imagenet
from rosenblatt.data.sources import PictureSource, open_pictures
from rosenblatt.data.streamed import Streamed
from rosenblatt.errors import ColumnError, DataError, LabelError, ParameterError, PictureError, ShapeError


def png(level, size=(8, 8), mode="L"):
    stream = io.BytesIO()
    Image.new(mode, size, level).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    for name, level in (("dark", 20), ("light", 220)):
        (tmp_path / name).mkdir()
        for i in range(15):
            pixels = np.clip(level + rng.normal(0, 15, (8, 8)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i:02}.png")
    return tmp_path


def test_a_folder_is_what_read_folder_reads(folder):
    source, whole = open_pictures(folder), read_folder(folder)
    pictures, rows = source.load()
    assert (pictures == whole.pictures).all()
    assert source.labels[rows].tolist() == whole.labels.tolist()
    assert source.form == (8, 8, 1)
    assert source.nbytes == 30 * 64
    part, kept = source.take([3, 1]).read(np.array([1, 0]))
    assert (part == whole.pictures[[1, 3]]).all()
    assert kept.tolist() == [1, 0]


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_lists(folder, suffix):
    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet

    table = pa.table({"file": ["dark/00.png", "light/00.png", "dark/01.png"], "kind": [0, 1, 0], "n": [1, 2, 3]})
    path = folder / f"list{suffix}"
    (pa.csv.write_csv if suffix == ".csv" else pa.parquet.write_table)(table, path)
    source = open_pictures(path, target="kind")
    assert source.labels.tolist() == [0, 1, 0]
    assert rb.CNNClassifier(epochs=1, verbose=0).fit(path, "kind").classes_.tolist() == [0, 1]
    with pytest.raises(ColumnError, match=r"no column 'label'; expected the column of the labels"):
        open_pictures(path)
    with pytest.raises(ColumnError, match="expected one of paths"):
        open_pictures(write(folder / "odd.csv", "x,label\na,1\n"))
    with pytest.raises(DataError, match="no label in row 1"):
        open_pictures(write(folder / "gap.csv", "path,label\ndark/00.png,1\nlight/00.png,\n"))
    with pytest.raises(PictureError, match=r"gone.png \(no such file\)"):
        open_pictures(write(folder / "gone.csv", "path,label\ndark/00.png,1\ngone.png,2\n"))
    with pytest.raises(DataError, match="is no list"):
        open_pictures(folder, target="kind")


def write(path, text):
    path.write_text(text)
    return path


def tar(path, members):
    with tarfile.open(path, "w") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def test_webdataset_shards(tmp_path):
    for shard in range(2):
        members = {}
        for i in range(4):
            members[f"a/{shard}{i}.png"] = png(40 * i + shard)
            members[f"a/{shard}{i}.cls"] = str(i % 2).encode()
        tar(tmp_path / f"train-{shard:03}.tar", {**members, "a/._0.png": b"litter"})
    source = open_pictures(tmp_path)
    assert source.labels.tolist() == ["0", "1"] * 4
    assert source.load()[0][:, 0, 0, 0].tolist() == [0, 40, 80, 120, 1, 41, 81, 121]
    assert len(open_pictures(tmp_path / "train-000.tar")) == 4
    assert rb.CNNClassifier(epochs=1, verbose=0).fit(tmp_path).classes_.tolist() == ["0", "1"]


def test_shards_of_one_class_each_and_bad_ones(tmp_path):
    for name in ("cat", "dog"):
        tar(tmp_path / f"{name}.tar", {"1.png": png(3), "2.png": png(4)})
    assert open_pictures(tmp_path).labels.tolist() == ["cat", "cat", "dog", "dog"]
    with pytest.raises(LabelError, match="no label for the sample '2'"):
        open_pictures(tar(tmp_path / "odd.tar", {"1.png": png(3), "1.cls": b"0", "2.png": png(4)}))
    (tmp_path / "odd.tar").unlink()
    with pytest.raises(DataError, match="no plain tar, or cut short"):
        open_pictures(write(tmp_path / "text.tar", "hello" * 200))
    with pytest.raises(DataError, match="there is no shard"):
        open_pictures(tmp_path / "none.tar")


def test_a_shard_cut_short_is_named(tmp_path):
    path = tar(tmp_path / "a.tar", {"1.png": png(3), "1.cls": b"0", "2.png": png(4), "2.cls": b"1"})
    source = open_pictures(path)
    path.write_bytes(path.read_bytes()[:600])
    with pytest.raises(PictureError, match="the shard ends after"):
        source.load()


def tree(root):
    for name, level in (("n01440764", 10), ("n02391049", 200)):
        (root / "train" / name).mkdir(parents=True)
        for i in range(6):
            Image.new("RGB", (12, 10), (level, i, 0)).save(root / "train" / name / f"{name}_{i}.JPEG")
    (root / "val").mkdir()
    for i in (1, 2, 3):
        Image.new("RGB", (12, 10), (200 if i == 2 else 10, 0, 0)).save(root / "val" / f"ILSVRC2012_val_{i:08d}.JPEG")
    return root


def test_imagenets_own_layout(tmp_path):
    root = tree(tmp_path)
    assert is_imagenet(root)
    assert not is_imagenet(root / "train")
    assert sorted(set(open_pictures(root).labels.tolist())) == ["n01440764", "n02391049"]
    with pytest.raises(DataError, match=r"without answers; expected LOC_val_solution\.csv"):
        imagenet(root, "val")
    rows = "\n".join(f"ILSVRC2012_val_{i:08d},{'n02391049' if i == 2 else 'n01440764'} 1 2 3 4" for i in (1, 2))
    write(root / "LOC_val_solution.csv", "ImageId,PredictionString\n" + rows + "\n")
    with pytest.raises(LabelError, match=r"no answer for ILSVRC2012_val_00000003.JPEG"):
        imagenet(root, "val")
    (root / "val" / "ILSVRC2012_val_00000003.JPEG").unlink()
    assert imagenet(root, "val").labels == ["n01440764", "n02391049"]


def test_imagenets_development_kit(tmp_path):
    from scipy.io import savemat

    root = tree(tmp_path)
    kit = root / "ILSVRC2012_devkit_t12" / "data"
    kit.mkdir(parents=True)
    kinds = [("ILSVRC2012_ID", "<i4"), ("WNID", "O")]
    savemat(kit / "meta.mat", {"synsets": np.array([(1, "n02391049"), (2, "n01440764")], dtype=kinds)})
    write(kit / "ILSVRC2012_validation_ground_truth.txt", "2\n1\n2\n")
    assert imagenet(root, "val").labels == ["n01440764", "n02391049", "n01440764"]


def test_imagenets_tars_of_classes(tmp_path):
    (tmp_path / "train").mkdir()
    for name in ("n01440764", "n02391049"):
        tar(tmp_path / "train" / f"{name}.tar", {"1.JPEG": png(3), "2.JPEG": png(4)})
    assert open_pictures(tmp_path).labels.tolist() == ["n01440764"] * 2 + ["n02391049"] * 2


def test_imagenets_archives_have_their_checksums(tmp_path, monkeypatch):
    import hashlib

    assert all(len(digest) == 32 for digest in layouts.ARCHIVES.values())
    with pytest.raises(DataError, match=r"holds no archive of ImageNet's; expected ILSVRC2012_img_train.tar"):
        layouts.verify_imagenet(tmp_path)
    monkeypatch.setitem(layouts.ARCHIVES, "ILSVRC2012_img_val.tar", hashlib.md5(b"pictures").hexdigest())
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(b"pictures")
    assert layouts.verify_imagenet(tmp_path) == ["ILSVRC2012_img_val.tar"]
    (tmp_path / "ILSVRC2012_img_val.tar").write_bytes(b"pictureS")
    with pytest.raises(
        DataError, match=r"ILSVRC2012_img_val.tar has the MD5 sum \w{32}; expected .* Download it again"
    ):
        layouts.verify_imagenet(tmp_path)


def test_bad_pictures_are_named_or_skipped(folder):
    (folder / "dark" / "cut.png").write_bytes(png(1, (64, 64), "RGB")[:60])
    (folder / "dark" / "text.png").write_bytes(b"hello")
    with pytest.raises(PictureError, match=r"1 of 32 pictures cannot be read: dark/text.png"):
        open_pictures(folder)
    source = open_pictures(folder, skip_bad=True, size=8, channels=1)
    pictures, rows = source.load()
    assert len(pictures) == len(rows) == 30
    assert {name for name, _ in source.skipped} == {"dark/cut.png", "dark/text.png"}
    (folder / "empty").mkdir()
    with pytest.raises(PictureError, match=r"1 of 3 sub-folders .* hold no pictures: 'empty'"):
        open_pictures(folder, skip_bad=True)
    with pytest.raises(ParameterError, match="size"):
        open_pictures(folder, size=0)


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9, 40])  # above the limit, and above twice the limit
def test_a_bomb_is_refused_where_pictures_are_streamed(folder, monkeypatch, side):
    (folder / "dark" / "bomb.png").write_bytes(png(1, (side, side)))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 64)
    source = open_pictures(folder, size=8, channels=1)  # sizes are given, so no headers are read first
    monkeypatch.setattr(PictureSource, "fits", lambda self: False)
    with pytest.raises(
        PictureError, match=r"bomb.png cannot be read \(more than 64 pixels, as in a decompression bomb\)"
    ):
        rb.CNNClassifier(epochs=1, verbose=0).fit(source)


def everything(folder):
    """Pictures of all kinds in one class each of grey and colour."""
    for name in ("a", "b"):
        (folder / name).mkdir()
    grey = np.arange(64, dtype=np.uint8).reshape(8, 8)
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = {
        "grey.png": (Image.fromarray(grey), {}),
        "rgba.png": (Image.new("RGBA", (8, 8), (255, 0, 0, 128)), {}),
        "deep.png": (Image.fromarray(np.full((8, 8), 25700, np.uint16)), {}),
        "cmyk.jpg": (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), {}),
        "moving.gif": (Image.new("P", (8, 8), 0), {"save_all": True, "append_images": [Image.new("P", (8, 8), 9)]}),
        "turned.jpg": (Image.fromarray(grey[:4]), {"exif": exif, "quality": 100}),
        "large.bmp": (Image.new("RGB", (20, 30), (1, 2, 3)), {}),
    }
    for i, (name, (image, options)) in enumerate(kinds.items()):
        image.save(folder / "ab"[i % 2] / name, **options)
    (folder / "a" / ".hidden.png").write_bytes(b"")
    (folder / "b" / "Thumbs.db").write_bytes(b"")
    return len(kinds)


@pytest.mark.parametrize("resident", [True, False])
def test_pictures_of_all_kinds_in_one_folder(tmp_path, monkeypatch, resident):
    count = everything(tmp_path)
    monkeypatch.setattr(PictureSource, "fits", lambda self: resident)
    model = rb.CNNClassifier(epochs=1, batch_size=4, random_state=0, verbose=0).fit(tmp_path)
    assert model.picture_shape_ == (8, 8, 3)  # the most common size; colour, since one has it
    source, whole = open_pictures(tmp_path), read_folder(tmp_path)
    assert len(source) == len(whole.pictures) == count
    assert (source.load()[0] == whole.pictures).all()
    seen = dict(zip((p.name for p in whole.paths), whole.pictures, strict=True))
    assert seen["rgba.png"][0, 0].tolist() == pytest.approx([255, 127, 127], abs=1)  # over white
    assert (seen["deep.png"] == 100).all()
    assert seen["cmyk.jpg"][0, 0].tolist() == pytest.approx([255, 0, 0], abs=2)
    assert (seen["moving.gif"] == seen["moving.gif"][0, 0]).all()  # the first picture of two
    assert seen["turned.jpg"][0].mean() < seen["turned.jpg"][0, 0].mean() + 40  # upright, 8 x 4, scaled and cut
    assert (seen["large.bmp"] == [1, 2, 3]).all()


def test_more_classes_than_pictures(tmp_path):
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "1.png").write_bytes(png(3))
    (tmp_path / "b" / "1.png").write_bytes(png(200))
    with pytest.raises(
        PictureError, match=r"1 of 3 sub-folders of .* hold no pictures: 'c'; expected at least one in each"
    ):
        rb.CNNClassifier(epochs=1, verbose=0).fit(tmp_path)
    (tmp_path / "c").rmdir()
    # one picture a class is few, but no mistake
    assert rb.CNNClassifier(epochs=1, verbose=0).fit(tmp_path).classes_.tolist() == ["a", "b"]


def test_nothing_readable_is_an_error(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x.png").write_bytes(b"hello")
    with pytest.raises(PictureError, match="cannot be read"):
        open_pictures(tmp_path, skip_bad=True)
    with pytest.raises(PictureError, match="none of 2 pictures can be read"):
        open_pictures(tmp_path, skip_bad=True, size=8, channels=1).load()


# ------------------------------------------------------------------------------------------------------- streaming


def test_streamed_training_is_resident_training_bit_for_bit(folder, monkeypatch):
    options = {"epochs": 2, "batch_size": 8, "random_state": 0, "verbose": 0, "plan": rb.Plan(augment="shift+flip")}
    resident = rb.CNNClassifier(**options).fit(folder)
    monkeypatch.setattr(sources, "free_memory", lambda: 0)
    streamed = rb.CNNClassifier(**options).fit(folder)
    assert "data_wait" not in resident.history_[0]
    assert all(0 <= row["data_wait"] <= 1 for row in streamed.history_)
    for a, b in zip(resident.module_.parameters(), streamed.module_.parameters(), strict=True):
        assert torch.equal(a, b)
    assert streamed.score(folder) == resident.score(folder)


def test_streamed_says_when_it_waits_and_passes_errors_on():
    import time

    def slow(rows):
        time.sleep(0.02)
        return np.zeros((len(rows), 2, 2, 1), np.uint8), rows

    data = Streamed(slow, torch.arange(6), device="cpu", batch_size=2, workers=1)
    assert len(data) == 3
    assert sorted(y for _, part, _ in data for y in part.tolist()) == list(range(6))
    assert data.wait_share > 0.8

    def broken(rows):
        raise PictureError("cat.png cannot be read")

    with pytest.raises(PictureError, match=r"cat\.png"):
        list(Streamed(broken, torch.arange(4), device="cpu", batch_size=2))
    with pytest.raises(ShapeError, match="4 targets and 3 weights"):
        Streamed(slow, torch.arange(4), torch.ones(3), device="cpu", batch_size=2)


def test_streamed_leaves_out_what_was_skipped():
    def holes(rows):
        kept = rows[rows % 3 != 0]
        return np.zeros((len(kept), 2, 2, 1), np.uint8), kept

    data = Streamed(holes, torch.arange(9), torch.arange(9.0), device="cpu", batch_size=1, shuffle=False)
    assert [int(y) for _, y, _ in data] == [1, 2, 4, 5, 7, 8]
    assert [float(w) for _, _, w in data] == [1, 2, 4, 5, 7, 8]


def test_free_memory_is_a_number():
    assert sources.free_memory() > 0
