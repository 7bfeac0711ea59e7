"""Parts of the checkpoint handlers: file names, save handlers, states of objects, whole runs."""
