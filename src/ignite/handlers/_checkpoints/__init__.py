"""What saving consists of: files and their names, save handlers, states of objects, whole runs."""
