"""Torchvision's model as a feature extractor: a small replacement, and the real one where it is installed."""

import sys
import types

import pytest
import torch
from torch import nn

from ignite.metrics import FID, InceptionScore
from ignite.metrics.gan.utils import InceptionModel


class Small(nn.Module):
    """Three channels to four features to five classes."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features, self.dropout, self.fc = nn.Linear(3, 4), nn.Dropout(), nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.dropout(self.features(x.mean(dim=(2, 3)))))


@pytest.fixture
def asked(monkeypatch):
    """The weights that the stand-in for torchvision has been asked for."""
    asked = []
    models = types.ModuleType("torchvision.models")
    models.Inception_V3_Weights = types.SimpleNamespace(DEFAULT="trained")
    models.inception_v3 = lambda weights: asked.append(weights) or Small()
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.models", models)
    return asked


IMAGES = torch.rand(2, 3, 6, 5, generator=torch.Generator().manual_seed(0))


def test_it_returns_features_or_probabilities_of_the_trained_model(asked):
    plain = Small().eval()
    features = plain.features(IMAGES.mean(dim=(2, 3)))
    for return_features, expected in ((True, features), (False, plain.fc(features).softmax(1))):
        model = InceptionModel(return_features=return_features)
        found = model(IMAGES)
        assert not found.requires_grad
        torch.testing.assert_close(found, expected.detach())
    assert asked == ["trained", "trained"]


def test_it_is_the_default_of_both_metrics(asked):
    for metric in (FID(), InceptionScore()):
        assert isinstance(metric._feature_extractor, InceptionModel)
        assert not metric._feature_extractor.return_features
        assert metric._num_features == 1000
    FID(num_features=3)
    assert len(asked) == 2


def test_it_computes_on_its_device(asked):
    model = InceptionModel(return_features=True, device="meta")
    assert model(IMAGES).device.type == "meta"


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (IMAGES[0], "Inputs should be a tensor of dim 4, got 3"),
        (IMAGES[:, :2], r"Inputs should be a tensor with 3 channels, got \(2, 2, 6, 5\)"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(asked, images, message):
    with pytest.raises(ValueError, match=message):
        InceptionModel(return_features=True)(images)


@pytest.mark.parametrize("make", [FID, InceptionScore, lambda: InceptionModel(True)])
def test_without_torchvision_the_error_names_the_extra(make, monkeypatch):
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torchvision", None)
    with pytest.raises(ModuleNotFoundError, match=r'missing: pip install "reignition\[gan\]"'):
        make()


@pytest.mark.slow
def test_torchvision_itself_gives_the_features_before_its_last_layer(tmp_path, monkeypatch):
    """With weights that are drawn at random and found where torchvision keeps those it has downloaded."""
    models = pytest.importorskip("torchvision.models")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    torch.manual_seed(0)
    plain = models.inception_v3(weights=None, init_weights=False).eval()
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    name = models.Inception_V3_Weights.DEFAULT.url.rpartition("/")[2]
    torch.save(plain.state_dict(), tmp_path / "hub" / "checkpoints" / name)
    images = torch.rand(2, 3, 299, 299)
    probabilities = InceptionModel(return_features=False)(images)
    features = InceptionModel(return_features=True)(images)
    assert (probabilities.shape, features.shape) == ((2, 1000), (2, 2048))
    torch.testing.assert_close(plain.fc(features).softmax(1).detach(), probabilities)
    # Torchvision transforms the input of pretrained models for the weights of their authors.
    plain.transform_input = True
    torch.testing.assert_close(plain(images).softmax(1).detach(), probabilities)
