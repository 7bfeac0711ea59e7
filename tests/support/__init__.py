"""What tests share: oracles, and functions and programs that they run in other processes."""
