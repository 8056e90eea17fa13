"""``train face-swap``, and ``rosenblatt swap``: pictures and films with a face drawn by its models."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt.cli.consent import refuse_without_consent
from rosenblatt.cli.signatures import Parameter, parse_plan, parse_value
from rosenblatt.cli.train import check_output, say, show
from rosenblatt.data.face_detection import align_faces
from rosenblatt.data.folders import SUFFIXES as PICTURES
from rosenblatt.data.folders import read_pictures
from rosenblatt.data.provenance import encode_marked
from rosenblatt.data.video import frame_rate, is_video, read_video, write_video
from rosenblatt.errors import DataError, ParameterError, PictureError
from rosenblatt.estimators.face_frames import SwapCount
from rosenblatt.estimators.face_swap import FaceSwap


def train(system: str, parameters: list[Parameter], given: dict[str, Any]) -> None:
    """Find and align the faces of each person, learn them, write the model file, say what was reached."""
    check_output(given["out"], force=given["force"])
    refuse_without_consent(given["i_have_consent"])
    model = FaceSwap(
        **{p.name: parse_value(p, given[p.name]) for p in parameters}, plan=parse_plan(given["plan"] or [])
    )
    sources = [Path(given["data"]), Path(given["other"]), *map(Path, given["also"] or [])]
    names = _names(sources)
    sets = [_faces(path, given) for path in sources]
    share = given["holdout"]
    if not 0 <= share < 1:
        raise ParameterError(f"--holdout {share}; expected a share >= 0 and < 1.")
    counts = [max(1, round(share * len(faces))) if share else 0 for faces in sets]
    started = time.perf_counter()
    model.fit(*(faces[: len(faces) - n] for faces, n in zip(sets, counts, strict=True)), names=names, consent=True)
    seconds = time.perf_counter() - started
    model.save(given["out"], overwrite=given["force"])
    held = [faces[len(faces) - n :] for faces, n in zip(sets, counts, strict=True)]
    ssim = model.score(*held) if share else None
    result = {
        "model": str(given["out"]), "estimator": "FaceSwap", "faces": dict(zip(names, map(len, sets), strict=True)),
        "seconds": round(seconds, 3), "held_out": {} if ssim is None else {"ssim": ssim, "n": sum(counts)},
    }  # fmt: skip
    tail = "" if ssim is None else f"; SSIM {ssim:.4f} on the last {sum(counts)} faces, held out"
    who = ", ".join(f"{len(faces)} of {name}" for name, faces in zip(names, sets, strict=True))
    line = f"{given['out']}: FaceSwap trained on faces ({who}) in {seconds:.1f} s{tail}"
    show(result, as_json=given["as_json"], lines=[line])


def _names(sources: list[Path]) -> list[str]:
    names = [path.stem for path in sources]
    return names if len(set(names)) == len(names) else [str(path) for path in sources]


def _faces(path: Path, given: dict[str, Any]) -> np.ndarray:
    """Aligned faces of a folder of pictures, or of a film."""
    who, size = f"train face-swap {path}", given["size"]
    if given["aligned"]:
        return read_pictures(path, size=(size, size), channels=3, who=who).pictures
    options = {"size": size, "several": "refuse", "skip_missing": given["skip_missing"], "who": who}
    if is_video(path):
        faces, without = align_faces(read_video(path), **{**options, "several": "largest", "skip_missing": True})
    else:
        if not path.is_dir():
            raise DataError(f"{who}: expected a folder of pictures, or a film.")
        files = sorted(file for file in path.rglob("*") if file.suffix.lower() in PICTURES)
        if not files:
            raise PictureError(f"{who}: the folder holds no pictures; expected files such as .jpg or .png.")
        faces, without = align_faces(files, **options)
    if without:
        say(f"{who}: no face found in {len(without)} pictures, which were left out: {', '.join(without[:5])}")
    return faces


def swap(
    model: Path,
    content: Path,
    *,
    out: Path,
    to: str | None,
    color: str,
    several: str | None,
    steady: float,
    marked: bool,
    stated: bool,
    force: bool,
    as_json: bool,
) -> None:
    """Replace the face in a picture or film, write it with its manifest, say what happened."""
    check_output(out, force=force)
    refuse_without_consent(stated)
    import rosenblatt

    film = is_video(content)
    if film != is_video(out):
        raise ParameterError(f"{content} to {out}: expected a film from a film and a picture from a picture.")
    estimator = rosenblatt.load(model)
    if not isinstance(estimator, FaceSwap):
        raise ParameterError(f"{model} is a {type(estimator).__name__}; expected a FaceSwap model.")
    said, started = estimator.manifest(to), time.perf_counter()
    options = {"to": to, "color": color, "marked": marked, "consent": True}
    count = SwapCount()
    if film:
        frames = estimator.swap_frames(
            read_video(content), several=several or "largest", steady=steady, count=count, **options
        )
        write_video(out, frames, rate=frame_rate(content), comment=json.dumps(said), overwrite=force)
    else:
        encode_marked(np.zeros((1, 1, 3), np.uint8), out, said)  # an unknown suffix, before the work
        pixels = estimator.swap(content, several=several or "refuse", **options)
        count.frames = count.swapped = 1
        _validate.write_whole(out, encode_marked(pixels, out, said), overwrite=force)
    result = {
        "out": str(out), "frames": count.frames, "swapped": count.swapped, "without_a_face": len(count.without),
        "more_than_one_face": count.crowded, "marked": marked, "seconds": round(time.perf_counter() - started, 3),
    }  # fmt: skip
    line = f"{out}: {count.swapped} faces replaced in {count.frames} pictures"
    if count.without:
        line += f"; {len(count.without)} without a face passed unchanged"
    show(result, as_json=as_json, lines=[line])
