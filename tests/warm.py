"""Python processes that start at once: forked from one that has imported what they need, which takes most of a start.

What runs is what `python -m MODULE` would run: the module anew, as `__main__`, with the caller's folder, environment
and arguments. Only what it imports is there already, this repository's own modules included.
"""

import atexit
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LONGEST = 300  # seconds
SERVER = """
import importlib, json, os, runpy, signal, sys
longest = int(sys.argv.pop(1))
for name in sys.argv[1:]:
    importlib.import_module(name)
for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if child == 0:
        signal.alarm(longest)
        os.chdir(job["cwd"])
        os.environ.clear()
        os.environ.update(job["environment"])
        for number, name in ((0, os.devnull), (1, job["stdout"]), (2, job["stderr"])):
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
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


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
        self, module: str, *arguments: str, cwd: Path, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        """Run a module to its end, which is that of a signal after `LONGEST` seconds."""
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
            job = {"module": module, "arguments": arguments, "cwd": str(cwd), "environment": environment}
            print(
                json.dumps(job | {name: str(file) for name, file in files.items()}), file=self._server.stdin, flush=True
            )
            answer = self._server.stdout.readline()
            if not answer:
                raise RuntimeError(f"the process that others are forked from ended with {self._server.wait()}")
            status = int(answer)
            texts = [file.read_text(encoding="utf-8") for file in files.values()]
        return subprocess.CompletedProcess([module, *arguments], status, *texts)

    def _stop(self) -> None:
        self._server.communicate()  # it ends with its input
