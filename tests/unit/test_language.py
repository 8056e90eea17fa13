"""`LanguageModel`: windows, carried state, honest validation, decoding, units, files, bad input."""

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.base import clone

import rosenblatt as rb
from rosenblatt.data.text import Bytes, Characters, TokenWindows, pieces, read_text
from rosenblatt.errors import DataError, ParameterError
from rosenblatt.models.gpt import GPT
from rosenblatt.models.language import RecurrentLanguageModel
from rosenblatt.train.language import Carried, mean_nats, next_token, tokens_after
from rosenblatt.train.seeds import PrivateRandom

TEXT = "to be or not to be, that is the question:\n" * 40
QUICK = {
    "hidden_size": 24, "context": 16, "batch_size": 4, "epochs": 3, "learning_rate": 0.01, "random_state": 0, "verbose": 0,
}  # fmt: skip
EVERY = pytest.mark.parametrize("cell", ["lstm", "gru", "elman", "transformer"])


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def network(kind=RecurrentLanguageModel, **options):
    with PrivateRandom(0):
        return kind(11, **options).eval()


# ------------------------------------------------------------------------------------------- windows and the loop


@pytest.mark.parametrize("carry", [True, False])
def test_windows_cover_the_text_once_and_targets_are_the_next_tokens(carry):
    data = TokenWindows(np.arange(1000), batch_size=4, steps=7, carry=carry, device="cpu", generator=generator())
    for _ in range(3):
        batches = [(x.clone(), y.clone()) for x, y, _ in data]
        assert len(batches) == len(data)
        x = torch.cat([b[0].flatten() for b in batches])
        assert len(x.unique()) == len(x) > 900
        assert all((y == x + 1).all() for x, y in batches)
    if carry:
        assert all((b[0][:, 0] == a[0][:, -1] + 1).all() for a, b in itertools.pairwise(batches))


def test_the_carried_state_makes_windows_one_long_text():
    module, tokens = network(hidden_size=8), torch.randint(11, (200,), generator=generator())
    data = TokenWindows(tokens.numpy(), batch_size=3, steps=5, carry=True, device="cpu", generator=generator())
    carried = Carried(module, data)
    for _ in range(2):  # the second epoch must not see the state of the first
        batches, found = [], []
        for x, _, _ in data:
            batches.append(x)
            found.append(carried(x))
        assert not any(s.requires_grad for s in carried.after[0][0])
        whole, _ = module(torch.cat(batches, 1))
        assert torch.allclose(torch.cat(found, 1), whole, atol=1e-5)


def test_batches_in_parts_keep_each_row_its_state():
    module = network(hidden_size=8, cell="gru")
    data = TokenWindows(np.arange(200) % 11, batch_size=4, steps=5, carry=True, device="cpu", generator=generator())
    whole, parts = Carried(module, data), Carried(module, data)
    for x, _, _ in data:
        found = torch.cat([parts(x[:3]), parts(x[3:])])
        assert torch.allclose(found, whole(x), atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "transformer"])
def test_a_killed_run_goes_on_bit_for_bit(cell, tmp_path, monkeypatch):
    from rosenblatt.train.checkpoint import Keeper

    plan = {"precision": "fp32", "gradient_clip": 1.0}
    whole = rb.LanguageModel(cell=cell, **QUICK, plan=rb.Plan(**plan)).fit(TEXT)
    model = rb.LanguageModel(cell=cell, **QUICK, plan=rb.Plan(**plan, checkpoint=str(tmp_path)))
    write, calls = Keeper.write, []

    def killed_after_the_second(self, *args, **named):
        write(self, *args, **named)
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("killed")

    with monkeypatch.context() as patch:
        patch.setattr(Keeper, "write", killed_after_the_second)
        with pytest.raises(RuntimeError, match="killed"):
            model.fit(TEXT)
    model.fit(TEXT)
    for name, tensor in whole.module_.state_dict().items():
        assert torch.equal(tensor, model.module_.state_dict()[name]), name
    assert [r["validation_loss"] for r in whole.history_] == [r["validation_loss"] for r in model.history_]


def test_mean_nats_is_the_mean_over_every_token():
    tokens = torch.randint(11, (103,), generator=generator())
    module = network(hidden_size=8)
    with torch.no_grad():
        whole = float(next_token(module(tokens[None, :-1])[0], tokens[None, 1:]))
        found = mean_nats(module, tokens, steps=10, carry=True, precision="fp32", rows=1)
        assert found == pytest.approx(whole, abs=1e-5)
        gpt = network(GPT, context=10, width=8, layers=2, heads=2)
        parts = [gpt(tokens[None, i : min(i + 10, 102)])[0] for i in range(0, 102, 10)]
        whole = float(next_token(torch.cat(parts, 1), tokens[None, 1:]))
    assert mean_nats(gpt, tokens, steps=10, carry=False, precision="fp32", rows=3) == pytest.approx(whole, abs=1e-5)


def test_the_held_out_end_never_reaches_the_weights():
    clean = rb.LanguageModel(**QUICK).fit(TEXT)
    changed = rb.LanguageModel(**QUICK).fit(TEXT[:-100] + TEXT[-100:].swapcase().swapcase()[::-1])
    for a, b in zip(clean.module_.parameters(), changed.module_.parameters(), strict=True):
        assert torch.equal(a, b)
    assert clean.validation_loss_ != changed.validation_loss_


# --------------------------------------------------------------------------------------------------- the estimator


@EVERY
def test_learns_and_a_file_keeps_it_bit_for_bit(cell, tmp_path):
    model = rb.LanguageModel(cell=cell, **QUICK, plan=rb.Plan(precision="fp32")).fit(TEXT)
    losses = [row["validation_loss"] for row in model.history_]
    assert losses[-1] < losses[0] < math.log(model.n_tokens_) + 0.1
    again = rb.load(model.save(tmp_path / "m"))
    assert again.sample("to be", 40) == model.sample("to be", 40) == clone(model).fit(TEXT).sample("to be", 40)
    assert again.score(TEXT) == model.score(TEXT)
    assert model.sample("to be", 40, random_state=7) != model.sample("to be", 40, random_state=8)
    assert len(model.sample("to be", 40)) == 45
    assert "".join(model.stream("to be", 40)) == model.sample("to be", 40)[5:]


@torch.no_grad()
def test_cached_decoding_equals_reading_everything_again():
    gpt = network(GPT, context=16, width=8, layers=2, heads=2).double()
    for p in gpt.parameters():  # an untrained network says the same everywhere
        p.mul_(8)
    fast = list(tokens_after(gpt, [1, 2], length=14, context=16, device="cpu", generator=generator(), temperature=0))
    slow = [1, 2]
    for _ in range(14):
        slow.append(int(gpt(torch.tensor([slow]))[0][0, -1].argmax()))
    assert fast == slow[2:]
    long = list(tokens_after(gpt, [3] * 40, length=50, context=16, device="cpu", generator=generator()))
    assert len(long) == 50  # longer prompt and longer text than the context


@torch.no_grad()
def test_what_a_transformer_has_not_seen_yet_has_no_influence():
    gpt = network(GPT, context=16, width=8, layers=2, heads=2)
    tokens = torch.randint(11, (1, 12), generator=generator())
    other = tokens.clone()
    other[:, 6:] = 0
    assert torch.equal(gpt(tokens)[0][:, :6], gpt(other)[0][:, :6])
    with pytest.raises(rb.errors.ShapeError, match="17 tokens; expected at most its context of 16"):
        gpt(torch.zeros(1, 17, dtype=torch.long))


def test_scores_belong_together():
    model = rb.LanguageModel(**QUICK).fit(TEXT)
    assert model.bits_per_character(TEXT) == pytest.approx(math.log2(model.perplexity(TEXT)))
    assert model.score(TEXT) == -model.bits_per_character(TEXT)
    assert model.perplexity(TEXT) < model.perplexity(TEXT[::-1])


def test_early_stopping_keeps_the_best_epoch_and_pictures_are_drawn():
    model = rb.LanguageModel(**{**QUICK, "epochs": 6}, plan=rb.Plan(early_stopping=True, patience=1)).fit(TEXT)
    assert model.validation_loss_ == min(row["validation_loss"] for row in model.history_)
    assert {"learning_curves", "gradient_through_time"} <= set(model.inspect())
    assert "LanguageModel(units='characters', cell='lstm')" in str(model.summary())


# ----------------------------------------------------------------------------------------------------- units


@pytest.mark.parametrize("text", ["abc\r\n\x00\x1b[31m", "日本語 русский 🙂\ufffd", "é\u0301"])
def test_units_give_every_text_back(text):
    for units in (Characters.of(text), Bytes()):
        tokens = units.encode(text, who="test")
        assert units.decode(tokens) == text
        assert "".join(pieces(units, iter(tokens.tolist()))) == text
        assert tokens.max() < units.size


def test_streaming_holds_back_half_a_character_and_shows_wrong_bytes_at_the_end():
    tokens = "aé🙂".encode()
    assert list(pieces(Bytes(), tokens)) == ["a", "é", "🙂"]
    assert list(pieces(Bytes(), tokens[:-1])) == ["a", "é", "\ufffd"]


def test_bytes_model_of_an_unknown_script_and_of_control_characters():
    text = "зима — 冬\x1b\n" * 60
    model = rb.LanguageModel(units="bytes", **{**QUICK, "epochs": 1}).fit(text)
    assert math.isfinite(model.perplexity("never seen: ☃"))
    assert model.sample("☃", 20).startswith("☃")
    assert model.bits_per_character(text) > math.log2(model.perplexity(text))  # several bytes a character


def test_pieces_of_words(tmp_path):
    pytest.importorskip("tokenizers")
    model = rb.LanguageModel(units="bpe", vocabulary=300, **QUICK).fit(TEXT)
    assert 256 < model.n_tokens_ <= 300
    assert model.validation_loss_ < model.history_[0]["validation_loss"]
    again = rb.load(model.save(tmp_path / "m"))
    assert again.sample("to be", 10) == model.sample("to be", 10)
    assert again.bits_per_character(TEXT) == model.bits_per_character(TEXT) < math.log2(model.perplexity(TEXT))


def test_pieces_are_learned_from_the_training_part_alone():
    pytest.importorskip("tokenizers")
    quick = {**QUICK, "epochs": 1}
    model = rb.LanguageModel(units="bpe", vocabulary=300, **quick).fit(TEXT[:-168] + "zyx zyx zyx zyx zyx zyx\n" * 7)
    clean = rb.LanguageModel(units="bpe", vocabulary=300, **quick).fit(TEXT)
    assert model.pieces_ == clean.pieces_


# ------------------------------------------------------------------------------------------------ command line


def run(*words):
    from typer.testing import CliRunner

    from rosenblatt.cli import app

    return CliRunner().invoke(app, [str(word) for word in words])


def test_command_line(tmp_path):
    file, out = tmp_path / "t.txt", tmp_path / "m.safetensors"
    file.write_text(TEXT)
    options = [
        "--hidden-size",
        24,
        "--context",
        16,
        "--batch-size",
        4,
        "--epochs",
        2,
        "--random-state",
        0,
        "--verbose",
        0,
    ]
    done = run("train", "language", file, "--out", out, *options)
    assert done.exit_code == 0, done.exception
    assert "nats each on the held-out end" in done.output
    model = rb.load(out)
    drawn = run("sample", out, "--prompt", "to be", "--length", 30, "--temperature", 0.8, "--random-state", 3)
    assert drawn.output == model.sample("to be", 30, temperature=0.8, random_state=3) + "\n"
    run("sample", out, "--prompt", file, "--length", 5, "--out", tmp_path / "o.txt")
    assert (tmp_path / "o.txt").read_text().startswith(TEXT)
    assert '"text": "to' in run("sample", out, "--prompt", "to", "--length", 5, "--json").output
    assert "bits_per_character" in run("evaluate", out, file).output
    assert "means nothing" in str(run("predict", out, file).exception)
    assert run("train", "language", tmp_path, "--out", tmp_path / "n", "--pattern", "*.txt", *options).exit_code == 0
    assert "no file is named like" in str(
        run("train", "language", tmp_path, "--out", tmp_path / "k", "--pattern", "*.py").exception
    )
    file.write_bytes(b"\xff\xfe")
    assert "is not UTF-8" in str(run("sample", out, "--prompt", file).exception)


# --------------------------------------------------------------------------------------------------- bad input


def test_reading_files(tmp_path):
    one, two = tmp_path / "one.txt", tmp_path / "two.txt"
    one.write_bytes(b"\xef\xbb\xbffirst")
    two.write_bytes("zweit\u00f6\r\n".encode("latin-1"))
    assert read_text(one, who="x") == read_text(str(one), who="x") == "first"
    assert read_text([one, one], who="x") == "first\nfirst\n"
    assert read_text(two, who="x", encoding="latin-1") == "zweitö\r\n"
    with pytest.raises(DataError, match=r"two.txt is not utf-8: byte 0xf6 at 5, line 1; .*encoding='latin-1'"):
        read_text(two, who="x")
    two.write_bytes("text".encode("utf-16"))
    with pytest.raises(DataError, match="Pass encoding='utf-16'"):
        read_text(two, who="x")
    assert read_text(two, who="x", encoding="utf-16") == "text"
    with pytest.raises(DataError, match="encoding='klingon' is not known"):
        read_text(two, who="x", encoding="klingon")
    two.write_bytes(b"")
    with pytest.raises(DataError, match="the text is empty"):
        read_text(two, who="x")
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        read_text(tmp_path / "three.txt", who="x")
    with pytest.raises(DataError, match="got a int; expected text"):
        read_text(3, who="x")


def test_gradients_by_step():
    from rosenblatt.report.recurrent import gradient_sizes, gradient_through_time

    model = rb.LanguageModel(cell="transformer", **{**QUICK, "epochs": 1}).fit(TEXT)
    sizes = gradient_sizes(model, TEXT)
    assert sizes.shape == (16,)
    assert (sizes > 0).all()
    assert len(gradient_through_time({"one": model, "two": model}, TEXT).axes[0].lines) == 2
    with pytest.raises(DataError, match="16 characters; expected more than 16"):
        gradient_sizes(model, TEXT[:16])


def test_text_too_short_or_meant_as_a_path():
    with pytest.raises(
        DataError, match=r"9 characters to learn from and 1 held out; expected at least 33 .*is none of this name"
    ):
        rb.LanguageModel(**QUICK).fit("novels.txt")
    with pytest.raises(DataError, match="4 tokens to learn from; expected at least 5"):
        TokenWindows(np.arange(4), batch_size=1, steps=2, carry=True, device="cpu", generator=generator())


def test_prompts_and_options():
    model = rb.LanguageModel(**{**QUICK, "epochs": 1}).fit(TEXT)
    assert len(model.sample("", 5)) == 5
    assert model.sample("to", 0) == "to"
    with pytest.raises(
        DataError, match=r"2 of 7 characters were not in the training text \('Z', 'ß'; the first at 3\)"
    ):
        model.sample("to ZßZ"[:5] + "be")
    with pytest.raises(DataError, match="not in the training text"):
        model.perplexity("ÄÖÜ")
    with pytest.raises(DataError, match="the text has one character"):
        model.perplexity("t")
    with pytest.raises(ParameterError, match="length=-1; expected an integer >= 0"):
        model.sample("to", -1)
    with pytest.raises(ParameterError, match="prompt is a bytes; expected text"):
        model.sample(b"to")
    with pytest.raises(ParameterError, match="top_p=2; expected a number > 0 and <= 1"):
        model.stream("to", top_p=2)
    with pytest.raises(ParameterError, match="hidden_size=129; expected a multiple of 64"):
        rb.LanguageModel(cell="transformer", hidden_size=129).fit(TEXT)


def test_a_file_whose_units_contradict_its_network_is_refused():
    model = rb.LanguageModel(**{**QUICK, "epochs": 1}).fit(TEXT)
    model.n_tokens_ += 1
    with pytest.raises(ValueError, match="its units are"):
        model._check_restored()
