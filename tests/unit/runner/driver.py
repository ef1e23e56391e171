"""Runs one attempt the way a backend does, with files for everything it reports: ``python driver.py SPEC.json``."""

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
from jupyter_konduktor.runner.supervise import Reporter, Supervisor


class Files(Reporter):
    def __init__(self, folder):
        self.folder = Path(folder)
        self.logs = {}

    def started(self, node):
        with (self.folder / "started").open("a") as file:
            file.write(f"{node} {supervisor.pids[node]}\n")

    def log(self, node, data):
        if node not in self.logs:
            self.logs[node] = Path(spec.get("log_dir") or self.folder, f"node-{node}.log").open("ab", buffering=0)  # noqa: SIM115
        left = memoryview(data)
        while left:
            left = left[self.logs[node].write(left) :]

    def item(self, index, envelope):
        with (self.folder / "items.jsonl").open("ab") as file:
            file.write(b"%d %s\n" % (index, envelope))

    def warning(self, message):
        print(message, file=sys.stderr)

    def finished(self, envelope, exit_codes, failed_node, signal):
        (self.folder / "envelope.json").write_bytes(envelope)
        end = {
            "exit_codes": exit_codes,
            "failed_node": failed_node,
            "signal": signal,
            "message": supervisor.message,
            "ended_by": supervisor.ended_by,
        }
        (self.folder / "end.json").write_text(json.dumps(end))


spec = json.loads(Path(sys.argv[1]).read_text())
supervisor = Supervisor(spec, Files(spec["report_dir"]))
sys.exit(supervisor.run())
