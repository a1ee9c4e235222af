"""OpenAI's line items: free text, of which the known forms are told and nothing is guessed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collectors.usage.provider_lines import SERVICE_TIERS, Line, parse


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("gpt-5-2025-08-07, input", Line("gpt-5-2025-08-07", "input")),
        ("gpt-5.6, cache writes", Line("gpt-5.6", "cache_write")),
        ("gpt-6-astra, input_tokens", Line("gpt-6-astra", "input")),
        ("priority | gpt-4o-2024-08-06, cached input", Line("gpt-4o-2024-08-06", "cache_read", "priority")),
        ("gpt-5.6, output, long context", Line("gpt-5.6", "output", "", ("long context",))),
        ("gpt-4o, input, batch", Line("gpt-4o", "input", "batch")),
        ("gpt-audio-mini-2025-12-15 audio, input", Line("gpt-audio-mini-2025-12-15", "audio_input")),
        ("gpt-image-2.5-sunburst text, cached input", Line("gpt-image-2.5-sunburst", "cache_read")),
        ("gpt-image-2.5-sunburst image, output", Line("gpt-image-2.5-sunburst", "image_output")),
        ("ft-gpt-4o-mini-2024-07-18:acme::9x, output", Line("ft-gpt-4o-mini-2024-07-18:acme::9x", "output")),
        ("web search tool calls", None),
        ("gpt-5, thoughts", None),
        ("turbo | gpt-5, input", None),
        (", input", None),
        ("audio, input", Line("audio", "input")),
        ("", None),
    ],
)
def test_line_items(text: str, line: Line | None) -> None:
    assert parse(text) == line


@given(st.text(max_size=80))
def test_any_text_is_read_or_left_alone(text: str) -> None:
    line = parse(text)
    assert line is None or (line.model and line.model in text and line.service_tier in {"", *SERVICE_TIERS})
