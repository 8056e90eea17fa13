"""The command line; nothing here learns, it only calls the estimators.

Exit codes: 0 done, 2 wrong use or bad data, 1 failure. Results go to stdout, messages to stderr.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from rosenblatt.cli import train as _train
from rosenblatt.cli.train import check_output, say, words

SYSTEMS = (
    ("perceptron", "Perceptron", 1958, "threshold units, Rosenblatt's rule"),
    ("mlp", "MLPClassifier, MLPRegressor", 1986, "multilayer perceptron with backpropagation"),
    ("shallow", "shallow_baseline", 1995, "feature selection and support vector machine"),
    ("forecaster", "Forecaster", 1997, "recurrent network for time series, beside three baselines"),
    ("rnn", "RNNClassifier", 1997, "recurrent classifier of texts and series"),
    ("language", "LanguageModel", 1997, "recurrent language model, or a small Transformer (2017)"),
    ("lenet5", "CNNClassifier(network='lenet5')", 1998, "LeNet-5 as published"),
    (
        "autoencoder",
        "Autoencoder",
        2006,
        "nonlinear PCA: dense or convolutional, denoising, sparse, contractive, masked",
    ),
    ("alexnet-2012", "CNNClassifier(network='alexnet-2012')", 2012, "AlexNet as published: two towers"),
    ("vae", "VariationalAutoencoder", 2013, "codes, samples and likelihoods of tables and pictures"),
    ("alexnet", "CNNClassifier(network='alexnet')", 2014, "AlexNet in one tower, takes published weights"),
    ("gan", "GAN", 2014, "generator and critic; DCGAN, style-based; pictures and tables"),
    ("translator", "Translator", 2014, "attention-GRU or Transformer (2017) for pairs of sentences"),
    ("resnet", "CNNClassifier(network='resnet')", 2015, "small residual network"),
    ("style", "StyleTransfer", 2016, "a picture in the style of another (Gatys; Johnson; AdaIN)"),
    ("face-swap", "FaceSwap", 2017, "a person's face with another's pose and expression; with consent, marked"),
    ("quick", "CNNClassifier(network='quick')", 2018, "small modern convolutional network"),
    (
        "robust",
        "CNNClassifier(network='robust')",
        2018,
        "small convolutional network that takes training against attacks",
    ),
    ("composer", "Composer", 2019, "music from MIDI files: relative Transformer, GRU, chorales in voices"),
    ("semantic-gan", "SemanticGAN", 2019, "photographs from label maps (GauGAN), with styles; repaint and render"),
    ("airbench", "CNNClassifier(network='airbench')", 2024, "small photographs in few passes: whitening, Muon"),
)
"""Name, estimator, year, what it is; the oldest first."""


def _command(name: str, estimator: str) -> str:
    """How a system is trained from the command line; "" where it is not."""
    if name in ("shallow", "style"):
        return {"shallow": "", "style": "stylize"}[name]
    return f"train cnn --network {name}" if estimator.startswith("CNNClassifier(") else f"train {name}"


app = typer.Typer(
    help="The deep-learning canon: classic networks on your own data.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # its tables cut the names of long options at 80 columns
)
app.add_typer(_train.app, name="train")

_Text = Optional[str]  # noqa: UP045 - typer of older versions reads this form only
_Texts = Optional[list[str]]  # noqa: UP045
_Integer = Optional[int]  # noqa: UP045
_Number = Optional[float]  # noqa: UP045
Json = Annotated[bool, typer.Option("--json", help="Machine-readable.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite outputs.")]
Model = Annotated[Path, typer.Argument(help="A model file.", show_default=False)]
Data = Annotated[str, typer.Argument(help="A CSV or Parquet file, a folder of pictures, or a data set's name.")]
Names = Annotated[
    Optional[str],  # noqa: UP045 - typer of older versions reads this form only
    typer.Option(help="Column names with commas, for a file without a line of names."),
]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Leave unreadable pictures out.")]


@app.callback(invoke_without_command=True)
def _root(version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False) -> None:
    if version:
        from rosenblatt import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.command()
def systems(as_json: Json = False) -> None:
    """List the systems that can be trained."""
    rows = [
        {"name": name, "estimator": estimator, "year": year, "what": what, "command": _command(name, estimator)}
        for name, estimator, year, what in SYSTEMS
    ]
    if as_json:
        typer.echo(json.dumps(rows))
        return
    estimators, commands = (max(len(row[key]) for row in rows) for key in ("estimator", "command"))
    for row in rows:
        typer.echo(
            f"{row['year']}  {row['estimator']:<{estimators}}  {row['command'] or '-':<{commands}}  {row['what']}"
        )


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="The report to write.")] = Path("rosenblatt-demo.html"),
    data: Annotated[str, typer.Option(help="Name of a data set; MNIST where ROSENBLATT_DATA has it.")] = "auto",
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network.")] = 3,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Tell the story of the field on real digits, from the perceptron to the convnet, and write a report."""
    check_output(out, force=force)
    from rosenblatt.cli import story

    story.demo(out, data, seeds=seeds, force=force, as_json=as_json)


@app.command()
def history(
    data: Data,
    target: Annotated[Optional[str], typer.Option(help="The column to predict, for a table.")] = None,  # noqa: UP045
    out: Annotated[
        Optional[Path],  # noqa: UP045
        typer.Option("--out", "-o", help="A picture (.png, .svg, .pdf) or report (.html)."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network.")] = 3,
    names: Names = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Train the networks of each era on the same data and compare error, size and time by year."""
    if out is not None:
        check_output(out, force=force)
    from rosenblatt.cli import story

    story.history(
        data, target=target, out=out, seeds=seeds, names=words(names), skip_bad=skip_bad, force=force, as_json=as_json
    )


@app.command()
def predict(
    model: Model,
    data: Data,
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="A CSV file instead of stdout.")] = None,  # noqa: UP045
    proba: Annotated[bool, typer.Option("--proba", help="Add a column of probability for each class.")] = False,
    horizon: Annotated[Optional[int], typer.Option(min=1, help="Steps, of a forecaster.")] = None,  # noqa: UP045
    names: Names = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Predict each row of a table, each picture of a folder, or the next steps of a series."""
    if out is not None:
        check_output(out, force=force)
    from rosenblatt.cli import use

    use.predict(
        model, data, out=out, proba=proba, horizon=horizon, names=words(names), skip_bad=skip_bad, force=force,
        as_json=as_json,
    )  # fmt: skip


@app.command()
def export(
    model: Model,
    out: Annotated[Path, typer.Argument(help="The ONNX file to write.", show_default=False)],
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Write a model as ONNX, after comparing it with onnxruntime on random inputs."""
    check_output(out, force=force)
    import rosenblatt
    from rosenblatt.export import export as write

    done = write(rosenblatt.load(model, device="cpu"), out, overwrite=force)
    result = {"out": str(out), "inputs": done.inputs, "outputs": done.outputs, "difference": done.difference}
    said = f"{out}: {', '.join(done.inputs)} -> {', '.join(done.outputs)}; largest difference {done.difference:.1e}"
    typer.echo(json.dumps(result) if as_json else said)


@app.command()
def evaluate(model: Model, data: Data, names: Names = None, skip_bad: SkipBad = False, as_json: Json = False) -> None:
    """Score a model on another file with known answers."""
    from rosenblatt.cli import use

    use.evaluate(model, data, names=words(names), skip_bad=skip_bad, as_json=as_json)


@app.command()
def attack(
    model: Model,
    data: Data,
    eps: Annotated[
        str,
        typer.Option(
            help="Radius, or several with commas; 8-bit pictures are on the scale 0 to 1, a table's columns in deviations."
        ),
    ] = "0.1",
    norm: Annotated[str, typer.Option(help="l1, l2 or linf.")] = "linf",
    samples: Annotated[int, typer.Option(help="Inputs to attack, drawn at random.")] = 200,
    bounds: Annotated[
        Optional[str],  # noqa: UP045
        typer.Option(
            help="Lowest and highest value of an input, as 0,1; of a table's columns, as age=0:120,pay=0:9000."
        ),
    ] = None,
    fixed: Annotated[Optional[str], typer.Option(help="Columns of a table that do not change, with commas.")] = None,  # noqa: UP045
    integer: Annotated[Optional[str], typer.Option(help="Columns of whole numbers, with commas.")] = None,  # noqa: UP045
    steps: Annotated[int, typer.Option(help="Gradient steps of each attack.")] = 100,
    queries: Annotated[int, typer.Option(help="Queries of the black-box attack.")] = 1000,
    substitutions: Annotated[int, typer.Option(help="Most words or characters of a text that are exchanged.")] = 3,
    smooth: Annotated[
        Optional[float],  # noqa: UP045
        typer.Option(
            help="Deviation of noise: prove the answers by randomized smoothing, at l2 radii EPS, and attack the proofs."
        ),
    ] = None,
    draws: Annotated[int, typer.Option(help="Noisy copies of an input that a proof rests on.")] = 1000,
    seed: Annotated[int, typer.Option(help="Of the draw and the attacks.")] = 0,
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="A report, .html or .json.")] = None,  # noqa: UP045
    names: Names = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Attack a classifier (robust accuracy, and whether the figure can be believed) or a forecaster."""
    from rosenblatt.cli import robustness

    robustness.attack(
        model, data, eps=eps, norm=norm, samples=samples, bounds=bounds, fixed=words(fixed) or [],
        integer=words(integer) or [], steps=steps, queries=queries, substitutions=substitutions, smooth=smooth,
        draws=draws, seed=seed, out=out, names=words(names), skip_bad=skip_bad, force=force, as_json=as_json,
    )  # fmt: skip


@app.command()
def inspect(
    model: Model,
    data: Annotated[Optional[str], typer.Argument(help="Data to show the network at work on.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="A folder for the pictures.")] = None,  # noqa: UP045
    names: Names = None,
    skip_bad: SkipBad = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Say what a model file holds (layers, parameters, preprocessing, training record), and draw it."""
    from rosenblatt.cli import use

    use.inspect(model, data, out=out, names=words(names), skip_bad=skip_bad, force=force, as_json=as_json)


@app.command()
def sample(
    model: Model,
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="The file to write instead of stdout.")] = None,  # noqa: UP045
    prompt: Annotated[_Text, typer.Option(help="What the sample begins with: text, or a file.")] = None,
    label: Annotated[_Text, typer.Option(help="The class or style to draw from.")] = None,
    count: Annotated[_Integer, typer.Option(min=1, help="Samples.")] = None,
    length: Annotated[_Integer, typer.Option(min=1, help="Length of each, in the model's units.")] = None,
    temperature: Annotated[_Number, typer.Option(min=0, help="Below 1 keeps to the likely, above 1 strays.")] = None,
    top_k: Annotated[_Integer, typer.Option(min=1, help="Draw from the k likeliest only.")] = None,
    top_p: Annotated[_Number, typer.Option(min=0, max=1, help="Draw from the likeliest share only.")] = None,
    option: Annotated[_Texts, typer.Option(help="NAME=VALUE of the system's own; may be repeated.")] = None,
    random_state: Annotated[Optional[int], typer.Option(help="Seed.")] = None,  # noqa: UP045
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Draw text, music, pictures or rows from a model that has learned a distribution."""
    if out is not None:
        check_output(out, force=force)
    from rosenblatt.cli import use

    given = {
        "prompt": prompt, "label": label, "count": count, "length": length, "temperature": temperature, "top_k": top_k,
        "top_p": top_p, "random_state": random_state,
    }  # fmt: skip
    use.sample(model, given, option or [], out=out, force=force, as_json=as_json)


@app.command()
def translate(
    model: Model,
    text: Annotated[_Texts, typer.Argument(help="Sentences; left out, they are read from --file or stdin.")] = None,
    file: Annotated[Optional[Path], typer.Option("--file", "-f", help="A file with one sentence a line.")] = None,  # noqa: UP045
    out: Annotated[Optional[Path], typer.Option("--out", "-o", help="The file to write instead of stdout.")] = None,  # noqa: UP045
    direction: Annotated[str, typer.Option(help="forward or backward.")] = "forward",
    beam: Annotated[int, typer.Option(help="Translations under way at a time; 1 is greedy.")] = 5,
    length_penalty: Annotated[float, typer.Option(help="0 prefers short translations.")] = 1.0,
    coverage_penalty: Annotated[float, typer.Option(help="Above 0 shuns what leaves words unseen.")] = 0.0,
    batch_size: Annotated[int, typer.Option(help="Sentences side by side.")] = 64,
    align: Annotated[bool, typer.Option("--align", help="Show where each word looked.")] = False,
    encoding: Annotated[str, typer.Option(help="Of the file.")] = "utf-8",
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Translate sentences: given here, in a file, from stdin, or typed one by one on a terminal."""
    if out is not None:
        check_output(out, force=force)
    from rosenblatt.cli import translation as command

    options = {
        "direction": direction, "beam": beam, "length_penalty": length_penalty, "coverage_penalty": coverage_penalty,
        "batch_size": batch_size,
    }  # fmt: skip
    command.translate(
        model, text or [], file=file, out=out, options=options, align=align, encoding=encoding, force=force,
        as_json=as_json,
    )  # fmt: skip


@app.command()
def stylize(
    content: Annotated[Path, typer.Argument(help="The picture whose content is kept.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The picture to write (.png, .jpg, ...).", show_default=False)
    ],
    style: Annotated[Optional[list[Path]], typer.Option(help="A style picture; may be repeated.")] = None,  # noqa: UP045
    weight: Annotated[Optional[list[float]], typer.Option(help="Weight of each style, in their order.")] = None,  # noqa: UP045
    method: Annotated[str, typer.Option(help="gatys, johnson or adain.")] = "gatys",
    network: Annotated[str, typer.Option(help="auto, vgg19, squeezenet or small.")] = "auto",
    size: Annotated[int, typer.Option(help="Longest side in pixels of the work.")] = 512,
    steps: Annotated[Optional[int], typer.Option(help="Steps; 300, 2000 or 4000 by method.")] = None,  # noqa: UP045
    style_weight: Annotated[Optional[float], typer.Option(help="Weight of the style beside 1 of the content.")] = None,  # noqa: UP045
    alpha: Annotated[float, typer.Option(help="Share of the style, 0 to 1.")] = 1.0,
    color: Annotated[str, typer.Option(help="style, luminance or match.")] = "style",
    photos: Annotated[Path | None, typer.Option(help="Folder of photographs that johnson and adain learn on.")] = None,
    model: Annotated[Optional[Path], typer.Option(help="A trained StyleTransfer instead of training one.")] = None,  # noqa: UP045
    save: Annotated[Optional[Path], typer.Option(help="Write the model here.")] = None,  # noqa: UP045
    random_state: Annotated[Optional[int], typer.Option(help="Seed.")] = None,  # noqa: UP045
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Paint a picture in the style of others."""
    from rosenblatt.cli import style as command

    parameters = {
        "method": method, "network": network, "size": size, "steps": steps, "style_weight": style_weight,
        "random_state": random_state,
    }  # fmt: skip
    command.stylize(
        content, style=style or [], weight=weight or [], out=out, model=model, photos=photos, save=save, alpha=alpha,
        color=color, force=force, as_json=as_json, parameters=parameters,
    )  # fmt: skip


@app.command()
def swap(
    model: Model,
    content: Annotated[Path, typer.Argument(help="The picture or film whose face is replaced.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="The picture (.png, .jpg, .webp) or film to write.", show_default=False)
    ],
    to: Annotated[_Text, typer.Option(help="The person to draw; the second one by default.")] = None,
    color: Annotated[
        str, typer.Option(help="lab, linear or none: how the face takes the colours of the frame.")
    ] = "lab",
    several: Annotated[
        _Text, typer.Option(help="refuse, largest or all faces; pictures refuse, films largest.")
    ] = None,
    steady: Annotated[float, typer.Option(help="Films: 0 to below 1, against trembling.")] = 0.5,
    no_mark: Annotated[bool, typer.Option("--no-mark", help="Leave the visible mark out; the manifest stays.")] = False,
    i_have_consent: Annotated[
        bool, typer.Option("--i-have-consent", help="State that every person shown agreed.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> None:
    """Replace the face in a picture or film by another person's, marked as drawn."""
    from rosenblatt.cli import face_swap as command

    command.swap(
        model, content, out=out, to=to, color=color, several=several, steady=steady, marked=not no_mark,
        stated=i_have_consent, force=force, as_json=as_json,
    )  # fmt: skip


def _show_warning(message: Any, category: Any, *_: Any, **__: Any) -> None:
    say(f"{category.__name__}: {message}")


def main() -> None:
    """Run the command line; our own errors become one line on stderr and exit code 2, failures exit code 1."""
    warnings.showwarning = _show_warning
    try:
        app()
    except KeyboardInterrupt:
        say("Interrupted; nothing was written.")
        sys.exit(1)
    except BrokenPipeError:  # the reader of our output went away, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        from rosenblatt.errors import DivergedError, FetchError, MissingExtraError, RosenblattError

        if not isinstance(error, (RosenblattError, FileNotFoundError)):
            raise
        say(f"{type(error).__name__}: {error}")
        sys.exit(1 if isinstance(error, (DivergedError, FetchError, MissingExtraError)) else 2)
