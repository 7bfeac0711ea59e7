"""Parts of the schedulers: curves, checks of arguments, access to parameter groups."""
