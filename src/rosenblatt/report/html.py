"""One HTML file with everything in it: no script, no font, no picture from elsewhere."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rosenblatt._types import PathLike
from rosenblatt._validate import write_whole
from rosenblatt.data.photo import encode_photo
from rosenblatt.errors import ParameterError
from rosenblatt.report.canvas import INK, drawing_of

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Section:
    """One part of a page. All texts are plain: what looks like HTML in them is shown as it stands.

    Attributes:
        heading: Its title; may be empty.
        text: Paragraphs.
        figure: A figure, or None.
        alt: What the figure shows, for those who cannot see it; needed with a figure.
        caption: A line below the figure or table.
        head: Titles of the table's columns.
        rows: Rows of the table; none, no table.
        pictures: Pairs of pixels, uint8 (H, W, 3), and what they show.
        sound: A WAV file, which the page can play; it never plays by itself.
    """

    heading: str = ""
    text: Sequence[str] = ()
    figure: Figure | None = None
    alt: str = ""
    caption: str = ""
    head: Sequence[Any] = ()
    rows: Sequence[Sequence[Any]] = ()
    pictures: Sequence[tuple[np.ndarray, str]] = ()
    sound: bytes | None = None


# the policy forbids the browser to load anything, even if a text could smuggle a tag in
_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1>{title}</h1>
{body}
</main>
</body>
</html>
"""

_POLICY = "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'"

_STYLE = """
:root { color-scheme: light dark; --ink: #1b1d22; --soft: #5a6070; --line: #d9dce3; --paper: #fff; --card: #f7f8fa }
@media (prefers-color-scheme: dark) {
  :root { --ink: #e8e9ec; --soft: #a3a9b8; --line: #343945; --paper: #14161a; --card: #1b1e24 } }
* { box-sizing: border-box }
body { margin: 0; background: var(--paper); color: var(--ink); font: 1.0625rem/1.6 system-ui, sans-serif }
main { max-width: 52rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem }
h1 { font-size: 2rem; line-height: 1.2; margin: 0 0 1.5rem }
h2 { font-size: 1.3rem; line-height: 1.3; margin: 0 0 .6rem }
section { margin: 0 0 2.75rem }
p { margin: 0 0 .8rem; max-width: 42rem; overflow-wrap: anywhere }
figure { margin: 1rem 0 0; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem }
img { display: block; max-width: 100%; height: auto; margin: 0 auto }
.pictures { display: flex; flex-wrap: wrap; gap: .75rem; justify-content: center }
.pictures img { flex: 1 1 14rem; min-width: 0; max-width: 100%; margin: 0; border-radius: .3rem }
audio { display: block; width: 100%; margin-top: 1rem }
figcaption { color: var(--soft); font-size: .9rem; margin-top: .75rem }
.table { overflow-x: auto }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; font-size: .95rem }
th, td { text-align: left; padding: .45rem .8rem .45rem 0; border-bottom: 1px solid var(--line); vertical-align: top }
th { color: var(--soft); font-weight: 600; white-space: nowrap }
td:last-child { min-width: 13rem }
"""

# matplotlib's ink becomes the colour of the scheme, inside the picture itself
_SCHEME = "<style>svg{color:%s}@media(prefers-color-scheme:dark){svg{color:#e8e9ec}}</style>" % INK  # noqa: UP031

_SIZE = re.compile(rb'<svg[^>]*?width="([\d.]+)pt" height="([\d.]+)pt"')


def write_html(path: PathLike, title: str, sections: Iterable[Section], *, overwrite: bool = False) -> Path:
    """Write one self-contained page.

    Args:
        path: The file; its folder must exist.
        title: Heading and name of the page.
        sections: Its parts, in order.
        overwrite: False refuses a path that exists.

    Returns:
        The path.

    Raises:
        ParameterError: A figure or picture without a text for those who cannot see it.
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
    """
    body = "\n".join(_section(section) for section in sections)
    page = _PAGE.format(title=html.escape(title), policy=_POLICY, style=_STYLE, body=body)
    return write_whole(path, page.encode(), overwrite=overwrite)


def write_report(
    path: PathLike,
    what: str,
    title: str,
    numbers: Mapping[str, Any],
    sections: Callable[[], Iterable[Section]],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a report by its suffix: a page (.html) or the numbers (.json).

    Args:
        path: The file; its folder must exist.
        what: Name of the report, for the message.
        title: Of the page.
        numbers: What the JSON has.
        sections: Draws the parts of the page.
        overwrite: False refuses a path that exists.

    Raises:
        ParameterError: Another suffix.
        OutputError: The path exists and ``overwrite`` is False, or it cannot be written.
    """
    path = Path(path)
    if path.suffix == ".json":
        return write_whole(path, (json.dumps(numbers, indent=1) + "\n").encode(), overwrite=overwrite)
    if path.suffix != ".html":
        raise ParameterError(f"{path}: a {what} report is .html or .json. Choose one of them.")
    return write_html(path, title, sections(), overwrite=overwrite)


def _section(section: Section) -> str:
    parts = [f"<h2>{html.escape(section.heading)}</h2>"] if section.heading else []
    text = [section.text] if isinstance(section.text, str) else section.text
    parts += [f"<p>{html.escape(paragraph)}</p>" for paragraph in text]
    shown = [_table(section)] if section.rows else []
    shown += [_image(section.figure, section.alt)] if section.figure is not None else []
    shown += [_pictures(section.pictures)] if section.pictures else []
    shown += [_sound(section.sound, section.heading)] if section.sound is not None else []
    if shown:
        caption = [f"<figcaption>{html.escape(section.caption)}</figcaption>"] if section.caption else []
        parts.append("\n".join(["<figure>", *shown, *caption, "</figure>"]))
    return "\n".join(["<section>", *parts, "</section>"])


def _table(section: Section) -> str:
    head = "".join(f'<th scope="col">{html.escape(str(cell))}</th>' for cell in section.head)
    lines = ["".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) for row in section.rows]
    body = "\n".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="table"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table></div>'


def _image(figure: Figure, alt: str) -> str:
    if not alt.strip():
        raise ParameterError("write_html: a figure has no alt text; expected what it shows, in a sentence.")
    drawing = svg(figure)
    data = base64.b64encode(drawing).decode()
    width, height = (round(float(points) * 4 / 3) for points in _SIZE.search(drawing).groups())
    return f'<img src="data:image/svg+xml;base64,{data}" width="{width}" height="{height}" alt="{html.escape(alt)}">'


def _pictures(pictures: Sequence[tuple[np.ndarray, str]]) -> str:
    """Pixels as JPEG, side by side where there is room."""
    tags = []
    for pixels, alt in pictures:
        if not alt.strip():
            raise ParameterError("write_html: a picture has no alt text; expected what it shows, in a sentence.")
        data = base64.b64encode(encode_photo(pixels, "picture.jpg")).decode()
        size = f'width="{pixels.shape[1]}" height="{pixels.shape[0]}"'
        tags.append(f'<img src="data:image/jpeg;base64,{data}" {size} alt="{html.escape(alt)}">')
    return "\n".join(['<div class="pictures">', *tags, "</div>"])


def _sound(wav: bytes, what: str) -> str:
    data = base64.b64encode(wav).decode()
    return f'<audio controls src="data:audio/wav;base64,{data}" aria-label="{html.escape(what)}"></audio>'


def svg(figure: Figure) -> bytes:
    """A figure as SVG on no background, whose ink follows the light or dark scheme; equal figures give equal bytes."""
    import matplotlib

    none = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with matplotlib.rc_context({"svg.hashsalt": "rosenblatt", "svg.fonttype": "path"}):
        drawn = drawing_of(figure, format="svg", transparent=True, bbox_inches="tight", pad_inches=0.04, metadata=none)
    text = drawn.decode().replace(INK, "currentColor")
    head, tag, rest = text.partition("<defs>")
    return (head + _SCHEME + tag + rest).encode()
