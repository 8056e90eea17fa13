"""The options of ``rosenblatt train SYSTEM`` that are not an estimator's parameters; nothing heavy is imported here."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Annotated, Any, Literal, Optional

import typer

from rosenblatt.cli.signatures import Parameter

_TEXT = Optional[str]  # noqa: UP045 - typer of older versions reads this form only
_NUMBER = Optional[int]  # noqa: UP045
_LIST = Optional[list[str]]  # noqa: UP045


def given(name: str, kind: Any, info: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    """A keyword of a command: its name, type, typer's description and default."""
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[kind, info])


def of_parameter(parameter: Parameter) -> inspect.Parameter:
    """The option of a constructor's parameter; its text is read by `signatures.parse_value`."""
    if isinstance(parameter.default, bool):
        return given(parameter.name, bool, typer.Option(help=parameter.help), parameter.default)
    default = ",".join(map(str, parameter.default)) if isinstance(parameter.default, tuple) else parameter.default
    info = typer.Option(parameter.flag, help=parameter.help, metavar="VALUE")
    if default is None:
        return given(parameter.name, _TEXT, info, None)
    return given(parameter.name, str, info, str(default))


def data_and_out(what: str) -> list[inspect.Parameter]:
    """DATA, described by ``what``, and the model file: every system has them."""
    return [
        given("data", str, typer.Argument(help=what, show_default=False)),
        given("out", Path, typer.Option("--out", "-o", help="The model file to write.", show_default=False)),
    ]


def force_and_json() -> list[inspect.Parameter]:
    """``--force`` and ``--json``."""
    return [
        given("force", bool, typer.Option("--force", help="Overwrite the model file."), False),
        given("as_json", bool, typer.Option("--json", help="Print the result as JSON."), False),
    ]


def plan() -> list[inspect.Parameter]:
    """``--plan NAME=VALUE``."""
    return [given("plan", _LIST, typer.Option(help="NAME=VALUE of rosenblatt.Plan; may be repeated."), None)]


def music() -> list[inspect.Parameter]:
    """Options of a system that learns from MIDI files."""
    return [
        *data_and_out("A folder of MIDI files; its sub-folders name styles."),
        given("skip_bad", bool, typer.Option("--skip-bad", help="Leave unreadable files out."), False),
        *force_and_json(),
        *plan(),
    ]


def samples() -> list[inspect.Parameter]:
    """Options of a system that learns to draw pictures, or rows of numbers."""
    return [
        *data_and_out("A folder of pictures, a CSV or Parquet file of numbers, or the name of a data set."),
        given(
            "size", _NUMBER, typer.Option(help="Side of the pictures in pixels; the most common size by default."), None
        ),
        given("labels", bool, typer.Option("--labels", help="Sub-folders, or --target, are labels to draw by."), False),
        given("target", _TEXT, typer.Option(help="The column of labels of a table."), None),
        given("skip_bad", bool, typer.Option("--skip-bad", help="Leave unreadable pictures out."), False),
        *force_and_json(),
        *plan(),
    ]


def label_maps() -> list[inspect.Parameter]:
    """Options of a system that learns photographs from label maps."""
    what = "A folder of photographs with label maps: side by side in one file, or in the folders photos/ and labels/."
    return [
        *data_and_out(what),
        given("size", int, typer.Option(min=8, help="Side in pixels that maps and photographs are brought to."), 64),
        given("skip_bad", bool, typer.Option("--skip-bad", help="Leave unreadable files out."), False),
        *force_and_json(),
        *plan(),
    ]


def faces() -> list[inspect.Parameter]:
    """Options of a system that learns the faces of two or more persons."""
    missing = "Leave pictures without a face out; of films they always are."
    return [
        given("data", str, typer.Argument(help="A folder of pictures, or a film, of a person.", show_default=False)),
        given("other", str, typer.Argument(help="The same of another person.", show_default=False)),
        given("out", Path, typer.Option("--out", "-o", help="The model file to write.", show_default=False)),
        given("also", _LIST, typer.Option(help="The same of a further person; may be repeated."), None),
        given("size", int, typer.Option(help="Side of the aligned faces in pixels, a multiple of 8."), 64),
        given("aligned", bool, typer.Option("--aligned", help="The pictures are aligned faces already."), False),
        given("skip_missing", bool, typer.Option("--skip-missing", help=missing), False),
        given("holdout", float, typer.Option(help="Last share of each person's faces held out and scored."), 0.1),
        given(
            "i_have_consent",
            bool,
            typer.Option("--i-have-consent", help="State that every person shown agreed."),
            False,
        ),
        *force_and_json(),
        *plan(),
    ]


def series() -> list[inspect.Parameter]:
    """Options of a system that learns from time series."""
    return [
        *data_and_out("A CSV or Parquet file with a column of times."),
        given("time", _TEXT, typer.Option(help="The column of times; found where only one holds such."), None),
        given("target", _TEXT, typer.Option(help="Columns to forecast, with commas; all others by default."), None),
        given("series", _TEXT, typer.Option(help="The column that names each row's series, of a panel."), None),
        given("past", _TEXT, typer.Option(help="Columns known up to now only, with commas."), None),
        given("future", _TEXT, typer.Option(help="Columns known beforehand, with commas."), None),
        given("frequency", _TEXT, typer.Option(help="What the frequency must be, such as '1 month'."), None),
        given("backtest", int, typer.Option(min=0, help="Origins to forecast from before, beside the baselines."), 0),
        given("stride", _NUMBER, typer.Option(help="Steps between origins; the horizon by default."), None),
        *force_and_json(),
        *plan(),
    ]


def text() -> list[inspect.Parameter]:
    """Options of a system that learns from one text."""
    return [
        *data_and_out("A text file, or a folder of them."),
        given("pattern", str, typer.Option(help="Names of a folder's files that are read, at any depth."), "*.txt"),
        given("encoding", str, typer.Option(help="Of the files."), "utf-8"),
        *force_and_json(),
        *plan(),
    ]


def pairs() -> list[inspect.Parameter]:
    """Options of a system that learns from sentences and their translations."""
    return [
        *data_and_out("A file with one sentence a line (.gz too), or a table of two columns (.tsv, .csv, .parquet)."),
        given("target", _TEXT, typer.Option(help="The file of the translations, line by line."), None),
        given("columns", _TEXT, typer.Option(help="Names of a table's two columns with a comma, source first."), None),
        given("encoding", str, typer.Option(help="Of text files."), "utf-8"),
        *force_and_json(),
        *plan(),
    ]


def labelled_texts() -> list[inspect.Parameter]:
    """Options of a system that learns classes from a table with a column of texts."""
    return [
        *data_and_out("A CSV or Parquet file with a column of texts."),
        given("target", _TEXT, typer.Option(help="The column to predict."), None),
        given("text", _TEXT, typer.Option(help="The column of texts; found where only one holds such."), None),
        given("holdout", float, typer.Option(help="Share held out of training and scored at the end."), 0.2),
        *force_and_json(),
        *plan(),
    ]


def coded() -> list[inspect.Parameter]:
    """Options of a system that learns from samples without answers: tables of numbers, or pictures."""
    words = "Side of the pictures in pixels; the most common size where it is not given."
    return [
        *data_and_out("A CSV or Parquet file, a folder of pictures, or the name of a data set."),
        given("columns", _TEXT, typer.Option(help="Columns to learn from, with commas; all numbers by default."), None),
        given("target", _TEXT, typer.Option(help="The column of labels, which is not learned."), None),
        given("size", _NUMBER, typer.Option(help=words), None),
        given("skip_bad", bool, typer.Option("--skip-bad", help="Leave unreadable pictures out."), False),
        given("holdout", float, typer.Option(help="Share held out of training and scored at the end."), 0.2),
        *force_and_json(),
        *plan(),
    ]


def _labelled(what: str) -> list[inspect.Parameter]:
    return [
        *data_and_out(f"{what}, or the name of a data set."),
        given("holdout", float, typer.Option(help="Share held out of training and scored at the end."), 0.2),
        *force_and_json(),
    ]


def pictures() -> list[inspect.Parameter]:
    """Options of a system that learns from labelled pictures."""
    words = "Side of the pictures in pixels; the most common size where it is not given."
    return [
        *_labelled("A folder of pictures, a list, tar shards"),
        *plan(),
        given("size", _NUMBER, typer.Option(help=words), None),
        given("skip_bad", bool, typer.Option("--skip-bad", help="Leave unreadable pictures out."), False),
        given("target", _TEXT, typer.Option(help="The column of labels, for a list."), None),
        given("devices", _NUMBER, typer.Option(min=1, help="Processes that share the training, a device each."), None),
    ]


def table() -> list[inspect.Parameter]:
    """Options of a system that learns from tables."""
    file = Optional[Path]  # noqa: UP045
    return [
        *_labelled("A CSV or Parquet file"),
        given("target", _TEXT, typer.Option(help="The column to predict."), None),
        given("names", _TEXT, typer.Option(help="Column names with commas, for a file without a line of names."), None),
        given("categorical", _TEXT, typer.Option(help="Columns of numbers that name categories, with commas."), None),
        given("test", file, typer.Option(help="Another file to score, instead of --holdout."), None),
    ]


def table_of_either_task() -> list[inspect.Parameter]:
    """Options of a system that learns classes or numbers from tables."""
    own = table()
    tasks = Literal["auto", "classification", "regression"]
    return [*own[:5], *plan(), *own[5:], given("task", tasks, typer.Option(help="What the target is."), "auto")]
