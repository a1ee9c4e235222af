"""AWS clients, and what AWS and its SDK answer when they refuse, in one line that holds no secret.

Credentials come from the SDK's own chain (environment, shared files, web identity, container or instance role), from
the `profile` named, and from the `role_arn` assumed with either. Nothing here reads or keeps a key.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from collectors.sdk import importing

ATTEMPTS = 3
"""HTTP requests that one call may take: the SDK repeats a throttled or failed one after its own back-off (seconds)."""

PATIENCE = 60.0
"""Seconds that a request may take, but for a big body."""

SLOWEST = 1 << 20
"""Bytes per second at which a big body must arrive at least."""

ROLE_SECONDS = 3600
"""Life of an assumed role's credentials, the longest that every role allows: make a client for each collect."""

Kind = Literal["denied", "credentials", "throttled", "unreachable", "missing", "refused"]

_CREDENTIALS = {
    **dict.fromkeys(
        ("ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired"),
        "the credentials have expired: renew them (or check the clock of this machine)",
    ),
    **dict.fromkeys(
        ("UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId", "InvalidToken"),
        "AWS does not know the credentials: check the access key or the role",
    ),
    **dict.fromkeys(
        ("SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "RequestTimeTooSkewed"),
        "AWS refuses the signature: check the secret key and the clock of this machine",
    ),
}
_DENIED = {"AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "Forbidden", "403", "AuthorizationError"}
_THROTTLED = {
    *("Throttling", "ThrottlingException", "ThrottledException", "RequestThrottled", "RequestThrottledException"),
    *(
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "LimitExceededException",
        "SlowDown",
        "BandwidthLimitExceeded",
    ),
}
_MISSING = {"NoSuchKey", "NoSuchBucket", "404", "NotFound", "ResourceNotFoundException"}

# Every attempt may have reached AWS, and been charged for, when the SDK gives up with one of these.
_SENT = {"ReadTimeoutError", "ConnectionClosedError", "IncompleteReadError", "ResponseStreamingError"}


class AwsError(Exception):
    """A call that failed, in one line for the on-call engineer. `kind` says whose fault it is, `code` is AWS's own code
    (empty if AWS did not answer), `retries` how often the SDK had repeated the request; where it broke off without an
    answer, how often at most."""

    def __init__(self, kind: Kind, text: str, code: str = "", retries: int = 0) -> None:
        super().__init__(text)
        self.kind, self.code, self.retries = kind, code, retries


@dataclass(frozen=True, slots=True)
class Access:
    """How to reach one AWS account. Empty: as the SDK's chain says. `region` is of the service asked."""

    profile: str = ""
    role_arn: str = ""
    region: str = ""
    endpoint_url: str = ""

    def problem(self) -> str:
        """What is wrong with the settings, for a config error; empty if nothing is."""
        if self.role_arn and not self.role_arn.startswith("arn:"):
            return f"expected role_arn like 'arn:aws:iam::123456789012:role/name', got {self.role_arn!r}"
        try:
            url = urlsplit(self.endpoint_url)
            usable = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
        except ValueError:
            usable = False
        if self.endpoint_url and not usable:
            return "expected endpoint_url to be an http:// or https:// URL"
        if self.endpoint_url and url.username is not None:
            return "expected endpoint_url without a user: credentials come from the SDK's chain"
        return ""


def client(service: str, access: Access, timeout: float = PATIENCE, attempts: int = ATTEMPTS) -> Any:
    """A boto3 client of `service`; close it after use. `timeout` is of one HTTP request, its answer included, however
    slowly that arrives, in seconds (see `more_time`); `attempts` how many of them one call may take.

    Raises AwsError (also for a role that may not be assumed) and ImportError where boto3 is not installed.
    """
    try:
        with importing():
            import boto3
            from botocore.config import Config
    except ModuleNotFoundError:
        raise ImportError("boto3 is not installed: install llm-cost-exporter[aws]") from None

    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=min(timeout, 10),
        read_timeout=timeout,
        user_agent_extra="llm-cost-exporter",
    )
    with translated("", access.profile):
        session = boto3.Session(profile_name=access.profile or None, region_name=access.region or None)
    with translated("sts:AssumeRole", access.role_arn):
        keys = _assumed(session, access, config) if access.role_arn else {}
        return _bounded(
            session.client(service, endpoint_url=access.endpoint_url or None, config=config, **keys), timeout
        )


def require_credentials(made: Any) -> None:
    """Raise AwsError if a client has no usable credentials. The SDK looks only when it signs: too late where a request
    is entered as paid before it is made."""
    with importing():
        from botocore.exceptions import NoCredentialsError

    with translated(""):
        credentials = made._request_signer._credentials
        if credentials is None:
            raise NoCredentialsError
        credentials.get_frozen_credentials()  # refreshes what has expired


def more_time(size: int) -> None:
    """Allow this thread's request as long as a body of `size` bytes may take."""
    from collectors import deadline  # with its HTTP library, which an export in a folder does not need

    deadline.begin(PATIENCE + size / SLOWEST)


def _bounded(made: Any, timeout: float) -> Any:
    """A client whose requests end in time. The SDK's own timeout begins anew with every byte."""
    from collectors import deadline

    deadline.bound_own(made._endpoint.http_session._pool_classes_by_scheme)
    made.meta.events.register("before-send", lambda **_: deadline.begin(timeout))
    return made


def _assumed(session: Any, access: Access, config: Any) -> dict[str, str]:
    """Temporary keys of `role_arn`. STS is asked at its own endpoint, not at `endpoint_url`."""
    sts = _bounded(session.client("sts", region_name=session.region_name or "us-east-1", config=config), PATIENCE)
    try:
        answer = sts.assume_role(
            RoleArn=access.role_arn, RoleSessionName="llm-cost-exporter", DurationSeconds=ROLE_SECONDS
        )
    finally:
        sts.close()
    keys = answer["Credentials"]
    return {
        "aws_access_key_id": keys["AccessKeyId"],
        "aws_secret_access_key": keys["SecretAccessKey"],
        "aws_session_token": keys["SessionToken"],
    }


@contextmanager
def translated(action: str, where: str = "") -> Iterator[None]:
    """Turn what boto3 raises into an AwsError that names `action` (an IAM action such as `ce:GetCostAndUsage`) and
    `where` (a bucket, a profile). The SDK's exception is not chained: its message may hold signed headers."""
    with importing():
        from botocore.exceptions import BotoCoreError, ClientError
        from botocore.parsers import ResponseParserError

    try:
        yield
    except ClientError as error:
        raise _refusal(error.response, action, where) from None
    except BotoCoreError as error:
        raise _unanswered(error, where) from None
    except ResponseParserError:
        text = "the endpoint's answer is none of AWS (a proxy's page?): check network and endpoint_url"
        raise AwsError("unreachable", text) from None


def _refusal(response: Any, action: str, where: str) -> AwsError:
    """What AWS answered. Its own words are given only where they speak of parameters: others may quote the request."""
    code = str(response.get("Error", {}).get("Code", ""))[:60]
    retries = int(response.get("ResponseMetadata", {}).get("RetryAttempts", 0) or 0)
    on = f" on {where}" if where else ""
    if code in _DENIED:
        return AwsError("denied", f"permission {action} is missing{on}: allow it in the IAM policy", code, retries)
    if code in _CREDENTIALS:
        return AwsError("credentials", f"{_CREDENTIALS[code]} ({code})", code, retries)
    if code in _THROTTLED:
        text = f"AWS throttles {action}{on} ({code}): tried {retries + 1} times, next try at the next interval"
        return AwsError("throttled", text, code, retries)
    if code in _MISSING:
        return AwsError("missing", f"{action}{on}: not found ({code})", code, retries)
    said = " ".join(str(response.get("Error", {}).get("Message", "")).split())[:300]
    told = f": {said}" if code == "ValidationException" and said else ""
    return AwsError("refused", f"{action}{on} failed with {code or 'an unknown error'}{told}", code, retries)


def _unanswered(error: Any, where: str) -> AwsError:
    """What the SDK itself raised. Its exceptions are known by name: most of them share one base class only."""
    name = type(error).__name__
    if name in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "NoAuthTokenError"):
        return AwsError("credentials", f"no usable AWS credentials found ({name}): set profile, or give the pod a role")
    if name == "ProfileNotFound":
        return AwsError("credentials", f"the AWS profile {where!r} is not configured on this machine")
    if "Token" in name or "SSO" in name or name in ("LoginRefreshRequired", "InvalidConfigError", "ConfigParseError"):
        return AwsError("credentials", f"the AWS login cannot be used ({name}): log in again, or check the profile")
    if name == "NoRegionError":
        return AwsError("refused", "no AWS region is known: set region")
    endpoint = urlsplit(str(getattr(error, "kwargs", {}).get("endpoint_url", "")))
    at = f" {endpoint.hostname}" if endpoint.hostname else ""
    retries = ATTEMPTS - 1 if name in _SENT else 0
    if name in ("ReadTimeoutError", "ConnectTimeoutError"):
        text = f"the AWS endpoint{at} did not answer in time ({name}): check the network"
        return AwsError("unreachable", text, retries=retries)
    if isinstance(error, _connection_errors()):
        text = f"the AWS endpoint{at} cannot be reached ({name}): check network and endpoint_url"
        return AwsError("unreachable", text, retries=retries)
    return AwsError("refused", f"the AWS SDK failed with {name}")


def _connection_errors() -> tuple[type[Exception], ...]:
    with importing():
        from botocore.exceptions import ConnectionError as Connection
        from botocore.exceptions import HTTPClientError

    return Connection, HTTPClientError
