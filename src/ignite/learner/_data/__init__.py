"""Data of all kinds as batches, what is to be learnt from them, and mistakes that can be seen beforehand."""
