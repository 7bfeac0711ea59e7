"""What handlers that stop or correct a run share: patience, detection of spikes, states to return to."""
