"""Python processes that start at once: forked from one that has imported what they need, which takes most of a start.

What runs is what `python -m MODULE` would run: the module anew, as `__main__`, with the caller's folder, environment
and arguments. Only what it imports is there already, this repository's own modules included.
"""

import atexit
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 300  # seconds
SERVER = """
import importlib, json, os, resource, runpy, signal, sys
longest = int(sys.argv.pop(1))

def address_space():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")

for name in sys.argv[1:]:
    importlib.import_module(name)
idle = os.fork()
if not idle:
    os._exit(0)
idle = os.wait4(idle, 0)[2].ru_maxrss
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(job.get("seconds", longest))
        if "memory" in job:
            resource.setrlimit(resource.RLIMIT_AS, (address_space() + job["memory"],) * 2)
        if "processor" in job:
            resource.setrlimit(resource.RLIMIT_CPU, (job["processor"],) * 2)
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["environment"])
        for number, name in ((0, job["stdin"]), (1, job["stdout"]), (2, job["stderr"])):
            file = os.open(name, os.O_RDONLY if number == 0 else os.O_WRONLY)
            os.dup2(file, number)
            os.close(file)
        sys.argv = [job["module"], *job["arguments"]]
        sys.modules.pop(job["module"], None)
        status = 0
        try:
            runpy.run_module(job["module"], run_name="__main__", alter_sys=True)
        except SystemExit as left:
            status = left.code if isinstance(left.code, int) else int(left.code is not None)
            if isinstance(left.code, str):
                print(left.code, file=sys.stderr)
        except BaseException:
            sys.excepthook(*sys.exc_info())
            status = 1
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)
    _, status, usage = os.wait4(child, 0)
    figures = 1024 * (usage.ru_maxrss - idle), usage.ru_utime + usage.ru_stime
    print(json.dumps([os.waitstatus_to_exitcode(status), *figures]), flush=True)
"""


class Done(subprocess.CompletedProcess[str]):
    """A process that has ended.

    Attributes
    ----------
    grown : int
        Bytes by which its memory was larger at its largest than that of the process it was forked from.
    processor : float
        Seconds of the processor's that it took.
    """

    grown: int = 0
    processor: float = 0.0


class Warm:
    """Starter of processes.

    Parameters
    ----------
    *imports : str
        Modules that its processes find imported.
    flags : sequence of str
        The interpreter's own.
    """

    def __init__(self, *imports: str, flags: tuple[str, ...] = ()) -> None:
        self._command = [sys.executable, *flags, "-c", SERVER, str(LONGEST), *imports]
        self._server: subprocess.Popen[str] | None = None

    def run(
        self,
        module: str,
        *arguments: str,
        cwd: Path,
        environment: dict[str, str],
        stdin: str | Path = os.devnull,
        **limits: int,
    ) -> "Done":
        """Run a module to its end, which is that of a signal after `LONGEST` seconds.

        Limits are `seconds` instead of these, `processor`, seconds of the processor's, and `memory`, bytes of address
        space beyond what it begins with.
        """
        if self._server is None:
            # With the first one's environment: what reads its user's settings on import finds none, as in every test.
            self._server = subprocess.Popen(
                self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, text=True, env=environment
            )
            atexit.register(self._stop)
        with tempfile.TemporaryDirectory() as folder:
            files = {name: Path(folder) / name for name in ("stdout", "stderr")}
            for file in files.values():
                file.touch()
            job = {"module": module, "arguments": arguments, "cwd": str(cwd), "environment": environment} | limits
            job["stdin"] = str(stdin)
            print(
                json.dumps(job | {name: str(file) for name, file in files.items()}), file=self._server.stdin, flush=True
            )
            answer = self._server.stdout.readline()
            if not answer:
                raise RuntimeError(f"the process that others are forked from ended with {self._server.wait()}")
            status, grown, processor = json.loads(answer)
            texts = [file.read_text(encoding="utf-8", errors="replace") for file in files.values()]
        done = Done([module, *arguments], status, *texts)
        done.grown, done.processor = grown, processor
        return done

    def _stop(self) -> None:
        self._server.communicate()  # it ends with its input
