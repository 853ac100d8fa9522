"""The client as apps install it: built, in an environment without the worker, against a running worker."""

import re
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from zipfile import ZipFile

import pytest

from sandbox.everything import Sandbox, sandbox
from tests.support.distributions import Environment, built, installed
from tests.support.intake import SHOP, intake
from tests.support.processes import ROOT, worker

SOURCE = ROOT / "clients" / "python"
PACKAGE = SOURCE / "src" / "autumn_sync_client"
SAMPLES = re.findall(r"```python\n(.*?)```", (SOURCE / "README.md").read_text(encoding="utf-8"), re.DOTALL)
NAMES_OF_AN_APP = ("config", "jobs", "worker")
"""Names of the worker's packages that an app may use for its own."""
USES_ITS_OWN = """
import config, jobs.enqueue, worker
print(config.NAME, jobs.enqueue.NAME, worker.NAME)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client's wheel."""
    return built(SOURCE, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def environments(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Environment]:
    """An environment for each extra, and one without any."""
    folder = tmp_path_factory.mktemp("environments")
    return {extra: installed(wheel, [extra] if extra else [], folder / (extra or "core")) for extra in SETS}


SETS = ("", "redis", "http")


@pytest.fixture
def app(tmp_path: Path) -> Path:
    """The folder of an app whose own packages have the names of the worker's."""
    for name in NAMES_OF_AN_APP:
        package = tmp_path / name
        package.mkdir()
        (package / "__init__.py").write_text(f"NAME = 'the app: {name}'\n", encoding="utf-8")
    (tmp_path / "jobs" / "enqueue.py").write_text("NAME = 'the app: enqueue'\n", encoding="utf-8")
    return tmp_path


@pytest.fixture
async def box() -> AsyncIterator[Sandbox]:
    async with sandbox() as everything:
        everything.autumn.seed("user_42")
        yield everything


def test_wheel_has_the_package_with_its_types_and_nothing_else(wheel: Path) -> None:
    with ZipFile(wheel) as packed:
        names = packed.namelist()
        metadata = packed.read(next(name for name in names if name.endswith("/METADATA"))).decode()
    files = {name for name in names if ".dist-info/" not in name}
    assert files == {f"autumn_sync_client/{path.name}" for path in PACKAGE.iterdir() if path.is_file()}
    assert {"autumn_sync_client/py.typed", "autumn_sync_client/events.py"} <= files
    assert [name for name in names if name.endswith("LICENSE")]
    requires = re.findall(r"^Requires-Dist: (\w+)[^;\n]*(; extra == .*)?$", metadata, re.MULTILINE)
    assert requires == [
        ("pydantic", ""),
        ("redis", '; extra == "redis"'),
        ("httpx", '; extra == "http"'),
    ]


def test_license_is_the_one_of_the_worker() -> None:
    assert (SOURCE / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_wheel_of_the_worker_has_the_shared_code(tmp_path: Path) -> None:
    with ZipFile(built(ROOT, tmp_path)) as packed:
        names = set(packed.namelist())
    assert {f"autumn_sync_client/{name}" for name in ("events.py", "outcomes.py", "redis_commands.py")} <= names
    assert {"jobs/events.py", "jobs/queue/lua/settle.lua"} <= names
    assert not [name for name in names if name.startswith("clients/")]


def test_worker_in_a_checkout_finds_the_shared_code() -> None:
    # On Heroku, Render and Fly the worker is not installed, so only the root is on its path.
    assert (ROOT / "autumn_sync_client").resolve() == PACKAGE


def test_readme_has_a_sample_of_each_way() -> None:
    assert [re.findall(r"(\w+)\.over_(\w+)\(", sample) for sample in SAMPLES] == [
        [("Client", "redis")],
        [("Client", "http")],
        [("AsyncClient", "redis")],
    ]


@pytest.mark.parametrize("sample", SAMPLES, ids=["redis", "http", "asyncio"])
async def test_sample_of_the_readme_sends_an_event_that_is_applied(
    sample: str, environments: Mapping[str, Environment], box: Sandbox, app: Path
) -> None:
    extra = "http" if "over_http" in sample else "redis"
    patient = re.sub(r"wait_seconds=\d+", "wait_seconds=120", sample)
    async with worker(box.environment), intake(box.environment["REDIS_URL"]) as url:
        address = {"SYNC_URL": url, "SYNC_TOKEN": SHOP}
        variables = address if extra == "http" else {"REDIS_URL": box.environment["REDIS_URL"]}
        code, output = await environments[extra].run(
            "-W", "error", "-c", patient + USES_ITS_OWN, folder=app, environment=variables
        )
    assert code == 0, output
    assert "Outcome(status='applied', customer_id='user_42'" in output
    assert output.endswith("the app: config the app: enqueue the app: worker\n")
    assert (box.autumn.customers["user_42"]["name"] or box.autumn.customers["user_42"]["email"]).startswith(
        ("Ann", "ann")
    )


@pytest.mark.parametrize("extra", SETS)
async def test_missing_extra_is_named(extra: str, environments: Mapping[str, Environment], app: Path) -> None:
    calls = {"redis": "over_redis('redis://localhost:1/0')", "http": "over_http('http://localhost:1', 'token')"}
    for name, call in calls.items():
        for kind in ("Client", "AsyncClient"):
            program = f"import autumn_sync_client as a; a.{kind}.{call}"
            code, output = await environments[extra].run("-c", program, folder=app, environment={})
            if name == extra:
                assert (code, output) == (0, "")
            else:
                assert f"is missing: install autumn-sync-client[{name}]" in output
                assert code == 1


async def test_core_alone_validates_events(environments: Mapping[str, Environment], app: Path) -> None:
    program = """
import sys
from autumn_sync_client import EventError, new_update
try:
    new_update(customer_id="ann", changes={"emial": "x"})
except EventError as error:
    print(error)
print({"redis", "httpx", "jobs", "worker", "config"} & set(sys.modules))
"""
    code, output = await environments[""].run("-W", "error", "-c", program, folder=app, environment={})
    assert (code, output.splitlines()[-1]) == (0, "set()"), output
    assert output.startswith("changes.emial: unknown field")
