"""One job: prepares it, opens its run, starts and watches its ranks. No torch at module level."""
