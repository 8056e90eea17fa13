import math
import resource
import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from rosenblatt.data.resident import Resident
from rosenblatt.errors import DeviceError, DivergedError, MemoryWarning, ParameterError, ShapeError, TrainingInterrupted
from rosenblatt.train.follow import follow
from rosenblatt.train.memory import keep_freed
from rosenblatt.train.muon import SIZE, orthogonalise
from rosenblatt.train.optimizer import make_optimizer
from rosenblatt.train.plan import STANDARD, Plan
from rosenblatt.train.precision import choose_device, choose_precision
from rosenblatt.train.schedule import factor
from rosenblatt.train.seeds import PrivateRandom, draw_seed
from rosenblatt.train.supervised import EpochRecord, supervised

FP32 = Plan(precision="fp32")


def blobs(count=60):
    g = torch.Generator().manual_seed(0)
    y = torch.arange(count) % 3
    return torch.randn(count, 4, generator=g) + F.one_hot(y, 4) * 4, y


def net(seed=0, dropout=0.0):
    with PrivateRandom(seed):
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Dropout(dropout), nn.Linear(8, 3))


def resident(x, y, seed=0, batch_size=16):
    return Resident(x, y, device="cpu", batch_size=batch_size, generator=torch.Generator().manual_seed(seed))


def loss(output, y, weight):
    return F.cross_entropy(output, y)


@pytest.mark.parametrize(
    ("plan", "build"),
    [
        (
            Plan(optimizer="sgd", momentum=0.9, nesterov=True),
            lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, nesterov=True),
        ),
        (Plan(optimizer="sgd", momentum=0.0), lambda p: torch.optim.SGD(p, 0.1)),
        (Plan(optimizer="adam"), lambda p: torch.optim.Adam(p, 0.1)),
        (Plan(optimizer="rmsprop"), lambda p: torch.optim.RMSprop(p, 0.1)),
    ],
)
def test_equals_a_plain_pytorch_loop(plan, build):
    x, y = blobs()
    ours, plain = net(), net()
    records = list(supervised(ours, resident(x, y), loss, plan=plan.over(FP32), epochs=3, learning_rate=0.1))
    optimizer, g = build(plain.parameters()), torch.Generator().manual_seed(0)
    torch.randint(2**31, (1,), generator=g)  # the loop draws its private seed first
    plain.train()
    for _ in range(3):
        total = 0.0
        for rows in torch.randperm(len(x), generator=g).split(16):
            optimizer.zero_grad()
            value = F.cross_entropy(plain(x[rows]), y[rows])
            value.backward()
            optimizer.step()
            total += value.item() * len(rows)
    for a, b in zip(ours.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)
    assert records[-1].loss == pytest.approx(total / len(x), rel=1e-5)
    assert [r.epoch for r in records] == [1, 2, 3]


def test_same_seed_same_weights_with_dropout():
    x, y = blobs()
    nets = [net(dropout=0.5), net(dropout=0.5)]
    for one in nets:
        list(supervised(one, resident(x, y), loss, plan=FP32, epochs=2, learning_rate=0.01))
    assert all(torch.equal(a, b) for a, b in zip(*(one.state_dict().values() for one in nets), strict=True))


def test_divergence_names_the_place_and_keeps_the_last_good_weights():
    x, y = blobs()
    one = net()
    before = {k: v.clone() for k, v in one.state_dict().items()}
    with pytest.raises(DivergedError, match=r"epoch 1, batch 2; .* layer '\d'.*Try a learning rate") as caught:
        list(supervised(one, resident(x, y), loss, plan=Plan(optimizer="sgd").over(FP32), epochs=2, learning_rate=1e38))
    assert (caught.value.epoch, caught.value.batch) == (1, 2)
    assert all(torch.equal(before[k], v) for k, v in one.state_dict().items())
    assert isinstance(caught.value, ArithmeticError)


def test_divergence_in_a_later_epoch_goes_back_to_the_epoch_before():
    x, y = blobs()
    one, seen = net(), {}

    def explode(output, y, weight):
        return F.cross_entropy(output, y) * (math.nan if len(seen) == 2 else 1.0)

    with pytest.raises(DivergedError, match="Kept the weights of epoch 2"):
        for record in supervised(one, resident(x, y), explode, plan=FP32, epochs=5, learning_rate=0.01):
            seen[record.epoch] = {k: v.clone() for k, v in one.state_dict().items()}
    assert all(torch.equal(seen[2][k], v) for k, v in one.state_dict().items())


def test_averaged_weights_are_in_the_module_between_epochs_and_at_the_end():
    x, y = blobs()
    plain, averaged = net(), net()
    list(supervised(plain, resident(x, y), loss, plan=FP32, epochs=4, learning_rate=0.05))
    snapshots = [
        averaged[0].weight.detach().clone()
        for _ in supervised(
            averaged, resident(x, y), loss, plan=Plan(ema=0.99).over(FP32), epochs=4, learning_rate=0.05
        )
    ]
    assert torch.equal(snapshots[-1], averaged[0].weight)
    assert not torch.equal(plain[0].weight, averaged[0].weight)


def test_gradient_clipping_bounds_the_step():
    x, y = blobs()
    one = net()
    before = torch.cat([p.detach().flatten().clone() for p in one.parameters()])
    plan = Plan(optimizer="sgd", momentum=0.0, gradient_clip=1e-3).over(FP32)
    list(supervised(one, resident(x, y, batch_size=60), loss, plan=plan, epochs=1, learning_rate=1.0))
    after = torch.cat([p.detach().flatten() for p in one.parameters()])
    assert float((after - before).norm()) == pytest.approx(1e-3, rel=1e-3)


def mean_loss(output, y, weight):
    each = F.cross_entropy(output, y, reduction="none")
    return each.mean() if weight is None else (each * weight).sum() / weight.sum()


def flat(module):
    return torch.cat([p.detach().flatten() for p in module.parameters()])


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("parts", [2, 3, 99])
def test_accumulated_gradients_are_those_of_the_whole_batch(parts, weighted):
    x, y = blobs(50)
    w = torch.rand(50, generator=torch.Generator().manual_seed(2)) if weighted else None
    found, sizes = [], []

    def run(plan):
        one = net()
        one.register_forward_pre_hook(lambda _, given: sizes.append(len(given[0])))
        data = Resident(x, y, w, device="cpu", batch_size=16, generator=torch.Generator().manual_seed(0))
        last = list(supervised(one, data, mean_loss, plan=plan.over(FP32), epochs=3, learning_rate=0.1))[-1]
        found.append(last.loss)
        return flat(one)

    torch.testing.assert_close(
        run(Plan(optimizer="sgd", accumulate=parts)), run(Plan(optimizer="sgd")), rtol=1e-4, atol=1e-6
    )
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert sizes[0] == -(-16 // min(parts, 16))


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
        RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes."),
        MemoryError(),
    ],
)
def test_memory_that_runs_out_makes_the_parts_smaller_and_the_steps_stay(error):
    x, y = blobs()

    def run(limit, plan):
        one = net()

        def refuse(_module, given):
            if len(given[0]) > limit:
                raise error

        one.register_forward_pre_hook(refuse)
        rows = [r.row() for r in supervised(one, resident(x, y), loss, plan=plan, epochs=2, learning_rate=0.1)]
        return one, rows

    plain, _ = run(99, Plan(optimizer="sgd").over(FP32))
    with pytest.warns(MemoryWarning, match="batches of 16 pass through the network in . parts from now on") as said:
        halved, rows = run(5, Plan(optimizer="sgd").over(FP32))
    assert len(said) == 2  # 16 -> 8 -> 4
    assert [row["accumulate"] for row in rows] == [4, 4]
    torch.testing.assert_close(flat(halved), flat(plain), rtol=1e-4, atol=1e-6)
    asked, _ = run(5, Plan(optimizer="sgd", accumulate=4).over(FP32))
    assert torch.equal(flat(asked), flat(halved))


@pytest.mark.filterwarnings("ignore::rosenblatt.errors.MemoryWarning")
def test_memory_too_small_for_a_single_sample_is_an_error_and_others_are_not_caught():
    x, y = blobs()
    for error, match in ((MemoryError("none at all"), "none at all"), (RuntimeError("shapes differ"), "shapes differ")):
        one = net()
        before = flat(one)

        def refuse(*_, error=error):
            raise error

        one.register_forward_pre_hook(refuse)
        with pytest.raises(type(error), match=match):
            list(supervised(one, resident(x, y), loss, plan=FP32, epochs=2, learning_rate=0.1))
        assert torch.equal(flat(one), before)


def test_a_target_stops_the_run_there():
    with PrivateRandom(0):
        one = nn.Linear(1, 1, bias=False)

    def loop():
        for record in records([0.1, 0.9, 0.95, 0.4, 0.3]):
            one.weight.data.fill_(record.epoch)
            yield record

    for plan in (Plan(target=0.93), Plan(target=0.93, early_stopping=True, min_delta=0.5)):
        done = follow(loop(), one, plan=plan.over(STANDARD), epochs=5, label="x", verbose=0)
        assert (done.best_epoch, done.stopped, len(done.rows)) == (3, "target", 3)
        assert one.weight.item() == 3.0
    assert follow(loop(), one, plan=Plan(target=2).over(STANDARD), epochs=5, label="x", verbose=0).stopped == "epochs"


def records(scores, fail_after=None):
    for epoch, score in enumerate(scores, 1):
        if fail_after is not None and epoch > fail_after:
            raise KeyboardInterrupt
        yield EpochRecord(epoch, 1.0, 0.1, 0.0, {"validation_score": score})


def test_early_stopping_restores_the_best_epoch():
    with PrivateRandom(0):
        one = nn.Linear(1, 1, bias=False)
    weights = []

    def loop():
        for record in records([0.1, 0.9, 0.5, 0.4, 0.3]):
            one.weight.data.fill_(record.epoch)
            weights.append(record.epoch)
            yield record

    done = follow(
        loop(), one, plan=Plan(early_stopping=True, patience=2).over(STANDARD), epochs=5, label="x", verbose=0
    )
    assert (done.best_epoch, done.stopped, weights) == (2, "early_stopping", [1, 2, 3, 4])
    assert one.weight.item() == 2.0


def test_interruption_keeps_what_there_is_and_says_so():
    one = net()
    with pytest.warns(TrainingInterrupted, match="interrupted after 2 of 9 epochs; the weights of epoch 2 are kept"):
        done = follow(records([0.1] * 9, fail_after=2), one, plan=STANDARD, epochs=9, label="Net", verbose=0)
    assert done.stopped == "interrupted"
    with pytest.raises(KeyboardInterrupt):
        follow(records([0.1], fail_after=0), one, plan=STANDARD, epochs=1, label="Net", verbose=0)


def test_verbose_two_writes_a_line_an_epoch_to_stderr(capsys):
    follow(records([0.5, 0.6]), net(), plan=STANDARD, epochs=2, label="Net", verbose=2)
    assert capsys.readouterr().err.splitlines()[1].startswith("epoch 2/2  loss 1  validation_score 0.6")


@pytest.mark.parametrize("schedule", ["constant", "linear", "cosine", "onecycle"])
def test_schedules_stay_between_zero_and_one(schedule):
    factors = [factor(schedule, step, 100, warmup=0.1) for step in range(100)]
    assert all(0 < f <= 1 for f in factors)
    assert max(factors) == pytest.approx(1, abs=0.01)
    assert schedule == "constant" or factors[-1] < 0.05


def test_plan_survives_and_refuses():
    plan = Plan(schedule="cosine", ema=0.9)
    assert repr(plan) == "Plan(schedule='cosine', ema=0.9)"
    assert eval(repr(plan)) == plan
    assert plan.over(STANDARD).optimizer == "adam"
    with pytest.raises(ParameterError, match=r"Plan: optimizer='adamm'; expected one of .*Did you mean 'adam'\?"):
        Plan(optimizer="adamm")
    with pytest.raises(ParameterError, match="patience=0; expected an integer >= 1"):
        Plan(patience=0)


def test_devices_and_precisions():
    assert choose_device("cpu").type == "cpu"
    assert choose_precision("fp32", torch.device("cpu")) == "fp32"
    assert choose_precision("auto", torch.device("cpu")) in ("fp32", "bf16")
    with pytest.raises(DeviceError, match="is not a device; expected 'auto'"):
        choose_device("gpu please")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="torch sees no CUDA GPU here"):
            choose_device("cuda")


def test_seeds():
    import numpy as np

    assert draw_seed(3) == 3
    assert draw_seed(np.random.RandomState(0)) == draw_seed(np.random.RandomState(0))
    assert draw_seed(None) != draw_seed(None)


def test_resident_batches_cover_everything_once():
    x = torch.arange(10.0)
    data = Resident(x, x.long(), x, device="cpu", batch_size=4, generator=torch.Generator().manual_seed(1))
    batches = list(data)
    assert [len(b[0]) for b in batches] == [4, 4, 2]
    assert sorted(torch.cat([b[0] for b in batches]).tolist()) == x.tolist()
    assert all(torch.equal(b[0], b[2]) and torch.equal(b[0].long(), b[1]) for b in batches)
    with pytest.raises(ShapeError, match="fields of lengths"):
        Resident(x, x[:3], device="cpu", batch_size=4)


# ------------------------------------------------------------------------------------------------- muon, memory, turns


def filters(seed=0):
    with PrivateRandom(seed):
        return nn.Sequential(
            nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 9), nn.ReLU(), nn.Linear(9, 9), nn.Linear(9, 2)
        )


def test_orthogonalise_is_about_the_polar_factor():
    g = torch.Generator().manual_seed(0)
    for shape in ((16, 72), (72, 16)):
        matrix = torch.randn(shape, generator=g)
        u, _, v = torch.linalg.svd(matrix, full_matrices=False)
        got = orthogonalise(matrix, 5)
        assert torch.linalg.svdvals(got).min() > 0.6
        assert torch.linalg.svdvals(got).max() < 1.3
        assert F.cosine_similarity(got.flatten(), (u @ v).flatten(), dim=0) > 0.97


def test_muon_turns_filters_and_hidden_matrices_and_leaves_the_rest_to_adam():
    net, twin = filters(), filters()
    x = torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = torch.arange(16) % 2
    optimizer = make_optimizer(net, Plan(optimizer="muon", momentum=0.9).over(STANDARD), 1e-2)
    adam = torch.optim.Adam(twin.parameters(), lr=1e-2, betas=(0.9, 0.99))
    for one, step in ((net, optimizer), (twin, adam)):
        F.cross_entropy(one(x), y).backward()
        step.step()
    start = filters()
    for (name, a), b, s in zip(net.named_parameters(), twin.parameters(), start.parameters(), strict=True):
        if name in ("0.weight", "5.weight"):
            moved = (a - s).detach().flatten(1)
            assert not torch.equal(a, b)
            singular = torch.linalg.svdvals(moved) / (1e-2 * SIZE * max(moved.shape) ** 0.5)
            assert 0.6 < singular[0] < 1.3  # Adam's step would have one large singular value and many small ones
        else:
            torch.testing.assert_close(a, b)
        assert a.grad is not None


def test_muon_refuses_shares_of_weights():
    with pytest.raises(ParameterError, match="a share of a filter cannot be orthogonalised; expected sharded=False"):
        make_optimizer(filters(), Plan(optimizer="muon", sharded=True).over(STANDARD), 1e-2)


def test_muon_learns_and_its_state_goes_through_a_file_of_plain_tensors():
    x = torch.randn(64, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    y = (x.mean((1, 2, 3)) > 0).long()
    net = filters()
    plan = Plan(optimizer="muon", weight_decay=0.01).over(FP32)
    records = list(supervised(net, resident(x, y), loss, plan=plan, epochs=20, learning_rate=1e-2))
    assert records[-1].loss < 0.3 * records[0].loss
    optimizer = make_optimizer(net, plan.over(STANDARD), 1e-2)
    F.cross_entropy(net(x), y).backward()
    optimizer.step()
    again = make_optimizer(net, plan.over(STANDARD), 1e-2)
    again.load_state_dict(optimizer.state_dict())
    assert torch.equal(again.state[net[0].weight]["momentum_buffer"], optimizer.state[net[0].weight]["momentum_buffer"])


def test_two_epochs_show_each_picture_both_ways():
    x = torch.arange(12.0).view(6, 1, 1, 2)
    data = Resident(x, torch.arange(6), device="cpu", batch_size=4, mirror=True)
    seen = []
    for data.turn in (0, 1, 2):
        rows = [(x, y) for x, y, _ in data]
        pictures, labels = (torch.cat(part) for part in zip(*rows, strict=True))
        seen.append(pictures[labels.argsort()])
    assert not torch.equal(seen[0], x)
    assert torch.equal(seen[0], seen[1].flip(3))
    assert torch.equal(seen[0], seen[2])
    mirrored = (seen[0] != x).flatten(1).all(1)
    assert torch.equal(torch.where(mirrored[:, None, None, None], x.flip(3), x), seen[0])


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only glibc can be told to keep memory")
def test_freed_memory_is_kept_inside_and_given_back_outside():
    def faults():
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        for _ in range(3):
            torch.ones(12_000_000)  # 48 MB: above what the C library keeps by itself
        return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

    with keep_freed(), keep_freed():
        inside = min(faults() for _ in range(5))  # at times another block lies in the way of one
    assert inside < faults() / 10
