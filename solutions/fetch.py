"""One GET to an address that was chosen beforehand: what `errors` stands on to fetch pictures from strangers."""

import asyncio
import ssl
from dataclasses import dataclass
from functools import cache

import httpx2


@dataclass(frozen=True)
class Hop:
    """What a server answered: status, where it redirects to if it does, and the body, cut off above the limit."""

    status: int
    location: str | None
    body: bytes


async def get(url: str, address: str, limit: int) -> Hop:
    """GET `url` from the server at `address`, without looking its name up again; reads `limit` + 1 bytes at most.

    Redirects are reported, not followed; no proxy of the environment is used, nothing is unpacked. The certificate
    of an https server must be that of the URL's host. Raises httpx2.HTTPError, or httpx2.InvalidURL.
    """
    asked = httpx2.URL(url)
    trusted = await asyncio.to_thread(_certificates)
    async with httpx2.AsyncClient(verify=trusted, trust_env=False, follow_redirects=False) as client:
        request = client.build_request(
            "GET",
            asked.copy_with(host=address, username=None, password=None),
            headers={"host": asked.netloc.decode(), "accept": "image/*", "accept-encoding": "identity"},
            extensions={"sni_hostname": asked.raw_host.decode()},
        )
        response = await client.send(request, stream=True)
        try:
            if response.has_redirect_location:
                return Hop(response.status_code, response.headers["location"], b"")
            body = bytearray()
            async for piece in response.aiter_raw():
                body += piece
                if len(body) > limit:
                    break
                await asyncio.sleep(0)  # thousands of pieces may lie ready, and others wait for the event loop
            return Hop(response.status_code, None, bytes(body[: limit + 1]))
        finally:
            await response.aclose()


@cache
def _certificates() -> ssl.SSLContext:
    """Whom to trust: read once, as that takes a tenth of a second."""
    return httpx2.create_ssl_context(trust_env=False)
