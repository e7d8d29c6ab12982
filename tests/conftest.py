"""Fixtures that start the command line; see `tests.commands`."""

from tests.commands import command as command
from tests.commands import roads as roads
