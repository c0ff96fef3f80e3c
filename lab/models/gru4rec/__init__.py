"""GRU4Rec: a recurrent network that ranks the next item of a session."""
