"""``stage=predict``: for each kind of problem, what is read and what is written."""
