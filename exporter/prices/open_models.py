"""Whether two names mean the same open model: `meta-llama/Llama-3.1-8B-Instruct` is `meta.llama3-1-8b-instruct-v1:0`.

A wrong match would compare a workload with the price of another model, and no match only means that the alternative
must be configured. So names are reduced to words, the words that do not change the model are dropped, and what is left
must be equal. Pure.
"""

import re

# Precision, packaging and serving speed: the weights are those of the same model.
_SAME_MODEL = re.compile(
    r"turbo|fast|hf|meta|original|quantized|dynamic|awq|gptq|gguf|bnb|[48]bit|int[48]|fp8|fp16|bf16"
    r"|nvfp4|mxfp4|w4a16|w8a8|w8a16|quark|autoround|mlx"
    r"|q\d|k|m|s"  # GGUF quantization, as in Q4_K_M
    r"|\d+e"  # number of experts, as in 16E: named beside a size that tells the models apart
)
# `instant` and `versatile` are Groq's names for the instruct models of Meta.
_INSTRUCT = ("it", "chat", "instant", "versatile")
_CLOUD_PREFIX = re.compile(r"^(?:(?:us|eu|apac|au|jp|in|global|regional)\.)?[a-z]+\.(?=[a-z])")


def words(name: str) -> tuple[str, ...]:
    """The words of a model name that tell one model from another, in order; () for what names no model."""
    tail = _CLOUD_PREFIX.sub("", name.lower().rpartition("/")[2])
    tail = re.sub(r"-v?1:0$", "", tail)  # Amazon Bedrock's own version of the endpoint
    tail = re.sub(r"(?<=\d)p(?=\d)", ".", tail)  # Fireworks writes 3.1 as 3p1
    tail = re.sub(r"\bv(?=\d)", "", tail)  # v3 and 3 are one version
    tail = re.sub(r"^databricks-", "", tail)
    parts = (part for part in re.split(r"[^a-z0-9]+", tail) if part and not _SAME_MODEL.fullmatch(part))
    kept = tuple("instruct" if word in _INSTRUCT else word for part in parts for word in _split(part))
    return kept if any(word[0].isdigit() for word in kept) else ()


def same_model(wanted: str, hosted: str) -> bool:
    """Whether `hosted` (an id in a price list) is the model `wanted` (the name an engine serves it under)."""
    want, have = words(wanted), words(hosted)
    if not want or not have:
        return False
    if want[0] != "llama":
        return want == have
    # A Llama without "instruct" is the base model, unless it is hosted: hosts leave the word out (`llama3.1-8b`).
    if "instruct" not in have and "-hf" not in hosted.lower():
        have = (*have, "instruct")
    return "instruct" in want and sorted(want) == sorted(have)


def _split(part: str) -> list[str]:
    """`llama3` is llama 3, `qwen2` is qwen 2; `8b`, `a22b`, `8x7b` and `r1` stay whole."""
    named = re.fullmatch(r"([a-z]{3,})(\d+)", part)
    return [named[1], named[2]] if named else [part]
