"""Parts of the loggers: scalars for trackers, and a queue of items for a server."""
