"""Time measurements of a run, and the reports written from them."""
