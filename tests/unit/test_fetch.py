import hashlib
import http.server
import threading

import numpy as np
import pytest

from rosenblatt.data import fetch as module
from rosenblatt.data.catalogue import CATALOGUE, File
from rosenblatt.data.fetch import datasets, fetch, find
from rosenblatt.errors import DataError, FetchError, ParameterError

DATA = bytes(range(256)) * 40


class _Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(404 if self.path == "/none" else 200)
        self.send_header("Content-Length", str(len(DATA)))
        self.end_headers()
        body = {"/cut": DATA[:1000], "/wrong": DATA[::-1], "/long": DATA * 2}.get(self.path, DATA)
        self.wfile.write(body if self.path != "/none" else b" " * len(DATA))

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("ROSENBLATT_DATA", raising=False)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def file(*urls):
    return File("a.bin", len(DATA), hashlib.sha256(DATA).hexdigest(), urls)


def test_good_download_is_kept(server, tmp_path):
    path = find("set", file(server + "/none", server + "/good"), tmp_path)
    assert path.read_bytes() == DATA
    assert find("set", file(), tmp_path) == path
    path.write_bytes(DATA[:-1])
    with pytest.raises(FetchError, match="Delete it"):
        find("set", file(server + "/good"), tmp_path)


@pytest.mark.parametrize(
    ("place", "words"), [("none", "Not Found"), ("cut", "cut after|IncompleteRead"), ("wrong", "wrong SHA-256")]
)
def test_bad_download_leaves_nothing(server, tmp_path, place, words):
    with pytest.raises(FetchError, match=words) as caught:
        find("set", file(f"{server}/{place}"), tmp_path)
    assert str(tmp_path / "set" / "a.bin") in str(caught.value)
    assert list((tmp_path / "set").iterdir()) == []


def test_offline(tmp_path, monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(FetchError, match="refused"):
        find("set", file("http://127.0.0.1:9/a"), tmp_path)


def test_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "set").write_bytes(b"")
    with pytest.raises(FetchError, match="ROSENBLATT_CACHE"):
        find("set", file(server + "/good"), tmp_path)


def test_names():
    assert {"mnist", "cifar10", "digits"} <= set(datasets())
    with pytest.raises(ParameterError, match="Did you mean 'mnist'"):
        fetch("minst")
    with pytest.raises(ParameterError, match="no test split"):
        fetch("iris", split="test")


@pytest.mark.parametrize("name", ["digits", "iris", "wine", "breast-cancer", "diabetes"])
def test_bundled(name):
    data = fetch(name)
    assert len(data.X) == len(data.y)
    assert data.X_test is None
    assert data.description


def test_own_folder_is_checked_for_format(tmp_path, monkeypatch):
    monkeypatch.setenv("ROSENBLATT_DATA", str(tmp_path))
    (tmp_path / "mnist").mkdir()
    X = bytes([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 28, 0, 0, 0, 28]) + bytes(1568)
    (tmp_path / "mnist" / "train-images-idx3-ubyte").write_bytes(X)
    labels = tmp_path / "mnist" / "train-labels-idx1-ubyte"
    labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 2, 3, 4]))
    data = fetch("mnist", split="train")
    assert data.X.shape == (2, 28, 28, 1)
    assert data.y.tolist() == [3, 4]
    labels.write_bytes(bytes([0, 0, 8, 1, 0, 0, 0, 1, 3]))
    with pytest.raises(DataError, match="expected"):
        fetch("mnist", split="train")


def test_checksums_are_whole():
    for entry in CATALOGUE.values():
        for files in entry.splits.values():
            assert all(len(f.sha256) == 64 and f.size > 0 for f in files)


@pytest.mark.data("mnist")
def test_mnist():
    data = fetch("mnist", split="test")
    assert data.X.shape == (10000, 28, 28, 1)
    assert np.bincount(data.y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]


@pytest.mark.data("tabular")
def test_adult():
    data = fetch("adult")
    assert (len(data.X), len(data.X_test)) == (32561, 16281)
    assert sorted(set(data.y_test)) == ["<=50K", ">50K"]
    assert fetch("winequality-red").X.shape == (1599, 11)


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("ROSENBLATT_CACHE", str(tmp_path))
    assert module.cache_folder() == tmp_path
