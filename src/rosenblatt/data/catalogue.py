"""The closed catalogue of data sets: their files with checksums, where those are, and how they are read."""

from __future__ import annotations

import io
import tarfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt.data.idx import read_idx
from rosenblatt.errors import DataError

Part = tuple[Any, np.ndarray]  # X and y


@dataclass(frozen=True)
class File:
    """A file of a data set; ``also`` are other places below a folder of data sets, with other packing or layout."""

    name: str
    size: int
    sha256: str
    urls: tuple[str, ...] = ()
    also: tuple[str, ...] = ()


@dataclass(frozen=True)
class Entry:
    """A data set: files of each split, and the reader of one split from the paths of its files."""

    splits: dict[str, tuple[File, ...]]
    read: Callable[[str, list[Path]], Part]
    licence: str
    citation: str
    description: str
    target_names: tuple[str, ...] | None = None
    feature_names: tuple[str, ...] | None = None


def _digits(split: str, paths: list[Path]) -> Part:
    """MNIST and its kin: pictures and labels as idx."""
    X, y = (read_idx(path, who="fetch") for path in paths)
    if X.dtype != np.uint8 or X.shape[1:] != (28, 28) or y.ndim != 1 or len(X) != len(y) or not len(y) or y.max() > 9:
        raise DataError(
            f"fetch: {paths[0]} and {paths[1]} hold {X.shape} {X.dtype} and {y.shape} {y.dtype}; expected (N, 28, 28) "
            "uint8 and N labels from 0 to 9. Fetch them again."
        )
    return X[..., None], y.astype(np.int64)


def _cifar10(split: str, paths: list[Path]) -> Part:
    """The binary version of CIFAR-10: records of a label and 3 x 32 x 32 bytes; nothing is unpickled or unpacked."""
    names = [f"data_batch_{i}.bin" for i in range(1, 6)] if split == "train" else ["test_batch.bin"]
    try:
        with tarfile.open(paths[0]) as archive:
            parts = [archive.extractfile(f"cifar-10-batches-bin/{name}") for name in names]
            data = b"".join(part.read() for part in parts if part is not None)
    except (tarfile.TarError, OSError, EOFError, KeyError, zlib.error) as error:
        raise DataError(f"fetch: {paths[0]} is damaged ({error}); expected the binary version of CIFAR-10.") from error
    if len(data) != len(names) * 10000 * 3073:
        raise DataError(f"fetch: {paths[0]} holds {len(data)} bytes of pictures; expected {len(names) * 30730000}.")
    rows = np.frombuffer(data, np.uint8).reshape(-1, 3073)
    X = np.ascontiguousarray(rows[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
    return X, rows[:, 0].astype(np.int64)


def _npz(split: str, paths: list[Path]) -> Part:
    """Arrays x_train, y_train, x_test, y_test of one .npz."""
    try:
        with np.load(paths[0], allow_pickle=False) as arrays:
            X, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
    except Exception as error:  # numpy, zipfile and lzma each raise their own
        raise DataError(f"fetch: {paths[0]} is damaged ({error}); expected an .npz with x_{split}.") from error
    if X.dtype != np.uint8 or X.ndim != 4 or y.ndim != 1 or len(X) != len(y):
        raise DataError(f"fetch: {paths[0]} holds {X.shape} {X.dtype} and {y.shape}; expected (N, H, W, C) uint8, N.")
    return X, y.astype(np.int64)


def _csv(names: tuple[str, ...] | None, target: str, drop: tuple[str, ...] = (), labels: bool = False) -> Any:
    """Reader of a CSV with a header, or without one where the names are given."""

    def read(split: str, paths: list[Path]) -> Part:
        from rosenblatt.data.tables import read_table

        source: Any = paths[0]
        if names is not None:
            source = _headless(paths[0], names)
        table = read_table(source, who="fetch")
        wanted = list(names or ()) or [*table.column_names]
        if target not in table.column_names or wanted != list(table.column_names):
            raise DataError(f"fetch: {paths[0]} has the columns {table.column_names}; expected {target!r} among them.")
        y = table.column(target).to_numpy(zero_copy_only=False)
        if labels:  # the test file of adult ends its labels with a full stop
            y = np.array([str(value).rstrip(".") for value in y])
        X: Any = table.drop_columns([target, *drop])
        if all(str(field.type) in ("int64", "double") for field in X.schema) and not any(
            c.null_count for c in X.columns
        ):
            X = np.column_stack([column.to_numpy() for column in X.columns]).astype(np.float64)
        return X, y if labels or y.dtype.kind == "i" else y.astype(np.float64)

    return read


def _headless(path: Path, names: tuple[str, ...]) -> Any:
    import pyarrow as pa
    import pyarrow.csv

    from rosenblatt.data.columns import parse_text

    lines = [line for line in path.read_bytes().splitlines() if line.strip() and not line.startswith(b"|")]
    if lines and lines[0].startswith(b'"'):  # a header, and the original's delimiter
        lines = [line.replace(b";", b",") for line in lines[1:]]
    try:
        table = pa.csv.read_csv(
            io.BytesIO(b"\n".join(lines)),
            read_options=pa.csv.ReadOptions(column_names=list(names)),
            convert_options=pa.csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string())),
        )
    except pa.ArrowException as error:
        raise DataError(f"fetch: {path} is damaged ({error}); expected {len(names)} columns.") from error
    return pa.table([parse_text(column) for column in table.columns], names=list(names))


def _idx_files(folder: str, bases: tuple[str, ...], sums: tuple[tuple[str, int, str], ...]) -> dict[str, Any]:
    files = [
        File(name + ".gz", size, sha, tuple(base + name + ".gz" for base in bases), (f"{folder}/{name}",))
        for name, size, sha in sums
    ]
    return {"train": tuple(files[:2]), "test": tuple(files[2:])}


_MNIST = _idx_files(
    "mnist",
    ("https://ossci-datasets.s3.amazonaws.com/mnist/", "https://storage.googleapis.com/cvdf-datasets/mnist/"),
    (
        ("train-images-idx3-ubyte", 9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
        ("train-labels-idx1-ubyte", 28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
        ("t10k-images-idx3-ubyte", 1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
        ("t10k-labels-idx1-ubyte", 4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
    ),
)
_FASHION = _idx_files(
    "fashion-mnist",
    (
        "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/",
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
    ),
    (
        ("train-images-idx3-ubyte", 26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
        ("train-labels-idx1-ubyte", 29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
        ("t10k-images-idx3-ubyte", 4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
        ("t10k-labels-idx1-ubyte", 5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
    ),
)
_UCI = "https://archive.ics.uci.edu/ml/machine-learning-databases/"
_CIFAR = File(
    "cifar-10-binary.tar.gz",
    170052171,
    "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd",
    ("https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz",),
)
_CIFAR_SUBSET = File(
    "cifar10_10k_2k.npz",
    27947370,
    "b0a6828954624be9e8dde368d6f8b19cedeb8486c9c0bb4c7e1b9ab677eede1d",
    (),
    ("cifar10_subset/cifar10_10k_2k.npz",),
)
_ADULT = {
    "train": File(
        "adult.data",
        3974305,
        "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
        (_UCI + "adult/adult.data",),
        ("tabular/adult-train.csv",),
    ),
    "test": File(
        "adult.test",
        2003153,
        "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
        (_UCI + "adult/adult.test",),
        ("tabular/adult-test.csv",),
    ),
}
_HOUSING = File(
    "housing.csv",
    1423529,
    "8a3727f4cf54ac1a327f69b1d5b4db54c5834ea81c6e4efc0d163300022a685e",
    ("https://raw.githubusercontent.com/ageron/handson-ml2/master/datasets/housing/housing.csv",),
    ("tabular/california_housing.csv",),
)
_TITANIC = File(
    "titanic.csv",
    57018,
    "81787d320d7f7b03df935e91de8bd19e11d45c5bbcab86ef4d4a76dc91b7d4f2",
    ("https://raw.githubusercontent.com/mwaskom/seaborn-data/master/titanic.csv",),
    ("tabular/titanic.csv",),
)


def _wine(colour: str, size: int, sha256: str) -> Entry:
    name = f"winequality-{colour}.csv"
    file = File(name, size, sha256, (f"{_UCI}wine-quality/{name}",), (f"tabular/{name}",))
    names = (
        *("fixed acidity", "volatile acidity", "citric acid", "residual sugar", "chlorides", "free sulfur dioxide"),
        *("total sulfur dioxide", "density", "pH", "sulphates", "alcohol"),
    )
    return Entry(
        {"train": (file,)},
        _csv((*names, "quality"), "quality"),
        "CC BY 4.0",
        "Cortez et al., Modeling wine preferences by data mining from physicochemical properties, 2009.",
        f"{colour.capitalize()} wines: 11 measurements, and the quality in integers as the target.",
        None,
        names,
    )


_ADULT_NAMES = (
    *("age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation", "relationship"),
    *("race", "sex", "capital-gain", "capital-loss", "hours-per-week", "native-country", "income"),
)
_CIFAR_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
_FASHION_NAMES = (
    *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
)
_KRIZHEVSKY = "Krizhevsky, Learning multiple layers of features from tiny images, 2009."

CATALOGUE: dict[str, Entry] = {
    "mnist": Entry(
        _MNIST,
        _digits,
        "CC BY-SA 3.0",
        "LeCun, Bottou, Bengio and Haffner, Gradient-based learning applied to document recognition, 1998.",
        "Handwritten digits: 60,000 for training, 10,000 for testing, 28 x 28 grey.",
        tuple("0123456789"),
    ),
    "fashion-mnist": Entry(
        _FASHION,
        _digits,
        "MIT",
        "Xiao, Rasul and Vollgraf, Fashion-MNIST, 2017, arXiv:1708.07747.",
        "Clothes: 60,000 for training, 10,000 for testing, 28 x 28 grey.",
        _FASHION_NAMES,
    ),
    "cifar10": Entry(
        {"train": (_CIFAR,), "test": (_CIFAR,)},
        _cifar10,
        "not stated by its authors",
        _KRIZHEVSKY,
        "Small photographs: 50,000 for training, 10,000 for testing, 32 x 32 RGB.",
        _CIFAR_NAMES,
    ),
    "cifar10-subset": Entry(
        {"train": (_CIFAR_SUBSET,), "test": (_CIFAR_SUBSET,)},
        _npz,
        "not stated by its authors",
        _KRIZHEVSKY,
        "Every fifth picture of each class of CIFAR-10: 10,000 and 2,000, ordered by class (shuffle). Not downloaded.",
        _CIFAR_NAMES,
    ),
    "adult": Entry(
        {split: (file,) for split, file in _ADULT.items()},
        _csv(_ADULT_NAMES, "income", labels=True),
        "CC BY 4.0",
        "Kohavi and Becker, Adult, UCI Machine Learning Repository, 1996.",
        "Census of 1994: who earns more than 50,000 dollars; 32,561 and 16,281 rows, some values missing.",
        ("<=50K", ">50K"),
    ),
    "california": Entry(
        {"train": (_HOUSING,)},
        _csv(None, "median_house_value"),
        "Apache-2.0 (the file); US census (the data)",
        "Pace and Barry, Sparse spatial autoregressions, 1997; file of Géron, Hands-On Machine Learning.",
        "Blocks of houses in California in 1990: the median value as the target; some values missing, one column text.",
    ),
    "titanic": Entry(
        {"train": (_TITANIC,)},
        _csv(None, "survived", drop=("alive",)),
        "not stated by its authors",
        "seaborn-data, titanic.csv.",
        "Passengers of the Titanic: who survived; the column `alive`, which repeats the target, is left out.",
        ("died", "survived"),
    ),
    "winequality-red": _wine("red", 84199, "4a402cf041b025d4566d954c3b9ba8635a3a8a01e039005d97d6a710278cf05e"),
    "winequality-white": _wine("white", 264426, "76c3f809815c17c07212622f776311faeb31e87610d52c26d87d6e361b169836"),
}

BUNDLED = {
    "digits": "load_digits",
    "iris": "load_iris",
    "wine": "load_wine",
    "breast-cancer": "load_breast_cancer",
    "diabetes": "load_diabetes",
}
"""Data sets that come with scikit-learn, and the function that loads each."""
