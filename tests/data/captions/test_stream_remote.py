"""Shards behind commands and URLs: read like files, tried again where they break off, named."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from tests.data.captions.shard_files import write_shards

from vilseg_data import ShardStream
from vilseg_data.captions.locations import shard_name


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Uneven shards of 17 samples with 3 captions each."""
    return write_shards(tmp_path_factory.mktemp("shards"), [4, 0, 7, 1, 5], captions=3)


def test_a_pipe_is_read_like_a_file(shards: Path) -> None:
    paths = [str(shards / f"{k:05d}.tar") for k in range(5)]
    pipes = [f"pipe:cat {path}" for path in paths]
    files, piped = (ShardStream(places, seed=3, shuffle=4) for places in (paths, pipes))
    assert [(s.image, s.caption) for s in files] == [(s.image, s.caption) for s in piped]
    assert piped.broken == []


def test_a_pipe_that_fails_is_tried_again_and_named(shards: Path, tmp_path: Path) -> None:
    tar, log = shards / "00002.tar", tmp_path / "log"
    command = f"pipe:echo x >> {log}; head -c 4000 {tar}; exit 3"
    stream = ShardStream([command, str(shards / "00000.tar")], seed=0, pause=0.0, tries=4)
    got = {int(sample.key[-5:]) for sample in stream}
    # 4000 bytes are the first sample and the beginning of the second.
    assert got == {0, 1, 2, 3, 4}
    # A program that is gone before it is read from gives no sample: such a try comes on top.
    assert log.read_text().count("x") >= 4
    (broken,) = stream.broken
    assert broken.key == "00002.tar"
    assert broken.reason == "not readable from sample 1 on, 4 tries: its program gave exit 3"
    assert stream.damaged_shards == 1


class _Server(BaseHTTPRequestHandler):
    folder: Path
    asked: list[str]

    def do_GET(self) -> None:
        name = self.path.strip("/").split("?")[0]
        self.asked.append(name)
        file = self.folder / name
        if not file.is_file():
            self.send_error(404)
            return
        data = file.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        # The first answer for this shard breaks off in the middle.
        broken_off = name == "00002.tar" and self.asked.count(name) == 1
        self.wfile.write(data[: len(data) // 2] if broken_off else data)

    def log_message(self, format: str, *args: object) -> None:
        del format, args


@pytest.fixture
def server(shards: Path) -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (_Server,), {"folder": shards, "asked": asked})
    with HTTPServer(("127.0.0.1", 0), handler) as http:
        thread = threading.Thread(target=http.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()
        thread.join()


def test_http(server: tuple[str, list[str]]) -> None:
    url, asked = server
    stream = ShardStream(f"{url}/{{00000..00004}}.tar?v=1", seed=0, pause=0.0)
    assert sorted(int(sample.key[-5:]) for sample in stream) == list(range(17))
    assert stream.broken == []
    assert asked.count("00002.tar") == 2


def test_http_that_fails_is_counted_and_named(server: tuple[str, list[str]]) -> None:
    url, asked = server
    stream = ShardStream([f"{url}/00000.tar", f"{url}/gone.tar"], seed=0, pause=0.0, tries=2)
    assert sorted(int(sample.key[-5:]) for sample in stream) == [0, 1, 2, 3]
    assert asked.count("gone.tar") == 2
    (broken,) = stream.broken
    assert (broken.key, stream.damaged_shards) == ("gone.tar", 1)
    assert broken.reason == (
        "not readable from sample 0 on, 2 tries: its program gave exit 22 "
        "(curl: refused, or no such file)"
    )


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("d/00000.tar", "00000.tar"),
        ("https://host/a/00000.tar?key=x.tar", "00000.tar"),
        ("pipe:aws s3 cp 's3://b/00001.tar' -", "00001.tar"),
        ("pipe:make-one", "pipe:make-one"),
    ],
)
def test_names_of_shards(location: str, name: str) -> None:
    assert shard_name(location) == name
