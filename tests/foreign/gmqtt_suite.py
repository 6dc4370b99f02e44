"""gmqtt's own MQTT 5 tests, taken from its source package on PyPI, one process for each test.

Nothing of them is kept in this repository: the source package of the installed version is
fetched into `--scratch` and its tests run against the installed gmqtt.
"""

import ast
import concurrent.futures
import glob
import importlib.metadata
import os
import pathlib
import subprocess
import sys
import tarfile
import tempfile

from checks import Checks, parser

SKIPPED = {
    "test_assigned_clientid": "gmqtt sends an identifier of its own, so none is ever assigned",
    "test_basic_ssl": "wants TLS on the fixed port 8883, with a certificate the system trusts",
}

# Each test takes 5 to 13 s, nearly all of it asleep; one that waits for ever is cut off here.
TEST_LIMIT_S = 60
AT_A_TIME = 4


def source_package(scratch):
    """The sdist of the gmqtt that is installed, fetched unless it is already there."""
    version = importlib.metadata.version("gmqtt")
    wanted = os.path.join(scratch, f"gmqtt-{version}.tar.gz")
    if not os.path.exists(wanted):
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        fetch += ["--disable-pip-version-check", "--no-binary", ":all:", f"gmqtt=={version}"]
        subprocess.run([*fetch, "--dest", scratch], check=True, timeout=120)
    return wanted


def extract_tests(package, folder):
    """Its `tests` package alone, so that `import gmqtt` finds the installed one."""
    with tarfile.open(package) as archive:
        for member in archive.getmembers():
            parts = pathlib.PurePosixPath(member.name).parts
            if member.isfile() and len(parts) == 3 and parts[1] == "tests":
                target = pathlib.Path(folder, "tests", parts[2])
                target.parent.mkdir(exist_ok=True)
                target.write_bytes(archive.extractfile(member).read())
    found = glob.glob(os.path.join(folder, "tests", "test_mqtt5.py"))
    if not found:
        raise SystemExit(f"{package} holds no tests/test_mqtt5.py")
    return pathlib.Path(found[0])


def test_names(source):
    functions = (node for node in ast.parse(source.read_text()).body if hasattr(node, "name"))
    return [node.name for node in functions if node.name.startswith("test_")]


def run_test(folder, name, args):
    """None if it passed, else the reason."""
    environment = {**os.environ, "HOST": args.host, "PORT": str(args.port)}
    for other_broker in ("TOKEN", "USERNAME", "PASSWORD"):
        environment.pop(other_broker, None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    command.append(f"tests/test_mqtt5.py::{name}")
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=TEST_LIMIT_S,
        )
    except subprocess.TimeoutExpired:
        return f"still running after {TEST_LIMIT_S} s"
    if done.returncode == 0:
        return None
    errors = [line for line in done.stdout.splitlines() if line.startswith("E  ")]
    return errors[0][1:] if errors else (done.stdout + done.stderr)[-500:]


def main():
    arguments = parser(__doc__)
    arguments.add_argument("--scratch", default=tempfile.gettempdir())
    args = arguments.parse_args()
    checks = Checks()
    os.makedirs(args.scratch, exist_ok=True)
    package = source_package(args.scratch)
    with tempfile.TemporaryDirectory(dir=args.scratch) as folder:
        found = test_names(extract_tests(package, folder))
        names = [name for name in found if name not in SKIPPED and args.only in name]
        with concurrent.futures.ThreadPoolExecutor(AT_A_TIME) as pool:
            results = pool.map(lambda name: run_test(folder, name, args), names)
            for name, reason in zip(names, results, strict=True):
                if reason is None:
                    checks.passed(name)
                else:
                    checks.failed(name, reason)
    for name, reason in SKIPPED.items():
        print(f"skipped {name}: {reason}")
    checks.finish()


if __name__ == "__main__":
    main()
