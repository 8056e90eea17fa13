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
    from rosenblatt.data.photo import encode_photo, read_photo
    from rosenblatt.data.video import frame_rate, is_video, read_video, write_video

    film = is_video(content)
    if film != is_video(out):
        raise ParameterError(f"{content} to {out}: expected a film from a film and a picture from a picture.")
    if film and model is not None and (style or weight):
        raise ParameterError(
            "--model with --style or --weight for a film; expected the styles of the model alone. Leave them out."
        )
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
        frames = estimator.transform_frames(read_video(content), alpha=alpha, color=color)
        count = write_video(out, frames, rate=rate, overwrite=force)
        size, done = {"frames": count}, f"{out}: {count} frames in {time.perf_counter() - started:.1f} s"
    else:
        painted = estimator.transform(picture, alpha=alpha, color=color, **changed)
        size, done = _painted(estimator, picture, painted, out, started, force=force)
    if save is not None:
        estimator.save(save, overwrite=force)
    result = {"out": str(out), "method": estimator.method, "network": estimator.network_}
    result |= {"network_note": estimator.network_note_, **size}
    show(result, as_json=as_json, lines=[done])


def _painted(
    estimator: Any, picture: Any, painted: Any, out: Path, started: float, *, force: bool
) -> tuple[dict[str, Any], str]:
    """Write a painted picture; what there is to say of it, as numbers and as a line."""
    from rosenblatt import _validate
    from rosenblatt.data.photo import encode_photo

    seconds, (high, wide) = time.perf_counter() - started, painted.shape[:2]
    _validate.write_whole(out, encode_photo(painted, out), overwrite=force)
    found = estimator.distances(picture, painted)
    numbers = {
        "size": [wide, high],
        "content_distance": found["content"],
        "style_distance": found["style"],
        "seconds": round(seconds, 3),
    }
    return numbers, (
        f"{out}: {wide} x {high} pixels in {seconds:.1f} s; content distance {found['content']:.3f}, style distance "
        f"{found['style']:.4f}"
    )


def _loaded(model: Path) -> Any:
    import rosenblatt

    estimator = rosenblatt.load(model)
    if not isinstance(estimator, rosenblatt.StyleTransfer):
        raise ParameterError(f"{model} is a {type(estimator).__name__}; expected a StyleTransfer model.")
    return estimator


def _dot() -> Any:
    import numpy as np

    return np.zeros((1, 1), np.uint8)
