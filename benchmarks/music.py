"""Composer: chorales, and the speed of sampling with cached keys.

    python benchmarks/music.py --part sampling                       # two minutes
    python benchmarks/music.py --part chorales --epochs 200          # about half an hour on a core; needs jsb_chorales
    python benchmarks/music.py --part midi FOLDER                    # round trips of a folder of MIDI files

Chorales: the JSB set on a grid of sixteenths, its own split of 229 / 76 / 77 pieces. The validation pieces choose the epoch, the
test pieces are read once at the end. Nats a note are over all four voices' tokens of all steps, silences included, each given all
tokens before it in the order S, A, T, B; "averaged over keys" is the mean likelihood over the transpositions that fit.
"""

import argparse
import json
import os
import time
from pathlib import Path

import numpy as np
import torch

import rosenblatt as rb
from rosenblatt.data.chorales import SILENCE, padded
from rosenblatt.data.music_tokens import Grammar, MusicTokens
from rosenblatt.models.chorale import token_losses
from rosenblatt.models.composer import MusicTransformer
from rosenblatt.train.chorale import split_tokens
from rosenblatt.train.music import play_on


def chorales():
    path = Path(os.environ["ROSENBLATT_DATA"]) / "jsb_chorales" / "Jsb16thSeparated.json"
    held = json.loads(path.read_text())
    return {name: [np.array(piece, np.int64) for piece in pieces] for name, pieces in held.items()}


@torch.no_grad()
def over_keys(model, pieces, shifts=(-2, -1, 0, 1, 2)):
    """Nats a note when the likelihood of each piece's steps is averaged over transpositions; no chords."""
    net, code, total, count = model.module_.eval(), model._code(), 0.0, 0
    for piece in pieces:
        logs = []
        for shift in shifts:
            moved = np.where(piece == SILENCE, SILENCE, piece + shift)
            if moved.max() > code.high or moved[moved >= 0].min() < code.low:
                continue
            notes, chords = split_tokens(net, padded([code.encode(moved)]))
            logs.append(-token_losses(net(notes, chords)[0], notes, chords)[0].double())
        total -= float((torch.logsumexp(torch.stack(logs), 0) - np.log(len(logs))).sum())
        count += piece.size
    return total / count


def learn(epochs, out, options):
    data = chorales()
    model = rb.Composer(network="chorale", epochs=epochs, verbose=2, random_state=0, **options)
    clock, processor = time.perf_counter(), time.process_time()
    model.fit(data["train"], validation=data["valid"])
    seconds = {"seconds": time.perf_counter() - clock, "processor_seconds": time.process_time() - processor}
    row = {
        "epochs": epochs, **options, **seconds, "best_epoch": model.best_epoch_, "validation": model.nats(data["valid"]),
        "test": model.nats(data["test"]),
    }  # fmt: skip
    if not model.chords:
        row["test_averaged_over_keys"] = over_keys(model, data["test"])
    print(json.dumps(row), flush=True)
    samples = [model.sample(length=256, random_state=seed) for seed in range(20)]
    row["samples"] = model.compare(samples) | {"longest_copied_run": [model.memorised(piece) for piece in samples]}
    print(json.dumps(row["samples"]), flush=True)
    if out:
        model.save(out.with_suffix(".safetensors"))
    return row


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
    parser.add_argument("--part", choices=("sampling", "chorales", "midi"), default="sampling")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--dropout", type=float, default=0.4)
    parser.add_argument("--hidden-size", type=int, default=256)
    parser.add_argument("--chords", type=int, default=0)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.part == "sampling":
        result = sampling()
    elif given.part == "midi":
        result = round_trips(given.folder)
    else:
        options = {"dropout": given.dropout, "hidden_size": given.hidden_size, "chords": given.chords}
        result = learn(given.epochs, given.out, options)
    if given.out:
        given.out.parent.mkdir(parents=True, exist_ok=True)
        given.out.write_text(json.dumps(result, indent=1))
