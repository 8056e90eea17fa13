"""``train language``, and what a language model's file answers: text from a prompt, as it is written, and its score."""

from __future__ import annotations

import itertools
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from rosenblatt import _validate
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.train import check_output, say, show
from rosenblatt.errors import DataError
from rosenblatt.estimators.language import LanguageModel

SAMPLE_OPTIONS = ("prompt", "length", "temperature", "top_k", "top_p", "random_state", "repetition_penalty")


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train a language model on a text and write the model file."""
    check_output(given["out"], force=given["force"])
    chosen = {p.name: parse_value(p, given[p.name]) for p in parameters}
    model = LanguageModel(**chosen, plan=parse_plan(given["plan"] or []))
    paths = _paths(given["data"], given["pattern"])
    started = time.perf_counter()
    model.fit(paths, encoding=given["encoding"])
    seconds = time.perf_counter() - started
    model.save(given["out"], overwrite=given["force"])
    nats = model.validation_loss_
    result = {
        "model": str(given["out"]), "estimator": "LanguageModel", "files": len(paths), "seconds": round(seconds, 3),
        "validation_loss": nats, "tokens": model.n_tokens_,
    }  # fmt: skip
    line = (
        f"{given['out']}: {model.n_tokens_} different {model._noun()}, trained in {seconds:.1f} s; "
        f"{nats:.4f} nats each on the held-out end of the text"
    )
    show(result, as_json=given["as_json"], lines=[line])


def _paths(data: str, pattern: str) -> list[Path]:
    """The file, or the files of a folder in the order of their names."""
    path = Path(data)
    if not path.is_dir():
        return [path]
    found = sorted(p for p in path.rglob(pattern) if p.is_file())
    if not found:
        raise DataError(f"{path}: no file is named like {pattern!r}; expected one or more. Pass --pattern.")
    say(f"{path}: {len(found)} files")
    return found


def evaluate(model: LanguageModel, data: str) -> dict[str, float]:
    """Perplexity and bits per character of a text file."""
    path = Path(data)
    return {"perplexity": model.perplexity(path), "bits_per_character": model.bits_per_character(path)}


def sample(model: LanguageModel, chosen: dict[str, Any], *, out: Path | None, force: bool, as_json: bool) -> None:
    """Write the prompt and what comes after it: to stdout piece by piece, to a file, or as JSON."""
    prompt = _prompt(chosen.pop("prompt", ""))
    pieces = model.stream(prompt, chosen.pop("length", 500), **chosen)
    if out is None and not as_json:
        _stream(prompt, pieces)
        return
    text = prompt + "".join(pieces)
    if out is not None:
        _validate.write_whole(out, text.encode("utf-8", "surrogatepass"), overwrite=force)
    result = {"text": text} if out is None else {"out": str(out), "characters": len(text)}
    show(result, as_json=as_json, lines=[f"{out}: {len(text)} characters"])


def _prompt(words: str) -> str:
    """The text itself, or that of the file of this name."""
    path = Path(words) if words and len(words) < 1000 and "\n" not in words else None
    if path is not None and path.is_file():
        try:
            return path.read_text("utf-8")
        except UnicodeDecodeError as error:
            raise DataError(f"--prompt: {path} is not UTF-8 ({error.reason}); expected text.") from error
    return words


def _stream(prompt: str, pieces: Iterable[str]) -> None:
    terminal = sys.stdout.isatty()
    for piece in itertools.chain([prompt], pieces):
        sys.stdout.write(harmless(piece) if terminal else piece)
        sys.stdout.flush()
    sys.stdout.write("\n")


def harmless(text: str) -> str:
    r"""Text without the control characters that command a terminal; they are shown as escapes.

    Example:
        >>> print(harmless("a\x1b[31m b"))
        a\x1b[31m b
    """
    return "".join(c if c.isprintable() or c in "\n\t" else json.dumps(c)[1:-1].replace("\\u00", "\\x") for c in text)
