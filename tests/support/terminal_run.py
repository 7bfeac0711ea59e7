"""A run with a live display, for a test that gives it a terminal."""

import signal
import socket
import sys

from ignite.engine import Engine, Events
from ignite.handlers import LiveProgress, ProgressBar


def main(kind):
    signals, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    signal.set_wakeup_fd(wakeup.fileno())
    display = {"live": LiveProgress, "bar": ProgressBar}[kind]()
    trainer = Engine(lambda engine, batch: 0.5)
    display.attach(trainer, output_transform=lambda output: output)

    @trainer.on(Events.ITERATION_COMPLETED(once=3))
    def say_so():
        sys.stdout.write("READY\n")
        sys.stdout.flush()
        # Ctrl-C comes now, or came just before: then, too, there is a byte to read.
        while True:
            signals.recv(1)

    trainer.run(range(100), max_epochs=10)


if __name__ == "__main__":
    main(sys.argv[1])
