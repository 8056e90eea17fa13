import struct

import pytest

from rosenblatt.data.midi_events import count_unread

END = b"\x00\xff\x2f\x00"
NOTE = b"\x00\x90\x3c\x40\x0a\x80\x3c\x00"


def file(*tracks):
    chunks = b"".join(b"MTrk" + struct.pack(">I", len(t) + 4) + t + END for t in tracks)
    return b"MThd" + struct.pack(">IHHH", 6, 1, len(tracks), 480) + chunks


@pytest.mark.parametrize(
    ("events", "notes", "expected"),
    [
        (NOTE, 1, {}),
        (NOTE + b"\x00\x90\x3e\x40", 1, {"notes without an end": 1}),
        (b"\x00\x90\x3c\x40\x0a\x3c\x00\x00\x40\x50\x81\x00\x40\x00", 2, {}),  # running status, a time of two bytes
        (b"\x00\xa0\x3c\x20\x00\xd1\x20" + NOTE, 1, {"aftertouch": 2}),
        (b"\x00\xf0\x03\x01\x02\xf7\x00\xf7\x01\x05" + NOTE, 1, {"system exclusive messages": 2}),
        (b"\x00\xff\x01\x02hi\x00\xff\x02\x00\x00\xff\x03\x01x\x00\xff\x05\x01y" + NOTE, 1, {"texts": 2}),
        (b"\x00\xff\x7f\x01\x00\x00\xff\x51\x03\x07\xa1\x20" + NOTE, 1, {"other meta events": 1}),
        (b"\x00\xb0\x40\x7f\x00\xe0\x00\x40\x00\xc0\x05" + NOTE, 1, {}),  # the reader counts these
        (b"", 0, {}),
    ],
)
def test_each_kind_is_counted_once(events, notes, expected):
    assert count_unread(file(events), notes) == expected


def test_all_tracks_count_and_other_chunks_do_not():
    data = file(b"\x00\xd0\x01" + NOTE, b"\x00\xd0\x01")
    strange = b"XFIH" + struct.pack(">I", 4) + b"\x00\xd0\x01\x02"
    assert count_unread(data[:14] + strange + data[14:], 1) == {"aftertouch": 2}


def test_no_bytes_make_it_fail():
    for byte in range(256):
        for length in range(6):
            count_unread(file(bytes([0] + [byte] * length)), 0)
