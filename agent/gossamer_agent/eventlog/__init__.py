"""The agent's log of events: what happened, as lines for people or as JSON for programs.

setup    levels, renderers, and where Python's own loggers go
changes  from two looks at an agent to the events between them (pure)
looking  one look at a running agent
"""
