"""Parts of the handlers that stop or correct a run: patience, spike detection, rollback."""
