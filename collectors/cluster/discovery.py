"""Which pods are inference engines to scrape, and where their metrics page is. Pure.

Recognized: the labels of vLLM production-stack, llm-d and KServe; `app.kubernetes.io/name` (or `app`) `vllm...`; and
`prometheus.io/scrape` on a pod that runs vLLM. Left out: routers, the workers of a multi-node replica (only its leader
has the page) and pods with a sidecar of this exporter, which reads them already.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from collectors.cluster.gpus import is_gpu
from collectors.cluster.objects import Container, WirePod
from collectors.settings import STRICT

EXPORTER = "llm-cost-exporter"
SIDECAR = "llm-cost-exporter/sidecar"
"""Label or annotation of a pod whose own sidecar reads its engine; a container or image of the exporter says so too."""

_LLM_D = ("llm-d.ai/inference-serving", "llm-d.ai/inferenceServing")
_KSERVE = "serving.kserve.io/inferenceservice"
_WORKER = "leaderworkerset.sigs.k8s.io/worker-index"
_NAMES = ("app.kubernetes.io/name", "app")
_VLLM = re.compile(r"\bvllm\b")
_PORT_NAMES = ("metrics", "http-metrics", "http", "container-port", "vllm")
_PORT_OPTION = re.compile(r"--(?:port|http_port)(?:[= ]+)(\d{1,5})(?!\d)")
_TLS_OPTION = re.compile(r"--ssl-(?:certfile|keyfile)\b")
_PATH = re.compile(r"/?[\w./~%+-]+(?:\?[\w.=&%+-]*)?", re.ASCII)
_ADDRESS = re.compile(r"[0-9.]+|[0-9A-Fa-f:.]+")
_TERM = re.compile(
    r"\s*(?:(?P<key>[\w./-]+)\s*(?:(?P<op>==|=|!=)\s*(?P<value>[\w.-]*)|(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?"
    r"|!\s*(?P<absent>[\w./-]+))\s*(?:,|$)"
)


@dataclass(frozen=True, slots=True)
class Discover:
    """How engines are found. `selector`: a Kubernetes label selector; empty: by well-known labels. `port` and `path` of
    the metrics page; port none: as the pod says, else 8000 (KServe: 8080)."""

    __pydantic_config__ = STRICT

    selector: str = ""
    port: int | None = None
    path: str = ""

    def __post_init__(self) -> None:
        if self.port is not None and not 0 < self.port < 65536:
            raise ValueError(f"port: expected a port from 1 to 65535, got {self.port}")
        if self.path and not (_PATH.fullmatch(self.path) and self.path.startswith("/")):
            raise ValueError(f"path: expected a path like '/metrics', got {self.path!r}")
        selects(self.selector, {})


def selects(selector: str, labels: Mapping[str, str]) -> bool:
    """Whether a label selector (`a=b,c in (d,e),!f`) matches `labels`; the empty one matches all. ValueError if it is
    none. https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/#label-selectors"""
    at, holds = 0, True
    while at < len(selector):
        term = _TERM.match(selector, at)
        if term is None or term.end() == at:
            raise ValueError(f"selector: expected a label selector like 'app=vllm,tier in (a,b)', got {selector!r}")
        holds &= _holds(term, labels)
        at = term.end()
    return holds


def _holds(term: re.Match[str], labels: Mapping[str, str]) -> bool:
    if term["absent"]:
        return term["absent"] not in labels
    value = labels.get(term["key"])
    if term["set"]:
        listed = value in {each.strip() for each in term["values"].split(",")}
        return listed if term["set"] == "in" else not listed
    if term["op"]:
        return (value == term["value"]) == (term["op"] != "!=")
    return value is not None


def page_url(pod: WirePod, discover: Discover) -> str | None:
    """The metrics page of a pod that is an engine and has an address; None for any other pod."""
    labels, notes = pod.metadata.labels or {}, pod.metadata.annotations or {}
    if pod.status.phase != "Running" or not _ADDRESS.fullmatch(pod.status.pod_ip) or has_sidecar(pod):
        return None
    if labels.get(_WORKER, "0") != "0":
        return None
    engine = _engine(pod.spec.containers)
    if engine is None or not (
        selects(discover.selector, labels) if discover.selector else _known(labels, notes, engine)
    ):
        return None
    scraped = notes if notes.get("prometheus.io/scrape") == "true" or _KSERVE in labels else {}
    port = discover.port or _port(labels, notes, scraped, engine)
    path = discover.path or scraped.get("prometheus.io/path") or notes.get("prometheus.kserve.io/path") or ""
    told = scraped.get("prometheus.io/scheme") or ("https" if _TLS_OPTION.search(_line(engine)) else "http")
    address = f"[{pod.status.pod_ip}]" if ":" in pod.status.pod_ip else pod.status.pod_ip
    scheme = told if told in ("http", "https") else "http"
    return f"{scheme}://{address}:{port}/{(path if _PATH.fullmatch(path) else '/metrics').lstrip('/')}"


def has_sidecar(pod: WirePod) -> bool:
    """Whether an exporter in the pod itself reads its engine: an engine is read by exactly one exporter, and its GPUs
    are that one's too, in whatever phase the pod is."""
    if "true" in ((pod.metadata.labels or {}).get(SIDECAR), (pod.metadata.annotations or {}).get(SIDECAR)):
        return True
    containers = (*pod.spec.containers, *(pod.spec.init_containers or ()))
    return any(EXPORTER in (one.name, _image_name(one.image)) for one in containers)


def _image_name(image: str) -> str:
    """The last part of an image's name, without registry, tag and digest."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0]


def _known(labels: Mapping[str, str], annotations: Mapping[str, str], engine: Container) -> bool:
    if labels.get("app.kubernetes.io/component") == "serving-engine":
        return True
    if "helm-release-name" in labels and labels.get("model") and labels.get("environment") != "router":
        return labels.get("app.kubernetes.io/component", "") == ""  # production-stack before it had components
    if any(labels.get(label) == "true" for label in _LLM_D):
        return True
    named = any(_is_vllm_name(labels.get(label, "")) for label in _NAMES)
    if _KSERVE in labels or annotations.get("prometheus.io/scrape") == "true":
        return labels.get("component", "predictor") == "predictor" and (named or _runs_vllm(engine))
    return named


def _is_vllm_name(name: str) -> bool:
    return (name == "vllm" or name.startswith("vllm-")) and not re.search("router|gateway|operator|stack", name)


def _runs_vllm(container: Container) -> bool:
    """By its image or command: `vllm/vllm-openai`, `vllm serve`; KServe's Hugging Face server runs vLLM on GPUs."""
    image = container.image.partition("@")[0].lower()
    server = "huggingfaceserver" in image and "--backend=huggingface" not in _line(container)
    return bool(_VLLM.search(image) or _VLLM.search(_line(container)) or (server and _uses_gpu(container)))


def _engine(containers: list[Container]) -> Container | None:
    """The container that serves: the one that runs vLLM, else that with GPUs, else the first."""
    return next(
        (one for is_it in (_runs_vllm, _uses_gpu, lambda _: True) for one in containers if is_it(one)),
        None,
    )


def _uses_gpu(container: Container) -> bool:
    resources = container.resources
    return resources is not None and any(map(is_gpu, {**(resources.limits or {}), **(resources.requests or {})}))


def _port(
    labels: Mapping[str, str], annotations: Mapping[str, str], scraped: Mapping[str, str], engine: Container
) -> int:
    told = (annotations.get("prometheus.kserve.io/port"), scraped.get("prometheus.io/port"))
    option = _PORT_OPTION.search(_line(engine))
    for text in (*told, option[1] if option else None):
        if text and text.isascii() and text.isdecimal() and 0 < int(text) < 65536:
            return int(text)
    ports = engine.ports or []
    named = {port.name: port.container_port for port in reversed(ports)}
    first = ports[0].container_port if ports else (8080 if _KSERVE in labels else 8000)
    return next((named[name] for name in _PORT_NAMES if name in named), first)


def _line(container: Container) -> str:
    return " ".join([*(container.command or []), *(container.args or [])])
