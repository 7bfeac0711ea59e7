"""What progress displays share: trends of a run, and ways to show them."""
