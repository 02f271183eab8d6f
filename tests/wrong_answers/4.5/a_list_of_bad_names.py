# earns: ask is_global
import asyncio
import socket
from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
import httpx2
from fastapi import Request
from .fetch import get
from .settings import Settings
from .validation import PredictionRequest, PredictionResponse


_UNICAST = IPv6Network("2000::/3")  # the part of IPv6 that is given to machines of the open internet


async def resolve(url: str, allowed: Collection[str]) -> str:
    """The address to connect to for this URL: the only one that was checked.

    Raises BadAddress unless the URL is http(s), on the usual port, and every address of its host is public; an
    "address:port" in `allowed` need not be. Raises FetchFailed if the host has no address.
    """
    usual = {"http": 80, "https": 443}
    parts = httpx2.URL(url)
    if parts.scheme not in usual or not parts.host:
        raise BadAddress("The URL must begin with http:// or https:// and name a host.")
    port = usual[parts.scheme] if parts.port is None else parts.port
    try:
        found = await asyncio.get_running_loop().getaddrinfo(parts.raw_host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:  # ValueError: a name that is no name
        raise FetchFailed(f"There is no host {parts.host}.") from error
    addresses = [ip_address(info[4][0]) for info in found]
    here = parts.host in ("localhost", "127.0.0.1", "0.0.0.0", "::1") or parts.host.startswith(("10.", "192.168."))
    if f"{addresses[0]}:{port}" not in allowed and (here or port != usual[parts.scheme]):
        raise BadAddress("This is not a public web server.")
    return str(addresses[0])


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether the address belongs to a machine of the open internet, whichever way it is wrapped."""
    if isinstance(address, IPv6Address):
        if address.ipv4_mapped:
            return is_public(address.ipv4_mapped)
        if address not in _UNICAST or address.sixtofour or address.teredo:  # the two hold IPv4 addresses, unchecked
            return False
    return address.is_global and not address.is_multicast


async def fetch(url: str, settings: Settings) -> bytes:
    """The bytes behind a URL, every hop checked; bounded in size, time and redirects."""
    try:
        async with asyncio.timeout(settings.fetch_seconds):
            for _ in range(4):
                hop = await get(url, await resolve(url, settings.url_allowed), settings.max_body_bytes)
                if hop.location is None:
                    break
                url = str(httpx2.URL(url).join(hop.location))
    except TimeoutError as error:
        raise FetchFailed(f"The picture did not come within {settings.fetch_seconds:g} seconds.") from error
    except httpx2.InvalidURL as error:
        raise BadAddress(f"The URL cannot be read: {error}.") from error
    except httpx2.HTTPError as error:
        raise FetchFailed(f"The picture could not be fetched: {type(error).__name__}.") from error
    if hop.status != 200:
        raise FetchFailed(f"The picture's server answered {hop.status}.")
    if len(hop.body) > settings.max_body_bytes:
        raise TooLarge(f"The picture has more than {settings.max_body_bytes:,} bytes.")
    return hop.body


@router.post("/predict/url")
async def predict_url(request: Request, wanted: PredictionRequest) -> PredictionResponse:
    """Classify the picture at a URL, by the model that is loaded; another one cannot be asked for."""
    loaded = getattr(getattr(request.app.state, "classifier", None), "name", None)
    if loaded and "model_name" in wanted.model_fields_set and wanted.model_name != loaded:
        raise NotServed(f"This service runs {loaded}, not {wanted.model_name}: leave model_name out.")
    data = await fetch(wanted.image_url, request.app.state.settings)
    return await answer(request, data, wanted.top_k, wanted.threshold)
