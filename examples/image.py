"""Images: handwritten digits of 8 x 8 pixels, with a schedule and a confusion matrix."""

from sklearn.datasets import load_digits
from torch import manual_seed, nn

from ignite import Learner

manual_seed(0)
digits = load_digits()
images = digits.images[:, None].astype("float32") / 16  # (N, 1, 8, 8)
first = nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2))
second = nn.Sequential(nn.Conv2d(32, 64, 3), nn.ReLU(), nn.Flatten())
net = nn.Sequential(first, second, nn.Linear(64 * 2 * 2, 10))
learner = Learner(net, loss="cross_entropy", lr=0.005, metrics=["accuracy", "f1"])
learner.fit((images, digits.target), valid=0.2, epochs=6, schedule="one_cycle")
print(learner.confusion_matrix((images, digits.target)))
print(learner.predict(images[:3], proba=True).max(dim=1).values)
