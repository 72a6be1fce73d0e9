"""A command that takes an argument of its own and has subcommands too: `train SPINE`, `train verify MANIFEST`."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class ArgumentOrCommand(TyperGroup):
    """A group whose first word is a subcommand where there is one of that name, else an argument of the group itself.

    A spine that is called as a subcommand is called `./verify`.
    """

    allow_interspersed_args = True
    allow_extra_args = False

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401 - typer has no public type for it
        """Leave a subcommand's words to it; parse the others as a command does."""
        if args and args[0] in self.commands:
            ctx.meta[__name__] = args
            return []
        parsed: list[str] = super(TyperGroup, self).parse_args(ctx, args)
        return parsed

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 - as the group it overrides
        """Run the subcommand, or the group as a command."""
        args: list[str] | None = ctx.meta.pop(__name__, None)
        if args is None:
            return super(TyperGroup, self).invoke(ctx)
        command = self.commands[args[0]]
        with command.make_context(args[0], args[1:], parent=ctx) as inner:
            return command.invoke(inner)
