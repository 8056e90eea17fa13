import base64
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import wave

import numpy as np
import pyarrow as pa
import pyarrow.parquet
import pytest
from PIL import Image

import rosenblatt as rb
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.errors import ParameterError
from rosenblatt.estimators.cnn_networks import NETWORKS
from rosenblatt.report import arts

QUICK = ("--max-iter", 300, "--tol", 10, "--random-state", 0, "--hidden-layer-sizes", 8, "--learning-rate-init", 0.1)
"""An MLP that stops after a dozen epochs and calls that converged."""


def fresh(*arguments, **options):
    """Run it in a process of its own."""
    command = [sys.executable, "-c", "from rosenblatt.cli import main; main()", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, **options)


@pytest.fixture
def table(tmp_path):
    """Two classes that a line through age and a category decides, with gaps."""
    source = np.random.default_rng(0)
    age, cook = source.uniform(20, 60, 240), source.integers(0, 2, 240)
    rows = [
        f"{'' if i % 17 == 0 else f'{a:.2f}'},{'cook' if c else 'smith'},{'yes' if a + 20 * c > 50 else 'no'}"
        for i, (a, c) in enumerate(zip(age, cook, strict=True))
    ]
    path = tmp_path / "people.csv"
    path.write_text("age,job,rich\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture
def model(run, table, tmp_path):
    done = run("train", "mlp", table, "--target", "rich", "--out", tmp_path / "m.safetensors", *QUICK)
    assert done.code == 0, done.err
    return tmp_path / "m.safetensors"


# -------------------------------------------------------------------------------------------------- first contact


def test_help_and_version_import_nothing_heavy():
    done = fresh("--help")
    assert done.returncode == 0
    assert all(
        word in done.stdout for word in ("systems", "demo", "history", "train", "predict", "evaluate", "inspect")
    )
    assert fresh("--version").stdout.strip() == rb.__version__
    for words in (["--help"], ["train", "mlp", "--help"]):
        code = (
            f"import sys; sys.argv = ['rosenblatt', *{words}]\nfrom rosenblatt.cli import main\n"
            "try:\n    main()\nexcept SystemExit:\n    pass\n"
            "sys.exit(any(m in sys.modules for m in ('torch', 'sklearn', 'numpy')))"
        )
        assert subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def test_systems(run):
    assert "LeNet-5 as published" in run("systems").out
    rows = json.loads(run("systems", "--json").out)
    assert [row["year"] for row in rows] == sorted(row["year"] for row in rows)
    for row in rows:
        if row["command"].startswith("train cnn"):
            assert row["command"].removeprefix("train cnn --network ") in NETWORKS
        elif row["command"]:  # "" is what the library alone has
            assert run(*row["command"].split(), "--help").code == 0
    names = {row["name"] for row in rows}
    assert names >= set(NETWORKS) | {"perceptron", "mlp", "shallow", "forecaster", "style", "rnn", "language"}


def test_the_help_of_a_system_shows_the_whole_names_of_its_options(run):
    said = run("train", "mlp", "--help").out
    assert "--hidden-layer-sizes" in said
    assert "--nesterovs-momentum" in said


# ------------------------------------------------------------------------------------------- train, use, inspect


def test_train_predict_evaluate_inspect(run, model, table, tmp_path):
    result = json.loads(run("evaluate", model, table, "--json").out)
    assert result["n"] == 240
    assert result["accuracy"] > 0.8
    lines = run("predict", model, table).out.splitlines()
    assert lines[0] == "prediction"
    assert len(lines) == 241
    assert set(lines[1:]) == {"yes", "no"}
    said = run("inspect", model).out
    assert "predicts rich (classification) from" in said
    assert "job: category" in said
    assert "layers.0" in said
    whole = json.loads(run("inspect", model, "--json").out)
    assert whole["preprocessing"]["target"] == "rich"
    assert whole["parameters"]["hidden_layer_sizes"] == "(8,)"


def test_predict_reads_another_format_and_writes_a_file(run, model, table, tmp_path):
    from rosenblatt.data.tables import read_table

    frame = read_table(table).drop_columns(["rich"])  # the target need not be there
    pa.parquet.write_table(frame, tmp_path / "new.parquet")
    out = tmp_path / "p.csv"
    done = run("predict", model, tmp_path / "new.parquet", "--out", out, "--proba")
    assert done.out.strip() == f"{out}: 240 predictions"
    header, first = out.read_text().splitlines()[:2]
    assert header == "prediction,p(no),p(yes)"
    assert sum(map(float, first.split(",")[1:])) == pytest.approx(1.0, abs=1e-6)
    again = run("predict", model, tmp_path / "new.parquet", "--out", out)
    assert (again.code, again.out) == (2, "")
    assert "exists already; nothing was done" in again.err


def test_the_file_that_was_trained_here_predicts_the_same_in_a_fresh_process(run, model, table):
    assert fresh("predict", model, table, "--proba").stdout == run("predict", model, table, "--proba").out


def test_regression_speaks_in_the_units_of_the_data(run, tmp_path):
    x = np.random.default_rng(0).normal(size=300)
    path = tmp_path / "t.csv"
    path.write_text("x,price\n" + "".join(f"{v:.5f},{50_000 + 9_000 * v:.2f}\n" for v in x))
    done = run(
        "train", "mlp", path, "--target", "price", "--out", tmp_path / "r", "--solver", "lbfgs", "--json",
        "--tol", 1e-3, "--random-state", 0,
    )  # fmt: skip
    assert done.code == 0, done.err
    result = json.loads(done.out)
    assert result["estimator"] == "MLPRegressor"
    assert result["held_out"]["rmse"] < 1_000
    values = [float(line) for line in run("predict", tmp_path / "r", path).out.splitlines()[1:]]
    assert 40_000 < np.mean(values) < 60_000


def test_the_perceptron_and_a_test_file(run, table, tmp_path):
    done = run("train", "perceptron", table, "--target", "rich", "--out", tmp_path / "p", "--test", table, "--json")
    assert json.loads(done.out)["held_out"]["n"] == 240
    refused = run("predict", tmp_path / "p", table, "--proba")
    assert refused.code == 2
    assert "Perceptron gives no probabilities" in refused.err


def test_unseen_categories_are_said(run, model, table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text("age,job\n33,pilot\n41,cook\n")
    done = run("predict", model, other)
    assert done.code == 0
    assert "1 values of column 'job' are unseen categories" in done.err


@pytest.fixture
def signs(tmp_path):
    """A folder of pictures of two classes that brightness of a half decides."""
    source = np.random.default_rng(0)
    for name in ("left", "right"):
        (tmp_path / "signs" / name).mkdir(parents=True)
        for i in range(24):
            pixels = source.integers(0, 90, (10, 10), np.uint8)
            pixels[:, slice(0, 5) if name == "left" else slice(5, 10)] += 120
            Image.fromarray(pixels).save(tmp_path / "signs" / name / f"{i}.png")
    return tmp_path / "signs"


def width_of(path):
    with Image.open(path) as picture:
        return picture.size[0]


def test_a_folder_of_pictures_from_training_to_pictures_of_the_network(run, signs, tmp_path):
    model = tmp_path / "signs.safetensors"
    done = run("train", "cnn", signs, "--out", model, "--epochs", 8, "--batch-size", 8, "--random-state", 0, "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["held_out"] == {"accuracy": 1.0, "n": 10}
    assert json.loads(run("evaluate", model, signs, "--json").out)["accuracy"] == 1.0
    rows = run("predict", model, signs / "left").out.splitlines()
    assert rows[0] == "path,prediction"
    assert {row.split(",")[1] for row in rows[1:]} == {"left"}
    done = run("inspect", model, signs, "--out", tmp_path / "drawn")
    assert done.code == 0, done.err
    assert {p.name for p in (tmp_path / "drawn").iterdir()} == {
        "filters.png",
        "gradient_norms.png",
        "feature_maps.png",
        "learning_curves.png",
        "receptive_fields.png",
        "class_pictures.png",
        "saliency.png",
        "confusion.png",
        "worst_mistakes.png",
    }
    assert width_of(tmp_path / "drawn" / "filters.png") > 100
    assert "exists already" in run("inspect", model, signs, "--out", tmp_path / "drawn").err


def test_bad_pictures_are_named_and_skipped_only_when_asked(run, signs, tmp_path):
    (signs / "left" / "broken.png").write_bytes((signs / "left" / "0.png").read_bytes()[:60])
    command = ["train", "cnn", signs, "--out", tmp_path / "m", "--epochs", 1, "--random-state", 0]
    done = run(*command)
    assert (done.code, done.out) == (2, "")
    assert "broken.png" in done.err
    assert "--skip-bad" in done.err
    done = run(*command, "--skip-bad")
    assert done.code == 0, done.err
    assert "skipped left/broken.png" in done.err


def test_a_folder_with_one_class_is_refused(run, signs, tmp_path):
    shutil.rmtree(signs / "right")
    done = run("train", "cnn", signs, "--out", tmp_path / "m")
    assert done.code == 2
    assert "LabelError" in done.err


def test_data_sets_by_name(run, tmp_path):
    done = run("train", "perceptron", "iris", "--out", tmp_path / "m", "--json", "--random-state", 0)
    assert done.code == 0, done.err
    assert json.loads(done.out)["held_out"]["n"] == 30
    assert run("evaluate", tmp_path / "m", "iris").code == 0
    done = run("train", "mlp", "digits", "--out", tmp_path / "d")
    assert done.code == 2
    assert "digits holds pictures. Use `rosenblatt train cnn digits`." in done.err
    done = run("train", "mlp", "irsi", "--out", tmp_path / "d")
    assert done.code == 2
    assert "Did you mean 'iris'?" in done.err


# -------------------------------------------------------------------------------------------------- the story


def test_history_of_a_table_a_folder_and_a_data_set(run, table, signs, tmp_path):
    done = run("history", table, "--target", "rich", "--seeds", 1, "--json")
    assert done.code == 0, done.err
    assert [row["year"] for row in json.loads(done.out)["rows"]] == [1958, 1986, 1995]
    done = run("history", signs, "--seeds", 1, "--out", tmp_path / "ladder.png")
    assert done.code == 0, done.err
    assert "Modern CNN" in done.out
    assert width_of(tmp_path / "ladder.png") > 500
    done = run("history", "wine", "--seeds", 2, "--out", tmp_path / "ladder.html")
    assert done.code == 0, done.err
    assert 'src="data:image/' in (tmp_path / "ladder.html").read_text()


def test_history_refuses_what_it_cannot_do(run, tmp_path):
    assert "expected .png, .svg, .pdf or .html" in run("history", "wine", "--out", tmp_path / "a.txt").err
    assert "is a regression" in run("history", "diabetes").err
    done = run("history", tmp_path / "nothing")
    assert done.code == 2
    assert "nothing" in done.err


def test_the_demo_writes_one_page_that_asks_for_nothing_from_elsewhere(run, tmp_path, monkeypatch):
    monkeypatch.delenv("ROSENBLATT_DATA", raising=False)
    monkeypatch.setattr(arts, "STEPS", 4)
    monkeypatch.setattr(arts, "PIXELS", 64)
    monkeypatch.setattr(arts, "EPOCHS", 3)
    done = run("demo", "--seeds", 1, "--out", tmp_path / "demo.html", "--json")
    assert done.code == 0, done.err
    rows = {row["key"]: row for row in json.loads(done.out)["rows"]}
    assert list(rows) == ["perceptron", "mlp", "svm", "lenet5", "quick"]
    assert rows["lenet5"]["parameters"] == 60_000
    assert rows["quick"]["error"] < 0.02 < rows["perceptron"]["error"]
    made = json.loads(done.out)["arts"]
    assert made["style_distance_after"] < made["style_distance_before"]
    assert made["nats_a_note"] < made["nats_a_note_untrained"]
    page = (tmp_path / "demo.html").read_text()
    sound = re.search(r'<audio controls src="data:audio/wav;base64,([^"]+)"', page).group(1)
    with wave.open(io.BytesIO(base64.b64decode(sound))) as file:
        assert file.getnframes() > 5 * file.getframerate()
    pictures = re.findall(r'<img src="data:image/jpeg;base64,([^"]+)"', page)
    assert [Image.open(io.BytesIO(base64.b64decode(p))).size for p in pictures] == 3 * [(64, 43)]
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert run("demo", "--out", tmp_path / "demo.html").code == 2


# -------------------------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--target", "rih"], "there is no column 'rih'; expected one of 'age', 'job', 'rich'. Did you mean 'rich'?"),
        ([], "--target is missing"),
        (["--target", "rich", "--solver", "adm"], "solver='adm'"),
        (["--target", "rich", "--hidden-layer-sizes", "a,b"], "expected integers with commas"),
        (["--target", "rich", "--holdout", "1.5"], "--holdout 1.5; expected a share"),
        (["--target", "rich", "--plan", "scheduel=cosine"], "Did you mean 'schedule'?"),
        (["--target", "rich", "--task", "regression"], "column 'rich' holds the text"),
        (["--target", "rich", "--categorical", "ag"], "Did you mean 'age'?"),
    ],
)
def test_wrong_use_is_code_two_with_one_line(run, table, tmp_path, arguments, words):
    done = run("train", "mlp", table, "--out", tmp_path / "m", *arguments)
    assert (done.code, done.out) == (2, "")
    assert words in done.err
    assert len(done.err.strip().splitlines()) == 1
    assert not (tmp_path / "m").exists()


def test_outputs_are_checked_before_the_work(run, table, tmp_path):
    (tmp_path / "m").write_text("mine")
    done = run("train", "mlp", table, "--target", "rich", "--out", tmp_path / "m")
    assert done.code == 2
    assert "exists already; nothing was done. Choose another path, or add --force." in done.err
    assert (tmp_path / "m").read_text() == "mine"
    assert "there is no folder" in run("train", "mlp", table, "--target", "rich", "--out", tmp_path / "no" / "m").err
    assert "is a folder" in run("train", "mlp", table, "--target", "rich", "--out", tmp_path).err
    done = run("train", "mlp", table, "--target", "rich", "--out", tmp_path / "m", "--force", *QUICK)
    assert done.code == 0, done.err


def test_renamed_columns_are_refused_by_name(run, model, table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("age,job", "Age,job", 1))
    done = run("evaluate", model, other)
    assert (done.code, done.out) == (2, "")
    assert "no column 'age'; expected the columns of the training data. Did you mean 'Age'?" in done.err


def test_labels_that_were_unseen_at_fit_are_refused(run, model, table, tmp_path):
    other = tmp_path / "other.csv"
    other.write_text(table.read_text().replace("yes", "maybe", 1))
    assert "unseen at fit" in run("evaluate", model, other).err


def test_one_class_and_one_row(run, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("x,y\n1,a\n2,a\n3,a\n4,a\n")
    assert "expected at least 2 classes" in run("train", "mlp", path, "--target", "y", "--out", tmp_path / "m").err
    path.write_text("x,y\n1,a\n")
    assert run("train", "mlp", path, "--target", "y", "--out", tmp_path / "m").code == 2


def test_bad_model_files_are_exit_code_two_with_one_line(run, tmp_path):
    done = fresh("inspect", tmp_path / "nothing.safetensors")
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no such model file" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "m").write_bytes(b"PK\x03\x04" + b"x" * 60)
    assert "ForeignFileError" in run("inspect", tmp_path / "m").err


def test_a_model_without_rules_for_tables_says_so(run, table, tmp_path):
    model = rb.MLPClassifier((2,), solver="lbfgs", tol=1.0, random_state=0).fit(np.eye(4), [0, 1, 0, 1])
    path = model.save(tmp_path / "m.safetensors")
    assert "without rules for tables" in run("predict", path, table).err


def test_divergence_is_a_failure_not_wrong_use(run, table, tmp_path):
    done = run(
        "train", "mlp", table, "--target", "rich", "--out", tmp_path / "m", "--solver", "sgd",
        "--learning-rate-init", 1e30, "--random-state", 0,
    )  # fmt: skip
    assert done.code == 1
    assert "DivergedError: Training diverged in epoch" in done.err
    assert not (tmp_path / "m").exists()


def test_ctrl_c_keeps_what_was_learned_and_says_so(table, tmp_path):
    command = ["train", "mlp", table, "--target", "rich", "--out", tmp_path / "m", "--max-iter", 10**6, "--tol", 0]
    command += ["--n-iter-no-change", 10**6]
    code = "from rosenblatt.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *map(str, command), "--verbose"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    process.stdout.readline()  # the first epoch is done
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 0, err
    assert "TrainingInterrupted: MLPClassifier: interrupted after" in err
    assert "trained on" in out
    assert rb.load(tmp_path / "m").n_iter_ > 0


# --------------------------------------------------------------------------------------------------- parsing


def test_values_are_parsed():
    widths = Parameter("hidden_layer_sizes", (100,), "", "")
    assert parse_value(widths, "50,20") == (50, 20)
    plain = Parameter("batch_size", "auto", "", "")
    assert [parse_value(plain, t) for t in ("auto", "32", "1e-3", "none")] == ["auto", 32, 1e-3, None]
    assert parse_plan([]) is None
    assert parse_plan(["schedule=cosine", "ema=0.9"]) == rb.Plan(schedule="cosine", ema=0.9)
    with pytest.raises(ParameterError, match="expected NAME=VALUE"):
        parse_plan(["schedule"])


def test_a_command_that_means_nothing_for_a_system_says_what_does(run, tmp_path):
    model = rb.Forecaster(horizon=2, window=4, epochs=1, verbose=0).fit([float(i % 5) for i in range(40)])
    path = model.save(tmp_path / "m.safetensors")
    for command in (("sample", path), ("evaluate", path, "x.csv")):
        done = run(*command)
        assert done.code == 2
        assert f"{command[0]}: means nothing for a Forecaster; expected predict or inspect." in done.err


def test_sampling_a_classifier_is_refused(run, tmp_path):
    model = rb.Perceptron().fit([[0.0], [1.0]] * 4, [0, 1] * 4)
    done = run("sample", model.save(tmp_path / "m.safetensors"))
    assert done.code == 2
    assert "sample: means nothing for a Perceptron; expected predict or evaluate or inspect." in done.err


def test_inspect_draws_the_paths_where_the_table_has_answers(run, model, table, tmp_path):
    from rosenblatt.data.tables import read_table

    done = run("inspect", model, table, "--out", tmp_path / "with")
    assert done.code == 0, done.err
    drawn = {path.stem for path in (tmp_path / "with").iterdir()}
    assert {"activations", "gradient_flow", "gradient_norms", "learning_curves"} <= drawn
    pa.parquet.write_table(read_table(table).drop_columns(["rich"]), tmp_path / "without.parquet")
    done = run("inspect", model, tmp_path / "without.parquet", "--out", tmp_path / "without")
    assert done.code == 0, done.err
    assert drawn - {path.stem for path in (tmp_path / "without").iterdir()} == {"gradient_flow", "paths"} & drawn


def test_the_package_is_run_as_a_module():
    done = subprocess.run([sys.executable, "-m", "rosenblatt", "--help"], capture_output=True, text=True, check=True)
    assert "attack" in done.stdout
