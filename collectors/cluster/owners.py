"""Who a pod belongs to: the object that a person made, not the ones that controllers made of it. Pure."""

import re
from collections.abc import Mapping, Sequence
from sys import intern

from collectors.cluster.objects import OwnerReference
from collectors.records import Labels

# One object that people know and that makes pods through others: its name is in a label of every pod.
_BY_LABEL = (
    ("serving.kserve.io/inferenceservice", "InferenceService"),
    ("leaderworkerset.sigs.k8s.io/name", "LeaderWorkerSet"),
    ("jobset.sigs.k8s.io/jobset-name", "JobSet"),
    ("ray.io/cluster", "RayCluster"),
)
# A controller names what it makes <its own name>-<hash>, and puts the hash into a label.
_BY_HASH = (("pod-template-hash", "Deployment"), ("rollouts-pod-template-hash", "Rollout"))
_CRON = re.compile(r"(.+)-\d{8,}")  # a CronJob names its jobs <name>-<minutes since 1970>

# What differs from pod to pod, or from one rollout to the next, matches nothing and would fill the ledger.
_PASSING = {
    *("pod-template-hash", "rollouts-pod-template-hash", "controller-revision-hash", "pod-template-generation"),
    *("statefulset.kubernetes.io/pod-name", "apps.kubernetes.io/pod-index", "controller-uid", "job-name"),
    *("batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name", "batch.kubernetes.io/job-completion-index"),
    *("leaderworkerset.sigs.k8s.io/group-index", "leaderworkerset.sigs.k8s.io/worker-index"),
    *("leaderworkerset.sigs.k8s.io/group-key", "leaderworkerset.sigs.k8s.io/template-revision-hash"),
    *("ray.io/identifier", "ray.io/originated-from-cr-name", "jobset.sigs.k8s.io/job-key"),
    *("jobset.sigs.k8s.io/job-index", "jobset.sigs.k8s.io/job-global-index", "jobset.sigs.k8s.io/restart-attempt"),
}
_UID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_LABELS = 24
"""Labels of its own that a pod may have; further ones, in order of their names, are left out."""

OURS = ("namespace", "owner", "owner_kind", "pod", "node")


def owner(labels: Mapping[str, str], references: Sequence[OwnerReference], pod: str) -> tuple[str, str]:
    """Kind and name of the top owner; of a pod without any: `Pod` and its own name."""
    for label, kind in _BY_LABEL:
        if labels.get(label):
            return kind, labels[label]
    controller = next((one for one in references if one.controller), references[0] if references else None)
    if controller is None:
        return "Pod", pod
    return _above(controller.kind, controller.name, labels)


def _above(kind: str, name: str, labels: Mapping[str, str]) -> tuple[str, str]:
    if kind == "ReplicaSet":
        for label, maker in _BY_HASH:
            if labels.get(label) and name.endswith(f"-{labels[label]}"):
                return maker, name.removesuffix(f"-{labels[label]}")
    if kind == "Job" and (match := _CRON.fullmatch(name)):
        return "CronJob", match[1]
    return kind, name


def own_labels(labels: Mapping[str, str]) -> Labels:
    """Those of a pod's own labels that workloads may match, sorted; names that the collector gives itself excepted."""
    kept = sorted(
        (name, value)
        for name, value in labels.items()
        if name not in _PASSING and name not in OURS and not _UID.search(value)
    )
    return tuple((intern(name), intern(value)) for name, value in kept[:MOST_LABELS])
