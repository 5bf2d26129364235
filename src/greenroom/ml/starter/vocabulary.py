"""The starter's tokenizer: a small byte-level BPE learned from its own captions. It spells any word of any script."""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCABULARY_SIZE = 1536
MAX_TOKENS = 32  # of a pretraining caption; longer prompts work, in steps of 32
START, PAD = "<s>", "<pad>"


def learn(captions: Iterable[str], size: int = VOCABULARY_SIZE) -> PreTrainedTokenizerFast:
    """A tokenizer whose first tokens are the special ones and all 256 bytes, the rest merges learned from captions."""
    bpe = Tokenizer(models.BPE())
    bpe.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        min_frequency=20,
        special_tokens=[PAD, START],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(captions, trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=bpe, pad_token=PAD, bos_token=START, model_max_length=512, padding_side="right"
    )
    # Z-Image's pipeline sends each prompt through the chat template; here it only marks the start, so that an
    # empty prompt is not an empty sequence.
    tokenizer.chat_template = START + "{{ messages[0]['content'] }}"
    return tokenizer
