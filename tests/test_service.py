"""The reference service over real HTTP: the lesson's commands, the right labels, and no network for its pages."""

import re
from collections.abc import Iterator

import httpx2
import pytest
from starlette.applications import Starlette
from starlette.responses import FileResponse
from starlette.routing import Route

from labserve import assembly, samples, zoo
from labserve.serving import Live, live
from labserve.tray import Hostile, tray
from labserve.workspace import Workspace
from solutions.app import create_app
from solutions.settings import Settings

BUNDLED = zoo.BUNDLED


@pytest.fixture(scope="module")
def server() -> Iterator[Live]:
    running = live("solutions.app:app", env={"LABSERVE_MODEL": BUNDLED}).start()
    yield running
    running.stop()


@pytest.fixture(scope="module")
def client(server: Live) -> httpx2.Client:
    return server.client


def picture_host() -> Starlette:
    """A web server with a picture."""
    return Starlette(routes=[Route("/cat.jpg", lambda request: FileResponse(samples.path("cat")))])


def upload(name: str) -> dict[str, tuple[str, bytes, str]]:
    path = samples.path(name)
    return {"file": (path.name, path.read_bytes(), "image/jpeg")}


def test_health_says_which_model_and_where(client: httpx2.Client) -> None:
    health = client.get("/health").json()
    assert health["status"] == "healthy"
    assert health["model_loaded"] is True
    assert health["model"] == BUNDLED
    assert health["device"].startswith(("cpu", "cuda", "mps"))


def test_the_readme_s_command_answers_with_cats(client: httpx2.Client) -> None:
    reply = client.post("/predict", params={"top_k": 3}, files=upload("cat"))
    assert reply.status_code == 200
    answer = reply.json()
    assert answer["model"] == BUNDLED
    assert answer["inference_time_ms"] > 0
    assert len(answer["predictions"]) == 3
    for prediction in answer["predictions"]:
        assert re.search("cat|tabby|lynx", prediction["class_name"].lower()), prediction


@pytest.mark.parametrize("name", samples.names())
def test_names_every_sample_rightly(client: httpx2.Client, name: str) -> None:
    answer = client.post("/predict", files=upload(name)).json()
    assert answer["predictions"][0]["class_name"] == samples.SAMPLES[name]
    confidences = [prediction["confidence"] for prediction in answer["predictions"]]
    assert confidences == sorted(confidences, reverse=True)
    assert len(confidences) == 5


def test_threshold_leaves_out_the_unlikely(client: httpx2.Client) -> None:
    answer = client.post("/predict", params={"top_k": 10, "threshold": 0.5}, files=upload("espresso")).json()
    assert [prediction["class_name"] for prediction in answer["predictions"]] == ["espresso"]


@pytest.mark.parametrize(
    ("params", "files", "status"),
    [
        ({"top_k": 0}, upload("cat"), 422),
        ({"top_k": 5000}, upload("cat"), 422),
        ({"threshold": 1.5}, upload("cat"), 422),
        ({}, {"file": ("cat.jpg", b"my shopping list", "image/jpeg")}, 415),
        ({}, {"file": ("cat.jpg", b"", "image/jpeg")}, 422),
        ({}, {"picture": ("cat.jpg", b"", "image/jpeg")}, 422),
        ({}, None, 422),
    ],
)
def test_refuses_what_makes_no_sense(client: httpx2.Client, params: dict, files: dict, status: int) -> None:
    reply = client.post("/predict", params=params, files=files)
    assert reply.status_code == status
    assert reply.headers["content-type"] == "application/problem+json"
    assert reply.json()["detail"]
    assert reply.json()["request_id"] == reply.headers["x-request-id"]


@pytest.mark.parametrize("hostile", tray(), ids=lambda hostile: hostile.name)
def test_every_upload_of_the_tray_gets_its_answer(client: httpx2.Client, hostile: Hostile) -> None:
    """Also over a real connection, where a server that refuses early may cut the client off."""
    reply = client.post("/predict", files={"file": (hostile.filename, hostile.data, hostile.content_type)})
    assert reply.status_code == hostile.expected, reply.text
    if hostile.shows == "cat":
        assert re.search("cat|tabby|lynx", reply.json()["predictions"][0]["class_name"].lower())
    elif hostile.shows:
        assert reply.json()["predictions"][0]["class_name"] == samples.SAMPLES[hostile.shows]
    else:
        assert reply.headers["content-type"] == "application/problem+json"


def test_a_number_that_json_cannot_hold_is_refused_and_not_repeated(client: httpx2.Client) -> None:
    body = b'{"image_url": "https://example.com/cat.jpg", "threshold": 1e999, "password": "hunter2"}'
    reply = client.post("/validate", content=body, headers={"content-type": "application/json"})
    assert reply.status_code == 422
    assert "hunter2" not in reply.text
    assert {fault["loc"][-1] for fault in reply.json()["errors"]} == {"threshold", "password"}


def test_a_picture_at_a_url_is_fetched_from_where_that_is_allowed() -> None:
    with live(picture_host, factory=True) as pictures:
        host = f"{pictures.base_url.host}:{pictures.base_url.port}"
        env = {"LABSERVE_MODEL": BUNDLED, "LABSERVE_URL_ALLOWED": host}
        with live("solutions.app:app", env=env) as client:
            reply = client.post("/predict/url", json={"image_url": f"http://{host}/cat.jpg", "top_k": 1})
            assert reply.status_code == 200, reply.text
            assert "cat" in reply.json()["predictions"][0]["class_name"]
            elsewhere = client.post("/predict/url", json={"image_url": "http://127.0.0.1/cat.jpg"})
            assert elsewhere.status_code == 422


def test_the_metrics_tell_of_the_predictions(client: httpx2.Client) -> None:
    client.post("/predict", files=upload("cat"))
    reply = client.get("/metrics", follow_redirects=False)
    assert reply.status_code == 200
    assert f'ml_predictions_total{{model="{BUNDLED}",status="success"}}' in reply.text
    for name in ("ml_prediction_latency_seconds", "ml_prediction_confidence"):
        assert f'{name}_count{{model="{BUNDLED}"}}' in reply.text


def test_a_dry_run_fills_in_the_defaults(client: httpx2.Client) -> None:
    reply = client.post("/validate", json={"image_url": "https://example.com/cat.jpg"})
    assert reply.status_code == 200
    assert reply.json()["request"]["top_k"] == 5


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
def test_the_docs_need_no_network(client: httpx2.Client, page: str) -> None:
    text = client.get(page).text
    assets = re.findall(r'(?:src|href)="([^"]+)"', text)
    assert assets
    for asset in assets:
        assert asset.startswith("/"), asset
        assert client.get(asset).status_code == 200


def test_the_example_in_the_docs_is_accepted(client: httpx2.Client) -> None:
    schemas = client.get("/openapi.json").json()["components"]["schemas"]
    for example in schemas["PredictionRequest"]["examples"]:
        assert client.post("/validate", json=example).status_code == 200


def test_the_assembled_service_has_the_routes_of_the_finished_one(space: Workspace) -> None:
    assembly.work_on(space, "hello")
    last = space.workbook.modules[-1]
    assembled = assembly.service(space, last, model=BUNDLED).openapi()["paths"]
    finished = create_app(Settings(model=BUNDLED)).openapi()["paths"]
    assert assembled == finished


def test_a_model_that_cannot_be_had_stops_the_start(tmp_path) -> None:
    from labserve.serving import ServerDidNotStart

    env = {"LABSERVE_MODEL": "resnet999"}
    with pytest.raises(ServerDidNotStart, match="resnet999"):
        live("solutions.app:app", env=env).start()
