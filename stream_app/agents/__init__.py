"""The agents, one file each: what happens with every batch, in sentences; the mechanics live in transport and state."""
