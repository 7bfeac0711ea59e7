"""A run that was stopped and resumed, in a real TensorBoard in a real browser."""

import sys

import pytest
import torch

from ignite.engine import Events, create_supervised_evaluator, create_supervised_trainer
from ignite.handlers import Checkpoint
from ignite.handlers.logger_utils import setup_tb_logging
from ignite.metrics import MeanSquaredError
from support import harness, servers

pytestmark = [pytest.mark.integration, pytest.mark.timeout(240)]


def train(folder, fails):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 1)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    trainer = create_supervised_trainer(model, optimizer, torch.nn.functional.mse_loss)
    evaluator = create_supervised_evaluator(model, metrics={"mse": MeanSquaredError()})
    x = torch.randn(64, 3)
    data = list(zip(x.split(4), (x.sum(dim=1, keepdim=True) + 1).split(4), strict=True))
    trainer.add_event_handler(Events.EPOCH_COMPLETED, lambda: evaluator.run(data))
    trainer.add_event_handler(
        Events.ITERATION_COMPLETED, lambda: trainer.state.metrics.update(loss=trainer.state.output)
    )
    Checkpoint.of(trainer, folder / "checkpoints")
    with setup_tb_logging(str(folder / "events"), trainer, optimizer, evaluator, log_every_iters=1):
        if fails:
            trainer.add_event_handler(
                Events.ITERATION_COMPLETED(once=40), lambda: 1 / 0, priority=-1
            )
        trainer.run(data, max_epochs=5, resume="latest")


def test_the_page_has_all_curves(tmp_path):
    servers.skip_without("tensorboard", "playwright", browser=True)
    with pytest.raises(ZeroDivisionError):
        train(tmp_path, fails=True)
    train(tmp_path, fails=False)
    port = harness.free_port()
    url = f"http://127.0.0.1:{port}"
    command = [
        sys.executable,
        "-m",
        "tensorboard.main",
        "--logdir",
        str(tmp_path / "events"),
        "--port",
        str(port),
    ]
    with (
        servers.serving([*command, "--host", "127.0.0.1"], url, tmp_path / "server.log"),
        servers.browsing() as page,
    ):
        page.goto(f"{url}/#scalars")
        page.get_by_text("training/loss", exact=True).first.wait_for(timeout=60_000)
        page.get_by_text("lr/group_0", exact=True).first.wait_for(timeout=20_000)
        page.get_by_role(
            "button", name="validation"
        ).first.click()  # the third group is closed at first
        page.get_by_text("validation/mse", exact=True).first.wait_for(timeout=20_000)
        found = page.request.get(
            f"{url}/data/plugin/scalars/scalars?tag=training%2Floss&run=."
        ).json()
        page.screenshot(path=str(tmp_path / "scalars.png"))
    assert [step for _, step, _ in found] == list(range(1, 81))
    assert (tmp_path / "scalars.png").stat().st_size > 20_000
