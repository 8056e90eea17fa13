"""Films as frames, over the library PyAV; read one by one, written whole or not at all."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from rosenblatt import _validate
from rosenblatt._types import PathLike
from rosenblatt.errors import DataError, MissingExtraError, ParameterError, ShapeError

SUFFIXES = (".mp4", ".mkv", ".mov", ".avi", ".webm")


def is_video(path: Any) -> bool:
    """Whether a path names a film by its suffix."""
    return isinstance(path, (str, Path)) and Path(path).suffix.lower() in SUFFIXES


def frame_rate(path: PathLike) -> Fraction:
    """Frames a second of a film.

    Raises:
        FileNotFoundError, DataError: There is no such file, or it holds no film.
        MissingExtraError: Without the extra ``video``.
    """
    with _opened(path) as container:
        return Fraction(container.streams.video[0].average_rate or 25)


def read_video(path: PathLike) -> Iterator[np.ndarray]:
    """The frames of a film, uint8 (H, W, 3), one after the other.

    Raises:
        FileNotFoundError, DataError: There is no such file, or it holds no film, or it is damaged.
        MissingExtraError: Without the extra ``video``.
    """
    av = _av()
    with _opened(path) as container:
        try:
            for frame in container.decode(video=0):
                yield frame.to_ndarray(format="rgb24")
        except av.error.FFmpegError as error:
            raise DataError(f"{path}: the film is damaged ({error}). Get a fresh copy.") from error


def metadata(path: PathLike) -> dict[str, str]:
    """What a film says of itself: names and texts, such as "comment".

    Raises:
        FileNotFoundError, DataError: There is no such file, or it holds no film.
        MissingExtraError: Without the extra ``video``.
    """
    with _opened(path) as container:
        return dict(container.metadata)


def write_video(
    path: PathLike,
    frames: Iterable[np.ndarray],
    *,
    rate: Fraction | int = 25,
    comment: str | None = None,
    overwrite: bool = True,
) -> int:
    """Write a film, whole or not at all; returns the number of frames.

    Sides that are odd lose a row or column, as the format wants them even.

    Args:
        path: With one of the suffixes `SUFFIXES`.
        frames: uint8 (H, W, 3), all of one size.
        rate: Frames a second.
        comment: Text that the film carries as metadata.
        overwrite: False refuses a path that exists.

    Raises:
        ParameterError: Another suffix.
        DataError, ShapeError: No frame, or frames of several sizes.
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
        MissingExtraError: Without the extra ``video``.
    """
    if not is_video(path):
        raise ParameterError(f"{path}: expected one of the suffixes {', '.join(SUFFIXES)}.")
    av, count, size = _av(), 0, None
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / Path(path).name
        with av.open(str(file), "w") as container:
            if comment is not None:
                container.metadata["comment"] = comment
            stream = None
            for frame in frames:
                frame = np.ascontiguousarray(frame[: frame.shape[0] // 2 * 2, : frame.shape[1] // 2 * 2, :3])
                if stream is None:
                    size = frame.shape
                    stream = container.add_stream("libx264" if file.suffix != ".webm" else "libvpx-vp9", rate=rate)
                    stream.height, stream.width, stream.pix_fmt = size[0], size[1], "yuv420p"
                    stream.options = {"crf": "18"}
                if frame.shape != size:
                    raise ShapeError(
                        f"write_video: frame {count} has the shape {frame.shape}; expected {size}, as the first."
                    )
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
                count += 1
            if stream is None:
                raise DataError("write_video: no frame at all; expected at least one.")
            container.mux(stream.encode())
        _validate.write_whole(path, file.read_bytes(), overwrite=overwrite)
    return count


def _opened(path: PathLike) -> Any:
    av = _av()
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path}: there is no such film. Check the path.")
    try:
        container = av.open(str(path))
    except av.error.FFmpegError as error:
        raise DataError(f"{path} is no film that can be read ({error}).") from error
    if not container.streams.video:
        container.close()
        raise DataError(f"{path} holds no pictures; expected a film.")
    return container


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("Films need PyAV; install it with: pip install 'rosenblatt[video]'") from error
    return av
