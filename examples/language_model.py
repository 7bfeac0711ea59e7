"""Trains a small GPT-2 of transformers on characters, and lets it write."""

import torch
from sklearn import datasets
from transformers import GPT2Config, GPT2LMHeadModel

from ignite import Learner

LENGTH = 64


def main(epochs=8):
    torch.manual_seed(0)
    names = ("iris", "wine", "diabetes", "breast_cancer", "digits", "linnerud")
    text = "\n".join(getattr(datasets, f"load_{name}")().DESCR for name in names)
    characters = sorted(set(text))
    tokens = torch.tensor([characters.index(one) for one in text])
    windows = tokens.unfold(0, LENGTH, LENGTH // 4)  # (N, T)

    config = GPT2Config(
        vocab_size=len(characters), n_positions=LENGTH, n_embd=64, n_layer=2, n_head=4,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    learner = Learner(
        GPT2LMHeadModel(config), loss="next_token", lr=3e-3, metrics="perplexity",
        precision="bf16", accumulation=2, clip_grad_norm=1.0,
    )  # fmt: skip
    history = learner.fit(
        (windows, windows), epochs=epochs, batch_size=16, schedule="cosine", warmup=0.1
    )
    print(history)

    start = torch.tensor([[characters.index(one) for one in "The data set "]])
    written = learner.model.generate(
        start, max_length=LENGTH, do_sample=False, attention_mask=torch.ones_like(start)
    )
    print("".join(characters[index] for index in written[0].tolist()))
    return history


if __name__ == "__main__":
    main()
