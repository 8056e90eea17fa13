import json
import subprocess
import sys
import time

import numpy as np

import rosenblatt as rb


def run(*arguments):
    command = [sys.executable, "-c", "from rosenblatt.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60)


def test_help_and_version_import_nothing_heavy():
    done = run("--help")
    assert done.returncode == 0
    assert "systems" in done.stdout
    assert run("--version").stdout.strip() == rb.__version__
    code = (
        "import sys; sys.argv = ['rosenblatt', '--help']\nfrom rosenblatt.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'numpy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_systems():
    assert "LeNet-5 as published" in run("systems").stdout
    names = {row["name"] for row in json.loads(run("systems", "--json").stdout)}
    assert names == {
        "perceptron",
        "mlp",
        "shallow",
        "lenet5",
        "quick",
    }


def test_describe(tmp_path):
    model = rb.MLPClassifier((2,), solver="lbfgs", tol=1.0, random_state=0).fit(np.eye(4), [0, 1, 0, 1])
    path = model.save(tmp_path / "m.safetensors")
    assert run("describe", path).stdout.startswith("MLPClassifier(")
    assert json.loads(run("describe", path, "--json").stdout)["estimator"] == "MLPClassifier"


def test_bad_files_are_exit_code_two_with_one_line(tmp_path):
    started = time.monotonic()
    done = run("describe", tmp_path / "nothing.safetensors")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no such model file" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "m").write_bytes(b"PK\x03\x04" + b"x" * 60)
    assert "ForeignFileError" in run("describe", tmp_path / "m").stderr
    assert time.monotonic() - started < 60
