"""The stand-in is an API server as far as an independent reader can tell: the official client, lists and Watch."""

from collections.abc import Iterator

import pytest
from kubernetes import client, watch
from kubernetes.client.exceptions import ApiException

from tests.collectors.cluster.api_server import ApiServer, serving
from tests.collectors.cluster.cluster import gpu_node, gpu_pod


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with serving() as server:
        server.put("nodes", gpu_node("n1"), gpu_node("n2", gpus=0))
        server.put("pods", *(gpu_pod(f"p{number:03}") for number in range(120)))
        yield server


@pytest.fixture
def core(server: ApiServer) -> Iterator[client.CoreV1Api]:
    configuration = client.Configuration()
    configuration.host = server.url
    configuration.retries = False
    configuration.api_key["BearerToken"] = "Bearer first"
    with client.ApiClient(configuration) as connection:
        yield client.CoreV1Api(connection)
        for key in connection.rest_client.pool_manager.pools.keys():  # noqa: SIM118 - urllib3's container
            connection.rest_client.pool_manager.pools[key].close()


def test_lists_come_whole_and_in_pages(core: client.CoreV1Api) -> None:
    assert [node.metadata.name for node in core.list_node().items] == ["n1", "n2"]
    names, after = [], None
    while after != "":
        page = core.list_pod_for_all_namespaces(limit=50, **({"_continue": after} if after else {}))
        names += [pod.metadata.name for pod in page.items]
        after = page.metadata._continue or ""
    assert names == [f"p{number:03}" for number in range(120)]
    assert page.items[0].status.container_statuses is not None


def test_a_watch_tells_what_happens_after_a_list(server: ApiServer, core: client.CoreV1Api) -> None:
    version = core.list_node().metadata.resource_version
    server.put("nodes", gpu_node("n3"))
    server.put("nodes", gpu_node("n3", labels={"a": "b"}))
    server.bookmark("nodes")
    server.delete("nodes", "uid-n3")
    watching = watch.Watch()
    events = watching.stream(core.list_node, resource_version=version, timeout_seconds=1, allow_watch_bookmarks=True)
    kinds = [(event["type"], event["raw_object"]["metadata"].get("name")) for event in events]
    assert kinds == [("ADDED", "n3"), ("MODIFIED", "n3"), ("BOOKMARK", None), ("DELETED", "n3")]


def test_what_is_too_old_is_gone(server: ApiServer, core: client.CoreV1Api) -> None:
    version = core.list_node().metadata.resource_version
    page = core.list_pod_for_all_namespaces(limit=50)
    server.compact("nodes")
    with pytest.raises(ApiException) as caught:
        list(watch.Watch().stream(core.list_node, resource_version=version, timeout_seconds=1))
    assert caught.value.status == 410
    with pytest.raises(ApiException) as caught:
        core.list_pod_for_all_namespaces(limit=50, _continue=page.metadata._continue)
    assert caught.value.status == 410


def test_tokens_and_permissions(server: ApiServer, core: client.CoreV1Api) -> None:
    server.token, server.allowed = "first", {("nodes", "list")}
    assert len(core.list_node().items) == 2
    with pytest.raises(ApiException) as caught:
        core.list_namespace()
    assert caught.value.status == 403
    server.token = "second"
    with pytest.raises(ApiException) as caught:
        core.list_node()
    assert caught.value.status == 401
