"""An object with a state."""


class Counter:
    def __init__(self, count=1):
        self.count = count

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]
