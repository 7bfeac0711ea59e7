"""Parts of the progress displays: trends of a run, and ways to show them."""
