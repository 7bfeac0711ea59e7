"""``python -m ignite`` is the command ``ignite``."""

from ignite.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
