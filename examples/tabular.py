"""A table: which wine is it? Names of classes instead of numbers, and a report."""

import pandas as pd
import torch
from sklearn.datasets import load_wine

from ignite import Learner

torch.manual_seed(0)
wine = load_wine(as_frame=True)
table = (wine.data - wine.data.mean()) / wine.data.std()
table["wine"] = pd.Series(wine.target).map({0: "Barolo", 1: "Grignolino", 2: "Barbera"})
net = torch.nn.Sequential(torch.nn.Linear(13, 32), torch.nn.ReLU(), torch.nn.Linear(32, 3))
learner = Learner(net, loss="cross_entropy", lr=0.01, metrics=["accuracy"])
history = learner.fit(table, target="wine", valid=0.25, epochs=20, restore_best=True)
print(learner.report(table, target="wine"))
print(learner.predict(table[:3], decide=True), history.best("valid_accuracy")["valid_accuracy"])
