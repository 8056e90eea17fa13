"""``rosenblatt stylize``: a picture in the style of others."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from rosenblatt.cli.train import check_output, say, show
from rosenblatt.errors import ParameterError


def stylize(
    content: Path,
    *,
    style: list[Path],
    weight: list[float],
    out: Path,
    model: Path | None,
    photos: Path | None,
    save: Path | None,
    alpha: float,
    color: str,
    force: bool,
    as_json: bool,
    parameters: dict[str, Any],
) -> None:
    """Fit or load a `StyleTransfer`, paint one picture, write it, say how far it is from content and style."""
    check_output(out, force=force)
    if save is not None:
        check_output(save, force=force)
    if model is None and not style:
        raise ParameterError(
            "--style is missing; expected the path of a style picture, or --model with a trained model."
        )
    import rosenblatt
    from rosenblatt import _validate
    from rosenblatt.data.photo import encode_photo, read_photo
    from rosenblatt.data.video import frame_rate, is_video, read_video, write_video

    film = is_video(content)
    if film != is_video(out):
        raise ParameterError(f"{content} to {out}: expected a film from a film and a picture from a picture.")
    if film:
        rate = frame_rate(content)
    else:
        picture = read_photo(content, who="stylize")
        encode_photo(read_photo(_dot()).pixels, out)  # an unknown suffix, before the work
    started = time.perf_counter()
    changed: dict[str, Any] = {}
    if model is not None:
        estimator, changed = _loaded(model), {"style": style or None, "weights": weight or None}
    else:
        estimator = rosenblatt.StyleTransfer(**parameters)
        estimator.fit([str(path) for path in style], photos, weights=weight or None)
    say(f"perceptual network: {estimator.network_}, {estimator.network_note_}")
    if film:
        if changed.get("style") or changed.get("weights"):
            raise ParameterError(
                "--model with --style for a film; expected the styles of the model alone. Leave --style out."
            )
        frames = estimator.transform_frames(read_video(content), alpha=alpha, color=color)
        count = write_video(out, frames, rate=rate, overwrite=force)
        result = {"out": str(out), "frames": count, "method": estimator.method, "network": estimator.network_}
        show(result, as_json=as_json, lines=[f"{out}: {count} frames in {time.perf_counter() - started:.1f} s"])
        return
    painted = estimator.transform(picture, alpha=alpha, color=color, **changed)
    seconds = time.perf_counter() - started
    _validate.write_whole(out, encode_photo(painted, out), overwrite=force)
    if save is not None:
        estimator.save(save, overwrite=force)
    found = estimator.distances(picture, painted)
    result = {
        "out": str(out),
        "size": [painted.shape[1], painted.shape[0]],
        "method": estimator.method,
        "network": estimator.network_,
        "network_note": estimator.network_note_,
        "content_distance": found["content"],
        "style_distance": found["style"],
        "seconds": round(seconds, 3),
    }
    line = (
        f"{out}: {painted.shape[1]} x {painted.shape[0]} pixels in {seconds:.1f} s; content distance "
        f"{found['content']:.3f}, style distance {found['style']:.4f}"
    )
    show(result, as_json=as_json, lines=[line])


def _loaded(model: Path) -> Any:
    import rosenblatt

    estimator = rosenblatt.load(model)
    if not isinstance(estimator, rosenblatt.StyleTransfer):
        raise ParameterError(f"{model} is a {type(estimator).__name__}; expected a StyleTransfer model.")
    return estimator


def _dot() -> Any:
    import numpy as np

    return np.zeros((1, 1), np.uint8)
