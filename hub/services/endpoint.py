"""Calls to addresses that others gave us: resolved, checked, pinned; nobody makes the hub call its own network.

Only http and https, no user name in the address, no redirect; every address the name stands for must be a public one,
unless the setting ``subscriptions.allowed_hosts`` names the host. The connection goes to the address that was checked.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Collection
from functools import cached_property
from urllib.parse import urlsplit

import httpx

from hub.errors import HubError

SECONDS = 10.0
MAX_URL = 2000


def check(url: str, allowed: Collection[str]) -> tuple[httpx.URL, str]:
    """The URL with the address to connect to in place of the name, and the Host header. HubError("forbidden")."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise HubError("value", f"{url[:200]!r} is not a URL", "Subscription.channel.endpoint") from None
    if parts.scheme not in ("http", "https") or not host or parts.username is not None or len(url) > MAX_URL:
        said = f"{url[:200]!r} is not an http or https address without a user name"
        raise HubError("value", said, "Subscription.channel.endpoint")
    try:
        found = socket.getaddrinfo(host, port or (443 if parts.scheme == "https" else 80), type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise HubError("timeout", f"the name {host[:200]!r} cannot be resolved") from None
    addresses = [str(row[4][0]) for row in found]
    if host not in allowed and not all(_public(address) for address in addresses):
        said = f"{host[:200]!r} is an address of this machine or of an internal network"
        raise HubError("forbidden", said, "Subscription.channel.endpoint")
    return httpx.URL(url).copy_with(host=addresses[0]), parts.netloc


def _public(text: str) -> bool:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return address.is_global and not address.is_multicast


class Caller:
    """Sends to checked addresses; one for all subscribers, usable from many threads."""

    def __init__(self, allowed: Collection[str]) -> None:
        self._allowed = frozenset(allowed)

    @cached_property
    def _client(self) -> httpx.Client:
        """Made at the first call: it reads the certificates of the authorities."""
        return httpx.Client(follow_redirects=False, timeout=SECONDS, trust_env=False)

    def check(self, url: str) -> None:
        """Raise what a call would raise, without calling."""
        check(url, self._allowed)

    def call(self, method: str, url: str, headers: dict[str, str], content: bytes) -> None:
        """Deliver; returns when the answer is 2xx. HubError("timeout") for any other, or none."""
        target, host = check(url, self._allowed)
        name = urlsplit(url).hostname or ""
        try:
            answer = self._client.request(
                method, target, headers={**headers, "Host": host}, content=content, extensions={"sni_hostname": name}
            )
        except httpx.HTTPError as error:
            raise HubError("timeout", f"{name} does not answer: {type(error).__name__}") from None
        if not answer.is_success:
            raise HubError("timeout", f"{name} answered {answer.status_code}")

    def close(self) -> None:
        """End the connections, if there are any."""
        if "_client" in self.__dict__:
            self._client.close()
