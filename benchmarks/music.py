"""Composer: the speed of sampling with cached keys, and round trips of MIDI files.

    python benchmarks/music.py --part sampling                       # two minutes
    python benchmarks/music.py --part midi FOLDER                    # round trips of a folder of MIDI files

`benchmarks/chorales.py` measures chorales.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch

from rosenblatt.data.music_tokens import Grammar, MusicTokens
from rosenblatt.models.composer import MusicTransformer
from rosenblatt.train.music import play_on


def sampling(repeats=3, tokens=1024):
    """Tokens a second with and without cached keys, alternating; the small preset, one piece."""
    vocabulary = MusicTokens(24)
    torch.manual_seed(0)
    net = MusicTransformer(vocabulary.size, context=tokens + 8, width=256, layers=4, heads=4).eval()

    def cached():
        source = torch.Generator().manual_seed(0)
        started = time.perf_counter()
        play_on(
            net,
            [1],
            _Endless(vocabulary),
            length=tokens,
            until=None,
            context=tokens + 8,
            device="cpu",
            generator=source,
        )
        return time.perf_counter() - started

    @torch.no_grad()
    def plain():
        source, grammar, seen = torch.Generator().manual_seed(0), _Endless(vocabulary), [1]
        grammar.take(1)
        started = time.perf_counter()
        for _ in range(tokens):
            logits = net(torch.tensor([seen]))[0][:, -1].masked_fill(~torch.from_numpy(grammar.allowed()), -torch.inf)
            seen.append(int(torch.multinomial(logits.softmax(1), 1, generator=source)))
            grammar.take(seen[-1])
        return time.perf_counter() - started

    taken = {"cached": [], "plain": []}
    for _ in range(repeats):
        taken["cached"].append(cached())
        taken["plain"].append(plain())
        print({name: round(values[-1], 2) for name, values in taken.items()}, flush=True)
    middle = {name: float(np.median(values)) for name, values in taken.items()}
    row = {
        "tokens": tokens, "tokens_a_second": tokens / middle["cached"], "ratio": middle["plain"] / middle["cached"],
        "all": taken,
    }  # fmt: skip
    print(f"{row['tokens_a_second']:.0f} tokens/s, {row['ratio']:.1f} times plain, n={repeats}", flush=True)
    return row


class _Endless(Grammar):
    """A grammar without an end, so that every sample has its full length."""

    def allowed(self):
        mask = super().allowed()
        mask[2] = False
        return mask


def round_trips(folder):
    from rosenblatt.data.midi import decode_midi, encode_midi, read_pieces

    pieces, same = read_pieces(folder, skip_bad=True), 0
    for piece in pieces.values():
        tokens = MusicTokens(piece.resolution)
        same += decode_midi(encode_midi(tokens.decode(tokens.encode(piece)))) == piece
    print(f"{same} of {len(pieces)} files come back as they were")
    return {"files": len(pieces), "same": same}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", nargs="?")
    parser.add_argument("--part", choices=("sampling", "midi"), default="sampling")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    result = sampling() if given.part == "sampling" else round_trips(given.folder)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1))
