"""Byte-level BPE: exact, deterministic, kept as JSON."""

import sys

import pytest

from rosenblatt.data.bpe import BPE
from rosenblatt.errors import DataError, MissingExtraError, ParameterError

LINES = ["ein Mann fährt mit dem Fahrrad", "a man rides a bicycle", "the man rides"] * 5


@pytest.mark.parametrize(
    "text",
    [
        "a man rides",
        "",
        "  two  blanks ",
        "tab\there\r\nand\x00there",
        "中文 العربية 🤡",
        "<pad> [UNK] </s>",
        "Ġ Ċ",
        "a\u0301",
    ],
)
def test_every_text_comes_back_exactly(text):
    units = BPE.of(LINES, 300)
    assert units.decode(units.encode(text)) == text
    assert "".join(units.pieces(units.encode(text))) == text or not text.isascii()
    assert units.encode_many([text]) == [units.encode(text).tolist()]


def test_the_same_lines_give_the_same_pieces_and_the_description_is_enough():
    units = BPE.of(LINES, 300)
    assert BPE.of(iter(LINES), 300).description == units.description
    assert BPE(units.description).encode("mit dem Rad").tolist() == units.encode("mit dem Rad").tolist()
    assert 256 < units.size <= 300
    assert BPE.of(["a"], 300).size == 256
    assert len(units.encode("a man rides")) < 6


def test_half_a_surrogate_pair_becomes_a_mark_and_cut_characters_too():
    units = BPE.of(LINES, 256)
    assert units.decode(units.encode("x\udce4y")) == "x\ufffdy"
    assert units.decode(units.encode("ä")[:1]) == "\ufffd"


def test_what_is_no_description_is_refused():
    with pytest.raises(DataError, match="not readable"):
        BPE("{}")
    word = '{"version":"1.0","model":{"type":"WordLevel","vocab":{"a":0},"unk_token":"a"}}'
    with pytest.raises(DataError, match="another tokenizer"):
        BPE(word)
    with pytest.raises(ParameterError, match="at least 256"):
        BPE.of(LINES, 100)


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(MissingExtraError, match=r"rosenblatt\[text\]"):
        BPE.of(LINES, 300)
