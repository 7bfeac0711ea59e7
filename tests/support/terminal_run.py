"""A run with a live display, for a test that gives it a terminal."""

import sys
import time

from ignite.engine import Engine, Events
from ignite.handlers import LiveProgress, ProgressBar


def main(kind):
    display = {"live": LiveProgress, "bar": ProgressBar}[kind]()
    trainer = Engine(lambda engine, batch: 0.5)
    display.attach(trainer, output_transform=lambda output: output)

    @trainer.on(Events.ITERATION_COMPLETED(once=3))
    def say_so():
        sys.stdout.write("READY\n")
        sys.stdout.flush()
        # Ctrl-C comes now. A call that blocks for good would miss it if it came just before.
        while True:
            time.sleep(0.01)

    trainer.run(range(100), max_epochs=10)


if __name__ == "__main__":
    main(sys.argv[1])
