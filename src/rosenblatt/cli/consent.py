"""The statement that the persons shown agreed: asked for once, and kept in the user's configuration folder."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import typer

from rosenblatt import _validate
from rosenblatt.errors import ConsentError

STATEMENT = (
    "I state that every person whose face I use here agreed to having it learned and swapped, and that I will not pass the "
    "results off as real."
)


def consent_file() -> Path:
    """Where the statement is kept."""
    return Path(typer.get_app_dir("rosenblatt")) / "face-swap-consent.json"


def refuse_without_consent(stated: bool) -> None:
    """Go on where the statement was made: by the option, earlier, or now on a terminal.

    Args:
        stated: Whether ``--i-have-consent`` was given.

    Raises:
        ConsentError: It was not.
        OutputError: It was, and cannot be kept.
    """
    if _kept():
        return
    if not stated and sys.stdin.isatty():
        typer.echo(STATEMENT, err=True)
        stated = typer.prompt("Type 'yes' if this is so", default="no", err=True).strip().lower() == "yes"
    if not stated:
        raise ConsentError(
            "faces are learned and swapped only with the consent of the persons shown; expected the statement of it. Add "
            f"--i-have-consent if this is true: {STATEMENT}"
        )
    path = consent_file()
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps({"statement": STATEMENT, "stated": datetime.now(UTC).isoformat(timespec="seconds")}, indent=1)
    _validate.write_whole(path, text.encode())


def _kept() -> bool:
    """Whether this very statement stands in the file; another or a damaged one does not count."""
    path = consent_file()
    if not path.is_file():
        return False
    try:
        held = json.loads(path.read_text("utf-8"))
    except (ValueError, OSError):
        return False
    return isinstance(held, dict) and held.get("statement") == STATEMENT
