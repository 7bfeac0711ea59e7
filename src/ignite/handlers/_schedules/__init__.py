"""What schedulers are made of: curves over the event index, checks, access to parameter groups."""
