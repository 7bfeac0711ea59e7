"""What profilers are made of: clocks around the parts of a run, sums, and what is written from them."""
