"""Steps on the device: a loop by hand, mixed precision, compilation, averages, errors, and flags of the program."""

import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from ignite import Learner
from ignite.engine import CountedLoss, Engine, Events, create_supervised_trainer
from ignite.handlers import EMAHandler
from ignite.metrics import GpuInfo
from support.device import DEVICE, HAS_CUDA, needs_cuda


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 64), nn.ReLU(), nn.Linear(64, 4)).to(DEVICE)


def make_batches(num=8):
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.randn(32, 16, generator=generator), torch.randint(4, (32,), generator=generator))
        for _ in range(num)
    ]


def by_hand(dtype=None, with_scaler=False, clip=None):
    """The loop that one would write; returns the weights."""
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    scaler = torch.amp.GradScaler(DEVICE.type, enabled=with_scaler)
    for x, y in make_batches():
        optimizer.zero_grad()
        x, y = x.to(DEVICE), y.to(DEVICE)
        with torch.autocast(DEVICE.type, dtype=dtype, enabled=dtype is not None):
            y_pred = model(x)
        loss = F.cross_entropy(y_pred.float(), y)
        scaler.scale(loss).backward()
        scaler.unscale_(optimizer)
        if clip is not None:
            torch.nn.utils.clip_grad_norm_(model.parameters(), clip)
        scaler.step(optimizer)
        scaler.update()
    return [parameter.detach().clone() for parameter in model.parameters()]


def by_engine(**options):
    model = make_model()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    trainer = create_supervised_trainer(
        model, optimizer, F.cross_entropy, device=DEVICE, non_blocking=True, **options
    )
    trainer.run(make_batches())
    return [parameter.detach().clone() for parameter in model.parameters()], trainer


@pytest.mark.parametrize(
    ("options", "loop"),
    [
        ({}, {}),
        ({"clip_grad_norm": 0.5}, {"clip": 0.5}),
        ({"amp_mode": "amp", "amp_dtype": "bfloat16"}, {"dtype": torch.bfloat16}),
        (
            {"amp_mode": "amp", "amp_dtype": "bfloat16", "clip_grad_norm": 0.5},
            {"dtype": torch.bfloat16, "clip": 0.5},
        ),
    ],
    ids=["float32", "clipped", "bfloat16", "bfloat16 clipped"],
)
def test_the_engine_ends_with_the_weights_of_the_loop_by_hand(options, loop):
    found, _ = by_engine(**options)
    expected = by_hand(**loop)
    assert [torch.equal(*pair) for pair in zip(found, expected, strict=True)] == [True] * 4


@needs_cuda
@pytest.mark.parametrize("clip", [None, 0.5])
def test_float16_with_a_scaler_ends_with_the_weights_of_the_loop_by_hand(clip):
    options = {} if clip is None else {"clip_grad_norm": clip}
    found, trainer = by_engine(amp_mode="amp", scaler=True, **options)
    expected = by_hand(torch.float16, with_scaler=True, clip=clip)
    assert [torch.equal(*pair) for pair in zip(found, expected, strict=True)] == [True] * 4
    assert trainer.state.scaler is not None


@needs_cuda
def test_a_step_with_infinite_gradients_is_left_out_and_the_scale_falls():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    scaler = torch.amp.GradScaler("cuda", init_scale=2.0**16)
    trainer = create_supervised_trainer(
        model, optimizer, lambda y_pred, y: F.cross_entropy(y_pred, y) * 1e5,
        device=DEVICE, amp_mode="amp", scaler=scaler,
    )  # fmt: skip
    before = [parameter.detach().clone() for parameter in model.parameters()]
    trainer.run(make_batches(1))
    assert scaler.get_scale() == 2.0**15
    assert all(torch.equal(*pair) for pair in zip(model.parameters(), before, strict=True))


def test_a_window_of_counted_batches_is_one_batch_of_all_their_elements():
    def loss_fn(y_pred, y):
        count = (y != 0).sum()
        total = F.cross_entropy(y_pred, y, ignore_index=0, reduction="sum")
        return CountedLoss(total / count.clamp(min=1), count)

    batches = make_batches(4)
    whole = tuple(torch.cat([batch[i] for batch in batches]) for i in range(2))
    weights = []
    for data, steps in ((batches, 4), ([whole], 1)):
        model = make_model()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        create_supervised_trainer(
            model, optimizer, loss_fn, device=DEVICE, gradient_accumulation_steps=steps
        ).run(data)
        weights.append([parameter.detach() for parameter in model.parameters()])
    for found, expected in zip(*weights, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def can_compile():
    """Whether PyTorch's compiler works here at all: it needs a compiler of C and Python's headers."""
    try:
        torch.compile(lambda x: x * 2 + 1)(torch.ones(4, device=DEVICE))
    except Exception as error:
        return f"torch.compile does not work here: {type(error).__name__}"
    return ""


def test_a_compiled_model_trains_as_the_model():
    if HAS_CUDA and (reason := can_compile()):
        pytest.skip(reason)
    how = True if HAS_CUDA else {"backend": "eager"}
    found, _ = by_engine(compile=how)
    expected, _ = by_engine()
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_an_average_of_the_weights_is_that_of_its_formula(dtype):
    model = make_model().to(dtype)
    ema = EMAHandler(model, momentum=0.1)
    trainer = Engine(lambda engine, batch: [p.data.add_(1) for p in model.parameters()] and None)
    ema.attach(trainer)
    expected = [p.detach().double() for p in model.parameters()]

    def follow():
        for i, parameter in enumerate(model.parameters()):
            expected[i] = expected[i] + 0.1 * (parameter.detach().double() - expected[i])

    trainer.add_event_handler(Events.ITERATION_COMPLETED, follow)
    trainer.run(range(5))
    for found, value in zip(ema.ema_model.parameters(), expected, strict=True):
        assert found.device == DEVICE
        rtol = 1e-5 if dtype is torch.float32 else 1e-2
        torch.testing.assert_close(found.double(), value, rtol=rtol, atol=rtol)


def test_an_error_for_lack_of_memory_leaves_the_engine_usable():
    model = make_model()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    fails = [True]

    def model_fn(model, x):
        if fails[0]:
            torch.empty(1 << (42 if HAS_CUDA else 56), dtype=torch.uint8, device=DEVICE)
        return model(x)

    trainer = create_supervised_trainer(
        model, optimizer, F.cross_entropy, device=DEVICE, model_fn=model_fn
    )
    batches = make_batches(3)
    with pytest.raises(torch.OutOfMemoryError if HAS_CUDA else RuntimeError) as caught:
        trainer.run(batches)
    assert "iteration" in " ".join(getattr(caught.value, "__notes__", ["iteration"]))
    fails[0] = False
    state = trainer.run(batches)
    assert state.epoch == 1
    assert torch.isfinite(torch.tensor(state.output))


def flags():
    """What a program has set for all of torch."""
    found = {
        "precision of matmul": torch.get_float32_matmul_precision(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "cudnn.benchmark": torch.backends.cudnn.benchmark,
        "cudnn.deterministic": torch.backends.cudnn.deterministic,
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "anomalies": torch.is_anomaly_enabled(),
        "grad": torch.is_grad_enabled(),
        "autocast": torch.is_autocast_enabled(DEVICE.type),
    }
    if HAS_CUDA:
        found |= {
            "current device": torch.cuda.current_device(),
            "stream": torch.cuda.current_stream().cuda_stream,
            "sync": torch.cuda.get_sync_debug_mode(),
        }
    return found


def test_flags_of_the_program_stay_as_they_are(tmp_path):
    before = flags()
    by_engine(amp_mode="amp", amp_dtype="bfloat16")
    learner = Learner(make_model(), loss="cross_entropy", optimizer="sgd", lr=1e-2)
    x, y = make_batches(1)[0]
    learner.fit((x, y), valid=0.25, epochs=1, run_dir=tmp_path, progress=False)
    assert flags() == before
    if HAS_CUDA:
        torch.set_float32_matmul_precision("high")
        try:
            by_engine()
            assert torch.get_float32_matmul_precision() == "high"
        finally:
            torch.set_float32_matmul_precision(before["precision of matmul"])


@needs_cuda
def test_gpu_info_reads_the_gpus():
    pytest.importorskip("pynvml", reason="needs nvidia-ml-py")
    trainer = Engine(lambda engine, batch: None)
    GpuInfo().attach(trainer, name="gpu")
    with warnings.catch_warnings():
        warnings.simplefilter(
            "ignore", UserWarning
        )  # virtual machines may not tell the utilization
        found = trainer.run([0]).metrics
    assert 0 <= found["gpu:0 mem(%)"] <= 100
    assert 0 <= found.get("gpu:0 util(%)", 0) <= 100
