"""Models that return an object with logits, and language models; those of transformers from configurations."""

import math
import pickle
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader

from ignite import Learner
from ignite.learner._model_outputs import NextToken

NUM_TOKENS = 11


class Tagger(nn.Module):
    """Scores of each token; as a plain tensor, or in an object."""

    def __init__(self, num_classes, is_plain=False):
        super().__init__()
        self.embedding = nn.Embedding(NUM_TOKENS, 6)
        self.head = nn.Linear(6, num_classes)
        self.is_plain = is_plain

    def forward(self, tokens):
        scores = self.head(self.embedding(tokens))
        return scores if self.is_plain else SimpleNamespace(logits=scores, loss=None)


def cross_entropy(scores, y):
    """Sum of the cross entropy, by the definition, and the number of targets that count."""
    log_probabilities = scores.double() - scores.double().logsumexp(-1, keepdim=True)
    total, num = 0.0, 0
    for row, label in zip(
        log_probabilities.reshape(-1, scores.shape[-1]), y.flatten(), strict=True
    ):
        if label != -100:
            total, num = total - row[label].item(), num + 1
    return total, num


@given(
    num_samples=st.integers(1, 9),
    length=st.integers(2, 7),
    num_classes=st.integers(2, 7),
    batch_size=st.integers(1, 9),
    seed=st.integers(0, 9),
)
def test_tokens_are_compared_with_their_own_targets(
    num_samples, length, num_classes, batch_size, seed
):
    torch.manual_seed(seed)
    x = torch.randint(NUM_TOKENS, (num_samples, length))
    y = torch.randint(num_classes, (num_samples, length))
    y[torch.rand(y.shape) < 0.3] = -100
    y[0, 0] = 0
    model = Tagger(num_classes)
    learner = Learner(model, "cross_entropy", metrics=["accuracy", "perplexity"], device="cpu")
    found = learner.evaluate((x, y), batch_size=batch_size)
    scores = model(x).logits.detach()
    total, num = cross_entropy(scores, y)
    assert found["loss"] == pytest.approx(total / num, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(total / num), rel=1e-5)
    assert found["accuracy"] == pytest.approx((scores.argmax(-1) == y).sum().item() / num)
    assert torch.equal(learner.predict(x), scores)
    assert torch.equal(learner.predict(x, decide=True), scores.argmax(-1))
    report = learner.report((x, y))
    assert sum(row["support"] for row in report.values()) == num


@given(
    num_samples=st.integers(1, 9),
    length=st.integers(2, 14),
    batch_size=st.integers(1, 9),
    is_plain=st.booleans(),
    seed=st.integers(0, 9),
)
def test_next_tokens_are_compared_with_those_that_follow(
    num_samples, length, batch_size, is_plain, seed
):
    torch.manual_seed(seed)
    x = torch.randint(NUM_TOKENS, (num_samples, length))
    y = x.clone()
    y[:, -1] = torch.where(torch.rand(num_samples) < 0.5, -100, y[:, -1])
    y[0, 1] = x[0, 1]
    model = Tagger(NUM_TOKENS, is_plain)
    learner = Learner(model, "next_token", metrics=["accuracy", "perplexity"], device="cpu")
    found = learner.evaluate((x, y), batch_size=batch_size)
    scores = model(x) if is_plain else model(x).logits
    before, after = scores.detach()[:, :-1], y[:, 1:]
    total, num = cross_entropy(before, after)
    assert found["loss"] == pytest.approx(total / num, rel=1e-5)
    assert found["perplexity"] == pytest.approx(math.exp(total / num), rel=1e-5)
    assert found["accuracy"] == pytest.approx((before.argmax(-1) == after).sum().item() / num)
    assert torch.equal(learner.predict(x), scores.detach())  # with the token after the last one
    assert torch.equal(learner.predict(x, decide=True), scores.argmax(-1))
    report = learner.report((x, y))
    hits = {
        label: int(((before.argmax(-1) == after) & (after == label)).sum())
        for label in range(NUM_TOKENS)
    }
    for label, row in report.items():
        assert row["recall"] * row["support"] == pytest.approx(hits[label])


@pytest.mark.parametrize("accumulation", [1, 3])
def test_training_on_next_tokens_takes_the_gradient_of_the_definition(accumulation):
    torch.manual_seed(0)
    x = torch.randint(NUM_TOKENS, (6, 5))
    y = torch.where(torch.rand(x.shape) < 0.4, -100, x)
    model, twin = Tagger(NUM_TOKENS), Tagger(NUM_TOKENS)
    twin.load_state_dict(model.state_dict())
    learner = Learner(model, "next_token", "sgd", lr=1.0, accumulation=accumulation, device="cpu")
    learner.fit((x, y), batch_size=6 // accumulation, shuffle=False, progress=False)
    scores = twin(x).logits[:, :-1]
    counts = y[:, 1:] != -100
    loss = (scores.logsumexp(-1) - scores.gather(-1, x[:, 1:, None])[..., 0])[counts].mean()
    loss.backward()
    for trained, start in zip(model.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(trained, start - start.grad, rtol=1e-5, atol=1e-6)


def test_a_model_that_repeats_its_input_is_noticed(caplog):
    x = torch.randint(NUM_TOKENS, (8, 5), generator=torch.Generator().manual_seed(0))
    Learner(Tagger(NUM_TOKENS), "cross_entropy", device="cpu").fit((x, x), progress=False)
    assert "use loss='next_token'" in caplog.text
    caplog.clear()
    Learner(Tagger(NUM_TOKENS), "next_token", device="cpu").fit((x, x), progress=False)
    Learner(Tagger(NUM_TOKENS), "cross_entropy", device="cpu").fit((x, x.flip(1)), progress=False)
    assert "next_token" not in caplog.text


@pytest.mark.parametrize(
    "y", [torch.zeros(4).long(), torch.zeros(4, 1).long(), torch.zeros(4, 5, 2).long()]
)
def test_targets_that_are_no_sequences_are_refused(y):
    learner = Learner(Tagger(NUM_TOKENS), "next_token", device="cpu")
    with pytest.raises(
        ValueError, match=r"y should hold the tokens of each sequence, shape \(N, T\)"
    ):
        learner.fit((torch.zeros(4, 5).long(), y), progress=False)


def test_a_custom_loss_is_given_what_the_model_returns():
    given = []

    def loss(output, y):
        given.append(type(output))
        return nn.functional.cross_entropy(output.logits.transpose(1, 2), y)

    x = torch.zeros(4, 5).long()
    Learner(Tagger(3), loss, device="cpu").fit((x, x), progress=False)
    assert set(given) == {SimpleNamespace}


def test_outputs_of_different_lengths_are_not_joined():
    learner = Learner(Tagger(3), "cross_entropy", task="multiclass", device="cpu")
    batches = [(torch.zeros(2, length).long(), torch.zeros(2, length).long()) for length in (4, 6)]
    with pytest.raises(ValueError, match=r"\(N, 4, 3\) to \(N, 6, 3\): use predict_batches"):
        learner.predict(batches)
    assert [part.shape for part in learner.predict_batches(batches)] == [(2, 4, 3), (2, 6, 3)]


def test_the_shift_survives_a_pickle():
    learner = pickle.loads(pickle.dumps(Learner(Tagger(NUM_TOKENS), "next_token", device="cpu")))
    assert isinstance(learner.loss.loss, NextToken)
    x = torch.arange(NUM_TOKENS)[None]
    total, num = cross_entropy(learner.model(x).logits.detach()[:, :-1], x[:, 1:])
    assert learner.evaluate((x, x))["loss"] == pytest.approx(total / num, rel=1e-5)


# Real models of transformers, small and with random weights.

SMALL = {
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "hidden_size": 16,
    "intermediate_size": 32,
}


def ragged_rows(num, labels):
    generator = torch.Generator().manual_seed(0)
    rows = []
    for _ in range(num):
        length = int(torch.randint(3, 9, (), generator=generator))
        tokens = torch.randint(1, 50, (length,), generator=generator).tolist()
        rows.append({"input_ids": tokens, "attention_mask": [1] * length, "labels": labels(tokens)})
    return rows


def padded(rows):
    longest = max(len(row["input_ids"]) for row in rows)
    fill = {"input_ids": 0, "attention_mask": 0, "labels": -100}
    return {
        name: torch.tensor(
            [
                row[name] + [fill[name]] * (longest - len(row[name]))
                if isinstance(row[name], list)
                else row[name]
                for row in rows
            ]
        )
        for name in rows[0]
    }


def own_loss(model, batches):
    """The loss that the model computes, over all targets that count."""
    total = num = 0
    model.eval()
    with torch.no_grad():
        for batch in batches:
            labels = batch["labels"]
            counted = labels[:, 1:] if "LMHead" in type(model).__name__ else labels
            n = int((counted != -100).sum())
            total, num = total + model(**batch).loss.item() * n, num + n
    return total / num


@pytest.mark.parametrize("kind", ["sequence", "token", "causal"])
def test_losses_are_those_of_transformers(kind):
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    if kind == "causal":
        sizes = {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 16}
        ends = {"bos_token_id": 0, "eos_token_id": 0}
        model = transformers.GPT2LMHeadModel(
            transformers.GPT2Config(vocab_size=50, **sizes, **ends)
        )
        rows = ragged_rows(30, list)
    else:
        config = transformers.BertConfig(vocab_size=50, num_labels=3, **SMALL)
        if kind == "sequence":
            model = transformers.BertForSequenceClassification(config)
            rows = ragged_rows(30, lambda tokens: tokens[0] % 3)
        else:
            model = transformers.BertForTokenClassification(config)
            rows = ragged_rows(30, lambda tokens: [token % 3 for token in tokens])
    loader = DataLoader(rows, batch_size=8, collate_fn=padded)
    loss = "next_token" if kind == "causal" else "cross_entropy"
    learner = Learner(model, loss, lr=0.03, metrics=["accuracy"], device="cpu")
    history = learner.fit(loader, valid=loader, epochs=3, target="labels", progress=False)
    assert history["valid_loss"][-1] == pytest.approx(own_loss(model, loader), rel=1e-5)
    assert history["valid_loss"][-1] < history["valid_loss"][0]
    assert history["valid_accuracy"][-1] > (0.05 if kind == "causal" else 0.4)


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # of peft
def test_only_the_adapters_of_lora_are_trained(tmp_path):
    transformers, peft = pytest.importorskip("transformers"), pytest.importorskip("peft")
    torch.manual_seed(0)
    config = transformers.BertConfig(vocab_size=50, num_labels=3, **SMALL)
    options = peft.LoraConfig(task_type="SEQ_CLS", r=2, target_modules=["query", "value"])
    model = peft.get_peft_model(transformers.BertForSequenceClassification(config), options)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    loader = DataLoader(
        ragged_rows(30, lambda tokens: tokens[0] % 3), batch_size=8, collate_fn=padded
    )
    learner = Learner(model, "cross_entropy", lr=0.01, device="cpu")
    learner.fit(loader, epochs=2, target="labels", progress=False)
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed == trained
    assert 0 < len(trained) < len(before)
    learner.save(tmp_path / "lora.pt")
    outputs = learner.predict(next(iter(loader)))
    with torch.no_grad():
        for p in model.parameters():
            p.zero_()
    learner.load(tmp_path / "lora.pt")
    assert torch.equal(learner.predict(next(iter(loader))), outputs)


def test_a_vision_transformer_takes_arrays():
    transformers = pytest.importorskip("transformers")
    datasets = pytest.importorskip("sklearn.datasets")
    torch.manual_seed(0)
    digits = datasets.load_digits()
    config = transformers.ViTConfig(
        image_size=8, patch_size=4, num_channels=1, num_labels=10, **SMALL
    )
    learner = Learner(
        transformers.ViTForImageClassification(config),
        "cross_entropy",
        lr=0.01,
        metrics="accuracy",
        device="cpu",
    )
    images = torch.tensor(digits.images / 16, dtype=torch.float32)[:, None]
    history = learner.fit((images, digits.target), valid=0.2, epochs=4, progress=False)
    assert history["valid_accuracy"][-1] > 0.75
    assert learner.predict(images[:3], decide=True).shape == (3,)
