"""Events of a MIDI file that its reader says nothing about, counted by name.

Reference: Standard MIDI Files 1.0, RP-001; status bytes: MIDI 1.0 Detailed Specification, table I.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Iterator

_KNOWN = {0x03, 0x05, 0x06, 0x2F, 0x51, 0x58, 0x59}
"""Meta events that the reader itself keeps or counts: names, lyrics, markers, ends, tempos, time and key signatures."""

_DATA_BYTES = {0x80: 2, 0x90: 2, 0xA0: 2, 0xB0: 2, 0xC0: 1, 0xD0: 1, 0xE0: 2}


def count_unread(data: bytes, notes: int) -> dict[str, int]:
    """How many events of a file are neither notes nor counted by the reader.

    Args:
        data: A file that the reader accepts.
        notes: Notes that it found: one that begins and has no end is none of them.

    Example:
        >>> track = bytes([0, 0x90, 60, 64, 0, 0xD0, 9, 0, 0xFF, 0x2F, 0])
        >>> head = b"MThd" + struct.pack(">IHHH", 6, 0, 1, 24) + b"MTrk" + struct.pack(">I", len(track))
        >>> count_unread(head + track, 0)
        {'aftertouch': 1, 'notes without an end': 1}
    """
    found: Counter[str] = Counter()
    for track in _tracks(data):
        found.update(_names(track))
    found["notes without an end"] = found.pop("note", 0) - notes
    return {name: count for name, count in sorted(found.items()) if count > 0}


def _tracks(data: bytes) -> Iterator[bytes]:
    place = 8 + struct.unpack(">I", data[4:8])[0]
    while place + 8 <= len(data):
        size = struct.unpack(">I", data[place + 4 : place + 8])[0]
        if data[place : place + 4] == b"MTrk":
            yield data[place + 8 : place + 8 + size]
        place += 8 + size


def _names(track: bytes) -> Iterator[str]:
    """The name of each event that counts."""
    place, status = 0, 0
    while place < len(track):
        _, place = _number(track, place)  # time
        if place >= len(track):
            return
        if track[place] >= 0x80:
            status, place = track[place], place + 1
        if status == 0xFF and place < len(track):
            kind = track[place]
            size, place = _number(track, place + 1)
            place += size
            if kind not in _KNOWN:
                yield "texts" if kind < 0x10 else "other meta events"
        elif status in (0xF0, 0xF7):
            size, place = _number(track, place)
            place += size
            yield "system exclusive messages"
        elif (message := status & 0xF0) in _DATA_BYTES:
            if message == 0x90 and track[place + 1 : place + 2] not in (b"", b"\0"):
                yield "note"
            elif message in (0xA0, 0xD0):
                yield "aftertouch"
            place += _DATA_BYTES[message]
        else:
            return  # no MIDI event; the reader has passed or refused the file already


def _number(track: bytes, place: int) -> tuple[int, int]:
    """A number of variable length, and the place after it."""
    value = 0
    while place < len(track):
        byte, place = track[place], place + 1
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value, place
