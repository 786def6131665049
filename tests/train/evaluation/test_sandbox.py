"""Generated code that misbehaves: it passes no test, reaches nothing, and ends within the time limit."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
import time
from pathlib import Path

import pytest

from train.evaluation import isolation
from train.evaluation.sandbox import Limits, check

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the sandbox needs Linux")
LIMITS = Limits(seconds=5, cpu_seconds=2)
EVERY_LAYER = (isolation.NAMESPACES, isolation.READ_ONLY, isolation.LANDLOCK, isolation.CAPABILITIES, isolation.SECCOMP)
TESTS = "assert f(2) == 4\nassert f(3) == 9"
RIGHT = "def f(x): return x * x\n"


def outcome(source, tests=TESTS, limits=LIMITS, **more):
    began = time.monotonic()
    found = check(source, tests, limits=limits, **more)
    assert time.monotonic() - began < limits.seconds + 2, "it outlived its time"
    return found


def test_right_and_wrong_answers():
    found = outcome(RIGHT)
    assert (found.status, found.open_to) == ("passed", ())
    assert outcome("def f(x): return x + x\n").status == "failed"
    assert outcome("def f(x): return x / 0\n").status == "error"
    assert "SyntaxError" in outcome("def f(x) return x\n").detail
    assert "NameError" in outcome("def f(x): return g(x)\n").detail
    assert "AttributeError" in outcome("def g(x): return x\n").detail


def test_every_layer_of_this_kernel():
    """Linux 6 with user namespaces has all; a container that forbids some says so in `held`, and the other tests here still hold."""
    found = outcome(RIGHT)
    if isolation.NAMESPACES not in found.held:
        pytest.skip("this machine forbids user namespaces: run where `unshare -rn true` works")
    assert found.held == EVERY_LAYER


CHEATS = {
    "exit before the asserts": "import sys\n" + RIGHT + "sys.exit(0)",
    "exit in the function": "import sys\ndef f(x): sys.exit(0)",
    "os._exit": "import os\ndef f(x): os._exit(0)",
    "patched abs": "import builtins\nbuiltins.abs = lambda x: 0\nbuiltins.__dict__['AssertionError'] = None\ndef f(x): return 0.0",
    "equal to all": "class A:\n  def __eq__(self, o): return True\n  def __bool__(self): return True\ndef f(x): return A()",
    "int equal to all": "class A(int):\n  def __eq__(self, o): return True\n  __hash__ = int.__hash__\ndef f(x): return A(7)",
    "list equal to all": "class A(list):\n  def __eq__(self, o): return True\n  def __getitem__(self, i): return 4\ndef f(x): return A()",
    "forged verdicts": (
        'import os\nfor fd in range(3, 64):\n  try: os.write(fd, b\'{"status": "passed", "detail": ""}\\n\' * 9)\n'
        "  except OSError: pass\ndef f(x): return 0"
    ),
    "looks for the tests": (
        "import gc, sys\ndef f(x):\n  for o in gc.get_objects():\n    if isinstance(o, dict) and 'tests' in o: return 4 if x == 2 else 9\n"
        "  return 0"
    ),
    "exit code": "import atexit, os\natexit.register(lambda: os._exit(0))\ndef f(x): raise SystemExit(0)",
    "a tracer": "import sys\nsys.settrace(lambda *a: None)\nimport os\ndef f(x):\n  os.close(1); raise KeyboardInterrupt",
}


@pytest.mark.parametrize("name", CHEATS)
def test_no_cheat_passes(name):
    assert outcome(CHEATS[name]).status in ("failed", "error", "died")
    assert outcome(CHEATS[name], "assert abs(f(2) - 4) < 1e-6").status in ("failed", "error", "died")
    assert outcome(CHEATS[name], "assert f(2)\nassert f(3) == 9").status in ("failed", "error", "died")


def test_loops_end_with_the_processor_or_the_clock():
    assert outcome("while True: pass").status == "timeout"
    assert outcome("def f(x):\n  while True: pass").status == "timeout"
    slept = outcome("import time\ndef f(x): time.sleep(60)", limits=Limits(seconds=1.5))
    assert slept.status == "timeout" and slept.seconds < 2.5
    assert outcome("import signal\nsignal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile True: pass").status in ("timeout", "died")


def test_memory_is_limited():
    assert "MemoryError" in outcome("def f(x): return bytearray(10 << 30)").detail
    assert outcome("def f(x):\n  a = []\n  while True: a.append(bytearray(1 << 24))").detail.startswith("MemoryError")


def test_output_of_a_gigabyte_goes_nowhere():
    print_all = "import sys\nfor _ in range(1024): sys.stdout.write('x' * (1 << 20))\n" + RIGHT
    assert outcome(print_all, limits=Limits(seconds=8)).passed


FORKS = {
    "bomb": "import os\nwhile True:\n  try: os.fork()\n  except OSError: break\nraise RuntimeError('no more')",
    "subprocess": "import subprocess\nsubprocess.run(['/bin/true'])",
    "multiprocessing": "import multiprocessing as m\nm.Process(target=print).start()",
    "daemon": "import os\nif os.fork() == 0:\n  os.setsid()\n  while True: pass",
    "execv": "import os, sys\nos.execv(sys.executable, ['python', '-c', 'while True: pass'])",
}


@pytest.mark.parametrize("name", FORKS)
def test_processes_are_neither_made_nor_left(name):
    assert outcome(FORKS[name] + "\n" + RIGHT).status in ("error", "died", "timeout")
    assert _sandboxed() == []


def _sandboxed() -> list[str]:
    """Processes of the sandbox that this process started and that are still there."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
                parent = (folder / "stat").read_text().rsplit(")", 1)[1].split()[1]
            except OSError:
                continue
            if b"evaluation/child.py" in line and parent in (str(os.getpid()), "1"):
                found.append(line.decode())
    return found


def test_the_parent_lives(tmp_path):
    source = "import os, signal\nfor pid in (os.getppid(), %d, -1, 0, 1):\n  try: os.kill(pid, signal.SIGKILL)\n  except OSError: pass\n"
    assert outcome(source % os.getpid() + RIGHT).status in ("passed", "died")
    trace = "import ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nassert libc.ptrace(16, %d, 0, 0) == -1 and ctypes.get_errno() == 1\n"
    assert outcome(trace % os.getpid() + RIGHT).passed
    limit = (
        "import resource\ntry: resource.prlimit(%d, resource.RLIMIT_CPU, (1, 1))\nexcept OSError: pass\nelse: raise SystemError\n"
    )
    assert outcome(limit % os.getpid() + RIGHT).passed


def test_nothing_is_written_outside(tmp_path):
    target = tmp_path / "escaped"
    before = sorted(tmp_path.iterdir())
    for place in (
        target,
        Path("/tmp/veski_escaped"),
        Path("/dev/shm/veski_escaped"),
        Path.home() / "veski_escaped",
        Path("/veski_escaped"),
    ):
        source = f"def f(x):\n  open({str(place)!r}, 'w').write('x')\n  return x * x"
        assert outcome(source).status == "error"
        assert not place.exists()
    assert sorted(tmp_path.iterdir()) == before


def test_own_folder_is_small_and_goes_away():
    ok = "import os\ndef f(x):\n  open('a', 'w').write('xyz')\n  assert os.listdir('.') == ['a']\n  return len(open('a').read()) + x * x - 3"
    assert outcome(ok).passed
    big = "def f(x): open('a', 'wb').write(bytes(1 << 21))\n"  # more than file_bytes
    assert outcome(big).status in ("error", "died")
    many = "def f(x):\n  for i in range(100): open(str(i), 'wb').write(bytes(1 << 20))\n  return x * x"
    if isolation.READ_ONLY in outcome(RIGHT).held:
        assert "No space left" in outcome(many).detail


def test_files_of_others_are_not_read(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("4")
    found = outcome(f"def f(x): return int(open({str(secret)!r}).read())")
    if isolation.LANDLOCK not in found.held:
        pytest.skip("this kernel has no Landlock: Linux 5.13 and later")
    assert "PermissionError" in found.detail


def test_no_environment_and_no_descriptors(monkeypatch, tmp_path):
    monkeypatch.setenv("VESKI_SECRET", "hunter2")
    file = open(tmp_path / "open", "w")
    os.set_inheritable(file.fileno(), True)
    source = (
        "import os\nn = 0\nfor fd in range(64):\n  try: os.fstat(fd); n += 1\n  except OSError: pass\n"
        "assert 'VESKI_SECRET' not in os.environ, os.environ\nassert n == 5, n  # null three times, two pipes\n"
    )
    assert outcome(source + RIGHT).passed, outcome(source + RIGHT)
    file.close()


def test_no_network():
    server = socket.create_server(("127.0.0.1", 0))
    called = []

    def accept():
        with contextlib.suppress(OSError):
            called.append(server.accept())

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    port = server.getsockname()[1]
    source = f"import socket\ndef f(x):\n  socket.create_connection(('127.0.0.1', {port}), timeout=2)\n  return x * x"
    assert outcome(source).status == "error"
    udp = "import socket\ndef f(x):\n  socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', 9))\n  return x * x"
    assert outcome(udp).status == "error"
    server.close()
    thread.join(timeout=5)
    assert called == []


LAYERS = {
    "namespaces": "isolation.libc.unshare = lambda flags: -1",
    "read-only files": "isolation.read_only = lambda *a: False",
    "landlock": "isolation.landlock = lambda *a: False",
    "seccomp": "isolation.seccomp = lambda: False",
}


@pytest.mark.parametrize("missing", LAYERS)
def test_one_layer_less_still_holds(missing, tmp_path, monkeypatch):
    """A container may forbid any one of the layers: what it closed is closed by another, and `held` says what is left."""
    broken = _copy_without(tmp_path, LAYERS[missing])
    monkeypatch.setattr("train.evaluation.sandbox.__file__", str(broken / "sandbox.py"))
    found = outcome(RIGHT)
    assert found.passed and missing not in found.held and found.open_to == ()
    kill = f"import os\ntry: os.kill({os.getpid()}, 9)\nexcept OSError: pass\n" + RIGHT
    assert outcome(kill).passed
    for source in (
        "import socket\ndef f(x):\n  socket.create_connection(('127.0.0.1', 9), timeout=1)",
        f"def f(x): open({str(tmp_path / 'escaped')!r}, 'w')",
        "def f(x):\n  while True: pass",
    ):
        assert outcome(source).status in ("error", "timeout")
    assert not (tmp_path / "escaped").exists()
    assert outcome(FORKS["daemon"] + "\n" + RIGHT, limits=Limits(seconds=2)).status in ("passed", "error", "timeout")
    time.sleep(0.1)
    assert _sandboxed() == []


def _copy_without(folder: Path, patch: str) -> Path:
    """The child's modules with one layer taken out."""
    import train.evaluation.child as child

    package = folder / "train" / "evaluation"
    package.mkdir(parents=True)
    (folder / "train" / "__init__.py").write_text("")
    (package / "__init__.py").write_text("")
    source = Path(child.__file__).parent
    for name in ("isolation.py", "values.py"):
        (package / name).write_text((source / name).read_text())
    text = (source / "child.py").read_text()
    (package / "child.py").write_text(text.replace("    del sys.path[0]\n", f"    del sys.path[0]\n    {patch}\n"))
    return package


def test_a_machine_that_closes_nothing_says_so(tmp_path, monkeypatch):
    broken = _copy_without(tmp_path, "isolation.confine = lambda folder, readable, disk, limit: (limit(), [])[1]")
    monkeypatch.setattr("train.evaluation.sandbox.__file__", str(broken / "sandbox.py"))
    assert outcome(RIGHT).open_to == ("network", "files", "processes")


def test_values_cross_as_they_are():
    given = [
        None, True, 1, -(10**5000), 1.5, float("inf"), 1 + 2j, "õäöü\ud800", b"\x00", [1, (2, {3: "x"})], {1, 2}, frozenset({1}),
        {"a": [None], (1, 2): 3}, range(3),
    ]  # fmt: skip
    tests = "\n".join(f"assert f({value!r}) == {value!r} and type(f({value!r})) is type({value!r})" for value in given if value != given[3]
                      and value != float("inf"))  # fmt: skip
    assert outcome("def f(x): return x", tests).passed
    assert outcome("def f(x): return x", "inf = float('inf')\nassert f(inf) == inf\nassert f(-10**5000) == -10**5000").passed
    assert outcome("import collections\ndef f(x): return collections.Counter(x)", "assert f('aab') == {'a': 2, 'b': 1}").passed
    assert outcome("def f(x): return (y for y in x)", "assert list(f([1, 2])) == [1, 2]").passed
    pair = "class Pair:\n  def __init__(s, a, b): s.a, s.b = a, b\ndef f(ps): return sum(p.a for p in ps)"
    assert outcome(pair, "assert f([Pair(1, 2), Pair(3, 4)]) == 4\nassert Pair(5, 6).a == 5").passed
    assert outcome("def f(x): raise ValueError('no')", "try:\n  f(1)\nexcept ValueError:\n  pass\nelse:\n  assert False").passed


def test_garbage_on_the_pipe_is_an_error():
    for line in (
        "b'{}\\n'",
        "b'[]\\n'",
        'b\'{"value": {"list": 3}}\\n\'',
        "b'x' * (1 << 25)",
        'b\'{"value": {"nothing": 1}}\\n\'',
    ):
        source = f"import os\ndef f(x):\n  for fd in range(3, 64):\n    try: os.write(fd, {line})\n    except OSError: pass\n  return 4"
        assert outcome(source, "assert f(2) == 4").status in ("error", "failed", "died", "timeout")


def test_a_bootstrap_that_fails_is_ours(tmp_path, monkeypatch):
    (tmp_path / "child.py").write_text("raise OSError('broken')")
    monkeypatch.setattr("train.evaluation.sandbox.__file__", str(tmp_path / "sandbox.py"))
    with pytest.raises(RuntimeError, match=r"(?s)did not start.*broken"):
        check(RIGHT, TESTS)


def test_messages_are_json_of_one_line():
    from train.evaluation import values

    assert json.dumps(values.encode("a\nb", lambda v: 0)) == '"a\\nb"'
