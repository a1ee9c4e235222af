"""Provider and model names: the same endpoint is called differently by logs, gateways and price catalogues. Pure."""

# What gateways, SDKs and OpenTelemetry call a provider -> the id that genai-prices has for it. Exact names only:
# "contains openai" would price every "openai-compatible" endpoint like OpenAI. Sources: LiteLLM's provider list,
# the OpenTelemetry `gen_ai.provider.name` values, pydantic-ai's provider names.
_ALIASES = {
    "amazon-bedrock": "aws",
    "aws-bedrock": "aws",
    "bedrock": "aws",
    "bedrock-converse": "aws",
    "azure-ai": "azure",
    "azure-ai-inference": "azure",
    "azure-ai-openai": "azure",
    "azure-openai": "azure",
    "az-ai-inference": "azure",
    "az-ai-openai": "azure",
    "azure-text": "azure",
    "cohere-chat": "cohere",
    "fireworks-ai": "fireworks",
    "gcp-gemini": "google",
    "gcp-gen-ai": "google",
    "gcp-vertex-ai": "google",
    "gemini": "google",
    "google-cloud": "google",
    "google-gla": "google",
    "google-vertex": "google",
    "vertex-ai": "google",
    "vertex-ai-beta": "google",
    "mistral-ai": "mistral",
    "mistralai": "mistral",
    "moonshot": "moonshotai",
    "novita-ai": "novita",
    "openai-chat": "openai",
    "openai-responses": "openai",
    "text-completion-openai": "openai",
    "perplexity-ai": "perplexity",
    "together-ai": "together",
    "togetherai": "together",
    "voyage": "voyageai",
    "xai": "x-ai",
}

# Gateways that put the provider in front of the model instead of naming it.
_GATEWAYS = ("", "litellm", "litellm-proxy")

STANDARD_TIERS = frozenset({"", "default", "standard", "auto", "on_demand", "standard_only"})
# Vertex AI `trafficType` -> the tier it stands for.
_TIERS = {"on_demand_flex": "flex", "on_demand_priority": "priority"}


def provider_id(name: str) -> str:
    """The catalogue's spelling of a provider name; an unknown name comes back normalised."""
    normal = name.strip().lower().replace("_", "-").replace(".", "-").replace(" ", "-")
    return _ALIASES.get(normal, normal)


def tier_name(service_tier: str) -> str:
    """One spelling per service tier: "" is the standard tier, whatever the source calls it."""
    tier = service_tier.strip().lower().replace("-", "_")
    return "" if tier in STANDARD_TIERS else _TIERS.get(tier, tier)


def references(provider: str, model: str) -> list[tuple[str, str]]:
    """What to look up for names as a source writes them: (provider id, model reference), best first."""
    owner, prefix, rest = provider_id(provider), *_split(model)
    if owner in _GATEWAYS:
        return references(prefix, rest) if rest else []
    found = [model]
    if rest and provider_id(prefix) == owner:
        found.append(rest)
    if model.startswith("arn:"):
        found.append(model.rpartition("/")[2])
    if owner == "google" and "models/" in model:
        found.append(model.rpartition("models/")[2])
    if owner == "fireworks":
        found.extend([f"accounts/fireworks/models/{name}" for name in found])
    return [(owner, name) for name in found]


def _split(model: str) -> tuple[str, str]:
    prefix, slash, rest = model.partition("/")
    return (prefix, rest) if slash else ("", "")
