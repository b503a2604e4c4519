"""What people ask for that is not offered, and what to do instead."""

from __future__ import annotations

_ADVICE = (
    (
        ("sft", "supervised"),
        "Supervised fine-tuning is not offered: only DPO and ORPO are. ORPO comes nearest, since its "
        "loss has a supervised part; for plain SFT use the platform's supervised fine-tuning jobs.",
    ),
    (
        ("rft", "reinforcement", "rl", "rlhf", "rlvr", "grpo", "gspo", "dapo", "rloo", "ppo"),
        "Reinforcement fine-tuning is not offered: only DPO "
        "and ORPO are. DPO learns from the same preferences without a reward model; for a reward function use the "
        "platform's reinforcement fine-tuning jobs.",
    ),
    (
        ("kto", "ipo", "simpo", "cpo"),
        "Of the preference losses DPO and ORPO are offered. DPO is the usual one; ORPO "
        "needs no reference model, like SimPO and CPO.",
    ),
    (
        ("full", "all", "every", "fft", "without", "no", "not", "don't"),
        "Full-parameter training is not offered for preferences: every "
        "trial is a LoRA adapter, of rank 32 at most. LoRA rank 32 comes nearest.",
    ),
    (("qlora", "dora", "ia3", "prompt", "prefix"), "Adapters are plain LoRA: give a rank of 1, 2, 4, 8, 16 or 32."),
    (
        (
            "warm",
            "warmstart",
            "continue",
            "resume",
            "start",
            "from",
            "initialise",
            "initialize",
            "init",
            "previous",
            "existing",
        ),
        "Every trial starts from the untouched base model, not from an adapter. Name the base; a tuned model that "
        "is in service can be the champion that a winner must beat.",
    ),
    (
        (
            "quantise",
            "quantize",
            "quantised",
            "quantized",
            "quantization",
            "quantisation",
            "int8",
            "int4",
            "4",
            "8",
            "4bit",
            "8bit",
            "awq",
            "gptq",
            "gguf",
            "bitsandbytes",
            "nf4",
        ),
        "Quantising is not offered: the platform trains and serves as it does for each model. A smaller base model, or "
        "a lower LoRA rank, needs less memory.",
    ),
    (
        ("merge", "slerp"),
        "Weights are not merged: the winner is a LoRA adapter, deployed on its base model as it is.",
    ),
    (
        ("random", "randomised", "randomized", "hyperband", "asha", "population", "evolutionary"),
        "That search is not offered: the strategies are the grid, halving, which trains all on a part of the pairs and "
        "the better half on more, and tpe, which chooses the next trials by the last ones.",
    ),
    (
        ("rlaif",),
        "Reinforcement learning is not offered. A strong and a weak model can make the pairs (say: generate preference "
        "pairs automatically), and DPO learns from those.",
    ),
    (
        ("online", "iterative", "self", "rejection"),
        "Training takes pairs that exist before it, for DPO or ORPO. Pairs can be generated from prompts first, "
        "and a run on the winner's answers be started after this one.",
    ),
    (
        ("instruction", "vision", "multimodal", "multi"),
        "Only text models that follow instructions already are tuned, with DPO or ORPO, on preference pairs.",
    ),
    (
        ("distill", "distil", "distillation"),
        "Distillation is not offered. Pairs can be generated from a strong and a "
        "weak model (say: generate preference pairs automatically), and DPO run on those.",
    ),
    (("reward",), "A reward model is not trained here: DPO learns from the pairs directly."),
    (
        ("pretrain", "pretraining", "pre", "continued"),
        "Pretraining is not offered: DPO and ORPO tune a model that follows instructions already.",
    ),
)


def refusal(words: str) -> str:
    """Why that is not done, and the right alternative."""
    first = words.casefold().replace("-", " ").split()[0].replace("’", "'")
    return next((advice for names, advice in _ADVICE if first in names), "That is not offered: only DPO and ORPO are.")
