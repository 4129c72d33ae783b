"""What `deploy/` promises: nginx passes streams on and repeats no POST that may have been done; every way to run the
site drains it.
"""

from __future__ import annotations

import configparser
import json
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from pytest_django import Settings

from tests.provider_server import ProviderServer, Script
from tests.support import databases
from tests.support.databases import serve_new_site
from tests.support.nginx import CONFIGURATION, HOST, Nginx
from tests.support.server import ROOT, Cluster
from tests.support.services import find_free_port

DEPLOY = ROOT / "deploy"
PATIENCE = 20.0

# Long enough for gzip, were it on.
PAGE = "<p>word</p>" * 500


# Processes that are not the site, to see what nginx does however a process behaves


class Upstream(ThreadingHTTPServer):
    """A process behind nginx, on a port of its own; `mood` is what it does with a request once it has read it."""

    daemon_threads = True

    def __init__(self, mood: Callable[[Handler], None] | None = None) -> None:
        super().__init__((HOST, 0), Handler)
        self.mood = mood or Handler.send_page
        self.content_type = "text/html"
        self.headers: dict[str, str] = {}
        """Headers of a stream, beside its type."""
        self.requests: list[tuple[str, str, dict[str, str], int]] = []
        """Method, path, headers with names in lower case, length of the body."""
        self.peers: list[tuple[str, int]] = []
        self.go_on = threading.Event()

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class Handler(BaseHTTPRequestHandler):
    server: Upstream
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, len(body)))
        self.server.peers.append(self.client_address)
        self.server.mood(self)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def send_page(self, status: int = 200, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(PAGE)))
        self.end_headers()
        self.wfile.write(PAGE.encode())

    def refuse_while_draining(self) -> None:
        self.send_page(503, Retry_After="7")

    def has_no_such_release(self) -> None:
        self.send_page(404 if self.path.endswith("?exact") else 200)

    def hang_up(self) -> None:
        """Close the connection without a response: nginx cannot tell whether the request was done."""
        self.close_connection = True

    def stream_words(self) -> None:
        """Send the first word at once, the second when told."""
        self.send_response(200)
        for name, value in self.server.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        self.wfile.write(b"4\r\none \r\n")
        word = b"two " if self.server.go_on.wait(PATIENCE) else b"late"
        self.wfile.write(b"4\r\n" + word + b"\r\n0\r\n\r\n")

    def log_message(self, *arguments: object) -> None:
        """Log nothing: the tests look at `requests`."""


@contextmanager
def run_nginx(
    directory: Path, upstreams: Sequence[Upstream], *, dead: Sequence[int] = (), staticfiles: Path | None = None
) -> Iterator[tuple[Nginx, httpx2.Client]]:
    """Run nginx before the upstreams and before ports where nothing listens; yield it and a client that trusts it."""
    with ExitStack() as stack:
        for upstream in upstreams:
            stack.enter_context(upstream)
            threading.Thread(target=upstream.serve_forever, args=(0.02,), daemon=True).start()
            stack.callback(upstream.shutdown)
            stack.callback(upstream.go_on.set)
        ports = [*dead, *(upstream.port for upstream in upstreams)]
        nginx = stack.enter_context(Nginx(directory, ports, staticfiles=staticfiles))
        client = httpx2.Client(base_url=nginx.url, verify=nginx.tls, timeout=PATIENCE)
        yield nginx, stack.enter_context(client)


# nginx: what it accepts


def test_nginx_accepts_the_file(tmp_path: Path) -> None:
    assert "test is successful" in Nginx(tmp_path, [8000, 8001]).check()


def test_plain_http_is_sent_to_https(tmp_path: Path) -> None:
    with run_nginx(tmp_path, [Upstream()]) as (nginx, _):
        response = httpx2.get(f"{nginx.plain_url}/c/?a=1", timeout=PATIENCE)
        assert (response.status_code, response.headers["location"]) == (301, f"https://{HOST}/c/?a=1")


def test_a_body_of_the_sites_limit_passes_and_a_longer_one_gets_413(tmp_path: Path, settings: Settings) -> None:
    limit = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    upstream = Upstream()
    with run_nginx(tmp_path, [upstream]) as (_, client):
        assert client.post("/send/", content=b"x" * limit).status_code == 200
        assert client.post("/send/", content=b"x" * (limit + 1)).status_code == 413
    assert [length for *_, length in upstream.requests] == [limit]


def test_a_process_hears_of_a_request_only_when_its_body_is_whole(tmp_path: Path) -> None:
    upstream = Upstream()
    seen_half_way: list[int] = []

    def send_slowly() -> Iterator[bytes]:
        yield b"x" * 100_000
        seen_half_way.append(len(upstream.peers))
        yield b"x"

    with run_nginx(tmp_path, [upstream]) as (_, client):
        assert client.post("/send/", content=send_slowly()).status_code == 200
    assert (seen_half_way, upstream.requests[0][3]) == ([0], 100_001)


# nginx: what a process is told


def test_a_process_hears_the_truth_about_its_client(tmp_path: Path) -> None:
    upstream = Upstream()
    with run_nginx(tmp_path, [upstream]) as (nginx, client):
        lies = {"x-forwarded-for": "10.9.8.7", "x-forwarded-proto": "http", "x-request-id": "mine"}
        client.get("/", headers=lies)
        _, _, headers, _ = upstream.requests[0]
        assert (headers["host"], headers["x-forwarded-host"]) == (HOST, HOST)
        assert (headers["x-forwarded-for"], headers["x-forwarded-proto"]) == (HOST, "https")
        assert re.fullmatch("[0-9a-f]{32}", headers["x-request-id"])
        nginx.wait_for_log(headers["x-request-id"])


def test_a_websocket_is_passed_on_and_no_other_upgrade(tmp_path: Path) -> None:
    upstream = Upstream()
    with run_nginx(tmp_path, [upstream]) as (_, client):
        for protocol in ("websocket", "h2c"):
            client.get("/ws/chat/", headers={"connection": "upgrade", "upgrade": protocol})
        client.get("/ws/chat/")
    asked = [headers.get("connection", "") for _, _, headers, _ in upstream.requests]
    assert asked == ["upgrade", "", ""]
    assert upstream.requests[0][2]["upgrade"] == "websocket"


def test_the_connection_to_a_process_is_used_again(tmp_path: Path) -> None:
    upstream = Upstream()
    with run_nginx(tmp_path, [upstream]) as (_, client):
        for _ in range(20):
            client.get("/")
    # One connection for each of nginx's workers, and another where half a second passed between two requests.
    assert len(set(upstream.peers)) < 10


# nginx: streams


def read_words(directory: Path, path: str, upstream: Upstream) -> tuple[str, str | None]:
    """Return the text of a stream, whose second word comes only when the client has the first, and its encoding."""
    upstream.mood = Handler.stream_words
    with (
        run_nginx(directory, [upstream]) as (_, client),
        client.stream("GET", path, headers={"accept-encoding": "gzip"}) as response,
    ):
        text = ""
        for chunk in response.iter_text():
            text += chunk
            if text == "one ":
                upstream.go_on.set()
        return text, response.headers.get("content-encoding")


@pytest.mark.parametrize("path", ["/api/answers/1/events/", "/ws/chat/"])
@pytest.mark.parametrize("content_type", ["text/event-stream", "application/x-ndjson", "text/html"])
def test_a_programs_stream_is_neither_held_back_nor_compressed(tmp_path: Path, path: str, content_type: str) -> None:
    upstream = Upstream()
    upstream.content_type = content_type
    assert read_words(tmp_path, path, upstream) == ("one two ", None)


# A question's own response is below no location of its own: what asks nginx not to buffer it is a header.
@pytest.mark.parametrize(
    ("path", "headers"), [("/answers/1/stream/", {}), ("/send/", {"X-Accel-Buffering": "no"})], ids=lambda given: given
)
def test_a_pages_stream_is_compressed_and_not_held_back(tmp_path: Path, path: str, headers: dict[str, str]) -> None:
    upstream = Upstream()
    upstream.content_type, upstream.headers = "text/event-stream", headers
    assert read_words(tmp_path, path, upstream) == ("one two ", "gzip")


@pytest.mark.parametrize("content_type", ["text/html", "text/css", "text/javascript"])
def test_pages_styles_and_scripts_are_compressed(tmp_path: Path, content_type: str) -> None:
    upstream = Upstream()
    upstream.content_type = content_type
    with run_nginx(tmp_path, [upstream]) as (_, client):
        response = client.get("/", headers={"accept-encoding": "gzip"})
        assert (response.headers["content-encoding"], response.text) == ("gzip", PAGE)


def test_an_answer_of_the_site_streams_through_nginx(tmp_path: Path) -> None:
    """The first half arrives while the provider holds the second one back."""
    with ProviderServer.run_in_thread() as provider:
        provider.script = Script(text="One two three four", chunk_size=4, gate_after=8)
        environment = {"OPENAI_BASE_URL": provider.openai_url, "CHAT_MODELS": "openai:gpt-test"}
        with (
            serve_new_site("daphne", tmp_path, **environment) as (server, token),
            Nginx(tmp_path, [server.port]) as nginx,
        ):
            headers = {"authorization": f"Bearer {token}", "accept": "application/x-ndjson"}
            with httpx2.Client(base_url=nginx.url, verify=nginx.tls, headers=headers, timeout=60) as client:
                conversation = client.post("/api/conversations/").json()["id"]
                path = f"/api/conversations/{conversation}/messages/"
                text = ""
                with client.stream("POST", path, json={"content": "Hello"}) as response:
                    for line in response.iter_lines():
                        text += json.loads(line).get("content", "") if line else ""
                        if text == "One two ":
                            provider.release()
                assert text == "One two three four"


def test_nginx_does_not_cut_a_model_that_thinks(tmp_path: Path) -> None:
    """The silence is longer than two timeouts. Heartbeats keep the stream: one every 15 s, with a timeout of 60."""
    with ProviderServer.run_in_thread() as provider:
        provider.script = Script(text="At last.", stall_after=0, stall_for=5, ping_interval=0.2)
        environment = {"OPENAI_BASE_URL": provider.openai_url, "CHAT_MODELS": "openai:gpt-test"}
        # A notice of the silence would keep the stream too.
        environment |= {"CHAT_HEARTBEAT": "0.2", "CHAT_IDLE_NOTICE": "60"}
        with (
            serve_new_site("daphne", tmp_path, **environment) as (server, token),
            Nginx(tmp_path, [server.port], read_timeout=2) as nginx,
        ):
            headers = {"authorization": f"Bearer {token}", "accept": "application/x-ndjson"}
            with httpx2.Client(base_url=nginx.url, verify=nginx.tls, headers=headers, timeout=60) as client:
                conversation = client.post("/api/conversations/").json()["id"]
                path = f"/api/conversations/{conversation}/messages/"
                with client.stream("POST", f"{path}?ping=1", json={"content": "Hello"}) as response:
                    events = [json.loads(line) for line in response.iter_lines() if line]
    assert "".join(event.get("content", "") for event in events) == "At last."
    assert events[-1]["type"] == "done"


def test_no_timeout_is_shorter_than_what_it_waits_for(settings: Settings) -> None:
    text = CONFIGURATION.read_text()
    waits = [int(seconds) for seconds in re.findall(r"proxy_read_timeout (\d+)s;", text)]
    assert min(waits) >= 3 * settings.CHAT_HEARTBEAT
    # A program that asks for plain JSON hears nothing before the end, which may take that long twice: until the answer
    # begins, and until it ends. An idle socket may be silent as long.
    for location in ("/api/", "/ws/chat/"):
        block = text.split(f"location {location} {{")[1].split("}")[0]
        [wait] = re.findall(r"proxy_read_timeout (\d+)s;", block)
        assert int(wait) > 2 * settings.CHAT_TOTAL_TIMEOUT


# nginx: a process that is gone


def test_a_dead_process_is_passed_over(tmp_path: Path) -> None:
    upstream = Upstream()
    with run_nginx(tmp_path, [upstream], dead=[find_free_port()]) as (_, client):
        statuses = [client.post("/send/", content=b"x").status_code for _ in range(10)]
        statuses += [client.get("/").status_code for _ in range(10)]
    assert set(statuses) == {200}
    assert len(upstream.requests) == 20


def test_a_post_that_a_process_has_read_is_never_sent_again(tmp_path: Path) -> None:
    broken, sound = Upstream(Handler.hang_up), Upstream()
    with run_nginx(tmp_path, [broken, sound]) as (_, client):
        statuses = [client.post(f"/send/?{number}").status_code for number in range(10)]
    assert set(statuses) == {200, 502}
    arrived = [path for upstream in (broken, sound) for _, path, *_ in upstream.requests]
    assert sorted(arrived) == [f"/send/?{number}" for number in range(10)]


def test_a_get_that_a_process_has_lost_is_sent_to_another(tmp_path: Path) -> None:
    broken, sound = Upstream(Handler.hang_up), Upstream()
    with run_nginx(tmp_path, [broken, sound]) as (_, client):
        assert {client.get("/").status_code for _ in range(10)} == {200}
    assert broken.requests


QUESTIONS = ["/send/", "/answers/1/retry/", "/api/conversations/1/messages/"]


@pytest.mark.parametrize("path", QUESTIONS)
def test_a_question_that_a_process_refuses_is_taken_to_another(tmp_path: Path, path: str) -> None:
    draining, sound = Upstream(Handler.refuse_while_draining), Upstream()
    with run_nginx(tmp_path, [draining, sound]) as (_, client):
        responses = [client.post(path, content=b"What is a fjord?") for _ in range(10)]
    assert {response.status_code for response in responses} == {200}
    assert len(sound.requests) == 10
    assert draining.requests
    assert {(method, length) for method, _, _, length in sound.requests} == {("POST", 16)}


@pytest.mark.parametrize("path", QUESTIONS)
def test_a_request_that_all_processes_refuse_is_told_when_to_come_back(tmp_path: Path, path: str) -> None:
    full = [Upstream(Handler.refuse_while_draining), Upstream(Handler.refuse_while_draining)]
    with run_nginx(tmp_path, full) as (_, client):
        response = client.post(path)
    assert (response.status_code, response.text) == (503, PAGE)
    assert response.headers["retry-after"] == "7"
    assert sum(len(upstream.requests) for upstream in full) == 2


def test_two_processes_with_room_for_one_answer_each_take_two(tmp_path: Path) -> None:
    with ProviderServer.run_in_thread() as provider:
        provider.script = Script(gate_after=0)
        environment = {
            "OPENAI_BASE_URL": provider.openai_url,
            "CHAT_MODELS": "openai:gpt-test",
            "CHAT_LIVE_ANSWERS": "1",
            "CHAT_WAITING_ANSWERS": "0",
        }
        database, token = databases.prepare_tested_database(tmp_path)
        with (
            Cluster("daphne", database, token, size=2, logs=tmp_path, **environment) as cluster,
            Nginx(tmp_path, [server.port for server in cluster.servers]) as nginx,
            httpx2.Client(base_url=nginx.url, verify=nginx.tls, timeout=60) as client,
        ):
            client.headers = {"authorization": f"Bearer {token}", "prefer": "respond-async"}
            conversations = [client.post("/api/conversations/").json()["id"] for _ in range(3)]
            paths = [f"/api/conversations/{conversation}/messages/" for conversation in conversations]
            responses = []
            for path in paths:
                responses.append(client.post(path, json={"content": "Hello"}))
                client.get("/healthz")  # so that taking turns would bring the next question to the same process
        assert [response.status_code for response in responses] == [202, 202, 503]
        assert responses[2].json()["error"]["code"] == "overloaded"
        assert int(responses[2].headers["retry-after"]) > 0


def test_the_site_is_back_soon_after_all_its_processes_were_gone(tmp_path: Path) -> None:
    upstream = Upstream(Handler.hang_up)
    other = Upstream(Handler.hang_up)
    with run_nginx(tmp_path, [upstream, other]) as (_, client):
        assert client.get("/").status_code == 502
        upstream.mood = other.mood = Handler.send_page
        threading.Event().wait(2)
        assert client.get("/").status_code == 200


# nginx: static files


def test_collected_files_are_served_by_nginx_and_the_others_by_the_site(tmp_path: Path) -> None:
    for place in ("chat", "0123456789ab/chat"):
        (tmp_path / "collected" / place).mkdir(parents=True)
        (tmp_path / "collected" / place / "chat.css").write_text("p { color: red }")
    upstream = Upstream()
    with run_nginx(tmp_path, [upstream], staticfiles=tmp_path / "collected") as (_, client):
        found = client.get("/static/chat/chat.css")
        assert (found.text, found.headers["content-type"]) == ("p { color: red }", "text/css; charset=utf-8")
        assert found.headers["cache-control"] == "max-age=60"
        kept = client.get("/static/0123456789ab/chat/chat.css")
        assert (kept.text, kept.headers["cache-control"]) == (found.text, "public, max-age=31536000, immutable")
        assert client.get("/static/chat/other.css").text == PAGE
    assert [path for _, path, *_ in upstream.requests] == ["/static/chat/other.css?exact"]


def test_a_file_of_another_release_comes_from_the_process_that_has_it(tmp_path: Path) -> None:
    """During a restart one process knows the old files and the other the new ones; a third request asks for any."""
    old, new = Upstream(Handler.has_no_such_release), Upstream()
    with run_nginx(tmp_path, [old, new]) as (_, client):
        for _turn in range(2):
            assert client.get("/static/0123456789ab/chat/chat.css").status_code == 200
    assert {path for _, path, *_ in new.requests} == {"/static/0123456789ab/chat/chat.css?exact"}
    assert len(new.requests) == 2
    with run_nginx(tmp_path, [alone := Upstream(Handler.has_no_such_release)]) as (_, client):
        assert client.get("/static/0123456789ab/chat/chat.css").text == PAGE
    assert [path.partition("?")[2] for _, path, *_ in alone.requests] == ["exact", ""]


# compose.yaml


@pytest.fixture
def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
    return found


@pytest.fixture
def services(compose: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = compose["services"]
    return found


def parse_seconds(value: str) -> float:
    return float(value.removesuffix("s"))


def test_compose_runs_two_processes_a_migration_and_what_they_need(services: dict[str, Any]) -> None:
    assert set(services) == {"migrate", "site-1", "site-2", "postgres", "redis", "nginx"}
    assert services["migrate"]["command"] == ["python", "manage.py", "migrate", "--noinput"]
    assert services["migrate"]["restart"] == "no"
    for name in ("site-1", "site-2"):
        needs = {service: need["condition"] for service, need in services[name]["depends_on"].items()}
        assert needs == {
            "migrate": "service_completed_successfully",
            "postgres": "service_healthy",
            "redis": "service_started",
        }
        assert "command" not in services[name], "the image's own command gets SIGTERM"
    assert {need["condition"] for need in services["nginx"]["depends_on"].values()} == {"service_healthy"}


def test_compose_gives_the_answers_time_to_drain(services: dict[str, Any], settings: Settings) -> None:
    for name in ("site-1", "site-2"):
        assert parse_seconds(services[name]["stop_grace_period"]) >= settings.CHAT_DRAIN + 5


def test_compose_checks_every_service_that_stays(services: dict[str, Any]) -> None:
    for name in ("postgres", "redis", "nginx"):
        assert services[name]["healthcheck"]["test"][0] == "CMD"
    assert services["nginx"]["healthcheck"]["test"][-1].endswith("/healthz")
    for name in ("site-1", "site-2"):
        assert "healthcheck" not in services[name], "the image's own check is of the process itself"
    assert {name for name, service in services.items() if "ports" in service} == {"nginx"}


def test_compose_holds_no_secret_and_refuses_to_start_without_them(services: dict[str, Any]) -> None:
    for service in services.values():
        for name, value in service.get("environment", {}).items():
            assert not re.search("KEY|PASSWORD", name) or re.fullmatch(r"\$\{\w+:\?[^}]*\}", value), name
            assert "@" not in value or re.search(r":\$\{POSTGRES_PASSWORD:\?[^}]*\}@", value), name
    assert {service["env_file"] for service in services.values() if "env_file" in service} == {".env"}


def test_compose_gives_nginx_the_addresses_of_its_processes(services: dict[str, Any], compose: dict[str, Any]) -> None:
    script = services["nginx"]["command"][-1]
    [edits] = re.findall(r"^sed (.*?) /etc/chatsite/nginx.conf >", script)
    edited = subprocess.run(
        ["sh", "-c", f"sed {edits} {CONFIGURATION}"], check=True, capture_output=True, text=True, timeout=PATIENCE
    ).stdout
    addresses = [services[name]["networks"]["default"]["ipv4_address"] for name in ("site-1", "site-2")]
    assert re.findall(r"^ +server ([\d.:]+) ", edited, re.MULTILINE) == [f"{address}:8000" for address in addresses]
    subnet = compose["networks"]["default"]["ipam"]["config"][0]["subnet"]
    assert all(address.startswith(subnet.removesuffix("0/24")) for address in addresses)


def test_the_example_of_an_environment_has_no_secret_and_only_settings_that_are_explained() -> None:
    lines = (DEPLOY / ".env.example").read_text().splitlines()
    given = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    explained = (ROOT / "docs" / "configuration.md").read_text()
    assert {name for name in given if f"| `{name}`" not in explained} == {"POSTGRES_PASSWORD"}
    assert {name for name, value in given.items() if value} == {"ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS"}


# The image


def find_instructions(name: str) -> list[str]:
    """Return the Dockerfile's instructions of one kind, continued lines joined."""
    text = re.sub(r"\\\n\s*", "", (DEPLOY / "Dockerfile").read_text())
    return re.findall(rf"^{name} (.*)", text, re.MULTILINE)


def test_the_image_runs_the_server_itself_so_that_sigterm_reaches_it() -> None:
    [command] = find_instructions("CMD")
    assert json.loads(command)[0] == "daphne"
    assert find_instructions("ENTRYPOINT") == []


def test_the_image_runs_as_nobody_special() -> None:
    [user] = find_instructions("USER")
    assert int(user.split(":")[0]) > 0


def test_the_image_installs_nothing_unpinned_and_compiles_nothing() -> None:
    installs = [line for line in find_instructions("RUN") if " install " in line]
    assert installs
    for line in installs:
        assert "--require-hashes" in line
        assert "--only-binary :all:" in line


def test_the_image_asks_its_own_process_for_its_health() -> None:
    [check] = find_instructions("HEALTHCHECK")
    command = json.loads(check.partition("CMD ")[2])
    assert command[0] == "python"
    assert "http://127.0.0.1:8000/healthz" in command[-1]


def test_no_secret_and_no_database_gets_into_the_image() -> None:
    ignored = set((ROOT / ".dockerignore").read_text().splitlines())
    assert ignored >= {".git", ".venv", "deploy", "**/.env", "**/.secret_key*", "**/*.sqlite3", "**/*.sqlite3-*"}


# The unit


def read_unit() -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read(DEPLOY / "chatsite@.service")
    return parser


def test_the_unit_gives_the_answers_time_to_drain(settings: Settings) -> None:
    service = read_unit()["Service"]
    assert service["KillSignal"] == "SIGTERM"
    assert float(service["TimeoutStopSec"]) >= settings.CHAT_DRAIN + 5
    assert service["Restart"] == "always"


def test_the_unit_runs_one_process_for_each_port_without_privileges() -> None:
    service = read_unit()["Service"]
    assert "--port %i" in service["ExecStart"]
    assert (service["User"], service["NoNewPrivileges"], service["CapabilityBoundingSet"]) == ("chatsite", "yes", "")
    assert service["ProtectSystem"] == "strict"
    assert service["Environment"] == "CHAT_EXCHANGE_DIRECTORY=/var/lib/chatsite/exchange", "secrets come from a file"


def test_systemd_accepts_the_unit(tmp_path: Path) -> None:
    """Where there is no systemd, the facts above are what can be checked."""
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        return
    text = (DEPLOY / "chatsite@.service").read_text()
    copy = tmp_path / "chatsite@8000.service"
    copy.write_text(text.replace("/srv/chatsite/.venv/bin/daphne", "/bin/true").replace("/srv/chatsite", str(ROOT)))
    ended = subprocess.run([analyze, "verify", copy], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
