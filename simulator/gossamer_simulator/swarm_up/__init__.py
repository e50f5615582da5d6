"""`gossamer swarm up`: a swarm of real agent processes on this machine's loopback.

Nothing of an agent is simulated or replaced here: the devices are folders as `gossamer init` and
`gossamer join` make them, the agents are `gossamer run`, and what is known of them while they run
is what `gossamer status` tells. This package is no supervisor for devices: theirs is systemd.
"""
