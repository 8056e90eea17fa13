"""Label maps: the class of every pixel, as ids, colours or one channel a class; read, checked, resized, repainted.

Inside, a map is integers (H, W): ids from 0 to K - 1, and K where nobody cares what is there.

Shape letters: N maps, H height, W width, K classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor
from torch.nn import functional as F

from rosenblatt import _validate
from rosenblatt._types import ArrayLike
from rosenblatt.errors import DataError, LabelError, ParameterError, ShapeError

TOLERANCE = 40.0
"""Distance in levels up to which a colour counts as one of the palette's, since JPEG changes colours."""


@dataclass(frozen=True)
class Palette:
    """Classes with their colours.

    Attributes:
        names: K names.
        colours: K colours, each red, green, blue from 0 to 255.
    """

    names: tuple[str, ...]
    colours: tuple[tuple[int, int, int], ...]


PALETTES = {
    "facades": Palette(
        ("background", "facade", "window", "door", "cornice", "sill", "balcony", "blind", "deco", "molding", "pillar", "shop"),
        (
            (0, 0, 222), (0, 48, 255), (0, 128, 255), (0, 207, 255), (32, 255, 223), (112, 255, 143), (192, 255, 63),
            (255, 240, 0), (255, 159, 0), (255, 80, 0), (255, 0, 0), (174, 0, 0),
        ),
    ),
}  # fmt: skip
"""Palettes by name; "facades" are the classes of the CMP facade database in the colours of pix2pix's pictures."""


def palette(source: Any, *, who: str = "palette") -> Palette | None:
    """A palette by name, or of given colours, whose classes are then called 0, 1, ...

    Raises:
        ParameterError: Neither.
    """
    if source is None or isinstance(source, Palette):
        return source
    if isinstance(source, str):
        _validate.parameter(who, "palette", source, _validate.Choice(tuple(PALETTES)))
        return PALETTES[source]
    colours = np.asarray(source)
    if colours.ndim != 2 or colours.shape[1] != 3 or colours.dtype.kind not in "iu" or len(colours) < 2:
        raise ParameterError(
            f"{who}: palette={source!r}; expected {', '.join(PALETTES)} or at least 2 colours (r, g, b)."
        )
    if colours.min() < 0 or colours.max() > 255 or len(np.unique(colours, axis=0)) < len(colours):
        raise ParameterError(f"{who}: palette={source!r}; expected different colours with levels from 0 to 255.")
    rows = tuple(tuple(map(int, row)) for row in colours)
    return Palette(tuple(map(str, range(len(rows)))), rows)  # type: ignore[arg-type]


# ------------------------------------------------------------------------------------------------------ into ids


def as_label_maps(
    maps: ArrayLike,
    *,
    classes: int | None = None,
    colours: Palette | None = None,
    ignore: int = 255,
    who: str = "as_label_maps",
) -> tuple[np.ndarray, int]:
    """Bring label maps of any form into ids.

    Args:
        maps: Integers (N, H, W); colours, uint8 (N, H, W, 3), where a palette is given; or zeros and ones (N, H, W, K), one
            channel a class, none set where nobody cares.
        classes: K; None takes the palette's, the channels' or one more than the largest id.
        colours: The palette.
        ignore: The id of pixels that nobody cares for.
        who: Start of the messages.

    Returns:
        Maps (N, H, W) of ids below K, with K where nobody cares; and K.

    Raises:
        ShapeError: Other axes.
        LabelError: An id out of range, with its place; or not one channel a pixel.
        DataError: Fractions, or colours that are not the palette's.

    Example:
        >>> ids, count = as_label_maps([[[0, 255], [2, 1]]])
        >>> ids.tolist(), count
        ([[[0, 3], [2, 1]]], 3)
    """
    array = np.asarray(maps.detach().cpu() if isinstance(maps, Tensor) else maps)
    if array.dtype.kind not in "biuf" or array.ndim not in (3, 4) or 0 in array.shape:
        raise ShapeError(
            f"{who}: label maps {array.dtype} of shape {array.shape}; expected ids N H W, one channel a class N H W K, or "
            "colours N H W 3 with a palette."
        )
    _validate.finite(who, array, name="the label maps")
    if array.ndim == 4 and colours is not None and array.shape[3] == 3:
        ids = match_colours(array, colours, who=who)
        return ids, _count(classes, len(colours.colours), who)
    if array.ndim == 4:
        count = _count(classes, array.shape[3], who)
        return _of_channels(array, who), count
    if array.dtype.kind == "f" and (array != np.round(array)).any():
        raise DataError(f"{who}: label maps with fractions such as {array[array != np.round(array)][0]}; expected ids.")
    return _of_ids(array.astype(np.int64), classes if colours is None else len(colours.colours), ignore, who)


def _count(said: int | None, found: int, who: str) -> int:
    if said is not None and said != found:
        raise LabelError(f"{who}: {found} classes in the label maps; expected classes={said}. Set classes={found}.")
    return found


def _of_ids(ids: np.ndarray, classes: int | None, ignore: int, who: str) -> tuple[np.ndarray, int]:
    cared = ids != ignore
    if not cared.any():
        raise LabelError(f"{who}: nothing but the don't-care label {ignore}; expected ids of classes.")
    count = int(ids[cared].max()) + 1 if classes is None else classes
    wrong = cared & ((ids < 0) | (ids >= count))
    if wrong.any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(wrong)), ids.shape))
        raise LabelError(
            f"{who}: the label {ids[place]} in map {place[0]} at row {place[1]}, column {place[2]}, and {int(wrong.sum()) - 1} "
            f"more such pixels; expected 0 to {count - 1}, or {ignore} where nobody cares. Mend the maps, or set classes=."
        )
    return _small(np.where(cared, ids, count), count), count


def _of_channels(array: np.ndarray, who: str) -> np.ndarray:
    if not np.isin(array, (0, 1)).all():
        raise LabelError(
            f"{who}: label maps of shape {array.shape} with values besides 0 and 1; expected one channel a class. For "
            "colours set palette=."
        )
    total = array.sum(3, dtype=np.int64)
    if (total > 1).any():
        place = tuple(int(i) for i in np.unravel_index(int(np.argmax(total > 1)), total.shape))
        raise LabelError(
            f"{who}: {total[place]} classes in map {place[0]} at row {place[1]}, column {place[2]}; expected at most one."
        )
    count = array.shape[3]
    return _small(np.where(total == 1, array.argmax(3), count), count)


def _small(ids: np.ndarray, count: int) -> np.ndarray:
    return ids.astype(np.uint8 if count < 256 else np.int32)


def match_colours(
    pictures: np.ndarray, colours: Palette, *, tolerance: float = TOLERANCE, who: str = "match_colours"
) -> np.ndarray:
    """Ids of the nearest colours of a palette.

    A pixel farther than ``tolerance`` from all of them, as JPEG makes them along edges, takes the class of the nearest pixel
    that is not: the colour between two others is often that of a third class.

    Args:
        pictures: uint8 (N, H, W, 3).
        colours: The palette.
        tolerance: Euclidean distance in levels.
        who: Start of the messages.

    Returns:
        Ids (N, H, W).

    Raises:
        DataError: Not uint8, or more than half of a picture's pixels fit no colour.

    Example:
        >>> two = Palette(("sky", "sea"), ((255, 0, 0), (0, 0, 255)))
        >>> match_colours(np.uint8([[[[250, 3, 9], [128, 0, 128], [0, 0, 255], [1, 1, 250]]]]), two).tolist()
        [[[0, 0, 1, 1]]]
    """
    if pictures.dtype != np.uint8:
        raise DataError(f"{who}: colours of type {pictures.dtype}; expected uint8 from 0 to 255.")
    table = np.asarray(colours.colours, np.float32)
    ids = np.empty(pictures.shape[:3], np.uint8 if len(table) < 256 else np.int32)
    for number, picture in enumerate(pictures):
        x = picture.astype(np.float32)
        # |x - c|^2 without a third axis of differences
        square = (x**2).sum(2)[..., None] - 2 * x @ table.T + (table**2).sum(1)  # H W K
        ids[number], unsure = square.argmin(2), square.min(2) > tolerance**2
        if unsure.mean() > 0.5:
            place = np.unravel_index(int(np.argmax(unsure)), unsure.shape)
            raise DataError(
                f"{who}: {100 * unsure.mean():.0f} % of the pixels of map {number} have no colour of the palette, such as "
                f"{tuple(map(int, picture[place]))}; expected {colours.colours[:3]} ... Choose another palette."
            )
        if unsure.any():
            row, column = ndimage.distance_transform_edt(unsure, return_distances=False, return_indices=True)
            ids[number] = ids[number][row, column]
    return ids


# ------------------------------------------------------------------------------------------------------- changed


def resize_label_maps(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Ids at another size: reduced, a pixel has the class that covers most of it; enlarged, that of the nearest.

    Args:
        maps: Ids (N, H, W).
        size: (H, W).

    Example:
        >>> resize_label_maps(np.array([[[1, 1, 0, 2], [1, 0, 2, 2]]]), (1, 2)).tolist()
        [[[1, 2]]]
    """
    height, width = maps.shape[1:]
    if (height, width) == size:
        return maps
    if size[0] > height or size[1] > width:
        rows, columns = (np.arange(new) * old // new for new, old in zip(size, (height, width), strict=True))
        return maps[:, rows[:, None], columns]
    found = np.empty((len(maps), *size), maps.dtype)
    for number, one in enumerate(maps):
        known, inverse = np.unique(one, return_inverse=True)
        shares = F.one_hot(torch.from_numpy(inverse.reshape(one.shape)), len(known)).permute(2, 0, 1)[None].float()
        found[number] = known[F.adaptive_avg_pool2d(shares, size)[0].argmax(0).numpy()]
    return found


def paint(
    maps: np.ndarray, label: int, *, box: Sequence[int] | None = None, mask: ArrayLike | None = None
) -> np.ndarray:
    """A copy of label maps in which a region has another class: edit a map, then render it again.

    Args:
        maps: Ids (H, W) or (N, H, W).
        label: The class that is painted.
        box: Top, left, height and width of a rectangle in pixels; what lies outside the map is cut off.
        mask: True where to paint, (H, W).

    Raises:
        ShapeError: The maps have other axes, or the mask another size.
        ParameterError: Not one of box and mask, or a box that misses the map.

    Example:
        >>> paint(np.zeros((2, 4), int), 3, box=(0, 1, 1, 2)).tolist()
        [[0, 3, 3, 0], [0, 0, 0, 0]]
    """
    painted = np.array(maps)
    if painted.ndim not in (2, 3):
        raise ShapeError(f"paint: maps of shape {painted.shape}; expected ids H W or N H W.")
    if (box is None) == (mask is None):
        raise ParameterError("paint: expected either box=(top, left, height, width) or mask=.")
    if mask is not None:
        where = np.asarray(mask, bool)
        if where.shape != painted.shape[-2:]:
            raise ShapeError(f"paint: a mask of shape {where.shape}; expected {painted.shape[-2:]}.")
        painted[..., where] = label
        return painted
    top, left, height, width = box
    rows, columns = slice(max(0, top), max(0, top + height)), slice(max(0, left), max(0, left + width))
    if painted[..., rows, columns].size == 0:
        raise ParameterError(
            f"paint: box={tuple(box)} misses maps of {painted.shape[-2]} x {painted.shape[-1]} pixels."
        )
    painted[..., rows, columns] = label
    return painted


JITTER = ("flip", "zoom")
"""Steps of `jitter`."""


def jitter(x: Tensor, maps: Tensor, words: str) -> tuple[Tensor, Tensor]:
    """The same random change of photographs and of their label maps.

    Draws come from torch's own generators, which a `PrivateRandom` stands in for.

    Args:
        x: Photographs (N, 3, H, W).
        maps: Ids (N, H, W).
        words: "none", or joined by "+" of "flip" (half are mirrored) and "zoom" (a part of 8/9 to 9/9 of each side at a
            random place is shown at full size, as the crops of 256 out of 286 pixels of Isola et al. 2017, section 6.2).
    """
    chosen = words.split("+")
    count, device = len(x), x.device
    mirrored = torch.where(torch.rand(count, device=device) < 0.5, -1.0, 1.0) if "flip" in chosen else None
    if "zoom" not in chosen:
        if mirrored is None:
            return x, maps
        turned = (mirrored < 0)[:, None, None]
        return torch.where(turned[:, None], x.flip(3), x), torch.where(turned, maps.flip(2), maps)
    scale = 8 / 9 + torch.rand(count, device=device) / 9
    theta = torch.zeros(count, 2, 3, device=device)
    theta[:, 0, 0] = scale if mirrored is None else scale * mirrored
    theta[:, 1, 1] = scale
    theta[:, :, 2] = (2 * torch.rand(count, 2, device=device) - 1) * (1 - scale)[:, None]
    grid = F.affine_grid(theta, [count, 1, *x.shape[2:]], align_corners=False)
    shown = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
    ids = F.grid_sample(maps[:, None].float(), grid, mode="nearest", padding_mode="border", align_corners=False)
    return shown.contiguous(memory_format=torch.channels_last), ids[:, 0].to(maps.dtype)
