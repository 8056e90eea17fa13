"""``train semantic-gan``, and renderings, scores and inspection of its model files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.train import check_output, say, show
from rosenblatt.data.folders import read_pictures
from rosenblatt.data.label_maps import PALETTES, paint
from rosenblatt.data.label_pairs import LabelPairs, read_label_maps, read_label_pairs, read_palette
from rosenblatt.data.photo import encode_photo
from rosenblatt.errors import ParameterError
from rosenblatt.estimators.semantic_gan import SemanticGAN
from rosenblatt.report.label_maps import maps_with_ignore
from rosenblatt.report.samples import sheet

SAMPLE_OPTIONS = ("prompt", "count", "random_state", "style", "paint", "columns")


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Train on a folder of pairs, write the model file, say what was reached."""
    check_output(given["out"], force=given["force"])
    chosen = {p.name: parse_value(p, given[p.name]) for p in parameters}
    names = None
    if isinstance(chosen["palette"], str) and chosen["palette"] not in PALETTES and Path(chosen["palette"]).is_file():
        said = read_palette(chosen["palette"])
        chosen["palette"], names = said.colours, list(said.names)
    model = SemanticGAN(**chosen, plan=parse_plan(given["plan"] or []))
    model._check_parameters()
    pairs = _pairs(model, given["data"], given["size"], skip_bad=given["skip_bad"], classes=model.classes)
    started = time.perf_counter()
    # the reader has counted the classes; a model without a palette cannot know of those that no map shows
    model.set_params(classes=pairs.classes).fit(
        np.where(pairs.labels == pairs.classes, model.ignore, pairs.labels.astype(int)), pairs.photos
    )
    seconds = time.perf_counter() - started
    if names is not None:
        model.class_names_ = names
    model.save(given["out"], overwrite=given["force"])
    best = -model.history_[model.best_epoch_ - 1]["validation_score"]
    result = {
        "model": str(given["out"]), "estimator": "SemanticGAN", "pairs": len(pairs.photos), "classes": pairs.classes,
        "seconds": round(seconds, 3), "best_epoch": model.best_epoch_, "kernel_distance": best,
        "judged_by": model.judged_by_, "perceptual": model.perceptual_, "diagnosis": model.diagnose(),
    }  # fmt: skip
    line = (
        f"{given['out']}: SemanticGAN of {pairs.classes} classes trained on {len(pairs.photos)} pairs in {seconds:.1f} s; epoch "
        f"{model.best_epoch_} is kept, kernel distance {best:.4g} by {model.judged_by_}; perceptual loss: {model.perceptual_}"
    )
    show(result, as_json=given["as_json"], lines=[line])


def _pairs(model: SemanticGAN, data: str, size: Any, *, skip_bad: bool = False, classes: int | None) -> LabelPairs:
    found = read_label_pairs(
        data, size=size, palette=model._colours(), classes=classes, ignore=model.ignore, skip_bad=skip_bad, who=data
    )
    for name, reason in found.skipped:
        say(f"skipped {name}: {reason}")
    return found


def inputs(model: SemanticGAN, data: str) -> tuple[np.ndarray, np.ndarray]:
    """Label maps and photographs, for ``inspect`` and ``evaluate``."""
    pairs = _pairs(model, data, model.shape_, classes=model.n_classes_)
    photos = pairs.photos if model.integer_input_ else (pairs.photos / 255).astype(np.float32)
    return maps_with_ignore(model, pairs.labels), photos


def evaluate(model: SemanticGAN, data: str) -> dict[str, Any]:
    """Distances of renderings to photographs that the model should not have seen."""
    found = model.judge(*inputs(model, data), split=data)
    say(str(found))
    return found.pictures.row()


def sample(model: SemanticGAN, chosen: dict[str, Any], *, out: Path | None, force: bool, as_json: bool) -> None:
    """Render the label map (or the folder of maps) of --prompt; paint=CLASS:TOP,LEFT,HEIGHT,WIDTH repaints it before."""
    if out is None or "prompt" not in chosen:
        raise ParameterError(
            "sample: expected --prompt with a label map (or a folder of them), and --out with .png or .jpg."
        )
    maps = read_label_maps(
        chosen["prompt"], size=model.shape_, palette=model._colours(), classes=model.n_classes_, ignore=model.ignore,
        who=str(chosen["prompt"]),
    )  # fmt: skip
    if "paint" in chosen:
        maps = _repainted(model, maps, str(chosen["paint"]))
    maps = np.repeat(maps, chosen.get("count", 1), 0)
    style = None
    if "style" in chosen:
        style = read_pictures(chosen["style"], size=model.shape_, channels=3, who="style").pictures
        style = style if model.integer_input_ else (style / 255).astype(np.float32)
    drawn = model.transform(maps_with_ignore(model, maps), style=style, random_state=chosen.get("random_state"))
    eight = drawn if drawn.dtype == np.uint8 else (drawn * 255).round().astype(np.uint8)
    pixels = eight[0] if len(eight) == 1 else sheet(eight, columns=chosen.get("columns"))
    _validate.write_whole(out, encode_photo(pixels, out), overwrite=force)
    show({"out": str(out), "renderings": len(eight)}, as_json=as_json, lines=[f"{out}: {len(eight)} rendering(s)"])


def _repainted(model: SemanticGAN, maps: np.ndarray, words: str) -> np.ndarray:
    name, _, box = words.partition(":")
    try:
        numbers = [int(part) for part in box.split(",")]
    except ValueError:
        numbers = []
    if name not in model.class_names_ or len(numbers) != 4:
        raise ParameterError(
            f"--option paint={words}; expected CLASS:TOP,LEFT,HEIGHT,WIDTH in pixels, CLASS one of "
            f"{', '.join(model.class_names_)}.{_validate.nearest(name, model.class_names_)}"
        )
    return paint(maps, model.class_names_.index(name), box=numbers)
