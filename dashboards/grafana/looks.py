"""How figures of the domain look on both boards: the colours of a status, the bands of a ratio."""

from dashboards.grafana.panels import GREEN, GREY, RED, YELLOW, Steps, mapping

RATIO_BANDS: Steps = ((None, RED), (0.9, YELLOW), (1.1, GREEN))
"""Where a status is entered by default: the API is cheaper up to 0.90, self-hosting from 1.10."""

PLAIN: Steps = ((None, "text"),)
NONE_IS_GOOD: Steps = ((None, GREEN), (1, RED))
MONEY_LOST: Steps = ((None, GREEN), (1, YELLOW), (1000, RED))
TO_BE_HIGH: Steps = ((None, RED), (0.9, YELLOW), (0.99, GREEN))
TO_BE_LOW: Steps = ((None, GREEN), (0.01, RED))

STATUS = mapping({
    "1": ("self-hosting cheaper", GREEN),
    "2": ("break-even", YELLOW),
    "3": ("API cheaper", RED),
    "4": ("unknown", GREY),
    "11": ("self-hosting cheaper", RED),
    "12": ("break-even", YELLOW),
    "13": ("API cheaper", GREEN),
    "14": ("unknown", GREY),
})  # fmt: skip
"""The codes of `promql.status_code`: green on the cheaper side, red on the dearer one."""

SUCCESS = mapping({"0": ("failing", RED), "1": ("ok", GREEN)})

EVIDENCE = ("invoiced", "billed", "calibrated", "configured", "list")
EVIDENCE_COLOURS = dict(zip(EVIDENCE, ("dark-green", "green", "light-blue", "blue", "purple"), strict=True))
