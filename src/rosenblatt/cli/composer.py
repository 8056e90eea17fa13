"""``train composer``, and pieces from its model files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rosenblatt import _validate
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.train import check_output, say, show
from rosenblatt.data.midi import SUFFIXES, Piece, read_midi, read_pieces, write_midi
from rosenblatt.data.sound import render
from rosenblatt.errors import ParameterError
from rosenblatt.estimators.composer import Composer
from rosenblatt.report.canvas import write_figure
from rosenblatt.report.music import music_xml, piano_roll

SAMPLE_OPTIONS = (
    "prompt", "label", "length", "temperature", "top_k", "top_p", "random_state", "key", "tempo", "instruments",
    "repetition_penalty", "harmonise",
)  # fmt: skip


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train a composer on a folder of MIDI files and write the model file."""
    check_output(given["out"], force=given["force"])
    model = Composer(
        **{p.name: parse_value(p, given[p.name]) for p in parameters}, plan=parse_plan(given["plan"] or [])
    )
    pieces = read_pieces(given["data"], skip_bad=given["skip_bad"], who=f"train composer {given['data']}")
    started = time.perf_counter()
    model.fit(pieces)
    seconds = time.perf_counter() - started
    for name, count in model.dropped_.items():
        say(f"dropped: {count} {name}")
    model.save(given["out"], overwrite=given["force"])
    result = {
        "model": str(given["out"]), "estimator": "Composer", "pieces": len(pieces), "seconds": round(seconds, 3),
        "validation_loss": model.validation_loss_, "dropped": model.dropped_,
    }  # fmt: skip
    line = (
        f"{given['out']}: {len(pieces)} pieces, trained in {seconds:.1f} s; {model.validation_loss_:.4f} nats each token of "
        "the held-out pieces"
    )
    show(result, as_json=given["as_json"], lines=[line])


def evaluate(model: Composer, data: str) -> dict[str, float]:
    """Nats a token of unseen pieces."""
    pieces = read_pieces(data, who=data)
    return {**model.nats(pieces), "n": len(pieces)}


def sample(model: Composer, chosen: dict[str, Any], *, out: Path | None, force: bool, as_json: bool) -> None:
    """Write a piece as MIDI (.mid), sound (.wav), piano roll (.png) or sheet music (.musicxml)."""
    if out is None:
        raise ParameterError("sample: music needs a file; expected --out with .mid, .wav, .png or .musicxml.")
    options = dict(chosen)
    if (label := options.pop("label", None)) is not None:
        options["style"] = label
    if (played := options.pop("instruments", None)) is not None:
        options["instruments"] = [int(part) for part in str(played).split(",")]
    prompt, melody = options.pop("prompt", None), options.pop("harmonise", None)
    if melody is not None:
        piece = model.harmonise(read_midi(str(melody)), **options)
    else:
        piece = model.sample(None if prompt is None else read_midi(prompt), **options)
    said = write_piece(piece, out, force=force)
    copied = model.memorised(piece)
    result = {"out": str(out), "notes": len(piece), "longest_copied_run": copied, "made_by": said}
    line = (
        f"{out}: {len(piece)} notes{said and f', by {said}'}; longest run shared with a training piece: {copied} notes"
    )
    show(result, as_json=as_json, lines=[line])


def write_piece(piece: Piece, out: Path, *, force: bool) -> str:
    """Write a piece in the format of the suffix; what made it, in words.

    Raises:
        ParameterError: Another suffix.
    """
    suffix = out.suffix.lower()
    if suffix in SUFFIXES:
        write_midi(piece, out, overwrite=force)
    elif suffix == ".wav":
        return render(piece, out, overwrite=force)
    elif suffix in (".png", ".svg", ".pdf"):
        write_figure(piano_roll(piece), out, dpi=120, overwrite=force)
    elif suffix in (".musicxml", ".xml"):
        _validate.write_whole(out, music_xml(piece).encode(), overwrite=force)
    else:
        raise ParameterError(f"{out}: expected the suffix .mid, .wav, .png, .svg, .pdf or .musicxml.")
    return ""
