"""Static functions follow a module's switch between training and use."""

from __future__ import annotations

from typing import Any

import weft
from weft import nn


def test_static_notices_train_and_eval() -> None:
    model = nn.Sequential(nn.Linear(6, 5), nn.Dropout(0.5))
    function = weft.static(lambda x: model(x))
    x = weft.ones((4, 6))
    model.train()
    weft.manual_seed(1)
    eager: list[Any] = [model(x).tolist()]
    weft.manual_seed(1)
    assert function(x).tolist() == eager[0]
    model.eval()
    assert function(x).tolist() == model(x).tolist()
    model.train()
    weft.manual_seed(1)
    assert function(x).tolist() == eager[0]
    assert sum(len(ts) for ts in function._traces.values()) == 2


def test_the_flag_of_one_layer() -> None:
    model = nn.Sequential(nn.Dropout(0.5), nn.Dropout(0.5))
    model[0].eval()
    assert (model.training, model[0].training, model[1].training) == (True, False, True)
    model.eval()
    assert not any(m.training for m in model.modules())
