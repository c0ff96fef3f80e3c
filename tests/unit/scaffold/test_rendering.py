from __future__ import annotations

import pytest

from lab.errors import ConfigError
from lab.scaffold.rendering import TEMPLATES, check_kind, kinds_of, sort_imports


def test_a_kind_without_a_template_is_refused_with_those_that_have_one() -> None:
    assert check_kind("model", "detection") == "detection"
    with pytest.raises(
        ConfigError, match=r"--kind detecton: .*did you mean 'detection'.*; there are audio, classification, "
    ):
        check_kind("model", "detecton")
    with pytest.raises(ConfigError, match="--kind says for which kind"):
        check_kind("data", None)
    with pytest.raises(ConfigError, match=r"--kind .*_common"):
        check_kind("model", "_common")


def test_a_project_has_a_kind_with_data() -> None:
    assert kinds_of("project") == kinds_of("data")


def test_every_file_among_the_templates_is_one() -> None:
    assert [path for path in TEMPLATES.rglob("*") if path.is_file() and path.suffix != ".jinja"] == []


def test_imports_are_sorted_into_sections() -> None:
    lines = ["from torch import nn", "import numpy as np", "from PIL import Image", "from lab.x import y"]
    mixed = "\n".join([*lines, "from owls.a import b", "import os", "from __future__ import annotations"])
    assert sort_imports(mixed, "owls").splitlines() == [
        "from __future__ import annotations",
        "",
        "import os",
        "",
        "import numpy as np",
        "from lab.x import y",
        "from PIL import Image",
        "from torch import nn",
        "",
        "from owls.a import b",
    ]
    assert sort_imports(mixed, "lab").splitlines()[-2:] == ["", "from lab.x import y"]
    long = f"from owls.{'a' * 90} import third, Second, First"
    assert sort_imports(long, "owls") == f"from owls.{'a' * 90} import (\n    First,\n    Second,\n    third,\n)\n"
    with pytest.raises(ValueError, match="is no import"):
        sort_imports("x = 1", "lab")
