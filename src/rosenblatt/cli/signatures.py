"""Command-line options derived from the estimators' constructors, without importing them.

The source of an estimator is parsed, not run: that keeps ``--help`` free of torch, and leaves one place where a
parameter, its default and its description are written.
"""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

_WORDS = {"None": None, "none": None, "True": True, "true": True, "False": False, "false": False}


@dataclass(frozen=True)
class Parameter:
    """A constructor parameter.

    Args:
        name: As in Python.
        default: Its default.
        annotation: As written.
        help: Its line of the docstring.
    """

    name: str
    default: Any
    annotation: str
    help: str

    @property
    def flag(self) -> str:
        """The option's name."""
        return "--" + self.name.replace("_", "-")


def parameters_of(file: str, kind: str) -> list[Parameter]:
    """Parameters of the constructor of class ``kind`` in ``estimators/FILE.py``, in order."""
    tree = ast.parse(files("rosenblatt.estimators").joinpath(f"{file}.py").read_text("utf-8"))
    found = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == kind)
    init = next(node for node in found.body if isinstance(node, ast.FunctionDef) and node.name == "__init__")
    arguments = init.args
    positional = arguments.args[1:]
    pairs = list(zip(positional[len(positional) - len(arguments.defaults) :], arguments.defaults, strict=True))
    pairs += list(zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True))
    helps = _argument_lines(ast.get_docstring(found) or "")
    return [
        Parameter(a.arg, ast.literal_eval(d), ast.unparse(a.annotation) if a.annotation else "", helps.get(a.arg, ""))
        for a, d in pairs
        if d is not None
    ]


def _argument_lines(docstring: str) -> dict[str, str]:
    """Name -> description out of the section "Args:" of a Google docstring; a line may describe several names."""
    section = re.search(r"^Args:\n((?:    .*\n|\n)+)", docstring + "\n", re.M)
    if section is None:
        return {}
    entries = re.findall(r"^    ([\w, ]+): (.*(?:\n        .*)*)", section.group(1), re.M)
    return {
        name.strip(): " ".join(text.split()).replace("``", "").replace("`", "")
        for names, text in entries
        for name in names.split(",")
    }


def parse_value(parameter: Parameter, text: Any) -> Any:
    """A Python value of what was typed: numbers, true/false, none, several values with commas, else text.

    Raises:
        ParameterError: A sequence of widths that is not one of integers.
    """
    if not isinstance(text, str) or text == parameter.default:  # a default may be the word "none"
        return text
    if isinstance(parameter.default, tuple):
        kind = float if any(isinstance(part, float) for part in parameter.default) else int
        try:
            return tuple(kind(part) for part in text.split(",") if part.strip())
        except ValueError as error:
            from rosenblatt.errors import ParameterError

            raise ParameterError(
                f"{parameter.flag} {text!r}; expected {'numbers' if kind is float else 'integers'} with commas, such as 100,50."
            ) from error
    return plain_value(text)


def plain_value(text: str) -> Any:
    """Number, true/false or none where the text is one; else the text."""
    if text in _WORDS:
        return _WORDS[text]
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def parse_plan(pairs: list[str]) -> Any:
    """A `Plan` from ``name=value`` words, or None where there are none.

    Raises:
        ParameterError: A word without "=", an unknown name (with the nearest), or a value out of range.
    """
    if not pairs:
        return None
    from dataclasses import fields

    from rosenblatt._validate import nearest
    from rosenblatt.errors import ParameterError
    from rosenblatt.train.plan import Plan

    known = [field.name for field in fields(Plan)]
    said = {}
    for pair in pairs:
        name, sign, value = pair.partition("=")
        if not sign or name not in known:
            raise ParameterError(
                f"--plan {pair!r}; expected NAME=VALUE, NAME one of {', '.join(known)}.{nearest(name, known)}"
            )
        said[name] = plain_value(value)
    return Plan(**said)
