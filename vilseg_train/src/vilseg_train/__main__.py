"""`python -m vilseg_train` is `vilseg`."""

from vilseg_train.cli import app

app(prog_name="vilseg")
