"""The learning rates that a scheduler sets."""


def rates_of(scheduler, num_events):
    """For each event, the rates of all parameter groups."""
    rates = []
    for _ in range(num_events):
        scheduler(None)
        rates.append([group["lr"] for group in scheduler.optimizer.param_groups])
    return rates
