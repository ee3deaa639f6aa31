"""`soar plugins`: components that installed packages register."""

from __future__ import annotations


def plugins() -> None:
    """List the robots, VLMs, subgoal generators, policies and success detectors that installed packages register.

    A package registers a function under an entry point of the groups soar.robots, soar.vlms, soar.subgoals,
    soar.policies and soar.detectors; its name then works wherever a built-in one does. Each function is imported here,
    to show whether it can be.

    Example: `soar plugins`; `soar collect --policy act ...` for a policy that is listed as act.
    """
    from rich.table import Table

    from soar.errors import ConfigError
    from soar.plugins import GROUPS
    from soar.plugins import load_plugin as load
    from soar.plugins import plugins as registered
    from soar.utils.progress import literal, print_table

    found = registered()
    if not found:
        print(
            f"no package registers a component; groups of entry points: {', '.join(GROUPS.values())}"
        )
        return
    table = Table("role", "name", "package", "function", "", box=None, padding=(0, 2, 0, 0))
    for plugin in found:
        state = "ok"
        try:
            load(plugin.role, plugin.name)
        except ConfigError as error:
            state = str(error)
        row = (plugin.role, plugin.name, plugin.package, plugin.target, state)
        table.add_row(*(literal(cell) for cell in row))
    print_table(table)
