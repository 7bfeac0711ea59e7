"""What progress displays are made of: plain numbers and text, and ways to show them."""
