"""A kind of problem outside of lab: tabular regression. docs/add-a-task.md walks through this package."""

from tabular import network as network
from tabular.spec import TASK as TASK
