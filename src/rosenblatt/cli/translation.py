"""``train translator``, ``translate``, and what ``predict``, ``evaluate`` and ``inspect`` mean for a translator."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rosenblatt import _validate
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.train import check_output, show, words
from rosenblatt.data.pairs import read_pairs, read_sentences, split_lines
from rosenblatt.data.text import decoded
from rosenblatt.errors import ParameterError
from rosenblatt.estimators.translator import Translator


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train a translator on parallel text and write the model file."""
    check_output(given["out"], force=given["force"])
    chosen = {p.name: parse_value(p, given[p.name]) for p in parameters}
    model = Translator(**chosen, plan=parse_plan(given["plan"] or []))
    columns = words(given["columns"])
    started = time.perf_counter()
    model.fit(Path(given["data"]), given["target"], columns=columns, encoding=given["encoding"])
    seconds = time.perf_counter() - started
    model.columns_ = columns
    model.save(given["out"], overwrite=given["force"])
    result = {
        "model": str(given["out"]), "estimator": "Translator", "pairs": model.n_pairs_, "skipped": model.skipped_,
        "seconds": round(seconds, 3), "validation_loss": model.validation_loss_, "validation_bleu": model.validation_bleu_,
    }  # fmt: skip
    line = (
        f"{given['out']}: {model.n_pairs_} pairs, trained in {seconds:.1f} s; BLEU {model.validation_bleu_:.1f} of a greedy "
        "search on held-out pairs"
    )
    show(result, as_json=given["as_json"], lines=[line])


def predict(model: Translator, data: str, horizon: int | None) -> dict[str, list[Any]]:
    """Sentences of a file and their translations."""
    if horizon is not None:
        raise ParameterError("--horizon: Translator forecasts nothing. Leave the option out.")
    sentences = read_sentences(Path(data), who=data)
    return {"sentence": sentences, "translation": model.predict(sentences)}


def evaluate(model: Translator, data: str) -> dict[str, Any]:
    """BLEU and chrF on a table of two columns, or on two files: SOURCE,TARGET."""
    source, comma, target = data.partition(",")
    columns = getattr(model, "columns_", None)
    given = (Path(source), Path(target)) if comma and not Path(data).exists() else (Path(data), None)
    pairs = read_pairs(*given, who=data, columns=None if given[1] else columns)
    return {**model.scores(pairs.source, pairs.target), "n": len(pairs.source)}


def inputs(model: Translator, data: str) -> tuple[list[str], None]:
    """Sentences to show the attention of."""
    return read_sentences(Path(data), who=data), None


# ------------------------------------------------------------------------------------------------------ translate


def translate(
    model: Path, text: list[str], *, file: Path | None, out: Path | None, options: dict[str, Any], align: bool,
    encoding: str, force: bool, as_json: bool,
) -> None:  # fmt: skip
    """Translate what is given, or each line that is typed."""
    import rosenblatt

    if text and file is not None:
        raise ParameterError("translate: sentences and --file; expected one of them. Leave one out.")
    estimator = rosenblatt.load(model)
    if not isinstance(estimator, Translator):
        raise ParameterError(f"{model} is a {type(estimator).__name__}; expected a Translator model.")
    if not text and file is None and sys.stdin.isatty() and out is None:
        for line in _typed():
            print(*_shown(estimator, [line], options, align), sep="\n", flush=True)  # noqa: T201
        return
    sentences = text or (_stdin(encoding) if file is None else read_sentences(file, who=str(file), encoding=encoding))
    lines = _shown(estimator, sentences, options, align)
    if out is not None:
        _validate.write_whole(out, "".join(f"{line}\n" for line in lines).encode(), overwrite=force)
        show({"out": str(out), "n": len(sentences)}, as_json=as_json, lines=[f"{out}: {len(sentences)} sentences"])
        return
    show({"translations": lines}, as_json=as_json, lines=lines)


def _shown(model: Translator, sentences: list[str], options: dict[str, Any], align: bool) -> list[str]:
    """One line a sentence; with alignments a table of each."""
    if not align:
        return model.predict(sentences, **options)
    taken = {name: options[name] for name in ("direction", "beam", "batch_size")}
    return [str(found) for found in model.align(sentences, **taken)]


def _stdin(encoding: str) -> list[str]:
    return split_lines(decoded(sys.stdin.buffer.read(), "stdin", who="translate", encoding=encoding))


def _typed() -> Iterator[str]:
    """Lines typed on a terminal, until it is closed."""
    while True:
        try:
            yield input("> ")
        except EOFError:
            return
