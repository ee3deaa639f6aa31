"""Export a store in files of one episode each, and say when each is written; killed by its test.

python slow_export.py STORE OUT
"""

import sys
from pathlib import Path

from soar.data.store.lance import LanceStore, open_store
from soar.exchange.lerobot.writer import LeRobotOptions, LeRobotWriter
from soar.exchange.staging import staged
from soar.exchange.stores import one_contract, recordings


def export(store: LanceStore, out: Path) -> None:
    """Export, with a line for each episode."""
    contract, _ = one_contract(store.query())
    with staged(out, {}) as staging:
        done = staging.done()
        new = recordings(store, store.query(), lambda id: id in done)
        for id in LeRobotWriter(staging, contract, LeRobotOptions(), data_mb=0).write(new):
            print(id, flush=True)


if __name__ == "__main__":
    export(open_store(sys.argv[1], read_only=True), Path(sys.argv[2]))
