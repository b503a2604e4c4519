"""What people ask for that is not offered, and what to do instead."""

from __future__ import annotations

_ADVICE = (
    (
        ("sft", "supervised"),
        "Supervised fine-tuning is not offered: only DPO and ORPO are. ORPO comes nearest, since its "
        "loss has a supervised part; for plain SFT use the platform's supervised fine-tuning jobs.",
    ),
    (
        ("rft", "reinforcement", "rl", "rlhf", "rlvr", "grpo", "ppo"),
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
        ("full", "all", "without", "no", "not", "don't"),
        "Full-parameter training is not offered for preferences: every "
        "trial is a LoRA adapter, of rank 32 at most. LoRA rank 32 comes nearest.",
    ),
    (("qlora", "dora"), "Adapters are plain LoRA: give a rank of 1, 2, 4, 8, 16 or 32."),
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
