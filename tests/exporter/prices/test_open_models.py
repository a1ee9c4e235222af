"""Which hosted endpoints serve the same open model: no match is better than a wrong one."""

import pytest

from exporter.prices.book import PriceKey
from exporter.prices.open_models import same_model, words
from exporter.prices.resolve import open_model_hosts, resolve

LLAMA_8B = "meta-llama/Llama-3.1-8B-Instruct"


@pytest.mark.parametrize(
    ("wanted", "hosted"),
    [
        (LLAMA_8B, "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"),
        (LLAMA_8B, "meta-llama/Llama-3.1-8B-Instruct-Turbo"),
        (LLAMA_8B, "llama-3.1-8b-instant"),
        (LLAMA_8B, "llama3.1-8b"),
        (LLAMA_8B, "meta.llama3-1-8b-instruct-v1:0"),
        (LLAMA_8B, "us.meta.llama3-1-8b-instruct-v1:0"),
        (LLAMA_8B, "accounts/fireworks/models/llama-v3p1-8b-instruct"),
        (LLAMA_8B, "databricks-meta-llama-3-1-8b-instruct"),
        (LLAMA_8B, "@cf/meta/llama-3.1-8b-instruct-fp8-fast"),
        ("/models/Meta-Llama-3.1-8B-Instruct", "llama-3.1-8b-instant"),
        ("hugging-quants/Meta-Llama-3.1-8B-Instruct-AWQ-INT4", "llama-3.1-8b-instant"),
        ("RedHatAI/Meta-Llama-3.1-8B-Instruct-quantized.w4a16", "llama-3.1-8b-instant"),
        ("bartowski/Meta-Llama-3.1-8B-Instruct-Q4_K_M", "llama-3.1-8b-instant"),
        ("meta-llama/Llama-3.3-70B-Instruct", "llama-3.3-70b-versatile"),
        ("meta-llama/Llama-3.3-70B-Instruct", "Meta-Llama-3_3-70B-Instruct"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "meta.llama4-scout-17b-instruct-v1:0"),
        ("meta-llama/Llama-2-7b-chat-hf", "@cf/meta/llama-2-7b-chat-fp16"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistral.mixtral-8x7b-instruct-v0:1"),
        ("mistralai/Mistral-7B-Instruct-v0.2", "mistral.mistral-7b-instruct-v0:2"),
        ("openai/gpt-oss-120b", "openai.gpt-oss-120b-1:0"),
        ("Qwen/Qwen3-32B", "qwen-3-32b"),
        ("Qwen/Qwen3-32B-AWQ", "qwen.qwen3-32b-v1:0"),
        ("Qwen/Qwen2.5-VL-72B-Instruct", "qwen2p5-vl-72b-instruct"),
        ("google/gemma-3-27b-it", "google.gemma-3-27b-it"),
        ("deepseek-ai/DeepSeek-V3.2", "accounts/fireworks/models/deepseek-v3p2"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-70B", "deepseek/deepseek-r1-distill-llama-70b"),
        ("moonshotai/Kimi-K2.5", "kimi-k2p5"),
    ],
)
def test_one_model_under_two_names(wanted: str, hosted: str) -> None:
    assert same_model(wanted, hosted)


@pytest.mark.parametrize(
    ("wanted", "hosted"),
    [
        (LLAMA_8B, "llama-3.1-70b-versatile"),  # size
        (LLAMA_8B, "meta-llama/llama-3-8b-instruct"),  # version
        (LLAMA_8B, "meta-llama/Llama-3.1-8B-Instruct-Lite"),  # another model, or so it may be
        (LLAMA_8B, "meta-llama/Llama-3.1-8B-hf"),  # base model
        (LLAMA_8B, "meta-llama/llama-guard-3-8b"),
        (LLAMA_8B, "nousresearch/hermes-2-pro-llama-3-8b"),
        (LLAMA_8B, "meta-llama/llama-3.1-8b-instruct:free"),
        ("meta-llama/Llama-3.1-8B", "llama-3.1-8b-instant"),  # the base model is served
        ("acme/Llama-3.1-8B-Instruct-Finance", "llama-3.1-8b-instant"),
        ("NousResearch/Hermes-3-Llama-3.1-8B", "llama-3.1-8b-instant"),
        ("meta-llama/Llama-3.2-11B-Vision-Instruct", "llama-3.2-11b-text-preview"),
        ("meta-llama/Llama-4-Scout-17B-16E-Instruct", "meta.llama4-maverick-17b-instruct-v1:0"),
        ("mistralai/Mistral-7B-Instruct-v0.3", "mistral.mistral-7b-instruct-v0:2"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x7B-v0.1"),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", "mistralai/Mixtral-8x22B-Instruct-v0.1"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "Qwen/Qwen3-30B-A3B-Thinking-2507"),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", "@cf/qwen/qwen3-30b-a3b-fp8"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-Coder-7B-Instruct"),
        ("openai/gpt-oss-20b", "openai/gpt-oss-safeguard-20b"),
        ("deepseek-ai/DeepSeek-R1-Distill-Llama-8B", "meta-llama/llama-3.1-8b-instruct"),
        ("deepseek-ai/DeepSeek-R1", "deepseek/deepseek-r1-0528"),
        ("my-model", "my-model"),  # no version, no size: names no model
        ("/mnt/models", "models"),
    ],
)
def test_two_models(wanted: str, hosted: str) -> None:
    assert not same_model(wanted, hosted)


def test_the_words_of_a_name() -> None:
    assert words("us.meta.llama3-1-8b-instruct-v1:0") == ("llama", "3", "1", "8b", "instruct")


def test_hosts_among_the_providers_asked_for() -> None:
    hosts = open_model_hosts(LLAMA_8B, ["together_ai", "groq", "aws", "cerebras", "nobody"])
    assert hosts == [
        ("together_ai", "meta-llama/Meta-Llama-3.1-8B-Instruct-Turbo"),
        ("groq", "llama-3.1-8b-instant"),
        ("aws", "meta.llama3-1-8b-instruct-v1:0"),
    ]  # that of cerebras is deprecated
    assert all(resolve([PriceKey(provider, model)])[PriceKey(provider, model)] for provider, model in hosts)


def test_no_host_of_a_model_that_nobody_serves() -> None:
    assert open_model_hosts("acme/tiny-llama-1b", ["together", "groq"]) == []
