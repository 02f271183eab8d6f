# earns: the log must know it
import logging
from http.client import responses
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException


class ServiceError(Exception):
    """An error that is the client's to know: its text becomes the detail. `retry_after` is in seconds."""

    status = 500
    retry_after: int | None = None


class ModelNotLoaded(ServiceError):
    """There is no model yet."""

    status = 503
    retry_after = 5


class TooLarge(ServiceError):
    """More bytes or pixels than are let in."""

    status = 413


class NotAPicture(ServiceError):
    """Bytes of a kind that is not served."""

    status = 415


class BadPicture(ServiceError):
    """A picture that is broken, or of a shape that nothing can be seen in."""

    status = 422


class BadAddress(ServiceError):
    """A URL that leads where requests may not go."""

    status = 422


class NotServed(ServiceError):
    """A model that is known, and is not the one that is loaded."""

    status = 422


class FetchFailed(ServiceError):
    """A picture that its own server did not give: the client named it, so this is no fault of ours, and no 502."""

    status = 422


async def service_error(request: Request, error: ServiceError) -> Response:
    """Answer an error of our own."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return problem(request, error.status, str(error), headers=headers)


async def http_error(request: Request, error: HTTPException) -> Response:
    """Answer an error of the framework, such as 404 or 405."""
    detail = error.detail
    if detail == responses.get(error.status_code):  # no more than the title says
        detail = f"{request.method} {request.scope['path']} is not to be had here; /docs lists what is."
    return problem(request, error.status_code, detail, headers=error.headers)


async def invalid_request(request: Request, error: RequestValidationError) -> Response:
    """Answer a request that breaks the rules of chapter 2."""
    found = faults(error.errors())
    detail = "; ".join(f"{fault['loc'][-1]}: {fault['msg']}" for fault in found)
    return problem(request, 422, detail, errors=found)


async def unforeseen_error(request: Request, error: Exception) -> Response:
    """Answer a fault of ours. What happened is for the log, where the server writes it; the client can quote the id."""
    logging.getLogger("labserve").error("Prediction failed: %s", error)
    return problem(request, 500, "Something went wrong here. Quote the request_id when you report it.")


def install(app: FastAPI) -> None:
    """Answer every error in one shape, bound every body, and have `alone` classify until there is better."""
    app.exception_handler(ServiceError)(service_error)
    app.exception_handler(HTTPException)(http_error)
    app.exception_handler(RequestValidationError)(invalid_request)
    app.exception_handler(Exception)(unforeseen_error)
    app.add_middleware(BodyLimit, limit=app.state.settings.max_body_bytes)
    app.state.engine = alone
