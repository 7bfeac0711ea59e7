"""Classifies sentences with a small BERT of transformers: which data set does a sentence describe?"""

import re

import torch
from sklearn import datasets
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, trainers
from torch.utils.data import DataLoader
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DataCollatorWithPadding,
    PreTrainedTokenizerFast,
)

from ignite import Learner

NAMES = ("iris", "wine", "diabetes", "breast_cancer", "digits")


def read_sentences():
    """Sentences of scikit-learn's descriptions, with the index of the data set."""
    rows = []
    for label, name in enumerate(NAMES):
        text = getattr(datasets, f"load_{name}")().DESCR
        rows += [(part, label) for part in re.split(r"[.:]\s", text) if len(part.split()) > 3]
    return rows


def make_tokenizer(texts):
    tokenizer = Tokenizer(models.WordLevel(unk_token="?"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.train_from_iterator(texts, trainers.WordLevelTrainer(special_tokens=["[PAD]", "?"]))
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="?")


def main(epochs=15):
    torch.manual_seed(0)
    rows = read_sentences()
    tokenizer = make_tokenizer([text for text, _ in rows])
    samples = [
        {**tokenizer(text, truncation=True, max_length=64), "labels": label} for text, label in rows
    ]
    order = torch.randperm(len(samples)).tolist()
    train, valid = order[len(order) // 5 :], order[: len(order) // 5]
    pad = DataCollatorWithPadding(tokenizer)
    loader = DataLoader([samples[i] for i in train], 16, shuffle=True, collate_fn=pad)
    held = DataLoader([samples[i] for i in valid], 64, collate_fn=pad)

    config = BertConfig(
        vocab_size=len(tokenizer), num_labels=len(NAMES), hidden_size=32, num_hidden_layers=1,
        num_attention_heads=2, intermediate_size=64,
    )  # fmt: skip
    learner = Learner(
        BertForSequenceClassification(config), loss="cross_entropy", lr=3e-3, metrics="accuracy"
    )
    history = learner.fit(loader, valid=held, target="labels", epochs=epochs, warmup=0.1)
    print(history)
    return history


if __name__ == "__main__":
    main()
