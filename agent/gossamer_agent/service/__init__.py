"""The agent as a service of the machine: readiness, watchdog, systemd unit, install and remove."""
