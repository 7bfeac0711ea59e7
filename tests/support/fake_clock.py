"""A clock for tests, which advances only when time is spent explicitly."""


class FakeClock:
    """Replaces a function that returns the time.

    Args:
        now: the time at first.
        per_unit: how much the time changes for each unit that is spent, such as 1e9 for a clock of
            nanoseconds on which seconds are spent.
    """

    def __init__(self, now=0.0, per_unit=1):
        self.now = now
        self.per_unit = per_unit

    def __call__(self):
        return self.now

    def spend(self, amount):
        spent = amount * self.per_unit
        self.now += round(spent) if isinstance(self.now, int) else spent
