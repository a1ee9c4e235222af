"""What an AWS usage type (`USW2-BoxUsage:p5.48xlarge`) says of itself: region, service, what it pays for. Pure.

Usage types and the region prefixes are those of AWS bills; Cost Explorer names the service `EC2 - Other` for what EC2
bills beside instances (disks, addresses, gateways).
"""

import re
from typing import NamedTuple

from collectors.billing.components import component_of
from collectors.records import Component

COMPUTE = "Amazon Elastic Compute Cloud - Compute"

# fmt: off
_REGIONS = {
    "USE1": "us-east-1", "USE2": "us-east-2", "USW1": "us-west-1", "USW2": "us-west-2", "CAN1": "ca-central-1",
    "CAN2": "ca-west-1", "MXC1": "mx-central-1", "SAE1": "sa-east-1", "EU": "eu-west-1", "EUW1": "eu-west-1",
    "EUW2": "eu-west-2", "EUW3": "eu-west-3", "EUC1": "eu-central-1", "EUC2": "eu-central-2", "EUN1": "eu-north-1",
    "EUS1": "eu-south-1", "EUS2": "eu-south-2", "APN1": "ap-northeast-1", "APN2": "ap-northeast-2",
    "APN3": "ap-northeast-3", "APS1": "ap-southeast-1", "APS2": "ap-southeast-2", "APS3": "ap-south-1",
    "APS4": "ap-southeast-3", "APS5": "ap-south-2", "APS6": "ap-southeast-4", "APS7": "ap-southeast-5",
    "APE1": "ap-east-1", "MES1": "me-south-1", "MEC1": "me-central-1", "ILC1": "il-central-1", "AFS1": "af-south-1",
    "UGE1": "us-gov-east-1", "UGW1": "us-gov-west-1",
}
# fmt: on
_PREFIX = re.compile(r"(?:([A-Z]{2,3}\d?)-)?(.*)", re.DOTALL)
_INSTANCE = re.compile(
    r"(?:BoxUsage|SpotUsage|DedicatedUsage|HostBoxUsage|SchedUsage|HeavyUsage|MediumUsage|LightUsage|"
    r"UnusedBox|UnusedDed|Reservation|CapacityBlock\w*|HostUsage)(?::|$)"
)
_UNUSED = re.compile(r"Unused(?:Box|Ded):")
_CAPACITY_BLOCK = re.compile(r"CapacityBlock", re.IGNORECASE)
_TRAFFIC = re.compile(r"DataTransfer|NatGateway|(?:In|Out)-(?:ABytes|OBytes|Bytes)$|PublicIPv4|VpcEndpoint|LCUUsage")
_TOKENS = re.compile(r"token", re.IGNORECASE)
_UNITS = {"Hrs": "Hours", "hours": "Hours", "Hour": "Hours"}


class UsageType(NamedTuple):
    """`region`, `service` and `category` (FOCUS `ServiceCategory`) are empty where the usage type does not tell."""

    region: str
    service: str
    category: str
    component: Component


def read(usage_type: str, service: str = "") -> UsageType:
    """What `usage_type` stands for; `service` is what the bill says, empty if it does not."""
    code, rest = _split(usage_type)
    found, category = _category(rest, service)
    # EC2 in us-east-1, the oldest region, has no prefix; nor have global services anywhere.
    region = _REGIONS.get(code, "us-east-1" if not code and _INSTANCE.match(rest) else "")
    return UsageType(region, service or found, category, component_of(category, "", f"{rest} {_worded(rest)}"))


def unit_of(unit: str) -> str:
    """A unit as FOCUS writes it; empty for a sum over several units."""
    return "" if unit == "N/A" else _UNITS.get(unit, unit)


def is_capacity_block(usage_type: str) -> bool:
    """Whether it is the fee of an EC2 Capacity Block: paid at once, and amortized by nobody."""
    return bool(_CAPACITY_BLOCK.search(usage_type))


def is_unused_reservation(usage_type: str) -> bool:
    """Whether it is capacity that was reserved on demand and ran no instance."""
    return bool(_UNUSED.match(_split(usage_type)[1]))


def _split(usage_type: str) -> tuple[str, str]:
    matched = _PREFIX.fullmatch(usage_type)
    code, rest = matched.groups(default="") if matched else ("", usage_type)
    return (code, rest) if code in _REGIONS else ("", usage_type)


def _category(rest: str, service: str) -> tuple[str, str]:
    """(service, category) of a usage type without its region."""
    if _TOKENS.search(rest) or "SageMaker" in service or "Bedrock" in service or ":ml." in rest:
        return "", "AI and Machine Learning"
    if _INSTANCE.match(rest):
        return COMPUTE, "Compute"
    if rest.startswith("EBS:"):
        return "EC2 - Other", "Storage"
    if "TimedStorage" in rest or "Storage" in service:
        return "", "Storage"
    if _TRAFFIC.search(rest):
        return "EC2 - Other" if rest.startswith("NatGateway") else "", "Networking"
    return "", "Compute" if service == COMPUTE else "Other"


def _worded(rest: str) -> str:
    return "tokens" if _TOKENS.search(rest) else ""
