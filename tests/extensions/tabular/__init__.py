"""A kind of problem outside of lab: a number is predicted from those of a row. docs/add-a-task.md walks through it."""

from tabular import network as network
from tabular.spec import TASK as TASK
