"""Who belongs to the swarm: roster, invites, joining, and what members tell each other."""
