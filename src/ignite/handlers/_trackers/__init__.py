"""What loggers share: scalars on their way to a tracker, and a queue for servers."""
